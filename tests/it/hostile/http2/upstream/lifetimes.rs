//! How requests to an upstream that speaks HTTP/2 end on our side: each alone.

use std::sync::mpsc;

use tokengate::domain::per_upstream::UpstreamIndex;

use super::super::super::rig::PATIENCE;
use super::super::client::{CANCEL, END_STREAM, Event, Http2Client, INITIAL_WINDOW_SIZE, get};
use super::super::server::Http2Server;
use super::{GET, rig, rig_with};

#[test]
fn a_client_that_leaves_or_breaks_off_resets_its_request_alone() {
    let (said, hears) = mpsc::channel();
    let upstream = Http2Server::start(move |conversation| {
        let first = conversation.request().unwrap();
        conversation.headers(first.stream, &[(":status", "200")], 0);
        said.send(conversation.peer.event_of(first.stream)).unwrap();
        let second = conversation.request().unwrap();
        said.send(conversation.body(&second).unwrap_err()).unwrap();
        conversation.answer_all("ok");
    });
    let rig = rig(&upstream);
    let mut client = Http2Client::connect(rig.address());
    let stream = client.request(&get("/public"));
    assert!(matches!(client.event_of(stream), Event::Headers { .. }));
    client.reset(stream);
    assert!(matches!(hears.recv_timeout(PATIENCE).unwrap(), Event::Reset { code: CANCEL, .. }));
    let mut leaving = rig.client();
    leaving.send("POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nhello");
    leaving.end_sending();
    assert!(matches!(hears.recv_timeout(PATIENCE).unwrap(), Event::Reset { code: CANCEL, .. }), "never a whole request");
    assert_eq!(client.get("/public").body, "ok", "by the same connection");
    assert_eq!(upstream.heard().len(), 3);
}

#[test]
fn the_end_of_a_session_resets_the_request_that_runs_for_it() {
    let (said, hears) = mpsc::channel();
    let upstream = Http2Server::start(move |conversation| {
        while let Some(request) = conversation.request() {
            if request.field(":path") == Some("/login") {
                conversation.headers(request.stream, &[(":status", "200"), ("content-type", "application/json")], 0);
                conversation.peer.data(request.stream, br#"{"user":{"id":"ann"}}"#, END_STREAM);
                continue;
            }
            conversation.headers(request.stream, &[(":status", "200")], 0);
            said.send(conversation.peer.event_of(request.stream)).unwrap();
        }
    });
    let rig = rig(&upstream);
    let token = rig.log_in().access;
    let bearer = format!("Bearer {token}");
    let mut client = Http2Client::connect(rig.address());
    let stream = client.request(&[&get("/api")[..], &[("authorization", bearer.as_str())]].concat());
    assert!(matches!(client.event_of(stream), Event::Headers { .. }));
    rig.ask(format!("POST /logout HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"));
    assert!(matches!(hears.recv_timeout(PATIENCE).unwrap(), Event::Reset { code: CANCEL, .. }));
    assert_eq!(client.event_of(stream), Event::Reset { stream, code: CANCEL });
}

/// What a client does not take waits at the upstream, and holds up nobody else.
#[test]
fn a_client_that_takes_nothing_holds_up_its_own_response_alone() {
    const WINDOW: usize = 16 * 1024;
    let (said, hears) = mpsc::channel();
    let upstream = Http2Server::start(move |conversation| {
        let first = conversation.request().unwrap();
        conversation.headers(first.stream, &[(":status", "200")], 0);
        // As much as it may: its window, and what the gateway gave back since.
        let mut sent = 0;
        while sent < WINDOW {
            conversation.peer.data(first.stream, &[b'x'; 4096], 0);
            sent += 4096;
        }
        said.send(()).unwrap();
        conversation.answer_all("ok");
    });
    let rig = rig_with(&upstream, |settings| {
        settings.upstreams[UpstreamIndex::FIRST].http2.stream_window_bytes = u32::try_from(WINDOW).unwrap();
    });
    let mut client = Http2Client::connect_with(rig.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    let stream = client.request(&get("/public"));
    hears.recv_timeout(PATIENCE).unwrap();
    assert_eq!(rig.ask(GET).body, "ok", "over the same connection");
    client.room(stream, 1 << 20);
    client.room(0, 1 << 20);
    assert!(matches!(client.event_of(stream), Event::Headers { .. }));
    assert_eq!(client.bytes_of(stream, WINDOW).len(), WINDOW);
}
