//! More of something than anybody needs: it costs the sender its connection, and nobody else anything.

use std::thread;
use std::time::Duration;

use tokengate::domain::stats::Counter;

use super::super::rig::{Rig, eventually};
use super::super::upstream::Upstream;
use super::client::{
    ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, End, Event, HEADERS, Http2Client,
    INITIAL_WINDOW_SIZE, PING, PRIORITY, REFUSED_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get, literal, post,
};

/// Says the response's head, and nothing else.
fn hanging() -> Upstream {
    Upstream::start(|conversation| {
        conversation.head();
        conversation.wait_for_end();
    })
}

fn with_limits(upstream: &Upstream, resets: u32, control_frames: u32) -> Rig {
    Rig::start_with(upstream.address, |settings| {
        let limits = settings.listen.limits.http2.as_mut().unwrap();
        (limits.resets_max, limits.control_frames_max) = (resets, control_frames);
    })
}

fn expect_flood(rig: &Rig, client: &mut Http2Client) {
    assert_eq!(client.goodbye(), ENHANCE_YOUR_CALM);
    eventually("it is counted", || rig.counted(Counter::ClientFloods) == 1);
    assert_eq!(rig.ask("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n").status, 404, "others are served");
}

/// CVE-2023-44487. All at once, so that no request is looked at before it is taken back; and each once it is under way.
#[test]
fn requests_that_are_taken_back_time_and_again_end_the_connection() {
    for at_once in [true, false] {
        let upstream = hanging();
        let rig = with_limits(&upstream, 50, 10_000);
        let mut client = Http2Client::connect(rig.address());
        let taken_back = |stream: u32| {
            let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
            [frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get("/public"))), reset]
        };
        let streams = (0..1000).map(|number| 2 * number + 1);
        if at_once {
            let all: Vec<u8> = streams.flat_map(taken_back).flatten().collect();
            client.try_send(&all);
        } else {
            for stream in streams {
                let [request, reset] = taken_back(stream);
                if !client.try_send(&request) {
                    break;
                }
                thread::sleep(Duration::from_millis(2));
                if !client.try_send(&reset) {
                    break;
                }
            }
        }
        expect_flood(&rig, &mut client);
    }
}

#[test]
fn requests_that_are_taken_back_now_and_then_cost_nothing() {
    let upstream = hanging();
    let rig = with_limits(&upstream, 50, 10_000);
    let mut client = Http2Client::connect(rig.address());
    // As a browser does that leaves a page.
    let streams: Vec<u32> = (0..50).map(|_| client.request(&get("/public"))).collect();
    for stream in streams {
        client.reset(stream);
    }
    assert_eq!(client.get("/api").status, 401, "the connection goes on");
}

