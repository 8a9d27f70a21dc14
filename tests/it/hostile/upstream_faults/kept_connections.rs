//! A kept connection ends under the next request.

use super::*;

/// Answers the first request of its first connection, and reads the second one without answering it.
fn dying_under_the_second_request() -> Upstream {
    Upstream::start(|conversation| {
        if conversation.index > 0 {
            while conversation.echo().is_some() {}
            return;
        }
        conversation.echo();
        conversation.request();
    })
}

#[test]
fn a_get_on_a_kept_connection_that_dies_is_made_once_more() {
    let upstream = dying_under_the_second_request();
    let rig = Rig::start(upstream.address);
    assert_eq!(rig.ask(GET).status, 200);
    let response = rig.ask("GET /public/second HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(response.status, 200, "{response:?}");
    let seconds = upstream.heard().iter().filter(|request| request.starts_with("GET /public/second ")).count();
    assert_eq!(seconds, 2);
}

#[test]
fn a_get_is_made_twice_at_the_most() {
    // Each connection answers one request and dies under the next; after the first it dies under each.
    let upstream = Upstream::start(|conversation| {
        if conversation.index == 0 {
            conversation.echo();
        }
        conversation.request();
    });
    let rig = Rig::start(upstream.address);
    assert_eq!(rig.ask(GET).status, 200);
    assert_eq!(rig.ask("GET /public/second HTTP/1.1\r\nHost: a\r\n\r\n").status, 502);
    assert_eq!(upstream.heard().len(), 3);
}

#[test]
fn a_post_on_a_kept_connection_that_dies_is_not_repeated() {
    let upstream = dying_under_the_second_request();
    let rig = Rig::start(upstream.address);
    for body in ["hello", ""] {
        assert_eq!(rig.ask(GET).status, 200);
        let response = rig.post("/public/second", body);
        if upstream.heard().iter().filter(|request| request.starts_with("POST")).count() == 1 {
            assert_eq!((response.status, response.code().as_str()), (502, "upstream_failed"), "{response:?}");
        }
    }
    let hellos = upstream.heard().iter().filter(|request| request.ends_with("hello")).count();
    assert_eq!(hellos, 1, "{:?}", upstream.heard());
}

#[test]
fn a_kept_connection_that_the_upstream_closed_is_not_used() {
    let upstream = Upstream::answering_once("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let rig = Rig::start(upstream.address);
    for _ in 0..5 {
        assert_eq!(rig.post("/public", "hello").status, 200);
        // The end of the connection must have arrived: a POST cannot be repeated.
        std::thread::sleep(Duration::from_millis(50));
    }
    eventually("five requests came", || upstream.heard().len() == 5);
}
