//! Clients that end their side of the connection behind a request: some still read, as `nc -N` does; others have left.

use std::time::Duration;

use tokengate::domain::stats::Counter;

use super::rig::{Rig, eventually};
use super::upstream::{Conversation, Upstream};

const GET: &str = "GET /public HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

/// Longer than it takes until the gateway has seen the end of a client's side.
const MOMENT: Duration = Duration::from_millis(300);

/// Responds a moment after each request; notes the end of a connection that comes before that.
fn slow() -> Upstream {
    Upstream::start(|conversation| {
        while conversation.request().is_some() {
            if conversation.ends_within(MOMENT) {
                return conversation.note("given up");
            }
            conversation.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

#[test]
fn a_client_that_ends_its_side_behind_a_request_is_answered() {
    let upstream = slow();
    let rig = Rig::start(upstream.address);
    for request in [GET, POST, "GET /public HTTP/1.0\r\nHost: a\r\n\r\n"] {
        let mut client = rig.client();
        client.send(request);
        client.end_sending();
        let response = client.response();
        assert_eq!((response.status, response.body.as_str(), response.whole), (200, "ok", true), "{request}: {response:?}");
        client.assert_closed();
    }
    let mut client = rig.client();
    client.send(GET.repeat(3));
    client.end_sending();
    for _ in 0..3 {
        assert_eq!(client.response().status, 200);
    }
    client.assert_closed();
    assert_eq!(rig.counted(Counter::ResponsesEndedByClient), 0);
}

#[test]
fn own_endpoints_answer_a_client_that_has_ended_its_side() {
    let rig = Rig::start(slow().address);
    let mut client = rig.client();
    client.send("POST /refresh HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}");
    client.end_sending();
    assert_eq!(client.response().status, 415);
}

#[test]
fn a_long_response_reaches_a_client_that_had_ended_its_side_before() {
    let upstream = Upstream::start(|conversation| {
        conversation.request();
        if conversation.ends_within(MOMENT) {
            return;
        }
        conversation.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        // Longer than a client that has ended its side is believed in before it has been written to.
        for _ in 0..10 {
            conversation.say("5\r\nhello\r\n");
            std::thread::sleep(MOMENT);
        }
        conversation.say("0\r\n\r\n");
    });
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    client.send(GET);
    client.end_sending();
    let response = client.response();
    assert!(response.whole && response.body == "hello".repeat(10), "{response:?}");
}

/// The end of a large response waits in the gateway until the client takes it.
#[test]
fn a_large_response_reaches_a_client_that_reads_it_late() {
    const LENGTH: usize = 32 << 20;
    let upstream = Upstream::start(|conversation| {
        conversation.request();
        if !conversation.ends_within(MOMENT) {
            conversation.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n{}", "x".repeat(LENGTH)));
        }
    });
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    client.send(GET);
    client.end_sending();
    assert!(client.head().starts_with("http/1.1 200"));
    std::thread::sleep(MOMENT);
    assert_eq!(client.bytes(LENGTH).len(), LENGTH);
    client.assert_closed();
}

#[test]
fn what_a_client_has_left_is_given_up_soon_although_its_end_looks_like_a_half() {
    let upstream = Upstream::start(|conversation| {
        conversation.request();
        conversation.wait_for_end();
        conversation.note("given up");
    });
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    client.send(GET);
    drop(client);
    // A response would be awaited for much longer.
    eventually("the exchange ends upstream", || upstream.heard().last().is_some_and(|last| last == "given up"));
}

/// There is nothing to be guessed.
#[test]
fn a_client_that_resets_its_connection_is_given_up_at_once() {
    const AT_ONCE: Duration = Duration::from_millis(1500);
    let upstream = Upstream::start(|conversation| {
        conversation.request();
        conversation.note("asked");
        let is_given_up = conversation.ends_within(AT_ONCE);
        conversation.note(if is_given_up { "given up" } else { "held" });
    });
    let rig = Rig::start(upstream.address);
    for (round, request) in [GET, POST].into_iter().enumerate() {
        let mut client = rig.client();
        client.send(request);
        eventually("the request is under way", || upstream.heard().iter().filter(|heard| *heard == "asked").count() == round + 1);
        client.reset();
        eventually("the exchange ends upstream", || {
            upstream.heard().iter().filter(|heard| *heard == "given up").count() == round + 1
        });
    }
}

/// What was sent ahead is served in its turn, and the end behind it ends nothing before.
#[test]
fn an_end_behind_a_request_that_was_sent_ahead_counts_when_that_is_reached() {
    let upstream = slow();
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    client.send(GET);
    // While the first one is under way.
    std::thread::sleep(MOMENT / 3);
    client.send(POST);
    client.end_sending();
    for _ in 0..2 {
        let response = client.response();
        assert_eq!((response.status, response.body.as_str(), response.whole), (200, "ok", true), "{response:?}");
    }
    client.assert_closed();
}

/// Its response is blocked by nobody's window but its own.
#[test]
fn a_client_that_leaves_while_it_takes_nothing_is_given_up() {
    let upstream = Upstream::start(|conversation| {
        conversation.request();
        conversation.say("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while conversation.lives() {
            conversation.say("x".repeat(64 * 1024));
        }
        conversation.note("given up");
    });
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    client.send(GET);
    assert!(client.head().starts_with("http/1.1 200"));
    std::thread::sleep(MOMENT);
    client.end_sending();
    eventually("the stream ends upstream", || upstream.heard().last().is_some_and(|last| last == "given up"));
}

/// An endless stream to nobody would be held until the upstream says something.
#[test]
fn a_stream_that_begins_for_a_client_that_has_left_ends() {
    for has_left_before in [true, false] {
        let upstream = Upstream::start(move |conversation| {
            conversation.request();
            if has_left_before && conversation.ends_within(MOMENT) {
                return;
            }
            conversation.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
            conversation.wait_for_end();
            conversation.note("given up");
        });
        let rig = Rig::start(upstream.address);
        let mut client = rig.client();
        client.send(GET);
        if !has_left_before {
            assert!(client.head().starts_with("http/1.1 200"));
        }
        drop(client);
        eventually("the stream ends upstream", || upstream.heard().last().is_some_and(|last| last == "given up"));
        eventually("it is the client's", || rig.counted(Counter::ResponsesEndedByClient) == 1);
    }
}

/// Of a client that sends more, the end is that of the connection.
#[test]
fn an_end_within_a_request_is_no_half() {
    let upstream = Upstream::start(Conversation::wait_for_end);
    let rig = Rig::start(upstream.address);
    for request in ["GET /public HTTP/1.1\r\nHost: a\r\n", "POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhello"] {
        let mut client = rig.client();
        client.send(request);
        client.end_sending();
        assert!(!client.is_silent(Duration::from_secs(1)), "{request}");
        let rest = client.rest();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 400 "), "{rest}");
    }
}
