//! Responses by HTTP/2 that nobody should believe, and those that one should.

use std::thread;

use super::super::client::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, End, HEADERS, Http2Client, INTERNAL_ERROR, NO_ERROR, block, frame, literal, post,
};
use super::super::server::{Conversation, Http2Server};
use super::{GET, POST, SOON, rig, stay};

#[test]
fn responses_against_the_rules_are_502() {
    let many = "x".repeat(70_000);
    let fields: Vec<(&str, &str)> = vec![
        ("no status", ""),
        ("status twice", ""),
        ("capitals", ""),
        ("of one connection", ""),
        ("a line break", ""),
        ("no token", ""),
        ("two lengths", ""),
        ("too large", many.as_str()),
    ];
    for (what, value) in fields {
        let value = value.to_owned();
        let head = match what {
            "no status" => block(&[("x-a", "b")]),
            "status twice" => block(&[(":status", "200"), (":status", "200")]),
            "capitals" => [block(&[(":status", "200")]), literal(b"X-A", b"b")].concat(),
            "of one connection" => block(&[(":status", "200"), ("connection", "close")]),
            "a line break" => [block(&[(":status", "200")]), literal(b"x-a", b"b\r\nc: d")].concat(),
            "no token" => [block(&[(":status", "200")]), literal(b"x\"a", b"b")].concat(),
            "two lengths" => block(&[(":status", "200"), ("content-length", "1"), ("content-length", "2")]),
            _ => block(&[(":status", "200"), ("x-a", &value)]),
        };
        let upstream = Http2Server::start(move |conversation| {
            let Some(request) = conversation.request() else { return };
            let mut pieces = head.chunks(16_000).peekable();
            let mut kind = HEADERS;
            while let Some(piece) = pieces.next() {
                let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
                let stream_end = if kind == HEADERS { END_STREAM } else { 0 };
                conversation.peer.try_send(&frame(kind, end | stream_end, request.stream, piece));
                kind = CONTINUATION;
            }
            conversation.wait_for_end();
        });
        let response = rig(&upstream).ask(POST);
        assert_eq!((response.status, response.code().as_str()), (502, "upstream_failed"), "{what}");
        assert_eq!(upstream.heard().len(), 1, "{what}");
    }
}

#[test]
fn heads_without_end_bodies_of_another_length_and_a_status_of_another_protocol_are_502() {
    let lies: [fn(&mut Conversation, u32); 5] = [
        |conversation, stream| {
            conversation.peer.frame(HEADERS, 0, stream, &block(&[(":status", "200")]));
            while conversation.peer.try_send(&frame(CONTINUATION, 0, stream, &block(&[("x-a", "b")]))) {}
        },
        |conversation, stream| {
            conversation.headers(stream, &[(":status", "200"), ("content-length", "5")], 0);
            conversation.peer.data(stream, b"four", END_STREAM);
        },
        |conversation, stream| {
            conversation.headers(stream, &[(":status", "200"), ("content-length", "3")], 0);
            conversation.peer.data(stream, b"four", END_STREAM);
        },
        |conversation, stream| conversation.headers(stream, &[(":status", "101")], 0),
        |conversation, stream| conversation.peer.frame(DATA, END_STREAM, stream, b"before its head"),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let upstream = Http2Server::start(move |conversation| {
            let Some(request) = conversation.request() else { return };
            lie(conversation, request.stream);
            stay();
        });
        let response = rig(&upstream).ask(POST);
        assert_eq!((response.status, response.code().as_str()), (502, "upstream_failed"), "lie {number}");
    }
}

#[test]
fn interim_responses_pass_and_not_without_end() {
    let upstream = Http2Server::start(|conversation| {
        while let Some(request) = conversation.request() {
            let endless = request.field(":path") == Some("/public/endless");
            for _ in 0..if endless { 100 } else { 2 } {
                conversation.headers(request.stream, &[(":status", "103"), ("link", "</a>")], 0);
            }
            if !endless {
                conversation.respond(request.stream, "ok");
            }
        }
    });
    let rig = rig(&upstream);
    let mut client = Http2Client::connect(rig.address());
    let response = client.get("/public");
    assert_eq!((response.interim, response.status, response.body.as_str()), (vec![103, 103], 200, "ok"));
    assert_eq!(client.get("/public/endless").code(), "upstream_failed");
}

#[test]
fn a_response_that_breaks_off_is_never_taken_for_a_whole_one() {
    let ends: [fn(&mut Conversation, u32) -> bool; 3] = [
        // What is an error for nobody, without the end of the response.
        |conversation, stream| {
            conversation.reset(stream, NO_ERROR);
            true
        },
        |conversation, stream| {
            conversation.reset(stream, INTERNAL_ERROR);
            true
        },
        // The connection ends.
        |_, _| false,
    ];
    for end in ends {
        let upstream = Http2Server::start(move |conversation| {
            while let Some(request) = conversation.request() {
                conversation.headers(request.stream, &[(":status", "200")], 0);
                conversation.peer.data(request.stream, b"half", 0);
                // The gateway has passed it on.
                thread::sleep(SOON);
                if !end(conversation, request.stream) {
                    return;
                }
            }
        });
        let rig = rig(&upstream);
        let response = rig.ask(GET);
        assert_eq!((response.status, response.body.as_str(), response.whole), (200, "half", false));
        let response = Http2Client::connect(rig.address()).get("/public");
        assert_eq!((response.status, response.body.as_str(), response.end), (200, "half", End::Reset(INTERNAL_ERROR)));
    }
    // A small one that breaks off before anything was passed on is another response.
    let upstream = Http2Server::start(|conversation| {
        let Some(request) = conversation.request() else { return };
        conversation.headers(request.stream, &[(":status", "200"), ("content-length", "9")], 0);
        conversation.peer.data(request.stream, b"half", 0);
    });
    let response = rig(&upstream).ask(POST);
    assert_eq!((response.status, response.code().as_str()), (502, "upstream_failed"));
}

/// Servers say so to clients that still send, when they have said all.
#[test]
fn a_whole_response_whose_request_is_then_reset_without_error_is_whole() {
    let upstream = Http2Server::start(|conversation| {
        while let Some(request) = conversation.request() {
            if request.field(":path") == Some("/public/trailers") {
                conversation.headers(request.stream, &[(":status", "200"), ("grpc-status", "12")], END_STREAM);
            } else {
                conversation.respond(request.stream, "early");
            }
            conversation.reset(request.stream, NO_ERROR);
        }
    });
    let rig = rig(&upstream);
    let mut client = Http2Client::connect(rig.address());
    let stream = client.begin(&post("/public"));
    client.data(stream, b"some", 0);
    let response = client.response(stream);
    assert_eq!((response.status, response.body.as_str(), response.end), (200, "early", End::Whole));
    let stream = client.begin(&post("/public/trailers"));
    let response = client.response(stream);
    assert_eq!((response.status, response.field("grpc-status"), response.end), (200, Some("12"), End::Whole));
}
