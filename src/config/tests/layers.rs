//! Layers, faults and the default file.

use std::collections::BTreeSet;

use config::{Value, ValueKind};

use super::{MINIMAL, assert_one_fault, faults, faults_of, inputs, minimal_and};
use crate::config::notes::Notes;
use crate::config::{DEFAULT_FILE, Invalid, Settings, layers, load};
use crate::domain::route::Access;

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
    assert_eq!((loaded.settings.listeners.first().address.port(), listen.workers, listen.connections_max), (3, 2, 7));
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
    assert_eq!(settings.routes.listed()[1].access, Access::Public);
    let upstreams = settings.routes.listed().iter().map(|route| &*settings.upstreams[route.forward().unwrap().upstream].name);
    assert_eq!(upstreams.collect::<Vec<_>>(), ["api", "other"]);
    assert_eq!(settings.listen.trusted_peers.len(), 2);
    assert_eq!(settings.tokens.audience, ["a,b", "c"]);
    assert_eq!(settings.login.claims[0].0, "role");
    assert_eq!(&*settings.upstreams[settings.login.upstream.unwrap()].name, "other");
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
fn a_setting_that_is_no_more_names_what_has_taken_its_place() {
    assert_one_fault(
        "identity = { pass_authorization = true }",
        &["identity.pass_authorization", "true", "authorization = \"pass\""],
    );
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
