//! Upstreams that are gone, slow, or say what nobody should believe.

use std::net::TcpListener;
use std::time::Duration;

use tokengate::domain::per_upstream::UpstreamIndex;
use tokengate::domain::stats::Counter;

use super::client::Response;
use super::rig::{BODY_BYTES_MAX, Rig, eventually, forward};
use super::upstream::{Conversation, Upstream};

mod kept_connections;

const SOON: Duration = Duration::from_millis(300);
const GET: &str = "GET /public HTTP/1.1\r\nHost: a\r\n\r\n";

fn answer_through(upstream: &Upstream) -> Response {
    Rig::start(upstream.address).ask(GET)
}

#[test]
fn a_refused_connection_is_502_with_a_time_to_come_back() {
    let response = Rig::start(Upstream::nowhere()).ask(GET);
    assert_eq!((response.status, response.code().as_str()), (502, "upstream_unreachable"), "{response:?}");
    assert!(response.field("retry-after").is_some());
}

#[test]
fn a_silent_upstream_is_504() {
    let upstream = Upstream::start(Conversation::wait_for_end);
    let rig = Rig::start_with(upstream.address, |settings| {
        settings
            .routes
            .change(|routes| {
                for route in routes {
                    forward(route).response_timeout = SOON;
                }
            })
            .unwrap();
    });
    let response = rig.ask(GET);
    assert_eq!((response.status, response.code().as_str()), (504, "upstream_timeout"), "{response:?}");
}

#[test]
fn an_upstream_that_takes_no_connection_is_504() {
    // A listener with a full queue: the kernel drops further attempts.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let listener: TcpListener = socket.into();
    let address = listener.local_addr().unwrap();
    let _filling: Vec<_> = (0..4).map(|_| std::net::TcpStream::connect_timeout(&address, SOON)).collect();
    let rig = Rig::start_with(address, |settings| settings.upstreams[UpstreamIndex::FIRST].connect_timeout = SOON);
    let response = rig.ask(GET);
    assert_eq!((response.status, response.code().as_str()), (504, "upstream_timeout"), "{response:?}");
}

#[test]
fn what_is_not_http_or_can_be_read_in_two_ways_is_502() {
    for said in [
        "garbage\r\n\r\n",
        "HTTP/1.1 99999 X\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX-A: b\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX-A: b\rX-B: c\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX-A: b\0\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "",
    ] {
        let response = answer_through(&Upstream::answering_once(said));
        assert_eq!((response.status, response.code().as_str()), (502, "upstream_failed"), "{said:?}: {response:?}");
    }
}

#[test]
fn a_head_without_end_is_502() {
    let large = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(200_000));
    assert_eq!(answer_through(&Upstream::answering_once(large)).status, 502);
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(1000));
    assert_eq!(answer_through(&Upstream::answering_once(many)).status, 502);
}

#[test]
fn interim_responses_without_end_are_502() {
    let flood = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1000);
    assert_eq!(answer_through(&Upstream::answering_once(flood)).status, 502);
    let few = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(3) + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let response = answer_through(&Upstream::answering_once(few));
    assert_eq!((response.status, response.body.as_str()), (200, "ok"));
}

#[test]
fn a_truncated_body_is_never_taken_for_a_whole_one() {
    for said in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\nX\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    ] {
        let rig = Rig::start(Upstream::answering_once(said).address);
        let mut client = rig.client();
        client.send(GET);
        // Where nothing of it had been sent, there is another response.
        let response = client.response();
        if response.status == 502 {
            assert_eq!(response.code(), "upstream_failed", "{said:?}");
            continue;
        }
        assert!(response.status == 200 && !response.whole, "{said:?}: {response:?}");
        assert!("hello".starts_with(&response.body), "{said:?}: {response:?}");
    }
}

#[test]
fn a_response_that_is_malformed_or_ends_before_anything_of_it_was_sent_is_502() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, stays_open) in [
        ("zz\r\n", true),
        ("5\nhello", true),
        ("5\r\nhelloX", true),
        ("5\r\nhello\r\nzz\r\n", true),
        ("5\r\nhello\r\n0\r\nbad trailer\r\n\r\n", true),
        ("", false),
        ("5\r\nhel", false),
        ("5\r\nhello\r\n0\r\n", false),
    ] {
        let upstream = Upstream::start(move |conversation| {
            conversation.request();
            conversation.say(format!("{chunked}{body}"));
            if stays_open {
                conversation.wait_for_end();
            }
        });
        let rig = Rig::start(upstream.address);
        let response = rig.ask(GET);
        if stays_open {
            assert_eq!((response.status, response.code().as_str()), (502, "upstream_failed"), "{body:?}: {response:?}");
        } else {
            // The end may have come a moment too late.
            assert!(response.status == 502 || !response.whole, "{body:?}: {response:?}");
        }
        eventually("it is counted", || rig.counted(Counter::UpstreamErrors) == 1);
    }
}

#[test]
fn a_space_before_a_colon_goes() {
    let said = "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length : 2\r\n\r\nok";
    let response = answer_through(&Upstream::answering_once(said));
    assert_eq!((response.status, response.field("x-a"), response.body.as_str()), (200, Some("b"), "ok"), "{response:?}");
}

