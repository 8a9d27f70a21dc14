//! Tickets, and everything that one could do with them beside opening one stream.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokengate::domain::stats::Counter;

use super::client::{Client, Response};
use super::rig::{Rig, Tokens, eventually};
use super::upstream::Upstream;

const SETTINGS: &str = "[store]\nkind = \"memory\"\n[endpoints]\nticket = \"/ticket\"\n[revocation]\nmax_staleness = \"1h\"\n\
                        [identity]\nsubject_header = \"x-auth-subject\"\n";

const A_WHILE: Duration = Duration::from_millis(300);

const MINUTE: Duration = Duration::from_secs(60);

const EVENTS: &str = "Accept: text/event-stream\r\n";

const SHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Streams where events are asked for, agrees to WebSocket handshakes, takes logins, and repeats everything else.
fn upstream() -> Upstream {
    Upstream::start(|conversation| {
        while let Some(request) = conversation.request() {
            if conversation.took_login(&request) {
                continue;
            }
            if request.to_ascii_lowercase().contains("\r\nupgrade: websocket") {
                conversation.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n");
                return conversation.wait_for_end();
            }
            if request.contains("text/event-stream") {
                conversation.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\ndata: one\n\r\n");
                return conversation.wait_for_end();
            }
            conversation.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{request}", request.len()));
        }
    })
}

fn start(upstream: &Upstream) -> Rig {
    Rig::start_from(upstream.address, SETTINGS, |_| {})
}

fn ask_for_ticket(rig: &Rig, token: &str, body: &str) -> Response {
    let length = body.len();
    rig.ask(format!(
        "POST /ticket HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    ))
}

fn ticket(rig: &Rig, tokens: &Tokens, path: &str) -> String {
    ticket_under(rig, tokens, path, "access_ticket")
}

fn ticket_under(rig: &Rig, tokens: &Tokens, path: &str, parameter: &str) -> String {
    let response = ask_for_ticket(rig, &tokens.access, &json!({ "path": path }).to_string());
    assert_eq!((response.status, response.field("cache-control")), (200, Some("no-store")), "{response:?}");
    let body: Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!((&body["parameter"], &body["expiresIn"]), (&json!(parameter), &json!(30)));
    body["ticket"].as_str().unwrap().to_owned()
}

fn begin(rig: &Rig, method: &str, target: &str, fields: &str) -> Client {
    let mut client = rig.client();
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    client
}

/// The status of a request that opens an event stream, which is then left.
fn opens(rig: &Rig, target: &str) -> u16 {
    let head = begin(rig, "GET", target, EVENTS).head();
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

fn seen(upstream: &Upstream) -> Vec<String> {
    upstream.heard().into_iter().filter(|request| !request.starts_with("POST /login")).collect()
}

#[test]
fn a_ticket_opens_one_stream_in_the_name_of_its_token_and_no_upstream_sees_it() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    for (fields, begun) in [(EVENTS, "http/1.1 200 "), (SHAKE, "http/1.1 101 ")] {
        let ticket = ticket(&rig, &tokens, "/api/events");
        let mut stream = begin(&rig, "GET", &format!("/api/events?a=%41&access_ticket={ticket}&b"), fields);
        assert!(stream.head().starts_with(begun));
        let request = seen(&upstream).pop().unwrap().to_ascii_lowercase();
        assert!(request.starts_with("get /api/events?a=%41&b http/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nx-auth-subject: user-1\r\n") && !request.contains("tgt_"), "{request}");
        let again = begin(&rig, "GET", &format!("/api/events?access_ticket={ticket}"), fields).response();
        assert_eq!((again.status, again.code().as_str()), (401, "ticket_invalid"), "{again:?}");
        assert!(again.body.contains("ask for a new one"), "{again:?}");
    }
    assert_eq!(seen(&upstream).len(), 2);
}

#[test]
fn a_ticket_opens_its_own_path_alone_however_that_is_spelt() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let ticket = ticket(&rig, &tokens, "/api/%65vents");
    for other in ["/api", "/api/events/1", "/api/Events", "/api/events/", "/lenient/events"] {
        assert_eq!(opens(&rig, &format!("{other}?access_ticket={ticket}")), 401, "{other}");
    }
    assert_eq!(opens(&rig, &format!("/api/event%73?access_ticket={ticket}")), 200);
}

#[test]
fn what_opens_no_stream_spends_no_ticket() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let ticket = ticket(&rig, &tokens, "/api/events");
    let target = format!("/api/events?access_ticket={ticket}");
    for (method, fields) in [
        ("GET", ""),
        ("GET", "Accept: */*\r\n"),
        ("GET", "Accept: text/event-stream;q=0\r\n"),
        ("HEAD", EVENTS),
        ("POST", "Accept: text/event-stream\r\nContent-Length: 0\r\n"),
        ("POST", &format!("{SHAKE}Content-Length: 0\r\n")),
    ] {
        let mut client = begin(&rig, method, &target, fields);
        let response = if method == "HEAD" { client.response_to_head() } else { client.response() };
        assert_eq!(response.status, 400, "{method} {fields}: {response:?}");
        assert!(
            method == "HEAD" || response.code() == "ticket_misused" && response.body.contains("text/event-stream"),
            "{response:?}"
        );
    }
    assert!(seen(&upstream).is_empty());
    assert_eq!(opens(&rig, &target), 200, "it is unspent");
}

