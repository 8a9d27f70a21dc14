//! Requests as honest clients send them.

use std::time::Duration;

use super::super::rig::{BODY_BYTES_MAX, Rig};
use super::super::upstream::Upstream;
use super::client::{
    DATA, ENABLE_CONNECT_PROTOCOL, END_STREAM, End, Event, Http2Client, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, NO_ERROR,
    PREFACE, PRIORITY, SETTINGS, get, post,
};

#[test]
fn requests_share_a_connection_and_reach_the_upstream_as_http_1() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let one = client.request(&get("/public/one?x=1"));
    let other = client.request(&[&get("/public/other")[..], &[("x-some", "thing"), ("te", "trailers")]].concat());
    let (other, one) = (client.response(other), client.response(one));
    assert_eq!((one.status, one.end, other.status), (200, End::Whole, 200));
    assert!(one.body.starts_with("GET /public/one?x=1 HTTP/1.1\r\nhost: a\r\n"), "{}", one.body);
    assert!(one.body.contains("\r\nx-forwarded-proto: http\r\nx-forwarded-host: a\r\n"), "{}", one.body);
    assert!(other.body.contains("\r\nx-some: thing\r\n") && !other.body.contains("\r\nte:"), "{}", other.body);
    assert!(one.field("date").is_some() && one.field("x-request-id").is_some() && one.field("connection").is_none(), "{one:?}");
    assert_eq!(one.field("content-length"), Some(one.body.len().to_string().as_str()));
    let last = client.get("/public/last");
    assert_eq!(last.status, 200, "the connection goes on");
}

#[test]
fn a_thousand_requests_at_once_and_one_after_the_other_pass() {
    let upstream = Upstream::echo();
    let rig = Rig::start_with(upstream.address, |settings| settings.listen.limits.http2.as_mut().unwrap().streams_max = 1000);
    let mut client = Http2Client::connect(rig.address());
    let streams: Vec<u32> = (0..1000).map(|number| client.request(&get(&format!("/public/{number}")))).collect();
    for (number, stream) in streams.into_iter().enumerate() {
        let response = client.response(stream);
        assert!(response.status == 200 && response.body.starts_with(&format!("GET /public/{number} ")), "{response:?}");
    }
    assert!((0..1000).all(|number| client.get(&format!("/public/{number}")).status == 200));
}

#[test]
fn every_stream_is_judged_by_its_own_token() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let token = rig.log_in().access;
    let mut client = Http2Client::connect(rig.address());
    let bearer = format!("Bearer {token}");
    let with = client.request(&[&get("/api/with")[..], &[("authorization", bearer.as_str())]].concat());
    let without = client.request(&get("/api/without"));
    let (without, with) = (client.response(without), client.response(with));
    assert_eq!((with.status, without.status, without.code()), (200, 401, "token_missing".to_owned()));
    assert!(with.body.contains("\r\nx-auth-subject: user-1\r\n"), "{}", with.body);
}

#[test]
fn own_endpoints_are_served() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let login = client.begin(&[&post("/login")[..], &[("content-type", "application/json")]].concat());
    client.data(login, br#"{"email":"a@example.com","password":"#, 0);
    client.data(login, br#""correct horse battery"}"#, END_STREAM);
    let login = client.response(login);
    let tokens: serde_json::Value = serde_json::from_str(&login.body).unwrap_or_else(|_| panic!("{login:?}"));
    let bearer = format!("Bearer {}", tokens["accessToken"].as_str().unwrap());
    assert_eq!(client.ask(&[&get("/api")[..], &[("authorization", bearer.as_str())]].concat()).status, 200);
    let logout = client.ask(&[&post("/logout")[..], &[("authorization", bearer.as_str())]].concat());
    assert_eq!(logout.status, 200, "{logout:?}");
    assert_eq!(client.ask(&[&get("/api")[..], &[("authorization", bearer.as_str())]].concat()).code(), "token_revoked");
}

#[test]
fn bodies_are_framed_for_the_upstream_by_what_is_known_of_them() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let told = client.begin(&[&post("/public")[..], &[("content-length", "5")]].concat());
    client.data(told, b"he", 0);
    client.data(told, b"llo", END_STREAM);
    let told = client.response(told).body;
    assert!(told.contains("\r\ncontent-length: 5\r\n") && told.ends_with("\r\n\r\nhello"), "{told}");
    let untold = client.begin(&post("/public"));
    client.data(untold, b"hello", 0);
    client.data(untold, b"", END_STREAM);
    let untold = client.response(untold).body;
    assert!(untold.contains("\r\ntransfer-encoding: chunked\r\n") && untold.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{untold}");
    let none = client.ask(&post("/public")).body;
    assert!(none.contains("\r\ncontent-length: 0\r\n"), "{none}");
}

#[test]
fn a_head_request_gets_no_body_and_the_length_of_it() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let head = |path| [(":method", "HEAD"), (":scheme", "http"), (":authority", "a"), (":path", path)];
    let response = client.ask(&head("/public"));
    assert_eq!((response.status, response.field("content-length"), response.body.as_str()), (200, Some("5"), ""));
    let refused = client.ask(&head("/api"));
    assert_eq!((refused.status, refused.body.as_str()), (401, ""));
    assert!(refused.field("content-length").is_some_and(|length| length != "0"), "{refused:?}");
}

