//! What HTTP/2 is towards clients and towards upstreams alike (RFC 9113).

pub(in crate::proxy) mod duplex;
pub(in crate::proxy) mod intake;
mod queued;
pub(in crate::proxy) mod sifted;
mod waiting;

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;

/// What waits of one message in h2, beside the other side's window.
pub(in crate::proxy) const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// For how long what still comes for a stream is ignored that the gateway has reset. It crosses the reset, on lines that are slow or stand
/// still for a moment. Behind that, DATA is answered by another reset, and for trailers of a client the connection ends.
pub(in crate::proxy) const RESET_REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// For so many such streams, where a connection carries `streams_max` at once: that all end together may happen each second.
pub(in crate::proxy) const fn resets_remembered(streams_max: u32) -> usize {
    10 * streams_max as usize
}

/// Streams that h2 resets for what the other side sends on them, in the life of one connection; with one more, it ends. Each may take up
/// memory until its reset is out, also where the stream was no more. Long before that, the connection gets no further requests
/// ([`ResetMeter`](crate::domain::reset_meter::ResetMeter)), so that no honest one comes so far.
pub(in crate::proxy) const LOCAL_RESETS_MAX: usize = 1024;

/// RFC 9113, section 6.5.2: each field counts so much more than its bytes.
pub(in crate::proxy) const FIELD_OVERHEAD_BYTES: usize = 32;

/// Waits until something can be sent. h2 shares a window among those who ask for it: more than is there to be sent is not asked for.
pub(in crate::proxy) fn poll_room(
    sending: &mut SendStream<Bytes>,
    wanted: usize,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, h2::Error>> {
    sending.reserve_capacity(wanted);
    loop {
        let room = sending.capacity().min(wanted);
        if room > 0 {
            return Poll::Ready(Ok(room));
        }
        match ready!(sending.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => return Poll::Ready(Err(h2::Reason::STREAM_CLOSED.into())),
        }
    }
}
