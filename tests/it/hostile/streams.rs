//! What runs for long ends with its session.

use std::time::Duration;

use super::rig::{Rig, eventually};
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
    let answer =
        rig.ask(format!("POST /logout HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(answer.status, 200, "{answer:?}");
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
fn a_request_that_waits_for_its_answer_ends_with_its_session() {
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
    let answer = client.answer();
    assert_eq!((answer.status, answer.code().as_str()), (401, "token_revoked"), "{answer:?}");
}

#[test]
fn a_long_upload_ends_with_its_session() {
    let rig = Rig::start(Upstream::echo().address);
    let token = rig.log_in().access;
    let mut client = rig.client();
    client.send(format!("POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n\r\nhello"));
    client.assert_silent(Duration::from_millis(200));
    log_out(&rig, &token);
    let answer = client.answer();
    assert_eq!(answer.status, 401, "{answer:?}");
    client.assert_closed();
}
