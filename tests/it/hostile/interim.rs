//! Interim responses of upstreams (RFC 9110, section 15.2).

use std::sync::Mutex;
use std::sync::mpsc::channel;

use super::rig::Rig;
use super::upstream::Upstream;

const EARLY: &str =
    "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET /public HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn an_interim_response_does_not_wait_for_the_final_one() {
    let (seen, is_seen) = channel();
    let is_seen = Mutex::new(is_seen);
    let upstream = Upstream::start(move |conversation| {
        while conversation.request().is_some() {
            conversation.say(EARLY);
            is_seen.lock().unwrap().recv().unwrap();
            conversation.say("HTTP/1.1 102 Processing\r\nContent-Length: 7\r\n\r\n");
            is_seen.lock().unwrap().recv().unwrap();
            conversation.say(OK);
        }
    });
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    for _ in 0..2 {
        client.send(GET);
        let hints = client.head();
        assert!(hints.starts_with("http/1.1 103 early hints\r\nlink: </a.css>; rel=preload\r\n"), "{hints}");
        assert!(hints.contains("\r\nx-request-id: ") && hints.contains("\r\nvia: "), "{hints}");
        assert!(!hints.contains("x-hop") && !hints.contains("keep-alive") && !hints.contains("connection"), "{hints}");
        seen.send(()).unwrap();
        let processing = client.head();
        assert!(processing.starts_with("http/1.1 102 processing\r\n") && !processing.contains("content-length"), "{processing}");
        seen.send(()).unwrap();
        let response = client.response();
        assert_eq!((response.status, response.body.as_str(), response.interim), (200, "ok", vec![]));
    }
}

#[test]
fn interim_response_that_come_with_the_final_one_come_before_it() {
    let rig = Rig::start(Upstream::answering(EARLY.repeat(16) + OK).address);
    let mut client = rig.client();
    for _ in 0..2 {
        client.send("POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        let response = client.response();
        assert_eq!((response.status, response.body.as_str(), response.interim), (200, "ok", vec![103; 16]));
    }
}

#[test]
fn no_interim_response_goes_to_a_client_of_http_1_0() {
    let rig = Rig::start(Upstream::answering(EARLY.to_owned() + OK).address);
    let mut client = rig.client();
    client.send("GET /public HTTP/1.0\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.interim), (200, vec![]));
}

#[test]
fn an_upstream_that_fails_after_an_interim_response_is_still_a_502() {
    let rig = Rig::start(Upstream::answering_once(EARLY).address);
    let mut client = rig.client();
    client.send(GET);
    let response = client.response();
    assert_eq!((response.status, response.interim), (502, vec![103]));
}

/// Nothing of one response within another, however many of them the client leaves lying.
#[test]
fn a_client_that_reads_late_finds_every_response_whole() {
    const LARGE: usize = 12 << 20;
    const REQUESTS: usize = 40;
    let body = "b".repeat(LARGE);
    let large = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n{body}");
    let upstream = Upstream::start(move |conversation| {
        while let Some(request) = conversation.request() {
            let is_large = request.starts_with("GET /public/large ");
            conversation.say(EARLY);
            conversation.say(if is_large { &large } else { OK });
        }
    });
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    client.send("GET /public/large HTTP/1.1\r\nHost: a\r\n\r\n".to_owned() + &GET.repeat(REQUESTS));
    let response = client.response();
    assert_eq!((response.status, response.body.len(), response.interim), (200, LARGE, vec![103]));
    assert!(response.body == body);
    for _ in 0..REQUESTS {
        let response = client.response();
        assert_eq!((response.status, response.body.as_str()), (200, "ok"));
        assert!(response.interim.len() <= 1, "{response:?}");
    }
}
