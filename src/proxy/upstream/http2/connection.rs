//! A connection on which HTTP/2 is spoken: many exchanges at once.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, RecvStream, SendStream};
use http::Request;
use tokio::task::AbortHandle;

use super::io::Http2Io;
use super::limits::PoolLimits;
use super::signs::Signs;
use crate::proxy::http1::{FIELDS_BYTES_MAX, FIELDS_MAX};
use crate::proxy::http2::intake::{H2_FRAME_BUDGET, Intake, Intakes, LastLook};
use crate::proxy::http2::sifted::Sifted;
use crate::proxy::http2::{
    FIELD_OVERHEAD_BYTES, LOCAL_RESETS_MAX, RESET_REMEMBERED_FOR, SEND_BUFFER_BYTES_MAX, resets_remembered,
};

/// A peer that was silent for so long is asked whether it is there, with the next request. Never without one: servers of gRPC close
/// connections on which they are asked for nothing but that.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long it may take to say so.
const SIGN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection that carries nothing may take to close.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// The largest window that HTTP/2 knows.
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// The head of a response takes no more of memory than by HTTP/1.
const HEADER_LIST_BYTES_MAX: usize = FIELDS_BYTES_MAX + FIELDS_MAX * FIELD_OVERHEAD_BYTES;

/// How a connection is opened. The peer says first how many requests it takes.
pub(super) fn builder(limits: &PoolLimits) -> Builder {
    let (streams, window) = (limits.http2.streams_max, limits.http2.stream_window_bytes);
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(0)
        .initial_window_size(window)
        // All streams together may fill theirs: a client that takes nothing of its response holds up no other one.
        .initial_connection_window_size(window.saturating_mul(streams).min(WINDOW_BYTES_MAX))
        .max_header_list_size(u32::try_from(HEADER_LIST_BYTES_MAX).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .data_frame_budget(H2_FRAME_BUDGET)
        // What still comes for requests that were taken back is the peer's right, for a while.
        .max_concurrent_reset_streams(resets_remembered(streams))
        .reset_stream_duration(RESET_REMEMBERED_FOR)
        .max_local_error_reset_streams(Some(LOCAL_RESETS_MAX));
    builder
}

/// The task of a connection: whatever moves on it, moves in here.
pub(super) struct Driver {
    h2: h2::client::Connection<Sifted<Http2Io>, Bytes>,
    signs: Rc<Signs>,
    /// Behind h2.
    intakes: LastLook,
}

impl Driver {
    pub(super) const fn new(h2: h2::client::Connection<Sifted<Http2Io>, Bytes>, signs: Rc<Signs>, intakes: Rc<Intakes>) -> Self {
        Self { h2, signs, intakes: LastLook(intakes) }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.h2).poll(cx);
        this.intakes.0.take();
        this.signs.allows(this.h2.max_concurrent_send_streams());
        polled.map(|outcome| this.signs.end(outcome.err()))
    }
}

/// It may be ended from without.
impl Drop for Driver {
    fn drop(&mut self) {
        self.signs.end(None);
    }
}

/// A connection as those see it who use it.
#[derive(Debug)]
pub(super) struct Connection {
    /// `None`: it takes no further request.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    pings: RefCell<Option<PingPong>>,
    signs: Rc<Signs>,
    intakes: Rc<Intakes>,
    task: AbortHandle,
    /// Requests that it carries.
    streams: Cell<u32>,
    has_carried: Cell<bool>,
    /// When it was opened, or its last request ended, or it was asked to close.
    idle_since: Cell<u32>,
}

impl Connection {
    pub(super) fn new(
        (sender, pings): (SendRequest<Bytes>, Option<PingPong>),
        signs: Rc<Signs>,
        intakes: Rc<Intakes>,
        task: AbortHandle,
    ) -> Rc<Self> {
        Rc::new(Self {
            sender: RefCell::new(Some(sender)),
            pings: RefCell::new(pings),
            idle_since: Cell::new(signs.now()),
            signs,
            intakes,
            task,
            streams: Cell::new(0),
            has_carried: Cell::new(false),
        })
    }

    /// Leave for one more request.
    pub(super) fn permit(self: &Rc<Self>, streams_max: u32) -> Option<Permit> {
        self.has_room(streams_max).then(|| {
            self.streams.set(self.streams.get() + 1);
            Permit { connection: Rc::clone(self) }
        })
    }

    pub(super) fn has_room(&self, streams_max: u32) -> bool {
        let is_full = self.streams.get() >= streams_max.min(self.signs.streams_allowed());
        !is_full && !self.signs.is_doubted() && !self.signs.has_ended() && self.is_open()
    }

