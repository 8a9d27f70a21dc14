//! What an upstream is asked, in the terms of no protocol.

use http::{HeaderValue, Method};

use crate::domain::affinity::AffinityKey;
use crate::domain::headers::FieldSink;

/// A request without its body, which says itself how it is framed.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamRequest<'a, F> {
    pub method: &'a Method,
    /// Path and query, canonical.
    pub target: &'a str,
    /// The one that the client named.
    pub host: Option<&'a HeaderValue>,
    pub fields: F,
    /// What it has in common with others that go to the same backend; `None`: any will do.
    pub affinity: Option<AffinityKey>,
    /// Whether the connection is to become a WebSocket.
    pub opens_websocket: bool,
}

impl<F> UpstreamRequest<'_, F> {
    /// RFC 9110, section 9.2.2.
    pub(super) fn is_idempotent(&self) -> bool {
        [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE].contains(self.method)
    }

    /// What Content-Length says of a body of this length, if there is one.
    pub(super) fn announced_length(&self, length: Option<u64>) -> Option<u64> {
        match length {
            // Some servers answer 411 to these without a length (RFC 9110, section 8.6).
            Some(0) => [Method::POST, Method::PUT, Method::PATCH].contains(self.method).then_some(0),
            length => length,
        }
    }
}

/// Writes the fields of a request. Host and those that concern one connection are none of its business.
pub trait RequestFields {
    fn write(&self, out: &mut impl FieldSink);

    /// Whether whoever asks wants the fields behind the body of the response.
    fn wants_trailers(&self) -> bool;
}
