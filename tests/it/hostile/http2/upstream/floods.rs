//! Upstreams that send more frames than anybody needs: it costs them the connection, and nobody else anything.

use std::sync::mpsc;

use super::super::super::rig::PATIENCE;
use super::super::client::{
    ACK, DATA, END_HEADERS, END_STREAM, End, HEADERS, Http2Client, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
    frame, get,
};
use super::super::server::{Conversation, Http2Server};
use super::rig;

/// A frame, by the stream of the request that is under way.
type Said = fn(u32) -> Vec<u8>;

/// Says this until the gateway has closed. Ends by itself where nobody closes.
fn without_end(conversation: &mut Conversation, again: &[u8]) {
    let many = again.repeat(1000);
    for _ in 0..1000 {
        if !conversation.peer.try_send(&many) {
            return;
        }
    }
}

#[test]
fn frames_that_carry_nothing_end_the_connection_in_masses_alone() {
    let kinds: [(&str, Said); 9] = [
        ("ping", |_| frame(PING, 0, 0, &[7; 8])),
        ("answer to no ping", |_| frame(PING, ACK, 0, &[7; 8])),
        ("settings", |_| frame(SETTINGS, 0, 0, &[])),
        ("priority", |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])),
        ("window", |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("window of the stream", |stream| frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1])),
        ("window of a stream that has ended", |_| frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("reset of a stream that has ended", |_| frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
        ("unknown", |_| frame(0xbb, 0, 0, &[1; 100])),
    ];
    for (kind, said) in kinds {
        let upstream = Http2Server::start(move |conversation| {
            while let Some(request) = conversation.request() {
                let again = said(request.stream);
                match request.field(":path") {
                    Some("/public/flood") => return without_end(conversation, &again),
                    Some("/public/few") => conversation.peer.send(&again.repeat(1000)),
                    _ => {}
                }
                conversation.respond(request.stream, "ok");
            }
        });
        let rig = rig(&upstream);
        let mut client = Http2Client::connect(rig.address());
        let mut get = |path| client.get(path);
        assert_eq!([get("/public").body, get("/public/few").body], ["ok", "ok"], "{kind}");
        assert_eq!(get("/public/flood").code(), "upstream_failed", "{kind}");
        assert_eq!(get("/public").body, "ok", "{kind}: over another connection");
    }
}

/// Once the response has begun, nothing but the bytes that it is made of moves it.
#[test]
fn data_of_nothing_ends_the_connection_in_masses_alone() {
    let upstream = Http2Server::start(|conversation| {
        while let Some(request) = conversation.request() {
            conversation.headers(request.stream, &[(":status", "200")], 0);
            let nothing = frame(DATA, 0, request.stream, &[]);
            if request.field(":path") == Some("/public/flood") {
                return without_end(conversation, &nothing);
            }
            conversation.peer.send(&nothing.repeat(1000));
            conversation.peer.data(request.stream, b"ok", END_STREAM);
        }
    });
    let rig = rig(&upstream);
    let mut client = Http2Client::connect(rig.address());
    assert_eq!(client.get("/public").body, "ok");
    let flooded = client.get("/public/flood");
    assert!(flooded.body.is_empty() && matches!(flooded.end, End::Reset(_)), "{flooded:?}");
    assert_eq!(client.get("/public").body, "ok", "over another connection");
}

/// Nobody reads them who could tell that they are too many.
#[test]
fn interim_responses_to_a_request_that_was_taken_back_end_the_connection_in_masses() {
    let (said, hears) = mpsc::channel();
    let upstream = Http2Server::start(move |conversation| {
        while let Some(request) = conversation.request() {
            if request.field(":path") == Some("/public/flood") {
                said.send(()).unwrap();
                let _ = conversation.peer.event_of(request.stream);
                let interim = frame(HEADERS, END_HEADERS, request.stream, &block(&[(":status", "103")]));
                without_end(conversation, &interim);
                said.send(()).unwrap();
                return;
            }
            conversation.respond(request.stream, "ok");
        }
    });
    let rig = rig(&upstream);
    let mut client = Http2Client::connect(rig.address());
    let flooded = client.request(&get("/public/flood"));
    hears.recv_timeout(PATIENCE).unwrap();
    client.reset(flooded);
    hears.recv_timeout(PATIENCE).expect("the gateway closes");
    assert_eq!(client.get("/public").body, "ok", "over another connection");
}
