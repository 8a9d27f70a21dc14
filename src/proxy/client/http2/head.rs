//! The head of a request by HTTP/2, as the request path wants it, and what h2 leaves to be checked.

use bytes::BytesMut;
use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::domain::headers::check_fields;
use crate::proxy::client::tunnel::handshake;

/// Brings a head into the form that HTTP/1 would have given it: one Cookie field, and for a WebSocket the method that it has there.
pub(super) fn prepare(head: &mut Parts, nonce: impl FnOnce() -> [u8; 16]) {
    join_cookies(&mut head.headers);
    let asks_for_websocket = head.method == Method::CONNECT
        && head.extensions.get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
    if asks_for_websocket {
        handshake::translate(head, nonce());
    }
}

/// Clients split the Cookie field so that it compresses better (RFC 9113, section 8.2.3). To everyone else, two fields are two claims.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let mut joined = BytesMut::from(first.as_bytes());
    for crumb in std::iter::once(second).chain(crumbs) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    let joined = HeaderValue::from_maybe_shared(joined.freeze()).expect("values with a separator between them are a value");
    headers.insert(COOKIE, joined);
}

/// The length that is announced for the body. h2 refuses a body of another one, and a field that is no number.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Of a fragment alone nothing is left, which reads as `/`.
fn has_no_path(uri: &Uri) -> bool {
    uri.path_and_query().is_some_and(|target| target.as_str() == "/" && *target != PathAndQuery::from_static("/"))
}

/// Refuses what h2 lets pass and HTTP/1 would read in another way. Connection-specific fields, names in capitals, repeated
/// pseudo-fields and control characters do not come this far: h2 resets their streams.
///
/// # Errors
/// Fixed text for the client.
pub(in crate::proxy::client) fn check(head: &Parts) -> Result<(), &'static str> {
    if has_no_path(&head.uri) {
        return Err("The target has no path.");
    }
    check_fields(&head.headers)
}
