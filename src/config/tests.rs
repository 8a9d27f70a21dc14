//! Layering, faults and the default file. Tests of single values stand beside their readers.

use std::collections::BTreeSet;
use std::time::Duration;

use config::{Value, ValueKind};

use super::layers::{self, Inputs, SettingsFile};
use super::notes::Notes;
use super::*;
use crate::domain::cors::Origins;
use crate::domain::route::{Access, UpstreamIndex};
use crate::domain::session_policy::WithoutClaims;

const MINIMAL: &str = "[upstreams.api]\nurl = \"http://127.0.0.1:3000\"\n";

fn inputs(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Inputs {
    Inputs {
        file: Some(SettingsFile { name: "tokengate.toml".to_owned(), text: file.to_owned() }),
        environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        flags: flags
            .iter()
            .map(|(key, value)| Flag { name: "--set".to_owned(), key: (*key).to_owned(), value: (*value).to_owned() })
            .collect(),
    }
}

fn faults(file: &str) -> Vec<String> {
    faults_of(&inputs(file, &[], &[]))
}

fn faults_of(inputs: &Inputs) -> Vec<String> {
    load(inputs).map(|_| ()).unwrap_err().0.iter().map(ToString::to_string).collect()
}

fn minimal_and(file: &str) -> String {
    format!("{file}\n{MINIMAL}")
}

/// Asserts that the settings are refused for one reason, whose text holds every part.
fn assert_one_fault(file: &str, parts: &[&str]) {
    let faults = faults(&minimal_and(file));
    assert_eq!(faults.len(), 1, "{file}: {faults:#?}");
    for part in parts {
        assert!(faults[0].contains(part), "`{part}` is missing from: {}", faults[0]);
    }
}

#[test]
fn one_upstream_is_enough_and_everything_needs_a_token() {
    let settings = Settings::from_toml(MINIMAL).unwrap();
    assert_eq!(settings.upstreams.len(), 1);
    assert_eq!(settings.routes.len(), 1);
    let route = &settings.routes[0];
    assert_eq!((route.prefix.as_str(), route.exact, route.upstream), ("/", false, UpstreamIndex(0)));
    assert!(matches!(&route.access, Access::Token { audiences, scopes } if audiences.is_empty() && scopes.is_empty()));
    assert_eq!(route.response_timeout, settings.upstreams[0].response_timeout);
    assert_eq!(settings.login.upstream, Some(UpstreamIndex(0)));
    assert_eq!(settings.keys.directory.as_deref(), Some(std::path::Path::new("data/keys")));
    assert!(settings.keys.generate && settings.cookies.is_none() && settings.cors.is_none());
}

#[test]
fn the_default_file_and_the_settings_know_the_same_keys() {
    // Every example switched on: what is left to complain about are faults of fit, never unknown keys.
    let file = layers::uncommented(DEFAULT_FILE);
    let layers = layers::merge(&inputs(&file, &[], &[])).map_err(Invalid).unwrap();
    let notes = Notes::default();
    let _ = Settings::read(&layers, &notes);
    let known = notes.known();
    let problems = notes.finish().problems;
    let unknown: Vec<_> = problems.iter().filter(|problem| problem.message.contains("unknown key")).collect();
    assert!(unknown.is_empty(), "documented but not known: {unknown:#?}");

    let mut documented = BTreeSet::new();
    collect_keys("", &layers.documented, &mut documented);
    let missing: Vec<_> = known.difference(&documented).collect();
    assert!(missing.is_empty(), "known but not documented: {missing:#?}");
}

fn collect_keys(path: &str, value: &Value, keys: &mut BTreeSet<String>) {
    match &value.kind {
        ValueKind::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                keys.insert(path.clone());
                collect_keys(&path, value, keys);
            }
        }
        ValueKind::Array(items) => items.iter().for_each(|item| collect_keys(&format!("{path}[]"), item, keys)),
        _ => {}
    }
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let file = minimal_and("[listen]\naddress = \"127.0.0.1:1\"\nworkers = 1\nconnections_max = 7\n");
    let environment = [("TOKENGATE__LISTEN__ADDRESS", "127.0.0.1:2"), ("TOKENGATE__LISTEN__WORKERS", "2")];
    let loaded = load(&inputs(&file, &environment, &[("listen.address", "127.0.0.1:3")])).unwrap();
    let listen = &loaded.settings.listen;
    assert_eq!((listen.address.port(), listen.workers, listen.connections_max), (3, 2, 7));
    let printed = loaded.print();
    for (key, origin) in [
        ("address = \"127.0.0.1:3\"", "# --set"),
        ("workers = \"2\"", "# TOKENGATE__LISTEN__WORKERS"),
        ("connections_max = 7", "# tokengate.toml, line 4"),
        ("idle_timeout = \"75s\"", "# default"),
    ] {
        assert!(printed.lines().any(|line| line.starts_with(key) && line.ends_with(origin)), "{key} {origin}\n{printed}");
    }
}

