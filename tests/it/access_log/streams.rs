//! Streams and tunnels have their line when they end.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Logging, await_lines, has, seconds};
use crate::support::open_streams::{OpenStreams, streaming_upstream};
use crate::support::servers::Server;
use crate::support::tunnels::{Tunnels, pass_through};

#[test]
fn streams_and_tunnels_have_their_line_when_they_end() {
    let upstream = streaming_upstream();
    let logging = Logging::start(&upstream, &[]);
    let tokens: Vec<String> = vec![logging.gateway.client().log_in("user-1").access];
    let streams = OpenStreams::open(logging.gateway.address(), &tokens);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(logging.of("/events"), [Value::Null; 0], "they go on");
    drop(streams);
    let lines =
        await_lines(&logging.file, "all have ended", |lines| lines.iter().filter(|line| line["path"] == "/events").count() == 4);
    let of = |protocol: &str, status: u64, method: &str| {
        let mut found = lines.iter().filter(|line| {
            (line["path"] == "/events") && line["protocol"] == protocol && line["status"] == status && line["method"] == method
        });
        let line = found.next().unwrap_or_else(|| panic!("{protocol} {status} {method}: {lines:#?}"));
        assert!(found.next().is_none());
        assert!(seconds(line, "duration") >= 0.2 && seconds(line, "upstream_duration") < seconds(line, "duration"), "{line:#}");
        line.clone()
    };
    has(&of("HTTP/1.1", 101, "GET"), &[("outcome", json!("switched")), ("route", json!("api")), ("subject", json!("user-1"))]);
    has(&of("HTTP/1.1", 200, "GET"), &[("outcome", json!("client_gone")), ("response_bytes", json!(10))]);
    has(&of("HTTP/2", 200, "GET"), &[("outcome", json!("client_gone")), ("response_bytes", json!(10))]);
    has(&of("HTTP/2", 200, "POST"), &[("outcome", json!("client_gone")), ("response_bytes", json!(6))]);
    assert_eq!(logging.of("/events").len(), 4, "one line each");
}

#[test]
fn the_line_of_a_tunnel_counts_what_passed() {
    let tunnels = Tunnels::start();
    let logging = Logging::start(&tunnels, &[]);
    drop(pass_through(logging.gateway.address(), "/public/ws"));
    await_lines(&logging.file, "the tunnel has ended", |lines| lines.iter().any(|line| line["status"] == 101));
    has(
        &logging.only("/public/ws"),
        &[
            ("outcome", json!("switched")),
            ("request_bytes", json!(3)),
            ("response_bytes", json!(5)),
            ("target", json!(tunnels.address().to_string())),
        ],
    );
}

#[test]
fn a_stream_whose_session_ends_says_so() {
    let upstream = streaming_upstream();
    let logging = Logging::start(&upstream, &[]);
    let mut client = logging.gateway.client();
    let access = client.log_in("user-1").access;
    let streams = OpenStreams::open(logging.gateway.address(), std::slice::from_ref(&access));
    client.log_out(&access, "session").expect(200);
    assert_eq!(streams.ended(4).len(), 4);
    await_lines(&logging.file, "all have ended", |lines| {
        lines.iter().filter(|line| line["path"] == "/events" && line["outcome"] == "session_ended").count() == 4
    });
    assert_eq!(logging.of("/events").len(), 4);
}
