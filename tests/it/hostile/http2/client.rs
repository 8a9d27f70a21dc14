//! A side of HTTP/2 that sends the frames it is told to, whatever they are: a client, unless it is [`Http2Client::serving`].

use std::collections::{BTreeSet, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use httlib_hpack::Decoder;
use tokio::time::Instant;

use super::super::rig::PATIENCE;

pub(in crate::hostile) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(in crate::hostile) const DATA: u8 = 0x0;
pub(in crate::hostile) const HEADERS: u8 = 0x1;
pub(in crate::hostile) const PRIORITY: u8 = 0x2;
pub(in crate::hostile) const RST_STREAM: u8 = 0x3;
pub(in crate::hostile) const SETTINGS: u8 = 0x4;
pub(in crate::hostile) const PING: u8 = 0x6;
pub(in crate::hostile) const GOAWAY: u8 = 0x7;
pub(in crate::hostile) const WINDOW_UPDATE: u8 = 0x8;
pub(in crate::hostile) const CONTINUATION: u8 = 0x9;

pub(in crate::hostile) const END_STREAM: u8 = 0x1;
pub(in crate::hostile) const ACK: u8 = 0x1;
pub(in crate::hostile) const END_HEADERS: u8 = 0x4;

pub(in crate::hostile) const NO_ERROR: u32 = 0;
pub(in crate::hostile) const PROTOCOL_ERROR: u32 = 1;
pub(in crate::hostile) const INTERNAL_ERROR: u32 = 2;
pub(in crate::hostile) const FLOW_CONTROL_ERROR: u32 = 3;
pub(in crate::hostile) const REFUSED_STREAM: u32 = 7;
pub(in crate::hostile) const CANCEL: u32 = 8;
pub(in crate::hostile) const ENHANCE_YOUR_CALM: u32 = 11;

pub(in crate::hostile) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(in crate::hostile) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(in crate::hostile) const ENABLE_CONNECT_PROTOCOL: u16 = 8;

pub(in crate::hostile) type Fields = Vec<(String, String)>;

/// Type, flags, stream and payload.
type Frame = (u8, u8, u32, Vec<u8>);

/// What the gateway sent.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::hostile) enum Event {
    Headers {
        stream: u32,
        fields: Fields,
        ends: bool,
    },
    Data {
        stream: u32,
        bytes: Vec<u8>,
        ends: bool,
    },
    Reset {
        stream: u32,
        code: u32,
    },
    GoAway {
        last: u32,
        code: u32,
    },
    Settings(Vec<(u16, u32)>),
    Pong,
    /// The connection, in order or not.
    Closed,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hostile) enum End {
    Whole,
    Reset(u32),
}

/// What came of one stream.
#[derive(Debug)]
pub(in crate::hostile) struct Response {
    pub(in crate::hostile) status: u16,
    pub(in crate::hostile) fields: Fields,
    pub(in crate::hostile) body: String,
    pub(in crate::hostile) trailers: Fields,
    pub(in crate::hostile) interim: Vec<u16>,
    pub(in crate::hostile) end: End,
}

impl Response {
    pub(in crate::hostile) fn field(&self, name: &str) -> Option<&str> {
        find(&self.fields, name)
    }

    /// The stable code in a problem's body.
    pub(in crate::hostile) fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no problem: {self:?}"));
        body["code"].as_str().unwrap().to_owned()
    }
}

pub(in crate::hostile) fn find<'a>(fields: &'a Fields, wanted: &str) -> Option<&'a str> {
    let mut values = fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let first = values.next();
    assert_eq!(values.next(), None, "{wanted} twice: {fields:?}");
    first
}

pub(in crate::hostile) struct Http2Client {
    stream: TcpStream,
    read: Vec<u8>,
    decoder: Decoder<'static>,
    /// The names of fields that came as such that nobody may keep in a table (RFC 7541, section 6.2.3).
    never_kept: BTreeSet<String>,
    /// Came while another stream was awaited.
    passed_over: VecDeque<Event>,
    next_stream: u32,
    /// Whether the windows that the gateway uses up are given back.
    gives_room: bool,
}

