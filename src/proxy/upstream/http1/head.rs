//! Heads as spoken with upstreams: of requests out, of responses in.
//!
//! Strict on what comes in: a response whose framing could be read in two ways is refused, never guessed at.

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use crate::domain::field_list;
use crate::domain::headers::FieldSink as _;
use crate::proxy::http1::framing::Framing;
use crate::proxy::http1::{FIELDS_BYTES_MAX, FIELDS_MAX, Malformed};
use crate::proxy::upstream::framing::{content_length, has_no_body};
use crate::proxy::upstream::request::{RequestFields, UpstreamRequest};

/// Room for what the gateway says beside the upstream.
const FIELDS_ADDED: usize = 4;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// How long a request may be under way that crosses the end of an idle connection.
const CROSSING_MAX: Duration = Duration::from_secs(1);

/// Where the body of a response ends (RFC 9112, section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy::upstream) enum ResponseFraming {
    /// So many bytes, or none.
    Length(u64),
    Chunked,
    /// Where the connection does.
    Close,
}

/// Appends the head of a request.
pub(in crate::proxy::upstream) fn write_request_head<F: RequestFields>(
    out: &mut Vec<u8>,
    request: &UpstreamRequest<'_, F>,
    framing: Framing,
    base_path: &str,
    host: &HeaderValue,
) {
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(base_path.as_bytes());
    out.extend_from_slice(request.target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    out.field(&HOST, host);
    request.fields.write(out);
    if request.opens_websocket {
        out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
    }
    match framing {
        Framing::Length(length) => {
            if let Some(length) = request.announced_length(Some(length)) {
                out.extend_from_slice(b"content-length: ");
                out.extend_from_slice(length.to_string().as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// The head of a response.
#[derive(Debug)]
pub(in crate::proxy::upstream) struct ResponseHead {
    pub(in crate::proxy::upstream) status: StatusCode,
    pub(in crate::proxy::upstream) headers: HeaderMap,
    pub(in crate::proxy::upstream) framing: ResponseFraming,
    /// How long the upstream awaits another request on this connection: zero if it closes it, [`Duration::MAX`] if it does not say.
    pub(super) kept_for: Duration,
}

/// Takes one head off the front of `buffer`; `None` while it is incomplete.
///
/// # Errors
/// Not HTTP/1, too large, or framed ambiguously.
pub(in crate::proxy::upstream) fn read_response_head(
    buffer: &mut BytesMut,
    method: &Method,
) -> Result<Option<ResponseHead>, Malformed> {
    if buffer.is_empty() {
        return Ok(None);
    }
    // Room for all of them is 4 KiB, of which most responses need little: it is not cleared.
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let length = match response_grammar().parse_response_with_uninit_headers(&mut parsed, buffer, &mut fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() < FIELDS_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(Malformed("response head too large")),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed("too many response fields")),
        Err(_) => return Err(Malformed("response head is not HTTP/1")),
    };
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed("response status out of range"))?;
    // Values are slices of the frozen head: no allocation per field.
    let base = buffer.as_ptr() as usize;
    let mut found = Vec::with_capacity(parsed.headers.len());
    // Most responses have none of these, which is cheaper to see here than to look up.
    let (mut has_coding, mut has_connection, mut has_keep_alive) = (false, false, false);
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed("bad response field name"))?;
        has_coding |= name == TRANSFER_ENCODING;
        has_connection |= name == CONNECTION;
        has_keep_alive |= name == KEEP_ALIVE;
        found.push((name, field.value.as_ptr() as usize - base, field.value.len()));
    }
    let head = buffer.split_to(length).freeze();
    let mut headers = HeaderMap::with_capacity(found.len() + FIELDS_ADDED);
    for (name, at, length) in found {
        let value =
            HeaderValue::from_maybe_shared(slice(&head, at, length)).map_err(|_| Malformed("bad response field value"))?;
        headers.append(name, value);
    }
    let coding = if has_coding { transfer_coding(&headers, version)? } else { Coding::None };
    let framing = response_framing(status, &headers, coding, method)?;
    let stays_open = if has_connection { stays_open(&headers, version) } else { version == Version::HTTP_11 };
    let kept_for = if framing == ResponseFraming::Close || coding == Coding::Identity || !stays_open {
        Duration::ZERO
    } else if has_keep_alive {
        kept_for(&headers)
    } else {
        Duration::MAX
    };
    Ok(Some(ResponseHead { status, headers, framing, kept_for }))
}

/// Spaces between a field's name and the colon go (RFC 9112, section 5.1); in requests they are refused. Folded values and repeated
/// lengths in one value may be refused (sections 5.2 and 6.3), and are.
fn response_grammar() -> httparse::ParserConfig {
    let mut grammar = httparse::ParserConfig::default();
    grammar.allow_spaces_after_header_name_in_responses(true);
    grammar
}

/// An empty value may point outside the head, so it is not sliced by its address.
fn slice(head: &Bytes, at: usize, len: usize) -> Bytes {
    if len == 0 { Bytes::new() } else { head.slice(at..at + len) }
}

/// RFC 9112, section 6.3, minus every case that two readers could read differently.
fn response_framing(
    status: StatusCode,
    headers: &HeaderMap,
    coding: Coding,
    method: &Method,
) -> Result<ResponseFraming, Malformed> {
    let length = content_length(headers)?;
    if coding == Coding::Chunked && length.is_some() {
        return Err(Malformed("response has both Content-Length and Transfer-Encoding"));
    }
    if has_no_body(status, method) {
        return Ok(ResponseFraming::Length(0));
    }
    Ok(match (coding, length) {
        (Coding::Chunked, _) => ResponseFraming::Chunked,
        (Coding::None | Coding::Identity, Some(length)) => ResponseFraming::Length(length),
        (Coding::None | Coding::Identity, None) => ResponseFraming::Close,
    })
}

/// What was done to a body for its way here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Coding {
    None,
    /// Nothing, in the words of RFC 2616, section 3.6. Whether a Content-Length counts beside it is read in two ways: the connection
    /// is not used again, so that no byte behind the length can be taken for another response.
    Identity,
    Chunked,
}

/// Any other coding is one that the request did not ask for. To drop its name, as some proxies do, would pass off the coded bytes as
/// the body.
fn transfer_coding(headers: &HeaderMap, version: Version) -> Result<Coding, Malformed> {
    let mut coding = Coding::None;
    for token in field_list::members(headers, &TRANSFER_ENCODING) {
        coding = match coding {
            Coding::None if token.eq_ignore_ascii_case(b"identity") => Coding::Identity,
            Coding::None | Coding::Identity if token.eq_ignore_ascii_case(b"chunked") => Coding::Chunked,
            Coding::None | Coding::Identity | Coding::Chunked => {
                return Err(Malformed("response has a Transfer-Encoding other than chunked"));
            }
        };
    }
    if coding == Coding::Chunked && version == Version::HTTP_10 {
        return Err(Malformed("HTTP/1.0 response has a Transfer-Encoding"));
    }
    Ok(coding)
}

fn stays_open(headers: &HeaderMap, version: Version) -> bool {
    let says = |word| field_list::has(headers, &CONNECTION, word);
    if version == Version::HTTP_11 { !says("close") } else { says("keep-alive") }
}

/// By `Keep-Alive: timeout=5`, in seconds, as Node and Apache write it. Less than that: what is sent shortly before the upstream closes the
/// connection may arrive too late.
fn kept_for(headers: &HeaderMap) -> Duration {
    let timeout = field_list::members(headers, &KEEP_ALIVE).find_map(|member| {
        let (name, value) = std::str::from_utf8(member).ok()?.split_once('=')?;
        let is_timeout = name.trim_end().eq_ignore_ascii_case("timeout");
        is_timeout.then(|| value.trim_start().parse().ok()).flatten().map(Duration::from_secs)
    });
    timeout.map_or(Duration::MAX, |timeout| timeout.saturating_sub(CROSSING_MAX).max(timeout / 2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(text: &str) -> Result<Option<ResponseHead>, Malformed> {
        read_response_head(&mut BytesMut::from(text), &Method::GET)
    }

    fn framing(text: &str) -> Result<ResponseFraming, Malformed> {
        head(text).map(|head| head.expect("a whole head").framing)
    }

    #[test]
    fn framing_follows_the_rfc() {
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Ok(ResponseFraming::Length(5)));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Ok(ResponseFraming::Chunked));
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n"), Ok(ResponseFraming::Close));
        assert_eq!(framing("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"), Ok(ResponseFraming::Length(0)));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"), Ok(ResponseFraming::Length(5)));
        let to_head = read_response_head(&mut BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), &Method::HEAD);
        assert_eq!(to_head.unwrap().unwrap().framing, ResponseFraming::Length(0));
    }

    #[test]
    fn a_coding_that_changes_nothing_is_none_and_its_connection_is_not_used_again() {
        for (fields, expected) in [
            ("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", ResponseFraming::Length(5)),
            ("Transfer-Encoding: Identity\r\n", ResponseFraming::Close),
        ] {
            let head = head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).unwrap().unwrap();
            assert_eq!((head.framing, head.kept_for), (expected, Duration::ZERO), "{fields}");
        }
        for fields in
            ["Transfer-Encoding: identity, chunked\r\n", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"]
        {
            assert_eq!(framing(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")), Ok(ResponseFraming::Chunked), "{fields}");
        }
        assert_eq!(framing("HTTP/1.0 200 OK\r\nTransfer-Encoding: identity\r\n\r\n"), Ok(ResponseFraming::Close));
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: identity, identity\r\n",
            "Transfer-Encoding: identity, gzip\r\n",
            "Transfer-Encoding: identity, chunked\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: chunked;q=1\r\n",
            "Transfer-Encoding: \r\n",
        ] {
            assert!(framing(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).is_err(), "{fields}");
        }
        assert!(framing("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn heads_that_are_not_http_are_refused() {
        for text in [
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname\u{b}: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\na name: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname x: y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname \r\n: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\n : x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
        ] {
            assert!(head(text).is_err(), "{text}");
        }
        assert!(head(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(129))).is_err());
        assert!(head(&format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(FIELDS_BYTES_MAX))).is_err());
    }

    #[test]
    fn spaces_before_a_colon_go_and_what_the_field_says_counts() {
        let read = head("HTTP/1.1 200 OK\r\nContent-Length : 5\r\nX-A \t : b\r\n\r\n").unwrap().unwrap();
        assert_eq!((read.framing, read.headers["x-a"].as_bytes()), (ResponseFraming::Length(5), &b"b"[..]));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n"), Ok(ResponseFraming::Chunked));
        for ambiguous in [
            "Content-Length : 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5\r\nTransfer-Encoding : chunked\r\n",
            "Content-Length : 5, 5\r\n",
        ] {
            assert!(framing(&format!("HTTP/1.1 200 OK\r\n{ambiguous}\r\n")).is_err(), "{ambiguous}");
        }
    }

    #[test]
    fn what_old_and_simple_servers_send_is_read() {
        for (wire, status) in [
            ("HTTP/1.1 404\r\n\r\n", 404),
            ("HTTP/1.1 404 \r\n\r\n", 404),
            ("HTTP/1.0 200 OK\r\n\r\n", 200),
            ("HTTP/1.1 200 D\u{e9}j\u{e0} vu\r\n\r\n", 200),
            ("HTTP/1.1 200 OK\nServer: x\n\n", 200),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", 200),
            ("HTTP/1.1 200 OK\r\nX-Empty:\r\nX-Blank: \r\n\r\n", 200),
        ] {
            assert_eq!(head(wire).unwrap().unwrap().status, status, "{wire}");
        }
        let named = head("HTTP/1.1 200 OK\r\nContent-Disposition: attachment; filename=\"\u{e9}t\u{e9}.pdf\"\r\n\r\n");
        let value = named.unwrap().unwrap().headers["content-disposition"].as_bytes().to_vec();
        assert_eq!(value, "attachment; filename=\"\u{e9}t\u{e9}.pdf\"".as_bytes());
    }

    #[test]
    fn a_connection_stays_open_as_its_version_says() {
        let keep = |text: &str| !head(text).unwrap().unwrap().kept_for.is_zero();
        assert!(keep("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
        assert!(!keep("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n"));
        assert!(!keep("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"));
        assert!(keep("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n"));
        assert!(!keep("HTTP/1.1 200 OK\r\n\r\n"));
    }

    #[test]
    fn a_connection_is_kept_for_less_than_its_upstream_says() {
        let kept_for = |field: &str| {
            let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{field}\r\n\r\n");
            head(&response).unwrap().unwrap().kept_for
        };
        for (field, millis) in [
            ("Keep-Alive: timeout=5", 4_000),
            ("keep-alive: max=100, Timeout = 72", 71_000),
            ("Keep-Alive: max=100\r\nKeep-Alive: timeout=2", 1_000),
            ("Keep-Alive: timeout=1", 500),
            ("Keep-Alive: timeout=0", 0),
        ] {
            assert_eq!(kept_for(field), Duration::from_millis(millis), "{field}");
        }
        for field in
            ["Keep-Alive: max=100", "Keep-Alive: timeout=", "Keep-Alive: timeout=-1", "Keep-Alive: \u{ff}", "X: timeout=5"]
        {
            assert_eq!(kept_for(field), Duration::MAX, "{field}");
        }
        assert_eq!(kept_for("Keep-Alive: timeout=5\r\nConnection: close"), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read_response_head(&mut BytesMut::from(&bytes[..]), &Method::GET);
        }
    }
}
