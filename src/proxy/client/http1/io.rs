//! The socket of an HTTP/1 client as hyper sees it: heads that come whole, interim responses between what hyper writes, and the watch
//! told what is waited for.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Http1Connection;
use super::held::Held;
use crate::proxy::client::stream::ClientStream;
use crate::proxy::watch::ConnectionWait;

/// The client's socket, telling the watch what it waits for.
#[derive(Debug)]
pub(super) struct ClientIo {
    pub(super) stream: ClientStream,
    connection: Rc<Http1Connection>,
    pub(super) held: Held,
    /// The client has ended its side, and the parser has not been told.
    is_half_closed: bool,
    /// Something was seen that is to be read behind the present request: an end would lie behind it.
    is_ahead: bool,
}

/// What is read at once of a head that is held.
const HOLD_ROOM: usize = 4 * 1024;

/// How long a client that has ended its side is believed to be there still, before something is written to it. If it is not, its
/// system answers that with a reset.
const HALF_CLOSED_MAX: Duration = Duration::from_secs(2);

impl AsyncRead for ClientIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.is_ahead = false;
        if !this.held.is_empty() {
            ready!(this.poll_hold(cx))?;
            this.held.hand_out(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = this.poll_stream(cx, buf);
        let came = &buf.filled()[before..];
        if came.is_empty() {
            return match polled {
                Poll::Ready(Ok(())) => this.poll_end(),
                Poll::Ready(Err(_)) | Poll::Pending => polled,
            };
        }
        this.connection.bytes_came(came);
        let Some(head) = this.connection.partial_head_bytes() else { return polled };
        let straight = before + came.len() - came.len().min(head);
        this.held.extend(&buf.filled()[straight..]);
        buf.set_filled(straight);
        if straight > before {
            return polled;
        }
        ready!(this.poll_hold(cx))?;
        this.held.hand_out(buf);
        Poll::Ready(Ok(()))
    }
}

impl ClientIo {
    pub(super) fn new(stream: ClientStream, connection: &Rc<Http1Connection>) -> Self {
        Self { stream, connection: Rc::clone(connection), held: Held::default(), is_half_closed: false, is_ahead: false }
    }