#[test]
fn nobody_has_to_guess_which_credentials_count() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let ticket = ticket(&rig, &tokens, "/api/events");
    let own = format!("access_ticket={ticket}");
    let bearer = format!("{EVENTS}Authorization: Bearer {}\r\n", tokens.access);
    for (query, fields) in [
        (format!("{own}&{own}"), EVENTS),
        (format!("{own}&access%5Fticket={ticket}"), EVENTS),
        (format!("access_ticket=&{own}"), EVENTS),
        (own.clone(), bearer.as_str()),
        ("access_ticket=".to_owned(), bearer.as_str()),
    ] {
        let response = begin(&rig, "GET", &format!("/api/events?{query}"), fields).response();
        assert_eq!(response.status, 400, "{query} {fields}: {response:?}");
    }
    assert!(seen(&upstream).is_empty());
    let basic = format!("{EVENTS}Authorization: Basic YTpi\r\n");
    let head = begin(&rig, "GET", &format!("/api/events?%61ccess%5fticket={ticket}"), &basic).head();
    assert!(head.starts_with("http/1.1 200 "), "what is none of ours is no second token: {head}");
    let request = seen(&upstream).pop().unwrap();
    assert!(request.starts_with("GET /api/events HTTP/1.1\r\n") && request.contains("Basic YTpi"), "{request}");
}

#[test]
fn made_up_tickets_and_tickets_where_nobody_asks_for_them_stay_here() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    for bad in ["", "x", "tgt_", "tgt_AAAA", &format!("tgt_{}", "A".repeat(67)), &tokens.access] {
        assert_eq!(opens(&rig, &format!("/api/events?access_ticket={bad}")), 401, "{bad}");
    }
    let ticket = ticket(&rig, &tokens, "/public/events");
    let response = begin(&rig, "GET", &format!("/public/events?x=1&access_ticket={ticket}"), "").response();
    assert!(response.status == 200 && response.body.starts_with("GET /public/events?x=1 HTTP/1.1\r\n"), "{response:?}");
    let response = begin(&rig, "GET", "/public/events?ticket=ST-1", "").response();
    assert!(response.body.starts_with("GET /public/events?ticket=ST-1 HTTP/1.1\r\n"), "{response:?}");
}

