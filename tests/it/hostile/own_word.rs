//! A client renews its WebSocket by a message with a newer token, which goes no further than the gateway.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokengate::domain::stats::Counter;

use super::client::Client;
use super::http2::client::{Event, Http2Client};
use super::renewals::{A_WHILE, MINUTE, SETTINGS, log_out, refresh};
use super::rig::{Rig, Tokens};
use super::upstream::{Conversation, Upstream};

const SHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const ROUTES: &str = "[[routes]]\nname = \"told\"\nprefix = \"/told\"\nwebsocket_renewal = \"tokengate:\"\n\
                      [[routes]]\nname = \"recent\"\nprefix = \"/recent\"\nmax_login_age = \"20m\"\nwebsocket_renewal = \"tokengate:\"\n\
                      [[routes]]\nname = \"watched\"\nprefix = \"/watched\"\nmode = \"observe\"\nwebsocket_renewal = \"tokengate:\"\n";

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

/// Says each message that comes back, except those that say what it is to say.
fn chatty() -> Upstream {
    Upstream::start(|conversation| {
        while let Some(request) = conversation.request() {
            if conversation.took_login(&request) {
                continue;
            }
            let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap_or_default();
            let extension = if request.contains("/insists") { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
            conversation.say(format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{extension}\
                 Sec-WebSocket-Accept: {}\r\n\r\n",
                tokengate::crypto::websocket::accept_of(key)
            ));
            while let Some((first, payload)) = message(conversation) {
                match payload.strip_prefix(b"say ") {
                    Some(bytes) => conversation.say(bytes),
                    None => conversation.say([&[first, u8::try_from(payload.len()).unwrap()][..], &payload].concat()),
                }
            }
            return;
        }
    })
}

/// A frame of a client, of which the tests send short ones to upstreams.
fn message(conversation: &mut Conversation) -> Option<(u8, Vec<u8>)> {
    let (first, second) = (conversation.byte()?, conversation.byte()?);
    assert!((0x80..0x80 + 126).contains(&second), "a long frame, or none of a client: {first:x} {second:x}");
    let mask = [conversation.byte()?, conversation.byte()?, conversation.byte()?, conversation.byte()?];
    let payload = (0..usize::from(second & 0x7f)).map(|at| Some(conversation.byte()? ^ mask[at % 4])).collect::<Option<_>>()?;
    Some((first, payload))
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0xa1, 0x5c, 0x00, 0xff];
    let length = match u8::try_from(payload.len()) {
        Ok(short @ ..=125) => vec![0x80 | short],
        _ => [&[0x80 | 0x7e][..], &u16::try_from(payload.len()).unwrap().to_be_bytes()].concat(),
    };
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [&[first][..], &length, &MASK].concat().into_iter().chain(masked).collect()
}

fn renewal(token: &str) -> Vec<u8> {
    frame(TEXT, format!("tokengate:{token}").as_bytes())
}

struct Socket(Client);

impl Socket {
    fn open(rig: &Rig, path: &str, token: &str) -> Self {
        let mut client = rig.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{SHAKE}\r\n"));
        assert_eq!(client.response().status, 101);
        Self(client)
    }

    fn hear(&mut self) -> (u8, Vec<u8>) {
        let head = self.0.bytes(2);
        assert!(head[1] < 126, "{head:?}");
        (head[0], self.0.bytes(usize::from(head[1])))
    }

    /// What the gateway says of the token.
    fn renew(&mut self, token: &str) -> Value {
        self.0.send(renewal(token));
        let answer = self.answer();
        assert_eq!(answer["token_end"], token[token.len().saturating_sub(8)..], "it says which token it is about");
        answer
    }

    fn answer(&mut self) -> Value {
        let (first, text) = self.hear();
        assert_eq!(first, TEXT);
        let text = String::from_utf8(text).unwrap();
        serde_json::from_str(text.strip_prefix("tokengate:").unwrap_or_else(|| panic!("of the upstream: {text}"))).unwrap()
    }

    #[track_caller]
    fn echoes(&mut self, first: u8, payload: &[u8]) {
        self.0.send(frame(first, payload));
        assert_eq!(self.hear(), (first, payload.to_vec()));
    }
}

fn start(upstream: &Upstream) -> Rig {
    Rig::start_from(upstream.address, &format!("{SETTINGS}{ROUTES}"), |_| {})
}

fn end_of(token: &str) -> Value {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["exp"].clone()
}

/// Ten minutes later; nothing but the store has seen the new token.
fn later(rig: &Rig, tokens: &Tokens) -> Tokens {
    rig.clock.advance(10 * MINUTE);
    refresh(rig, tokens)
}

