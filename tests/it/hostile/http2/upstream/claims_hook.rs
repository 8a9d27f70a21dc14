//! The claims hook of an upstream that speaks HTTP/2: what is asked, and over which connections.

use std::sync::mpsc::{self, Receiver};
use std::thread;

use tokengate::config::UpstreamProtocol;
use tokengate::domain::per_upstream::UpstreamIndex;

use super::super::super::rig::{PATIENCE, Rig, Tokens};
use super::super::client::{END_STREAM, Fields, NO_ERROR, PING, find, frame};
use super::super::server::{Conversation, Http2Server, Request};
use super::SOON;

/// Each refresh moves the session on, and is a 503 without a response to the question.
const SETTINGS: &str = "[store]\nkind = \"memory\"\n[refresh]\nleeway = \"0s\"\n\
    [claims_hook]\npath = \"/internal/claims\"\ntoken = \"known-to-the-upstream\"\non_failure = \"refuse\"\n";

/// A question: the number of its connection, its fields and its body.
type Question = (usize, Fields, String);

/// Logs everyone in, and knows everyone; `then` follows the response to a question.
fn upstream(then: impl Fn(&mut Conversation, &Request) + Send + Sync + 'static) -> (Http2Server, Receiver<Question>) {
    let (asks, asked) = mpsc::channel();
    let server = Http2Server::start(move |conversation| {
        while let Some(request) = conversation.request() {
            let body = conversation.body(&request).unwrap();
            let is_question = request.field(":path") != Some("/login");
            if is_question {
                asks.send((conversation.index, request.fields.clone(), body)).unwrap();
            }
            conversation.headers(request.stream, &[(":status", "200"), ("content-type", "application/json")], 0);
            conversation.peer.data(request.stream, br#"{"user":{"id":"user-1"}}"#, END_STREAM);
            if is_question {
                then(conversation, &request);
            }
        }
    });
    (server, asked)
}

fn rig(upstream: &Http2Server) -> Rig {
    Rig::start_from(upstream.address, SETTINGS, |settings| {
        settings.upstreams[UpstreamIndex::FIRST].protocol = UpstreamProtocol::Http2;
    })
}

fn refreshed(rig: &Rig, tokens: &Tokens) -> Tokens {
    let response = rig.post("/refresh", &format!(r#"{{"refreshToken":"{}"}}"#, tokens.refresh));
    assert_eq!(response.status, 200, "{response:?}");
    let body: serde_json::Value = serde_json::from_str(&response.body).unwrap();
    let text = |member: &str| body[member].as_str().unwrap().to_owned();
    Tokens { access: text("accessToken"), refresh: text("refreshToken") }
}

/// The numbers of the connections of all questions so far.
fn connections(asked: &Receiver<Question>) -> Vec<usize> {
    asked.try_iter().map(|(connection, ..)| connection).collect()
}

#[test]
fn questions_share_a_connection_and_say_what_one_by_http_1_says() {
    let (upstream, asked) = upstream(|_, _| {});
    let rig = rig(&upstream);
    let mut tokens = rig.log_in();
    for _ in 0..5 {
        tokens = refreshed(&rig, &tokens);
    }
    let (connection, fields, body) = asked.recv_timeout(PATIENCE).unwrap();
    let authority = upstream.address.to_string();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", authority.as_str()),
        (":path", "/internal/claims"),
        ("authorization", "Bearer known-to-the-upstream"),
        ("content-type", "application/json"),
        ("accept-encoding", "identity"),
    ] {
        assert_eq!(find(&fields, name), Some(value), "{fields:?}");
    }
    assert!(fields.iter().all(|(name, _)| name != "host" && name != "connection"), "{fields:?}");
    assert!(body.contains(r#""subject":"user-1""#), "{body}");
    assert_eq!(connections(&asked), [connection; 4]);
}

#[test]
fn a_connection_that_the_upstream_ends_costs_no_refresh() {
    let (upstream, asked) = upstream(|conversation, request| conversation.goodbye(request.stream, NO_ERROR));
    let rig = rig(&upstream);
    let mut tokens = rig.log_in();
    for _ in 0..5 {
        tokens = refreshed(&rig, &tokens);
    }
    let mut connections = connections(&asked);
    connections.dedup();
    assert_eq!(connections.len(), 5, "one for each");
}

/// The response is not among what is too much.
fn pinging(pings: usize, then: impl Fn(&mut Conversation) + Send + Sync + 'static) -> (Http2Server, Receiver<Question>) {
    upstream(move |conversation, _| {
        thread::sleep(SOON);
        conversation.peer.try_send(&frame(PING, 0, 0, b"12345678").repeat(pings));
        then(conversation);
    })
}

#[test]
fn a_kept_connection_lives_if_it_is_asked_for_signs_of_life_and_ends_if_that_has_no_end() {
    let (upstream, asked) = pinging(20, |_| {});
    let few = rig(&upstream);
    let tokens = refreshed(&few, &few.log_in());
    thread::sleep(2 * SOON);
    refreshed(&few, &tokens);
    let connections = connections(&asked);
    assert_eq!((connections.len(), connections[0]), (2, connections[1]));
    let (ends, ended) = mpsc::channel();
    let (upstream, _asked) = pinging(1_000, move |conversation| {
        conversation.wait_for_end();
        ends.send(()).unwrap();
    });
    let many = rig(&upstream);
    refreshed(&many, &many.log_in());
    ended.recv_timeout(PATIENCE).unwrap();
}
