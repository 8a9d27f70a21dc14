//! Which access cookies a refresh on the way of a request mends, and what becomes of a browser that nothing mends.

use std::time::Duration;

use tokengate::domain::stats::Counter;

use super::client::Response;
use super::in_flight::{IN_FLIGHT, get, names, rig};
use super::renewals::log_out;
use super::rig::{Rig, Tokens, eventually};
use super::stale;
use super::upstream::Upstream;
use crate::support::redis::RedisServer;

fn get_with(rig: &Rig, path: &str, cookies: &str) -> Response {
    rig.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\nCookie: {cookies}\r\n\r\n"))
}

#[test]
fn an_access_cookie_that_was_revoked_hides_no_good_refresh_cookie() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    let (ended, next) = (rig.log_in(), rig.log_in());
    log_out(&rig, &ended.access, "session");
    let cookies = format!("access={}; refresh={}", ended.access, next.refresh);
    for path in ["/api", "/shop", "/watched", "/strict", "/strict-shop", "/lenient"] {
        let response = get_with(&rig, path, &cookies);
        assert_eq!((response.status, names(&response).len()), (200, 2), "{path}: {response:?}");
        assert!(response.body.contains("x-auth-subject: user-1\r\n"), "{path}: {response:?}");
    }
    let who = get_with(&rig, "/session", &cookies);
    assert_eq!((who.status, names(&who).len()), (200, 2), "{who:?}");
    assert_eq!(rig.counted(Counter::RefreshesRotated), 1);
    let foreign = rig.ask(format!("POST /api HTTP/1.1\r\nHost: a\r\nCookie: {cookies}\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!((foreign.status, names(&foreign).len()), (403, 0), "another site has nothing refreshed so either");
    let bearer = format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", ended.access);
    let bearer = rig.ask(format!("{bearer}Cookie: refresh={}\r\n\r\n", next.refresh));
    assert_eq!((bearer.code().as_str(), names(&bearer).len()), ("token_revoked", 0), "a client with a token of its own");
    // Whoever logs out by both ends the session that there is.
    let out = rig.ask(format!("POST /logout HTTP/1.1\r\nHost: a\r\nX-Csrf: 1\r\nCookie: {cookies}\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(out.status, 200, "{out:?}");
    assert_eq!(get(&rig, "/api", &next.refresh).code(), "refresh_token_invalid");
}

#[test]
fn whoever_logged_out_everywhere_elsewhere_is_nobody_here() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    let (here, elsewhere) = (rig.log_in(), rig.log_in());
    log_out(&rig, &elsewhere.access, "all");
    let both = format!("access={}; refresh={}", here.access, here.refresh);
    let access = format!("access={}", here.access);
    for (cookies, code) in [(&both, "refresh_token_invalid"), (&access, "token_revoked")] {
        for path in ["/shop", "/strict-shop", "/watched"] {
            let response = get_with(&rig, path, cookies);
            assert_eq!((response.status, names(&response).len()), (200, 0), "{path}: {response:?}");
            assert!(!response.body.contains("user-1"), "{path}: {response:?}");
        }
        for path in ["/api", "/strict", "/session"] {
            let response = get_with(&rig, path, cookies);
            assert_eq!((response.status, response.code().as_str()), (401, code), "{path}");
            assert_eq!(response.fields("set-cookie").count(), 0);
        }
    }
    let bearer = rig.get("/shop", &here.access);
    assert_eq!((bearer.status, bearer.code().as_str()), (401, "token_revoked"), "whoever shows a token means somebody");
}

#[test]
fn an_access_cookie_of_any_bytes_hides_no_good_refresh_cookie() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    let Tokens { refresh, .. } = rig.log_in();
    for access in [&b"\xff\xfe"[..], "Zoë".as_bytes(), b"null", b"e30.e30.e30"] {
        let request =
            [b"GET /api HTTP/1.1\r\nHost: a\r\nCookie: access=", access, b"; refresh=", refresh.as_bytes(), b"\r\n\r\n"];
        let response = rig.ask(request.concat());
        assert_eq!((response.status, names(&response).len()), (200, 2), "{}: {response:?}", access.escape_ascii());
        let alone = rig.ask([b"GET /shop HTTP/1.1\r\nHost: a\r\nCookie: access=", access, b"\r\n\r\n"].concat());
        assert_eq!(alone.status, 200, "{}: nobody is welcome there", access.escape_ascii());
    }
}

#[test]
fn while_the_token_lives_a_store_that_hangs_costs_a_moment_once() {
    let (redis, keys) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let store = stale::on(&redis, keys.path()).replace("[keys]", "deadline = \"3s\"\n[keys]");
    let settings = IN_FLIGHT.replace("[store]\n    kind = \"memory\"\n", &store);
    let upstream = Upstream::echo();
    let rig = Rig::start_from(upstream.address, &format!("{settings}[revocation]\nmax_staleness = \"1h\"\n"), |settings| {
        settings.keys.generate = true;
    });
    let Tokens { access, refresh } = rig.log_in();
    let both = || get_with(&rig, "/api", &format!("access={access}; refresh={refresh}"));
    rig.clock.advance(Duration::from_secs(15 * 60 - 25));
    redis.freeze();
    let began = tokio::time::Instant::now();
    for _ in 0..20 {
        let response = both();
        assert_eq!((response.status, names(&response).len()), (200, 0), "{response:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    redis.thaw();
    eventually("the cookies come", || names(&both()).len() == 2);
}