#[test]
fn cookies_in_crumbs_are_one_field() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let response = client.ask(&[&get("/public")[..], &[("cookie", "a=1"), ("x-between", "b"), ("cookie", "c=3; d=4")]].concat());
    assert!(response.body.contains("\r\ncookie: a=1; c=3; d=4\r\n"), "{}", response.body);
}

#[test]
fn many_crumbs_are_no_reason_to_refuse_and_too_many_fields_are() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let crumbs: Vec<(&str, &str)> = get("/public").into_iter().chain((0..150).map(|_| ("cookie", "a=1"))).collect();
    assert_eq!(client.ask(&crumbs).status, 200);
    let fields: Vec<(&str, &str)> = get("/public").into_iter().chain((0..150).map(|_| ("x-a", "1"))).collect();
    assert_eq!(client.ask(&fields).status, 431);
    assert_eq!(client.get("/public").status, 200);
}

#[test]
fn a_client_that_awaits_100_gets_it_when_the_body_is_wanted() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let expecting = |path| [&post(path)[..], &[("expect", "100-continue"), ("content-length", "5")]].concat();
    let wanted = client.begin(&expecting("/public"));
    assert!(matches!(client.event_of(wanted), Event::Headers { fields, .. } if fields[0].1 == "100"));
    client.data(wanted, b"hello", END_STREAM);
    let wanted = client.response(wanted);
    assert!(wanted.status == 200 && !wanted.body.contains("expect"), "{wanted:?}");
    let refused = client.begin(&expecting("/api"));
    let refused = client.response(refused);
    assert_eq!((refused.status, refused.interim), (401, vec![]));
}

#[test]
fn interim_responses_reach_the_client() {
    let upstream = Upstream::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let stream = client.request(&get("/public"));
    let Event::Headers { fields, ends: false, .. } = client.event_of(stream) else { panic!("no interim response") };
    assert!(fields.iter().any(|(name, value)| name == "link" && value == "</a.css>; rel=preload"), "{fields:?}");
    assert!(fields[0].1 == "103" && fields.iter().all(|(name, _)| name != "connection"), "{fields:?}");
    let response = client.response(stream);
    assert_eq!((response.status, response.body.as_str()), (200, "ok"));
}

#[test]
fn trailers_pass_both_ways_without_what_must_not_stand_there() {
    let upstream = Upstream::start(|conversation| {
        while let Some(request) = conversation.request() {
            let length = request.len();
            conversation.say(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n{length:x}\r\n{request}\r\n0\r\n\
                 x-sum: 42\r\nConnection: x-gone\r\nx-gone: 1\r\nSet-Cookie: a=1\r\n\r\n"
            ));
        }
    });
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let stream = client.begin(&post("/public"));
    client.data(stream, b"hello", 0);
    client.trailers(stream, &[("x-check", "7"), ("authorization", "Bearer x"), ("x-auth-subject", "root")]);
    let response = client.response(stream);
    assert!(response.body.contains("0\r\nx-check: 7\r\n\r\n") && !response.body.contains("root"), "{}", response.body);
    assert!(!response.body.contains("Bearer"), "{}", response.body);
    assert_eq!(response.trailers, [("x-sum".to_owned(), "42".to_owned())]);
}

