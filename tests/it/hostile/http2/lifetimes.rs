//! How long streams and their connections live.

use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::super::rig::{Rig, eventually, forward};
use super::super::upstream::Upstream;
use super::client::{CANCEL, End, Event, Http2Client, INITIAL_WINDOW_SIZE, INTERNAL_ERROR, NO_ERROR, PREFACE, get, post};

/// From the end of a session to that of its streams.
const BOUND: Duration = Duration::from_secs(2);

/// Takes logins; begins a stream for everything else.
fn event_stream() -> Upstream {
    Upstream::start(|conversation| {
        while let Some(request) = conversation.request() {
            if !conversation.took_login(&request) {
                conversation.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\ndata: one\n\r\n");
                conversation.wait_for_end();
                return;
            }
        }
    })
}

fn open(client: &mut Http2Client, token: &str) -> u32 {
    let bearer = format!("Bearer {token}");
    let stream = client.request(&[&get("/api")[..], &[("authorization", bearer.as_str())]].concat());
    assert!(matches!(client.event_of(stream), Event::Headers { ends: false, .. }));
    assert!(matches!(client.event_of(stream), Event::Data { ends: false, .. }));
    stream
}

fn log_out(rig: &Rig, token: &str) {
    let response =
        rig.ask(format!("POST /logout HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(response.status, 200, "{response:?}");
}

#[test]
fn the_end_of_a_session_resets_its_streams_and_no_others() {
    let upstream = event_stream();
    let rig = Rig::start(upstream.address);
    let (token, other) = (rig.log_in().access, rig.log_in().access);
    let mut client = Http2Client::connect(rig.address());
    let (first, kept, second) = (open(&mut client, &token), open(&mut client, &other), open(&mut client, &token));
    log_out(&rig, &token);
    let ended_at = Instant::now();
    for stream in [first, second] {
        assert_eq!(client.event_of(stream), Event::Reset { stream, code: CANCEL });
    }
    assert!(ended_at.elapsed() < BOUND);
    assert!(client.is_silent_for(Duration::from_millis(300)), "the other session's goes on");
    rig.clock.advance(Duration::from_secs(16 * 60));
    assert_eq!(client.event_of(kept), Event::Reset { stream: kept, code: CANCEL }, "until its token expires");
    assert_eq!(client.get("/nowhere").status, 404, "the connection goes on");
}

#[test]
fn streams_of_one_connection_are_renewed_each_by_its_own_session() {
    let upstream = event_stream();
    let settings = "[store]\nkind = \"memory\"\n[revocation]\nmax_staleness = \"1h\"\n";
    let rig = Rig::start_from(upstream.address, settings, |_| {});
    let (tokens, idle) = (rig.log_in(), rig.log_in());
    let mut client = Http2Client::connect(rig.address());
    let (renewed, left) = (open(&mut client, &tokens.access), open(&mut client, &idle.access));
    assert!(client.is_silent_for(Duration::from_millis(300)));
    rig.clock.advance(Duration::from_secs(600));
    let refreshed = rig.post("/refresh", &format!(r#"{{"refreshToken":"{}"}}"#, tokens.refresh));
    let body: serde_json::Value = serde_json::from_str(&refreshed.body).unwrap();
    assert_eq!(rig.get("/sessions", body["accessToken"].as_str().unwrap()).status, 200, "an own endpoint sees it too");
    rig.clock.advance(Duration::from_secs(600));
    assert_eq!(client.event_of(left), Event::Reset { stream: left, code: CANCEL });
    assert!(client.is_silent_for(Duration::from_millis(300)));
    rig.clock.advance(Duration::from_secs(600));
    assert_eq!(client.event_of(renewed), Event::Reset { stream: renewed, code: CANCEL });
}

#[test]
fn a_stream_that_nobody_takes_ends_with_its_session() {
    let upstream = event_stream();
    let rig = Rig::start(upstream.address);
    let token = rig.log_in().access;
    let mut client = Http2Client::connect_with(rig.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    let bearer = format!("Bearer {token}");
    let stream = client.request(&[&get("/api")[..], &[("authorization", bearer.as_str())]].concat());
    assert!(matches!(client.event_of(stream), Event::Headers { ends: false, .. }));
    log_out(&rig, &token);
    assert_eq!(client.event_of(stream), Event::Reset { stream, code: CANCEL });
}

#[test]
fn a_response_that_the_upstream_breaks_off_is_reset() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let upstream = Upstream::start(move |conversation| {
            conversation.request();
            conversation.say(response);
            thread::sleep(Duration::from_millis(200));
        });
        let rig = Rig::start(upstream.address);
        let mut client = Http2Client::connect(rig.address());
        let response = client.get("/public");
        assert_eq!((response.status, response.body.as_str()), (200, "half"));
        assert_eq!(response.end, End::Reset(INTERNAL_ERROR));
        assert_eq!(client.get("/nowhere").status, 404, "the connection goes on");
    }
}

#[test]
fn a_request_that_its_client_takes_back_is_taken_back_from_the_upstream() {
    let upstream = Upstream::start(|conversation| {
        conversation.head();
        conversation.wait_for_end();
        conversation.note("taken back");
    });
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let stream = client.begin(&post("/public"));
    client.data(stream, b"hello", 0);
    thread::sleep(Duration::from_millis(200));
    client.reset(stream);
    eventually("the upstream hears of it", || upstream.heard() == ["taken back"]);
}

#[test]
fn a_slow_body_ends_its_own_stream() {
    let upstream = Upstream::echo();
    let rig = Rig::start_with(upstream.address, |settings| settings.listen.limits.body_idle_timeout = Duration::from_millis(300));
    let mut client = Http2Client::connect(rig.address());
    let slow = client.begin(&post("/public"));
    client.data(slow, b"he", 0);
    for _ in 0..10 {
        assert_eq!(client.get("/public").status, 200);
        thread::sleep(Duration::from_millis(50));
    }
    let slow = client.response(slow);
    assert_eq!((slow.status, slow.code()), (408, "body_timeout".to_owned()));
}

#[test]
fn an_upstream_that_hangs_costs_its_own_stream() {
    let upstream = Upstream::start(|conversation| {
        while let Some(head) = conversation.head() {
            if head.starts_with("GET /public/hang") {
                return conversation.wait_for_end();
            }
            conversation.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let rig = Rig::start_with(upstream.address, |settings| {
        settings
            .routes
            .change(|routes| {
                for route in routes {
                    forward(route).response_timeout = Duration::from_millis(500);
                }
            })
            .unwrap();
    });
    let mut client = Http2Client::connect(rig.address());
    let hanging = client.request(&get("/public/hang"));
    assert!((0..20).all(|_| client.get("/public").status == 200));
    assert_eq!(client.response(hanging).status, 504);
}

#[test]
fn an_idle_connection_ends_with_a_goodbye() {
    let upstream = Upstream::echo();
    let rig = Rig::start_with(upstream.address, |settings| settings.listen.limits.idle_timeout = Duration::from_millis(400));
    let mut client = Http2Client::connect(rig.address());
    for _ in 0..5 {
        assert_eq!(client.get("/public").status, 200);
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(client.goodbye(), NO_ERROR);
}

#[test]
fn a_connection_with_a_stream_is_not_idle() {
    let upstream = event_stream();
    let rig = Rig::start_with(upstream.address, |settings| settings.listen.limits.idle_timeout = Duration::from_millis(300));
    let token = rig.log_in().access;
    let mut client = Http2Client::connect(rig.address());
    open(&mut client, &token);
    assert!(client.is_silent_for(Duration::from_secs(1)));
    assert_eq!(client.get("/nowhere").status, 404);
}

#[test]
fn who_does_not_go_on_with_the_preface_is_not_waited_for() {
    let upstream = Upstream::echo();
    let rig = Rig::start_with(upstream.address, |settings| settings.listen.limits.header_timeout = Duration::from_millis(300));
    for said in [&PREFACE[..10], &PREFACE[..18], &PREFACE[..20], PREFACE] {
        let mut client = Http2Client::silent(rig.address());
        client.send(said);
        let began_at = Instant::now();
        assert!(client.hears_nothing_but_the_end());
        assert!(began_at.elapsed() < BOUND, "{said:?}");
    }
}

#[test]
fn a_client_that_does_not_answer_pings_is_gone() {
    let upstream = event_stream();
    let rig = Rig::start_with(upstream.address, |settings| {
        let limits = settings.listen.limits.http2.as_mut().unwrap();
        (limits.ping_interval, limits.ping_timeout) = (Some(Duration::from_millis(300)), Duration::from_millis(300));
    });
    let token = rig.log_in().access;
    let mut answering = Http2Client::connect(rig.address());
    open(&mut answering, &token);
    let mut silent = Http2Client::connect(rig.address());
    open(&mut silent, &token);
    assert!(answering.is_there_for(Duration::from_secs(1)), "who answers stays");
    assert!(silent.hears_nothing_but_the_end());
}

#[test]
fn a_gateway_that_ends_says_so_and_finishes_what_is_under_way() {
    let upstream = Upstream::start(|conversation| {
        while conversation.head().is_some() {
            thread::sleep(Duration::from_millis(700));
            conversation.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let stream = client.request(&get("/public"));
    let mut idle = Http2Client::connect(rig.address());
    assert_eq!(idle.get("/nowhere").status, 404);
    thread::sleep(Duration::from_millis(200));
    thread::scope(|scope| {
        let stopping = scope.spawn(move || rig.stop());
        assert_eq!(idle.goodbye(), NO_ERROR);
        let response = client.response(stream);
        assert_eq!((response.status, response.body.as_str()), (200, "ok"));
        assert_eq!(client.goodbye(), NO_ERROR);
        stopping.join().unwrap();
    });
}
