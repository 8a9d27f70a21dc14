//! Cookies that are refreshed on the way of a request, and those who would have them refreshed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokengate::domain::stats::Counter;

use super::client::{Client, Response};
use super::http2::client::{Http2Client, get as get_by_http2};
use super::rig::{Rig, Tokens, eventually, forward};
use super::upstream::Upstream;

pub(super) const IN_FLIGHT: &str = r#"
    [store]
    kind = "memory"
    [limits.refresh]
    per_account = "1000/1m"
    [[routes]]
    name = "shop"
    prefix = "/shop"
    access = "optional"
    [[routes]]
    name = "page"
    prefix = "/page"
    redirect.to = "/elsewhere"
    [[routes]]
    name = "watched"
    prefix = "/watched"
    mode = "observe"
    [[routes]]
    name = "strict"
    prefix = "/strict"
    revocation = "strict"
    [[routes]]
    name = "strict-shop"
    prefix = "/strict-shop"
    access = "optional"
    revocation = "strict"
    [[routes]]
    name = "sign-in"
    prefix = "/sign-in"
    access = "public"
    [[routes]]
    name = "pages"
    prefix = "/pages"
    sign_in = "/sign-in?next={path}"
    [endpoints]
    ticket = "/ticket"
    [cookies]
    enabled = true
    tokens_in_body = true
    refresh_in_flight = true
    access_name = "access"
    refresh_name = "refresh"
    csrf_origins = ["https://app.example"]
    [cors]
    allowed_origins = ["https://app.example"]
    allow_credentials = true
"#;

const SHAKE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

pub(super) fn rig(upstream: &Upstream) -> Rig {
    Rig::start_from(upstream.address, IN_FLIGHT, |_| {})
}

/// What a browser sends whose access cookie has run out.
fn call(rig: &Rig, line: &str, refresh: &str, fields: &str) -> Response {
    rig.ask(format!("{line} HTTP/1.1\r\nHost: a\r\nCookie: theme=dark; refresh={refresh}\r\nContent-Length: 0\r\n{fields}\r\n"))
}

pub(super) fn get(rig: &Rig, path: &str, refresh: &str) -> Response {
    rig.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\nCookie: theme=dark; refresh={refresh}\r\n\r\n"))
}

/// The cookies that the response sets, without those that it empties.
fn set(response: &Response) -> Vec<(String, String)> {
    let pairs = response.fields("set-cookie").filter_map(|field| field.split(';').next()?.split_once('='));
    pairs.filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

pub(super) fn names(response: &Response) -> Vec<String> {
    set(response).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_request_is_forwarded_in_the_name_of_its_session_and_brings_the_next_cookies() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    let Tokens { refresh, .. } = rig.log_in();
    for path in ["/api/x", "/shop", "/lenient"] {
        let response = get(&rig, path, &refresh);
        assert_eq!((response.status, names(&response)), (200, vec!["access".to_owned(), "refresh".to_owned()]), "{response:?}");
        assert!(response.body.contains("x-auth-subject: user-1\r\n") && response.body.contains("cookie: theme=dark\r\n"));
        assert_eq!(response.field("cache-control"), Some("private"));
    }
    assert_eq!(rig.counted(Counter::RefreshesRotated), 1);
    let redirected = get(&rig, "/page", &refresh);
    assert_eq!((redirected.status, names(&redirected).len()), (308, 2), "a route that responds by itself brings them too");
    let who = get(&rig, "/session", &refresh);
    assert_eq!((who.status, names(&who).len(), who.field("cache-control")), (200, 2, Some("private, no-store")), "{who:?}");
    for path in ["/public", "/nowhere"] {
        assert!(names(&get(&rig, path, &refresh)).is_empty(), "{path} asks for nobody");
    }
}

#[test]
fn no_upstream_sees_the_refresh_cookie_on_any_path() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    let Tokens { refresh, .. } = rig.log_in();
    for cookie in [
        format!("refresh={refresh}"),
        format!("a=1;refresh={refresh};b=2"),
        format!(" refresh = {refresh} "),
        format!("refresh={refresh}; refresh={refresh}"),
        format!("\t;;refresh={refresh}"),
    ] {
        for path in ["/public", "/public/x", "/api", "/lenient", "/shop"] {
            let response = rig.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\nCookie: x=1\r\nCookie: {cookie}\r\n\r\n"));
            assert!(!response.body.contains("tgr_"), "{path} {cookie}: {response:?}");
        }
        let body = r#"{"email":"a@example.com","password":"correct horse battery"}"#;
        let length = body.len();
        rig.ask(format!(
            "POST /login HTTP/1.1\r\nHost: a\r\nX-Csrf: 1\r\nCookie: {cookie}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
    }
    assert!(upstream.heard().iter().all(|request| !request.contains("tgr_")));
}

#[test]
fn another_site_has_nothing_refreshed_and_nothing_done() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    let Tokens { refresh, .. } = rig.log_in();
    let heard = upstream.heard().len();
    for fields in ["", "Origin: https://evil.example\r\n", "Origin: null\r\n"] {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let response = call(&rig, &format!("{method} /api"), &refresh, fields);
            assert_eq!(
                (response.status, response.code().as_str(), names(&response).len()),
                (403, "origin_refused", 0),
                "{method}"
            );
        }
        let response = rig.ask(format!("GET /api HTTP/1.1\r\nHost: a\r\nCookie: refresh={refresh}\r\n{fields}{SHAKE}\r\n"));
        assert_eq!((response.status, names(&response).len()), (403, 0), "a WebSocket is no reading");
    }
    assert_eq!((rig.counted(Counter::RefreshesRotated), upstream.heard().len()), (0, heard));
    for fields in ["Origin: https://app.example\r\n", "X-Csrf: 1\r\n"] {
        let response = call(&rig, "POST /api", &refresh, fields);
        assert_eq!((response.status, names(&response).len()), (200, 2), "{fields}: {response:?}");
    }
    assert_eq!(get(&rig, "/api", &refresh).status, 200, "reading changes nothing");
}

