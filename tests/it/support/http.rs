//! HTTP/1.1 by hand, both sides: what tests send and see is on the page, byte by byte.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::described::Described;

/// A peer that is silent for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// A request or a response, whole.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) first_line: String,
    /// As they came: order, repeats, spelling.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// Reads one; `None` when the peer closed before its first byte. `bodyless` is for answers that have no body whatever their
    /// fields say.
    pub(crate) fn read(reader: &mut impl BufRead, bodyless: impl Fn(&str) -> bool) -> io::Result<Option<Self>> {
        let Some(first_line) = line(reader)? else { return Ok(None) };
        let mut headers = Vec::new();
        loop {
            let field = line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if field.is_empty() {
                break;
            }
            let (name, value) = field.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut message = Self { first_line, headers, body: Vec::new() };
        if bodyless(&message.first_line) {
            return Ok(Some(message));
        }
        if message.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            message.read_chunks(reader)?;
        } else if let Some(length) = message.header("content-length") {
            let length = length.parse().map_err(|_| io::ErrorKind::InvalidData)?;
            message.body = vec![0; length];
            reader.read_exact(&mut message.body)?;
        } else if message.first_line.starts_with("HTTP/") {
            reader.read_to_end(&mut message.body)?;
        }
        Ok(Some(message))
    }

    /// The value of the field, if it is there; the first of several.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn status(&self) -> u16 {
        self.first_line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn method(&self) -> &str {
        self.first_line.split(' ').next().unwrap()
    }

    pub(crate) fn target(&self) -> &str {
        self.first_line.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The text of a member of the JSON body.
    pub(crate) fn member(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_else(|| panic!("no {name}: {}", self.text())).to_owned()
    }

    /// Fails unless the response has this status, showing what it has instead.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status(), status, "{} {}", self.first_line, self.text());
        self
    }

    /// From the echo of the scripted upstream: every value with which a field reached it.
    pub(crate) fn upstream_saw(&self, name: &str) -> Vec<String> {
        let json = self.json();
        let fields = json["headers"].as_array().unwrap_or_else(|| panic!("no echo: {json}"));
        let named = fields.iter().filter(|field| field[0].as_str().unwrap().eq_ignore_ascii_case(name));
        named.map(|field| field[1].as_str().unwrap().to_owned()).collect()
    }

    fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    fn read_chunks(&mut self, reader: &mut impl BufRead) -> io::Result<()> {
        loop {
            let size = line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
            let read = reader.take(size).read_to_end(&mut self.body)?;
            if (read as u64) < size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            while let Some(rest) = line(reader)? {
                if rest.is_empty() {
                    break;
                }
            }
            if size == 0 {
                return Ok(());
            }
        }
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if reader.read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    // What is no UTF-8 is read as Latin-1.
    let line = String::from_utf8(bytes).unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect());
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// One client with one connection at a time, kept alive between requests.
pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
    described: Option<Described>,
}

impl Client {
    pub(crate) const fn new(address: SocketAddr) -> Self {
        Self { address, connection: None, described: None }
    }

    /// Whose responses have to be described.
    pub(crate) fn described_by(self, described: Option<Described>) -> Self {
        Self { described, ..self }
    }

    /// GET with the access token, or without any.
    pub(crate) fn get(&mut self, path: &str, token: Option<&str>) -> Message {
        self.call("GET", path, token, None)
    }

    /// POST of JSON.
    pub(crate) fn post(&mut self, path: &str, json: &Value) -> Message {
        self.call("POST", path, None, Some(json))
    }

    pub(crate) fn call(&mut self, method: &str, path: &str, token: Option<&str>, json: Option<&Value>) -> Message {
        self.try_call(method, path, token, json).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Fails when the connection does; never tries twice.
    pub(crate) fn try_call(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        json: Option<&Value>,
    ) -> io::Result<Message> {
        let mut fields = Vec::new();
        let authorization = token.map(|token| format!("Bearer {token}"));
        if let Some(authorization) = &authorization {
            fields.push(("authorization", authorization.as_str()));
        }
        let body = json.map(Value::to_string);
        if body.is_some() {
            fields.push(("content-type", "application/json"));
        }
        self.send(method, path, &fields, body.as_deref().map(str::as_bytes))
    }

    /// Any request at all. Host and Content-Length are added.
    pub(crate) fn send(&mut self, method: &str, path: &str, fields: &[(&str, &str)], body: Option<&[u8]>) -> io::Result<Message> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in fields {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if let Some(body) = body {
            let _ = write!(head, "content-length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufReader::new(connect(self.address)?),
        };
        connection.get_mut().write_all(&bytes)?;
        let is_head = method == "HEAD";
        let response =
            Message::read(&mut connection, |first_line| is_head || matches!(first_line.split(' ').nth(1), Some("204" | "304")))?
                .ok_or(io::ErrorKind::UnexpectedEof)?;
        if let Some(described) = &self.described {
            described.check(method, path, fields, &response);
        }
        if !response.closes() {
            self.connection = Some(connection);
        }
        Ok(response)
    }
}

/// A socket for bytes of the test's own.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}
