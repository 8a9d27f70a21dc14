//! What carries the bytes of a WebSocket to an upstream, by a stream of HTTP/2 (RFC 8441), and how it ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Permit;
use super::sending::Sending;
use crate::domain::websocket_frames::Frames;
use crate::proxy::http2::duplex::Duplex;
use crate::proxy::http2::intake::Intake;

/// The stream with leave for it: its connection has one more request as long as it is open. Dropped before its end, it is reset
/// (`CANCEL`), which stands for a connection that broke off.
#[derive(Debug)]
pub(in crate::proxy::upstream) struct Http2Socket {
    duplex: Duplex,
    ours: Frames,
    theirs: Frames,
    closing: Closing,
    _permit: Permit,
}

/// Which closing frames have passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Closing {
    Neither,
    /// The upstream is to answer it.
    Ours,
    /// Ours came first. The socket is closed, and what carried it has nothing more to carry.
    Answered,
    /// The upstream said it first. It ends the stream when it has ours (RFC 6455, section 7.1.1).
    Theirs,
}

impl Http2Socket {
    pub(super) fn new(intake: Intake, sending: Sending, permit: Permit) -> Self {
        Self {
            duplex: Duplex::new(intake, sending.into_stream()),
            ours: Frames::default(),
            theirs: Frames::default(),
            closing: Closing::Neither,
            _permit: permit,
        }
    }
}

impl AsyncRead for Http2Socket {
    /// Ends with the answer to our closing frame. Not every server ends the stream then: hypercorn leaves that to us.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closing == Closing::Answered {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.duplex).poll_read(cx, buf))?;
        this.theirs.pass(&buf.filled()[before..]);
        this.closing = match this.closing {
            Closing::Neither if this.theirs.has_closed() => Closing::Theirs,
            // Whole, with its reason.
            Closing::Ours if this.theirs.has_closed() && this.theirs.is_between() => Closing::Answered,
            closing => closing,
        };
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.duplex).poll_write(cx, buf))?;
        this.ours.pass(&buf[..written]);
        if this.closing == Closing::Neither && this.ours.has_closed() {
            this.closing = Closing::Ours;
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().duplex).poll_flush(cx)
    }

    /// Nothing more is sent. That is said by `END_STREAM` if no closing frame has passed: it stands for the end of a TCP connection (RFC
    /// 8441, section 5). If one has, the upstream ends the stream, or answers the frame, and what is left of the stream is reset without an
    /// error. An `END_STREAM` behind a closing frame would reach a stream that some servers no longer know: hypercorn then ends the
    /// whole connection.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.closing {
            Closing::Neither => Pin::new(&mut this.duplex).poll_shutdown(cx),
            // Whoever reads is woken.
            Closing::Ours | Closing::Theirs if !this.duplex.has_ended() => Poll::Pending,
            Closing::Ours | Closing::Theirs | Closing::Answered => this.duplex.poll_reset(Reason::NO_ERROR, cx).map(Ok),
        }
    }
}
