//! The end of a client's connection: reading on, so that the last response is not lost.
//!
//! Closing with unread bytes, or before more come, resets the connection, and many clients then report the reset and not the response
//! (RFC 9112, section 9.6). Whoever sends a long body reads nothing before it is out. So the rest of it is read and thrown away,
//! within bounds.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::connection::Http1Connection;
use super::heads::Unread;
use crate::domain::client_limits::LingerLimits;
use crate::proxy::client::stream::ClientStream;
use crate::proxy::seats::Notice;
use crate::proxy::watch::{ConnectionWait, ConnectionWatch};

/// The longest wait for more of such a body.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// For a client that owes nothing more: until it closes too.
const FAREWELL: LingerLimits = LingerLimits { bytes_max: 512 * 1024, timeout: Duration::from_secs(1) };

const SCRATCH_BYTES: usize = 16 * 1024;

/// One in so many of a worker's connections may hold its place for a body that nobody wants.
const SHARE: usize = 4;

/// Those of one worker's connections that read such a body. When there are too many, further ones have to do with `FAREWELL`.
#[derive(Debug)]
pub struct Lingerers {
    present: Cell<usize>,
    max: Cell<usize>,
}

impl Lingerers {
    pub fn among(connections_max: usize) -> Rc<Self> {
        let lingerers = Self { present: Cell::new(0), max: Cell::new(0) };
        lingerers.limit(connections_max);
        Rc::new(lingerers)
    }

    pub fn limit(&self, connections_max: usize) {
        self.max.set((connections_max / SHARE).max(1));
    }

    fn enter(self: &Rc<Self>) -> Option<Lingerer> {
        let present = self.present.get();
        (present < self.max.get()).then(|| {
            self.present.set(present + 1);
            Lingerer(Rc::clone(self))
        })
    }
}

/// A place among the [`Lingerers`].
struct Lingerer(Rc<Lingerers>);

impl Drop for Lingerer {
    fn drop(&mut self) {
        self.0.present.set(self.0.present.get() - 1);
    }
}

/// Closes our side and reads on: what is left of a body, then until the client closes too.
pub(super) async fn linger(stream: &mut ClientStream, connection: &Http1Connection, lingerers: &Rc<Lingerers>) {
    shut_down(stream, &connection.client.watch).await;
    let unread = connection.unread();
    let is_owed = !matches!(unread, Unread::Nothing);
    if is_owed
        && connection.client.limits.linger.bytes_max > 0
        && let Some(_place) = lingerers.enter()
    {
        match read_out(stream, connection, unread, connection.client.limits.linger).await {
            ReadOut::BodyEnded => {}
            ReadOut::ClientEnded | ReadOut::BeyondLimits => return,
        }
    }
    farewell(stream, connection).await;
}

/// As [`linger`], for a client that owes nothing, or that is not worth waiting for.
pub(super) async fn farewell(stream: &mut ClientStream, connection: &Http1Connection) {
    shut_down(stream, &connection.client.watch).await;
    read_out(stream, connection, Unread::Unknown, FAREWELL).await;
}

/// Closes our side, once the client has taken what waits for it: not for long.
async fn shut_down(stream: &mut ClientStream, watch: &ConnectionWatch) {
    watch.arm(ConnectionWait::LingerPause, PAUSE_MAX);
    poll_fn(|cx| {
        watch.woken_by(cx.waker());
        let is_over = watch.take_expired(ConnectionWait::LingerPause) || watch.notice() != Notice::Stay;
        let closed = Pin::new(&mut *stream).poll_shutdown(cx);
        if is_over { Poll::Ready(()) } else { closed.map(drop) }
    })
    .await;
    watch.disarm(ConnectionWait::LingerPause);
}

enum ReadOut {
    BodyEnded,
    /// Or lost.
    ClientEnded,
    BeyondLimits,
}

async fn read_out(stream: &mut ClientStream, connection: &Http1Connection, unread: Unread, limits: LingerLimits) -> ReadOut {
    let watch = &connection.client.watch;
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut left = limits.bytes_max;
    watch.arm(ConnectionWait::LingerEnd, limits.timeout);
    watch.arm(ConnectionWait::LingerPause, PAUSE_MAX);
    let outcome = poll_fn(|cx| {
        watch.woken_by(cx.waker());
        loop {
            let is_over = watch.take_expired(ConnectionWait::LingerEnd) || watch.take_expired(ConnectionWait::LingerPause);
            if is_over || watch.notice() != Notice::Stay {
                return Poll::Ready(ReadOut::BeyondLimits);
            }
            let read = match poll_read(stream, &mut scratch, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(0) => return Poll::Ready(ReadOut::ClientEnded),
                Poll::Ready(read) => read,
            };
            left = left.saturating_sub(read as u64);
            if left == 0 {
                return Poll::Ready(ReadOut::BeyondLimits);
            }
            watch.arm(ConnectionWait::LingerPause, PAUSE_MAX);
            if matches!(unread, Unread::Body) && connection.passes_over(&scratch[..read]) {
                return Poll::Ready(ReadOut::BodyEnded);
            }
        }
    })
    .await;
    watch.disarm(ConnectionWait::LingerEnd);
    watch.disarm(ConnectionWait::LingerPause);
    outcome
}

/// How many bytes came; 0 at the end of the connection, whatever kind of end that is.
fn poll_read(stream: &mut ClientStream, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<usize> {
    let mut read = ReadBuf::new(scratch);
    Pin::new(stream).poll_read(cx, &mut read).map(|outcome| outcome.map_or(0, |()| read.filled().len()))
}
