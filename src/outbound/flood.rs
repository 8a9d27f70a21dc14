//! Bounds on servers that send without end.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use http::Request;
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::frame_meter::FrameMeter;
use crate::domain::interim::INTERIM_RESPONSES_MAX;
use crate::proxy::upstream::connect::Protocol;

/// The heads, and the frames that carry nothing, that a server may send by HTTP/2 beside those that answer what was sent to it: what is
/// said when a connection is opened, and interim responses.
const FRAMES_MAX: u32 = INTERIM_RESPONSES_MAX + 100;

/// What is read of a connection before others get their turn.
const TURN_BYTES: usize = 64 * 1024;

/// Ends the call by HTTP/1.1 that sends this request, if there are too many interim responses: hyper takes any number.
pub(super) async fn of_few_interim_responses<B, T, F>(
    mut request: Request<B>,
    call: impl FnOnce(Request<B>) -> F,
) -> Result<T, String>
where
    F: Future<Output = T>,
{
    let (count, excess) = (AtomicU32::new(0), CancellationToken::new());
    let ends = excess.clone();
    hyper::ext::on_informational(&mut request, move |_| {
        if count.fetch_add(1, Ordering::Relaxed) >= INTERIM_RESPONSES_MAX {
            ends.cancel();
        }
    });
    let response = excess.run_until_cancelled(call(request)).await;
    // The final one may have come with those that were too many.
    response.filter(|_| !excess.is_cancelled()).ok_or_else(|| format!("more than {INTERIM_RESPONSES_MAX} interim responses"))
}

/// A connection whose reader pauses after every so many bytes. Else one that always has more is read for as long as one poll may last.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    read_this_turn: usize,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, read_this_turn: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read_this_turn >= TURN_BYTES {
            self.read_this_turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.read_this_turn += buf.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: Connection> Connection for Paced<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

/// A connection that ends if by HTTP/2 its server sends more frames than calls can need: hyper takes any number.
#[derive(Debug)]
pub(super) struct OfFewFrames<S> {
    stream: S,
    /// `None`: HTTP/1.1 is spoken.
    meter: Option<FrameMeter>,
    began_at: Instant,
}

impl<S> OfFewFrames<S> {
    pub(super) fn new(stream: S, protocol: Protocol) -> Self {
        let meter = (protocol == Protocol::Http2).then(|| FrameMeter::of_server(FRAMES_MAX));
        Self { stream, meter, began_at: Instant::now() }
    }
}

impl<S: Connection> Connection for OfFewFrames<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for OfFewFrames<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let is_exceeded = |meter: &FrameMeter| meter.is_exceeded_by(&buf.filled()[before..], self.began_at.elapsed());
        if self.meter.as_ref().is_some_and(is_exceeded) {
            return Poll::Ready(Err(io::Error::other("the server sends too many frames that carry nothing")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for OfFewFrames<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        if let Some(meter) = &self.meter {
            meter.sent(sent);
        }
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn whoever_reads_what_has_no_end_pauses_and_goes_on() {
        let mut paced = Paced::new(tokio::io::repeat(b'x'));
        let mut bytes = [0; TURN_BYTES / 4];
        for _ in 0..2 {
            let read_in_one_poll = poll_fn(|cx| {
                let mut read = 0;
                while read <= 2 * TURN_BYTES && Pin::new(&mut paced).poll_read(cx, &mut ReadBuf::new(&mut bytes)).is_ready() {
                    read += TURN_BYTES / 4;
                }
                Poll::Ready(read)
            });
            assert_eq!(read_in_one_poll.await, TURN_BYTES);
        }
    }
}
