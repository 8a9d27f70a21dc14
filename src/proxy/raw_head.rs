//! The heads of requests in the words of the client. The parser drops a Content-Length beside a Transfer-Encoding, and a fragment
//! behind a target, before anyone could refuse them; the bytes still tell.

use memchr::{memchr, memchr_iter, memmem};

/// What the parser keeps to itself of one head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Told {
    /// A Content-Length in a head that announces chunks.
    pub(super) length_beside_chunks: bool,
    /// `#` in the request line.
    pub(super) fragment: bool,
}

/// How a request goes on behind its head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Body {
    /// So many bytes, or none.
    Length(u64),
    Chunked,
}

/// Follows what a client sends: bytes that were read and are of no message yet.
#[derive(Debug)]
pub(super) struct RawHeads {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// `bytes` begins where the next message does.
    aligned: bool,
    /// What is still to come of the last message.
    body: Body,
}

impl RawHeads {
    /// `bytes_max`: the most that the parser reads ahead, and a head.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max, aligned: true, body: Body::Length(0) }
    }

    pub(super) fn came(&mut self, mut new: &[u8]) {
        match &mut self.body {
            Body::Length(0) => {}
            Body::Length(left) => {
                let of_body = usize::try_from(*left).unwrap_or(usize::MAX).min(new.len());
                *left -= of_body as u64;
                new = &new[of_body..];
            }
            Body::Chunked => return,
        }
        if self.bytes.len() + new.len() > self.bytes_max {
            self.aligned = false;
            self.bytes.clear();
        }
        self.bytes.extend_from_slice(&new[..new.len().min(self.bytes_max)]);
    }

    /// Where a chunked body ended among what came is not known: what comes from now on may be the next message.
    pub(super) fn exchange_ends(&mut self) {
        if self.body == Body::Chunked {
            self.body = Body::Length(0);
            self.bytes.clear();
            self.aligned = false;
        }
    }

    /// Takes the head that the parser has just read, with so many fields in it. `None` when it was not seen whole, which takes a
    /// client that does not wait for the end of an answer.
    pub(super) fn take(&mut self, fields: usize, body: Body) -> Option<Told> {
        let start = self.bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
        let found = start.and_then(|start| Some(start..self.head_end(start)?));
        let told = found.clone().and_then(|found| {
            let head = &self.bytes[found];
            (self.aligned || is_whole(head, fields)).then(|| tell(head, body))
        });
        let end = found.map_or(self.bytes.len(), |found| found.end);
        self.aligned = told.is_some();
        self.body = body;
        let rest = self.bytes.split_off(end);
        self.bytes.clear();
        if !rest.is_empty() {
            self.came(&rest);
        }
        told
    }

    fn head_end(&self, start: usize) -> Option<usize> {
        let bytes = &self.bytes[start..];
        let crlf = memmem::find(bytes, b"\n\r\n").map(|at| at + 3);
        let lf = memmem::find(bytes, b"\n\n").map(|at| at + 2);
        let end = crlf.into_iter().chain(lf).min()?;
        Some(start + end)
    }
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).take_while(|line| !line.is_empty())
}

fn tell(head: &[u8], body: Body) -> Told {
    const NAME: &[u8] = b"content-length";
    let request_line = &head[..memchr(b'\n', head).unwrap_or(head.len())];
    let is_length =
        |line: &[u8]| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) && line[NAME.len()] == b':';
    let length_beside_chunks = body == Body::Chunked && lines(head).any(is_length);
    Told { length_beside_chunks, fragment: memchr(b'#', request_line).is_some() }
}

/// Whether bytes that may begin within a head begin with it.
///
/// They end where the head does. A part of it that begins within a field has fewer lines behind its first than the head has fields,
/// one at least; the parser's count may be too low by the lengths that it dropped. So the counts agree wrongly only if every length
/// but one, and no other field, lies ahead of the part. Then the one is in the part for all to see, or the part begins within
/// it: as digits, for the parser drops unread only those behind a Transfer-Encoding, and digits are no request line. A part that begins
/// within the request line has all the fields, and is as good as the whole if it has the target: that stands between two spaces.
fn is_whole(head: &[u8], fields: usize) -> bool {
    let mut lines = lines(head);
    let is_request = |line: &[u8]| {
        let has_target = memchr_iter(b' ', line).count() > 1;
        has_target && (line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0"))
    };
    let begins_with_request = lines.next().is_some_and(is_request);
    begins_with_request && lines.count() == fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Option<Told> = Some(Told { length_beside_chunks: false, fragment: false });
    const LENGTH: Option<Told> = Some(Told { length_beside_chunks: true, fragment: false });
    const NONE: Body = Body::Length(0);

    fn heads() -> RawHeads {
        RawHeads::new(1000)
    }

    #[test]
    fn heads_are_told_apart_however_they_arrive() {
        let mut heads = heads();
        heads.came(b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b#x HTTP/1.1\nHost: a\n\nPOST /c HTTP/1.1\r\nContent-Len");
        assert_eq!(heads.take(1, NONE), PLAIN);
        assert_eq!(heads.take(1, NONE), Some(Told { length_beside_chunks: false, fragment: true }));
        heads.came(b"gth: 5\r\n\r\nhel");
        assert_eq!(heads.take(1, Body::Length(5)), PLAIN);
        heads.came(b"loGET /d HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(heads.take(1, NONE), PLAIN);
        assert!(heads.bytes.is_empty());
    }

    #[test]
    fn a_length_beside_chunks_is_told() {
        let mut heads = heads();
        heads.came(b"POST / HTTP/1.1\r\ncontent-LENGTH: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(heads.take(1, Body::Chunked), LENGTH);
    }

    #[test]
    fn behind_chunks_a_head_must_be_seen_whole() {
        let chunked = |early: &[u8], late: &[u8], fields| {
            let mut heads = heads();
            heads.came(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
            assert_eq!(heads.take(1, Body::Chunked), PLAIN);
            heads.came(early);
            heads.exchange_ends();
            heads.came(late);
            heads.take(fields, NONE)
        };
        assert_eq!(chunked(b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1), PLAIN);
        assert_eq!(chunked(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"", 1), None);
        // The parser has two fields: the coding, and the one that looks like a request line.
        assert_eq!(
            chunked(b"GET / HTTP/1.1\r\nContent-Length: 5\r\nX: ", b"x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 2),
            None
        );
        assert_eq!(chunked(b"GET /a#", b"b HTTP/1.1\r\nHost: a\r\n\r\n", 1), None, "a part of the target");
        assert_eq!(chunked(b"GET / HTTP/1.1\r\nContent-L", b"ength: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 1), None);
    }

    #[test]
    fn more_than_the_bound_is_forgotten_and_not_believed() {
        let mut heads = heads();
        heads.came(&[b'x'; 999]);
        heads.came(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(heads.take(7, NONE), None);
        assert!(heads.bytes.capacity() < 4000);
    }
}