#[test]
fn a_coding_that_changes_nothing_is_taken_out() {
    let identity = "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n";
    for (said, length) in [
        (format!("{identity}Content-Length: 2\r\n\r\nok"), Some("2")),
        (format!("{identity}Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nevil"), Some("2")),
        (format!("{identity}\r\nok"), None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned(), None),
    ] {
        let upstream = Upstream::answering_once(said);
        let rig = Rig::start(upstream.address);
        for _ in 0..2 {
            let response = rig.ask(GET);
            assert_eq!((response.status, response.body.as_str(), response.whole), (200, "ok", true), "{response:?}");
            let coding = response.field("transfer-encoding");
            assert_eq!(
                (response.field("content-length"), coding),
                (length, length.is_none().then_some("chunked")),
                "{response:?}"
            );
        }
    }
}

#[test]
fn equal_lengths_are_told_once() {
    let said = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok";
    let response = answer_through(&Upstream::answering_once(said));
    assert_eq!(
        (response.status, response.field("content-length"), response.body.as_str()),
        (200, Some("2"), "ok"),
        "{response:?}"
    );
}

#[test]
fn a_truncated_response_is_counted_once_whether_or_not_it_had_begun() {
    for (length, pause, statuses) in
        [(10, Duration::ZERO, &[502][..]), (100_000, Duration::ZERO, &[200, 502]), (100_000, SOON, &[200])]
    {
        let upstream = Upstream::start(move |conversation| {
            conversation.request();
            conversation.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello"));
            std::thread::sleep(pause);
        });
        let rig = Rig::start(upstream.address);
        let response = rig.ask(GET);
        assert!(statuses.contains(&response.status) && response.whole == (response.status == 502), "{response:?}");
        eventually("it is counted", || rig.counted(Counter::UpstreamErrors) == 1);
        assert_eq!(rig.counted(Counter::ResponsesEndedByClient), 0);
    }
}

