//! The socket of an HTTP/2 client as h2 sees it: the watch is told what is waited for, frames are counted, and the end is one that the
//! client gets to see.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Http2Connection;
use crate::domain::reset_meter::ResetMeter;
use crate::proxy::client::stream::ClientStream;
use crate::proxy::watch::ConnectionWait;

/// The client's socket.
#[derive(Debug)]
pub(super) struct Http2Io {
    stream: ClientStream,
    /// Read already, when the protocol was not known yet.
    early: Bytes,
    connection: Rc<Http2Connection>,
    resets: ResetMeter,
    end: End,
}

/// How far our side has come with closing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Open,
    /// Nothing more is sent. So many bytes may still come: to close before the client has seen the end would reset the connection, and
    /// take from the client what it has not read.
    ReadingOut(usize),
}

/// What is read of a client that was told the end.
const LAST_BYTES_MAX: usize = 512 * 1024;

/// For how long.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);

impl Http2Io {
    pub(super) fn new(stream: ClientStream, early: Bytes, connection: &Rc<Http2Connection>) -> Self {
        Self { stream, early, connection: Rc::clone(connection), resets: ResetMeter::of_server(), end: End::Open }
    }

    fn note_came(&self, bytes: &[u8]) {
        let connection = &self.connection;
        let is_open = connection.meter.has_seen_a_frame();
        connection.has_come();
        connection.has_sent(bytes);
        connection.intakes.note(connection.meter.take_data_frames());
        if !is_open && connection.meter.has_seen_a_frame() && connection.is_idle() {
            // The client speaks HTTP/2: it may take its time to ask.
            connection.awaits_request();
        }
    }

    fn note_write<'a>(&mut self, polled: &Poll<io::Result<usize>>, bufs: impl IntoIterator<Item = &'a [u8]>) {
        if let Poll::Ready(Ok(written)) = polled {
            self.connection.meter.sent(*written);
            let mut left = *written;
            for buf in bufs {
                let (gone, _) = buf.split_at(left.min(buf.len()));
                self.resets.pass(gone);
                left -= gone.len();
            }
            if self.resets.is_time_to_leave() {
                self.connection.leave();
            }
        }
        self.keep_time(polled.is_pending());
    }

    fn keep_time(&mut self, is_blocked: bool) {
        let watch = &self.connection.client.watch;
        let has_taken = self.stream.has_taken();
        if !is_blocked {
            watch.disarm(ConnectionWait::ClientWrite);
        } else if has_taken || !watch.is_armed(ConnectionWait::ClientWrite) {
            watch.arm(ConnectionWait::ClientWrite, self.connection.client.limits.write_timeout);
        }
    }

    fn poll_read_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 4 * 1024];
        while let End::ReadingOut(left) = &mut self.end {
            let mut room = ReadBuf::new(&mut scratch);
            let is_over = self.connection.client.watch.take_expired(ConnectionWait::LingerEnd);
            match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
                Poll::Pending if !is_over => return Poll::Pending,
                Poll::Ready(Ok(())) if !room.filled().is_empty() && !is_over => {
                    let read = room.filled().len();
                    match left.checked_sub(read) {
                        Some(rest) => *left = rest,
                        None => break,
                    }
                }
                Poll::Pending | Poll::Ready(_) => break,
            }
        }
        self.connection.client.watch.disarm(ConnectionWait::LingerEnd);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Http2Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.connection.flood().is_some() {
            // Nothing of it is worth a look; whoever serves the connection ends it.
            return Poll::Pending;
        }
        if this.connection.intakes.is_due() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if this.early.is_empty() {
            match ready!(Pin::new(&mut this.stream).poll_read(cx, buf)) {
                // Under TLS an end without a word. What was to come is known by its framing.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                read => read?,
            }
        } else {
            let taken = this.early.len().min(buf.remaining());
            buf.put_slice(&this.early[..taken]);
            this.early.advance(taken);
        }
        this.note_came(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.note_write(&polled, [buf]);
        polled
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.note_write(&polled, bufs.iter().map(|buf| &**buf));
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        if polled.is_pending() {
            this.keep_time(true);
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.end == End::Open {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.end = End::ReadingOut(LAST_BYTES_MAX);
            this.connection.client.watch.arm(ConnectionWait::LingerEnd, LAST_TIMEOUT);
        }
        this.poll_read_out(cx)
    }
}