#[test]
fn lists_tables_and_entries_can_be_set_from_the_environment() {
    let file = minimal_and("[[routes]]\nname = \"a\"\n[[routes]]\nname = \"b\"\nprefix = \"/b\"\n");
    let environment = [
        ("TOKENGATE__ROUTES__1__ACCESS", "public"),
        ("TOKENGATE__LISTEN__TRUSTED_PEERS", "10.0.0.0/8, ::1"),
        ("TOKENGATE__TOKENS__AUDIENCE", r#"["a,b", "c"]"#),
        ("TOKENGATE__LOGIN__CLAIMS", r#"{ role = "/user/role" }"#),
        ("TOKENGATE__UPSTREAMS__OTHER__URL", "http://127.0.0.1:4000"),
        ("TOKENGATE__LOGIN__UPSTREAM", "other"),
        ("TOKENGATE__ROUTES__0__UPSTREAM", "api"),
        ("tokengate__routes__1__upstream", "other"),
        ("TOKENGATE_PORT", "tcp://10.0.0.1:80"),
        ("PATH", "/bin"),
    ];
    let settings = load(&inputs(&file, &environment, &[])).unwrap().settings;
    assert_eq!(settings.routes[1].access, Access::Public);
    assert_eq!(settings.routes.iter().map(|route| route.upstream.0).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(settings.listen.trusted_peers.len(), 2);
    assert_eq!(settings.tokens.audience, ["a,b", "c"]);
    assert_eq!(settings.login.claims[0].0, "role");
    assert_eq!(settings.login.upstream, Some(UpstreamIndex(1)));
}

#[test]
fn all_faults_are_told_at_once_each_with_its_place() {
    let file = minimal_and("[listen]\nadress = \"x\"\nheader_timeout = 10\n[tokens]\nalgorithm = \"none\"\n");
    let environment = [("TOKENGATE__LISTEN__WORKERS", "many")];
    let faults = faults_of(&inputs(&file, &environment, &[("log.level", "loud")]));
    assert_eq!(faults.len(), 5, "{faults:#?}");
    let has = |parts: &[&str]| faults.iter().any(|fault| parts.iter().all(|part| fault.contains(part)));
    assert!(has(&["listen.adress (tokengate.toml, line 2)", "unknown key", "did you mean `address`?"]), "{faults:#?}");
    assert!(has(&["listen.header_timeout = 10 (tokengate.toml, line 3)", "span of time with its unit", "from 100ms to 5m"]));
    assert!(has(&["tokens.algorithm = \"none\"", "allowed: \"ES256\", \"EdDSA\", \"HS256\""]));
    assert!(has(&["listen.workers = \"many\" (TOKENGATE__LISTEN__WORKERS)", "whole number from 0 to 1024"]));
    assert!(has(&["log.level = \"loud\" (--set)", "debug"]));
}

#[test]
fn no_upstream_is_one_fault_and_names_the_cure() {
    let faults = faults("");
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert!(faults[0].starts_with("upstreams: is missing") && faults[0].contains("--upstream"));
}

#[test]
fn a_file_that_is_no_toml_is_refused_by_line_without_repeating_it() {
    let faults = faults("[listen]\n\n[refresh]\nsecret = hunter2hunter2\n");
    assert!(faults[0].contains("tokengate.toml, line 4") && faults[0].contains("not TOML"), "{faults:?}");
    assert!(!faults.concat().contains("hunter2"));
}

#[test]
fn a_key_in_the_wrong_section_is_pointed_to_the_right_one() {
    assert_one_fault("[listen]\nkey_prefix = \"tg\"\n", &["listen.key_prefix", "exists as store.redis.key_prefix"]);
    assert_one_fault("[upstream.x]\nurl = \"http://h\"\n", &["upstream", "did you mean `upstreams`?"]);
}

#[test]
fn a_value_where_a_table_belongs_is_refused() {
    assert_one_fault("listen = \"hunter2\"\n", &["listen (tokengate.toml, line 1): allowed is a table"]);
    assert_one_fault("routes = 5\n", &["routes = 5", "[[routes]]"]);
    let sparse = faults_of(&inputs(MINIMAL, &[("TOKENGATE__ROUTES__3__NAME", "x")], &[]));
    assert!(sparse.iter().any(|fault| fault.contains("routes[1]")), "{sparse:#?}");
}

#[test]
fn times_that_do_not_fit_together_are_refused() {
    assert_one_fault("tokens = { lifetime = \"1m\", leeway = \"1m\" }", &["tokens.leeway", "tokens.lifetime"]);
    assert_one_fault("refresh = { idle_lifetime = \"91d\" }", &["refresh.idle_lifetime", "refresh.absolute_lifetime"]);
    assert_one_fault("refresh = { idle_lifetime = \"1m\", leeway = \"5m\" }", &["refresh.leeway"]);
    assert_one_fault("revocation = { heartbeat = \"11s\" }", &["revocation.heartbeat", "third"]);
    assert_one_fault("revocation = { retention = \"15m\" }", &["revocation.retention", "at least 16m"]);
}

#[test]
fn revocations_are_kept_as_long_as_the_longest_lived_token() {
    assert_eq!(Settings::from_toml(MINIMAL).unwrap().revocation.retention.span(), Duration::from_secs(16 * 60));
    let foreign = "[[issuers]]\nissuer = \"i\"\naudiences = [\"a\"]\nalgorithms = [\"ES256\"]\njwks_file = \"f\"\nlifetime_max = \"2d\"\nshares_subjects = true";
    let settings = Settings::from_toml(&minimal_and(foreign)).unwrap();
    assert_eq!(settings.revocation.retention.span(), Duration::from_secs(2 * 86_400 + 120));
}

#[test]
fn cookies_that_a_browser_would_drop_are_refused() {
    let cookies = |text: &str| format!("[cookies]\nenabled = true\nrefresh_name = \"r\"\n{text}\n");
    for text in ["secure = false", "path = \"/api\"", "domain = \"example.com\""] {
        assert_one_fault(&cookies(text), &["cookies.access_name", "__Host-"]);
    }
    assert_one_fault(&cookies("access_name = \"a\"\nsecure = false\nsame_site = \"none\""), &["cookies.same_site", "secure"]);
    assert_one_fault(&cookies("access_name = \"__Secure-a\"\nsecure = false"), &["cookies.access_name", "__Secure-"]);
    assert_one_fault(&cookies("access_name = \"r\""), &["cookies.refresh_name"]);
    assert_one_fault(&cookies("access_name = \"a b\""), &["cookies.access_name", "cookie name"]);
    assert_one_fault(&cookies(&format!("access_name = \"{}\"", "a".repeat(257))), &["cookies.access_name", "256"]);
    assert_one_fault(
        &cookies(&format!("access_name = \"a\"\npath = \"/{}\"", "a".repeat(1024))),
        &["cookies.path", "1024 bytes"],
    );
    assert!(Settings::from_toml(&minimal_and(&cookies(""))).unwrap().cookies.is_some());
}

#[test]
fn former_cookies_are_named_with_what_browsers_kept_of_them() {
    let cookies = |former: &str| format!("[cookies]\nenabled = true\nformer = [{former}]\n");
    let settings =
        Settings::from_toml(&minimal_and(&cookies("{ name = 'a' }, { name = 'b', domain = 'a.example', path = '/x' }")));
    let own = settings.unwrap().cookies.unwrap().own;
    assert!(["a", "b"].iter().all(|name| own.names().iter().any(|own| own == name)), "{own:?}");
    let emptied = |start: &str| own.others_emptied().iter().any(|field| field.to_str().unwrap().starts_with(start));
    assert!(emptied("a=; Path=/;") && emptied("b=; Path=/x;"), "{own:?}");
    for (former, named) in [
        ("{ domain = 'a.example' }", "cookies.former[0].name"),
        ("{ name = 'a b' }", "cookies.former[0].name"),
        ("{ name = 'a', domain = '.a.example' }", "cookies.former[0].domain"),
        ("{ name = 'a', path = 'x' }", "cookies.former[0].path"),
        ("{ name = '__Host-a', path = '/x' }", "cookies.former[0].name"),
        ("{ name = 'a', pth = '/x' }", "cookies.former[0].pth"),
    ] {
        assert_one_fault(&cookies(former), &[named]);
    }
    assert_one_fault(&cookies(&"{ name = 'a' },".repeat(17)), &["cookies.former", "16"]);
}

#[test]
fn any_origin_goes_without_credentials_alone() {
    assert_one_fault(
        "cors = { allowed_origins = [\"*\"], allow_credentials = true }",
        &["cors.allowed_origins", "list the origins"],
    );
    assert_one_fault(
        "cors = { allowed_origins = [\"https://a.example/\"] }",
        &["cors.allowed_origins", "item 1", "origin as browsers"],
    );
    let any = Settings::from_toml(&minimal_and("cors = { allowed_origins = [\"*\"] }")).unwrap();
    assert_eq!(any.cors.unwrap().allowed_origins, Origins::Any);
}

#[test]
fn a_shared_store_needs_shared_keys_and_secrets() {
    let faults = faults(&minimal_and("store = { kind = \"redis\" }"));
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults[0].contains("keys.directory") && faults[0].contains("tokengate keys generate"));
    assert!(faults[1].contains("refresh.secret") && faults[1].contains("openssl rand"));
    let secret = "0f1e".repeat(16);
    let good = format!("keys = {{ directory = \"k\" }}\nrefresh = {{ secret = \"{secret}\" }}\nstore = {{ kind = \"redis\" }}");
    let settings = Settings::from_toml(&minimal_and(&good)).unwrap();
    assert!(settings.store.is_shared() && !settings.keys.generate);
}

#[test]
fn the_place_of_redis_is_a_url_that_can_be_connected_to() {
    let url = |url: &str| minimal_and(&format!("store = {{ redis = {{ url = \"{url}\" }} }}"));
    for good in [
        "redis://h",
        "rediss://u:p%40@h:6380/7",
        "redis://[::1]:1/",
        "redis+sentinel://h,i:26380/gate",
        "rediss+sentinel://u:p@h/gate/3",
        "redis-cluster://h:7000,i:7001,[::1]:7002",
        "rediss-cluster://:p@h/",
    ] {
        assert!(Settings::from_toml(&url(good)).is_ok(), "{good}");
    }
    for bad in [
        "",
        "h:1",
        "http://h",
        "redis://",
        "redis://h:",
        "redis://h:99999",
        "redis://h/256",
        "redis://h/x",
        "redis://h?x",
        "redis://h,i",
        "redis-cluster://h,",
        "redis-cluster://h/1",
        "redis+sentinel://h",
        "redis+cluster://h",
    ] {
        assert_eq!(faults(&url(bad)).len(), 1, "{bad}");
    }
    assert_one_fault("store = { redis = { ca_file = \"x\" } }", &["store.redis.ca_file", "without TLS"]);
    let half = "[store.redis]\nurl = \"rediss://h\"\nkey_file = \"k\"\n";
    assert_one_fault(half, &["store.redis.key_file", "together"]);
    assert_one_fault("store = { redis = { key_prefix = \"{a}\" } }", &["store.redis.key_prefix", "letters"]);
}

#[test]
fn the_place_of_redis_may_be_given_piece_by_piece() {
    let redis = |text: &str| minimal_and(&format!("[store.redis]\n{text}\n"));
    for good in [
        "addresses = ['h:6379']\ndatabase = 3\ntls = true\nca_file = 'ca.pem'",
        "deployment = 'sentinel'\naddresses = ['a:26379', '[::1]:26379']\nservice = 'gate'\nsentinel_password = 'p'",
        "deployment = 'cluster'\naddresses = ['a:1', 'b:2', 'c:3']",
        "wait_replicas = 1\nwait_timeout = '200ms'",
    ] {
        Settings::from_toml(&redis(good)).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    for (bad, parts) in [
        ("addresses = ['h:1']\nurl = 'redis://h'", ["store.redis.addresses", "one of the two"]),
        ("addresses = ['h:1', 'i:1']", ["store.redis.addresses", "1 to 1"]),
        ("addresses = ['h']", ["store.redis.addresses", "host:port"]),
        ("database = 3", ["store.redis.database", "without addresses"]),
        ("deployment = 'sentinel'\naddresses = ['h:1']", ["store.redis.service", "missing"]),
        ("addresses = ['h:1']\nservice = 'gate'", ["store.redis.service", "without sentinels"]),
        ("deployment = 'cluster'\naddresses = ['h:1']\ndatabase = 1", ["store.redis.database", "0 alone"]),
        ("sentinel_username = 'u'", ["store.redis.sentinel_username", "without sentinels"]),
        ("wait_replicas = 1\nwait_timeout = '500ms'", ["store.redis.wait_timeout", "store.redis.deadline"]),
        ("wait_replicas = 300", ["store.redis.wait_replicas", "0 to 255"]),
    ] {
        assert_one_fault(&format!("[store.redis]\n{bad}\n"), &parts);
    }
}

#[test]
fn an_admin_listener_that_others_reach_needs_a_token() {
    assert_one_fault("admin = { address = \"gateway.internal:9180\" }", &["admin.address", "admin.token"]);
    assert!(Settings::from_toml(&minimal_and("admin = { address = \"localhost:9180\" }")).is_ok());
    assert_one_fault("admin = { address = \"LocalHost:8080\" }\nlisten = { address = \"localhost:8080\" }", &["admin.address"]);
    assert_one_fault("admin = { address = \"0.0.0.0:9180\" }", &["admin.address", "admin.token"]);
    assert!(Settings::from_toml(&minimal_and("admin = { address = \"0.0.0.0:9180\", token = \"0123456789abcdef\" }")).is_ok());
    assert!(Settings::from_toml(&minimal_and("admin = { address = \"\" }")).unwrap().admin.address.is_none());
    assert_one_fault("admin = { address = \"127.0.0.1:8080\" }", &["admin.address", "each listener"]);
    assert_one_fault("admin = { token = \"short\" }", &["admin.token = [redacted]", "16 or more"]);
}

#[test]
fn secrets_are_read_from_files_and_never_from_two_places() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, format!("{}\n{}\r\n", "a1b2".repeat(16), "c3d4".repeat(20))).unwrap();
    let file = format!("refresh = {{ secret_file = {path:?} }}");
    let secrets = Settings::from_toml(&minimal_and(&file)).unwrap().refresh.secrets;
    assert_eq!(secrets.iter().map(|secret| secret.expose().len()).collect::<Vec<_>>(), [64, 80]);

    let both = format!("refresh = {{ secret_file = {path:?}, secret = \"{}\" }}", "a1b2".repeat(16));
    assert_one_fault(&both, &["refresh.secret_file", "`secret` is given too"]);
    assert_one_fault("refresh = { secret_file = \"/nowhere/at/all\" }", &["refresh.secret_file", "cannot be read"]);
    std::fs::write(&path, "\n").unwrap();
    assert_one_fault(&file, &["refresh.secret_file", "the file is empty"]);
}

#[test]
fn secrets_are_neither_printed_nor_repeated_in_errors() {
    let secret = "5ec7e7".repeat(12);
    let file = minimal_and(&format!("[refresh]\nsecret = \"{secret}\"\n[store.redis]\nurl = \"redis://u:hunter2@h\"\n"));
    let loaded = load(&inputs(&file, &[], &[])).unwrap();
    let printed = format!("{}{:?}", loaded.print(), loaded.settings);
    assert!(
        printed.contains("secret = \"[redacted]\"") && !printed.contains(&secret) && !printed.contains("hunter2"),
        "{printed}"
    );

    let issuer =
        "[[issuers]]\nissuer = \"i\"\naudiences = [\"a\"]\nalgorithms = [\"ES256\"]\njwks_url = \"https://h/?code=hunter2\"\n";
    let loaded = load(&inputs(&minimal_and(&format!("{issuer}shares_subjects = true\n")), &[], &[])).unwrap();
    let printed = format!("{}{loaded:?}", loaded.print());
    assert!(printed.contains("https://h/?[redacted]") && !printed.contains("hunter2"), "{printed}");

    let bad = [
        "[refresh]\nsecret = \"hunter2\"\n",
        "[refresh]\nsecrt = \"hunter2\"\n",
        "[store.redis]\npassword = [\"hunter2\"]\n",
        "[store.redis]\nurl = \"ftp://u:hunter2@h\"\n",
        "[upstreams.b]\nurl = \"http://u:hunter2@h\"\n",
        "[store.redis]\npassword = \"a\"\nurl = \"redis://u:hunter2@h\"\n",
        "[admin]\naddress = \"0.0.0.0:1\"\ntoken = \"hunter2\"\n",
    ];
    for file in bad {
        let faults = faults(&minimal_and(file)).concat();
        assert!(!faults.contains("hunter2"), "{faults}");
    }
}

#[test]
fn routes_are_checked_against_upstreams_and_each_other() {
    let route = |text: &str| format!("[[routes]]\nname = \"a\"\n{text}\n");
    assert_one_fault(&route("upstream = \"nowhere\""), &["routes[0].upstream = \"nowhere\"", "allowed: \"api\""]);
    assert_one_fault(&route("access = \"public\"\nscopes = [\"x\"]"), &["routes[0].scopes", "public"]);
    assert_one_fault(&route("methods = [\"get\"]"), &["routes[0].methods", "upper case"]);
    assert_one_fault(&route("prefix = \"/a/../b\""), &["routes[0].prefix", "starts with a slash"]);
    assert_one_fault(&route("host = \"a:80\""), &["routes[0].host", "without port"]);
    assert_one_fault(&route("host = \"*example.com\""), &["routes[0].host", "*.example.com"]);
    let at_login = |methods: &str| route(&format!("prefix = \"/login\"\nexact = true\nmethods = [{methods}]"));
    assert_one_fault(&at_login("\"POST\""), &["routes[0].prefix", "\"/login\"", "endpoint"]);
    assert_eq!(Settings::from_toml(&minimal_and(&at_login("\"GET\""))).unwrap().routes.len(), 1, "a page of the front end");
    assert_one_fault(&(route("prefix = \"/a\"") + "[[routes]]\nname = \"b\"\nprefix = \"/a/\""), &["routes[1].prefix", "\"a\""]);
    assert_one_fault(&(route("prefix = \"/a\"") + "[[routes]]\nname = \"a\"\nprefix = \"/b\""), &["routes[1].name"]);
    assert_one_fault("[[routes]]\nprefix = \"/x\"\n", &["routes[0].name: is missing", "name = \"api\""]);
    let split = route("prefix = \"/a\"\nmethods = [\"GET\"]") + "[[routes]]\nname = \"b\"\nprefix = \"/a\"\nmethods = [\"POST\"]";
    assert_eq!(Settings::from_toml(&minimal_and(&split)).unwrap().routes.len(), 2);
}

#[test]
fn several_upstreams_without_a_default_must_be_named() {
    let two = "[upstreams.a]\nurl = \"http://h:1\"\n[upstreams.b]\nurl = \"https://h:2\"\n";
    let faults = faults(two);
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults[0].contains("routes[0].upstream") && faults[1].contains("login.upstream"), "{faults:#?}");
    let with_default = format!("{two}[upstreams.default]\nurl = \"http://h:3\"\n");
    let settings = Settings::from_toml(&with_default).unwrap();
    assert_eq!(settings.routes[0].upstream, UpstreamIndex(2));
    assert!(settings.upstreams[1].is_tls() && settings.upstreams[1].port() == 2);
}

