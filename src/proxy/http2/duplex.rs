//! A stream of HTTP/2 as bytes both ways, once it carries another protocol.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{Reason, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::intake::Intake;
use super::poll_room;
use super::queued::Queued;

/// Dropped before both sides have ended, it resets the stream.
#[derive(Debug)]
pub(in crate::proxy) struct Duplex {
    intake: Intake,
    sending: SendStream<Bytes>,
    queued: Queued,
    /// Received, and not read.
    waiting: Bytes,
}

impl Duplex {
    pub(in crate::proxy) fn new(intake: Intake, sending: SendStream<Bytes>) -> Self {
        Self { intake, sending, queued: Queued::default(), waiting: Bytes::new() }
    }

    /// Whether the other side has ended, and everything was read.
    pub(in crate::proxy) fn has_ended(&self) -> bool {
        self.waiting.is_empty() && self.intake.data_is_over()
    }

    /// Once everything has left that was written: nothing more comes, and nothing more is listened to.
    pub(in crate::proxy) fn poll_reset(&mut self, reason: Reason, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.queued.poll_empty(cx));
        self.sending.send_reset(reason);
        Poll::Ready(())
    }
}

impl AsyncRead for Duplex {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.waiting.is_empty() {
            match ready!(this.intake.poll_data(cx)) {
                Some(Ok(data)) => this.waiting = data,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = this.waiting.len().min(buf.remaining());
        buf.put_slice(&this.waiting[..taken]);
        this.waiting.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let room = ready!(poll_room(&mut this.sending, buf.len(), cx)).map_err(io::Error::other)?;
        this.sending.send_data(this.queued.piece(&buf[..room]), false).map_err(io::Error::other)?;
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().sending.send_data(Bytes::new(), true).map_err(io::Error::other))
    }
}