#[test]
fn a_websocket_outlives_its_token_by_one_that_its_client_sends_on_it() {
    let upstream = chatty();
    let rig = start(&upstream);
    let mut tokens = rig.log_in();
    let (mut told, mut silent) = (Socket::open(&rig, "/told/a", &tokens.access), Socket::open(&rig, "/told/b", &tokens.access));
    for _ in 0..3 {
        silent.0.assert_silent(A_WHILE);
        tokens = later(&rig, &tokens);
        let answer = told.renew(&tokens.access);
        assert_eq!(answer["renewed_until"], end_of(&tokens.access), "{answer}");
        told.echoes(TEXT, b"hello");
    }
    assert!(rig.counted(Counter::StreamsRenewed) >= 3);
    // What one stream is told is seen for the session's others too, as with a request.
    silent.echoes(TEXT, b"here too");
    rig.clock.advance(20 * MINUTE);
    for mut socket in [told, silent] {
        assert_eq!(socket.hear(), (CLOSE, b"\x03\xf0token expired".to_vec()));
    }
}

#[test]
fn the_message_reaches_no_upstream_however_it_is_cut_and_others_do() {
    let upstream = chatty();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let mut socket = Socket::open(&rig, "/told", &tokens.access);
    for byte in renewal(&tokens.access) {
        socket.0.send([byte]);
    }
    assert_eq!(socket.answer()["renewed_until"], end_of(&tokens.access), "the same token is as good");
    let mixed = [&frame(TEXT, b"before")[..], &renewal(&tokens.access), &frame(TEXT, b"after")].concat();
    socket.0.send(mixed);
    let mut heard = [socket.hear().1, socket.hear().1, socket.hear().1];
    heard.sort_unstable();
    assert_eq!([&heard[0][..], &heard[1]], [&b"after"[..], b"before"]);
    assert!(heard[2].starts_with(b"tokengate:{\"renewed_until\":"));
    socket.echoes(BINARY, b"tokengate:binary");
    socket.echoes(0x01, b"tokengate:of several");
    socket.echoes(0x80, b"tokengate:frames");
    socket.echoes(TEXT, b"tokengate, a word");
    socket.echoes(0x89, b"tokengate:ping");
    // Where the route does not say so, such a message is one like others.
    let mut elsewhere = Socket::open(&rig, "/api/socket", &tokens.access);
    elsewhere.echoes(TEXT, b"tokengate:e30.e30.e30");
}

#[test]
fn a_token_that_the_route_would_refuse_renews_nothing_and_the_client_is_told_why() {
    let upstream = chatty();
    let rig = start(&upstream);
    let (tokens, others) = (rig.log_in(), rig.log_in());
    let mut socket = Socket::open(&rig, "/told", &tokens.access);
    assert_eq!(socket.renew("e30.e30.e30")["error"], "token_invalid");
    assert_eq!(socket.renew("")["error"], "token_invalid");
    assert_eq!(socket.renew(&others.access)["error"], "session_differs", "though it is the same user's");
    let newer = later(&rig, &tokens);
    assert_eq!(socket.renew(&newer.access)["renewed_until"], end_of(&newer.access));
    assert_eq!(socket.renew(&tokens.access)["renewed_until"], end_of(&newer.access), "an older one takes nothing back");
    log_out(&rig, &others.access, "session");
    assert_eq!(socket.renew(&others.access)["error"], "token_revoked");
    assert_eq!(socket.renew(&newer.access)["renewed_until"], end_of(&newer.access), "it is another session's that has ended");
    rig.clock.advance(6 * MINUTE);
    assert_eq!(socket.renew(&tokens.access)["error"], "token_expired");
    assert_eq!(socket.renew(&others.access)["error"], "token_expired", "its time is over too");
    socket.echoes(TEXT, b"the stream goes on");
}

#[test]
fn the_demands_of_the_route_hold_for_the_token_that_is_sent() {
    let upstream = chatty();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let mut socket = Socket::open(&rig, "/recent", &tokens.access);
    let newer = later(&rig, &tokens);
    assert_eq!(socket.renew(&newer.access)["renewed_until"], end_of(&newer.access));
    let newest = later(&rig, &newer);
    rig.clock.advance(MINUTE);
    assert_eq!(socket.renew(&newest.access)["error"], "login_too_old");
    socket.echoes(TEXT, b"until its token ends");
    rig.clock.advance(5 * MINUTE);
    assert_eq!(socket.hear(), (CLOSE, b"\x03\xf0token expired".to_vec()));
}

#[test]
fn whoever_goes_on_guessing_is_closed_and_the_stream_of_a_client_that_errs_is_not() {
    let upstream = chatty();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let mut socket = Socket::open(&rig, "/told", &tokens.access);
    for _ in 0..2 {
        for _ in 0..4 {
            assert_eq!(socket.renew("x.y.z")["error"], "token_invalid");
        }
        assert_eq!(socket.renew(&tokens.access)["renewed_until"], end_of(&tokens.access));
    }
    for _ in 0..4 {
        assert_eq!(socket.renew("x.y.z")["error"], "token_invalid");
    }
    socket.0.send(renewal("x.y.z"));
    assert_eq!(socket.hear(), (CLOSE, b"\x03\xf0renewal refused".to_vec()));
    Socket::open(&rig, "/told", &tokens.access).echoes(TEXT, b"the session is as it was");
}

