//! Connections to upstreams that speak HTTP/2: what goes over them, and what they cost.

use std::sync::{Barrier, mpsc};

use tokengate::config::UpstreamProtocol;
use tokengate::domain::per_upstream::UpstreamIndex;

use super::super::super::rig::{Rig, eventually};
use super::super::super::upstream::Upstream;
use super::super::client::{
    END_STREAM, End, Event, Http2Client, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, PROTOCOL_ERROR, get, post,
};
use super::super::server::Http2Server;
use super::{GET, POST, SOON, impatient, rig, rig_with, stay};

#[test]
fn a_request_arrives_with_its_host_and_path_in_pseudo_fields_and_nothing_of_one_connection() {
    let (said, hears) = mpsc::channel();
    let upstream = Http2Server::start(move |conversation| {
        while let Some(request) = conversation.request() {
            let body = conversation.body(&request).unwrap();
            conversation.headers(request.stream, &[(":status", "200"), ("x-a", "b")], 0);
            conversation.peer.data(request.stream, b"ok", 0);
            conversation.headers(request.stream, &[("x-sum", "1"), ("x-auth-subject", "eve")], END_STREAM);
            said.send((request, body)).unwrap();
        }
    });
    let rig = rig(&upstream);
    let response = rig.ask(
        "POST /public/a?b=c HTTP/1.1\r\nHost: API.example:80\r\nConnection: x-mine, te\r\nX-Mine: 1\r\nTE: trailers\r\n\
         Keep-Alive: 5\r\nCookie: a=1; b=2\r\nX-Auth-Subject: eve\r\nContent-Length: 5\r\n\r\nhello",
    );
    assert_eq!((response.status, response.body.as_str(), response.field("x-a")), (200, "ok", Some("b")));
    let (request, body) = hears.recv().unwrap();
    let pseudo = [":method", ":scheme", ":authority", ":path"].map(|name| request.field(name).unwrap().to_owned());
    assert_eq!(pseudo, ["POST", "http", "api.example:80", "/public/a?b=c"]);
    for absent in ["connection", "x-mine", "te", "keep-alive", "host", "transfer-encoding", "x-auth-subject"] {
        assert_eq!(request.field(absent), None, "{absent}");
    }
    assert_eq!((request.field("content-length"), body.as_str(), request.field("cookie")), (Some("5"), "hello", Some("a=1; b=2")));
    assert!(request.field("x-request-id").is_some() && request.field("x-forwarded-for").is_some());
    let mut client = Http2Client::connect(rig.address());
    let stream = client.begin(&[&post("/public")[..], &[("te", "trailers"), ("cookie", "a=1"), ("cookie", "b=2")]].concat());
    client.data(stream, b"hello", 0);
    client.trailers(stream, &[("x-after", "1")]);
    let response = client.response(stream);
    let trailers: Vec<_> = response.trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!((response.status, response.body.as_str(), response.end), (200, "ok", End::Whole));
    assert_eq!(trailers, [("x-sum", "1")], "trailers pass, and what only the gateway may say does not");
    let (request, body) = hears.recv().unwrap();
    assert_eq!((request.field("te"), request.field("content-length"), body.as_str()), (Some("trailers"), None, "hello"));
    assert_eq!(request.field("cookie"), Some("a=1; b=2"));
}

#[test]
fn many_requests_share_a_connection_within_what_the_upstream_allows() {
    let both_are_full = Barrier::new(2);
    let upstream = Http2Server::with_settings(&[(MAX_CONCURRENT_STREAMS, 3)], move |conversation| {
        assert!(conversation.index < 2, "a third connection");
        let held: Vec<_> = (0..3).map_while(|_| conversation.request()).collect();
        both_are_full.wait();
        for request in held {
            conversation.respond(request.stream, "ok");
        }
        conversation.answer_all("ok");
    });
    let rig = rig(&upstream);
    let mut client = Http2Client::connect(rig.address());
    let streams: Vec<u32> = (0..6).map(|_| client.request(&get("/public"))).collect();
    for stream in streams {
        assert_eq!(client.response(stream).status, 200);
    }
    assert_eq!(rig.ask(GET).status, 200, "they are kept");
}

#[test]
fn what_speaks_no_http_2_is_not_connected_to() {
    for said in ["HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "SSH-2.0-x\r\n", ""] {
        let upstream = Upstream::start(move |conversation| {
            conversation.say(said);
            if !said.is_empty() {
                conversation.wait_for_end();
            }
        });
        let rig = Rig::start_with(upstream.address, |settings| {
            settings.upstreams[UpstreamIndex::FIRST].protocol = UpstreamProtocol::Http2;
        });
        let response = rig.ask(POST);
        assert_eq!((response.status, response.code().as_str()), (502, "upstream_unreachable"), "{said}");
    }
}

