//! Where the fields of a message are written: the bytes of an HTTP/1.1 head, or pairs.

use std::cell::OnceCell;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::trace::comes_once;

/// Takes fields in their order. Whoever writes is compiled for each kind of it: into the bytes of a head, nothing is made that is then
/// copied.
pub trait FieldSink {
    fn field(&mut self, name: &HeaderName, value: &HeaderValue);

    /// A field whose value is what `compose` appends: bytes that may stand in a value, which were checked when they were read or made.
    /// No field where that is nothing.
    fn composed(&mut self, name: &HeaderName, compose: impl FnOnce(&mut Vec<u8>));

    fn prepared(&mut self, fields: &PreparedFields);
}

/// The bytes of a head.
impl FieldSink for Vec<u8> {
    fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        write_field(self, name.as_str(), value.as_bytes());
    }

    fn composed(&mut self, name: &HeaderName, compose: impl FnOnce(&mut Self)) {
        let line_begin = self.len();
        self.extend_from_slice(name.as_str().as_bytes());
        self.extend_from_slice(b": ");
        let value_begin = self.len();
        compose(self);
        if self.len() == value_begin {
            self.truncate(line_begin);
        } else {
            self.extend_from_slice(b"\r\n");
        }
    }

    fn prepared(&mut self, fields: &PreparedFields) {
        self.extend_from_slice(&fields.0.lines);
    }
}

/// Pairs.
impl FieldSink for HeaderMap {
    fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append(name.clone(), value.clone());
    }

    fn composed(&mut self, name: &HeaderName, compose: impl FnOnce(&mut Vec<u8>)) {
        let mut value = Vec::new();
        compose(&mut value);
        if !value.is_empty() {
            let value = HeaderValue::from_maybe_shared(Bytes::from(value)).expect("composed of what may stand in a value");
            self.append(name.clone(), value);
        }
    }

    fn prepared(&mut self, fields: &PreparedFields) {
        for (name, value) in fields.pairs() {
            self.append(name.clone(), value.clone());
        }
    }
}

/// Fields that are made once and written many times, such as those of one caller.
#[derive(Clone, Debug)]
pub struct PreparedFields(Rc<Prepared>);

#[derive(Debug)]
struct Prepared {
    /// The bytes that a head gets of them.
    lines: Box<[u8]>,
    /// The same, once they were asked for as pairs.
    pairs: OnceCell<Box<[(HeaderName, HeaderValue)]>>,
}

impl PreparedFields {
    /// What `write` writes.
    pub fn of(write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut lines = Vec::new();
        write(&mut lines);
        Self(Rc::new(Prepared { lines: lines.into(), pairs: OnceCell::new() }))
    }

    /// One by one.
    pub(super) fn pairs(&self) -> &[(HeaderName, HeaderValue)] {
        let lines = || self.0.lines.split(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\r"));
        self.0.pairs.get_or_init(|| lines().map(pair).collect())
    }
}

/// What a line says. On a connection that carries the requests of many callers, the next one hardly says the same.
fn pair(line: &[u8]) -> (HeaderName, HeaderValue) {
    let end = line.iter().position(|byte| *byte == b':').expect("a name ends in a colon");
    let name = HeaderName::from_bytes(&line[..end]).expect("written as a name");
    let mut value = HeaderValue::from_bytes(line[end + 1..].trim_ascii_start()).expect("written as a value");
    comes_once(&mut value);
    (name, value)
}

/// Appends one line of a head. Name and value were checked when they were parsed or made.
pub fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: HeaderName = HeaderName::from_static("x-a");

    fn write(sink: &mut impl FieldSink) {
        sink.field(&NAME, &HeaderValue::from_static("1"));
        sink.composed(&NAME, |value| value.extend_from_slice(b"2; \xe9"));
        sink.composed(&NAME, |_| {});
        sink.prepared(&PreparedFields::of(|lines| {
            lines.field(&NAME, &HeaderValue::from_static("a: b"));
            lines.field(&HeaderName::from_static("x-b"), &HeaderValue::from_static(""));
        }));
    }

    #[test]
    fn both_sinks_are_told_the_same() {
        let (mut lines, mut pairs) = (Vec::new(), HeaderMap::new());
        write(&mut lines);
        write(&mut pairs);
        assert_eq!(lines, b"x-a: 1\r\nx-a: 2; \xe9\r\nx-a: a: b\r\nx-b: \r\n");
        let values: Vec<&[u8]> = pairs.get_all(NAME).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!((values, pairs["x-b"].as_bytes()), (vec![&b"1"[..], b"2; \xe9", b"a: b"], &b""[..]));
        let come_once: Vec<bool> = pairs.get_all(NAME).iter().map(HeaderValue::is_sensitive).collect();
        assert_eq!(come_once, [false, false, true], "what is prepared is said of one caller");
    }
}
