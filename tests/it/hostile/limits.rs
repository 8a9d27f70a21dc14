//! Clients that send too much, or too slowly.

use std::time::Duration;

use tokengate::domain::stats::Counter;

use super::rig::{BODY_BYTES_MAX, Rig, eventually};
use super::upstream::Upstream;

const SOON: Duration = Duration::from_millis(300);

#[test]
fn a_head_that_is_too_large_or_has_too_many_fields_is_431() {
    let upstream = Upstream::echo();
    let rig = Rig::start_with(upstream.address, |settings| {
        settings.listen.limits.header_bytes_max = 16 * 1024;
        settings.listen.limits.header_count_max = 20;
    });
    let large = format!("GET /public HTTP/1.1\r\nHost: a\r\nX-Large: {}\r\n\r\n", "x".repeat(17 * 1024));
    let many = format!("GET /public HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Many: 1\r\n".repeat(20));
    let endless = format!("GET /public HTTP/1.1\r\nHost: a\r\nX-Endless: {}", "x".repeat(100 * 1024));
    for request in [large, many, endless] {
        let mut client = rig.client();
        client.try_send(&request);
        let response = client.response();
        assert_eq!(response.status, 431, "{response:?}");
        client.assert_closed();
    }
    assert_eq!(upstream.heard(), [""; 0]);
    let enough = format!("GET /public HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Many: 1\r\n".repeat(19));
    assert_eq!(rig.ask(enough).status, 200);
}

