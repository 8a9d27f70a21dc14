//! A WebSocket by extended CONNECT (RFC 8441), before an upstream that speaks HTTP/1.

use super::super::rig::{Rig, eventually};
use super::super::upstream::{Conversation, Upstream};
use super::client::{CANCEL, END_STREAM, End, Event, Http2Client};

const CONNECT: [(&str, &str); 6] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/public"),
    ("sec-websocket-version", "13"),
];

/// What a server says to this handshake.
fn consent(head: &str) -> String {
    let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap();
    let accept = tokengate::crypto::websocket::accept_of(key);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\
         Sec-WebSocket-Protocol: chat\r\n\r\n"
    )
}

/// Takes logins, and agrees to everything else; `then` goes on.
fn agreeing(then: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |conversation| {
        while let Some(request) = conversation.request() {
            if !conversation.took_login(&request) {
                conversation.say(consent(&request));
                return then(conversation);
            }
        }
    })
}

fn open(client: &mut Http2Client, further: &[(&str, &str)]) -> u32 {
    let stream = client.begin(&[&CONNECT[..], further].concat());
    let Event::Headers { fields, ends: false, .. } = client.event_of(stream) else { panic!("no consent") };
    assert!(fields.contains(&(":status".to_owned(), "200".to_owned())), "{fields:?}");
    assert!(fields.contains(&("sec-websocket-protocol".to_owned(), "chat".to_owned())), "{fields:?}");
    let gone = ["sec-websocket-accept", "connection", "upgrade", "content-length", "transfer-encoding"];
    assert!(fields.iter().all(|(name, _)| !gone.contains(&name.as_str())), "{fields:?}");
    stream
}

#[test]
fn the_handshake_is_translated_and_bytes_pass_both_ways() {
    let upstream = agreeing(|conversation| {
        conversation.say("early");
        while let Some(byte) = conversation.byte() {
            conversation.say([byte.to_ascii_uppercase()]);
        }
    });
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let stream = open(&mut client, &[("sec-websocket-key", "mine"), ("sec-websocket-protocol", "chat")]);
    client.data(stream, b"abc", 0);
    assert_eq!(client.bytes_of(stream, 8), b"earlyABC");
    assert_eq!(client.get("/nowhere").status, 404, "others share the connection");
    client.data(stream, b"", END_STREAM);
    assert!(matches!(client.event_of(stream), Event::Data { ends: true, .. }));
    let head = upstream.heard().remove(0);
    assert!(head.starts_with("GET /public HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nconnection: upgrade\r\nupgrade: websocket\r\n"), "{head}");
    assert!(!head.contains("mine") && !head.contains("transfer-encoding"), "{head}");
}

#[test]
fn a_websocket_needs_a_token_and_ends_with_its_session_alone() {
    let upstream = agreeing(|conversation| {
        while let Some(byte) = conversation.byte() {
            conversation.say([byte]);
        }
    });
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let mut at_api = CONNECT;
    at_api[4].1 = "/api";
    assert_eq!(client.ask(&at_api).status, 401);
    let tokens = [rig.log_in().access, rig.log_in().access];
    let [ended, kept] = tokens.clone().map(|token| {
        let bearer = format!("Bearer {token}");
        let stream = client.begin(&[&at_api[..], &[("authorization", bearer.as_str())]].concat());
        assert!(matches!(client.event_of(stream), Event::Headers { ends: false, .. }));
        stream
    });
    let token = &tokens[0];
    rig.ask(format!("POST /logout HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(client.bytes_of(ended, 17), b"\x88\x0f\x03\xf0session ended", "a closing frame with code 1008");
    client.data(kept, b"x", 0);
    assert_eq!(client.bytes_of(kept, 1), b"x", "the other goes on");
}

#[test]
fn a_ticket_opens_one_by_http_2_too_and_stays_here() {
    let upstream = agreeing(Conversation::wait_for_end);
    let settings = "[store]\nkind = \"memory\"\n[endpoints]\nticket = \"/ticket\"\n";
    let rig = Rig::start_from(upstream.address, settings, |_| {});
    let token = rig.log_in().access;
    let body = r#"{"path":"/api/socket"}"#;
    let response = rig.ask(format!(
        "POST /ticket HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let given: serde_json::Value = serde_json::from_str(&response.body).unwrap();
    let target = format!("/api/socket?access_ticket={}", given["ticket"].as_str().unwrap());
    let mut client = Http2Client::connect(rig.address());
    let mut connect = CONNECT;
    connect[4].1 = &target;
    let stream = client.begin(&connect);
    assert!(matches!(client.event_of(stream), Event::Headers { ends: false, .. }));
    assert!(upstream.heard().last().unwrap().starts_with("GET /api/socket HTTP/1.1\r\n"));
    assert_eq!(client.ask(&connect).status, 401, "it is spent");
}

#[test]
fn a_refusal_by_the_upstream_is_an_ordinary_response() {
    let upstream = Upstream::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let stream = client.begin(&CONNECT);
    let response = client.response(stream);
    assert_eq!((response.status, response.body.as_str()), (403, "no"));
}

/// 200 would be consent to the client.
#[test]
fn an_upstream_that_does_not_switch_has_not_consented() {
    let wrong =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
    for consent in ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 204 No Content\r\n\r\n", wrong] {
        let upstream = Upstream::answering(consent);
        let rig = Rig::start(upstream.address);
        let mut client = Http2Client::connect(rig.address());
        let stream = client.begin(&CONNECT);
        let response = client.response(stream);
        assert_eq!((response.status, response.code()), (502, "upstream_failed".to_owned()), "{consent}");
    }
}

#[test]
fn an_own_endpoint_is_no_websocket() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let mut at_health = CONNECT;
    at_health[4].1 = "/healthz";
    let stream = client.begin(&at_health);
    assert_eq!(client.response(stream).status, 404);
}

#[test]
fn an_upstream_that_is_lost_ends_the_stream() {
    let upstream = agreeing(|conversation| conversation.say("last"));
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let stream = open(&mut client, &[]);
    assert_eq!(client.bytes_of(stream, 4), b"last");
    let end = client.event_of(stream);
    assert!(matches!(end, Event::Data { ends: true, .. } | Event::Reset { code: CANCEL, .. }), "{end:?}");
    assert_eq!(client.get("/nowhere").status, 404);
}

#[test]
fn a_client_that_takes_the_stream_back_ends_the_upstreams_connection() {
    let upstream = agreeing(|conversation| {
        conversation.wait_for_end();
        conversation.note("ended");
    });
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let stream = open(&mut client, &[]);
    client.reset(stream);
    eventually("the upstream hears of it", || upstream.heard().iter().any(|what| what == "ended"));
}

#[test]
fn much_passes_both_ways_by_the_room_that_is_given() {
    const BYTES: usize = 1_000_000;
    let upstream = agreeing(|conversation| {
        while let Some(byte) = conversation.byte() {
            conversation.say([byte].repeat(1000));
        }
    });
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let stream = open(&mut client, &[]);
    client.data(stream, &[b'y'; BYTES / 1000], 0);
    assert!(client.bytes_of(stream, BYTES).iter().all(|byte| *byte == b'y'));
    client.data(stream, b"", END_STREAM);
    let response = client.response(stream);
    assert_eq!(response.end, End::Whole);
}
