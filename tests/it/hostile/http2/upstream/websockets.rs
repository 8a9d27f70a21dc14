//! WebSocket handshakes to an upstream that speaks HTTP/2 (RFC 8441), for clients of either protocol.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::super::super::client::Client;
use super::super::super::rig::{PATIENCE, Rig, forward};
use super::super::client::{CANCEL, ENABLE_CONNECT_PROTOCOL, END_STREAM, Event, Http2Client, INITIAL_WINDOW_SIZE, NO_ERROR, get};
use super::super::server::{Conversation, Http2Server, Request};
use super::{GET, rig, rig_with};

const SHAKE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

pub(super) fn connect(path: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat"),
    ]
}

/// Takes logins and WebSocket handshakes. Of those, `then` goes on with each after its consent.
pub(super) fn agreeing(then: impl Fn(&mut Conversation, &Request) + Send + Sync + 'static) -> Http2Server {
    Http2Server::with_settings(&[(ENABLE_CONNECT_PROTOCOL, 1)], move |conversation| {
        while let Some(request) = conversation.request() {
            if request.field(":path") == Some("/login") {
                conversation.headers(request.stream, &[(":status", "200"), ("content-type", "application/json")], 0);
                conversation.peer.data(request.stream, br#"{"user":{"id":"user-1"}}"#, END_STREAM);
            } else if request.field(":method") == Some("CONNECT") {
                conversation.headers(request.stream, &[(":status", "200"), ("sec-websocket-protocol", "chat")], 0);
                then(conversation, &request);
            } else {
                conversation.respond(request.stream, "ok");
            }
        }
    })
}

/// Gives back what comes on a stream, to its end.
fn echo(conversation: &mut Conversation, request: &Request) {
    while let Event::Data { bytes, ends, .. } = conversation.peer.event_of(request.stream) {
        conversation.peer.data(request.stream, &bytes.to_ascii_uppercase(), if ends { END_STREAM } else { 0 });
        if ends {
            return;
        }
    }
}

/// `early` comes with the handshake, before its response.
fn open(rig: &Rig, path: &str, fields: &str, early: &str) -> Client {
    let mut client = rig.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}{SHAKE}\r\n{early}"));
    let response = client.response();
    assert_eq!(
        (response.status, response.field("upgrade"), response.field("connection")),
        (101, Some("websocket"), Some("upgrade"))
    );
    assert_eq!(response.field("sec-websocket-accept"), Some("s3pplmbitxaq9kygzzhzrbk+xoo="), "{response:?}");
    assert_eq!(response.field("sec-websocket-protocol"), Some("chat"), "{response:?}");
    client
}

#[test]
fn the_handshake_of_either_protocol_becomes_an_extended_connect_and_bytes_pass_both_ways() {
    let (said, hears) = mpsc::channel();
    let upstream = agreeing(move |conversation, request| {
        said.send(request.fields.clone()).unwrap();
        echo(conversation, request);
    });
    let rig = rig(&upstream);
    let mut by_http1 = open(&rig, "/public?x=1", "", "early");
    assert_eq!(by_http1.bytes(5), b"EARLY");
    by_http1.send("more");
    assert_eq!(by_http1.bytes(4), b"MORE");
    by_http1.end_sending();
    by_http1.assert_closed();
    let mut by_http2 = Http2Client::connect(rig.address());
    let stream = by_http2.begin(&connect("/public?x=1"));
    let Event::Headers { fields, ends: false, .. } = by_http2.event_of(stream) else { panic!("no consent") };
    let expected = [(":status", "200"), ("sec-websocket-protocol", "chat")];
    assert!(expected.iter().all(|(name, value)| fields.contains(&((*name).to_owned(), (*value).to_owned()))), "{fields:?}");
    assert!(fields.iter().all(|(name, _)| name != "sec-websocket-accept"), "{fields:?}");
    by_http2.data(stream, b"more", END_STREAM);
    assert_eq!(by_http2.response(stream).body, "MORE");
    for _ in 0..2 {
        let fields = hears.recv_timeout(PATIENCE).unwrap();
        for (name, value) in connect("/public?x=1") {
            assert_eq!(super::super::client::find(&fields, name), Some(value), "{fields:?}");
        }
        let gone = ["sec-websocket-key", "connection", "upgrade", "content-length", "transfer-encoding", "host"];
        assert!(fields.iter().all(|(name, _)| !gone.contains(&name.as_str())), "{fields:?}");
    }
}