#[test]
fn an_answer_never_lands_within_a_message_of_the_upstream() {
    let upstream = chatty();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let mut socket = Socket::open(&rig, "/told", &tokens.access);
    // Begins a message of two frames.
    socket.0.send(frame(TEXT, b"say \x01\x01a"));
    assert_eq!(socket.hear(), (0x01, b"a".to_vec()));
    socket.0.send(renewal(&tokens.access));
    socket.0.assert_silent(A_WHILE);
    // A ping within it, and half of a frame.
    socket.0.send(frame(TEXT, b"say \x89\x00\x80\x02b"));
    assert_eq!((socket.hear(), socket.0.bytes(3)), ((0x89, Vec::new()), b"\x80\x02b".to_vec()));
    socket.0.assert_silent(A_WHILE);
    socket.0.send(frame(TEXT, b"say c"));
    assert_eq!(socket.0.bytes(1), b"c");
    assert_eq!(socket.answer()["renewed_until"], end_of(&tokens.access));
    // Nothing follows the upstream's goodbye.
    socket.0.send(frame(TEXT, b"say \x88\x02\x03\xe8"));
    assert_eq!(socket.hear(), (CLOSE, b"\x03\xe8".to_vec()));
    socket.0.send(renewal(&tokens.access));
    socket.0.assert_silent(A_WHILE);
}

#[test]
fn a_session_that_has_ended_is_not_brought_back_and_a_stream_without_one_has_none() {
    let upstream = chatty();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let mut unbound = Socket::open(&rig, "/watched", "x.y.z");
    assert_eq!(unbound.renew(&tokens.access)["error"], "not_renewable");
    unbound.echoes(TEXT, b"it goes on");
    let mut socket = Socket::open(&rig, "/told", &tokens.access);
    let newer = later(&rig, &tokens);
    assert_eq!(socket.renew(&newer.access)["renewed_until"], end_of(&newer.access));
    log_out(&rig, &newer.access, "session");
    socket.0.send(renewal(&newer.access));
    let mut heard = socket.hear();
    if heard.0 == TEXT {
        let said = String::from_utf8(heard.1).unwrap();
        assert!(said.starts_with("tokengate:{\"error\":\"token_revoked\""), "{said}");
        heard = socket.hear();
    }
    assert_eq!(heard, (CLOSE, b"\x03\xf0session ended".to_vec()));
}

#[test]
fn messages_are_not_compressed_where_the_gateway_reads_them() {
    let upstream = chatty();
    let rig = start(&upstream);
    let token = rig.log_in().access;
    let shake = |path: &str| {
        rig.ask(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n{SHAKE}\r\n"
        ))
    };
    let offered = || upstream.heard().last().unwrap().to_ascii_lowercase().contains("sec-websocket-extensions");
    assert_eq!(shake("/told").status, 101);
    assert!(!offered());
    assert_eq!(shake("/told/insists").status, 502, "the upstream was not asked");
    let elsewhere = shake("/api/insists");
    assert_eq!((elsewhere.status, elsewhere.field("sec-websocket-extensions")), (101, Some("permessage-deflate")));
    assert!(offered());
}

#[test]
fn a_reload_that_takes_the_setting_away_leaves_messages_here_and_renews_nothing() {
    let upstream = chatty();
    let mut rig = start(&upstream);
    let tokens = rig.log_in();
    let mut socket = Socket::open(&rig, "/told", &tokens.access);
    rig.reload(&format!("{SETTINGS}{}", ROUTES.replace("websocket_renewal = \"tokengate:\"\n", "")));
    assert_eq!(socket.renew(&tokens.access)["error"], "not_renewable");
    socket.echoes(TEXT, b"it goes on");
}

#[test]
fn by_http_2_as_by_http_1() {
    let upstream = chatty();
    let rig = start(&upstream);
    let tokens = rig.log_in();
    let mut client = Http2Client::connect(rig.address());
    let bearer = format!("Bearer {}", tokens.access);
    let stream = client.begin(&[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/told"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("authorization", &bearer),
    ]);
    assert!(matches!(client.event_of(stream), Event::Headers { ends: false, .. }));
    assert!(!upstream.heard().last().unwrap().to_ascii_lowercase().contains("sec-websocket-extensions"));
    let newer = later(&rig, &tokens);
    let message = renewal(&newer.access);
    let (head, tail) = message.split_at(9);
    client.data(stream, head, 0);
    client.data(stream, &[tail, &frame(TEXT, b"next")].concat(), 0);
    let token_end = &newer.access[newer.access.len() - 8..];
    let answer = format!("tokengate:{{\"renewed_until\":{},\"token_end\":\"{token_end}\"}}", end_of(&newer.access));
    let expected = [&[TEXT, u8::try_from(answer.len()).unwrap()][..], answer.as_bytes(), b"\x81\x04next"].concat();
    let heard = client.bytes_of(stream, expected.len());
    let swapped = [b"\x81\x04next", &expected[..expected.len() - 6]].concat();
    assert!(heard == expected || heard == swapped, "{}", heard.escape_ascii());
    rig.clock.advance(10 * MINUTE);
    assert!(client.is_silent_for(A_WHILE), "the first token is over, and the stream is not");
    client.data(stream, &frame(TEXT, b"here"), 0);
    assert_eq!(client.bytes_of(stream, 6), b"\x81\x04here");
}
