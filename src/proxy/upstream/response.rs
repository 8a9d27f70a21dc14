//! The body of a response, whatever protocol it comes by.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::Upstream;
use super::carried::{Carried as _, poll_frame};
use super::end::ExchangeEnd;
use super::http1::body::Http1Body;
use super::http2::body::Http2Body;
use super::link::Lease;
use super::switched::SwitchedStream;
use crate::domain::stats::Counters;

/// A response's body, read while the client takes it.
///
/// An error breaks the response off. The client is then shown a response that broke off, so that nobody takes the part for the whole.
#[derive(Debug)]
pub struct UpstreamBody {
    upstream: Rc<Upstream>,
    /// Until the response ends, its backend has a request.
    lease: Lease,
    protocol: Protocol,
}

#[derive(Debug)]
enum Protocol {
    Http1(Http1Body),
    /// Boxed: the body by HTTP/1 need not have room for it.
    Http2(Box<Http2Body>),
}

impl UpstreamBody {
    pub(super) const fn of_http1(upstream: Rc<Upstream>, lease: Lease, body: Http1Body) -> Self {
        Self { upstream, lease, protocol: Protocol::Http1(body) }
    }

    pub(super) const fn of_http2(upstream: Rc<Upstream>, lease: Lease, body: Box<Http2Body>) -> Self {
        Self { upstream, lease, protocol: Protocol::Http2(body) }
    }

    /// Whether the rest of a request that is not out whole goes nowhere.
    pub fn ends_the_request(&self) -> bool {
        match &self.protocol {
            Protocol::Http1(body) => body.ends_the_request(),
            // A stream does not end before both sides have ended theirs.
            Protocol::Http2(_) => false,
        }
    }

    /// For log lines.
    pub fn upstream_name(&self) -> &str {
        &self.upstream.options.name
    }

    /// Those of the worker that it is on.
    pub fn counters(&self) -> &Counters {
        &self.upstream.counters
    }

    /// What carries the bytes after a 101, with what the upstream sent already. `None`: there is none to be had.
    pub fn into_stream(self) -> Option<(SwitchedStream, BytesMut, Lease)> {
        let (stream, early) = match self.protocol {
            Protocol::Http1(body) => body.into_stream().map(|(stream, early)| (stream.into(), early))?,
            Protocol::Http2(body) => (body.into_socket()?.into(), BytesMut::new()),
        };
        Some((stream, early, self.lease))
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = ExchangeEnd;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExchangeEnd>>> {
        let this = self.get_mut();
        let polled = match &mut this.protocol {
            Protocol::Http1(body) => poll_frame(body, cx),
            Protocol::Http2(body) => poll_frame(&mut **body, cx),
        };
        if let Poll::Ready(Some(Err(ExchangeEnd::Upstream(_)))) = &polled {
            this.upstream.failed(&this.lease);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.protocol {
            Protocol::Http1(body) => body.is_over(),
            Protocol::Http2(body) => body.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.protocol {
            Protocol::Http1(body) => body.size_hint(),
            Protocol::Http2(body) => body.size_hint(),
        }
    }
}