/// CVE-2025-8671: the client makes the gateway reset.
#[test]
fn streams_that_the_gateway_is_made_to_reset_count_too() {
    let upstream = hanging();
    let rig = with_limits(&upstream, 50, 10_000);
    let mut client = Http2Client::connect(rig.address());
    for _ in 0..1000 {
        let stream = client.new_stream();
        let request = frame(HEADERS, END_HEADERS, stream, &block(&[&post("/public")[..], &[("content-length", "1")]].concat()));
        if !client.try_send(&[request, frame(DATA, 0, stream, b"two")].concat()) {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    expect_flood(&rig, &mut client);
}

#[test]
fn frames_that_carry_nothing_end_the_connection_in_masses_alone() {
    let upstream = Upstream::echo();
    let frames: [(&str, Vec<u8>); 6] = [
        ("ping", frame(PING, 0, 0, &[7; 8])),
        ("answer to no ping", frame(PING, ACK, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[])),
        ("priority", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])),
        ("window", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown", frame(0xbb, 0, 0, &[1; 100])),
    ];
    for (kind, frame) in frames {
        let rig = with_limits(&upstream, 50, 500);
        let mut client = Http2Client::connect(rig.address());
        client.send(&frame.repeat(300));
        assert_eq!(client.get("/public").status, 200, "{kind}");
        for _ in 0..100 {
            if !client.try_send(&frame.repeat(100)) {
                break;
            }
        }
        expect_flood(&rig, &mut client);
    }
}

#[test]
fn resets_of_a_stream_that_has_ended_end_the_connection_in_masses_alone() {
    let upstream = Upstream::echo();
    let rig = with_limits(&upstream, 50, 500);
    let mut client = Http2Client::connect(rig.address());
    assert_eq!(client.get("/public").status, 200);
    let reset = frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    client.send(&reset.repeat(300));
    assert_eq!(client.get("/public").status, 200);
    for _ in 0..100 {
        if !client.try_send(&reset.repeat(100)) {
            break;
        }
    }
    expect_flood(&rig, &mut client);
}

#[test]
fn windows_that_are_given_for_what_was_received_are_not_counted() {
    let body = "x".repeat(1000);
    let upstream = Upstream::start(move |conversation| {
        conversation.request();
        conversation.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..1000 {
            conversation.say(format!("3e8\r\n{body}\r\n"));
        }
        conversation.say("0\r\n\r\n");
    });
    let rig = with_limits(&upstream, 50, 100);
    let mut client = Http2Client::connect(rig.address());
    let response = client.get("/public");
    assert_eq!((response.end, response.body.len()), (End::Whole, 1_000_000));
}

#[test]
fn a_head_that_does_not_end_ends_the_connection() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let stream = client.new_stream();
    client.frame(HEADERS, 0, stream, &block(&get("/public")));
    for _ in 0..1000 {
        if !client.try_send(&frame(CONTINUATION, 0, stream, &literal(b"x-a", b"1"))) {
            break;
        }
    }
    expect_flood(&rig, &mut client);
    assert_eq!(upstream.heard(), Vec::<String>::new());
}

#[test]
fn a_head_in_a_few_pieces_is_whole() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let stream = client.new_stream();
    client.frame(HEADERS, END_STREAM, stream, &block(&get("/public")));
    client.frame(CONTINUATION, 0, stream, &literal(b"x-a", b"1"));
    client.frame(CONTINUATION, END_HEADERS, stream, &literal(b"x-b", b"2"));
    let response = client.response(stream);
    assert!(response.body.contains("\r\nx-a: 1\r\nx-b: 2\r\n"), "{response:?}");
}

/// Names the first field of the dynamic table.
const FIRST_REMEMBERED: u8 = 0xbe;

/// A field that is said once and then named by one byte each time.
#[test]
fn a_head_that_unfolds_to_more_than_is_taken_is_refused() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    // Remembered, as the first of the dynamic table.
    let mut remembered = literal(b"x-bomb", &[b'x'; 3900]);
    remembered[0] = 0x40;
    let stream = client.new_stream();
    client.frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        stream,
        &[block(&get("/public")), remembered, vec![FIRST_REMEMBERED; 11]].concat(),
    );
    assert_eq!(client.response(stream).status, 431);
    let stream = client.new_stream();
    client.frame(HEADERS, END_HEADERS | END_STREAM, stream, &[block(&get("/public")), vec![FIRST_REMEMBERED; 16_000]].concat());
    assert!(matches!(client.event_of(stream), Event::Closed), "so much of it ends the connection");
    assert_eq!(upstream.heard(), Vec::<String>::new());
}

#[test]
fn a_large_head_within_the_limit_passes() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let long = "x".repeat(15_000);
    let response = client.ask(&[&get("/public")[..], &[("x-long", long.as_str())]].concat());
    assert_eq!(response.status, 200);
}

#[test]
fn data_of_nothing_ends_the_connection_in_masses_alone() {
    let upstream = Upstream::echo();
    let rig = with_limits(&upstream, 50, 500);
    let mut client = Http2Client::connect(rig.address());
    let stream = client.begin(&post("/public"));
    let nothing = frame(DATA, 0, stream, &[]);
    client.send(&nothing.repeat(300));
    client.data(stream, b"", END_STREAM);
    assert_eq!(client.response(stream).status, 200);
    for _ in 0..100 {
        if !client.try_send(&nothing.repeat(100)) {
            break;
        }
    }
    expect_flood(&rig, &mut client);
}

