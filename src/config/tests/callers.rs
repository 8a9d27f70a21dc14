//! Identity fields and other issuers.

use super::{MINIMAL, assert_one_fault, minimal_and};
use crate::config::{IssuerSubjects, JwksSource, Settings};
use crate::domain::claim_policy::AudienceRule;
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::time::Timestamp;

#[test]
fn identity_fields_are_kept_free_by_the_names_that_they_have_by_default() {
    let identity = Settings::from_toml(MINIMAL).unwrap().identity;
    let named = [identity.subject_header, identity.session_header, identity.scopes_header];
    for name in named.into_iter().flatten() {
        assert!(crate::domain::headers::IDENTITY_NAMES.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn fields_to_be_removed_are_names_or_beginnings_and_none_that_the_gateway_needs() {
    let removed = |file: &str| Settings::from_toml(&minimal_and(file)).unwrap().headers.remove;
    let covers = |file: &str, name: &str| removed(file).iter().any(|pattern| pattern.covers(name));
    for name in ["x-http-method-override", "X_Original_URL", "remote-user", "x-remote-anything", "x-ssl-client-cert", "proxy"] {
        assert!(covers("", name), "{name}");
    }
    for name in ["x-forwarded-for", "x-forwarded-prefix", "x-auth-subject", "x-remote", "proxy-authorization", "remote"] {
        assert!(!covers("", name), "{name}");
    }
    assert!(removed("headers = { remove = [] }").is_empty());
    assert!(
        covers("headers = { remove = [\"X-Internal-*\"] }", "x-internal-user")
            && !covers("headers = { remove = [\"x-a\"] }", "proxy")
    );
    // Fields that are set here anyway do no harm in the list, and the default list may hold one that an operator chose.
    assert!(Settings::from_toml(&minimal_and("identity = { subject_header = \"remote-user\" }")).is_ok());
    for (name, parts) in [
        ("host", &["headers.remove", "item 1", "host"][..]),
        ("Content_Length", &["headers.remove", "content-length"]),
        ("x-forwarded-*", &["headers.remove", "x-forwarded-for"]),
        ("x-*", &["headers.remove", "x-forwarded-for"]),
        ("cookie", &["headers.remove", "cookie"]),
        ("authorization", &["headers.remove", "[[routes]]", "authorization = \"remove\""]),
        ("*", &["headers.remove", "name of a field"]),
        ("x-*-user", &["headers.remove", "name of a field"]),
        ("x user", &["headers.remove", "name of a field"]),
        ("", &["headers.remove", "name of a field"]),
    ] {
        assert_one_fault(&format!("headers = {{ remove = [\"{name}\"] }}"), parts);
    }
}

#[test]
fn identity_fields_are_distinct_and_free() {
    for taken in ["Authorization", "x-forwarded-user", "x-b3-traceid", "Origin"] {
        let identity = format!("identity = {{ subject_header = \"{taken}\" }}");
        assert_one_fault(&identity, &["identity.subject_header", "something else"]);
    }
    assert_one_fault("identity = { subject_header = \"x_user\" }", &["identity.subject_header", "dashes"]);
    assert_one_fault("identity = { subject_header = \"x.user\" }", &["identity.subject_header", "dashes"]);
    assert_one_fault("identity = { claims = { role = \"X-Auth-Subject\" } }", &["identity.claims", "twice"]);
}

#[test]
fn a_foreign_issuer_is_pinned_in_every_respect() {
    let issuer = |text: &str| format!("[[issuers]]\nissuer = \"https://i/\"\nshares_subjects = true\n{text}\n");
    let good = "audiences = [\"a\"]\nalgorithms = [\"ES256\"]\n";
    let file = format!("{good}jwks_file = \"f\"\n");
    let settings = Settings::from_toml(&minimal_and(&issuer(&file))).unwrap();
    assert_eq!(settings.issuers[0].jwks, JwksSource::File("f".into()));
    assert_one_fault(&issuer(good), &["issuers[0].jwks_file", "one of jwks_file and jwks_url"]);
    assert_one_fault(&issuer(&format!("{file}jwks_url = \"https://i/\"")), &["issuers[0].jwks_url", "is given too"]);
    assert_one_fault(&issuer(&format!("{good}jwks_url = \"http://i/\"")), &["issuers[0].jwks_url", "loopback"]);
    let symmetric = "audiences = [\"a\"]\nalgorithms = [\"HS256\"]\njwks_url = \"https://i/\"";
    assert_one_fault(&issuer(symmetric), &["issuers[0].algorithms", "jwks_file"]);
    assert_one_fault(&(issuer(&file) + &issuer(&file)), &["issuers[1].issuer", "earlier"]);
    assert_one_fault(&issuer("audiences = []\nalgorithms = [\"ES256\"]\njwks_file = \"f\""), &["issuers[0].audiences"]);
    assert_one_fault(
        &issuer("audiences = [\"a\"]\nalgorithms = [\"none\"]\njwks_file = \"f\""),
        &["issuers[0].algorithms", "none"],
    );
    assert_one_fault(&issuer("audiences = [\"a\"]\njwks_file = \"f\""), &["issuers[0].algorithms: is missing", "ES256"]);
}

#[test]
fn it_is_said_of_each_issuer_whose_users_its_subjects_are() {
    let entry = |name: &str, text: &str| {
        let fixed = "audiences = [\"a\"]\nalgorithms = [\"ES256\"]\njwks_file = \"f\"";
        format!("[[issuers]]\nissuer = \"{name}\"\n{fixed}\n{text}\n")
    };
    for neither in ["", "shares_subjects = false", "subject_prefix = \"\""] {
        assert_one_fault(&entry("i", neither), &["issuers[0].subject_prefix", "subject_prefix = ", "shares_subjects = true"]);
    }
    let both = "subject_prefix = \"p:\"\nshares_subjects = true";
    assert_one_fault(&entry("i", both), &["issuers[0].shares_subjects", "subject_prefix"]);
    assert_one_fault(&entry("i", "subject_prefix = \" \""), &["issuers[0].subject_prefix", "empty"]);
    assert_one_fault(&entry("i", &format!("subject_prefix = \"{}\"", "p".repeat(65))), &["issuers[0].subject_prefix", "64"]);
    let settings =
        Settings::from_toml(&minimal_and(&(entry("i", "subject_prefix = \"p:\"") + &entry("j", "shares_subjects = true"))));
    let settings = settings.unwrap();
    assert!(matches!(&settings.issuers[0].subjects, IssuerSubjects::Prefixed(prefix) if prefix.as_str() == "p:"));
    assert_eq!(settings.issuers[1].subjects, IssuerSubjects::Shared);
    assert_eq!(settings.login.reserved, settings.reserved_prefixes());
    let prefixes = ["ab", "a", "a:", "b", "abc"];
    let alike: String = prefixes.iter().map(|text| entry(text, &format!("subject_prefix = \"{text}\""))).collect();
    let text = Settings::from_toml(&minimal_and(&alike)).unwrap_err().to_string();
    for index in [1, 2, 4] {
        assert!(text.contains(&format!("issuers[{index}].subject_prefix")), "{index}: {text}");
    }
    assert!(!text.contains("issuers[3]"), "{text}");
}

#[test]
fn the_claims_of_an_issuer_that_are_trusted_are_such_as_are_passed_on() {
    let entry = |trusted: &str| {
        let fixed = "audiences = [\"a\"]\nalgorithms = [\"ES256\"]\njwks_file = \"f\"\nsubject_prefix = \"p:\"";
        format!(
            "identity = {{ claims = {{ role = \"x-role\" }} }}\n[[issuers]]\nissuer = \"i\"\n{fixed}\ntrusted_claims = {trusted}\n"
        )
    };
    let settings = Settings::from_toml(&minimal_and(&entry("[\"role\"]"))).unwrap();
    assert_eq!(settings.issuers[0].trusted_claims, ["role"]);
    let demanded = format!("{}[[routes]]\nname = \"a\"\nclaims = {{ \"/realm/roles\" = \"admin\" }}\n", entry("[\"realm\"]"));
    assert_eq!(Settings::from_toml(&minimal_and(&demanded)).unwrap().issuers[0].trusted_claims, ["realm"], "a route asks for it");
    assert_one_fault(&entry("[\"rolle\"]"), &["issuers[0].trusted_claims", "rolle", "identity.claims"]);
    for own in ["sub", "sid", "gen", "scope", "jti"] {
        assert_one_fault(&entry(&format!("[\"{own}\"]")), &["issuers[0].trusted_claims", own]);
    }
}

/// An issuer with these further lines, and a place where its tokens are exchanged.
fn exchanging(lines: &str) -> String {
    let fixed = "algorithms = [\"ES256\"]\njwks_file = \"f\"\nsubject_prefix = \"p:\"";
    format!("endpoints.token = \"/oauth/token\"\n[[issuers]]\nissuer = \"i\"\n{fixed}\n{lines}\n")
}

#[test]
fn tokens_of_an_issuer_become_sessions_as_its_entry_says() {
    let of = |lines: &str| Settings::from_toml(&minimal_and(&exchanging(lines))).unwrap();
    for (value, rule) in [
        ("", ExchangeRule::Never),
        ("exchange = false", ExchangeRule::Never),
        ("exchange = \"never\"", ExchangeRule::Never),
        ("exchange = true", ExchangeRule::Once),
        ("exchange = \"once\"", ExchangeRule::Once),
        ("exchange = \"many\"", ExchangeRule::Many),
    ] {
        let settings = of(&format!("audiences = [\"a\"]\n{value}"));
        assert_eq!((settings.issuers[0].exchange, settings.exchanges_tokens()), (rule, rule != ExchangeRule::Never), "{value}");
        let policy = settings.issuers[0].policy(&settings.reserved_prefixes());
        assert_eq!(policy.exchange.is_some(), rule != ExchangeRule::Never, "{value}");
    }
    let terms = |lines: &str| {
        let settings = of(lines);
        let policy = settings.issuers[0].policy(&settings.reserved_prefixes());
        (policy.audiences, policy.exchange.unwrap().audiences)
    };
    let any_of = |names: &[&str]| AudienceRule::AnyOf(names.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(terms("audiences = [\"a\"]\nexchange = true"), (any_of(&["a"]), any_of(&["a"])));
    assert_eq!(terms("audiences = []\nexchange = true\nexchange_audiences = [\"b\"]"), (any_of(&[]), any_of(&["b"])));
    let lives =
        of("audiences = [\"a\"]\nexchange = true\nlifetime_max = \"2h\"\nleeway = \"30s\"").session_policy().subject_tokens;
    let at = Timestamp::from_secs(1_700_000_000);
    assert_eq!(lives.end_by(at), Some(Timestamp::from_secs(1_700_000_000 + 7200 + 30 + 60)), "revocations are kept as long");
    assert_eq!(of("audiences = [\"a\"]").session_policy().subject_tokens.end_by(at), None);
}

#[test]
fn an_exchange_that_could_not_be_meant_is_refused() {
    let audiences = "audiences = [\"a\"]";
    for (lines, parts) in [
        (format!("{audiences}\nexchange = \"twice\""), &["issuers[0].exchange", "\"once\"", "\"many\""][..]),
        (format!("{audiences}\nexchange_audiences = [\"b\"]"), &["issuers[0].exchange_audiences", "no meaning"]),
        (format!("{audiences}\nexchange_audiences = [\"our-app\"]"), &["issuers[0].exchange_audiences", "no meaning"]),
        (format!("{audiences}\nexchange_scopes = [\"b\"]"), &["issuers[0].exchange_scopes", "no meaning"]),
        (format!("{audiences}\nexchange_claims = {{ a = \"b\" }}"), &["issuers[0].exchange_claims", "no meaning"]),
        (format!("{audiences}\nexchange = true\nexchange_audiences = []"), &["issuers[0].exchange_audiences", "at least one"]),
        ("audiences = []\nexchange = true".to_owned(), &["issuers[0].audiences", "at least one"]),
        ("audiences = []".to_owned(), &["issuers[0].audiences", "at least one"]),
        (format!("{audiences}\nexchange = true\nexchange_scopes = [\"a b\"]"), &["issuers[0].exchange_scopes", "scope"]),
        (format!("{audiences}\nexchange = true\nexchange_claims = {{ sid = \"b\" }}"), &["issuers[0].exchange_claims.sid"]),
        (
            format!("{audiences}\nexchange = true\nexchange_claims = {{ client_id = \"b\" }}"),
            &["issuers[0].exchange_claims.client_id"],
        ),
    ] {
        assert_one_fault(&exchanging(&lines), parts);
    }
    let nowhere = exchanging(&format!("{audiences}\nexchange = true")).replace("/oauth/token", "");
    assert_one_fault(&nowhere, &["issuers[0].exchange", "endpoints.token"]);
}
