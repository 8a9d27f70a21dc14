//! What comes for streams that are no more.

use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use tokengate::domain::stats::Counter;

use super::super::rig::{PATIENCE, Rig, eventually};
use super::super::upstream::Upstream;
use super::client::{
    DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, End, Event, HEADERS, Http2Client, INTERNAL_ERROR, NO_ERROR, PING, block,
    frame, get, post,
};

/// As many as one connection may have under way.
const STREAMS: usize = 100;

/// So often that resets add up to more than the gateway makes in all for what a client sends.
const INCIDENTS: usize = 16;

/// Longer than h2 remembers a stream by default.
const LATE: Duration = Duration::from_millis(1_500);

/// Begins every response, and breaks off as many at once as a connection may have.
struct Restarting {
    upstream: Upstream,
    restart: Arc<Barrier>,
}

impl Restarting {
    fn start() -> Self {
        let restart = Arc::new(Barrier::new(STREAMS + 1));
        let awaited = Arc::clone(&restart);
        let upstream = Upstream::start(move |conversation| {
            conversation.head();
            conversation.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
            awaited.wait();
        });
        Self { upstream, restart }
    }

    /// Streams whose requests are not whole, and which the gateway has reset.
    fn reset_streams(&self, client: &mut Http2Client) -> Vec<u32> {
        let streams: Vec<u32> = (0..STREAMS).map(|_| client.begin(&post("/public"))).collect();
        for stream in &streams {
            assert!(matches!(client.event_of(*stream), Event::Headers { ends: false, .. }));
        }
        self.restart.wait();
        for stream in &streams {
            assert_eq!(client.response(*stream).end, End::Reset(INTERNAL_ERROR));
        }
        streams
    }
}

#[test]
fn data_that_crosses_the_gateways_reset_costs_nothing_however_often() {
    let restarting = Restarting::start();
    let rig = Rig::start(restarting.upstream.address);
    let mut client = Http2Client::connect(rig.address());
    for _ in 0..INCIDENTS {
        for stream in restarting.reset_streams(&mut client) {
            client.data(stream, b"crumb", 0);
        }
        assert_eq!(client.get("/nowhere").status, 404, "the connection goes on");
    }
    assert_eq!(rig.counted(Counter::ClientFloods), 0);
}

#[test]
fn trailers_that_cross_the_gateways_reset_cost_nothing() {
    let restarting = Restarting::start();
    let rig = Rig::start(restarting.upstream.address);
    let mut client = Http2Client::connect(rig.address());
    for stream in restarting.reset_streams(&mut client) {
        client.trailers(stream, &[("x-last", "1")]);
    }
    assert_eq!(client.get("/nowhere").status, 404, "the connection goes on");
    let streams = restarting.reset_streams(&mut client);
    thread::sleep(LATE);
    // h2 forgets when it hears something.
    client.frame(PING, 0, 0, &[0; 8]);
    for stream in streams {
        client.trailers(stream, &[("x-last", "1")]);
    }
    assert_eq!(client.get("/nowhere").status, 404, "the connection goes on");
}

/// All below it are closed by its beginning (RFC 9113, section 5.1.1).
const HIGH: u32 = 100_001;

fn begin_high(client: &mut Http2Client) {
    client.frame(HEADERS, END_HEADERS | END_STREAM, HIGH, &block(&get("/public")));
}

fn strays(count: u32) -> Vec<u8> {
    (0..count).flat_map(|number| frame(DATA, 0, 2 * number + 1, b"x")).collect()
}

#[test]
fn a_client_that_sends_much_on_streams_that_are_no_more_is_let_go_when_it_has_what_it_asked_for() {
    for (count, stays) in [(400, true), (600, false)] {
        let (release, released) = mpsc::channel();
        let released = Mutex::new(released);
        let upstream = Upstream::start(move |conversation| {
            conversation.head();
            released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            conversation.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        });
        let rig = Rig::start(upstream.address);
        let mut client = Http2Client::connect(rig.address());
        begin_high(&mut client);
        client.send(&strays(count));
        release.send(()).unwrap();
        assert_eq!(client.response(HIGH).body, "ok", "{count}");
        if stays {
            assert!(client.is_there_for(Duration::from_secs(2)), "{count}");
        } else {
            assert_eq!(client.goodbye(), NO_ERROR, "{count}");
        }
        assert_eq!(rig.counted(Counter::ClientFloods), 0, "{count}");
    }
}

#[test]
fn a_client_that_sends_without_end_on_streams_that_are_no_more_loses_its_connection() {
    let upstream = Upstream::start(|conversation| {
        conversation.head();
        conversation.wait_for_end();
    });
    let rig = Rig::start(upstream.address);
    let mut client = Http2Client::connect(rig.address());
    begin_high(&mut client);
    client.try_send(&strays(10_000));
    assert_eq!(client.goodbye(), ENHANCE_YOUR_CALM);
    eventually("it is counted", || rig.counted(Counter::ClientFloods) == 1);
}