#[test]
fn an_upstream_that_never_says_what_it_takes_or_takes_nothing_is_504() {
    let silent = Http2Server::bare(|_| stay());
    let taking_nothing = Http2Server::with_settings(&[(MAX_CONCURRENT_STREAMS, 0)], |_| stay());
    for upstream in [silent, taking_nothing] {
        let rig = rig_with(&upstream, |settings| settings.upstreams[UpstreamIndex::FIRST].connect_timeout = SOON);
        let response = rig.ask(POST);
        assert_eq!((response.status, response.code().as_str()), (504, "upstream_timeout"));
        assert_eq!(upstream.heard(), [""; 0]);
    }
}

#[test]
fn an_upstream_that_gives_no_room_for_the_body_is_504() {
    let upstream = Http2Server::with_settings(&[(INITIAL_WINDOW_SIZE, 0)], |conversation| {
        conversation.request();
        stay();
    });
    let rig = rig_with(&upstream, |settings| {
        settings.upstreams[UpstreamIndex::FIRST].write_timeout = SOON;
        impatient(settings);
    });
    let response = rig.ask(POST);
    assert_eq!((response.status, response.code().as_str()), (504, "upstream_timeout"));
    let response = rig.ask("POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(response.status, 504, "a request without a body needs no room, and gets no response");
}

#[test]
fn a_peer_that_hangs_gets_no_further_requests_and_is_closed() {
    let upstream = Http2Server::start(|conversation| {
        if conversation.index == 0 {
            conversation.request();
            // Alive to its kernel alone.
            stay();
        }
        conversation.answer_all("ok");
    });
    let rig = rig_with(&upstream, impatient);
    assert_eq!(rig.ask(POST).code(), "upstream_timeout");
    assert_eq!(rig.ask(POST).body, "ok", "by another connection");
    assert_eq!(upstream.heard().len(), 2);
}

#[test]
fn one_slow_response_costs_no_connection() {
    let upstream = Http2Server::start(|conversation| {
        while let Some(request) = conversation.request() {
            if request.field(":path") != Some("/public/slow") {
                let body = conversation.index.to_string();
                conversation.respond(request.stream, &body);
            }
        }
    });
    let rig = rig_with(&upstream, impatient);
    assert_eq!(rig.ask("GET /public/slow HTTP/1.1\r\nHost: a\r\n\r\n").status, 504);
    eventually("the peer has answered the question whether it is there", || rig.ask(GET).body == "0");
}

#[test]
fn frames_that_break_the_connection_cost_the_requests_on_it_and_no_more() {
    let upstream = Http2Server::start(|conversation| {
        let request = conversation.request().unwrap();
        if conversation.index == 0 {
            // A stream that nobody opened.
            conversation.peer.data(request.stream + 2, b"x", 0);
            let Event::GoAway { code, .. } = conversation.peer.event() else { panic!("no goodbye") };
            assert_eq!(code, PROTOCOL_ERROR);
        } else {
            conversation.respond(request.stream, "ok");
            conversation.answer_all("ok");
        }
    });
    let rig = rig(&upstream);
    assert_eq!(rig.ask(POST).code(), "upstream_failed");
    assert_eq!(rig.ask(POST).body, "ok");
}

/// They would take the place of what comes again, and each be compared with those before it.
#[test]
fn what_comes_once_is_kept_in_no_table_on_either_side() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (said, hears) = mpsc::channel();
    let upstream = Http2Server::start(move |conversation| {
        while let Some(request) = conversation.request() {
            conversation.respond(request.stream, "ok");
            let peer = &conversation.peer;
            let kept = ["x-forwarded-proto", "via", "x-own"].map(|name| !peer.has_never_kept(name));
            let never_kept = ["x-request-id", "traceparent"].map(|name| peer.has_never_kept(name));
            said.send((kept, never_kept)).unwrap();
        }
    });
    let rig = rig(&upstream);
    let mut client = Http2Client::connect(rig.address());
    for _ in 0..3 {
        let stream = client.request(&[&get("/public")[..], &[("traceparent", PARENT), ("x-own", "1")]].concat());
        assert_eq!(client.response(stream).status, 200);
        assert_eq!(hears.recv().unwrap(), ([true; 3], [true; 2]));
        assert!(client.has_never_kept("x-request-id") && !client.has_never_kept("via"));
    }
}
