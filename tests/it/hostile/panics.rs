//! A panic costs as little as can be: a request, a connection, a worker's connections; and never stays unnoticed.

use tokengate::domain::stats::Counter;

use super::rig::{Rig, eventually};
use super::upstream::Upstream;

#[test]
fn a_panic_is_500_on_its_request_alone() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let token = rig.log_in().access;
    let mut client = rig.client();
    let request = format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    client.send(&request);
    assert_eq!(client.response().status, 200);

    rig.clock.panic_once_in_a_worker();
    client.send(&request);
    let response = client.response();
    assert_eq!((response.status, response.code().as_str()), (500, "internal_error"), "{response:?}");
    assert!(!response.body.contains("wall"), "the cause is for the log: {response:?}");
    assert_eq!(rig.counted(Counter::Panics), 1);

    client.send(&request);
    assert_eq!(client.response().status, 200, "the same connection goes on");
    assert_eq!(rig.get("/api", &token).status, 200);
}

#[test]
fn a_panic_outside_of_requests_costs_its_connection_alone() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let token = rig.log_in().access;
    let request = format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    let (mut other, mut client) = (rig.client(), rig.client());
    other.send(&request);
    assert_eq!(other.response().status, 200);
    rig.entropy.panic_once_in_a_worker();
    let mut answered = 0;
    loop {
        client.send(&request);
        match client.response_if_any() {
            Some(response) => assert_eq!(response.status, 200),
            None => break,
        }
        answered += 1;
        assert!(answered < 10_000, "nothing panicked");
    }
    eventually("it is counted", || rig.counted(Counter::Panics) == 1);
    other.send(&request);
    assert_eq!(other.response().status, 200, "another connection of the same worker goes on");
}

#[test]
fn a_worker_that_panics_is_built_anew_and_serves_on() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let token = rig.log_in().access;
    let request = format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut client = rig.client();
    client.send(&request);
    assert_eq!(client.response().status, 200);
    // As often as it may without an end of the process.
    for panics in 1..=4 {
        rig.clock.panic_in_ticks(1);
        eventually("the worker panicked", || rig.counted(Counter::Panics) == panics);
        eventually("it takes connections again", || rig.takes(&request));
        assert_eq!(rig.counted(Counter::TasksRestarted), panics);
    }
    assert!(client.response_if_any().is_none(), "what it served is closed");
}

/// To a client of HTTP/1.0 an orderly end of the connection would be the end of the response.
#[test]
fn a_response_that_a_worker_was_sending_when_it_panicked_does_not_look_whole() {
    let upstream = Upstream::start(|conversation| {
        conversation.request();
        conversation.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        conversation.wait_for_end();
    });
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    client.send("GET /public HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(client.head().contains(" 200 "));
    rig.clock.panic_in_ticks(1);
    assert!(!client.ends_in_order());
    eventually("it is counted", || rig.counted(Counter::Panics) == 1);
}

#[test]
fn a_worker_that_panics_time_and_again_ends_the_gateway_instead_of_leaving_it_half_dead() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    rig.clock.panic_in_ticks(u32::MAX);
    let cause = rig.awaits_its_end();
    assert!(cause.contains("worker"), "{cause}");
}
