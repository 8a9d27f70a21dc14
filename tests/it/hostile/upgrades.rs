//! Switching protocols: when asked, to WebSocket alone, and not before the upstream agrees.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokengate::domain::per_upstream::UpstreamIndex;
use tokio::time::Instant;

use super::client::Client;
use super::rig::{Rig, eventually, forward};
use super::upstream::{Conversation, Upstream};

const SHAKE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const AGREED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";

#[test]
fn bytes_pass_both_ways_after_the_upstream_agreed_and_not_before() {
    let upstream = Upstream::start(|conversation| {
        let head = conversation.head().unwrap().to_ascii_lowercase();
        assert!(head.contains("\r\nupgrade: websocket\r\n") && head.contains("\r\nconnection: upgrade\r\n"), "{head}");
        assert!(head.contains("sec-websocket-key: dghl"), "{head}");
        conversation.say(AGREED);
        conversation.say("early");
        while let Some(byte) = conversation.byte() {
            conversation.say([byte.to_ascii_uppercase()]);
        }
    });
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    // Impatient: its first bytes come with the handshake.
    client.send(format!("GET /public HTTP/1.1\r\nHost: a\r\n{SHAKE}abc"));
    let response = client.response();
    assert_eq!((response.status, response.field("upgrade")), (101, Some("websocket")), "{response:?}");
    assert_eq!(client.bytes(8), b"earlyABC");
    client.send("def");
    assert_eq!(client.bytes(3), b"DEF");
    client.end_sending();
    client.assert_closed();
}

#[test]
fn a_refused_handshake_is_an_ordinary_response() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    client.send(format!("GET /public HTTP/1.1\r\nHost: a\r\n{SHAKE}"));
    assert_eq!(client.response().status, 200);
    client.send("GET /public HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200, "the connection is an ordinary one");
}

/// What follows a handshake that fails is judged as a request of its own, like any other.
#[test]
fn bytes_behind_a_refused_handshake_do_not_reach_the_upstream_unjudged() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    client.send(format!("GET /public HTTP/1.1\r\nHost: a\r\n{SHAKE}GET /api/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(client.response().status, 200);
    assert_eq!(client.response().status, 401);
    assert!(upstream.heard().iter().all(|request| !request.contains("smuggled")));
}

#[test]
fn an_upgrade_to_http_2_or_anything_else_is_not_passed_on() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n",
        "Upgrade: websocket\r\n\r\n",
    ] {
        let response = rig.ask(format!("GET /public HTTP/1.1\r\nHost: a\r\n{fields}"));
        let request = response.body.to_ascii_lowercase();
        assert!(!request.contains("upgrade") && !request.contains("http2-settings"), "{request}");
    }
    let post = rig.ask(format!("POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{SHAKE}"));
    assert!(!post.body.to_ascii_lowercase().contains("upgrade"), "{}", post.body);
}