#[test]
fn the_time_for_a_response_begins_with_the_end_of_the_request() {
    let rig = Rig::start_with(Upstream::echo().address, |settings| {
        settings
            .routes
            .change(|routes| {
                for route in routes {
                    forward(route).response_timeout = SOON;
                }
            })
            .unwrap();
    });
    for (framing, piece) in [("Content-Length: 20", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n")] {
        let mut client = rig.client();
        client.send(format!("POST /public HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
        for _ in 0..4 {
            std::thread::sleep(SOON);
            client.send(piece);
        }
        if framing.ends_with("chunked") {
            client.send("0\r\n\r\n");
        }
        assert_eq!(client.response().status, 200, "{framing}");
    }
    // The same body, sent at once, to an upstream that thinks about it.
    let silent = Upstream::start(Conversation::wait_for_end);
    let rig = Rig::start_with(silent.address, |settings| {
        settings
            .routes
            .change(|routes| {
                for route in routes {
                    forward(route).response_timeout = SOON;
                }
            })
            .unwrap();
    });
    assert_eq!(rig.post("/public", "hello").status, 504);
}

#[test]
fn an_upstream_that_stops_reading_is_504() {
    const LENGTH: usize = 32 << 20;
    let upstream = Upstream::start(|conversation| {
        conversation.head();
        std::thread::sleep(Duration::from_secs(20));
    });
    let rig = Rig::start_with(upstream.address, |settings| {
        settings.upstreams[UpstreamIndex::FIRST].write_timeout = SOON;
        settings
            .routes
            .change(|routes| {
                for route in routes {
                    forward(route).body_bytes_max = LENGTH as u64;
                }
            })
            .unwrap();
    });
    let response = rig.ask(format!("POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n{}", "x".repeat(LENGTH)));
    assert_eq!((response.status, response.code().as_str()), (504, "upstream_timeout"), "{response:?}");
    assert_eq!(rig.counted(Counter::UpstreamTimeouts), 1);
}

#[test]
fn an_upload_that_fails_after_an_early_response_ends_the_exchange_upstream() {
    for (framing, rest) in [
        ("Content-Length: 100\r\n\r\nhello", None),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", None),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", Some("nonsense\r\n")),
    ] {
        let upstream = Upstream::start(|conversation| {
            conversation.head();
            conversation.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n");
            conversation.wait_for_end();
            conversation.note("the gateway closed");
        });
        let rig = Rig::start(upstream.address);
        let mut client = rig.client();
        client.send(format!("POST /public HTTP/1.1\r\nHost: a\r\n{framing}"));
        assert!(client.head().starts_with("http/1.1 200"));
        assert_eq!(client.chunk().as_deref(), Some("early"));
        match rest {
            Some(rest) => client.send(rest),
            None => client.end_sending(),
        }
        eventually("the exchange ends upstream", || upstream.heard() == ["the gateway closed"]);
        assert_eq!(client.chunk(), None, "the response has no end that looks like one");
        eventually("it is the client's", || rig.counted(Counter::ResponsesEndedByClient) == 1);
        assert_eq!(rig.counted(Counter::UpstreamErrors), 0);
    }
}

/// Whose fault the end of an exchange is decides what it counts as.
#[test]
fn what_clients_and_sessions_end_is_no_failure_of_the_upstream() {
    let upstream = Upstream::start(|conversation| {
        while let Some(request) = conversation.request() {
            if conversation.took_login(&request) {
                continue;
            }
            if request.starts_with("GET /api/begun") {
                conversation.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n");
            }
        }
    });
    let rig = Rig::start(upstream.address);
    let large = "x".repeat(BODY_BYTES_MAX + 1);
    let too_large = format!(
        "POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    assert_eq!(rig.ask(too_large).status, 413);
    assert_eq!(rig.ask("POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n").status, 400);
    let tokens = rig.log_in();
    let mut clients: Vec<_> = ["/api", "/api/begun"]
        .into_iter()
        .map(|path| {
            let mut client = rig.client();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", tokens.access));
            client
        })
        .collect();
    assert!(clients[1].head().starts_with("http/1.1 200"));
    eventually("both requests came", || upstream.heard().iter().filter(|request| request.starts_with("GET ")).count() == 2);
    rig.post("/logout", &format!(r#"{{"refreshToken":"{}"}}"#, tokens.refresh));
    assert_eq!(clients[0].response().status, 401);
    assert_eq!((clients[1].chunk().as_deref(), clients[1].chunk()), (Some("begun"), None));
    let counts = [
        (Counter::RejectedTooLarge, 1),
        (Counter::RejectedMalformed, 1),
        (Counter::RejectedRevokedSession, 1),
        (Counter::ResponsesEndedBySession, 1),
        (Counter::ResponsesEndedByClient, 0),
        (Counter::UpstreamErrors, 0),
        (Counter::UpstreamTimeouts, 0),
    ];
    for (counter, count) in counts {
        assert_eq!(rig.counted(counter), count, "{}", counter.name());
    }
}

/// To a client of HTTP/1.0 a chunked answer ends with the connection: only a reset tells it that something is missing.
#[test]
fn a_truncated_body_is_a_reset_where_the_end_of_the_connection_ends_the_body() {
    for said in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhello",
    ] {
        let upstream = Upstream::start(move |conversation| {
            conversation.request();
            conversation.say(said);
            // Time for the head and the first bytes to reach the client.
            std::thread::sleep(SOON);
        });
        let response = Rig::start(upstream.address).ask("GET /public HTTP/1.0\r\nHost: a\r\n\r\n");
        assert!(response.status == 200 && !response.whole, "{said:?}: {response:?}");
    }
    let whole = Upstream::answering_once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let response = Rig::start(whole.address).ask("GET /public HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(response.whole && response.body == "hello", "{response:?}");
}

#[test]
fn a_body_that_ends_with_the_connection_is_whole() {
    let response = answer_through(&Upstream::answering_once("HTTP/1.1 200 OK\r\n\r\nhello"));
    assert!(response.whole && response.body == "hello", "{response:?}");
    let response = answer_through(&Upstream::answering_once("HTTP/1.0 200 OK\r\n\r\nhello"));
    assert!(response.whole && response.body == "hello", "{response:?}");
}

#[test]
fn a_response_that_pauses_too_long_is_broken_off() {
    let upstream = Upstream::start(|conversation| {
        conversation.request();
        conversation.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        conversation.wait_for_end();
    });
    let rig = Rig::start_with(upstream.address, |settings| {
        settings.routes.change(|routes| forward(&mut routes[0]).idle_timeout = SOON).unwrap();
    });
    let response = rig.ask(GET);
    assert!(response.status == 200 && !response.whole, "{response:?}");
}

#[test]
fn a_response_before_the_end_of_the_request_stands() {
    let upstream = Upstream::start(|conversation| {
        conversation.head();
        conversation.say("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    });
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    client.send("POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\nhello");
    let response = client.response();
    assert_eq!((response.status, response.body.as_str()), (403, "no"), "{response:?}");
    client.try_send("GET /public/smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    client.assert_closed();
    assert!(upstream.heard().is_empty());
}

#[test]
fn answers_without_a_body_keep_their_length_and_the_connection() {
    let upstream = Upstream::start(|conversation| {
        while let Some(request) = conversation.request() {
            let status = request.split(['/', ' ']).find(|part| part.len() == 3 && part.parse::<u16>().is_ok()).unwrap_or("200");
            conversation.say(format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\nX-Path: {status}\r\n\r\n"));
        }
    });
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    for _ in 0..3 {
        client.send("HEAD /public HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response_to_head();
        assert_eq!((response.status, response.field("content-length")), (200, Some("5")), "{response:?}");
        client.send("GET /public/304 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().status, 304);
        client.send("GET /public/204 HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response();
        assert_eq!((response.status, response.field("content-length")), (204, None), "{response:?}");
    }
}

#[test]
fn bytes_beyond_a_response_never_become_the_next_one() {
    let upstream = Upstream::start(|conversation| {
        while conversation.request().is_some() {
            conversation.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        }
    });
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    for _ in 0..5 {
        client.send(GET);
        assert_eq!(client.response().body, "ok");
    }
}
