use super::*;

const WITHOUT_ENDPOINT: &str = "upstreams.default.url = 'http://127.0.0.1:1'\n";
const MINIMAL: &str = "upstreams.default.url = 'http://127.0.0.1:1'\nendpoints.token = '/oauth/token'\n";
const SECRET: &str = "secret = '0123456789abcdef0123456789abcdef'\n";

fn settings(text: &str) -> Result<Settings, String> {
    Settings::from_toml(&format!("{MINIMAL}{text}")).map_err(|invalid| invalid.to_string())
}

fn fault(text: &str) -> String {
    settings(text).unwrap_err()
}

fn digests(count: usize) -> String {
    let one = |number: usize| format!("'sha256:{}'", format!("{number:02x}").repeat(32));
    (0..count).map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_client_of_before_introspects_and_gets_no_tokens() {
    let settings = Settings::from_toml(&format!("{WITHOUT_ENDPOINT}[[clients]]\nid = 'reports'\n{SECRET}")).unwrap();
    let [client] = settings.clients.as_slice() else { panic!() };
    assert!(client.introspects && !client.disabled && client.secret.is_some() && !client.is_machine());
    assert_eq!((settings.machine_rule(), settings.machine_grant(client)), (None, None));
    assert!(settings.machine_prefix().is_none(), "and the names of users are as they were");
}

#[test]
fn a_machine_gets_what_its_entry_says_and_its_name_is_nobodys() {
    let entry = format!("[[clients]]\nid = 'a b'\nsecrets = [{}]\ngrants = ['client_credentials']\n", digests(2));
    let text = format!("tokens.audience = ['one', 'two']\n{entry}scopes = ['read']\naudiences = ['two']\n");
    let settings = settings(&text).unwrap();
    let grant = settings.machine_grant(&settings.clients[0]).unwrap();
    assert_eq!(
        (grant.subject.as_str(), grant.scopes.as_slice(), grant.audiences.as_slice()),
        ("client:a b", &["read".to_owned()][..], &["two".to_owned()][..])
    );
    assert!(!settings.clients[0].introspects, "that is for those whose entry says so");
    assert_eq!(settings.machine_rule().unwrap().subject("a b"), Some(grant.subject.clone()));
    assert!(settings.reserved_prefixes().of(&grant.subject).is_some());
    assert!(!format!("{settings:?}").contains("0101"), "nothing is shown of a secret");
}

#[test]
fn a_disabled_machine_keeps_its_name_and_speaks_no_more() {
    let entry = format!("[[clients]]\nid = 'a'\ndisabled = true\nsecrets = [{}]\ngrants = ['client_credentials']\n", digests(1));
    let settings = settings(&entry).unwrap();
    assert!(settings.machine_rule().is_none() && settings.machine_prefix().is_some());
}

#[test]
fn the_names_of_machines_stay_theirs_when_the_last_is_removed() {
    let removed = settings("").unwrap();
    let former = machine::subject(&removed.oauth.subject_prefix, "a").unwrap();
    assert!(removed.reserved_prefixes().of(&former).is_some());
}

#[test]
fn a_client_introspects_as_its_entry_says() {
    let introspects = |lines: &str| {
        let text = format!("[[clients]]\nid = 'a'\nsecrets = [{}]\n{lines}", digests(1));
        settings(&text).unwrap().clients[0].introspects
    };
    let grants = "grants = ['client_credentials']";
    assert!(introspects("") && introspects("introspects = true") && introspects(&format!("{grants}\nintrospects = true")));
    assert!(
        !introspects("introspects = false") && !introspects(grants) && !introspects(&format!("{grants}\nintrospects = false"))
    );
}

#[test]
fn an_id_is_one_that_people_can_tell_from_others() {
    for good in ["a", "a b", "~!", "https://client.example/"] {
        assert!(is_client_id(good), "{good}");
    }
    for bad in ["", " ", " a", "a ", "a\t", "\u{e4}", "a\u{a0}"] {
        assert!(!is_client_id(bad), "{bad}");
    }
}

#[test]
fn what_a_client_cannot_be_is_named() {
    let machine = |lines: &str| format!("[[clients]]\nid = 'a'\n{lines}\ngrants = ['client_credentials']\n");
    let good = format!("secrets = [{}]", digests(1));
    for (text, part) in [
        ("[[clients]]\nid = 'a'\n".to_owned(), "clients[0].secret: is missing"),
        (format!("[[clients]]\nid = 'a'\n{SECRET}scopes = ['read']"), "clients[0].scopes"),
        (format!("[[clients]]\nid = 'a'\n{SECRET}grants = ['password']"), "clients[0].grants"),
        (machine(&format!("secrets = [{}]", digests(3))), "allowed are 2"),
        (machine(&format!("{SECRET}secrets = [{}]", digests(2))), "allowed are 2"),
        (machine("secrets = ['sha256:00']"), "64 hexadecimal digits"),
        (machine("secrets = ['0123456789abcdef0123456789abcdef']"), "64 hexadecimal digits"),
        (machine(&format!("{good}\naudiences = ['elsewhere']")), "none of tokens.audience"),
        (machine(&format!("{good}\nscopes = ['a b']")), "one scope"),
        (machine(&good).replace("'a'", &format!("'{}'", "a".repeat(250))), "too long"),
        (format!("{}{}", machine(&good), machine(&good)), "clients[1].id"),
        (format!("oauth.subject_prefix = ''\n{}", machine(&good)), "oauth.subject_prefix"),
    ] {
        let fault = fault(&text);
        assert!(fault.contains(part), "{text}\n{fault}");
        assert!(!fault.contains("0123456789abcdef"), "{fault}");
    }
    let without_endpoint = format!("endpoints.token = ''\n{}", machine(&good));
    let fault = Settings::from_toml(&format!("upstreams.default.url = 'http://127.0.0.1:1'\n{without_endpoint}")).unwrap_err();
    assert!(fault.to_string().contains("needs endpoints.token"), "{fault}");
}

#[test]
fn the_names_of_machines_are_told_apart_from_those_of_issuers() {
    let issuer = "[[issuers]]\nissuer = 'https://i.example'\naudiences = ['a']\nalgorithms = ['ES256']\njwks_file = 'k'\n";
    let machine = format!("[[clients]]\nid = 'a'\nsecrets = [{}]\ngrants = ['client_credentials']\n", digests(1));
    let fault = fault(&format!("{issuer}subject_prefix = 'client:x:'\n{machine}"));
    assert!(fault.contains("issuers[0].subject_prefix") && fault.contains("oauth.subject_prefix"), "{fault}");
    assert!(settings(&format!("{issuer}subject_prefix = 'partner:'\n{machine}")).is_ok());
    assert!(settings(&format!("{issuer}subject_prefix = 'client:x:'\n")).is_err(), "a machine may come any time");
    let without = format!("{WITHOUT_ENDPOINT}{issuer}subject_prefix = 'client:x:'\n");
    assert!(Settings::from_toml(&without).is_ok(), "where there can be no machines the prefix is free");
}

#[test]
fn a_file_holds_further_clients() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.toml");
    let named = |text: &str| {
        std::fs::write(&file, text).unwrap();
        settings(&format!("oauth.clients_file = '{}'\n[[clients]]\nid = 'first'\n{SECRET}", file.display()))
    };
    let more = named(&format!("[[clients]]\nid = 'second'\nsecrets = [{}]\n", digests(1))).unwrap();
    let ids: Vec<&str> = more.clients.iter().map(|client| client.id.as_str()).collect();
    assert_eq!(ids, ["first", "second"]);
    assert_eq!(named("").unwrap().clients.len(), 1);
    for (text, parts) in [
        (format!("[[clients]]\nid = 'first'\n{SECRET}"), ["clients[1].id", "earlier entry"]),
        ("[tokens]\nissuer = 'x'".to_owned(), ["tokens", "[[clients]] alone"]),
        ("clients = 1".to_owned(), ["clients.toml", "[[clients]] alone"]),
        ("[[clients".to_owned(), ["not TOML", "clients.toml"]),
    ] {
        let fault = named(&text).unwrap_err();
        assert!(parts.iter().all(|part| fault.contains(part)), "{fault}");
    }
    std::fs::remove_file(&file).unwrap();
    let fault = settings(&format!("oauth.clients_file = '{}'", file.display())).unwrap_err();
    assert!(fault.contains("oauth.clients_file") && fault.contains("tokengate clients add"), "{fault}");
}
