//! A connection that speaks HTTP/1.1.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;

use super::sending::Sending;
use crate::proxy::upstream::connect::Stream;
use crate::proxy::upstream::outgoing::{Outgoing, SendFault};
use crate::proxy::upstream::terms::Progress;

/// Free room that a read is given at the least.
const READ_ROOM_MIN: usize = 4 * 1024;

/// What a read buffer grows by.
const READ_ROOM: usize = 16 * 1024;

/// A connection with what was read beyond the last response, and the request that it carries. In a box, which goes with it from
/// exchange to exchange: it is passed on from step to step of each.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) io: Stream,
    pub(super) read: BytesMut,
    pub(super) sending: Sending,
    /// How long it may be kept without use by the upstream's last word.
    pub(super) kept_for: Duration,
}

impl Connection {
    pub(super) fn new(io: Stream) -> Box<Self> {
        Box::new(Self { io, read: BytesMut::new(), sending: Sending::default(), kept_for: Duration::MAX })
    }

    pub(super) fn progress(&mut self) -> Progress {
        let has_taken = self.io.has_taken();
        self.sending.progress(has_taken)
    }

    /// Reads more into the buffer; 0 at the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < READ_ROOM_MIN {
            self.read.reserve(READ_ROOM);
        }
        tokio_util::io::poll_read_buf(Pin::new(&mut self.io), cx, &mut self.read)
    }

    /// Whether an unused connection is still good: nothing to read, and not at its end. Asks what the event loop knows already.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.read.is_empty() && self.poll_fill(&mut cx).is_pending()
    }
}

impl Outgoing for Connection {
    type Cause = io::Error;

    fn is_finished(&self) -> bool {
        self.sending.is_finished()
    }

    fn bytes_passed(&self) -> u64 {
        self.sending.bytes_passed()
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendFault<io::Error>>> {
        self.sending.poll_send(&mut self.io, cx)
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sending.poll_discard(cx)
    }
}