/// A closing frame of a client: masked, with zeros.
pub(super) const CLOSING: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";
pub(super) const CLOSED: &[u8] = b"\x88\x02\x03\xe8";

/// Reads until a closing frame has come, answers it, and leaves the stream as it is: what came, and what came then.
fn answer_closing(conversation: &mut Conversation, request: &Request) -> (Vec<u8>, Event) {
    let mut came = Vec::new();
    loop {
        match conversation.peer.event_of(request.stream) {
            Event::Data { bytes, ends: false, .. } => came.extend(bytes),
            other => return (came, other),
        }
        if came.windows(2).any(|bytes| bytes[0] == 0x88) {
            conversation.peer.data(request.stream, CLOSED, 0);
            return (came, conversation.peer.event_of(request.stream));
        }
    }
}

#[test]
fn a_websocket_ends_with_its_session_on_both_sides_and_what_shares_its_connection_goes_on() {
    const ENDED: &[u8] = b"\x88\x0f\x03\xf0session ended";
    const TO_UPSTREAM: &[u8] = b"\x88\x8f\0\0\0\0\x03\xf0session ended";
    let (said, hears) = mpsc::channel();
    let upstream = agreeing(move |conversation, request| {
        let outcome = if request.field(":path") == Some("/api/answers") {
            answer_closing(conversation, request)
        } else {
            let Event::Data { bytes, ends: false, .. } = conversation.peer.event_of(request.stream) else { panic!("no word") };
            conversation.peer.data(request.stream, b"", END_STREAM);
            (bytes, conversation.peer.event_of(request.stream))
        };
        said.send(outcome).unwrap();
    });
    let rig = rig(&upstream);
    for (by_http2, path) in [(false, "/api/answers"), (true, "/api/answers"), (false, "/api/ends"), (true, "/api/ends")] {
        let token = rig.log_in().access;
        let bearer = format!("Bearer {token}");
        let log_out = || {
            let fields = format!("Host: a\r\nAuthorization: {bearer}\r\nContent-Length: 0");
            assert_eq!(rig.ask(format!("POST /logout HTTP/1.1\r\n{fields}\r\n\r\n")).status, 200);
        };
        if by_http2 {
            let mut client = Http2Client::connect(rig.address());
            let stream = client.begin(&[&connect(path)[..], &[("authorization", bearer.as_str())]].concat());
            assert!(matches!(client.event_of(stream), Event::Headers { ends: false, .. }));
            log_out();
            assert_eq!(client.bytes_of(stream, ENDED.len()), ENDED);
            assert_eq!(client.get("/public").body, "ok");
        } else {
            let mut client = open(&rig, path, &format!("Authorization: {bearer}\r\n"), "");
            log_out();
            assert_eq!(client.bytes(ENDED.len()), ENDED);
        }
        let (came, end) = hears.recv_timeout(PATIENCE).unwrap();
        assert_eq!(came, TO_UPSTREAM, "{path}");
        assert!(matches!(end, Event::Reset { code: NO_ERROR, .. }), "{path}: {end:?}");
        assert_eq!(rig.ask(GET).body, "ok");
    }
    let connects = upstream.heard().iter().filter(|line| line.starts_with("CONNECT")).count();
    assert_eq!(connects, 4);
}

/// Some servers forget the stream once they have answered, and others wait for the end of it.
#[test]
fn a_socket_that_both_sides_have_closed_is_over_and_no_end_of_its_stream_follows() {
    let (said, hears) = mpsc::channel();
    let upstream = agreeing(move |conversation, request| said.send(answer_closing(conversation, request)).unwrap());
    let rig = rig(&upstream);
    for leaves_at_once in [false, true] {
        let mut client = open(&rig, "/public", "", "");
        client.send(CLOSING);
        if leaves_at_once {
            client.end_sending();
        }
        assert_eq!(client.bytes(CLOSED.len()), CLOSED);
        assert_eq!(client.rest(), "", "the server's side ends first");
        if !leaves_at_once {
            client.end_sending();
        }
        let (came, end) = hears.recv_timeout(PATIENCE).unwrap();
        assert_eq!(came, CLOSING);
        assert!(matches!(end, Event::Reset { code: NO_ERROR, .. }), "{end:?}");
        assert_eq!(rig.ask(GET).body, "ok");
    }
}

