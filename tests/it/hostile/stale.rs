//! A store that stops answering: what is vouched for from memory, and for how long.

use std::time::Duration;

use super::rig::{Rig, Tokens, eventually};
use super::upstream::Upstream;
use crate::support::redis::RedisServer;

fn rig_on(server: &RedisServer, upstream: &Upstream, keys: &std::path::Path) -> Rig {
    Rig::start_from(upstream.address, &on(server, keys), |settings| settings.keys.generate = true)
}

/// Settings for such a store, whose keys are to be generated.
pub(super) fn on(server: &RedisServer, keys: &std::path::Path) -> String {
    format!(
        r#"
        [store]
        kind = "redis"
        [store.redis]
        url = "{}"
        [keys]
        directory = "{}"
        [refresh]
        secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
        "#,
        server.url(),
        keys.display()
    )
}

fn assert_own_endpoints_are_unavailable(rig: &Rig, tokens: &Tokens) {
    let refresh = format!(r#"{{"refreshToken":"{}"}}"#, tokens.refresh);
    let login = r#"{"email":"a@example.com","password":"x"}"#;
    for (path, body) in [("/refresh", refresh.as_str()), ("/logout", refresh.as_str()), ("/login", login)] {
        let response = rig.post(path, body);
        assert_eq!(response.status, 503, "{path}: {response:?}");
        assert!(response.field("retry-after").is_some(), "{path}: {response:?}");
    }
    let devices = rig.get("/sessions", &tokens.access);
    assert_eq!(devices.status, 503, "{devices:?}");
}

#[test]
fn stale_revocations_are_503_on_protected_routes_and_nothing_on_others() {
    let server = RedisServer::start();
    let upstream = Upstream::echo();
    let keys = tempfile::tempdir().unwrap();
    let rig = rig_on(&server, &upstream, keys.path());
    let tokens = rig.log_in();
    assert_eq!(rig.get("/api", &tokens.access).status, 200);

    server.freeze();
    assert_eq!(rig.get("/api", &tokens.access).status, 200, "within the bound nobody notices");
    rig.clock.advance(Duration::from_secs(31));
    let response = rig.get("/api", &tokens.access);
    assert_eq!((response.status, response.code().as_str()), (503, "revocations_stale"), "{response:?}");
    assert!(response.field("retry-after").is_some());
    assert_eq!(rig.ask("GET /public HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    assert_eq!(rig.get("/lenient", &tokens.access).status, 200);
    assert_eq!(rig.get("/api", "garbage").status, 401, "a bad token stays a bad token");
    assert_own_endpoints_are_unavailable(&rig, &tokens);

    server.thaw();
    eventually("the store is followed again", || rig.get("/api", &tokens.access).status == 200);
    eventually("tokens are refreshed again", || {
        rig.post("/refresh", &format!(r#"{{"refreshToken":"{}"}}"#, tokens.refresh)).status == 200
    });
}

#[test]
fn own_endpoints_are_503_when_the_store_is_gone() {
    let mut server = RedisServer::start();
    let upstream = Upstream::echo();
    let keys = tempfile::tempdir().unwrap();
    let rig = rig_on(&server, &upstream, keys.path());
    let tokens = rig.log_in();
    server.kill();
    assert_own_endpoints_are_unavailable(&rig, &tokens);
    assert_eq!(rig.get("/api", &tokens.access).status, 200, "what is known still holds");
}
