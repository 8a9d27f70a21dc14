//! Expect: 100-continue (RFC 9110, section 10.1.1).

use std::time::Duration;

use super::rig::{BODY_BYTES_MAX, Rig};
use super::upstream::Upstream;

#[test]
fn the_body_is_asked_for_once() {
    // One that sends a 100 of its own.
    let upstream = Upstream::start(|conversation| {
        let head = conversation.head().unwrap();
        assert!(!head.to_ascii_lowercase().contains("expect"), "{head}");
        conversation.say("HTTP/1.1 100 Continue\r\n\r\n");
        let body: Vec<u8> = (0..5).filter_map(|_| conversation.byte()).collect();
        assert_eq!(body, b"hello");
        conversation.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    client.send("POST /public HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert!(client.head().starts_with("http/1.1 100 "));
    client.send("hello");
    let response = client.response();
    assert_eq!((response.status, response.interim.len()), (200, 0), "{response:?}");
}

#[test]
fn a_refusal_does_not_ask_for_the_body() {
    let rig = Rig::start(Upstream::echo().address);
    let too_large = BODY_BYTES_MAX + 1;
    for (path, length, status) in [("/api", 5, 401), ("/public", too_large, 413), ("/nothing", 5, 404), ("/login", 70_000, 413)] {
        let mut client = rig.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.status, response.interim.len()), (status, 0), "{response:?}");
        client.assert_closed();
    }
}

#[test]
fn nobody_asks_for_the_body_before_there_is_someone_to_take_it() {
    let rig = Rig::start(Upstream::nowhere());
    let mut client = rig.client();
    client.send("POST /public HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.interim.len()), (502, 0), "{response:?}");
}

#[test]
fn a_client_of_http_1_0_gets_no_interim_response() {
    let rig = Rig::start(Upstream::echo().address);
    let mut client = rig.client();
    client.send("POST /public HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    client.assert_silent(Duration::from_millis(200));
    client.send("hello");
    let response = client.response();
    assert_eq!((response.status, response.interim.len()), (200, 0), "{response:?}");
}