#[test]
fn own_endpoints_take_the_prefix_and_never_one_path_twice() {
    let settings = Settings::from_toml(&minimal_and("endpoints = { prefix = \"/auth/\", register = \"\" }")).unwrap();
    assert_eq!(settings.endpoints.paths.login, ["/auth/login"]);
    assert_eq!(settings.endpoints.paths.jwks.as_deref(), Some("/.well-known/jwks.json"));
    assert!(settings.endpoints.paths.register.is_empty());
    assert_one_fault("endpoints = { logout = \"/login\" }", &["endpoints.logout", "endpoints.login"]);
    assert_one_fault("endpoints = { login = \"/\" }", &["endpoints.login"]);
}

#[test]
fn calls_of_logins_may_have_several_paths_each() {
    let text =
        "endpoints = { prefix = \"/auth\", login = [\"/login\", \"/login/2fa\"], register = \"/join\", quick_register = [] }";
    let settings = Settings::from_toml(&minimal_and(text)).unwrap();
    assert_eq!(settings.endpoints.paths.login, ["/auth/login", "/auth/login/2fa"]);
    assert_eq!(settings.endpoints.paths.register, ["/auth/join"]);
    assert!(settings.endpoints.paths.quick_register.is_empty());
    assert_one_fault(
        "endpoints = { login = [\"/in\", \"/in\"] }",
        &["endpoints.login", "\"/in\" is the path of endpoints.login"],
    );
    assert_one_fault("endpoints = { login = [\"/in\", \"\"] }", &["endpoints.login", "item 2"]);
    assert_one_fault("endpoints = { register = [\"/in\", \"/refresh\"] }", &["endpoints.refresh", "endpoints.register"]);
    let of_the_route = "[[routes]]\nname = \"a\"\nprefix = \"/in\"\nexact = true\nmethods = [\"POST\"]\n[endpoints]\nlogin = [\"/login\", \"/in\"]";
    assert_one_fault(of_the_route, &["routes[0].prefix", "\"/in\"", "endpoint"]);
}

