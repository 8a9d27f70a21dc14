//! Responses that break off a while behind their head: what is small has not been begun by then, and nothing else waits.

use std::time::Duration;

use tokengate::domain::stats::Counter;

use super::rig::{Rig, eventually};
use super::upstream::Upstream;

const GET: &str = "GET /public HTTP/1.1\r\nHost: a\r\n\r\n";

/// Much longer than one more look at a socket takes.
const MOMENT: Duration = Duration::from_millis(100);

/// Far less than a small response is withheld.
const AT_ONCE: Duration = Duration::from_millis(400);

/// Says `first`, the rest a moment later, and closes.
fn pausing(first: impl Into<String>, rest: &'static str) -> Upstream {
    let first = first.into();
    Upstream::start(move |conversation| {
        conversation.request();
        conversation.say(&first);
        std::thread::sleep(MOMENT);
        conversation.say(rest);
    })
}

/// Says `first` and nothing more until the gateway goes.
fn stalling(first: impl Into<String>) -> Upstream {
    let first = first.into();
    Upstream::start(move |conversation| {
        conversation.request();
        conversation.say(&first);
        conversation.wait_for_end();
    })
}

#[test]
fn a_small_response_that_breaks_off_a_while_behind_its_head_is_502() {
    for (length, body) in [(10, ""), (10, "hello"), (16 * 1024, "hello")] {
        let upstream = pausing(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"), "");
        let rig = Rig::start(upstream.address);
        let response = rig.ask(GET);
        assert_eq!((response.status, response.code().as_str(), response.whole), (502, "upstream_failed", true), "{response:?}");
        assert_eq!(rig.counted(Counter::UpstreamErrors), 1);
        assert_eq!(rig.counted(Counter::ResponsesEndedByClient), 0);
    }
}

#[test]
fn a_large_or_chunked_response_that_breaks_off_breaks_off_for_the_client_too() {
    for said in [
        "HTTP/1.1 200 OK\r\nContent-Length: 16385\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let rig = Rig::start(pausing(said, "").address);
        let response = rig.ask(GET);
        assert!(response.status == 200 && !response.whole && response.body == "hello", "{said}: {response:?}");
        eventually("it is counted", || rig.counted(Counter::UpstreamErrors) == 1);
    }
}

#[test]
fn a_small_response_in_pieces_is_passed_on_whole() {
    let upstream = pausing("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "world");
    let response = Rig::start(upstream.address).ask(GET);
    assert!(response.status == 200 && response.whole && response.body == "helloworld", "{response:?}");
}

#[test]
fn streams_and_long_downloads_begin_at_once() {
    for said in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\nslow",
        "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n",
    ] {
        let rig = Rig::start(stalling(said).address);
        let mut client = rig.client();
        client.send(GET);
        assert!(!client.is_silent(AT_ONCE), "{said}");
        assert!(client.head().starts_with("http/1.1 200"), "{said}");
    }
}

#[test]
fn responses_without_a_body_wait_for_none() {
    for (method, status) in [("HEAD", "200 OK"), ("GET", "304 Not Modified"), ("GET", "204 No Content")] {
        let rig = Rig::start(stalling(format!("HTTP/1.1 {status}\r\nContent-Length: 10\r\n\r\n")).address);
        let mut client = rig.client();
        client.send(format!("{method} /public HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!client.is_silent(AT_ONCE), "{method} {status}");
        assert!(client.head().starts_with(&format!("http/1.1 {}", status.to_ascii_lowercase())));
    }
}

#[test]
fn a_small_response_that_is_slow_begins_all_the_same() {
    let upstream = stalling("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    client.send(GET);
    assert!(client.head().starts_with("http/1.1 200"));
    assert_eq!(client.bytes(5), b"hello");
}

/// The upstream says the head, and the body when it has the rest of the request.
#[test]
fn the_head_of_an_early_response_is_not_withheld() {
    let upstream = Upstream::start(|conversation| {
        conversation.head();
        conversation.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n");
        while conversation.byte().is_some_and(|byte| byte != b'!') {}
        conversation.say("!");
        conversation.wait_for_end();
    });
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    client.send("POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhello");
    assert!(client.head().starts_with("http/1.1 200"));
    client.send("!");
    assert_eq!(client.bytes(1), b"!");
}
