//! The heads of requests in the words of the client. The parser drops a Content-Length beside a Transfer-Encoding, and a fragment
//! behind a target, before anyone could refuse them; the bytes still tell.

use bytes::BytesMut;
use memchr::{memchr, memmem};

use super::upstream::{Chunk, Chunks};

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

/// Follows what a client sends: bytes that were read and are of no message yet. Bodies are passed over, chunk by chunk where they are
/// chunked, so that where the next head begins is known and not guessed: a body may look like any head.
#[derive(Debug)]
pub(super) struct RawHeads {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// What is still to come of the last message.
    rest: Rest,
}

/// What a client may send that nobody asks for any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unread {
    /// It is between two requests.
    Nothing,
    /// The rest of a body, whose end is known when it comes.
    Body,
    /// What was no request, or behind one whose end nobody knows.
    Unknown,
}

#[derive(Debug)]
enum Rest {
    Length(u64),
    /// And the bytes of a line or of trailers that have not come whole.
    Chunked(Chunks, BytesMut),
    /// Nobody knows where the next message begins. For good.
    Lost,
}

impl RawHeads {
    /// `bytes_max`: the most that the parser reads ahead, and a head.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max, rest: Rest::Length(0) }
    }

    pub(super) fn came(&mut self, mut new: &[u8]) {
        while !new.is_empty() {
            match &mut self.rest {
                Rest::Length(0) if self.bytes.len() + new.len() > self.bytes_max => self.lose(),
                Rest::Length(0) => {
                    self.bytes.extend_from_slice(new);
                    return;
                }
                Rest::Length(left) | Rest::Chunked(Chunks::Data(left), _) if *left > 0 => {
                    let of_body = usize::try_from(*left).unwrap_or(usize::MAX).min(new.len());
                    *left -= of_body as u64;
                    new = &new[of_body..];
                }
                Rest::Chunked(chunks, partial) => {
                    partial.extend_from_slice(new);
                    new = &[];
                    match pass_over(chunks, partial) {
                        Ok(false) => {}
                        Ok(true) => {
                            let next = partial.split();
                            self.rest = Rest::Length(0);
                            self.came(&next);
                        }
                        Err(()) => self.lose(),
                    }
                }
                Rest::Length(_) | Rest::Lost => return,
            }
        }
    }

    /// What is still to come of the last message.
    pub(super) fn unread(&self) -> Unread {
        match &self.rest {
            Rest::Length(0) if self.bytes.is_empty() => Unread::Nothing,
            Rest::Length(0) | Rest::Lost => Unread::Unknown,
            Rest::Length(_) | Rest::Chunked(..) => Unread::Body,
        }
    }

    /// Whether the last message is over.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.rest, Rest::Length(0))
    }

    fn lose(&mut self) {
        self.rest = Rest::Lost;
        self.bytes = Vec::new();
    }

    /// Takes the head that the parser has just read. `None` once too much came ahead, or chunks that are read more strictly here.
    pub(super) fn take(&mut self, body: Body) -> Option<Told> {
        let start = self.bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
        let Some(found) = start.and_then(|start| Some(start..self.head_end(start)?)) else {
            self.lose();
            return None;
        };
        let told = tell(&self.bytes[found.clone()], body);
        let ahead = self.bytes.split_off(found.end);
        self.bytes.clear();
        self.rest = match body {
            Body::Length(length) => Rest::Length(length),
            Body::Chunked => Rest::Chunked(Chunks::Size, BytesMut::new()),
        };
        self.came(&ahead);
        Some(told)
    }

    fn head_end(&self, start: usize) -> Option<usize> {
        let bytes = &self.bytes[start..];
        let crlf = memmem::find(bytes, b"\n\r\n").map(|at| at + 3);
        let lf = memmem::find(bytes, b"\n\n").map(|at| at + 2);
        let end = crlf.into_iter().chain(lf).min()?;
        Some(start + end)
    }
}

/// Whether the body ended among what came; what came behind it is left.
fn pass_over(chunks: &mut Chunks, partial: &mut BytesMut) -> Result<bool, ()> {
    loop {
        match chunks.next(partial) {
            Ok(Chunk::Data(_) | Chunk::Trailers(_)) => {}
            Ok(Chunk::NeedMore) => return Ok(false),
            Ok(Chunk::Done) => return Ok(true),
            Err(_) => return Err(()),
        }
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
        assert_eq!(heads.take(NONE), PLAIN);
        assert_eq!(heads.take(NONE), Some(Told { length_beside_chunks: false, fragment: true }));
        heads.came(b"gth: 5\r\n\r\nhel");
        assert_eq!(heads.take(Body::Length(5)), PLAIN);
        heads.came(b"loGET /d HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(heads.take(NONE), PLAIN);
        assert!(heads.bytes.is_empty());
    }

    #[test]
    fn a_length_beside_chunks_is_told() {
        let mut heads = heads();
        heads.came(b"POST / HTTP/1.1\r\ncontent-LENGTH: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(heads.take(Body::Chunked), LENGTH);
    }

    #[test]
    fn behind_chunks_the_next_head_is_found_where_it_begins() {
        const FIRST: &[u8] = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        // A body, with what looks like a head in an extension, in data and in trailers; then the head that counts.
        const BODY: &[u8] = b"1f;a b HTTP/1.1\r\nPOST /x#y HTTP/1.1\r\nHost: a\r\n\r\n\r\n0\r\nx: GET / HTTP/1.1\r\n\r\n";
        const NEXT: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        let wire = [FIRST, BODY, NEXT].concat();
        for piece in 1..wire.len() {
            let mut heads = heads();
            let (mut came, mut told) = (0, Vec::new());
            for piece in wire.chunks(piece) {
                heads.came(piece);
                came += piece.len();
                let due = usize::from(came >= FIRST.len()) + usize::from(came == wire.len());
                while told.len() < due {
                    told.push(heads.take(Body::Chunked));
                }
            }
            assert_eq!(told, [PLAIN, LENGTH], "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_still_to_come_of_a_body_is_known() {
        for (framing, body, pieces) in [
            ("Content-Length: 5", Body::Length(5), ["he", "llo"]),
            ("Transfer-Encoding: chunked", Body::Chunked, ["5\r\nhel", "lo\r\n0\r\n\r\n"]),
        ] {
            let mut heads = heads();
            assert_eq!(heads.unread(), Unread::Nothing);
            heads.came(format!("POST / HTTP/1.1\r\n{framing}\r\n\r\n").as_bytes());
            assert_eq!(heads.unread(), Unread::Unknown, "nobody has read the head");
            assert_eq!(heads.take(body), PLAIN);
            heads.came(pieces[0].as_bytes());
            assert!(heads.unread() == Unread::Body && !heads.is_between());
            heads.came(pieces[1].as_bytes());
            assert!(heads.unread() == Unread::Nothing && heads.is_between());
            heads.came(b"GET");
            assert!(heads.unread() == Unread::Unknown && heads.is_between());
        }
    }

    #[test]
    fn behind_chunks_that_are_malformed_nothing_is_told() {
        let mut heads = heads();
        heads.came(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(heads.take(Body::Chunked), PLAIN);
        assert_eq!(heads.take(NONE), None);
    }

    #[test]
    fn more_than_the_bound_is_forgotten_and_not_believed() {
        let mut heads = heads();
        heads.came(&[b'x'; 999]);
        heads.came(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(heads.take(NONE), None);
        assert_eq!(heads.bytes.capacity(), 0);
    }
}
