//! An open stream goes on for as long as its session is used, and no longer than a token of it would be let in.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokengate::config::Settings;
use tokengate::domain::stats::Counter;

use super::client::Client;
use super::partner::{self, Partner};
use super::rig::{Rig, Tokens, eventually};
use super::upstream::{Conversation, Upstream};
use crate::support::old_api;

pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// A few ticks: what is to end at one of them has by then.
pub(super) const A_WHILE: Duration = Duration::from_millis(300);

/// The clock leaps in these tests; nobody is to be refused because the revocations were confirmed before the leap.
pub(super) const SETTINGS: &str = "[store]\nkind = \"memory\"\n[revocation]\nmax_staleness = \"1h\"\n";

const SHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Streams events, agrees to `WebSockets`, takes logins, and answers everything else at once. `role` is what a login or the claims hook
/// says of the user.
fn upstream_with_role(role: Arc<Mutex<&'static str>>) -> Upstream {
    let user = move || json!({"user": {"id": "user-1", "role": *role.lock().unwrap()}}).to_string();
    Upstream::start(move |conversation| while turn(conversation, &user).is_some() {})
}

fn upstream() -> Upstream {
    upstream_with_role(Arc::new(Mutex::new("member")))
}

fn turn(conversation: &mut Conversation, user: &impl Fn() -> String) -> Option<()> {
    let request = conversation.request()?;
    if request.to_ascii_lowercase().contains("\r\nupgrade: websocket") {
        conversation.say(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n",
        );
        conversation.wait_for_end();
        return None;
    }
    if request.contains("/events") {
        conversation
            .say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\na\r\ndata: one\n\r\n");
        conversation.wait_for_end();
        return None;
    }
    let body = user();
    let length = body.len();
    conversation.say(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"));
    Some(())
}

fn start(upstream: &Upstream) -> Rig {
    start_with(upstream, "", |_| {})
}

fn start_with(upstream: &Upstream, further: &str, change: impl FnOnce(&mut Settings)) -> Rig {
    Rig::start_from(upstream.address, &format!("{SETTINGS}{further}"), change)
}

fn events(rig: &Rig, path: &str, token: &str) -> Client {
    let mut client = rig.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
    assert!(client.head().starts_with("http/1.1 200 "));
    assert_eq!(client.chunk().as_deref(), Some("data: one\n"));
    client
}

/// Open for long enough to count as a stream.
fn settled_events(rig: &Rig, path: &str, token: &str) -> Client {
    let mut client = events(rig, path, token);
    client.assert_silent(A_WHILE);
    client
}

fn websocket(rig: &Rig, token: &str) -> Client {
    let mut client = rig.client();
    client.send(format!("GET /api/socket HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{SHAKE}"));
    assert_eq!(client.response().status, 101);
    client
}

pub(super) fn refresh(rig: &Rig, tokens: &Tokens) -> Tokens {
    let response = rig.post("/refresh", &json!({"refreshToken": tokens.refresh}).to_string());
    assert_eq!(response.status, 200, "{response:?}");
    let body: Value = serde_json::from_str(&response.body).unwrap();
    let text = |member: &str| body[member].as_str().unwrap().to_owned();
    Tokens { access: text("accessToken"), refresh: text("refreshToken") }
}

/// Lets ten minutes pass, and has the gateway see a newer token: the first one's fifteen are over five minutes later.
fn seen_newer(rig: &Rig, tokens: &Tokens) -> Tokens {
    rig.clock.advance(10 * MINUTE);
    let newer = refresh(rig, tokens);
    assert_eq!(rig.get("/api/me", &newer.access).status, 200);
    newer
}

pub(super) fn log_out(rig: &Rig, token: &str, scope: &str) {
    let body = json!({"scope": scope}).to_string();
    let length = body.len();
    let response = rig.ask(format!(
        "POST /logout HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    ));
    assert_eq!(response.status, 200, "{response:?}");
}

#[test]
fn a_stream_and_a_websocket_outlive_their_token_by_a_newer_one_of_their_session_and_end_with_the_last() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let mut stream = settled_events(&rig, "/api/events", &tokens.access);
    let mut socket = websocket(&rig, &tokens.access);
    socket.assert_silent(A_WHILE);

    seen_newer(&rig, &tokens);
    rig.clock.advance(10 * MINUTE);
    stream.assert_silent(A_WHILE);
    socket.assert_silent(A_WHILE);
    assert_eq!(rig.counted(Counter::StreamsRenewed), 2);
    assert_eq!(rig.get("/api/me", &tokens.access).code(), "token_expired");

    rig.clock.advance(10 * MINUTE);
    assert_eq!(stream.chunk(), None, "no newer token was seen");
    assert_eq!(socket.bytes(17), b"\x88\x0f\x03\xf0token expired");
}

#[test]
fn an_upload_under_way_goes_on_too() {
    let upstream = Upstream::start(|conversation| {
        let Some(head) = conversation.head() else { return };
        if head.starts_with("POST /login ") {
            let body = r#"{"user":{"id":"user-1"}}"#;
            conversation.say(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
        } else if head.starts_with("GET") {
            conversation.say("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        } else {
            // Responds before it has the body, which makes a stream of the exchange.
            conversation.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
            conversation.wait_for_end();
        }
    });
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let mut client = rig.client();
    let token = &tokens.access;
    client.send(format!("POST /api/up HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 9000\r\n\r\nx"));
    client.head();
    assert_eq!(client.chunk().as_deref(), Some("one"));
    client.assert_silent(A_WHILE);
    rig.clock.advance(10 * MINUTE);
    assert_eq!(rig.get("/api/me", &refresh(&rig, &tokens).access).status, 204);
    rig.clock.advance(10 * MINUTE);
    client.assert_silent(A_WHILE);
    rig.clock.advance(10 * MINUTE);
    assert_eq!(client.chunk(), None);
}

/// Where connections are spread over workers, those of one session's streams and of its requests are rarely the same's.
#[test]
fn whichever_worker_sees_the_newer_token() {
    let upstream = upstream();
    let rig = start_with(&upstream, "", |settings| settings.listen.workers = 4);
    let tokens = rig.log_in();
    let mut streams: Vec<Client> = (0..12).map(|_| events(&rig, "/api/events", &tokens.access)).collect();
    streams[0].assert_silent(A_WHILE);
    seen_newer(&rig, &tokens);
    rig.clock.advance(10 * MINUTE);
    for stream in &mut streams {
        stream.assert_silent(A_WHILE / 3);
    }
    assert_eq!(rig.counted(Counter::StreamsRenewed), 12);
    rig.clock.advance(10 * MINUTE);
    for stream in &mut streams {
        assert_eq!(stream.chunk(), None);
    }
}

#[test]
fn a_token_that_was_known_before_the_stream_began_renews_it_when_it_is_used_again() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let newer = seen_newer(&rig, &tokens);
    // For so long that nobody takes the newer token for one that came behind the stream.
    thread::sleep(2 * A_WHILE);
    let mut stream = settled_events(&rig, "/api/events", &tokens.access);
    assert_eq!(rig.get("/api/me", &newer.access).status, 200);
    rig.clock.advance(10 * MINUTE);
    stream.assert_silent(A_WHILE);
}

#[test]
fn a_token_that_is_seen_once_right_after_the_stream_began_renews_it() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    rig.clock.advance(10 * MINUTE);
    let newer = refresh(&rig, &tokens);
    let mut stream = events(&rig, "/api/events", &tokens.access);
    assert_eq!(rig.get("/api/me", &newer.access).status, 200);
    stream.assert_silent(A_WHILE);
    rig.clock.advance(10 * MINUTE);
    stream.assert_silent(A_WHILE);
}

/// The stream's token ends before two ticks have found the stream.
#[test]
fn a_stream_that_is_opened_right_before_its_token_ends_goes_on_by_the_newer_one() {
    let upstream = upstream();
    for _ in 0..4 {
        let rig = start_with(&upstream, "", |settings| settings.listen.workers = 2);
        let tokens = rig.log_in();
        rig.clock.advance(10 * MINUTE);
        let newer = refresh(&rig, &tokens);
        let mut before = events(&rig, "/api/events", &tokens.access);
        assert_eq!(rig.get("/api/me", &newer.access).status, 200);
        let mut after = events(&rig, "/api/events", &tokens.access);
        let mut socket = websocket(&rig, &tokens.access);
        rig.clock.advance(6 * MINUTE);
        for stream in [&mut before, &mut after, &mut socket] {
            stream.assert_silent(A_WHILE);
        }
        assert_eq!(rig.counted(Counter::StreamsRenewed), 3);
    }
}

#[test]
fn a_stream_that_is_opened_right_before_its_token_ends_ends_without_a_newer_one() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    rig.clock.advance(10 * MINUTE);
    let mut stream = events(&rig, "/api/events", &tokens.access);
    let mut socket = websocket(&rig, &tokens.access);
    rig.clock.advance(5 * MINUTE);
    assert_eq!(stream.chunk(), None);
    assert_eq!(socket.bytes(17), b"\x88\x0f\x03\xf0token expired");
}

/// The newer token is sent once, before the reload, and never again.
#[test]
fn a_reload_drops_no_stream_and_takes_no_renewal_from_it() {
    let further = "[[issuers]]\nissuer = \"https://partner.example\"\naudiences = [\"api\"]\nsubject_prefix = \"p:\"\n\
                   algorithms = [\"ES256\"]\njwks_url = \"http://127.0.0.1:9/jwks\"\n";
    for changed in [
        "[tokens]\nlifetime = \"5m\"\n",
        "[tokens]\nlifetime = \"1h\"\n",
        "[tokens]\naudience = [\"other\"]\n",
        "[tokens]\nissuer = \"https://new.example\"\n",
        further,
    ] {
        let upstream = upstream();
        let mut rig = start(&upstream);
        let tokens = rig.log_in();
        let mut stream = settled_events(&rig, "/api/events", &tokens.access);
        let mut socket = websocket(&rig, &tokens.access);
        socket.assert_silent(A_WHILE);
        seen_newer(&rig, &tokens);
        rig.reload(&format!("{SETTINGS}{changed}"));
        stream.assert_silent(A_WHILE);
        rig.clock.advance(10 * MINUTE);
        stream.assert_silent(A_WHILE);
        socket.assert_silent(A_WHILE);
        assert_eq!(rig.counted(Counter::StreamsRenewed), 2, "{changed}");
        rig.clock.advance(10 * MINUTE);
        assert_eq!(stream.chunk(), None, "{changed}: no newer token was seen");
    }
}

#[test]
fn a_token_that_was_issued_and_never_seen_renews_nothing() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let mut stream = settled_events(&rig, "/api/events", &tokens.access);
    rig.clock.advance(10 * MINUTE);
    refresh(&rig, &tokens);
    stream.assert_silent(A_WHILE);
    rig.clock.advance(10 * MINUTE);
    assert_eq!(stream.chunk(), None);
    assert_eq!(rig.counted(Counter::ResponsesEndedByExpiry), 1);
}

