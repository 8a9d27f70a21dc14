//! Bodies in crumbs that nobody takes. They wait in their own window, and cost neither others their streams nor the gateway its memory.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use super::super::super::rig::{PATIENCE, Rig, forward};
use super::super::client::{
    DATA, END_STREAM, End, Event, FLOW_CONTROL_ERROR, Http2Client, INITIAL_WINDOW_SIZE, frame, get, post,
};
use super::super::server::{Conversation, Http2Server};
use super::{GET, rig, rig_with};
use crate::support::gateway::Gateway;
use crate::support::servers::Server;

/// Several times as many as h2 would let wait.
const CRUMBS: usize = 20_000;

/// On each of these streams. As h2 keeps them, all of them would take up 18 MB.
const MANY: usize = 10_000;
const STREAMS: usize = 6;
const FURTHER_BYTES_MAX: usize = 8 << 20;

impl Server for Http2Server {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A client that knows its windows.
fn settled(address: SocketAddr, settings: &[(u16, u32)]) -> Http2Client {
    let mut client = Http2Client::connect_with(address, settings);
    client.settings();
    client
}

fn crumbs(stream: u32, count: usize) -> Vec<u8> {
    frame(DATA, 0, stream, b"x").repeat(count)
}

/// Takes large bodies.
fn roomy(upstream: &Http2Server) -> Rig {
    rig_with(upstream, |settings| {
        let change = |routes: &mut [_]| routes.iter_mut().for_each(|route| forward(route).body_bytes_max = 1 << 20);
        settings.routes.change(|routes| change(routes)).unwrap();
    })
}

/// Gives a body no room until another request has been responded to, then all that is needed.
fn takes_late(conversation: &mut Conversation) {
    let slow = conversation.request().unwrap();
    let other = conversation.request().unwrap();
    conversation.respond(other.stream, "ok");
    conversation.peer.room(slow.stream, 1 << 20);
    let came = conversation.body(&slow).unwrap();
    conversation.respond(slow.stream, &came.len().to_string());
    conversation.answer_all("ok");
}

#[test]
fn a_body_in_crumbs_that_the_upstream_does_not_take_waits_and_holds_up_nobody() {
    let upstream = Http2Server::with_settings(&[(INITIAL_WINDOW_SIZE, 0)], takes_late);
    let rig = roomy(&upstream);
    let mut client = settled(rig.address(), &[]);
    let slow = client.begin(&post("/public/slow"));
    client.send(&crumbs(slow, CRUMBS));
    assert_eq!(client.get("/public").end, End::Whole, "over the same connection");
    client.data(slow, b"the end", END_STREAM);
    let response = client.response(slow);
    assert_eq!((response.body, response.end), ((CRUMBS + 7).to_string(), End::Whole));
}

#[test]
fn a_response_in_crumbs_that_its_client_does_not_take_waits_and_holds_up_nobody() {
    let upstream = Http2Server::start(|conversation| {
        let slow = conversation.request().unwrap();
        conversation.headers(slow.stream, &[(":status", "200")], 0);
        conversation.peer.send(&crumbs(slow.stream, CRUMBS));
        let other = conversation.request().unwrap();
        conversation.respond(other.stream, "ok");
        conversation.peer.data(slow.stream, b"", 0);
        conversation.peer.trailers(slow.stream, &[("x-last", "1")]);
        conversation.answer_all("ok");
    });
    let rig = rig(&upstream);
    let mut client = settled(rig.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    let slow = client.request(&[&get("/public/slow")[..], &[("te", "trailers")]].concat());
    assert!(matches!(client.event_of(slow), Event::Headers { .. }));
    assert_eq!(rig.ask(GET).body, "ok", "over the same connection");
    client.room(slow, 1 << 20);
    assert_eq!(client.bytes_of(slow, CRUMBS).len(), CRUMBS);
    let Event::Headers { fields, ends: true, .. } = client.event_of(slow) else { panic!("no trailers") };
    assert_eq!(fields, [("x-last".to_owned(), "1".to_owned())]);
    assert_eq!(upstream.heard().len(), 2);
}

#[test]
fn crumbs_beyond_the_window_cost_their_stream_and_no_other() {
    const WINDOW: usize = 256 * 1024;
    let upstream = Http2Server::with_settings(&[(INITIAL_WINDOW_SIZE, 0)], |conversation| {
        while let Some(request) = conversation.request() {
            if request.ends {
                conversation.respond(request.stream, "ok");
            }
        }
    });
    let rig = roomy(&upstream);
    let mut client = settled(rig.address(), &[]);
    let slow = client.begin(&post("/public/slow"));
    client.send(&frame(DATA, 0, slow, &[b'x'; 16 * 1024]).repeat(WINDOW / (16 * 1024) - 1));
    client.send(&crumbs(slow, 40_000));
    assert_eq!(client.response(slow).end, End::Reset(FLOW_CONTROL_ERROR));
    assert_eq!(client.get("/public").body, "ok", "over the same connection");
}

/// What still comes for requests that were taken back is thrown away, and does not add up.
#[test]
fn crumbs_for_requests_that_were_taken_back_do_not_add_up() {
    let (said, hears) = mpsc::channel();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let upstream = Http2Server::start(move |conversation| {
        counted.fetch_add(1, Ordering::Relaxed);
        while let Some(request) = conversation.request() {
            if request.field(":path") != Some("/public/taken-back") {
                conversation.respond(request.stream, "ok");
                continue;
            }
            conversation.headers(request.stream, &[(":status", "200")], 0);
            let Event::Reset { .. } = conversation.peer.event_of(request.stream) else { panic!("it goes on") };
            conversation.peer.send(&crumbs(request.stream, 1000));
            said.send(()).unwrap();
        }
    });
    let rig = rig(&upstream);
    let mut client = settled(rig.address(), &[]);
    for _ in 0..60 {
        let stream = client.request(&get("/public/taken-back"));
        assert!(matches!(client.event_of(stream), Event::Headers { .. }));
        client.reset(stream);
        hears.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(client.get("/public").body, "ok");
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

fn gateway(upstream: &Http2Server) -> Gateway {
    let tables = "protocol = \"http2\"\n[[routes]]\nname = \"public\"\nprefix = \"/\"\naccess = \"public\"\n";
    Gateway::of(upstream, tables, &[])
}

#[test]
fn crumbs_that_wait_for_an_upstream_take_up_little_more_than_their_bytes() {
    let upstream = Http2Server::with_settings(&[(INITIAL_WINDOW_SIZE, 0)], |conversation| {
        while let Some(request) = conversation.request() {
            if request.ends {
                conversation.headers(request.stream, &[(":status", "204")], END_STREAM);
            }
        }
    });
    let gateway = gateway(&upstream);
    let before = gateway.resident_bytes();
    let mut client = settled(gateway.address(), &[]);
    for _ in 0..STREAMS {
        let stream = client.begin(&post("/slow"));
        client.send(&crumbs(stream, MANY));
        assert_eq!(client.get("/").status, 204, "everything has come");
    }
    let further = gateway.resident_bytes().saturating_sub(before);
    assert!(further < FURTHER_BYTES_MAX, "{} KiB", further >> 10);
}

#[test]
fn crumbs_that_wait_for_clients_take_up_little_more_than_their_bytes() {
    let upstream = Http2Server::start(|conversation| {
        while let Some(request) = conversation.request() {
            if request.field(":path") == Some("/slow") {
                conversation.headers(request.stream, &[(":status", "200")], 0);
                conversation.peer.send(&crumbs(request.stream, MANY));
            } else {
                conversation.headers(request.stream, &[(":status", "204")], END_STREAM);
            }
        }
    });
    let gateway = gateway(&upstream);
    let before = gateway.resident_bytes();
    let mut client = settled(gateway.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    for _ in 0..STREAMS {
        client.request(&get("/slow"));
        assert_eq!(client.get("/").status, 204, "everything has come");
    }
    let further = gateway.resident_bytes().saturating_sub(before);
    assert!(further < FURTHER_BYTES_MAX, "{} KiB", further >> 10);
}