#[test]
fn a_ticket_lives_for_as_long_as_it_may_and_no_longer_than_its_session() {
    let upstream = upstream();
    let rig = Rig::start_from(upstream.address, SETTINGS, |settings| settings.tickets.terms.lifetime = Duration::from_secs(1));
    let tokens = rig.log_in();
    let buy = || {
        let response = ask_for_ticket(&rig, &tokens.access, r#"{"path":"/api/events"}"#);
        assert_eq!(response.status, 200, "{response:?}");
        serde_json::from_str::<Value>(&response.body).unwrap()["ticket"].as_str().unwrap().to_owned()
    };
    let late = buy();
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(opens(&rig, &format!("/api/events?access_ticket={late}")), 401);
    let void = buy();
    let token = &tokens.access;
    let response =
        rig.ask(format!("POST /logout HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(response.status, 200);
    let response = begin(&rig, "GET", &format!("/api/events?access_ticket={void}"), EVENTS).response();
    assert_eq!((response.status, response.code().as_str()), (401, "token_revoked"));
}

#[test]
fn the_rules_of_a_route_hold_for_tickets_as_for_tokens() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let ticket = ticket(&rig, &tokens, "/scoped/events");
    let response = begin(&rig, "GET", &format!("/scoped/events?access_ticket={ticket}"), EVENTS).response();
    assert_eq!((response.status, response.code().as_str()), (403, "scope_insufficient"), "{response:?}");
}

#[test]
fn a_stream_that_a_ticket_opened_ends_with_its_session_and_is_renewed_like_any_other() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let ticket = ticket(&rig, &tokens, "/api/events");
    let mut stream = begin(&rig, "GET", &format!("/api/events?access_ticket={ticket}"), EVENTS);
    stream.head();
    assert_eq!(stream.chunk().as_deref(), Some("data: one\n"));
    stream.assert_silent(A_WHILE);
    rig.clock.advance(10 * MINUTE);
    let refreshed = rig.post("/refresh", &json!({"refreshToken": tokens.refresh}).to_string());
    let newer = serde_json::from_str::<Value>(&refreshed.body).unwrap()["accessToken"].as_str().unwrap().to_owned();
    assert_eq!(rig.get("/api/me", &newer).status, 200);
    rig.clock.advance(10 * MINUTE);
    stream.assert_silent(A_WHILE);
    rig.clock.advance(10 * MINUTE);
    assert_eq!(stream.chunk(), None);
}

#[test]
fn a_session_gets_so_many_tickets_and_takes_none_of_anothers() {
    let upstream = upstream();
    let rig = Rig::start_from(upstream.address, SETTINGS, |settings| settings.tickets.terms.per_owner_max = 3);
    let (tokens, other) = (rig.log_in(), rig.log_in());
    for _ in 0..3 {
        let ticket = ticket(&rig, &tokens, "/api/events");
        assert_eq!(opens(&rig, &format!("/api/events?access_ticket={ticket}")), 200);
    }
    let response = ask_for_ticket(&rig, &tokens.access, r#"{"path":"/api/events"}"#);
    assert_eq!((response.status, response.field("retry-after")), (429, Some("30")), "{response:?}");
    ticket(&rig, &other, "/api/events");
}

#[test]
fn a_ticket_is_for_a_path_and_for_someone() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    for bad in [
        "",
        "{}",
        "[]",
        "path",
        r#"{"path":7}"#,
        r#"{"path":null}"#,
        r#"{"path":""}"#,
        r#"{"path":"api"}"#,
        r#"{"path":"//evil.example"}"#,
        r#"{"path":"/a/../b"}"#,
        r#"{"path":"/a?b=1"}"#,
        r#"{"path":"/a","path":"/b"}"#,
        r#"{"path":"/\u0000"}"#,
        r#"{"path":"https://a.example/x"}"#,
    ] {
        assert_eq!(ask_for_ticket(&rig, &tokens.access, bad).status, 400, "{bad}");
    }
    assert_eq!(ask_for_ticket(&rig, "nonsense", r#"{"path":"/api"}"#).status, 401);
    assert_eq!(rig.post("/ticket", r#"{"path":"/api"}"#).status, 401);
    assert_eq!(rig.get("/ticket", &tokens.access).status, 405);
}

#[test]
fn without_tickets_the_parameter_is_the_upstreams() {
    let upstream = upstream();
    let rig = Rig::start(upstream.address);
    let tokens = rig.log_in();
    assert_eq!(ask_for_ticket(&rig, &tokens.access, r#"{"path":"/api"}"#).status, 404);
    let response = rig.get("/api?access_ticket=theirs", &tokens.access);
    assert!(response.body.starts_with("GET /api?access_ticket=theirs HTTP/1.1\r\n"), "{response:?}");
}

#[test]
fn another_site_gets_no_ticket_by_a_browsers_cookie() {
    let upstream = upstream();
    let cookies = "[cookies]\nenabled = true\naccess_name = \"access\"\nrefresh_name = \"refresh\"\ntokens_in_body = true\n\
                   csrf_origins = [\"https://app.example\"]\n";
    let rig = Rig::start_from(upstream.address, &format!("{SETTINGS}{cookies}"), |_| {});
    let token = rig.log_in().access;
    let ask = |origin: &str| {
        let body = r#"{"path":"/api/events"}"#;
        rig.ask(format!(
            "POST /ticket HTTP/1.1\r\nHost: a\r\nCookie: access={token}\r\nOrigin: {origin}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    assert_eq!(ask("https://evil.example").status, 403);
    let response = ask("https://app.example");
    let ticket = serde_json::from_str::<Value>(&response.body).unwrap()["ticket"].as_str().unwrap().to_owned();
    let target = format!("/api/events?access_ticket={ticket}");
    let cookies = format!("{EVENTS}Cookie: access=another's; access={token}; theirs=1\r\nOrigin: https://evil.example\r\n");
    let head = begin(&rig, "GET", &target, &cookies).head();
    assert!(head.starts_with("http/1.1 200 "), "the page chose the ticket, and nobody chose the cookies: {head}");
    let request = seen(&upstream).pop().unwrap().to_ascii_lowercase();
    assert!(request.contains("\r\nx-auth-subject: user-1\r\n") && request.contains("theirs=1"), "{request}");
    assert!(!request.contains(&token.to_ascii_lowercase()), "{request}");
    assert_eq!(opens(&rig, &target), 401, "it is spent");
}

/// Of what a route decides, and of what keeps a request from its upstream, nothing costs the ticket.
#[test]
fn a_ticket_is_spent_when_its_request_is_sent_and_not_before() {
    let upstream = upstream();
    let routes = "[[routes]]\nname = \"moved\"\nprefix = \"/moved\"\nredirect = { to = \"/api{rest}\" }\n\
                  [[routes]]\nname = \"said\"\nprefix = \"/said\"\nrespond = { status = 200, body = \"ok\" }\n\
                  [[routes]]\nname = \"few\"\nprefix = \"/few\"\nlimit = \"1/1d\"\n";
    let settings = format!("{SETTINGS}{routes}");
    let mut rig = Rig::start_from(upstream.address, &settings, |_| {});
    let tokens = rig.log_in();
    assert_eq!(rig.get("/few/me", &tokens.access).status, 200);
    for (path, status) in [("/moved/events", 308), ("/said/events", 200), ("/few/events", 429), ("/scoped/events", 403)] {
        let ticket = ticket(&rig, &tokens, path);
        let response = begin(&rig, "GET", &format!("{path}?access_ticket={ticket}"), EVENTS).response();
        assert_eq!(response.status, status, "{path}: {response:?}");
    }
    let target = format!("/api/events?access_ticket={}", ticket(&rig, &tokens, "/api/events"));
    rig.reload_before(Upstream::nowhere(), &settings);
    eventually("the upstream is away", || rig.get("/api/me", &tokens.access).status == 502);
    assert_eq!(begin(&rig, "GET", &target, EVENTS).response().status, 502);
    assert_eq!(rig.counted(Counter::TicketsSpent), 0);
    rig.reload_before(upstream.address, &settings);
    eventually("the upstream is back", || rig.get("/api/me", &tokens.access).status == 200);
    assert_eq!([opens(&rig, &target), opens(&rig, &target)], [200, 401]);
    assert_eq!(rig.counted(Counter::TicketsSpent), 1);
}

#[test]
fn a_ticket_stays_here_whatever_it_stands_under_and_after_the_parameter_changed() {
    let upstream = upstream();
    let mut rig = start(&upstream);
    let tokens = rig.log_in();
    for name in ["Access_Ticket", "access.ticket", "ticket", "%3Faccess_ticket"] {
        let ticket = ticket(&rig, &tokens, "/api/events");
        assert_eq!(opens(&rig, &format!("/api/events?a=1&{name}={ticket}")), 200, "{name}");
        assert!(seen(&upstream).pop().unwrap().starts_with("GET /api/events?a=1 HTTP/1.1\r\n"), "{name}");
    }
    let bought = ticket(&rig, &tokens, "/api/events");
    let count = seen(&upstream).len();
    for target in [
        format!("/public/events?a=1;access_ticket={bought}"),
        format!("/public/events%3Faccess_ticket={bought}"),
        format!("/public/{bought}"),
        format!("/public/events?next=%2Fws%3Faccess_ticket%3D{bought}"),
    ] {
        let response = begin(&rig, "GET", &target, EVENTS).response();
        assert_eq!((response.status, response.code().as_str()), (400, "request_malformed"), "{target}: {response:?}");
    }
    assert_eq!(seen(&upstream).len(), count);
    rig.reload(&format!("{SETTINGS}[tickets]\nparameter = \"t\"\n"));
    let is_taken_over = || begin(&rig, "GET", "/api/events?t=x", EVENTS).response().code() == "ticket_invalid";
    eventually("the new name is in force", is_taken_over);
    assert_eq!(opens(&rig, &format!("/api/events?access_ticket={bought}&")), 200, "it was bought under the former name");
    assert!(seen(&upstream).pop().unwrap().starts_with("GET /api/events HTTP/1.1\r\n"));
    let left = ticket_under(&rig, &tokens, "/public/events", "t");
    rig.reload(&SETTINGS.replace("ticket = \"/ticket\"", ""));
    eventually("it is taken over", || ask_for_ticket(&rig, &tokens.access, "{}").status == 404);
    assert_eq!(opens(&rig, &format!("/public/events?t={left}&b")), 200);
    assert!(seen(&upstream).pop().unwrap().starts_with("GET /public/events?b HTTP/1.1\r\n"));
}

/// A route that is enforced for some decides by whose token it was, whatever stood for it.
#[test]
fn whether_a_refused_ticket_is_held_against_its_caller_is_decided_by_its_subject() {
    let upstream = upstream();
    let shares = [10, 30, 50, 70, 90];
    let route = |share| {
        format!("[[routes]]\nname = \"s{share}\"\nprefix = \"/s{share}\"\nscopes = [\"admin\"]\nenforce_share = {share}\n")
    };
    let rig = Rig::start_from(upstream.address, &format!("{SETTINGS}{}", shares.map(route).concat()), |_| {});
    let tokens = rig.log_in();
    let bearer = format!("{EVENTS}Authorization: Bearer {}\r\n", tokens.access);
    let status = |target: &str, fields: &str| begin(&rig, "GET", target, fields).head()[9..12].to_owned();
    let (mut by_token, mut by_ticket) = (Vec::new(), Vec::new());
    for share in shares {
        let path = format!("/s{share}/events");
        by_token.push(status(&path, &bearer));
        let ticket = ticket(&rig, &tokens, &path);
        by_ticket.push(status(&format!("{path}?access_ticket={ticket}"), EVENTS));
    }
    assert_eq!(by_token, by_ticket);
    assert!(by_token.iter().all(|status| ["200", "403"].contains(&status.as_str())), "{by_token:?}");
}

#[test]
fn a_ticket_lives_no_longer_than_its_token() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    rig.clock.advance(14 * MINUTE + Duration::from_secs(50));
    let response = ask_for_ticket(&rig, &tokens.access, r#"{"path":"/api/events"}"#);
    let body: Value = serde_json::from_str(&response.body).unwrap();
    assert!((1..=10).contains(&body["expiresIn"].as_u64().unwrap()), "{body}");
}
