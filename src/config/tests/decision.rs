//! Where other proxies ask.

use super::{assert_one_fault, inputs, load, minimal_and};
use crate::config::Settings;
use crate::domain::question::Dialect;

fn settings(keys: &str) -> Settings {
    load(&inputs(&minimal_and(&format!("[decision]\n{keys}")), &[], &[])).unwrap().settings
}

#[test]
fn it_is_off_until_an_address_is_set_and_takes_the_machines_own_proxies() {
    assert!(settings("").decision.listener.is_none());
    let on = settings("address = '127.0.0.1:8081'");
    assert_eq!(on.listeners.address_key(1), "decision.address");
    let listener = on.decision.listener.unwrap();
    assert_eq!(listener.peers, ["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!((on.decision.questions.dialect, on.decision.questions.path_prefix.as_str()), (None, "/ext_authz"));
    let one = settings("address = '0.0.0.0:8081'\npeers = ['10.0.0.0/8']\ndialect = 'original'\npath_prefix = '/check/it'");
    assert_eq!(one.decision.questions.dialect, Some(Dialect::Original));
    assert_eq!(one.decision.questions.path_prefix, "/check/it");
}

#[test]
fn what_nobody_could_ask_is_refused() {
    for (keys, parts) in [
        ("address = '127.0.0.1:8081'\npeers = []", &["decision.peers", "127.0.0.0/8"][..]),
        ("address = '10.0.0.1:8081'", &["decision.peers", "loopback", "networks"]),
        ("address = '127.0.0.1:8081'\npeers = ['all']", &["decision.peers", "item 1", "10.0.0.0/8"]),
        ("address = 'systemd:web'", &["decision.address", "listeners of clients"]),
        ("address = '127.0.0.1:8080'", &["decision.address", "listen.address", "each listener"]),
        ("dialect = 'nginx'", &["decision.dialect", "\"original\"", "\"grpc\""]),
        ("path_prefix = ''", &["decision.path_prefix", "must not be empty"]),
        ("path_prefix = '/'", &["decision.path_prefix", "/ext_authz"]),
        ("path_prefix = '/a/'", &["decision.path_prefix", "/ext_authz"]),
        ("path_prefix = 'a'", &["decision.path_prefix", "/ext_authz"]),
        ("path_prefix = '/a/../b'", &["decision.path_prefix", "/ext_authz"]),
        ("path_prefix = '/a%20b'", &["decision.path_prefix", "/ext_authz"]),
        ("path_prefix = '/a?b'", &["decision.path_prefix", "/ext_authz"]),
    ] {
        assert_one_fault(&format!("[decision]\n{keys}"), parts);
    }
}
