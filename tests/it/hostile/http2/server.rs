//! Upstreams that speak HTTP/2 by a script, frame by frame.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use super::client::{END_HEADERS, END_STREAM, Event, Fields, GOAWAY, HEADERS, Http2Client, RST_STREAM, SETTINGS, block, find};

/// Listens until the test's process ends.
pub(super) struct Http2Server {
    pub(super) address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

/// One connection as the upstream has it.
pub(super) struct Conversation {
    pub(super) peer: Http2Client,
    /// How many connections came before it.
    pub(super) index: usize,
    heard: Arc<Mutex<Vec<String>>>,
}

/// A request as it came.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) stream: u32,
    pub(super) fields: Fields,
    /// Whether it has no body.
    pub(super) ends: bool,
}

impl Request {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        find(&self.fields, name)
    }
}

impl Http2Server {
    /// Every connection is carried on by `script`, and closed when that ends. It begins with empty settings.
    pub(super) fn start(script: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Self {
        Self::with_settings(&[], script)
    }

    pub(super) fn with_settings(
        settings: &'static [(u16, u32)],
        script: impl Fn(&mut Conversation) + Send + Sync + 'static,
    ) -> Self {
        Self::bare(move |conversation| {
            let pairs = settings.iter().flat_map(|(key, value)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat());
            conversation.peer.frame(SETTINGS, 0, 0, &pairs.collect::<Vec<u8>>());
            script(conversation);
        })
    }

    /// Says nothing by itself.
    pub(super) fn bare(script: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heard, script) = (listener.local_addr().unwrap(), Arc::default(), Arc::new(script));
        let log = Arc::clone(&heard);
        spawn(move || {
            for (index, stream) in listener.incoming().enumerate() {
                let (script, heard) = (Arc::clone(&script), Arc::clone(&log));
                spawn(move || {
                    if let Some(peer) = Http2Client::serving(stream.unwrap()) {
                        script(&mut Conversation { peer, index, heard });
                    }
                });
            }
        });
        Self { address, heard }
    }

    /// Answers every request with 200 and this body.
    pub(super) fn answering(body: &'static str) -> Self {
        Self::start(move |conversation| conversation.answer_all(body))
    }

    /// The requests whose heads came, in their order: method and path.
    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Conversation {
    /// The next request's head; `None` at the end of the connection.
    pub(super) fn request(&mut self) -> Option<Request> {
        loop {
            match self.peer.event() {
                Event::Headers { stream, fields, ends } => {
                    let request = Request { stream, fields, ends };
                    let line = format!("{} {}", request.field(":method").unwrap(), request.field(":path").unwrap());
                    self.heard.lock().unwrap().push(line);
                    return Some(request);
                }
                Event::Closed => return None,
                _ => {}
            }
        }
    }

    /// The body of a request, to its end; what it is if the stream ends otherwise.
    pub(super) fn body(&mut self, request: &Request) -> Result<String, Event> {
        let mut body = String::new();
        let mut is_over = request.ends;
        while !is_over {
            match self.peer.event_of(request.stream) {
                Event::Data { bytes, ends, .. } => {
                    body.push_str(&String::from_utf8(bytes).unwrap());
                    is_over = ends;
                }
                Event::Headers { ends: true, .. } => is_over = true,
                other => return Err(other),
            }
        }
        Ok(body)
    }

    pub(super) fn headers(&mut self, stream: u32, fields: &[(&str, &str)], flags: u8) {
        self.peer.frame(HEADERS, END_HEADERS | flags, stream, &block(fields));
    }

    /// 200 with this body.
    pub(super) fn respond(&mut self, stream: u32, body: &str) {
        self.headers(stream, &[(":status", "200")], 0);
        self.peer.data(stream, body.as_bytes(), END_STREAM);
    }

    pub(super) fn answer_all(&mut self, body: &str) {
        while let Some(request) = self.request() {
            self.respond(request.stream, body);
        }
    }

    pub(super) fn reset(&mut self, stream: u32, code: u32) {
        self.peer.frame(RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    /// Says that streams behind this one came to nothing, and that no more are taken.
    pub(super) fn goodbye(&mut self, last: u32, code: u32) {
        self.peer.frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
    }

    /// Reads until the gateway closes.
    pub(super) fn wait_for_end(&mut self) {
        while self.peer.event() != Event::Closed {}
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().spawn(work).unwrap();
}
