//! The socket of an upstream as h2 sees it: what it shows of the peer is noted, and its frames are counted.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::signs::Signs;
use crate::domain::frame_meter::FrameMeter;
use crate::proxy::upstream::connect::Stream;
use crate::proxy::watch::TICK;

/// Heads and frames that carry nothing, beside those that answer what was sent: as many as a client may send by default.
const FRAMES_MAX: u32 = 10_000;

/// The upstream's socket.
#[derive(Debug)]
pub(super) struct Http2Io {
    stream: Stream,
    signs: Rc<Signs>,
    meter: FrameMeter,
}

impl Http2Io {
    pub(super) const fn new(stream: Stream, signs: Rc<Signs>) -> Self {
        Self { stream, signs, meter: FrameMeter::of_server(FRAMES_MAX) }
    }

    fn note_write(&self, polled: &Poll<io::Result<usize>>) {
        self.signs.is_blocked(polled.is_pending());
        if let Poll::Ready(Ok(bytes)) = polled {
            self.meter.sent(*bytes);
        }
    }
}

impl AsyncRead for Http2Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        let come = &buf.filled()[before..];
        if !come.is_empty() {
            this.signs.hear();
            if this.meter.is_exceeded_by(come, TICK * this.signs.now()) {
                return Poll::Ready(Err(io::Error::other("the server sends too many frames that carry nothing")));
            }
        }
        polled
    }
}

impl AsyncWrite for Http2Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.note_write(&polled);
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        this.signs.is_blocked(polled.is_pending());
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.signs.is_blocked(polled.is_pending());
        polled
    }
}