/// A body that is flushed now and then without a byte, over the life of one connection.
#[test]
fn data_of_nothing_now_and_then_costs_nothing() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    for _ in 0..300 {
        let stream = client.begin(&post("/public"));
        client.data(stream, b"", 0);
        client.data(stream, b"hello", 0);
        client.data(stream, b"", 0);
        client.data(stream, b"", END_STREAM);
        let response = client.response(stream);
        assert!(response.status == 200 && response.body.contains("hello"), "{response:?}");
    }
}

#[test]
fn a_body_in_crumbs_that_the_upstream_takes_passes() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    let stream = client.begin(&post("/public"));
    for _ in 0..500 {
        // Nothing of the head has it, which comes back too.
        client.data(stream, b"~", 0);
        thread::sleep(Duration::from_micros(100));
    }
    client.data(stream, b"", END_STREAM);
    let response = client.response(stream);
    assert_eq!((response.status, response.body.matches('~').count()), (200, 500), "{response:?}");
}

#[test]
fn streams_beyond_the_limit_are_refused_and_the_others_served() {
    let upstream = hanging();
    let rig = Rig::start_with(upstream.address, |settings| settings.listen.limits.http2.as_mut().unwrap().streams_max = 10);
    let mut client = Http2Client::connect(rig.address());
    let streams: Vec<u32> = (0..10).map(|_| client.request(&get("/public"))).collect();
    let beyond = client.request(&get("/public"));
    assert_eq!(client.event_of(beyond), Event::Reset { stream: beyond, code: REFUSED_STREAM });
    client.reset(streams[0]);
    assert_eq!(client.get("/api").status, 401, "there is room again");
}

/// Who opens no window gets nothing, and is not waited for.
#[test]
fn a_client_that_gives_no_room_loses_its_stream_and_no_other() {
    let upstream = Upstream::echo();
    let rig = Rig::start_with(upstream.address, |settings| settings.listen.limits.write_timeout = Duration::from_millis(500));
    let mut client = Http2Client::connect_with(rig.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    let (starved, fed) = (client.request(&get("/public/starved")), client.request(&get("/public/fed")));
    client.room(fed, 100_000);
    let fed = client.response(fed);
    assert_eq!((fed.status, fed.end), (200, End::Whole));
    let starved = client.response(starved);
    assert_eq!((starved.status, starved.body.as_str()), (200, ""));
    assert_eq!(starved.end, End::Reset(CANCEL));
}

#[test]
fn a_client_that_gives_room_slowly_gets_everything() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789");
    let rig = Rig::start_with(upstream.address, |settings| settings.listen.limits.write_timeout = Duration::from_secs(3));
    let mut client = Http2Client::connect_with(rig.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    client.gives_no_room();
    let stream = client.request(&get("/public"));
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(400));
        client.room(stream, 1);
    }
    let response = client.response(stream);
    assert_eq!((response.body.as_str(), response.end), ("0123456789", End::Whole));
}

#[test]
fn a_client_that_reads_nothing_loses_its_connection() {
    let upstream = Upstream::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n{}", "x".repeat(50_000)));
    let rig = Rig::start_with(upstream.address, |settings| settings.listen.limits.write_timeout = Duration::from_millis(500));
    let mut client = Http2Client::connect_with(rig.address(), &[(INITIAL_WINDOW_SIZE, 0x7fff_ffff)]);
    client.room(0, 0x7fff_0000);
    // More than the buffers of both systems hold.
    let all: Vec<u8> =
        (0..1000).flat_map(|number| frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &block(&get("/public")))).collect();
    client.try_send(&all);
    eventually("the gateway closes", || {
        thread::sleep(Duration::from_millis(50));
        !client.try_send(&frame(PING, 0, 0, &[0; 8]))
    });
}