#[test]
fn an_older_token_takes_nothing_back() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let mut stream = settled_events(&rig, "/api/events", &tokens.access);
    seen_newer(&rig, &tokens);
    assert_eq!(rig.get("/api/me", &tokens.access).status, 200, "another tab has the older one still");
    rig.clock.advance(10 * MINUTE);
    stream.assert_silent(A_WHILE);
}

#[test]
fn another_sessions_token_renews_nothing_though_it_is_the_same_users() {
    let upstream = upstream();
    let rig = start(&upstream);
    let (tokens, other) = (rig.log_in(), rig.log_in());
    let mut stream = settled_events(&rig, "/api/events", &tokens.access);
    seen_newer(&rig, &other);
    rig.clock.advance(10 * MINUTE);
    assert_eq!(stream.chunk(), None);
}

/// Before the newer token takes over and after it, by the newer token and by the older one.
#[test]
fn a_revocation_ends_a_renewed_stream_as_any_other() {
    let upstream = upstream();
    for (scope, is_renewed) in [("session", false), ("session", true), ("all", false), ("all", true)] {
        let rig = start(&upstream);
        let tokens = rig.log_in();
        let mut stream = settled_events(&rig, "/api/events", &tokens.access);
        let newer = seen_newer(&rig, &tokens);
        if is_renewed {
            rig.clock.advance(10 * MINUTE);
            stream.assert_silent(A_WHILE);
        }
        log_out(&rig, &newer.access, scope);
        assert_eq!(stream.chunk(), None, "{scope}, {is_renewed}");
        assert_eq!(rig.counted(Counter::ResponsesEndedBySession), 1);
    }
}

