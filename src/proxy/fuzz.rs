//! What must hold for what clients send beside the parser's back.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};

use super::admission::presented_token;
use super::raw_head::{Body, RawHeads, Told};
use crate::domain::fuzz::{Input, pieces};

/// Fields: a token is presented by one field alone, as it stands there.
pub fn presented_tokens(bytes: &[u8]) {
    let headers = Input::new(bytes).fields();
    let Ok(Some(presented)) = presented_token(&headers, Some("session")) else { return };
    let token = presented.token;
    assert!(!token.is_empty() && token.is_ascii() && (presented.in_cookie || token.trim_matches(' ') == token));
    let name = if presented.in_cookie { COOKIE } else { AUTHORIZATION };
    let holding = headers.get_all(&name).iter().filter(|value| value.to_str().is_ok_and(|text| text.contains(token)));
    assert!(holding.count() >= 1);
    if presented.in_cookie {
        let ours = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
        assert_eq!(ours.filter(|pair| pair.trim().starts_with("session=")).count(), 1, "one of two was set by someone else");
    } else {
        assert_eq!(headers.get_all(AUTHORIZATION).iter().count(), 1);
    }
    let without_it: HeaderMap =
        headers.iter().filter(|(other, _)| **other != name).map(|(n, v)| (n.clone(), v.clone())).collect();
    assert_eq!(presented_token(&without_it, Some("session")).map(|other| other.map(|other| other.token)), Ok(None));
}

/// How many bytes are remembered.
const BYTES_MAX: usize = 4096;

/// A choice of pieces, one of patience, then requests one behind the other: what is told of a head is what that head says.
pub fn pipelined_heads(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (seed, patience) = (input.byte(), input.byte());
    let wire = input.rest();
    let mut heads = RawHeads::new(BYTES_MAX);
    let mut arriving = pieces(wire, seed);
    let (mut came, mut at, mut turn) = (0, 0, 0_u32);
    let mut more = |heads: &mut RawHeads, came: &mut usize| match arriving.next() {
        Some(piece) => {
            heads.came(piece);
            *came += piece.len();
            true
        }
        None => false,
    };
    loop {
        let Some(head) = read_head(&wire[at..came]) else {
            if more(&mut heads, &mut came) {
                continue;
            }
            return;
        };
        if head.length == 0 {
            return;
        }
        // The parser has its head; a client that does not wait sends on meanwhile.
        if let Some(told) = heads.take(head.fields, head.body) {
            assert_eq!(told, head.truth, "{}", wire[at..at + head.length].escape_ascii());
        }
        at += head.length;
        at += loop {
            if let Some(length) = body_length(&wire[at..came], head.body) {
                break length;
            }
            if !more(&mut heads, &mut came) {
                return;
            }
        };
        turn += 1;
        if patience.rotate_left(turn) & 1 == 1 {
            more(&mut heads, &mut came);
        }
        heads.exchange_ends();
    }
}

struct Head {
    /// The empty lines before it included. 0: none that a parser takes.
    length: usize,
    /// As many as the parser keeps.
    fields: usize,
    body: Body,
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

const REFUSED: Head =
    Head { length: 0, fields: 0, body: Body::Length(0), truth: Told { length_beside_chunks: false, fragment: false } };

fn head_of(request: &httparse::Request<'_, '_>, length: usize) -> Option<Head> {
    let (mut body, mut kept, mut lengths, mut known) = (Body::Length(0), 0, 0, None);
    for field in &*request.headers {
        kept += 1;
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            let is_read = field.value.eq_ignore_ascii_case(b"chunked") && request.version == Some(1);
            body = is_read.then_some(Body::Chunked)?;
            kept -= usize::from(known.take().is_some());
        } else if field.name.eq_ignore_ascii_case("content-length") {
            lengths += 1;
            if body == Body::Chunked {
                kept -= 1;
                continue;
            }
            let digits = std::str::from_utf8(field.value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
            let length = digits.parse().ok()?;
            body = Body::Length(length);
            match known.replace(length) {
                None => {}
                Some(before) if before == length => kept -= 1,
                Some(_) => return None,
            }
        }
    }
    // `#` may be part of a method too, which no one has.
    let fragment = [request.method, request.path].iter().flatten().any(|text| text.contains('#'));
    let truth = Told { length_beside_chunks: body == Body::Chunked && lengths > 0, fragment };
    Some(Head { length, fields: kept, body, truth })
}

/// `None` while it is not there whole. A chunked body of this model ends at the first empty chunk, and has no trailers.
fn body_length(bytes: &[u8], body: Body) -> Option<usize> {
    match body {
        Body::Length(length) => usize::try_from(length).ok().filter(|length| *length <= bytes.len()),
        Body::Chunked => memchr::memmem::find(bytes, b"0\r\n\r\n").map(|at| at + 5),
    }
}
