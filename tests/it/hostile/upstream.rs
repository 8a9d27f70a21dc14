//! Upstreams that respond by a script, byte for byte.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::client::find;

/// Listens until the test's process ends.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

/// One connection as the upstream has it.
pub(super) struct Conversation {
    stream: TcpStream,
    read: Vec<u8>,
    heard: Arc<Mutex<Vec<String>>>,
    /// How many connections came before it.
    pub(super) index: usize,
}

impl Upstream {
    /// Every connection is carried on by `script`, and closed when that ends.
    pub(super) fn start(script: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(script);
        let log = Arc::clone(&heard);
        spawn(move || {
            for (index, stream) in listener.incoming().enumerate() {
                let (stream, script, heard) = (stream.unwrap(), Arc::clone(&script), Arc::clone(&log));
                spawn(move || script(&mut Conversation { stream, read: Vec::new(), heard, index }));
            }
        });
        Self { address, heard }
    }

    /// Takes every login; answers all else with the request as it came.
    pub(super) fn echo() -> Self {
        Self::start(|conversation| while conversation.echo().is_some() {})
    }

    /// Answers each request so; takes logins.
    pub(super) fn answering(response: impl Into<String>) -> Self {
        let response = response.into();
        Self::start(move |conversation| {
            while let Some(request) = conversation.request() {
                if !conversation.took_login(&request) {
                    conversation.say(&response);
                }
            }
        })
    }

    /// Answers each connection's first request so, and closes.
    pub(super) fn answering_once(response: impl Into<String>) -> Self {
        let response = response.into();
        Self::start(move |conversation| {
            conversation.request();
            conversation.say(&response);
        })
    }

    /// The requests that came, in the order of their ends.
    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Where nobody listens.
    pub(super) fn nowhere() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }
}

impl Conversation {
    /// The next request, body and all, as it came; `None` at the end of the connection.
    pub(super) fn request(&mut self) -> Option<String> {
        let head_end = self.read_until(0, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&self.read[..head_end]).to_ascii_lowercase();
        let end = if head.contains("transfer-encoding:") {
            // Close enough for bodies of these tests, which hold no empty lines.
            if self.read[head_end..].starts_with(b"0\r\n") {
                self.read_until(head_end, b"\r\n\r\n")?
            } else {
                let last = self.read_until(head_end, b"\r\n0\r\n")?;
                self.read_until(last - 2, b"\r\n\r\n")?
            }
        } else {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let end = head_end + length.map_or(0, |length| length.trim().parse::<usize>().unwrap());
            while self.read.len() < end {
                self.fill()?;
            }
            end
        };
        let request = String::from_utf8_lossy(&self.read.drain(..end).collect::<Vec<u8>>()).into_owned();
        self.heard.lock().unwrap().push(request.clone());
        Some(request)
    }

    /// The next request's head alone.
    pub(super) fn head(&mut self) -> Option<String> {
        let end = self.read_until(0, b"\r\n\r\n")?;
        Some(String::from_utf8_lossy(&self.read.drain(..end).collect::<Vec<u8>>()).into_owned())
    }

    pub(super) fn say(&mut self, response: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(response.as_ref());
    }

    pub(super) fn echo(&mut self) -> Option<()> {
        let request = self.request()?;
        if !self.took_login(&request) {
            self.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{request}", request.len()));
        }
        Some(())
    }

    pub(super) fn took_login(&mut self, request: &str) -> bool {
        let is_login = request.starts_with("POST /login ");
        if is_login {
            let body = r#"{"user":{"id":"user-1"}}"#;
            let length = body.len();
            self.say(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"));
        }
        is_login
    }

    /// One byte, or `None` at the end.
    pub(super) fn byte(&mut self) -> Option<u8> {
        if self.read.is_empty() {
            self.fill()?;
        }
        Some(self.read.remove(0))
    }

    /// Puts this among what was heard.
    pub(super) fn note(&self, what: &str) {
        self.heard.lock().unwrap().push(what.to_owned());
    }

    /// Whether the gateway has not closed yet; takes no bytes.
    pub(super) fn lives(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0; 1]);
        self.stream.set_nonblocking(false).unwrap();
        let is_reset = self.stream.take_error().unwrap().is_some();
        match peeked {
            Ok(0) => false,
            Ok(_) => !is_reset,
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock && !is_reset,
        }
    }

    /// Whether the gateway closes within this span, and sends nothing more.
    pub(super) fn ends_within(&mut self, span: Duration) -> bool {
        self.stream.set_read_timeout(Some(span)).unwrap();
        let ends = match self.stream.peek(&mut [0; 1]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        };
        self.stream.set_read_timeout(None).unwrap();
        ends
    }

    /// Waits until the gateway closes.
    pub(super) fn wait_for_end(&mut self) {
        while self.fill().is_some() {}
    }

    fn read_until(&mut self, from: usize, wanted: &[u8]) -> Option<usize> {
        loop {
            if let Some(at) = find(&self.read[from.min(self.read.len())..], wanted) {
                return Some(from + at + wanted.len());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Option<()> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        self.read.extend_from_slice(&buffer[..count]);
        Some(())
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("upstream".to_owned()).spawn(work).unwrap();
}
