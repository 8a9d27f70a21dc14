//! What was given to h2 to be sent, until h2 has taken it out of its queue. A reset throws away what is in there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;

/// Of one stream.
#[derive(Debug, Default)]
pub(super) struct Queued(Arc<Pieces>);

#[derive(Debug, Default)]
struct Pieces {
    count: AtomicUsize,
    waiter: AtomicWaker,
}

/// h2 drops it when it has written it, or will not.
struct Piece {
    bytes: Box<[u8]>,
    of: Arc<Pieces>,
}

impl Queued {
    /// These bytes, to be given to h2.
    pub(super) fn piece(&self, bytes: &[u8]) -> Bytes {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(Piece { bytes: bytes.into(), of: Arc::clone(&self.0) })
    }

    /// Waits until nothing of it is left with h2.
    pub(super) fn poll_empty(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.waiter.register(cx.waker());
        if self.0.count.load(Ordering::Acquire) == 0 { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if self.of.count.fetch_sub(1, Ordering::Release) == 1 {
            self.of.waiter.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn it_is_empty_when_the_last_piece_is_gone_with_all_its_parts() {
        let queued = Queued::default();
        let is_empty = || queued.poll_empty(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(is_empty());
        let (one, mut other) = (queued.piece(b"one"), queued.piece(b"other"));
        assert_eq!((&one[..], &other[..]), (&b"one"[..], &b"other"[..]));
        let rest = other.split_off(2);
        drop((one, other));
        assert!(!is_empty());
        drop(rest);
        assert!(is_empty());
    }
}