#[test]
fn a_socket_that_the_upstream_closes_is_ended_by_it() {
    let (said, hears) = mpsc::channel();
    let upstream = agreeing(move |conversation, request| {
        conversation.peer.data(request.stream, CLOSED, 0);
        let Event::Data { bytes, ends, .. } = conversation.peer.event_of(request.stream) else { panic!("no answer") };
        conversation.peer.data(request.stream, b"", END_STREAM);
        said.send((bytes, ends, conversation.peer.event_of(request.stream))).unwrap();
    });
    let rig = rig(&upstream);
    let mut client = open(&rig, "/public", "", "");
    assert_eq!(client.bytes(CLOSED.len()), CLOSED);
    client.send(CLOSING);
    assert_eq!(client.rest(), "");
    client.end_sending();
    let (came, ends, end) = hears.recv_timeout(PATIENCE).unwrap();
    assert_eq!((came.as_slice(), ends), (CLOSING, false));
    assert!(matches!(end, Event::Reset { code: NO_ERROR, .. }), "{end:?}");
}

#[test]
fn a_socket_outlives_the_goodbye_of_its_connection() {
    let upstream = agreeing(|conversation, request| {
        conversation.goodbye(request.stream, NO_ERROR);
        echo(conversation, request);
    });
    let rig = rig(&upstream);
    let mut client = open(&rig, "/public", "", "");
    client.send("one");
    assert_eq!(client.bytes(3), b"ONE");
    assert_eq!(rig.ask(GET).body, "ok", "over another connection");
    client.send("two");
    assert_eq!(client.bytes(3), b"TWO");
}

/// To a stream with a length, or with its end, nothing could be added.
#[test]
fn consent_to_what_could_not_stay_open_is_502() {
    let upstream = Http2Server::with_settings(&[(ENABLE_CONNECT_PROTOCOL, 1)], |conversation| {
        while let Some(request) = conversation.request() {
            match request.field(":path") {
                Some("/public/length") => {
                    conversation.headers(request.stream, &[(":status", "200"), ("content-length", "2")], 0);
                }
                Some("/public/ends") => conversation.headers(request.stream, &[(":status", "200")], END_STREAM),
                Some("/public/nothing") => conversation.headers(request.stream, &[(":status", "204")], 0),
                _ => conversation.respond(request.stream, "ok"),
            }
        }
    });
    let rig = rig(&upstream);
    for path in ["/public/length", "/public/ends", "/public/nothing"] {
        let response = rig.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{SHAKE}\r\n"));
        assert_eq!((response.status, response.code().as_str()), (502, "upstream_failed"), "{path}");
        let mut client = Http2Client::connect(rig.address());
        let stream = client.begin(&connect(path));
        assert_eq!(client.response(stream).status, 502, "{path}");
    }
    assert_eq!(rig.ask(GET).body, "ok");
}

#[test]
fn a_refusal_is_an_ordinary_response_and_ends_the_request() {
    let (said, hears) = mpsc::channel();
    let upstream = Http2Server::with_settings(&[(ENABLE_CONNECT_PROTOCOL, 1)], move |conversation| {
        while let Some(request) = conversation.request() {
            conversation.headers(request.stream, &[(":status", "403"), ("content-length", "2")], 0);
            conversation.peer.data(request.stream, b"no", END_STREAM);
            if !request.ends {
                said.send(conversation.peer.event_of(request.stream)).unwrap();
            }
        }
    });
    let rig = rig(&upstream);
    let mut client = rig.client();
    client.send(format!("GET /public HTTP/1.1\r\nHost: a\r\n{SHAKE}\r\n"));
    let response = client.response();
    assert_eq!((response.status, response.body.as_str()), (403, "no"));
    client.send("GET /public HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 403, "the connection is an ordinary one");
    let mut client = Http2Client::connect(rig.address());
    let response = {
        let stream = client.begin(&connect("/public"));
        client.response(stream)
    };
    assert_eq!((response.status, response.body.as_str()), (403, "no"));
    for _ in 0..2 {
        let end = hears.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(end, Event::Data { ends: true, .. }), "{end:?}");
    }
}

#[test]
fn without_the_upstreams_setting_it_is_refused_with_its_reason() {
    let upstream = Http2Server::answering("ok");
    let rig = rig(&upstream);
    let response = rig.ask(format!("GET /public HTTP/1.1\r\nHost: a\r\n{SHAKE}\r\n"));
    assert_eq!((response.status, response.code().as_str()), (501, "upgrade_unsupported"));
    let mut client = Http2Client::connect(rig.address());
    let response = {
        let stream = client.begin(&connect("/public"));
        client.response(stream)
    };
    assert_eq!((response.status, response.code().as_str()), (501, "upgrade_unsupported"));
    assert_eq!(upstream.heard(), [""; 0]);
    assert_eq!(client.get("/public").body, "ok");
}

