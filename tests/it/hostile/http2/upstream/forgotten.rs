//! Upstreams that go on about requests that have been responded to.

use super::super::client::{DATA, END_STREAM, Http2Client, frame, get};
use super::super::server::{Conversation, Http2Server};
use super::rig;

/// One byte on each of so many streams that have ended.
fn strays(count: u32) -> Vec<u8> {
    (0..count).flat_map(|number| frame(DATA, 0, 2 * number + 1, b"x")).collect()
}

/// Tells the number of its connection. Before it responds to `/public/strays`, it sends as many of them as it has had requests.
fn straying(conversation: &mut Conversation) {
    let index = conversation.index.to_string();
    while let Some(request) = conversation.request() {
        if request.field(":path") == Some("/public/strays") && !conversation.peer.try_send(&strays(request.stream / 2)) {
            return;
        }
        conversation.headers(request.stream, &[(":status", "200")], 0);
        if !conversation.peer.try_send(&frame(DATA, END_STREAM, request.stream, index.as_bytes())) {
            return;
        }
    }
}

/// Has so many requests responded to, many at once.
fn ask(client: &mut Http2Client, count: usize) {
    let mut left = count;
    while left > 0 {
        let now = left.min(100);
        let streams: Vec<u32> = (0..now).map(|_| client.request(&get("/public"))).collect();
        for stream in streams {
            assert_eq!(client.response(stream).body, "0");
        }
        left -= now;
    }
}

#[test]
fn much_on_streams_that_are_no_more_costs_the_upstream_further_requests_on_its_connection() {
    for (count, next) in [(400, "0"), (600, "1")] {
        let upstream = Http2Server::start(straying);
        let rig = rig(&upstream);
        let mut client = Http2Client::connect(rig.address());
        ask(&mut client, count);
        assert_eq!(client.get("/public/strays").body, "0", "what is under way goes on");
        // The gateway looks at its connections from time to time.
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(client.get("/public").body, next, "{count}");
    }
}

#[test]
fn without_end_on_streams_that_are_no_more_costs_the_connection() {
    let upstream = Http2Server::start(straying);
    let rig = rig(&upstream);
    let mut client = Http2Client::connect(rig.address());
    ask(&mut client, 2_000);
    assert_eq!(client.get("/public/strays").code(), "upstream_failed");
    assert_eq!(client.get("/public").body, "1", "over another connection");
}
