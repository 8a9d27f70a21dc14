//! A client that says what it is told to, byte for byte.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::rig::PATIENCE;

pub(super) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// One answer as it was read.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    /// In lower case.
    pub(super) head: String,
    /// Without chunk framing.
    pub(super) body: String,
    /// The body ended where it said it would. One that ends with the connection is whole if that was closed in order.
    pub(super) whole: bool,
    /// Status codes of the responses before it.
    pub(super) interim: Vec<u16>,
}

impl Response {
    pub(super) fn field<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut values = self.fields(name);
        let first = values.next();
        assert_eq!(values.next(), None, "{name} twice: {}", self.head);
        first
    }

    pub(super) fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| value.trim())
    }

    /// The stable code in a problem's body.
    pub(super) fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no problem: {self:?}"));
        body["code"].as_str().unwrap().to_owned()
    }
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    /// `None`: nobody listens.
    pub(super) fn try_connect(address: SocketAddr) -> Option<Self> {
        TcpStream::connect(address).ok().map(Self::of)
    }

    /// From an address of its own.
    pub(super) fn connect_from(from: Ipv4Addr, to: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        Self::of(socket.into())
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// As [`Client::send`], to someone who may have stopped listening.
    pub(super) fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// As [`Client::send`]: `None` once the other side has reset the connection.
    pub(super) fn sends(&mut self, bytes: impl AsRef<[u8]>) -> Option<()> {
        self.stream.write_all(bytes.as_ref()).ok()
    }

    pub(super) fn end_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Leaves, and says so.
    pub(super) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub(super) fn response(&mut self) -> Response {
        self.response_to(false)
    }

    /// `None` when the connection ends before the end of a head.
    pub(super) fn response_if_any(&mut self) -> Option<Response> {
        while find(&self.read, b"\r\n\r\n").is_none() {
            if self.fill() != Some(true) {
                return None;
            }
        }
        Some(self.response())
    }

    /// The response to HEAD: no body, whatever the head says.
    pub(super) fn response_to_head(&mut self) -> Response {
        self.response_to(true)
    }

    /// Reads to the end: whether it was not a reset.
    pub(super) fn ends_in_order(&mut self) -> bool {
        loop {
            match self.fill() {
                Some(true) => {}
                Some(false) => return true,
                None => return false,
            }
        }
    }

    fn response_to(&mut self, is_head: bool) -> Response {
        let mut interim = Vec::new();
        loop {
            let head = self.head();
            let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
            let mut response = Response { status, head, body: String::new(), whole: true, interim: Vec::new() };
            if status < 200 && status != 101 {
                interim.push(status);
                continue;
            }
            if !is_head && ![101, 204, 304].contains(&status) {
                (response.body, response.whole) = self.body(&response);
            }
            response.interim = interim;
            return response;
        }
    }

    /// The next head, in lower case.
    pub(super) fn head(&mut self) -> String {
        loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap().to_ascii_lowercase();
            }
            assert!(self.fill() == Some(true), "no whole head: {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    fn body(&mut self, response: &Response) -> (String, bool) {
        let mut body = Vec::new();
        let whole = if response.field("transfer-encoding") == Some("chunked") {
            self.chunks(&mut body)
        } else if let Some(length) = response.field("content-length") {
            let length: usize = length.parse().unwrap();
            while self.read.len() < length && self.fill() == Some(true) {}
            let take = length.min(self.read.len());
            body.extend(self.read.drain(..take));
            body.len() == length
        } else {
            let ended_in_order = self.ends_in_order();
            body.append(&mut self.read);
            ended_in_order
        };
        (String::from_utf8(body).unwrap(), whole)
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> bool {
        loop {
            let Some(size) = self.line() else { return false };
            let size = usize::from_str_radix(&size, 16).unwrap();
            if size == 0 {
                while let Some(line) = self.line() {
                    if line.is_empty() {
                        return true;
                    }
                }
                return false;
            }
            while self.read.len() < size + 2 {
                if self.fill() != Some(true) {
                    body.append(&mut self.read);
                    return false;
                }
            }
            body.extend(self.read.drain(..size));
            self.read.drain(..2);
        }
    }

    /// One chunk's data, or what the stream ended with.
    pub(super) fn chunk(&mut self) -> Option<String> {
        let size = usize::from_str_radix(&self.line()?, 16).unwrap();
        while self.read.len() < size + 2 {
            if self.fill() != Some(true) {
                return None;
            }
        }
        let data = self.read.drain(..size).collect();
        self.read.drain(..2);
        Some(String::from_utf8(data).unwrap())
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.read, b"\r\n") {
                let line: Vec<u8> = self.read.drain(..end + 2).collect();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            if self.fill() != Some(true) {
                return None;
            }
        }
    }

    /// Whether anything more has come by now, its end included.
    pub(super) fn is_silent(&mut self, span: Duration) -> bool {
        self.stream.set_read_timeout(Some(span)).unwrap();
        let read = self.stream.peek(&mut [0; 1]);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        matches!(read, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Exactly so many bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.fill() == Some(true), "the connection ended");
        }
        self.read.drain(..count).collect()
    }

    /// Everything until the connection ends, however it does.
    pub(super) fn rest(&mut self) -> String {
        while self.fill() == Some(true) {}
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }

    /// The gateway closes, without another byte.
    pub(super) fn assert_closed(&mut self) {
        let rest = self.rest();
        assert_eq!(rest, "", "more came before the end");
    }

    /// Nothing more comes for a while.
    pub(super) fn assert_silent(&mut self, span: Duration) {
        self.stream.set_read_timeout(Some(span)).unwrap();
        let mut byte = [0; 1];
        let read = self.stream.read(&mut byte);
        assert!(
            self.read.is_empty()
                && matches!(&read, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)),
            "{read:?} {byte:?} {:?}",
            String::from_utf8_lossy(&self.read)
        );
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// `Some(false)` at an orderly end, `None` at any other.
    fn fill(&mut self) -> Option<bool> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Some(false),
            Ok(count) => {
                self.read.extend_from_slice(&buffer[..count]);
                Some(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came within {PATIENCE:?}; so far {:?}", String::from_utf8_lossy(&self.read))
            }
            Err(_) => None,
        }
    }
}

pub(super) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