#[test]
fn a_stream_whose_session_was_ended_before_its_token_is_not_brought_back_by_a_newer_one() {
    let upstream = upstream();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let mut socket = websocket(&rig, &tokens.access);
    socket.assert_silent(A_WHILE);
    let newer = seen_newer(&rig, &tokens);
    log_out(&rig, &newer.access, "session");
    rig.clock.advance(10 * MINUTE);
    assert_eq!(rig.get("/api/me", &newer.access).status, 401);
    assert_eq!(socket.bytes(17), b"\x88\x0f\x03\xf0session ended");
}

#[test]
fn a_renewed_stream_ends_when_its_session_has_lived_for_as_long_as_it_may() {
    let upstream = upstream();
    let rig = start_with(&upstream, "[refresh]\nidle_lifetime = \"20m\"\nabsolute_lifetime = \"20m\"\n", |_| {});
    let tokens = rig.log_in();
    let mut stream = settled_events(&rig, "/api/events", &tokens.access);
    seen_newer(&rig, &tokens);
    rig.clock.advance(8 * MINUTE);
    stream.assert_silent(A_WHILE);
    rig.clock.advance(3 * MINUTE);
    assert_eq!(stream.chunk(), None, "the newer token ends with the session");
}

/// The upstream takes the user's role away, which the newer token then lacks.
#[test]
fn a_newer_token_that_the_route_would_refuse_renews_nothing_there_and_does_elsewhere() {
    let role = Arc::new(Mutex::new("admin"));
    let upstream = upstream_with_role(Arc::clone(&role));
    let further = "[login]\nclaims = { role = \"/user/role\" }\n[identity]\nclaims = { role = \"x-auth-role\" }\n\
                   [claims_hook]\npath = \"/claims\"\n\
                   [[routes]]\nname = \"admin\"\nprefix = \"/admin\"\nclaims = { role = [\"admin\"] }\n";
    let rig = start_with(&upstream, further, |_| {});
    let tokens = rig.log_in();
    let mut admins = settled_events(&rig, "/admin/events", &tokens.access);
    let mut anyones = settled_events(&rig, "/api/events", &tokens.access);
    *role.lock().unwrap() = "member";
    let newer = seen_newer(&rig, &tokens);
    assert_eq!(rig.get("/admin/me", &newer.access).status, 403);
    admins.assert_silent(A_WHILE);
    rig.clock.advance(10 * MINUTE);
    assert_eq!(admins.chunk(), None);
    anyones.assert_silent(A_WHILE);
}