impl Http2Client {
    /// Has said the preface and its settings.
    pub(in crate::hostile) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[])
    }

    pub(in crate::hostile) fn connect_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::silent(address);
        client.send(PREFACE);
        let payload: Vec<u8> =
            settings.iter().flat_map(|(key, value)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        client.frame(SETTINGS, 0, 0, &payload);
        client
    }

    /// The other side, which has accepted a connection and read the preface. `None`: none came.
    pub(in crate::hostile) fn serving(mut stream: TcpStream) -> Option<Self> {
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).ok()?;
        (preface == PREFACE).then(|| Self::over(stream))
    }

    /// Has said nothing.
    pub(in crate::hostile) fn silent(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            read: Vec::new(),
            decoder: Decoder::default(),
            never_kept: BTreeSet::new(),
            passed_over: VecDeque::new(),
            next_stream: 1,
            gives_room: true,
        }
    }

    /// From now on it takes no more than the windows that it has given.
    pub(in crate::hostile) fn gives_no_room(&mut self) {
        self.gives_room = false;
    }

    pub(in crate::hostile) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Whether the gateway still takes it.
    pub(in crate::hostile) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub(in crate::hostile) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send(&frame(kind, flags, stream, payload));
    }

    /// Sends a request without a body; which stream it has.
    pub(in crate::hostile) fn request(&mut self, fields: &[(&str, &str)]) -> u32 {
        self.headers(fields, END_STREAM)
    }

    /// Sends a request whose body follows.
    pub(in crate::hostile) fn begin(&mut self, fields: &[(&str, &str)]) -> u32 {
        self.headers(fields, 0)
    }

    fn headers(&mut self, fields: &[(&str, &str)], flags: u8) -> u32 {
        let stream = self.new_stream();
        self.frame(HEADERS, END_HEADERS | flags, stream, &block(fields));
        stream
    }

    pub(in crate::hostile) fn new_stream(&mut self) -> u32 {
        self.next_stream += 2;
        self.next_stream - 2
    }

    pub(in crate::hostile) fn data(&mut self, stream: u32, bytes: &[u8], flags: u8) {
        self.frame(DATA, flags, stream, bytes);
    }

    pub(in crate::hostile) fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields));
    }

    pub(in crate::hostile) fn reset(&mut self, stream: u32) {
        self.frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
    }

    pub(in crate::hostile) fn room(&mut self, stream: u32, bytes: u32) {
        self.frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    /// The response to a request without a body.
    pub(in crate::hostile) fn ask(&mut self, fields: &[(&str, &str)]) -> Response {
        let stream = self.request(fields);
        self.response(stream)
    }

    pub(in crate::hostile) fn get(&mut self, path: &str) -> Response {
        self.ask(&get(path))
    }

    /// What came of a stream, to its end.
    pub(in crate::hostile) fn response(&mut self, wanted: u32) -> Response {
        let mut response = Response {
            status: 0,
            fields: Vec::new(),
            body: String::new(),
            trailers: Vec::new(),
            interim: Vec::new(),
            end: End::Whole,
        };
        loop {
            match self.event_of(wanted) {
                Event::Headers { fields, ends, .. } => {
                    let status = find(&fields, ":status").map(|status| status.parse().unwrap());
                    match status {
                        Some(interim @ 100..200) => response.interim.push(interim),
                        Some(status) => (response.status, response.fields) = (status, fields),
                        None => response.trailers = fields,
                    }
                    if ends {
                        return response;
                    }
                }
                Event::Data { bytes, ends, .. } => {
                    response.body.push_str(&String::from_utf8_lossy(&bytes));
                    if ends {
                        return response;
                    }
                }
                Event::Reset { code, .. } => {
                    response.end = End::Reset(code);
                    return response;
                }
                other => panic!("{other:?} instead of the rest of {response:?}"),
            }
        }
    }

    /// The next that concerns this stream, or the connection's end.
    pub(in crate::hostile) fn event_of(&mut self, wanted: u32) -> Event {
        let is_wanted = |event: &Event| match event {
            Event::Headers { stream, .. } | Event::Data { stream, .. } | Event::Reset { stream, .. } => *stream == wanted,
            Event::Closed => true,
            Event::GoAway { .. } | Event::Settings(_) | Event::Pong => false,
        };
        if let Some(at) = self.passed_over.iter().position(is_wanted) {
            return self.passed_over.remove(at).unwrap();
        }
        loop {
            let event = self.event();
            if is_wanted(&event) {
                return event;
            }
            self.passed_over.push_back(event);
        }
    }

    /// Reads until the gateway says goodbye: with which code. Then until it closes.
    pub(in crate::hostile) fn goodbye(&mut self) -> u32 {
        let mut code = None;
        loop {
            match self.passed_over.pop_front().unwrap_or_else(|| self.event()) {
                Event::GoAway { code: said, .. } => code = Some(said),
                Event::Closed => return code.expect("it closed without a word"),
                _ => {}
            }
        }
    }

    /// So many bytes of a stream's data, or what there is to its end.
    pub(in crate::hostile) fn bytes_of(&mut self, stream: u32, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.event_of(stream) {
                Event::Data { bytes, ends, .. } => {
                    all.extend_from_slice(&bytes);
                    if ends {
                        break;
                    }
                }
                other => panic!("{other:?} behind {all:?}"),
            }
        }
        assert!(all.len() <= count, "more came: {:?}", &all[count..]);
        all
    }

    /// Whether the connection lives for so long; pings are answered.
    pub(in crate::hostile) fn is_there_for(&mut self, span: Duration) -> bool {
        let ends_at = Instant::now() + span;
        self.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut is_there = true;
        while is_there && Instant::now() < ends_at {
            match self.try_frame() {
                Ok(Some((PING, 0, _, payload))) => self.frame(PING, ACK, 0, &payload),
                Ok(frame) => is_there = frame.is_some(),
                Err(error) => is_there = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        }
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        is_there
    }

    /// Whether the connection ends, to a client that says nothing.
    pub(in crate::hostile) fn hears_nothing_but_the_end(&mut self) -> bool {
        loop {
            match self.try_frame() {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        }
    }

    /// Whether nothing comes for so long, but settings.
    pub(in crate::hostile) fn is_silent_for(&mut self, span: Duration) -> bool {
        self.stream.set_read_timeout(Some(span)).unwrap();
        let is_silent = loop {
            match self.try_frame() {
                Ok(Some((SETTINGS | WINDOW_UPDATE | PING, ..))) => {}
                Ok(_) => break false,
                Err(error) => break matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        is_silent
    }

    /// The settings that the gateway has said.
    pub(in crate::hostile) fn settings(&mut self) -> Vec<(u16, u32)> {
        loop {
            if let Event::Settings(settings) = self.event() {
                return settings;
            }
        }
    }

    /// The next of note. Settings and pings are acknowledged.
    pub(in crate::hostile) fn event(&mut self) -> Event {
        loop {
            let (kind, flags, stream, payload) = match self.try_frame() {
                Ok(Some(frame)) => frame,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("nothing more came; not of interest were {:?}", self.passed_over)
                }
                Ok(None) | Err(_) => return Event::Closed,
            };
            let ends = flags & END_STREAM != 0;
            let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            match kind {
                HEADERS => return Event::Headers { stream, fields: self.decode(payload), ends },
                DATA => {
                    if self.gives_room && !payload.is_empty() {
                        let room = u32::try_from(payload.len()).unwrap().to_be_bytes();
                        let both = [frame(WINDOW_UPDATE, 0, 0, &room), frame(WINDOW_UPDATE, 0, stream, &room)].concat();
                        self.try_send(&both);
                    }
                    return Event::Data { stream, bytes: payload, ends };
                }
                RST_STREAM => return Event::Reset { stream, code: number(0) },
                GOAWAY => return Event::GoAway { last: number(0), code: number(4) },
                SETTINGS if flags & ACK == 0 => {
                    self.try_send(&frame(SETTINGS, ACK, 0, &[]));
                    let pairs = payload
                        .chunks(6)
                        .map(|pair| (u16::from_be_bytes([pair[0], pair[1]]), u32::from_be_bytes(pair[2..].try_into().unwrap())));
                    return Event::Settings(pairs.collect());
                }
                PING if flags & ACK == 0 => {
                    self.try_send(&frame(PING, ACK, 0, &payload));
                }
                PING => return Event::Pong,
                _ => {}
            }
        }
    }

    fn decode(&mut self, mut block: Vec<u8>) -> Fields {
        let mut fields = Vec::new();
        self.decoder.decode(&mut block, &mut fields).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let mut read = Fields::new();
        for (name, value, flags) in fields {
            let name = text(name);
            if flags & Decoder::NEVER_INDEXED != 0 {
                self.never_kept.insert(name.clone());
            }
            read.push((name, text(value)));
        }
        read
    }

    pub(in crate::hostile) fn has_never_kept(&self, name: &str) -> bool {
        self.never_kept.contains(name)
    }

    /// `None`: the end of the connection.
    fn try_frame(&mut self) -> std::io::Result<Option<Frame>> {
        while self.read.len() < 9 || self.read.len() < 9 + payload_len(&self.read) {
            let mut buffer = [0; 16 * 1024];
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(None);
            }
            self.read.extend_from_slice(&buffer[..count]);
        }
        let rest = self.read.split_off(9 + payload_len(&self.read));
        let whole = std::mem::replace(&mut self.read, rest);
        let stream = u32::from_be_bytes(whole[5..9].try_into().unwrap()) & 0x7fff_ffff;
        Ok(Some((whole[3], whole[4], stream, whole[9..].to_vec())))
    }
}

fn payload_len(head: &[u8]) -> usize {
    u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize
}

pub(in crate::hostile) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as a header block in its plainest form: literals, neither compressed nor remembered.
pub(in crate::hostile) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name.as_bytes(), value.as_bytes())).collect()
}

/// One field, of whatever bytes.
pub(in crate::hostile) fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if bytes.len() < 127 {
        out.push(u8::try_from(bytes.len()).unwrap());
    } else {
        out.push(127);
        let mut rest = bytes.len() - 127;
        while rest >= 128 {
            out.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        out.push(u8::try_from(rest).unwrap());
    }
    out.extend_from_slice(bytes);
    out
}

pub(in crate::hostile) fn get(path: &str) -> [(&str, &str); 4] {
    [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)]
}

pub(in crate::hostile) fn post(path: &str) -> [(&str, &str); 4] {
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", path)]
}