#[test]
fn what_concerns_the_upstreams_connection_stays_there() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, x-hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nX-End: 2\r\n\
         Upgrade: h2c\r\nProxy-Connection: keep-alive\r\n\r\nok",
    );
    let rig = Rig::start(upstream.address);
    let response = Http2Client::connect(rig.address()).get("/public");
    assert_eq!((response.status, response.field("x-end"), response.end), (200, Some("2"), End::Whole));
    for name in ["connection", "keep-alive", "x-hop", "upgrade", "proxy-connection", "transfer-encoding"] {
        assert_eq!(response.field(name), None, "{response:?}");
    }
}

/// The response first; the rest is read for a while, then the stream ends, and no other.
#[test]
fn a_refused_upload_gets_its_response_and_a_reset_without_blame() {
    let upstream = Upstream::echo();
    let rig = Rig::start_with(upstream.address, |settings| settings.listen.limits.linger.timeout = Duration::from_millis(300));
    let mut client = Http2Client::connect(rig.address());
    for (fields, status) in [
        (post("/api").to_vec(), 401),
        ([&post("/public")[..], &[("content-length", "20000")]].concat(), 413),
        (post("/nowhere").to_vec(), 404),
    ] {
        let refused = |client: &mut Http2Client| {
            let stream = client.begin(&fields);
            client.data(stream, &[b'x'; 1000], 0);
            let response = client.response(stream);
            assert_eq!((response.status, response.end), (status, End::Whole), "{response:?}");
            stream
        };
        let stops = refused(&mut client);
        assert_eq!(client.event_of(stops), Event::Reset { stream: stops, code: NO_ERROR });
        client.data(stops, &[b'x'; 1000], END_STREAM);
        let goes_on = refused(&mut client);
        client.data(goes_on, &[b'x'; 1000], 0);
        client.reset(goes_on);
    }
    assert_eq!(client.get("/public").status, 200, "the connection goes on");
}

#[test]
fn a_body_that_grows_beyond_the_limit_is_refused() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let stream = client.begin(&post("/public"));
    for _ in 0..=BODY_BYTES_MAX / 1000 {
        client.data(stream, &[b'x'; 1000], 0);
    }
    let response = client.response(stream);
    assert_eq!((response.status, response.code()), (413, "body_too_large".to_owned()));
}

#[test]
fn the_settings_say_what_is_taken() {
    let upstream = Upstream::echo();
    let rig = Rig::start_with(upstream.address, |settings| {
        let limits = settings.listen.limits.http2.as_mut().unwrap();
        (limits.stream_window_bytes, limits.streams_max) = (64 * 1024, 17);
    });
    let settings = Http2Client::connect(rig.address()).settings();
    let expected = [(MAX_CONCURRENT_STREAMS, 17), (INITIAL_WINDOW_SIZE, 64 * 1024), (ENABLE_CONNECT_PROTOCOL, 1)];
    assert!(expected.iter().all(|pair| settings.contains(pair)), "{settings:?}");
}

#[test]
fn a_client_that_says_the_preface_slowly_is_understood() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::silent(rig.address());
    for byte in PREFACE {
        client.send(&[*byte]);
    }
    client.frame(SETTINGS, 0, 0, &[]);
    assert_eq!(client.get("/public").status, 200);
}

const PADDED: u8 = 0x8;

#[test]
fn padding_and_priorities_are_understood() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let stream = client.begin(&post("/public"));
    client.frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 16]);
    client.frame(DATA, PADDED | END_STREAM, stream, b"\x03hello\0\0\0");
    assert!(client.response(stream).body.ends_with("5\r\nhello\r\n0\r\n\r\n"));
}

#[test]
fn without_http_2_its_preface_is_no_request() {
    let upstream = Upstream::echo();
    let rig = Rig::start_with(upstream.address, |settings| settings.listen.limits.http2 = None);
    let mut client = rig.client();
    client.send(PREFACE);
    client.assert_closed();
    assert_eq!(upstream.heard(), Vec::<String>::new());
}