#[test]
fn a_route_that_wants_a_recent_login_is_not_kept_open_beyond_it() {
    let upstream = upstream();
    let route = "[[routes]]\nname = \"recent\"\nprefix = \"/recent\"\nmax_login_age = \"20m\"\n";
    let rig = start_with(&upstream, route, |_| {});
    let tokens = rig.log_in();
    let mut recent = settled_events(&rig, "/recent/events", &tokens.access);
    let mut any = settled_events(&rig, "/api/events", &tokens.access);
    let newer = seen_newer(&rig, &tokens);
    rig.clock.advance(6 * MINUTE);
    recent.assert_silent(A_WHILE);
    assert_eq!(rig.get("/api/me", &refresh(&rig, &newer).access).status, 200);
    rig.clock.advance(10 * MINUTE);
    assert_eq!(recent.chunk(), None, "the login is too old by now, whatever the token");
    any.assert_silent(A_WHILE);
}

#[test]
fn a_route_that_asks_the_store_each_time_is_left_at_its_tokens_end() {
    let upstream = upstream();
    let route = "[[routes]]\nname = \"strict\"\nprefix = \"/strict\"\nrevocation = \"strict\"\n";
    let rig = start_with(&upstream, route, |_| {});
    let tokens = rig.log_in();
    let mut stream = settled_events(&rig, "/strict/events", &tokens.access);
    seen_newer(&rig, &tokens);
    rig.clock.advance(10 * MINUTE);
    assert_eq!(stream.chunk(), None);
}

