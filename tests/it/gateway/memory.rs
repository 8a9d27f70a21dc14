//! What connections cost that ask for nothing yet.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use std::io::{Read as _, Write as _};

use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

const CONNECTIONS: usize = 300;

const HEAD_BYTES: usize = 30 * 1024;

/// Beside the bytes that came.
const FURTHER_BYTES_MAX: usize = 16 * 1024;

/// For each connection, how far it may fall as time goes by before it is believed.
const FALL_BYTES: usize = 512;

/// What it takes once that neither grows nor falls any more.
fn settled(gateway: &Gateway) -> usize {
    let mut last = gateway.resident_bytes();
    loop {
        thread::sleep(Duration::from_millis(500));
        let now = gateway.resident_bytes();
        if now.abs_diff(last) < CONNECTIONS * FALL_BYTES {
            return now;
        }
        last = now;
    }
}

#[test]
fn a_head_that_does_not_come_to_its_end_costs_its_bytes_and_little_more() {
    let head = format!("GET /public HTTP/1.1\r\nHost: a\r\nX-Long: {}", "x".repeat(HEAD_BYTES));
    let head = &head.as_bytes()[..HEAD_BYTES];
    for piece in [HEAD_BYTES, 1000] {
        let upstream = Upstream::start();
        let gateway = Gateway::start(&upstream, &[("listen.header_timeout", "5m")]);
        gateway.client().get("/public", None).expect(200);
        let at_first = settled(&gateway);
        let mut clients: Vec<TcpStream> = (0..CONNECTIONS).map(|_| TcpStream::connect(gateway.address()).unwrap()).collect();
        for client in &mut clients {
            client.set_nodelay(true).unwrap();
        }
        for piece in head.chunks(piece) {
            for client in &mut clients {
                client.write_all(piece).unwrap();
            }
        }
        let each = settled(&gateway).saturating_sub(at_first) / CONNECTIONS;
        assert!(each <= HEAD_BYTES + FURTHER_BYTES_MAX, "{each} bytes for each connection, in pieces of {piece}");
        assert!(each > HEAD_BYTES / 2, "{each}: the gateway has not read them");
    }
}

#[test]
fn a_head_that_stops_behind_a_request_costs_no_more_than_one_that_comes_first() {
    let request = b"GET /public HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = format!("GET /public HTTP/1.1\r\nHost: a\r\nX-Long: {}", "x".repeat(HEAD_BYTES));
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[("listen.header_timeout", "5m")]);
    gateway.client().get("/public", None).expect(200);
    let at_first = settled(&gateway);
    let mut clients: Vec<TcpStream> = (0..CONNECTIONS).map(|_| TcpStream::connect(gateway.address()).unwrap()).collect();
    for client in &mut clients {
        client.write_all(request).unwrap();
        assert_ne!(client.read(&mut [0; 4096]).unwrap(), 0);
    }
    for client in &mut clients {
        client.write_all(&head.as_bytes()[..HEAD_BYTES]).unwrap();
    }
    let each = settled(&gateway).saturating_sub(at_first) / CONNECTIONS;
    assert!(each <= HEAD_BYTES + FURTHER_BYTES_MAX, "{each} bytes for each connection");
    assert!(each > HEAD_BYTES / 2, "{each}: the gateway has not read them");
}