#[test]
fn whoever_has_no_good_cookie_is_told_so_and_costs_nothing() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    let Tokens { access, refresh } = rig.log_in();
    for junk in ["x", "tgr_x", &format!("{refresh}x"), &access] {
        let response = get(&rig, "/api", junk);
        assert_eq!((response.status, response.code().as_str()), (401, "refresh_token_invalid"), "{junk}");
        assert_eq!(response.fields("set-cookie").count(), 0);
        assert_eq!(get(&rig, "/shop", junk).status, 200, "nobody is welcome there as nobody");
    }
    assert_eq!(rig.ask("GET /api HTTP/1.1\r\nHost: a\r\n\r\n").code(), "token_missing");
    let twice = rig.ask(format!("GET /api HTTP/1.1\r\nHost: a\r\nCookie: refresh={refresh}; refresh=tgr_x\r\n\r\n"));
    assert_eq!((twice.status, twice.code().as_str()), (400, "token_ambiguous"));
    let bearer =
        rig.ask(format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {access}x\r\nCookie: refresh={refresh}\r\n\r\n"));
    assert_eq!((bearer.status, names(&bearer).len()), (401, 0), "a client with a token of its own is no browser");
    let ended = call(&rig, "POST /logout", &refresh, "X-Csrf: 1\r\n");
    assert_eq!(ended.status, 200);
    let over = get(&rig, "/api", &refresh);
    assert_eq!((over.status, over.fields("set-cookie").count()), (401, 0));
    assert_eq!(rig.counted(Counter::RefreshesRotated), 0);
}

#[test]
fn an_access_cookie_that_has_expired_or_soon_will_is_replaced() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    let Tokens { access, refresh } = rig.log_in();
    let both = || rig.ask(format!("GET /api HTTP/1.1\r\nHost: a\r\nCookie: access={access}; refresh={refresh}\r\n\r\n"));
    let good = both();
    assert_eq!((good.status, names(&good).len()), (200, 0), "{good:?}");
    // 15 min, less the 30 s before its end.
    rig.clock.advance(Duration::from_secs(15 * 60 - 29));
    eventually("the revocations are confirmed", || both().status == 200);
    let soon = both();
    assert_eq!((soon.status, names(&soon).len()), (200, 2), "{soon:?}");
    rig.clock.advance(Duration::from_secs(60));
    eventually("the revocations are confirmed", || both().status == 200);
    assert_eq!(names(&both()).len(), 2);
    assert_eq!(rig.counted(Counter::RefreshesReused), 0);
}