#[test]
fn a_token_of_another_issuer_is_followed_by_none() {
    let partner = Partner::new();
    let upstream = upstream();
    let settings = partner.accepted("subject_prefix = \"p:\"");
    let rig = Rig::start_from(upstream.address, &format!("{settings}[revocation]\nmax_staleness = \"1h\"\n"), |_| {});
    let token = |lives: i64| partner::token("7", &json!({"sid": "theirs", "exp": old_api::now() + lives}));
    let mut stream = settled_events(&rig, "/api/events", &token(600));
    assert_eq!(rig.get("/api/me", &token(3000)).status, 200);
    rig.clock.advance(11 * MINUTE);
    assert_eq!(stream.chunk(), None);
}

/// Begins a stream with `head`, as soon as it is told to. Says at once that a user is known.
fn late_upstream(head: &'static str) -> (Upstream, Arc<Mutex<bool>>) {
    let told = Arc::new(Mutex::new(false));
    let waits_for = Arc::clone(&told);
    let upstream = Upstream::start(move |conversation| {
        while let Some(request) = conversation.request() {
            if conversation.took_login(&request) {
                continue;
            }
            if request.starts_with("GET /api/me") {
                conversation.say("HTTP/1.1 204 No Content\r\n\r\n");
                continue;
            }
            eventually("it is told", || *waits_for.lock().unwrap());
            conversation.say(head);
            conversation.wait_for_end();
        }
    });
    (upstream, told)
}

/// The response begins late, as where a server flushes no head before the first event.
#[test]
fn a_stream_whose_head_comes_after_its_tokens_end_goes_on_by_the_newer_one() {
    let (upstream, told) = late_upstream("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let mut client = rig.client();
    client.send(format!("GET /api/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", tokens.access));
    client.assert_silent(A_WHILE);
    rig.clock.advance(10 * MINUTE);
    assert_eq!(rig.get("/api/me", &refresh(&rig, &tokens).access).status, 204);
    rig.clock.advance(10 * MINUTE);
    client.assert_silent(A_WHILE);
    *told.lock().unwrap() = true;
    assert!(client.head().starts_with("http/1.1 200 "));
    assert_eq!(client.chunk().as_deref(), Some("one"));
    client.assert_silent(A_WHILE);
    rig.clock.advance(10 * MINUTE);
    assert_eq!(client.chunk(), None);
}

/// The newer token is seen between the handshake and the consent.
#[test]
fn a_websocket_that_is_agreed_to_late_goes_on_by_the_newer_token() {
    for minutes_before_consent in [0, 10] {
        let (upstream, told) =
            late_upstream("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        let rig = start(&upstream);
        let tokens = rig.log_in();
        let mut client = rig.client();
        client.send(format!("GET /api/socket HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n{SHAKE}", tokens.access));
        client.assert_silent(A_WHILE);
        rig.clock.advance(10 * MINUTE);
        assert_eq!(rig.get("/api/me", &refresh(&rig, &tokens).access).status, 204);
        client.assert_silent(A_WHILE);
        rig.clock.advance(minutes_before_consent * MINUTE);
        *told.lock().unwrap() = true;
        assert_eq!(client.response().status, 101);
        rig.clock.advance((10 - minutes_before_consent) * MINUTE);
        client.assert_silent(A_WHILE);
        rig.clock.advance(10 * MINUTE);
        assert_eq!(client.bytes(17), b"\x88\x0f\x03\xf0token expired", "no newer token was seen");
    }
}
