//! What is sent again to an upstream that speaks HTTP/2, and what is not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use tokengate::domain::stats::Counter;

use super::super::super::rig::PATIENCE;
use super::super::client::{END_STREAM, Event, Http2Client, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM, get, post};
use super::super::server::{Conversation, Http2Server};
use super::{GET, POST, SOON, rig};

#[test]
fn what_an_upstream_says_it_has_not_taken_is_sent_again_whatever_it_is() {
    let refusals: [fn(&mut Conversation, u32); 3] = [
        |conversation, stream| conversation.reset(stream, REFUSED_STREAM),
        |conversation, _| conversation.goodbye(0, NO_ERROR),
        |conversation, _| conversation.goodbye(0, INTERNAL_ERROR),
    ];
    for (number, refuse) in refusals.into_iter().enumerate() {
        let refused = AtomicUsize::new(0);
        let upstream = Http2Server::start(move |conversation| {
            while let Some(request) = conversation.request() {
                if refused.fetch_add(1, Ordering::SeqCst) == 0 {
                    // Some of the body has come when the upstream changes its mind.
                    let _ = conversation.peer.event_of(request.stream);
                    refuse(conversation, request.stream);
                } else {
                    let body = conversation.body(&request).unwrap();
                    conversation.respond(request.stream, &body);
                }
            }
        });
        let rig = rig(&upstream);
        let response = rig.ask(POST);
        assert_eq!((response.status, response.body.as_str()), (200, "hello"), "refusal {number}");
        assert_eq!(upstream.heard(), ["POST /public"; 2]);
        assert_eq!(rig.counted(Counter::UpstreamRetries), 1);
        // A body of which only a part had come goes on where it was.
        let mut client = Http2Client::connect(rig.address());
        let stream = client.begin(&post("/public"));
        client.data(stream, b"one ", 0);
        client.data(stream, b"two", END_STREAM);
        assert_eq!(client.response(stream).body, "one two");
    }
}

#[test]
fn a_part_of_a_body_that_was_not_taken_is_sent_again_before_the_rest() {
    let (said, hears) = mpsc::channel();
    let upstream = Http2Server::start(move |conversation| {
        while let Some(request) = conversation.request() {
            if conversation.index == 0 {
                assert!(matches!(conversation.peer.event_of(request.stream), Event::Data { .. }));
                conversation.goodbye(0, NO_ERROR);
                said.send(()).unwrap();
                conversation.wait_for_end();
                return;
            }
            let body = conversation.body(&request).unwrap();
            conversation.respond(request.stream, &body);
        }
    });
    let rig = rig(&upstream);
    let mut client = Http2Client::connect(rig.address());
    let stream = client.begin(&post("/public"));
    client.data(stream, b"one ", 0);
    hears.recv_timeout(PATIENCE).unwrap();
    client.data(stream, b"two", END_STREAM);
    let response = client.response(stream);
    assert_eq!((response.status, response.body.as_str()), (200, "one two"));
}

#[test]
fn an_upstream_that_takes_nothing_on_any_connection_is_given_up() {
    let upstream = Http2Server::start(|conversation| {
        conversation.request();
        conversation.goodbye(0, NO_ERROR);
    });
    let response = rig(&upstream).ask(POST);
    assert_eq!((response.status, response.code().as_str()), (503, "upstream_busy"));
    assert_eq!(upstream.heard().len(), 3);
}

#[test]
fn what_may_have_been_done_is_not_done_again() {
    for code in (0..14).filter(|code| *code != REFUSED_STREAM) {
        let upstream = Http2Server::start(move |conversation| {
            while let Some(request) = conversation.request() {
                conversation.reset(request.stream, code);
            }
        });
        let rig = rig(&upstream);
        let response = rig.ask(POST);
        assert_eq!((response.status, response.code().as_str()), (502, "upstream_failed"), "code {code}");
        assert_eq!(rig.ask(GET).status, 502);
        assert_eq!(upstream.heard(), ["POST /public", "GET /public"], "code {code}");
    }
    // The connection is lost, or says that this request counts.
    for says_goodbye in [false, true] {
        let upstream = Http2Server::start(move |conversation| {
            if let Some(request) = conversation.request()
                && says_goodbye
            {
                conversation.goodbye(request.stream, NO_ERROR);
            }
        });
        let response = rig(&upstream).ask(POST);
        assert_eq!((response.status, response.code().as_str()), (502, "upstream_failed"));
        assert_eq!(upstream.heard(), ["POST /public"]);
    }
}

#[test]
fn a_harmless_request_that_was_lost_with_a_used_connection_is_sent_again_once() {
    let upstream = Http2Server::start(|conversation| {
        let first = conversation.request().unwrap();
        conversation.respond(first.stream, "ok");
        if conversation.request().is_some() && conversation.index > 0 {
            conversation.answer_all("never");
        }
    });
    let rig = rig(&upstream);
    assert_eq!([rig.ask(GET).status, rig.ask(GET).status], [200, 200]);
    assert_eq!((upstream.heard().len(), rig.counted(Counter::UpstreamRetries)), (3, 1));
}

#[test]
fn a_connection_that_said_goodbye_finishes_its_requests_and_takes_no_more() {
    let (said, hears) = mpsc::channel();
    let upstream = Http2Server::start(move |conversation| {
        let first = conversation.request().unwrap();
        if conversation.index == 0 {
            conversation.headers(first.stream, &[(":status", "200")], 0);
            conversation.goodbye(first.stream, NO_ERROR);
            said.send(()).unwrap();
            // Whatever came now would be heard.
            assert!(conversation.peer.is_silent_for(SOON));
            conversation.peer.data(first.stream, b"finished", END_STREAM);
            conversation.wait_for_end();
        } else {
            conversation.respond(first.stream, "other");
            conversation.answer_all("other");
        }
    });
    let rig = rig(&upstream);
    let mut client = Http2Client::connect(rig.address());
    let first = client.request(&get("/public"));
    hears.recv_timeout(PATIENCE).unwrap();
    // The gateway has read it by then.
    assert!(matches!(client.event_of(first), Event::Headers { .. }));
    assert_eq!(client.get("/public").body, "other");
    assert_eq!(client.response(first).body, "finished");
    assert_eq!(upstream.heard().len(), 2);
}
