//! Tunnels of which it is known what passes: three bytes to the server, five to the client.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::http::connect;
use super::servers::Server;

/// Agrees to tunnels, one after the other, and answers everything else with nothing.
pub(crate) struct Tunnels {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Tunnels {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, is_over) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&is_over);
        let serve = move || {
            for stream in listener.incoming().flatten() {
                if ends.load(Ordering::SeqCst) {
                    break;
                }
                answer(stream);
            }
        };
        thread::Builder::new().spawn(serve).unwrap();
        Self { address, is_over }
    }
}

impl Server for Tunnels {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut stream: TcpStream) {
    let head = read_until(&mut stream, b"\r\n\r\n");
    if !String::from_utf8_lossy(&head).to_ascii_lowercase().contains("\r\nupgrade: websocket\r\n") {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        return;
    }
    let consent =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n";
    stream.write_all(consent.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 3]).unwrap();
    stream.write_all(b"hello").unwrap();
    let _ = stream.read(&mut [0]);
}

/// A tunnel through the gateway, in which all of it has passed.
pub(crate) fn pass_through(gateway: SocketAddr, path: &str) -> TcpStream {
    let mut stream = connect(gateway).unwrap();
    let shake = format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nabc"
    );
    stream.write_all(shake.as_bytes()).unwrap();
    read_until(&mut stream, b"hello");
    stream
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
    read
}
