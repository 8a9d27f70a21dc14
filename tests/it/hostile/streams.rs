//! What runs for long ends with its session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokengate::domain::stats::Counter;

use super::client::Client;
use super::partner::{self, Partner};
use super::rig::{Rig, eventually, forward};
use super::upstream::{Conversation, Upstream};

/// The worker looks ten times a second.
const BOUND: Duration = Duration::from_secs(2);

/// An event stream that never ends by itself, for everything but logins.
fn event_stream() -> Upstream {
    Upstream::start(|conversation| {
        while let Some(request) = conversation.request() {
            if !conversation.took_login(&request) {
                stream_events(conversation);
                return;
            }
        }
    })
}

fn stream_events(conversation: &mut Conversation) {
    conversation.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    conversation.say("a\r\ndata: one\n\r\n");
    conversation.wait_for_end();
}

fn log_out(rig: &Rig, token: &str) {
    let response =
        rig.ask(format!("POST /logout HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(response.status, 200, "{response:?}");
}

#[test]
fn an_event_stream_ends_when_its_session_is_logged_out() {
    let rig = Rig::start(event_stream().address);
    let (token, other) = (rig.log_in().access, rig.log_in().access);
    let open = |token: &str| {
        let mut client = rig.client();
        client.send(format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
        assert!(client.head().starts_with("http/1.1 200 "));
        assert_eq!(client.chunk().as_deref(), Some("data: one\n"));
        client
    };
    let (mut stream, mut other_stream) = (open(&token), open(&other));
    stream.assert_silent(Duration::from_millis(300));
    log_out(&rig, &token);
    let ended_at = tokio::time::Instant::now();
    assert_eq!(stream.chunk(), None, "the stream is broken off, not completed");
    assert!(ended_at.elapsed() < BOUND);
    other_stream.assert_silent(Duration::from_millis(300));
    assert_eq!(rig.get("/api", &token).status, 401);
}

#[test]
fn an_event_stream_ends_when_its_token_expires() {
    let rig = Rig::start(event_stream().address);
    let token = rig.log_in().access;
    let mut client = rig.client();
    client.send(format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
    client.head();
    assert!(client.chunk().is_some());
    rig.clock.advance(Duration::from_secs(16 * 60));
    let ended_at = tokio::time::Instant::now();
    assert_eq!(client.chunk(), None);
    assert!(ended_at.elapsed() < BOUND);
}

#[test]
fn a_request_that_waits_for_its_response_ends_with_its_session() {
    let upstream = Upstream::start(|conversation| {
        while let Some(request) = conversation.request() {
            if !conversation.took_login(&request) {
                conversation.wait_for_end();
                return;
            }
        }
    });
    let rig = Rig::start(upstream.address);
    let token = rig.log_in().access;
    let mut client = rig.client();
    client.send(format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
    eventually("the request is with the upstream", || upstream.heard().len() == 2);
    log_out(&rig, &token);
    let response = client.response();
    assert_eq!((response.status, response.code().as_str()), (401, "token_revoked"), "{response:?}");
}

/// An upstream that answers when it is told to: what is said at once, and what after it.
fn patient(said: &'static str, after: &'static str) -> (Upstream, Arc<AtomicBool>) {
    let told = Arc::new(AtomicBool::new(false));
    let waits_for = Arc::clone(&told);
    let upstream = Upstream::start(move |conversation| {
        while let Some(request) = conversation.request() {
            if conversation.took_login(&request) {
                continue;
            }
            while !waits_for.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            conversation.say(said);
            thread::sleep(Duration::from_millis(200));
            conversation.say(after);
            if after.is_empty() {
                conversation.wait_for_end();
            }
        }
    });
    (upstream, told)
}

fn asking(rig: &Rig, token: &str) -> Client {
    let mut client = rig.client();
    client.send(format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
    client
}

const EXPIRY: Duration = Duration::from_secs(16 * 60);

#[test]
fn a_request_that_was_admitted_in_time_is_answered_whole_after_its_token_expired() {
    let (upstream, told) = patient("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nbe", "lled");
    let rig = Rig::start(upstream.address);
    let token = rig.log_in().access;
    let mut client = asking(&rig, &token);
    eventually("the request is with the upstream", || upstream.heard().len() == 2);
    rig.clock.advance(EXPIRY);
    client.assert_silent(Duration::from_millis(200));
    told.store(true, Ordering::SeqCst);
    let response = client.response();
    assert_eq!((response.status, response.body.as_str(), response.whole), (200, "belled", true), "{response:?}");
    assert_eq!(rig.get("/api", &token).code(), "token_expired", "the next one is not");
    assert_eq!((rig.counted(Counter::ResponsesEndedByExpiry), rig.counted(Counter::UpstreamErrors)), (0, 0));
}

#[test]
fn a_response_that_began_after_its_token_expired_does_not_go_on_for_ever() {
    let (upstream, told) = patient("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n", "");
    let rig = Rig::start_with(upstream.address, |settings| {
        settings
            .routes
            .change(|routes| {
                for route in routes {
                    forward(route).response_timeout = Duration::from_secs(1);
                }
            })
            .unwrap();
    });
    let token = rig.log_in().access;
    let mut client = asking(&rig, &token);
    eventually("the request is with the upstream", || upstream.heard().len() == 2);
    rig.clock.advance(EXPIRY);
    told.store(true, Ordering::SeqCst);
    assert!(client.head().starts_with("http/1.1 200 "));
    assert_eq!(client.chunk().as_deref(), Some("one"));
    client.assert_silent(Duration::from_millis(300));
    assert_eq!(client.chunk(), None, "it had as long as the response itself may be waited for");
    assert_eq!(rig.counted(Counter::ResponsesEndedByExpiry), 1);
}

#[test]
fn an_upload_that_was_admitted_in_time_is_taken_to_its_end() {
    let rig = Rig::start(Upstream::echo().address);
    let token = rig.log_in().access;
    let mut client = rig.client();
    client.send(format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 10\r\n\r\nhello"));
    client.assert_silent(Duration::from_millis(200));
    rig.clock.advance(EXPIRY);
    client.assert_silent(Duration::from_millis(200));
    client.send("world");
    let response = client.response();
    assert!(response.status == 200 && response.body.ends_with("helloworld"), "{response:?}");
}

#[test]
fn a_revocation_ends_what_is_awaited_though_its_token_has_expired_too() {
    let (upstream, _) = patient("", "");
    let rig = Rig::start(upstream.address);
    let tokens = rig.log_in();
    let mut client = asking(&rig, &tokens.access);
    eventually("the request is with the upstream", || upstream.heard().len() == 2);
    rig.clock.advance(EXPIRY);
    client.assert_silent(Duration::from_millis(200));
    assert_eq!(rig.post("/logout", &format!(r#"{{"refreshToken":"{}"}}"#, tokens.refresh)).status, 200);
    let response = client.response();
    assert_eq!((response.status, response.code().as_str()), (401, "token_revoked"), "{response:?}");
    assert_eq!((rig.counted(Counter::RejectedRevokedSession), rig.counted(Counter::UpstreamErrors)), (1, 0));
}

#[test]
fn the_leeway_of_an_issuer_holds_for_its_streams_as_for_its_requests() {
    let partner = Partner::new();
    let settings = partner.accepted("subject_prefix = \"p:\"\nleeway = \"20s\"");
    let rig = Rig::start_from(event_stream().address, &settings, |_| {});
    let expires_at = crate::support::old_api::now() + 2;
    let token = partner::token("7", &json!({"exp": expires_at}));
    rig.clock.advance(Duration::from_secs(10));
    let mut client = asking(&rig, &token);
    assert!(client.head().starts_with("http/1.1 200 "), "within the leeway");
    assert_eq!(client.chunk().as_deref(), Some("data: one\n"));
    client.assert_silent(Duration::from_millis(300));
    rig.clock.advance(Duration::from_secs(15));
    assert_eq!(client.chunk(), None);
    assert_eq!((rig.counted(Counter::ResponsesEndedByExpiry), rig.counted(Counter::ResponsesEndedBySession)), (1, 0));
    assert_eq!(rig.get("/api", &token).code(), "token_expired");
}

#[test]
fn a_long_upload_ends_with_its_session() {
    let rig = Rig::start(Upstream::echo().address);
    let token = rig.log_in().access;
    let mut client = rig.client();
    client.send(format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n\r\nhello"));
    client.assert_silent(Duration::from_millis(200));
    log_out(&rig, &token);
    let response = client.response();
    assert_eq!(response.status, 401, "{response:?}");
    client.assert_closed();
}

/// What holds of an upload before there is a response holds no more once there is one.
#[test]
fn once_the_response_has_begun_only_the_silence_of_both_sides_ends_a_stream() {
    const IDLE: Duration = Duration::from_millis(1200);
    const PAUSE: Duration = Duration::from_millis(700);
    let upstream = Upstream::start(|conversation| {
        let head = conversation.head().unwrap();
        conversation.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n");
        while head.contains("/public/talks") && conversation.lives() {
            thread::sleep(PAUSE / 2);
            conversation.say("4\r\ntalk\r\n");
        }
        conversation.wait_for_end();
    });
    let rig = Rig::start_with(upstream.address, |settings| {
        settings.listen.limits.body_idle_timeout = PAUSE / 3;
        settings.routes.change(|routes| forward(&mut routes[0]).idle_timeout = IDLE).unwrap();
    });
    let open = |path: &str| {
        let mut client = rig.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\nx"));
        assert!(client.head().starts_with("http/1.1 200 "));
        assert_eq!(client.chunk().as_deref(), Some("begun"));
        client
    };
    let (mut sends, mut hears, mut silent) = (open("/public"), open("/public/talks"), open("/public"));
    for _ in 0..4 {
        assert!(sends.is_silent(PAUSE), "it goes on");
        sends.send("x");
        assert_eq!(hears.chunk().as_deref(), Some("talk"));
    }
    assert_eq!(silent.chunk(), None, "neither side said anything");
    assert_eq!(hears.chunk().as_deref(), Some("talk"));
    assert_eq!(sends.chunk(), None, "nor here, in the end");
}
