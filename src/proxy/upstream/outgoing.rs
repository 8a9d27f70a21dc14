//! What is left to send of a request whose response has begun.

use std::task::{Context, Poll};

use super::body::BodyFault;
use super::end::ExchangeEnd;
use super::terms::StreamWatch;

/// Why sending stopped.
#[derive(Debug)]
pub(super) enum SendFault<C> {
    Body(BodyFault),
    /// The upstream takes no more of it.
    Upstream(C),
}

/// A request on its way, by whatever protocol.
pub(super) trait Outgoing {
    /// What is known of an upstream that takes no more.
    type Cause;

    fn is_finished(&self) -> bool;

    /// Sent, or read from the client for nothing.
    fn bytes_passed(&self) -> u64;

    /// Sends as much as both sides allow. Ready once the request is out whole.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendFault<Self::Cause>>>;

    /// [`super::body::RequestBody::poll_discard`].
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// Sends what is left of a request while its response is passed on. `listens_no_more`: the upstream stopped before it had it whole.
pub(super) fn send_on(
    request: &mut impl Outgoing,
    listens_no_more: &mut bool,
    stream: &StreamWatch,
    cx: &mut Context<'_>,
) -> Result<(), ExchangeEnd> {
    if request.is_finished() {
        return Ok(());
    }
    let before = request.bytes_passed();
    if !*listens_no_more {
        match request.poll_send(cx) {
            // The upstream would wait for the rest.
            Poll::Ready(Err(SendFault::Body(fault))) => return Err(fault.into()),
            // The response may stand all the same.
            Poll::Ready(Err(SendFault::Upstream(_))) => *listens_no_more = true,
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
    }
    if *listens_no_more {
        let _ = request.poll_discard(cx);
    }
    if request.bytes_passed() != before {
        stream.watch.stream_moves();
    }
    Ok(())
}