#[test]
fn a_lost_response_costs_nothing_however_late_the_browser_asks_again() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    let Tokens { refresh, .. } = rig.log_in();
    assert_eq!(get(&rig, "/api", &refresh).status, 200, "its cookies are lost");
    rig.clock.advance(Duration::from_secs(3600));
    eventually("the revocations are confirmed", || get(&rig, "/api", &refresh).status == 200);
    let again = get(&rig, "/api", &refresh);
    assert_eq!((again.status, names(&again).len()), (200, 2));
    assert_eq!((rig.counted(Counter::RefreshesReused), rig.counted(Counter::RefreshesSuperseded)), (0, 1));
}

/// Takes logins of whoever the body names. Says nothing to `/api/slow` as long as that is held.
fn upstream_that_holds(is_held: &Arc<AtomicBool>) -> Upstream {
    let holding = Arc::clone(is_held);
    Upstream::start(move |conversation| {
        while let Some(request) = conversation.request() {
            if let Some((_, user)) = request.split_once("\"email\":\"") {
                let body = format!(r#"{{"user":{{"id":"{}"}}}}"#, user.split('"').next().unwrap());
                let length = body.len();
                conversation
                    .say(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"));
                continue;
            }
            while request.starts_with("GET /api/slow") && holding.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            conversation.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{request}", request.len()));
        }
    })
}

/// Begins a request that is refreshed in flight, and that the upstream holds.
fn begin_slow(rig: &Rig, upstream: &Upstream, refresh: &str) -> Client {
    let mut slow = rig.client();
    slow.send(format!("GET /api/slow HTTP/1.1\r\nHost: a\r\nCookie: refresh={refresh}\r\n\r\n"));
    let is_under_way = || upstream.heard().iter().any(|request| request.starts_with("GET /api/slow"));
    while !is_under_way() {
        assert!(slow.is_silent(Duration::from_millis(10)), "it is refused: {:?}", slow.response());
    }
    slow
}

/// What a browser has after a login that it made with these fields.
fn log_in_as(rig: &Rig, user: &str, fields: &str) -> Tokens {
    let body = format!(r#"{{"email":"{user}","password":"correct horse battery"}}"#);
    let length = body.len();
    let response = rig.ask(format!(
        "POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    ));
    let body: serde_json::Value = serde_json::from_str(&response.body).unwrap();
    let text = |member: &str| body[member].as_str().unwrap().to_owned();
    Tokens { access: text("accessToken"), refresh: text("refreshToken") }
}

#[test]
fn of_two_users_on_one_machine_the_later_stays_whatever_responses_of_the_earlier_come_after() {
    let is_held = Arc::new(AtomicBool::new(true));
    let upstream = upstream_that_holds(&is_held);
    let rig = rig(&upstream);
    let ann = log_in_as(&rig, "ann", "");
    let elsewhere = log_in_as(&rig, "ann", "");
    let mut slow = begin_slow(&rig, &upstream, &ann.refresh);
    let fields = format!("Origin: https://app.example\r\nCookie: access={}; refresh={}\r\n", ann.access, ann.refresh);
    let bob = log_in_as(&rig, "bob", &fields);
    is_held.store(false, Ordering::SeqCst);
    let late = slow.response();
    assert_eq!(late.fields("set-cookie").count(), 0, "{late:?}");
    let who = |refresh: &str| get(&rig, "/api", refresh);
    assert!(who(&bob.refresh).body.contains("x-auth-subject: bob\r\n"));
    assert_eq!(who(&ann.refresh).code(), "refresh_token_invalid", "whatever else brought them back");
    assert!(!get(&rig, "/shop", &ann.refresh).body.contains("x-auth-subject: ann"), "and is nobody where that is enough");
    assert!(who(&elsewhere.refresh).body.contains("x-auth-subject: ann\r\n"), "on another device she stays");
}

#[test]
fn cookies_that_come_too_late_or_after_a_logout_are_not_handed_out() {
    let is_held = Arc::new(AtomicBool::new(true));
    let upstream = upstream_that_holds(&is_held);
    let rig = Rig::start_from(upstream.address, IN_FLIGHT, |settings| {
        settings
            .routes
            .change(|routes| {
                for route in routes.iter_mut().filter(|route| &*route.name == "api") {
                    forward(route).response_timeout = Duration::from_secs(3600);
                }
            })
            .unwrap();
    });
    let Tokens { refresh, .. } = rig.log_in();
    let mut slow = begin_slow(&rig, &upstream, &refresh);
    rig.clock.advance(Duration::from_secs(11));
    is_held.store(false, Ordering::SeqCst);
    let late = slow.response();
    assert_eq!((late.status, late.fields("set-cookie").count(), late.field("cache-control")), (200, 0, None), "{late:?}");
    eventually("the revocations are confirmed", || get(&rig, "/api", &refresh).status == 200);
    assert_eq!(names(&get(&rig, "/api", &refresh)).len(), 2, "the browser asks again with what it has");
    // Ended by itself, its last response brings nothing back.
    let who: serde_json::Value = serde_json::from_str(&get(&rig, "/session", &refresh).body).unwrap();
    let path = format!("DELETE /sessions/{}", who["session"].as_str().unwrap());
    let ended = call(&rig, &path, &refresh, "X-Csrf: 1\r\n");
    assert_eq!((ended.status, names(&ended).len()), (204, 0), "{ended:?}");
}

#[test]
fn no_shared_cache_keeps_a_response_that_brings_cookies_and_no_upstream_sets_ours() {
    const SETS: &str = "Set-Cookie: theme=dark; Path=/\r\nSet-Cookie: access=evil; Path=/\r\nset-cookie: =refresh=evil\r\n\
                        Cache-Control: public, s-maxage=600, max-age=60\r\nCDN-Cache-Control: max-age=600\r\nETag: \"a\"\r\n";
    for (status, further) in [("200 OK", "Content-Length: 0\r\n"), ("304 Not Modified", "")] {
        let upstream = Upstream::answering(format!("HTTP/1.1 {status}\r\n{SETS}{further}\r\n"));
        let rig = rig(&upstream);
        let Tokens { refresh, .. } = rig.log_in();
        let response = get(&rig, "/api", &refresh);
        assert_eq!(names(&response), ["theme", "access", "refresh"], "{response:?}");
        assert!(set(&response).iter().all(|(_, value)| value != "evil"), "{response:?}");
        assert_eq!((response.field("cache-control"), response.field("cdn-cache-control")), (Some("private, max-age=60"), None));
        assert_eq!(response.field("etag"), Some("\"a\""));
        let public = get(&rig, "/public", &refresh);
        assert_eq!(names(&public), ["theme"], "nor anywhere else");
        assert_eq!(public.field("cache-control"), Some("public, s-maxage=600, max-age=60"), "which is the upstream's");
    }
}

#[test]
fn a_websocket_brings_the_cookies_with_its_handshake() {
    let upstream = Upstream::start(|conversation| {
        while let Some(request) = conversation.request() {
            if conversation.took_login(&request) {
                continue;
            }
            assert!(request.contains("x-auth-subject: user-1\r\n") && !request.contains("tgr_"), "{request}");
            conversation.say(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n",
            );
            conversation.wait_for_end();
        }
    });
    let rig = rig(&upstream);
    let Tokens { refresh, .. } = rig.log_in();
    let origin = "Origin: https://app.example\r\n";
    let mut client = rig.client();
    client.send(format!("GET /api HTTP/1.1\r\nHost: a\r\nCookie: refresh={refresh}\r\n{origin}{SHAKE}\r\n"));
    let response = client.response();
    assert_eq!((response.status, names(&response).len()), (101, 2), "{response:?}");
}

#[test]
fn http2_brings_and_takes_them_in_crumbs() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    let Tokens { refresh, .. } = rig.log_in();
    let crumb = format!("refresh={refresh}");
    let mut client = Http2Client::connect(rig.address());
    let request = [&get_by_http2("/api")[..], &[("cookie", "theme=dark"), ("cookie", &crumb), ("cookie", "a=1")]].concat();
    let response = client.ask(&request);
    let set: Vec<&str> =
        response.fields.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value.as_str()).collect();
    assert!(response.status == 200 && set.len() == 2, "{response:?}");
    assert!(set[0].starts_with("access=ey") && set[1].starts_with("refresh=tgr_"), "{set:?}");
    assert_eq!(response.field("cache-control"), Some("private"));
    assert!(response.body.contains("x-auth-subject: user-1\r\n") && response.body.contains("cookie: theme=dark; a=1\r\n"));
    let twice = [&get_by_http2("/api")[..], &[("cookie", &crumb), ("cookie", "refresh=tgr_x")]].concat();
    assert_eq!(client.ask(&twice).code(), "token_ambiguous");
}

#[test]
fn what_is_read_in_part_or_by_its_head_brings_them_and_a_preflight_does_not() {
    let upstream =
        Upstream::answering("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/9\r\nContent-Length: 1\r\n\r\na");
    let rig = rig(&upstream);
    let Tokens { refresh, .. } = rig.log_in();
    let cookie = format!("Host: a\r\nCookie: refresh={refresh}\r\n");
    let part = rig.ask(format!("GET /api HTTP/1.1\r\n{cookie}Range: bytes=0-0\r\n\r\n"));
    assert_eq!((part.status, names(&part).len(), part.body.as_str()), (206, 2, "a"), "{part:?}");
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    let rig = self::rig(&upstream);
    let Tokens { refresh, .. } = rig.log_in();
    let cookie = format!("Host: a\r\nCookie: refresh={refresh}\r\n");
    let asks = "Origin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n";
    let preflight = rig.ask(format!("OPTIONS /api HTTP/1.1\r\n{cookie}{asks}\r\n"));
    assert_eq!((preflight.status, names(&preflight).len()), (204, 0));
    assert_eq!(rig.counted(Counter::RefreshesRotated), 0);
    let mut client = rig.client();
    client.send(format!("HEAD /api HTTP/1.1\r\n{cookie}\r\n"));
    let head = client.response_to_head();
    assert_eq!((head.status, names(&head).len()), (200, 2), "{head:?}");
}

#[test]
fn whoever_has_a_good_refresh_cookie_is_not_sent_to_log_in() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    let Tokens { refresh, .. } = rig.log_in();
    let show = |refresh: &str| {
        rig.ask(format!("GET /pages/x HTTP/1.1\r\nHost: a\r\nCookie: refresh={refresh}\r\nSec-Fetch-Mode: navigate\r\n\r\n"))
    };
    assert_eq!((show(&refresh).status, names(&show(&refresh)).len()), (200, 2));
    let over = show("tgr_x");
    assert_eq!(
        (over.status, over.field("location"), over.fields("set-cookie").count()),
        (303, Some("/sign-in?next=/pages/x"), 0)
    );
    assert_eq!(get(&rig, "/pages/x", "tgr_x").status, 401, "a script learns it");
}

#[test]
fn an_observed_route_refreshes_those_who_can_and_lets_the_others_pass() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    let Tokens { refresh, .. } = rig.log_in();
    let good = get(&rig, "/watched", &refresh);
    assert_eq!((good.status, names(&good).len()), (200, 2));
    assert!(good.body.contains("x-auth-subject: user-1\r\n"));
    let over = get(&rig, "/watched", "tgr_x");
    assert_eq!((over.status, names(&over).len()), (200, 0));
    assert!(!over.body.contains("user-1") && !over.body.contains("tgr_"), "{over:?}");
    assert_eq!(rig.counted(Counter::ObservedExpired), 1);
}

#[test]
fn a_ticket_is_for_the_token_that_comes_with_it_and_counts_without_cookies() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    let Tokens { refresh, .. } = rig.log_in();
    let body = r#"{"path":"/api/events"}"#;
    let length = body.len();
    let bought = rig.ask(format!(
        "POST /ticket HTTP/1.1\r\nHost: a\r\nX-Csrf: 1\r\nCookie: refresh={refresh}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    ));
    assert_eq!((bought.status, names(&bought).len()), (200, 2), "{bought:?}");
    let ticket: serde_json::Value = serde_json::from_str(&bought.body).unwrap();
    let target = format!("/api/events?{}={}", ticket["parameter"].as_str().unwrap(), ticket["ticket"].as_str().unwrap());
    let used =
        rig.ask(format!("GET {target} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nCookie: refresh={refresh}\r\n\r\n"));
    assert_eq!((used.status, names(&used).len()), (200, 0), "{used:?}");
    assert!(used.body.contains("x-auth-subject: user-1\r\n") && !used.body.contains("tgr_"));
}

#[test]
fn no_ticket_outruns_the_cookies_that_belong_to_it() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    let Tokens { refresh, .. } = rig.log_in();
    let body = r#"{"path":"/api/events"}"#;
    let length = body.len();
    let mut client = rig.client();
    client.send(format!(
        "POST /ticket HTTP/1.1\r\nHost: a\r\nX-Csrf: 1\r\nCookie: refresh={refresh}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    ));
    eventually("it is refreshed", || rig.counted(Counter::RefreshesRotated) == 1);
    rig.clock.advance(Duration::from_secs(11));
    client.send(body);
    let late = client.response();
    assert_eq!((late.status, late.code().as_str(), late.fields("set-cookie").count()), (503, "timed_out", 0), "{late:?}");
}