#[test]
fn tokens_fit_into_what_they_come_in() {
    assert_one_fault("tokens = { bytes_max = \"31KiB\" }", &["tokens.bytes_max", "listen.header_bytes_max"]);
    let both = |other: &str| format!("tokens.bytes_max = \"12KiB\"\n{other}");
    assert_one_fault(&both("listen.header_bytes_max = \"8KiB\""), &["tokens.bytes_max", "listen.header_bytes_max"]);
    assert_one_fault(&both("endpoints.body_bytes_max = \"8KiB\""), &["endpoints.body_bytes_max", "tokens.bytes_max"]);
    for (alone, bytes_max) in [
        ("", 12 << 10),
        ("listen.header_bytes_max = \"8KiB\"", 6 << 10),
        ("listen.header_bytes_max = \"2KiB\"", 1 << 10),
        ("endpoints.body_bytes_max = \"8KiB\"", 7 << 10),
        ("listen.header_bytes_max = \"1MiB\"", 12 << 10),
    ] {
        assert_eq!(
            Settings::from_toml(&minimal_and(alone)).unwrap().tokens.bytes_max,
            bytes_max,
            "nobody asked for more: {alone}"
        );
    }
    let settings = Settings::from_toml(&minimal_and("tokens = { bytes_max = \"30KiB\" }")).unwrap();
    assert_eq!(settings.tokens.bytes_max, 30 << 10);
    assert!(Settings::from_toml(&minimal_and("listen.header_bytes_max = \"8KiB\"\ntokens.bytes_max = \"6KiB\"")).is_ok());
}

