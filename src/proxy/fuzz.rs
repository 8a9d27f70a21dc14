//! What must hold for what clients send beside the parser's back.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use tokio::io::{AsyncRead, ReadBuf};

use super::auth::admission::bearer_token;
use super::client::http1::heads::{RawHeads, Told};
use super::http1::chunked::Chunks;
use super::http1::framing::Framing;
use super::http2::sifted::Sifted;
use crate::domain::cookies;
use crate::domain::frames::PREFACE_BYTES;
use crate::domain::fuzz::{Input, pieces};

/// Fields: a token is presented by one field alone, as it stands there.
pub fn presented_tokens(bytes: &[u8]) {
    let headers = Input::new(bytes).fields();
    let Ok(Some(presented)) = bearer_token(&headers, Some("session")) else { return };
    let token = presented.token;
    assert!(!token.is_empty() && (presented.in_cookie || token.trim_matches(' ') == token));
    if presented.in_cookie {
        let cookies::Sent::Once(value) = cookies::find(&headers, "session") else { panic!("not one cookie") };
        assert_eq!(token, std::str::from_utf8(value).unwrap_or(cookies::NO_TEXT));
    } else {
        let mut fields = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        let field = fields.next().unwrap_or_default();
        assert!(field.windows(token.len()).any(|window| window == token.as_bytes()) && fields.next().is_none());
    }
    let name = if presented.in_cookie { COOKIE } else { AUTHORIZATION };
    let without_it: HeaderMap =
        headers.iter().filter(|(other, _)| **other != name).map(|(n, v)| (n.clone(), v.clone())).collect();
    assert_eq!(bearer_token(&without_it, Some("session")).map(|other| other.map(|other| other.token)), Ok(None));
}

/// A side, a choice of pieces, and how much is read at once; then the bytes of that side. In any pieces those DATA frames are taken out that
/// change nothing, and all else stays byte for byte.
pub fn sifted_frames(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (is_client, seed, room) = (input.byte().is_multiple_of(2), input.byte(), usize::from(input.byte() % 32) + 1);
    let wire = input.rest();
    let come = Come(pieces(wire, seed).collect());
    let mut sifted = if is_client { Sifted::of_client(come) } else { Sifted::of_server(come) };
    let mut read = Vec::new();
    loop {
        let mut buffer = vec![0; room];
        let mut buffer = ReadBuf::new(&mut buffer);
        let polled = Pin::new(&mut sifted).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer);
        assert!(matches!(polled, Poll::Ready(Ok(()))));
        if buffer.filled().is_empty() {
            break;
        }
        read.extend_from_slice(buffer.filled());
    }
    let (preface, frames) = wire.split_at(if is_client { wire.len().min(PREFACE_BYTES) } else { 0 });
    assert_eq!(read, [preface, &without_nothing(frames)].concat());
}

/// Bytes that come in these pieces.
struct Come<'a>(VecDeque<&'a [u8]>);

impl AsyncRead for Come<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(piece) = self.0.pop_front() {
            let (now, later) = piece.split_at(piece.len().min(buf.remaining()));
            buf.put_slice(now);
            if !later.is_empty() {
                self.0.push_front(later);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// RFC 9113, section 6.1, on the whole of what came.
fn without_nothing(mut wire: &[u8]) -> Vec<u8> {
    let (mut kept, mut is_within_head) = (Vec::new(), false);
    while let Some([a, b, c, kind, flags, stream @ ..]) = wire.first_chunk::<9>() {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if matches!(kind, 1 | 5 | 9) {
            is_within_head = flags & 4 == 0;
        }
        let is_on_a_stream = u32::from_be_bytes(*stream) << 1 != 0;
        let is_nothing = *kind == 0 && length == 0 && flags & 9 == 0;
        let (frame, rest) = wire.split_at(wire.len().min(9 + length));
        if !is_nothing || !is_on_a_stream || is_within_head {
            kept.extend_from_slice(frame);
        }
        wire = rest;
    }
    kept.extend_from_slice(wire);
    kept
}

/// How many bytes are remembered.
const BYTES_MAX: usize = 4096;

/// A choice of pieces, then requests one behind the other: what is told of a head is what that head says.
pub fn pipelined_heads(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (seed, ahead) = (input.byte(), usize::from(input.byte()));
    let wire = &input.rest()[..input.rest().len().min(BYTES_MAX)];
    let mut heads = RawHeads::new(BYTES_MAX);
    let (mut came, mut at) = (0, 0);
    let mut arriving = pieces(wire, seed);
    loop {
        // The parser reads ahead as it likes.
        while let Some(piece) = (came < at + 1 + ahead || read_head(&wire[at..came]).is_none()).then(|| arriving.next()).flatten()
        {
            heads.came(piece);
            came += piece.len();
        }
        let Some(head) = read_head(&wire[at..came]).filter(|head| head.length > 0) else { return };
        assert_eq!(heads.take(head.framing), Some(head.truth), "{}", wire[at..at + head.length].escape_ascii());
        at += head.length;
        let Some(length) = body_length(&wire[at..], head.framing) else { return };
        at += length;
        while came < at {
            let Some(piece) = arriving.next() else { return };
            heads.came(piece);
            came += piece.len();
        }
    }
}

struct Head {
    /// The empty lines before it included. 0: none that a parser takes.
    length: usize,
    framing: Framing,
    truth: Told,
}

/// Reads as hyper does: a Transfer-Encoding makes it forget the Content-Length before it and pass over those behind it, unread; equal
/// lengths become one.
fn read_head(bytes: &[u8]) -> Option<Head> {
    let mut room = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut room);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => Some(head_of(&request, length).unwrap_or(REFUSED)),
        Ok(httparse::Status::Partial) => None,
        Err(_) => Some(REFUSED),
    }
}

const REFUSED: Head = Head { length: 0, framing: Framing::Length(0), truth: Told { length_beside_chunks: false } };

fn head_of(request: &httparse::Request<'_, '_>, length: usize) -> Option<Head> {
    let (mut framing, mut lengths, mut known) = (Framing::Length(0), 0, None);
    for field in &*request.headers {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            let is_read = field.value.eq_ignore_ascii_case(b"chunked") && request.version == Some(1);
            framing = is_read.then_some(Framing::Chunked)?;
        } else if field.name.eq_ignore_ascii_case("content-length") {
            lengths += 1;
            if framing == Framing::Chunked {
                continue;
            }
            let digits = std::str::from_utf8(field.value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
            let length = digits.parse().ok()?;
            framing = Framing::Length(length);
            if known.replace(length).is_some_and(|before| before != length) {
                return None;
            }
        }
    }
    let truth = Told { length_beside_chunks: framing == Framing::Chunked && lengths > 0 };
    Some(Head { length, framing, truth })
}

/// `None` if it is not there whole, or malformed.
fn body_length(bytes: &[u8], framing: Framing) -> Option<usize> {
    match framing {
        Framing::Length(length) => usize::try_from(length).ok().filter(|length| *length <= bytes.len()),
        Framing::Chunked => {
            let mut buffer = BytesMut::from(bytes);
            let is_whole = Chunks::Size.end_within(&mut buffer).ok()?;
            is_whole.then(|| bytes.len() - buffer.len())
        }
    }
}
