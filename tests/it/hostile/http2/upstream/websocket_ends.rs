//! A WebSocket whose upstream ends its side first. What the client still says comes there, whole.

use std::sync::mpsc::{self, Receiver};

use super::super::super::rig::{PATIENCE, Rig};
use super::super::client::{END_STREAM, Event, Http2Client, NO_ERROR};
use super::super::server::{Conversation, Http2Server, Request};
use super::rig;
use super::websockets::{CLOSED, CLOSING, agreeing, connect};

/// The gateway's closing frame, as a client's.
const TO_UPSTREAM: &[u8] = b"\x88\x8f\0\0\0\0\x03\xf0session ended";

/// What came on a stream after the upstream had ended its side, and how it ended.
type Outcome = (Vec<u8>, Event);

/// Ends its side by `end`, then listens.
fn ending_by(end: impl Fn(&mut Conversation, u32) + Send + Sync + 'static) -> (Http2Server, Receiver<Outcome>) {
    let (said, hears) = mpsc::channel();
    let upstream = agreeing(move |conversation, request: &Request| {
        end(conversation, request.stream);
        let mut came = Vec::new();
        let end = loop {
            match conversation.peer.event_of(request.stream) {
                Event::Data { stream, bytes, ends } => {
                    came.extend(bytes);
                    if ends {
                        break Event::Data { stream, bytes: Vec::new(), ends };
                    }
                }
                other => break other,
            }
        };
        said.send((came, end)).unwrap();
    });
    (upstream, hears)
}

/// With consent to a WebSocket at this path, and what the upstream said of itself.
fn open(rig: &Rig, path: &str, bearer: Option<&str>, said: &[u8]) -> (Http2Client, u32) {
    let mut client = Http2Client::connect(rig.address());
    let mut fields = connect(path);
    fields.extend(bearer.map(|bearer| ("authorization", bearer)));
    let stream = client.begin(&fields);
    assert!(matches!(client.event_of(stream), Event::Headers { ends: false, .. }));
    assert_eq!(client.bytes_of(stream, said.len()), said);
    (client, stream)
}

#[test]
fn what_a_client_says_with_its_end_comes_behind_the_end_of_the_upstream() {
    let (upstream, hears) = ending_by(|conversation, stream| conversation.peer.data(stream, b"first", END_STREAM));
    let rig = rig(&upstream);
    let (mut client, stream) = open(&rig, "/public", None, b"first");
    client.data(stream, b"late", END_STREAM);
    let (came, end) = hears.recv_timeout(PATIENCE).unwrap();
    assert_eq!(came, b"late");
    assert!(matches!(end, Event::Data { ends: true, .. }), "{end:?}");
}

#[test]
fn the_answer_to_a_closing_frame_comes_to_an_upstream_that_has_ended_with_the_frame_or_by_trailers() {
    let ends: [fn(&mut Conversation, u32); 2] = [
        |conversation, stream| conversation.peer.data(stream, CLOSED, END_STREAM),
        |conversation, stream| {
            conversation.peer.data(stream, CLOSED, 0);
            conversation.peer.trailers(stream, &[("x-last", "1")]);
        },
    ];
    for end in ends {
        let (upstream, hears) = ending_by(end);
        let rig = rig(&upstream);
        let (mut client, stream) = open(&rig, "/public", None, CLOSED);
        client.data(stream, CLOSING, END_STREAM);
        let (came, end) = hears.recv_timeout(PATIENCE).unwrap();
        assert_eq!(came, CLOSING);
        assert!(matches!(end, Event::Reset { code: NO_ERROR, .. }), "{end:?}");
    }
}

#[test]
fn the_end_of_a_session_is_told_to_an_upstream_that_has_ended() {
    let (upstream, hears) = ending_by(|conversation, stream| conversation.peer.data(stream, b"first", END_STREAM));
    let rig = rig(&upstream);
    let token = rig.log_in().access;
    let bearer = format!("Bearer {token}");
    let _client = open(&rig, "/api", Some(&bearer), b"first");
    let fields = format!("Host: a\r\nAuthorization: {bearer}\r\nContent-Length: 0");
    assert_eq!(rig.ask(format!("POST /logout HTTP/1.1\r\n{fields}\r\n\r\n")).status, 200);
    let (came, end) = hears.recv_timeout(PATIENCE).unwrap();
    assert_eq!(came, TO_UPSTREAM);
    assert!(matches!(end, Event::Reset { code: NO_ERROR, .. }), "{end:?}");
}
