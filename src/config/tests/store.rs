//! The store, what several nodes must share, and the admin listener.

use super::{assert_one_fault, faults, minimal_and};
use crate::config::Settings;

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