    /// An end without `close_notify` is one like others: what was to come of a request is known by its framing.
    fn poll_stream(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, room) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            polled => polled,
        }
    }

    /// Holds the first bytes that come, and a head until it is whole. Whatever else there is, an end or an error, the parser finds.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            ready!(self.poll_hold_more(cx))?;
        }
        self.poll_hold(cx)
    }

    /// Reads on until the head that is held is whole, too large, or at its end.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.partial_head_bytes().is_some() {
            if ready!(self.poll_hold_more(cx))? == 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// How much came; 0: the client has ended.
    fn poll_hold_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [const { MaybeUninit::uninit() }; HOLD_ROOM];
        let mut room = ReadBuf::uninit(&mut room);
        ready!(self.poll_stream(cx, &mut room))?;
        if !room.filled().is_empty() {
            self.connection.bytes_came(room.filled());
            self.held.extend(room.filled());
        }
        Poll::Ready(Ok(room.filled().len()))
    }

    /// The client's side has ended: ready once the parser is to know, which ends what is under way. Whether the client has left or
    /// merely has nothing more to send cannot be told. So a request that came whole goes on, within [`HALF_CLOSED_MAX`] or until the
    /// response is complete. An end within a response is that of a client which had enough.
    ///
    /// Asked again when [`ConnectionWait::HalfClosed`] is over, and when everything is written.
    fn poll_end(&mut self) -> Poll<io::Result<()>> {
        let connection = &self.connection;
        let watch = &connection.client.watch;
        // Behind an end, a reset is not what is read.
        if let Some(error) = self.stream.take_error()? {
            return Poll::Ready(Err(error));
        }
        let is_over = !connection.owes_a_response()
            || connection.is_responding() && !self.is_half_closed
            || watch.take_expired(ConnectionWait::HalfClosed) && !connection.is_responding();
        if is_over {
            watch.disarm(ConnectionWait::HalfClosed);
            return Poll::Ready(Ok(()));
        }
        self.is_half_closed = true;
        if !watch.is_armed(ConnectionWait::HalfClosed) {
            watch.arm(ConnectionWait::HalfClosed, HALF_CLOSED_MAX);
        }
        Poll::Pending
    }

    /// Looks whether the client has left, while nothing is read of it: between the end of a request and that of its response.
    ///
    /// # Errors
    /// It has, which ends what is under way.
    fn check_presence(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.is_ahead || !self.held.is_empty() || !self.connection.reads_nothing() {
            return Ok(());
        }
        match self.stream.poll_more(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(true)) => {
                self.is_ahead = true;
                Ok(())
            }
            Poll::Ready(Ok(false)) => self.check_end(),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => self.check_end(),
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    fn check_end(&mut self) -> io::Result<()> {
        match self.poll_end() {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => Err(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    fn response_moves(&self) {
        if self.connection.response_moves() {
            self.stream.end_by_reset(true);
        }
    }

    /// What has to be written before the next bytes of a response.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.interim.is_empty() {
            // Nothing moves: a deadline for what does not stays.
            return Poll::Ready(Ok(()));
        }
        let polled = self.connection.interim.poll_write(Pin::new(&mut self.stream), cx);
        self.note_write(&polled);
        polled
    }

    /// A client that takes nothing may have left: hyper flushes once it has written everything, which may never be.
    fn note_response_write(&mut self, polled: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.note_write(&polled);
        if polled.is_pending() {
            self.check_presence(cx)?;
        }
        polled
    }

    fn note_write<T>(&mut self, polled: &Poll<io::Result<T>>) {
        let watch = &self.connection.client.watch;
        match polled {
            Poll::Pending => {
                let has_taken = self.stream.has_taken();
                if has_taken {
                    self.connection.exchange.stream_moves();
                }
                if has_taken || !watch.is_armed(ConnectionWait::ClientWrite) {
                    watch.arm(ConnectionWait::ClientWrite, self.connection.client.limits.write_timeout);
                }
            }
            Poll::Ready(_) => {
                watch.disarm(ConnectionWait::ClientWrite);
                self.connection.exchange.stream_moves();
            }
        }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        this.response_moves();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.note_response_write(polled, cx)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        this.response_moves();
        let mut room = [const { MaybeUninit::uninit() }; JOINED_BYTES_MAX];
        let mut joined = ReadBuf::uninit(&mut room);
        // A head and a small body leave as one piece: the kernel takes one buffer for less than it takes several.
        let stream = Pin::new(&mut this.stream);
        let polled =
            if join(bufs, &mut joined) { stream.poll_write(cx, joined.filled()) } else { stream.poll_write_vectored(cx, bufs) };
        this.note_response_write(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper flushes when it has written all that it had.
        this.connection.interim.response_flushed();
        this.check_presence(cx)?;
        ready!(this.poll_interim(cx))?;
        if this.is_half_closed && !this.connection.owes_a_response() {
            // Nothing else would have the parser read the end.
            cx.waker().wake_by_ref();
        }
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        // A flush with nothing to do is no news.
        let is_or_was_held_up = polled.is_pending() || this.connection.client.watch.is_armed(ConnectionWait::ClientWrite);
        if this.stream.buffers() && is_or_was_held_up {
            this.note_write(&polled);
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Up to this much is copied together before it is written.
const JOINED_BYTES_MAX: usize = 2 * 1024;

/// Puts all of `bufs` into `joined`, if they fit.
fn join(bufs: &[io::IoSlice<'_>], joined: &mut ReadBuf<'_>) -> bool {
    bufs.iter().all(|buf| {
        let fits = buf.len() <= joined.remaining();
        if fits {
            joined.put_slice(buf);
        }
        fits
    })
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::net::{TcpListener, TcpStream};

    use super::super::connection::READ_BUFFER_MIN;
    use super::*;
    use crate::domain::client_limits::{ClientLimits, LingerLimits};
    use crate::domain::peer::Peer;
    use crate::domain::scheme::Scheme;
    use crate::proxy::bond::Verdict;
    use crate::proxy::client::connection::ClientConnection;
    use crate::proxy::seats::Seat;
    use crate::proxy::watch::{TICK, Watchers};

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up_however_often_it_is_tried() {
        const WRITE_TICKS: u32 = 10;
        let limits = ClientLimits {
            handshake_timeout: Duration::from_secs(60),
            header_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(60),
            write_timeout: TICK * WRITE_TICKS,
            header_bytes_max: READ_BUFFER_MIN,
            header_count_max: 10,
            linger: LingerLimits { bytes_max: 0, timeout: TICK },
            http2: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let watchers = Watchers::default();
        let peer = Peer::Known(peer);
        let client = Rc::new(ClientConnection::new(peer, Scheme::Http, watchers.connection(Seat::of_test()), limits));
        let connection = Http1Connection::new(&client, watchers.exchange(&client.watch));
        let mut io = ClientIo::new(stream.into(), &connection);
        let mut cx = Context::from_waker(Waker::noop());
        client.watch.woken_by(Waker::noop());
        let much = vec![0; 64 * 1024];
        while Pin::new(&mut io).poll_write(&mut cx, &much).is_ready() {}
        for _ in 0..2 * WRITE_TICKS {
            let _ = Pin::new(&mut io).poll_flush(&mut cx);
            assert!(Pin::new(&mut io).poll_write(&mut cx, b"more").is_pending());
            watchers.tick(|_| Verdict::Holds);
        }
        assert!(client.watch.take_expired(ConnectionWait::ClientWrite));
    }
}
