//! The end that a gateway is asked for.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

/// For what is to happen soon.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn asked_to_end_it_finishes_what_is_in_flight_and_takes_nothing_new() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(&upstream, &[("shutdown.drain_delay", "2s")]);
    let (mut slow, mut idle, mut admin) = (gateway.client(), gateway.client(), gateway.admin());
    let token = slow.log_in("ann").access;
    idle.get("/api/me", Some(&token)).expect(200);
    admin.get("/readyz", None).expect(200);

    thread::scope(|scope| {
        let held = scope.spawn(|| slow.get("/api/held", Some(&token)));
        upstream.await_held(1);
        gateway.terminate();
        eventually("readiness is off", || gateway.admin().get("/readyz", None).status() == 503);
        // Balancers have to hear of it before the door is shut.
        idle.get("/api/me", Some(&token)).expect(200);
        eventually("new connections are refused", || TcpStream::connect(gateway.address()).is_err());
        for _ in 0..20 {
            assert!(TcpStream::connect(gateway.address()).is_err());
        }
        assert!(!held.is_finished() && gateway.is_running());
        upstream.release();
        let response = held.join().unwrap().expect(200);
        assert_eq!(response.json()["target"], "/api/held");
    });
    let status = gateway.wait(SOON).expect("it ends once nothing is in flight");
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
}

#[test]
fn asked_twice_it_ends_at_once() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(&upstream, &[]);
    let mut slow = gateway.client();
    let token = slow.log_in("ann").access;
    thread::scope(|scope| {
        let held = scope.spawn(|| slow.try_call("GET", "/api/held", Some(&token), None));
        upstream.await_held(1);
        gateway.terminate();
        eventually("readiness is off", || gateway.admin().get("/readyz", None).status() == 503);
        assert!(gateway.is_running());
        gateway.terminate();
        let status = gateway.wait(SOON).expect("it ends although a request is in flight");
        assert_eq!(status.code(), Some(0), "{}", gateway.log());
        assert!(held.join().unwrap().is_err());
    });
}

#[test]
fn asked_to_end_it_gives_up_what_does_not_finish_in_time() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(&upstream, &[("shutdown.drain_deadline", "200ms")]);
    let mut slow = gateway.client();
    let token = slow.log_in("ann").access;
    thread::scope(|scope| {
        let held = scope.spawn(|| slow.try_call("GET", "/api/held", Some(&token), None));
        upstream.await_held(1);
        gateway.terminate();
        let status = gateway.wait(SOON).expect("it ends although a request is in flight");
        assert_eq!(status.code(), Some(0), "{}", gateway.log());
        assert!(held.join().unwrap().is_err());
    });
}

#[track_caller]
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