#[test]
fn a_websocket_needs_a_token_and_ends_with_its_session() {
    let upstream = agreeing_to_sessions(b"");
    let rig = Rig::start(upstream.address);
    assert_eq!(rig.ask(format!("GET /api HTTP/1.1\r\nHost: a\r\n{SHAKE}")).status, 401);
    let (mut client, token) = open_of_session(&rig);
    client.assert_silent(Duration::from_millis(300));
    let logout =
        rig.ask(format!("POST /logout HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(logout.status, 200, "{logout:?}");
    assert_eq!(client.bytes(17), b"\x88\x0f\x03\xf0session ended", "a closing frame with code 1008");
    client.assert_closed();
}

#[test]
fn a_websocket_is_told_whether_its_token_expired_or_its_session_ended() {
    let upstream = agreeing_to_sessions(b"");
    let rig = Rig::start(upstream.address);
    let (mut client, _) = open_of_session(&rig);
    rig.clock.advance(Duration::from_secs(16 * 60));
    assert_eq!(client.bytes(17), b"\x88\x0f\x03\xf0token expired", "a closing frame with code 1008");
    client.assert_closed();
}

#[test]
fn a_closing_frame_never_lands_within_a_message() {
    // Of the five bytes that are announced, two come.
    let upstream = agreeing_to_sessions(b"\x81\x05he");
    let rig = Rig::start(upstream.address);
    let (mut client, _) = open_of_session(&rig);
    assert_eq!(client.bytes(4), b"\x81\x05he");
    rig.clock.advance(Duration::from_secs(16 * 60));
    client.assert_closed();
}

/// An upstream that agrees to every WebSocket, and then does so.
fn agreeing(then: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |conversation| {
        conversation.head();
        conversation.say(AGREED);
        then(conversation);
    })
}

/// An upstream that takes logins, and agrees to every WebSocket beside: it says `first` there, and no more.
fn agreeing_to_sessions(first: &'static [u8]) -> Upstream {
    Upstream::start(move |conversation| {
        while let Some(request) = conversation.request() {
            if !conversation.took_login(&request) {
                conversation.say(AGREED);
                conversation.say(first);
                conversation.wait_for_end();
                return;
            }
        }
    })
}

/// A WebSocket of a new session, and the session's access token.
fn open_of_session(rig: &Rig) -> (Client, String) {
    let token = rig.log_in().access;
    let mut client = rig.client();
    client.send(format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{SHAKE}"));
    assert_eq!(client.response().status, 101);
    (client, token)
}

fn open(rig: &Rig) -> Client {
    let mut client = rig.client();
    client.send(format!("GET /public HTTP/1.1\r\nHost: a\r\n{SHAKE}"));
    assert_eq!(client.response().status, 101);
    client
}

const GOING_AWAY: &[u8] = b"\x88\x0c\x03\xe9going away";
const GOING_AWAY_MASKED: &[u8] = b"\x88\x8c\0\0\0\0\x03\xe9going away";

#[test]
fn a_gateway_that_ends_says_goodbye_on_both_sides_of_a_websocket_and_waits_for_neither_for_long() {
    let (told, heard) = channel();
    let upstream = agreeing(move |conversation| {
        let all: Vec<u8> = std::iter::from_fn(|| conversation.byte()).collect();
        told.send(all).unwrap();
    });
    for closes in [true, false] {
        let rig = Rig::start_with(upstream.address, |settings| settings.shutdown.drain_deadline = Duration::from_secs(60));
        let mut client = open(&rig);
        client.send(b"\x81\x82\0\0\0\0hi");
        let began_at = Instant::now();
        let silent = thread::scope(|scope| {
            scope.spawn(|| rig.stop());
            assert_eq!(client.bytes(GOING_AWAY.len()), GOING_AWAY);
            (!closes).then_some(client)
        });
        assert!(began_at.elapsed() < Duration::from_secs(30));
        assert_eq!(heard.recv().unwrap(), [b"\x81\x82\0\0\0\0hi", GOING_AWAY_MASKED].concat());
        drop(silent);
    }
}

#[test]
fn a_goodbye_waits_for_the_frame_that_is_under_way() {
    let (go_on, wait) = channel();
    let wait = Mutex::new(wait);
    let upstream = agreeing(move |conversation| {
        conversation.say(b"\x81\x05he");
        wait.lock().unwrap().recv().unwrap();
        conversation.say(b"llo\x81\x01x");
        conversation.wait_for_end();
    });
    let rig = Rig::start(upstream.address);
    let mut client = open(&rig);
    assert_eq!(client.bytes(4), b"\x81\x05he");
    thread::scope(|scope| {
        scope.spawn(|| rig.stop());
        assert!(client.is_silent(Duration::from_millis(300)));
        go_on.send(()).unwrap();
        assert_eq!(client.bytes(6), b"llo\x81\x01x", "what came before the goodbye was said");
        assert_eq!(client.bytes(GOING_AWAY.len()), GOING_AWAY);
        drop(client);
    });
}

#[test]
fn a_websocket_on_which_nothing_moves_ends_and_one_on_which_anything_does_goes_on() {
    const IDLE: Duration = Duration::from_millis(600);
    let upstream = Upstream::start(|conversation| {
        let head = conversation.head().unwrap();
        conversation.say(AGREED);
        while head.contains("/public/chatty") && conversation.lives() {
            conversation.say(b"\x89\x00");
            thread::sleep(IDLE / 6);
        }
        conversation.wait_for_end();
    });
    let rig = Rig::start_with(upstream.address, |settings| {
        settings.routes.change(|routes| forward(&mut routes[0]).idle_timeout = IDLE).unwrap();
    });
    let mut silent = open(&rig);
    let mut chatty = rig.client();
    chatty.send(format!("GET /public/chatty HTTP/1.1\r\nHost: a\r\n{SHAKE}"));
    assert_eq!(chatty.response().status, 101);
    assert_eq!(silent.bytes(8), b"\x88\x06\x03\xe9idle", "a closing frame with code 1001");
    silent.assert_closed();
    let mut talking = open(&rig);
    for _ in 0..18 {
        talking.send(b"\x8a\x80\0\0\0\0");
        assert!(talking.is_silent(IDLE / 6));
    }
    chatty.bytes(2 * 18);
}

#[test]
fn whoever_takes_nothing_from_a_websocket_is_given_up_on_either_side() {
    const FLOOD: usize = 50_000_000;
    let ended = Arc::new(AtomicU32::new(0));
    let ends = Arc::clone(&ended);
    let upstream = Upstream::start(move |conversation| {
        let head = conversation.head().unwrap();
        conversation.say(AGREED);
        if head.contains("/public/floods") {
            conversation.say(vec![0; FLOOD]);
        } else {
            while conversation.lives() {
                thread::sleep(Duration::from_millis(20));
            }
        }
        ends.fetch_add(1, Ordering::SeqCst);
    });
    let rig = Rig::start_with(upstream.address, |settings| {
        settings.listen.limits.write_timeout = Duration::from_millis(300);
        settings.upstreams[UpstreamIndex::FIRST].write_timeout = Duration::from_millis(300);
    });
    let mut deaf = rig.client();
    deaf.send(format!("GET /public/floods HTTP/1.1\r\nHost: a\r\n{SHAKE}"));
    assert_eq!(deaf.response().status, 101);
    eventually("the client is given up", || ended.load(Ordering::SeqCst) == 1);
    let mut flooding = open(&rig);
    flooding.try_send(vec![0; FLOOD]);
    // The upstream that takes nothing is given up, and with it the tunnel.
    flooding.rest();
}

#[test]
fn another_site_opens_no_websocket_and_changes_nothing_with_a_browsers_cookie() {
    let upstream = Upstream::echo();
    let cookies = "[cookies]\nenabled = true\naccess_name = \"access\"\nrefresh_name = \"refresh\"\ntokens_in_body = true\n\
                   csrf_origins = [\"https://app.example\"]\n[store]\nkind = \"memory\"\n";
    let rig = Rig::start_from(upstream.address, cookies, |_| {});
    let token = rig.log_in().access;
    let open = |fields: &str| rig.ask(format!("GET /api HTTP/1.1\r\nHost: a\r\nCookie: access={token}\r\n{fields}{SHAKE}"));
    for refused in ["", "Origin: https://evil.example\r\n", "Authorization: Basic eDp5\r\nOrigin: https://evil.example\r\n"] {
        let response = open(refused);
        assert_eq!((response.status, response.code().as_str()), (403, "origin_refused"), "{refused}: {response:?}");
    }
    for allowed in ["Origin: https://app.example\r\n", "X-Csrf: 1\r\n"] {
        assert_eq!(open(allowed).status, 200, "the echo is no WebSocket, but it was asked: {allowed}");
    }
    let call = |method: &str, path: &str, fields: &str| {
        rig.ask(format!("{method} {path} HTTP/1.1\r\nHost: a\r\nCookie: access={token}\r\nContent-Length: 0\r\n{fields}\r\n"))
    };
    assert_eq!(call("GET", "/api", "Origin: https://evil.example\r\n").status, 200, "reading changes nothing");
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        assert_eq!(call(method, "/api", "Origin: https://evil.example\r\n").status, 403, "{method}");
        assert_eq!(call(method, "/api", "Origin: https://app.example\r\n").status, 200, "{method}");
    }
    assert_eq!(call("POST", "/logout", "Authorization: Basic eDp5\r\nOrigin: https://evil.example\r\n").status, 403);
    assert_eq!(call("POST", "/logout", "Origin: https://app.example\r\n").status, 200);
    assert_eq!(call("GET", "/api", "").status, 401);
}
