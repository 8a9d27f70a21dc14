//! Cookies that are refreshed on the way of a request about which another proxy asks.

use tokengate::domain::stats::Counter;

use super::client::{Client, Response};
use super::renewals::log_out;
use super::rig::{Rig, Tokens};
use super::upstream::Upstream;

const SETTINGS: &str = r#"
    [store]
    kind = "memory"
    [decision]
    address = "127.0.0.1:0"
    [cookies]
    enabled = true
    tokens_in_body = true
    refresh_in_flight = true
    [[routes]]
    name = "shop"
    prefix = "/shop"
    access = "optional"
    [[routes]]
    name = "moved"
    prefix = "/moved"
    redirect = { to = "/api{rest}", status = 308 }
"#;

fn ask(rig: &Rig, method: &str, target: &str, fields: &str) -> Response {
    let mut client = Client::connect(rig.decision_address());
    client.send(format!(
        "GET /auth HTTP/1.1\r\nHost: g\r\nX-Original-URL: http://a{target}\r\nX-Original-Method: {method}\r\n\
         X-Forwarded-For: 192.0.2.7\r\n{fields}\r\n"
    ));
    client.response()
}

fn set(response: &Response) -> Vec<&str> {
    response.fields("set-cookie").collect()
}

#[test]
fn yes_brings_the_cookies_each_in_a_field_of_its_own_too_and_what_the_api_may_have() {
    let rig = Rig::start_from(Upstream::echo().address, SETTINGS, |_| {});
    let Tokens { refresh, .. } = rig.log_in();
    let cookie = format!("Cookie: a=1; __Host-refresh={refresh}; b=2\r\n");
    for _ in 0..3 {
        let yes = ask(&rig, "GET", "/api", &cookie);
        assert_eq!(
            (yes.status, yes.field("x-auth-subject"), yes.field("cookie")),
            (200, Some("user-1"), Some("a=1; b=2")),
            "{yes:?}"
        );
        let each = [yes.field("x-auth-set-cookie-access").unwrap(), yes.field("x-auth-set-cookie-refresh").unwrap()];
        assert_eq!(set(&yes), each);
        assert!(each[0].starts_with("__host-access=ey") && each[1].starts_with("__host-refresh=tgr_"), "{each:?}");
        assert_eq!(yes.field("cache-control"), Some("no-store"));
    }
    assert_eq!(rig.counted(Counter::RefreshesRotated), 1);
    let moved = ask(&rig, "GET", "/moved", &cookie);
    assert_eq!((moved.status, set(&moved).len(), moved.field("cache-control")), (308, 2, Some("private")));
}

#[test]
fn an_access_cookie_that_was_revoked_is_mended_or_nobodys_here_too() {
    let rig = Rig::start_from(Upstream::echo().address, SETTINGS, |_| {});
    let (ended, next) = (rig.log_in(), rig.log_in());
    log_out(&rig, &ended.access, "session");
    let cookies = |refresh: &str| format!("Cookie: __Host-access={}; __Host-refresh={refresh}\r\n", ended.access);
    for target in ["/api", "/shop"] {
        let yes = ask(&rig, "GET", target, &cookies(&next.refresh));
        assert_eq!((yes.status, yes.field("x-auth-subject"), set(&yes).len()), (200, Some("user-1"), 2), "{yes:?}");
    }
    let nobody = ask(&rig, "GET", "/shop", &cookies(&ended.refresh));
    assert_eq!((nobody.status, nobody.field("x-auth-subject"), set(&nobody).len()), (200, Some(""), 0), "{nobody:?}");
    assert_eq!(ask(&rig, "GET", "/api", &cookies(&ended.refresh)).status, 401);
}

#[test]
fn no_brings_none_and_neither_does_yes_to_who_needs_none() {
    let rig = Rig::start_from(Upstream::echo().address, SETTINGS, |_| {});
    let Tokens { access, refresh } = rig.log_in();
    let cookie = format!("Cookie: __Host-refresh={refresh}\r\n");
    for (method, target, fields, status) in [
        ("POST", "/api", format!("{cookie}Origin: https://evil.example\r\n"), 403),
        ("GET", "/api", "Cookie: __Host-refresh=tgr_x\r\n".to_owned(), 401),
        ("GET", "/api", "Cookie: a=1\r\n".to_owned(), 401),
        ("GET", "/scoped", cookie.clone(), 403),
        ("GET", "/session", cookie.clone(), 421),
        ("GET", "/public", cookie, 200),
        ("GET", "/api", format!("Cookie: __Host-access={access}; __Host-refresh={refresh}\r\n"), 200),
    ] {
        let answer = ask(&rig, method, target, &fields);
        assert_eq!((answer.status, set(&answer).len()), (status, 0), "{method} {target} {fields}: {answer:?}");
        assert!(answer.field("x-auth-set-cookie-access").is_none() && answer.field("x-auth-set-cookie-refresh").is_none());
        assert!(status != 200 || answer.field("cookie") == Some(""), "{answer:?}");
    }
}
