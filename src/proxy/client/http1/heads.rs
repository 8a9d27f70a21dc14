//! The heads of requests in the words of the client. The parser drops a Content-Length beside a Transfer-Encoding before anyone could
//! refuse it; the bytes still tell.

use bytes::BytesMut;
use memchr::memchr;

use crate::proxy::http1::chunked::Chunks;
use crate::proxy::http1::framing::Framing;

/// What the parser keeps to itself of one head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) struct Told {
    /// A Content-Length in a head that announces chunks.
    pub(in crate::proxy) length_beside_chunks: bool,
}

/// Follows what a client sends. Of a head it keeps what it told and not the bytes; bodies are passed over, chunk by chunk where they
/// are chunked, so that where the next head begins is known and not guessed: a body may look like any head.
#[derive(Debug)]
pub(in crate::proxy) struct RawHeads {
    position: Position,
    ahead_bytes_max: usize,
}

/// What a client may send that nobody asks for any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum Unread {
    /// It is between two requests.
    Nothing,
    /// The rest of a body, whose end is known when it comes.
    Body,
    /// What was no request, or behind one whose end nobody knows.
    Unknown,
}

/// Where in the client's stream the bytes are that come next.
#[derive(Debug)]
enum Position {
    Head(Scan),
    /// Behind a head that the parser has not asked for yet: what it told, and the bytes behind it, of which nobody knows what they are.
    Behind(Scan, Vec<u8>),
    Length(u64),
    /// And the bytes of a line or of trailers that have not come whole.
    Chunked(Chunks, BytesMut),
    /// Nobody knows. For good.
    Lost,
}

impl RawHeads {
    /// `ahead_bytes_max`: the most that the parser reads ahead, and a head.
    pub(in crate::proxy) fn new(ahead_bytes_max: usize) -> Self {
        Self { position: Position::Head(Scan::default()), ahead_bytes_max }
    }

    pub(in crate::proxy) fn came(&mut self, mut new: &[u8]) {
        while !new.is_empty() {
            match &mut self.position {
                Position::Head(scan) => {
                    if let Some(end) = scan.pass(new) {
                        self.position = Position::Behind(*scan, new[end..].to_vec());
                    }
                    return;
                }
                Position::Behind(_, ahead) if ahead.len() + new.len() > self.ahead_bytes_max => self.position = Position::Lost,
                Position::Behind(_, ahead) => return ahead.extend_from_slice(new),
                Position::Length(left) | Position::Chunked(Chunks::Data(left), _) if *left > 0 => {
                    let of_body = usize::try_from(*left).unwrap_or(usize::MAX).min(new.len());
                    *left -= of_body as u64;
                    new = &new[of_body..];
                }
                Position::Length(_) => self.position = Position::Head(Scan::default()),
                Position::Chunked(chunks, partial) => {
                    partial.extend_from_slice(new);
                    new = &[];
                    match chunks.end_within(partial) {
                        Ok(false) => {}
                        Ok(true) => {
                            let next = partial.split();
                            self.position = Position::Head(Scan::default());
                            self.came(&next);
                        }
                        Err(_) => self.position = Position::Lost,
                    }
                }
                Position::Lost => return,
            }
        }
    }

    /// What is still to come of the last message.
    pub(in crate::proxy) fn unread(&self) -> Unread {
        match &self.position {
            Position::Head(Scan { bytes: 0, .. }) | Position::Length(0) => Unread::Nothing,
            Position::Head(_) | Position::Behind(..) | Position::Lost => Unread::Unknown,
            Position::Length(_) | Position::Chunked(..) => Unread::Body,
        }
    }

    /// Whether the last message is over.
    pub(in crate::proxy) fn is_between(&self) -> bool {
        matches!(self.position, Position::Head(_) | Position::Behind(..) | Position::Length(0))
    }

    /// Whether a head has come whole that nobody has taken yet.
    pub(in crate::proxy) fn is_behind_a_head(&self) -> bool {
        matches!(self.position, Position::Behind(..))
    }

    /// Takes what the head told that the parser has just read. `None` once too much came ahead, or chunks that are read more strictly
    /// here.
    pub(in crate::proxy) fn take(&mut self, framing: Framing) -> Option<Told> {
        let Position::Behind(scan, ahead) = std::mem::replace(&mut self.position, Position::Lost) else { return None };
        self.position = match framing {
            Framing::Length(length) => Position::Length(length),
            Framing::Chunked => Position::Chunked(Chunks::Size, BytesMut::new()),
        };
        self.came(&ahead);
        Some(Told { length_beside_chunks: framing == Framing::Chunked && scan.length })
    }

    /// Whether nothing of the next message has come. Empty lines before a head are none of it: some clients send one behind a body.
    pub(in crate::proxy) fn is_before_a_head(&self) -> bool {
        matches!(self.position, Position::Head(Scan { bytes: 0, .. }))
    }

    /// Whether a head has begun to come, and is not whole.
    pub(in crate::proxy) fn is_within_a_head(&self) -> bool {
        matches!(self.position, Position::Head(Scan { bytes: 1.., .. }))
    }