/// No key, or two: nobody could say that the other side has understood.
#[test]
fn without_one_key_there_is_no_handshake() {
    let upstream = agreeing(|_, _| panic!("no handshake"));
    let rig = rig(&upstream);
    for keys in ["", "Sec-WebSocket-Key: a\r\nSec-WebSocket-Key: b\r\n"] {
        let response = rig.ask(format!(
            "GET /public HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{keys}\r\n"
        ));
        assert_eq!((response.status, response.body.as_str()), (200, "ok"), "a request like others");
    }
}

#[test]
fn whoever_leaves_ends_the_stream_of_the_other_side_and_no_other() {
    let (said, hears) = mpsc::channel();
    let upstream = agreeing(move |conversation, request| match request.field(":path") {
        Some("/public/ends") => conversation.peer.data(request.stream, b"last", END_STREAM),
        Some("/public/breaks") => conversation.reset(request.stream, CANCEL),
        _ => {
            let end = loop {
                match conversation.peer.event_of(request.stream) {
                    Event::Data { ends: false, .. } => {}
                    other => break other,
                }
            };
            said.send(end).unwrap();
        }
    });
    let rig = rig(&upstream);
    let mut ended = open(&rig, "/public/ends", "", "");
    assert_eq!(ended.bytes(4), b"last");
    ended.end_sending();
    ended.assert_closed();
    let mut broken = open(&rig, "/public/breaks", "", "");
    assert_eq!(broken.rest(), "");
    let mut client = Http2Client::connect(rig.address());
    let stream = client.begin(&connect("/public/waits"));
    assert!(matches!(client.event_of(stream), Event::Headers { ends: false, .. }));
    client.reset(stream);
    assert!(matches!(hears.recv_timeout(PATIENCE).unwrap(), Event::Reset { .. }));
    assert_eq!(client.ask(&get("/public")).body, "ok");
    assert_eq!(upstream.heard().len(), 4);
}

#[test]
fn much_passes_both_ways_by_the_room_that_is_given() {
    const BYTES: usize = 1_000_000;
    let upstream = agreeing(|conversation, request| {
        conversation.peer.gives_no_room();
        let mut left = BYTES;
        while left > 0 {
            let Event::Data { bytes, .. } = conversation.peer.event_of(request.stream) else { panic!("it breaks off") };
            left -= bytes.len();
            let room = u32::try_from(bytes.len()).unwrap();
            conversation.peer.room(0, room);
            conversation.peer.room(request.stream, room);
        }
        conversation.peer.data(request.stream, b"all", END_STREAM);
    });
    let rig = rig(&upstream);
    let mut client = open(&rig, "/public", "", "");
    client.send(vec![b'o'; BYTES]);
    assert_eq!(client.bytes(3), b"all");
}

const GOING_AWAY: &[u8] = b"\x88\x0c\x03\xe9going away";
const GOING_AWAY_MASKED: &[u8] = b"\x88\x8c\0\0\0\0\x03\xe9going away";

/// Reads until the closing frame has come, and neither answers it nor ends the stream.
fn ignore_closing(conversation: &mut Conversation, request: &Request) -> (Vec<u8>, Event) {
    let mut came = Vec::new();
    loop {
        match conversation.peer.event_of(request.stream) {
            Event::Data { bytes, ends: false, .. } => came.extend(bytes),
            end => return (came, end),
        }
    }
}

#[test]
fn a_gateway_that_ends_says_goodbye_on_both_sides_and_waits_for_neither_for_long() {
    for (by_http2, path) in [(false, "/public/answers"), (true, "/public/answers"), (false, "/public/ignores")] {
        let (said, hears) = mpsc::channel();
        let upstream = agreeing(move |conversation, request| {
            let answers = request.field(":path") == Some("/public/answers");
            said.send(if answers { answer_closing(conversation, request) } else { ignore_closing(conversation, request) })
                .unwrap();
        });
        let rig = rig_with(&upstream, |settings| settings.shutdown.drain_deadline = Duration::from_secs(60));
        let began_at = Instant::now();
        if by_http2 {
            let mut client = Http2Client::connect(rig.address());
            let stream = client.begin(&connect(path));
            assert!(matches!(client.event_of(stream), Event::Headers { ends: false, .. }));
            thread::scope(|scope| {
                scope.spawn(|| rig.stop());
                assert_eq!(client.bytes_of(stream, GOING_AWAY.len()), GOING_AWAY);
            });
        } else {
            let mut client = open(&rig, path, "", "");
            thread::scope(|scope| {
                scope.spawn(|| rig.stop());
                assert_eq!(client.bytes(GOING_AWAY.len()), GOING_AWAY);
            });
        }
        assert!(began_at.elapsed() < Duration::from_secs(30), "{path}");
        let (came, end) = hears.recv_timeout(PATIENCE).unwrap();
        assert_eq!(came, GOING_AWAY_MASKED, "{path}");
        assert!(matches!(end, Event::Reset { .. } | Event::Closed), "{path}: {end:?}");
    }
}

