//! What flows under TLS: at the client's pace, both ways, to its end.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::client::{Stream, ask, config, connect};
use super::rig::Rig;
use crate::support::servers::Server;
use crate::support::upstream::{Turn, Upstream};

/// More than sockets of both sides hold.
const MUCH: usize = 32 << 20;

fn with_much() -> (Upstream, Rig) {
    let upstream = Upstream::taking_turns(|_, _| {
        let mut response = format!("HTTP/1.1 200 OK\r\ncontent-length: {MUCH}\r\n\r\n").into_bytes();
        response.resize(response.len() + MUCH, b'x');
        Turn::Response(response)
    });
    let rig = Rig::start(&upstream, |folder, authority| {
        let files = authority.issue(folder, "server", &["localhost"]).entry();
        format!("[listen]\nworkers = 1\nwrite_timeout = '1s'\n[[listeners]]\naddress = '127.0.0.1:0'\n[listeners.tls]\n{files}")
    });
    (upstream, rig)
}

/// Sends a request, and reads up to the end of the response's head.
fn begin(rig: &Rig, fields: &str) -> Stream {
    let mut stream = connect(rig, &config(rig));
    write!(stream, "GET /public/a HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream
}

#[test]
fn a_client_that_reads_slowly_gets_all_and_one_that_stops_is_given_up() {
    let (_upstream, rig) = with_much();
    let mut slow = begin(&rig, "");
    let mut piece = vec![0; 1 << 20];
    // Longer in all than a client may take nothing.
    for _ in 0..MUCH / piece.len() {
        slow.read_exact(&mut piece).unwrap();
        thread::sleep(Duration::from_millis(60));
    }
    let mut stopped = begin(&rig, "");
    rig.gateway.await_log("the client is given up", |log| log.contains("client did not take the response"));
    let error = io::copy(&mut stopped, &mut io::sink()).unwrap_err();
    let broke_off = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
    assert!(broke_off, "{error}");
}

#[test]
fn a_gateway_that_is_asked_to_end_parts_from_idle_clients_in_order() {
    let upstream = Upstream::start();
    let rig = Rig::tls(&upstream, "");
    let mut idle = connect(&rig, &config(&rig));
    ask(&mut idle);
    rig.gateway.terminate();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "an end without `close_notify` would be an error");
}

/// Switches protocols, then gives every byte back until its client has no more.
struct Echo(SocketAddr);

impl Server for Echo {
    fn address(&self) -> SocketAddr {
        self.0
    }
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::Builder::new()
            .spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let (mut head, mut byte) = (Vec::new(), [0]);
                    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                        head.push(byte[0]);
                    }
                    let _ = stream
                        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
                    let _ = io::copy(&mut stream.try_clone().unwrap(), &mut stream);
                }
            })
            .unwrap();
        Self(address)
    }
}

#[test]
fn a_websocket_runs_both_ways_and_ends_in_order() {
    let rig = Rig::tls(&Echo::start(), "");
    let mut stream = begin(&rig, "Connection: upgrade\r\nUpgrade: websocket\r\n");
    // A masked frame of two bytes.
    let frame = [0x82, 0x82, 1, 2, 3, 4, 0, 0];
    for _ in 0..1000 {
        stream.write_all(&frame).unwrap();
        let mut back = [0; 8];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, frame);
    }
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "the end is an orderly one");
}

/// Takes a request and responds a moment later, if the gateway still waits then.
struct Slow {
    address: SocketAddr,
    given_up: Receiver<bool>,
}

impl Server for Slow {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Slow {
    fn start(moment: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, given_up) = mpsc::channel();
        let serve = move || {
            for mut stream in listener.incoming().flatten() {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                    head.push(byte[0]);
                }
                stream.set_read_timeout(Some(moment)).unwrap();
                let is_given_up = matches!(stream.read(&mut byte), Ok(0));
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
                if tell.send(is_given_up).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().spawn(serve).unwrap();
        Self { address, given_up }
    }
}

#[test]
fn a_client_that_has_ended_its_side_is_answered() {
    let upstream = Slow::start(Duration::from_millis(300));
    let rig = Rig::tls(&upstream, "");
    let mut stream = connect(&rig, &config(&rig));
    stream.write_all(b"GET /public/a HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200 ") && response.ends_with("\r\n\r\nok"), "{response}");
    assert!(!upstream.given_up.recv().unwrap());
}

#[test]
fn a_client_that_has_left_is_given_up() {
    let upstream = Slow::start(Duration::from_secs(20));
    let rig = Rig::tls(&upstream, "");
    for says_so in [true, false] {
        let mut stream = connect(&rig, &config(&rig));
        stream.write_all(b"GET /public/a HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        if says_so {
            stream.conn.send_close_notify();
        }
        stream.flush().unwrap();
        drop(stream);
        assert!(upstream.given_up.recv().unwrap(), "{says_so}");
    }
}
