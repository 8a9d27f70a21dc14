//! What an upstream is asked, in the terms of no protocol.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::domain::affinity::AffinityKey;
use crate::domain::headers::FieldSink;
use crate::proxy::watch::ExchangeWatch;

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
}

/// Writes the fields of a request. Host and those that concern one connection are none of its business.
pub trait RequestFields {
    fn write(&self, out: &mut impl FieldSink);
}

/// How long one exchange may take for what.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeTimeouts {
    /// From the end of the request to the end of the response's head.
    pub response: Duration,
    /// From then on: how long no byte may move, in either direction.
    pub idle: Duration,
}

/// What holds for an exchange, however often it is attempted.
#[derive(Clone, Copy)]
pub struct ExchangeTerms<'a> {
    /// That of the response begins with the first attempt that sends the request whole.
    pub timeouts: ExchangeTimeouts,
    pub watch: &'a Rc<ExchangeWatch>,
    /// Told of interim responses (1xx), but not of 100: Expect is not sent on, so nobody waits for one.
    pub interim: &'a dyn Fn(StatusCode, HeaderMap),
}
