//! The body of a response while it is passed on, whatever protocol carries it.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::end::ExchangeEnd;
use super::terms::StreamWatch;

/// A body as one protocol carries it.
pub(super) trait Carried {
    /// Of the exchange that it is a part of.
    fn stream(&self) -> &StreamWatch;

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExchangeEnd>>>;

    /// Nothing more of it is wanted: the upstream is told.
    fn stop(&mut self);

    fn is_over(&self) -> bool;

    fn size_hint(&self) -> SizeHint;
}

/// The next part, unless the session has ended for which it comes. With the first error it is over.
pub(super) fn poll_frame(body: &mut impl Carried, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExchangeEnd>>> {
    let polled = match body.stream().watch.ended() {
        Some(ending) => Poll::Ready(Some(Err(ExchangeEnd::Session(ending)))),
        None => body.poll_part(cx),
    };
    if let Poll::Ready(Some(Err(_))) = polled {
        body.stop();
    }
    polled
}