    /// The bytes of a head that has not come whole. `None` too for what begins as no request does, such as a TLS handshake.
    pub(in crate::proxy) fn partial_head_bytes(&self) -> Option<usize> {
        match self.position {
            Position::Head(scan) => (!scan.is_foreign).then_some(scan.bytes),
            Position::Behind(..) | Position::Length(_) | Position::Chunked(..) | Position::Lost => None,
        }
    }
}

/// A head as far as it has come.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    /// Without the empty lines before it.
    bytes: usize,
    at: At,
    /// A Content-Length.
    length: bool,
    /// It does not begin with a character of a method.
    is_foreign: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum At {
    /// Empty lines before it.
    #[default]
    Before,
    /// So many bytes into a line, which so far spell [`LENGTH`].
    Name(usize),
    /// A carriage return that may be all of a line.
    Return,
    Line,
}

const LENGTH: &[u8] = b"content-length";

impl Scan {
    /// Where the head ends among these bytes; `None`: behind them.
    fn pass(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut next = 0;
        while let Some(&byte) = bytes.get(next) {
            match (self.at, byte) {
                (At::Before, b'\r' | b'\n') => next += 1,
                (At::Before, _) => {
                    self.at = At::Line;
                    self.is_foreign = !byte.is_ascii_graphic();
                }
                (At::Line, _) => {
                    let end = memchr(b'\n', &bytes[next..]).map(|end| next + end);
                    self.bytes += end.map_or(bytes.len(), |end| end + 1) - next;
                    next = end? + 1;
                    self.at = At::Name(0);
                }
                (At::Name(0) | At::Return, b'\n') => return Some(next + 1),
                (At::Name(0), b'\r') => self.step(At::Return, &mut next),
                (At::Name(read), _) if LENGTH.get(read).is_some_and(|due| byte.eq_ignore_ascii_case(due)) => {
                    self.step(At::Name(read + 1), &mut next);
                }
                (At::Name(read), _) => {
                    self.length |= read == LENGTH.len() && byte == b':';
                    self.at = At::Line;
                }
                (At::Return, _) => self.at = At::Line,
            }
        }
        None
    }

    fn step(&mut self, at: At, next: &mut usize) {
        self.at = at;
        self.bytes += 1;
        *next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Option<Told> = Some(Told { length_beside_chunks: false });
    const LENGTH: Option<Told> = Some(Told { length_beside_chunks: true });
    const NONE: Framing = Framing::Length(0);

    fn heads() -> RawHeads {
        RawHeads::new(1000)
    }

    #[test]
    fn heads_are_told_apart_however_they_arrive() {
        let mut heads = heads();
        heads.came(b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\nHost: a\n\nPOST /c HTTP/1.1\r\nContent-Len");
        assert_eq!(heads.take(NONE), PLAIN);
        assert_eq!(heads.take(NONE), PLAIN);
        heads.came(b"gth: 5\r\n\r\nhel");
        assert_eq!(heads.take(Framing::Length(5)), PLAIN);
        heads.came(b"loGET /d HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(heads.take(NONE), PLAIN);
    }

    #[test]
    fn a_length_beside_chunks_is_told() {
        let mut heads = heads();
        heads.came(b"POST / HTTP/1.1\r\ncontent-LENGTH: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(heads.take(Framing::Chunked), LENGTH);
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
                    told.push(heads.take(Framing::Chunked));
                }
            }
            assert_eq!(told, [PLAIN, LENGTH], "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_still_to_come_of_a_body_is_known() {
        for (field, framing, pieces) in [
            ("Content-Length: 5", Framing::Length(5), ["he", "llo"]),
            ("Transfer-Encoding: chunked", Framing::Chunked, ["5\r\nhel", "lo\r\n0\r\n\r\n"]),
        ] {
            let mut heads = heads();
            assert_eq!(heads.unread(), Unread::Nothing);
            heads.came(format!("POST / HTTP/1.1\r\n{field}\r\n\r\n").as_bytes());
            assert_eq!(heads.unread(), Unread::Unknown, "nobody has read the head");
            assert_eq!(heads.take(framing), PLAIN);
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
        assert_eq!(heads.take(Framing::Chunked), PLAIN);
        assert_eq!(heads.take(NONE), None);
    }

    #[test]
    fn more_than_the_bound_is_forgotten_and_not_believed() {
        let mut heads = heads();
        heads.came(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        heads.came(&[b'x'; 999]);
        heads.came(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(heads.take(NONE), None);
        assert!(matches!(heads.position, Position::Lost));
    }

    #[test]
    fn of_a_head_that_has_not_come_whole_no_byte_is_kept() {
        let mut heads = heads();
        assert_eq!(heads.partial_head_bytes(), Some(0));
        for _ in 0..1000 {
            heads.came(b"GET /");
        }
        assert_eq!(heads.partial_head_bytes(), Some(5000));
        heads.came(b" HTTP/1.1\r\n\r\n");
        assert_eq!(heads.partial_head_bytes(), None);
        assert_eq!(heads.take(NONE), PLAIN);
        heads.came(b"\x16\x03\x01");
        assert_eq!(heads.partial_head_bytes(), None, "no head");
    }
}