    /// Whether the peer takes further requests. One that has said goodbye finishes what it has, and takes none.
    fn is_open(&self) -> bool {
        let mut sender = self.sender.borrow_mut();
        let ready = sender.as_mut().map(|sender| sender.poll_ready(&mut Context::from_waker(Waker::noop())));
        match ready {
            Some(Poll::Ready(Ok(()))) => true,
            Some(Poll::Ready(Err(_))) => {
                *sender = None;
                false
            }
            Some(Poll::Pending) | None => false,
        }
    }

    /// Whether it could carry a request, and carries none.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0 && self.signs.is_settled() && self.sender.borrow().is_some()
    }

    pub(super) const fn streams(&self) -> u32 {
        self.streams.get()
    }

    /// Whether the peer has yet to say that it speaks HTTP/2.
    pub(super) fn is_coming(&self) -> bool {
        !self.signs.is_settled() && !self.signs.has_ended()
    }

    /// How many requests the peer takes, if it has said so.
    pub(super) fn streams_allowed(&self) -> Option<u32> {
        self.signs.is_settled().then(|| self.signs.streams_allowed())
    }

    /// Takes no further request, and closes when those are done that it carries.
    pub(super) fn leave(&self) {
        if self.sender.borrow_mut().take().is_some() {
            self.idle_since.set(self.signs.now());
        }
    }

    /// Passes one tick: gives up on a peer that is gone, closes what has idled too long. Whether the connection goes on.
    pub(super) fn look(&self, limits: &PoolLimits) -> bool {
        if self.signs.has_ended() {
            return false;
        }
        if let Some(why) = self.why_gone(limits) {
            self.signs.give_up(why);
            self.task.abort();
            return false;
        }
        let idle_for = self.signs.age_since(self.idle_since.get());
        if self.signs.is_to_be_left() || self.is_idle() && idle_for >= limits.idle_timeout {
            self.leave();
        }
        true
    }

    fn why_gone(&self, limits: &PoolLimits) -> Option<&'static str> {
        let idle_for = self.signs.age_since(self.idle_since.get());
        if self.is_coming() && idle_for >= limits.connect_timeout {
            Some("the server did not speak HTTP/2 in time, or takes no requests")
        } else if self.signs.blocked_for() >= limits.write_timeout {
            Some("the server takes nothing")
        } else if self.signs.unanswered_for() >= SIGN_TIMEOUT {
            Some("the server gives no sign of life")
        } else if self.streams.get() == 0 && self.sender.borrow().is_none() && idle_for >= LEAVE_TIMEOUT {
            Some("the connection was to close")
        } else {
            None
        }
    }

    /// Asks the peer whether it is there.
    fn ask(&self) {
        if let Some(pings) = &mut *self.pings.borrow_mut() {
            // Of an earlier question: whatever was heard since has answered it.
            let _ = pings.poll_pong(&mut Context::from_waker(Waker::noop()));
            // Where one is under way already, its response counts.
            let _ = pings.send_ping(Ping::opaque());
            self.signs.is_asked();
        }
    }
}

/// Leave for one request on a connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    connection: Rc<Connection>,
}

impl Permit {
    /// Sends the head of a request.
    pub(super) fn send(&self, head: Request<()>, is_whole: bool) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let connection = &self.connection;
        connection.has_carried.set(true);
        if connection.signs.silence() >= SILENCE_MAX {
            connection.ask();
        }
        match &mut *connection.sender.borrow_mut() {
            Some(sender) => sender.send_request(head, is_whole),
            // It has begun to close meanwhile.
            None => Err(h2::Reason::REFUSED_STREAM.into()),
        }
    }

    /// Takes in what comes of the response.
    pub(super) fn receive(&self, stream: RecvStream) -> Intake {
        self.connection.intakes.begin(stream)
    }

    /// Whether the peer has said that it does (RFC 8441, section 3).
    pub(super) fn takes_websockets(&self) -> bool {
        // One that has begun to close takes no request at all, and says so of itself.
        self.connection.sender.borrow().as_ref().is_none_or(SendRequest::is_extended_connect_protocol_enabled)
    }

    /// Whether the connection has carried other requests: it may have died since, unnoticed.
    pub(super) fn is_of_used(&self) -> bool {
        self.connection.has_carried.get()
    }

    /// A request waits in vain: others are not sent this way before the peer has given a sign of life.
    pub(super) fn doubt(&self) {
        self.connection.signs.doubt();
        self.connection.ask();
    }

    pub(super) fn signs(&self) -> &Signs {
        &self.connection.signs
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        if connection.streams.get() == 0 {
            connection.idle_since.set(connection.signs.now());
        }
        connection.signs.let_next_look();
    }
}