#[test]
fn what_makes_a_session_is_not_a_contradiction() {
    assert_one_fault("login = { statuses = [204] }", &["login.statuses", "204 to 206"]);
    assert_one_fault("login = { statuses = [] }", &["login.statuses", "must not be empty"]);
    assert_one_fault("login = { statuses = [401] }", &["login.statuses"]);
    assert_one_fault("login = { issue_on = [\"refresh\"] }", &["login.issue_on", "quick_register"]);
    assert_one_fault("login = { unless = [\"/a={}\"] }", &["login.unless", "JSON scalar"]);
    assert_one_fault(
        "login = { requires = [\"/a\"], unless = [\"/a\"] }",
        &["login.requires", "no answer would become a session"],
    );
}

#[test]
fn claims_and_members_keep_clear_of_what_is_taken() {
    assert_one_fault("login = { claims = { sub = \"/id\" } }", &["login.claims.sub", "sets this claim itself"]);
    assert_one_fault("login = { claims = { role = \"user/role\" } }", &["login.claims.role", "JSON pointer"]);
    assert_one_fault("login = { subject = [] }", &["login.subject", "must not be empty"]);
    assert_one_fault("login = { members = { token = \"accessToken\" } }", &["login.members.token", "same name"]);
    assert_one_fault("login = { members = { access_token = \"\" } }", &["login.members.access_token"]);
    let claims = "[login.claims]\n\"https://example.com/role\" = \"/user/role\"\n";
    assert_eq!(Settings::from_toml(&minimal_and(claims)).unwrap().login.claims[0].0, "https://example.com/role");
}

