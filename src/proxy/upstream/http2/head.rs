//! Heads as spoken with upstreams by HTTP/2: of requests out, of responses in. Names, control characters, pseudo-fields, fields of one
//! connection and lengths that differ are h2's to check.

use http::header::{CONTENT_LENGTH, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, response};

use crate::domain::headers::is_token;
use crate::domain::headers::trace::{self, TRACEPARENT};
use crate::proxy::http1::{FIELDS_MAX, Malformed};
use crate::proxy::upstream::framing::{content_length, has_no_body};
use crate::proxy::upstream::request::{RequestFields, UpstreamRequest};

/// Room for the fields of most requests: those of a browser, and the gateway's own.
const FIELDS_EXPECTED: usize = 24;

/// What a request says of where it goes, beside what it asks.
pub(super) struct Destination<'a> {
    pub(super) scheme: Scheme,
    pub(super) host: &'a HeaderValue,
    pub(super) base_path: &'a str,
}

/// The head of a request with a body of this length.
///
/// # Errors
/// Host or path cannot be written. Both are canonical, so this should not happen.
pub(super) fn of_request<F: RequestFields>(
    request: &UpstreamRequest<'_, F>,
    length: Option<u64>,
    destination: Destination<'_>,
) -> Result<Request<()>, http::Error> {
    let path = format!("{}{}", destination.base_path, request.target);
    let uri = Uri::builder()
        .scheme(destination.scheme)
        .authority(Authority::try_from(destination.host.as_bytes())?)
        .path_and_query(PathAndQuery::try_from(path)?)
        .build()?;
    let mut head = Request::new(());
    *head.method_mut() = request.method.clone();
    *head.version_mut() = Version::HTTP_2;
    *head.uri_mut() = uri;
    *head.headers_mut() = HeaderMap::with_capacity(FIELDS_EXPECTED);
    let headers = head.headers_mut();
    request.fields.write(headers);
    if let Some(parent) = headers.get_mut(TRACEPARENT) {
        trace::comes_once(parent);
    }
    if request.fields.wants_trailers() {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(length) = request.announced_length(length) {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    Ok(head)
}

/// What the head of a response says of its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Announced {
    /// There is none.
    NoBody,
    Length(u64),
    /// It ends where the stream does.
    Stream,
}

/// # Errors
/// More fields than are taken, a name that is none, a change of protocol, or a length that is none.
pub(super) fn announced(head: &response::Parts, method: &Method) -> Result<Announced, Malformed> {
    check_fields(&head.headers)?;
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Malformed("status 101, which HTTP/2 does not have"));
    }
    let length = content_length(&head.headers)?;
    Ok(if has_no_body(head.status, method) { Announced::NoBody } else { length.map_or(Announced::Stream, Announced::Length) })
}

/// For interim responses too.
pub(super) fn check_fields(headers: &HeaderMap) -> Result<(), Malformed> {
    if headers.len() > FIELDS_MAX {
        return Err(Malformed("too many response fields"));
    }
    if headers.keys().all(is_token) { Ok(()) } else { Err(Malformed("bad response field name")) }
}