#[test]
fn a_target_that_is_too_long_is_414() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    // What fills the largest head by itself is too large in either sense.
    for (length, status) in [(20_000, 414), (70_000, 431)] {
        let mut client = rig.client();
        client.try_send(format!("GET /public?{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length)));
        let response = client.response();
        assert_eq!(response.status, status, "{length}: {}", response.head);
    }
    assert_eq!(upstream.heard(), [""; 0]);
    assert_eq!(rig.ask(format!("GET /public?{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8_000))).status, 200);
}

#[test]
fn what_the_parser_refuses_by_itself_is_counted() {
    let rig = Rig::start_with(Upstream::echo().address, |settings| settings.listen.limits.header_timeout = SOON);
    let too_large = format!("GET /public HTTP/1.1\r\nHost: a\r\nX-Large: {}\r\n\r\n", "x".repeat(100 * 1024));
    for (request, status, counter) in [
        (too_large.as_str(), 431, Counter::RejectedTooLarge),
        ("GET /public HTTP/1.1\r\nHost: a\r\nno field\r\n\r\n", 400, Counter::RejectedMalformed),
        ("GET /public HTTP/1.1\r\nHost: a\r\n", 408, Counter::RejectedTimeout),
    ] {
        let mut client = rig.client();
        client.try_send(request);
        assert_eq!(client.response().status, status);
        eventually("it is counted", || rig.counted(counter) == 1);
    }
    assert_eq!(rig.counted(Counter::Connections), 3);
}

#[test]
fn a_head_that_does_not_arrive_in_time_is_408() {
    let rig = Rig::start_with(Upstream::echo().address, |settings| settings.listen.limits.header_timeout = SOON);
    let mut client = rig.client();
    client.send("GET /public HTTP/1.1\r\nHo");
    assert_eq!(client.response().status, 408);
    client.assert_closed();
    // The second request of a connection is held to it too, and bytes that trickle in do not help.
    let mut client = rig.client();
    client.send("GET /public HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    for byte in "GET /public HTTP/1.1\r\n".bytes() {
        client.try_send([byte]);
        std::thread::sleep(SOON / 10);
    }
    assert_eq!(client.response().status, 408);
    client.assert_closed();
}

#[test]
fn a_head_that_began_behind_another_request_has_no_more_time() {
    let rig = Rig::start_with(Upstream::echo().address, |settings| settings.listen.limits.header_timeout = SOON);
    let mut client = rig.client();
    client.send("GET /public HTTP/1.1\r\nHost: a\r\n\r\nGET /public HT");
    assert_eq!(client.response().status, 200);
    let response = client.response();
    assert_eq!((response.status, response.whole), (408, true), "{response:?}");
    client.assert_closed();
}

/// Some clients send one behind a body. Nobody asked anything: a 408 would be taken for the response to the next request.
#[test]
fn an_empty_line_between_two_requests_is_no_beginning_of_one() {
    let rig = Rig::start_with(Upstream::echo().address, |settings| settings.listen.limits.header_timeout = SOON);
    let mut client = rig.client();
    client.send("POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().status, 200);
    client.send("\r\n");
    client.assert_silent(3 * SOON);
    client.send("GET /public HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_connection_without_a_request_is_closed_without_a_word() {
    let rig = Rig::start_with(Upstream::echo().address, |settings| {
        settings.listen.limits.header_timeout = SOON;
        settings.listen.limits.idle_timeout = SOON;
    });
    rig.client().assert_closed();
    let mut client = rig.client();
    client.send("GET /public HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    client.assert_closed();
}

#[test]
fn a_body_that_stalls_is_408_for_upstreams_and_own_endpoints() {
    let upstream = Upstream::echo();
    let rig = Rig::start_with(upstream.address, |settings| settings.listen.limits.body_idle_timeout = SOON);
    for path in ["/public", "/refresh", "/login"] {
        for framing in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
            let mut client = rig.client();
            client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{framing}"));
            let response = client.response();
            assert_eq!((response.status, response.code().as_str()), (408, "body_timeout"), "{path} {framing:?}: {response:?}");
            client.assert_closed();
        }
    }
    assert_eq!(upstream.heard(), [""; 0], "no request reaches the upstream whole");
}

#[test]
fn a_body_that_is_announced_too_large_is_413_at_once() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    for (path, length) in [("/public", BODY_BYTES_MAX + 1), ("/login", 65 * 1024), ("/refresh", 65 * 1024)] {
        let mut client = rig.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.status, response.field("connection")), (413, Some("close")), "{path}: {response:?}");
        client.assert_closed();
    }
    assert_eq!(upstream.heard(), [""; 0]);
}

#[test]
fn a_chunked_body_that_grows_too_large_is_413() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    for (path, bytes) in [("/public", BODY_BYTES_MAX + 1), ("/login", 65 * 1024), ("/refresh", 65 * 1024)] {
        let mut client = rig.client();
        client.try_send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
        client.try_send(format!("{bytes:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(bytes)));
        let response = client.response();
        assert_eq!((response.status, response.code().as_str()), (413, "body_too_large"), "{path}: {response:?}");
    }
    assert_eq!(upstream.heard(), [""; 0], "no request reaches the upstream whole");
    let body = "x".repeat(BODY_BYTES_MAX);
    let fits = format!(
        "POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{BODY_BYTES_MAX:x}\r\n{body}\r\n0\r\n\r\n"
    );
    assert_eq!(rig.ask(fits).status, 200);
}

/// What follows an unread body could be read as a request.
#[test]
fn a_refusal_with_an_unread_body_ends_the_connection() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let smuggled = "GET /public/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = smuggled.len();
    for (path, status) in [("/api", 401), ("/nothing", 404), ("/public/../x", 400)] {
        let mut client = rig.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{smuggled}"));
        let response = client.response();
        assert_eq!((response.status, response.field("connection")), (status, Some("close")), "{response:?}");
        client.try_send(smuggled);
        client.assert_closed();
    }
    assert_eq!(upstream.heard(), [""; 0]);
    // Without a body the connection stays.
    let mut client = rig.client();
    client.send("GET /api HTTP/1.1\r\nHost: a\r\n\r\nGET /public HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 401);
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_client_that_does_not_take_its_response_is_dropped() {
    let upstream = Upstream::start(|conversation| {
        let request = conversation.request().unwrap();
        let length = if request.contains("/long") { "" } else { "Content-Length: 100000000\r\n" };
        conversation.say(format!("HTTP/1.1 200 OK\r\n{length}\r\n"));
        conversation.say("x".repeat(100_000_000));
    });
    let rig = Rig::start_with(upstream.address, |settings| settings.listen.limits.write_timeout = SOON);
    // To the second, the end of the connection would be the end of the response.
    for request in ["GET /public HTTP/1.1\r\nHost: a\r\n\r\n", "GET /public/long HTTP/1.0\r\nHost: a\r\n\r\n"] {
        let mut client = rig.client();
        client.send(request);
        std::thread::sleep(10 * SOON);
        let response = client.response();
        assert!(!response.whole && response.body.len() < 100_000_000, "{request}: {}", response.body.len());
    }
}
