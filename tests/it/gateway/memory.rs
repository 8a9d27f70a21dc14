//! What connections cost that ask for nothing yet.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::drain::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

/// So many that what the gateway holds beside them, such as connections to the upstream, counts for little.
const CONNECTIONS: usize = 1000;

const HEAD_BYTES: usize = 30 * 1024;

/// Beside the bytes that came.
const FURTHER_BYTES_MAX: usize = 16 * 1024;

/// A gateway, and connections on which a head comes that does not end.
struct Stage {
    gateway: Gateway,
    _upstream: Upstream,
    /// Of memory, before there were connections.
    bytes_before: usize,
    clients: Vec<TcpStream>,
}

impl Stage {
    fn set() -> Self {
        let upstream = Upstream::start();
        let gateway = Gateway::start(&upstream, &[("listen.header_timeout", "5m")]);
        gateway.client().get("/public", None).expect(200);
        let bytes_before = gateway.resident_bytes();
        let connect = |_| {
            let client = TcpStream::connect(gateway.address()).unwrap();
            client.set_nodelay(true).unwrap();
            client
        };
        let clients = (0..CONNECTIONS).map(connect).collect();
        Self { gateway, _upstream: upstream, bytes_before, clients }
    }

    fn send(&mut self, bytes: &[u8]) {
        for client in &mut self.clients {
            client.write_all(bytes).unwrap();
        }
    }

    /// Sends a head without its end, in pieces, and waits until the gateway has taken all of it.
    fn send_endless_head(&mut self, piece: usize) {
        let head = format!("GET /public HTTP/1.1\r\nHost: a\r\nX-Long: {}", "x".repeat(HEAD_BYTES));
        for piece in head.as_bytes()[..HEAD_BYTES].chunks(piece) {
            self.send(piece);
        }
        eventually("the gateway has read what came", || unread_bytes(self.gateway.address()) == 0);
    }

    /// The allocator gives memory back with some delay: what counts is what it comes to.
    fn expect_little(&self, what: &str) {
        let each = || self.gateway.resident_bytes().saturating_sub(self.bytes_before) / CONNECTIONS;
        eventually(&format!("the gateway holds what it has read, {what}"), || each() >= HEAD_BYTES);
        eventually(&format!("and no more than that and a little, {what}"), || each() <= HEAD_BYTES + FURTHER_BYTES_MAX);
    }
}

/// What the kernel holds of connections to an address, because nobody has read it yet.
fn unread_bytes(address: SocketAddr) -> usize {
    let port = format!(":{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let unread = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, queues) = (columns.next()?, columns.nth(2)?);
        let (_, unread) = queues.split_once(':').filter(|_| local.ends_with(&port))?;
        usize::from_str_radix(unread, 16).ok()
    };
    table.lines().filter_map(unread).sum()
}

#[test]
fn a_head_that_does_not_come_to_its_end_costs_its_bytes_and_little_more() {
    for piece in [HEAD_BYTES, 1000] {
        let mut stage = Stage::set();
        stage.send_endless_head(piece);
        stage.expect_little(&format!("in pieces of {piece}"));
    }
}

#[test]
fn a_head_that_stops_behind_a_request_costs_no_more_than_one_that_comes_first() {
    let mut stage = Stage::set();
    // One after the other: requests at once would each leave a connection to the upstream behind, with its buffers.
    for client in &mut stage.clients {
        client.write_all(b"GET /public HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_ne!(client.read(&mut [0; 4096]).unwrap(), 0);
    }
    stage.send_endless_head(HEAD_BYTES);
    stage.expect_little("behind a request");
}
