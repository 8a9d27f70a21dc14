//! Upstreams that are spoken to in HTTP/2: what reaches them, what is sent again, and what nobody should believe.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use tokengate::config::{Settings, UpstreamProtocol};
use tokengate::domain::per_upstream::UpstreamIndex;
use tokengate::domain::stats::Counter;

use super::super::rig::{PATIENCE, Rig, eventually, forward};
use super::super::upstream::Upstream;
use super::client::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, End, Event, HEADERS, Http2Client, INITIAL_WINDOW_SIZE, INTERNAL_ERROR,
    MAX_CONCURRENT_STREAMS, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, block, get, literal, post,
};
use super::server::{Conversation, Http2Server};

const SOON: Duration = Duration::from_millis(300);
const GET: &str = "GET /public HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

fn rig(upstream: &Http2Server) -> Rig {
    rig_with(upstream, |_| {})
}

fn rig_with(upstream: &Http2Server, change: impl FnOnce(&mut Settings)) -> Rig {
    Rig::start_with(upstream.address, |settings| {
        settings.upstreams[UpstreamIndex::FIRST].protocol = UpstreamProtocol::Http2;
        change(settings);
    })
}

/// Responses have to begin this soon.
fn impatient(settings: &mut Settings) {
    let change = |routes: &mut [_]| routes.iter_mut().for_each(|route| forward(route).response_timeout = SOON);
    settings.routes.change(|routes| change(routes)).unwrap();
}

fn stay() {
    thread::sleep(PATIENCE);
}

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
                conversation.peer.try_send(&super::client::frame(kind, end | stream_end, request.stream, piece));
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
            while conversation.peer.try_send(&super::client::frame(CONTINUATION, 0, stream, &block(&[("x-a", "b")]))) {}
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

#[test]
fn a_client_that_leaves_or_breaks_off_resets_its_request_alone() {
    let (said, hears) = mpsc::channel();
    let upstream = Http2Server::start(move |conversation| {
        let first = conversation.request().unwrap();
        conversation.headers(first.stream, &[(":status", "200")], 0);
        said.send(conversation.peer.event_of(first.stream)).unwrap();
        let second = conversation.request().unwrap();
        said.send(conversation.body(&second).unwrap_err()).unwrap();
        conversation.answer_all("ok");
    });
    let rig = rig(&upstream);
    let mut client = Http2Client::connect(rig.address());
    let stream = client.request(&get("/public"));
    assert!(matches!(client.event_of(stream), Event::Headers { .. }));
    client.reset(stream);
    assert!(matches!(hears.recv_timeout(PATIENCE).unwrap(), Event::Reset { code: CANCEL, .. }));
    let mut leaving = rig.client();
    leaving.send("POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nhello");
    leaving.end_sending();
    assert!(matches!(hears.recv_timeout(PATIENCE).unwrap(), Event::Reset { code: CANCEL, .. }), "never a whole request");
    assert_eq!(client.get("/public").body, "ok", "by the same connection");
    assert_eq!(upstream.heard().len(), 3);
}

#[test]
fn the_end_of_a_session_resets_the_request_that_runs_for_it() {
    let (said, hears) = mpsc::channel();
    let upstream = Http2Server::start(move |conversation| {
        while let Some(request) = conversation.request() {
            if request.field(":path") == Some("/login") {
                conversation.headers(request.stream, &[(":status", "200"), ("content-type", "application/json")], 0);
                conversation.peer.data(request.stream, br#"{"user":{"id":"ann"}}"#, END_STREAM);
                continue;
            }
            conversation.headers(request.stream, &[(":status", "200")], 0);
            said.send(conversation.peer.event_of(request.stream)).unwrap();
        }
    });
    let rig = rig(&upstream);
    let token = rig.log_in().access;
    let bearer = format!("Bearer {token}");
    let mut client = Http2Client::connect(rig.address());
    let stream = client.request(&[&get("/api")[..], &[("authorization", bearer.as_str())]].concat());
    assert!(matches!(client.event_of(stream), Event::Headers { .. }));
    rig.ask(format!("POST /logout HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"));
    assert!(matches!(hears.recv_timeout(PATIENCE).unwrap(), Event::Reset { code: CANCEL, .. }));
    assert_eq!(client.event_of(stream), Event::Reset { stream, code: CANCEL });
}

/// What a client does not take waits at the upstream, and holds up nobody else.
#[test]
fn a_client_that_takes_nothing_holds_up_its_own_response_alone() {
    const WINDOW: usize = 16 * 1024;
    let (said, hears) = mpsc::channel();
    let upstream = Http2Server::start(move |conversation| {
        let first = conversation.request().unwrap();
        conversation.headers(first.stream, &[(":status", "200")], 0);
        // As much as it may: its window, and what the gateway gave back since.
        let mut sent = 0;
        while sent < WINDOW {
            conversation.peer.data(first.stream, &[b'x'; 4096], 0);
            sent += 4096;
        }
        said.send(()).unwrap();
        conversation.answer_all("ok");
    });
    let rig = rig_with(&upstream, |settings| {
        settings.upstreams[UpstreamIndex::FIRST].http2.stream_window_bytes = u32::try_from(WINDOW).unwrap();
    });
    let mut client = Http2Client::connect_with(rig.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    let stream = client.request(&get("/public"));
    hears.recv_timeout(PATIENCE).unwrap();
    assert_eq!(rig.ask(GET).body, "ok", "over the same connection");
    client.room(stream, 1 << 20);
    client.room(0, 1 << 20);
    assert!(matches!(client.event_of(stream), Event::Headers { .. }));
    assert_eq!(client.bytes_of(stream, WINDOW).len(), WINDOW);
}

#[test]
fn a_websocket_is_refused_with_its_reason() {
    let upstream = Http2Server::answering("ok");
    let response = rig(&upstream).ask(
        "GET /public HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!((response.status, response.code().as_str()), (501, "upgrade_unsupported"));
    assert_eq!(upstream.heard(), [""; 0]);
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