#[test]
fn a_socket_on_which_nothing_moves_ends_and_one_on_which_anything_does_goes_on() {
    const IDLE: Duration = Duration::from_millis(600);
    let upstream = agreeing(|conversation, request| {
        let mut pings = if request.field(":path") == Some("/public/chatty") { 18 } else { 0 };
        while pings > 0 {
            conversation.peer.data(request.stream, b"\x89\x00", 0);
            pings -= 1;
            thread::sleep(IDLE / 6);
        }
        while matches!(conversation.peer.event_of(request.stream), Event::Data { ends: false, .. }) {}
    });
    // One for each: the upstream attends to one stream of a connection at a time.
    let rigs = [(); 3].map(|()| {
        rig_with(&upstream, |settings| {
            settings.routes.change(|routes| forward(&mut routes[0]).idle_timeout = IDLE).unwrap();
        })
    });
    let mut silent = open(&rigs[0], "/public/silent", "", "");
    assert_eq!(silent.bytes(8), b"\x88\x06\x03\xe9idle", "a closing frame with code 1001");
    assert_eq!(silent.rest(), "");
    let mut chatty = open(&rigs[1], "/public/chatty", "", "");
    chatty.bytes(2 * 18);
    assert_eq!(chatty.bytes(8), b"\x88\x06\x03\xe9idle");
    let mut talking = open(&rigs[2], "/public/silent", "", "");
    for _ in 0..18 {
        talking.send(b"\x8a\x80\0\0\0\0");
        assert!(talking.is_silent(IDLE / 6));
    }
}

/// Whether it ignores the closing frame, or has no room for it.
#[test]
fn an_upstream_that_does_not_go_along_with_the_end_of_a_session_does_not_hold_it_up() {
    let (said, hears) = mpsc::channel();
    let upstream = agreeing(move |conversation, request| said.send(ignore_closing(conversation, request)).unwrap());
    let without_room = Http2Server::with_settings(&[(ENABLE_CONNECT_PROTOCOL, 1), (INITIAL_WINDOW_SIZE, 0)], {
        move |conversation| {
            conversation.peer.gives_no_room();
            while let Some(request) = conversation.request() {
                let login = [(":status", "200"), ("content-type", "application/json")];
                if request.field(":path") == Some("/login") {
                    conversation.peer.room(request.stream, 1 << 20);
                    conversation.headers(request.stream, &login, 0);
                    conversation.peer.data(request.stream, br#"{"user":{"id":"user-1"}}"#, END_STREAM);
                } else {
                    conversation.headers(request.stream, &[(":status", "200"), ("sec-websocket-protocol", "chat")], 0);
                }
            }
        }
    });
    for upstream in [&upstream, &without_room] {
        let rig = rig(upstream);
        let token = rig.log_in().access;
        let mut client = open(&rig, "/api", &format!("Authorization: Bearer {token}\r\n"), "");
        let fields = format!("Host: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 0");
        assert_eq!(rig.ask(format!("POST /logout HTTP/1.1\r\n{fields}\r\n\r\n")).status, 200);
        let ended_at = Instant::now();
        let farewell = b"\x88\x0f\x03\xf0session ended";
        assert_eq!(client.bytes(farewell.len()), farewell);
        assert_eq!(client.rest(), "");
        assert!(ended_at.elapsed() < Duration::from_secs(8), "{:?}", ended_at.elapsed());
    }
    let (came, end) = hears.recv_timeout(PATIENCE).unwrap();
    assert_eq!(came, b"\x88\x8f\0\0\0\0\x03\xf0session ended");
    assert!(matches!(end, Event::Reset { .. }), "{end:?}");
}