#[test]
fn a_claims_hook_has_an_upstream_and_answers_in_the_time_of_a_refresh() {
    let hook = |text: &str| Settings::from_toml(&minimal_and(&format!("claims_hook = {{ {text} }}"))).unwrap().claims_hook;
    assert!(hook("").is_none() && hook("timeout = \"1s\"").is_none());
    let on = hook("path = \"/claims\"").unwrap();
    assert_eq!((on.upstream.0, on.on_failure), (0, WithoutClaims::Keep));
    assert_one_fault(
        "claims_hook = { path = \"/claims\", upstream = \"nobody\" }\n",
        &["claims_hook.upstream = \"nobody\"", "\"api\""],
    );
    assert_one_fault("claims_hook = { path = \"claims\" }\n", &["claims_hook.path = \"claims\""]);
    assert_one_fault("claims_hook = { path = \"/claims\", timeout = \"9s\" }\n", &["claims_hook.timeout = \"9s\"", "8s"]);
    let with_space = "claims_hook = { path = \"/claims\", token = \"two words\" }\n";
    assert_one_fault(with_space, &["claims_hook.token", "visible ASCII"]);
}

#[test]
fn identity_fields_are_kept_free_by_the_names_that_they_have_by_default() {
    let identity = Settings::from_toml(MINIMAL).unwrap().identity;
    let named = [identity.subject_header, identity.session_header, identity.scopes_header];
    for name in named.into_iter().flatten() {
        assert!(crate::domain::headers::IDENTITY_NAMES.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn a_setting_that_is_no_more_names_what_has_taken_its_place() {
    assert_one_fault(
        "identity = { pass_authorization = true }",
        &["identity.pass_authorization", "true", "authorization = \"pass\""],
    );
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
    assert_one_fault(&entry("[\"rolle\"]"), &["issuers[0].trusted_claims", "rolle", "identity.claims"]);
    for own in ["sub", "sid", "gen", "scope", "jti"] {
        assert_one_fault(&entry(&format!("[\"{own}\"]")), &["issuers[0].trusted_claims", own]);
    }
}

#[test]
fn what_is_printed_is_toml_and_reads_back_to_the_same() {
    let file = minimal_and("[login.claims]\n\"https://x/y\" = \"/role\"\n[[routes]]\nname = \"r\"\nprefix = \"/r\"\n");
    let printed = load(&inputs(&file, &[], &[])).unwrap().print();
    let again = load(&inputs(&printed, &[], &[])).unwrap().print();
    let without_origins =
        |text: &str| text.lines().map(|line| line.split(" # ").next().unwrap().trim_end().to_owned()).collect::<Vec<_>>();
    assert_eq!(without_origins(&printed), without_origins(&again));
}

#[test]
fn the_settings_of_the_benchmark_are_valid_and_check_the_tokens_that_are_sent() {
    let settings = Settings::from_toml(include_str!("../../benches/peers.toml")).unwrap();
    assert_eq!(settings.routes[0].access, Access::Optional);
    assert_eq!(settings.issuers[0].audiences, ["https://api.example.com"]);
}

/// Keys as a flag would name them: entries of lists as their first one.
fn every_key() -> Vec<String> {
    let layers = layers::merge(&inputs(&layers::uncommented(DEFAULT_FILE), &[], &[])).map_err(Invalid).unwrap();
    let notes = Notes::default();
    let _ = Settings::read(&layers, &notes);
    notes.known().into_iter().map(|key| key.replace("[]", ".0").replace("NAME", "name")).collect()
}

#[test]
fn no_value_anywhere_makes_loading_panic() {
    let keys = every_key();
    assert!(keys.len() > 120, "{}", keys.len());
    let values = [
        "",
        " ",
        "0",
        "-1",
        "1.5",
        "true",
        "99999999999999999999",
        "[]",
        "{}",
        "[[1], {}]",
        "{ a = { b = [1] } }",
        "\0\u{1b}",
        "ä/%",
        "*",
    ];
    for value in values {
        let flags: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), value)).collect();
        assert!(load(&inputs(MINIMAL, &[], &flags)).is_err(), "{value}");
        // Sections last would hide their keys: leaves alone, too.
        let is_leaf = |key: &&String| !keys.iter().any(|other| other.starts_with(&format!("{key}.")));
        let flags: Vec<(&str, &str)> = keys.iter().filter(is_leaf).map(|key| (key.as_str(), value)).collect();
        assert!(load(&inputs(MINIMAL, &[], &flags)).is_err(), "{value}");
    }
}

proptest::proptest! {
    #[test]
    fn no_file_makes_loading_panic(text in "([\\[\\]a-z.=\"# \n]|listen|routes|\"1s\"){0,60}") {
        let _ = load(&inputs(&text, &[], &[]));
    }
}
