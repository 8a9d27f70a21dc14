//! Serving a connection on which HTTP/2 is spoken: from its first frame to its end.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, Handshake};
use h2::{Ping, PingPong, Reason};
use tokio::task::JoinSet;

use super::connection::{Flood, Http2Connection};
use super::io::Http2Io;
use super::stream;
use crate::domain::client_limits::{ClientLimits, Http2Limits};
use crate::domain::stats::Counter;
use crate::proxy::client::connection::ClientConnection;
use crate::proxy::client::handler::Handler;
use crate::proxy::client::stream::ClientStream;
use crate::proxy::http2::intake::{H2_FRAME_BUDGET, LastLook};
use crate::proxy::http2::sifted::Sifted;
use crate::proxy::http2::{
    FIELD_OVERHEAD_BYTES, LOCAL_RESETS_MAX, RESET_REMEMBERED_FOR, SEND_BUFFER_BYTES_MAX, resets_remembered,
};
use crate::proxy::seats::Notice;
use crate::proxy::watch::{ConnectionWait, Watchers};

/// How long an idle client may take to hear that its connection ends.
const PARTING_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("closed")]
    Closed,
    #[error("{0}")]
    Failed(h2::Error),
    #[error("{0}")]
    Flooded(Flood),
    #[error("the client did not speak HTTP/2 in time")]
    NoPreface,
    #[error("the client takes nothing")]
    SlowClient,
    #[error("the client does not answer")]
    Gone,
    #[error("the client was told to go")]
    Parted,
    #[error("others needed the seat")]
    GivenUp,
}

impl End {
    /// What is worth being counted.
    fn counter(&self) -> Option<Counter> {
        match self {
            Self::Flooded(_) => Some(Counter::ClientFloods),
            Self::Failed(error) if error.reason() == Some(Reason::ENHANCE_YOUR_CALM) && error.is_library() => {
                Some(Counter::ClientFloods)
            }
            Self::Failed(error) if error.is_library() => Some(Counter::RejectedMalformed),
            Self::NoPreface => Some(Counter::RejectedTimeout),
            Self::Failed(_) | Self::Closed | Self::SlowClient | Self::Gone | Self::Parted | Self::GivenUp => None,
        }
    }
}

/// Serves one connection until either side is done with it. `early` was read already.
pub async fn serve<H: Handler>(
    stream: ClientStream,
    early: Bytes,
    (client, limits): (&Rc<ClientConnection>, Http2Limits),
    watchers: &Watchers,
    handler: &Rc<H>,
) {
    let connection = Http2Connection::new(client, limits);
    let handshake = builder(&client.limits, &limits).handshake(Sifted::of_client(Http2Io::new(stream, early, &connection)));
    let mut serving = Serving {
        _last_look: LastLook(Rc::clone(&connection.intakes)),
        connection,
        watchers,
        handler,
        stage: Stage::Handshake(Box::new(handshake)),
        streams: JoinSet::new(),
        is_idle_for_long: false,
        goodbye: Goodbye::Unsaid,
    };
    let end = poll_fn(|cx| serving.poll(cx)).await;
    tracing::debug!(peer = %client.peer, %end, "connection ended");
    if let Some(counter) = end.counter() {
        handler.count(counter);
    }
}

fn builder(client: &ClientLimits, limits: &Http2Limits) -> Builder {
    let window = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX >> 1);
    let header_list_bytes = client.header_bytes_max + client.header_count_max * FIELD_OVERHEAD_BYTES;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.streams_max)
        .initial_window_size(window(limits.stream_window_bytes))
        .initial_connection_window_size(window(limits.connection_window_bytes))
        .max_header_list_size(window(header_list_bytes))
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .data_frame_budget(H2_FRAME_BUDGET)
        // Those that were taken back before they were looked at. All are counted once more as they are.
        .max_pending_accept_reset_streams(limits.streams_max as usize)
        .max_concurrent_reset_streams(resets_remembered(limits.streams_max))
        .reset_stream_duration(RESET_REMEMBERED_FOR)
        .max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
        .enable_connect_protocol();
    builder
}

/// How far a connection has come.
enum Stage {
    Handshake(Box<Handshake<Sifted<Http2Io>, Bytes>>),
    Open(Box<Connection<Sifted<Http2Io>, Bytes>>, Option<PingPong>),
}

/// Whether the client was told that no further request is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Goodbye {
    Unsaid,
    Said,
    /// And nothing is under way any more: it may take little time to go.
    Parting,
}

struct Serving<'a, H> {
    connection: Rc<Http2Connection>,
    watchers: &'a Watchers,
    handler: &'a Rc<H>,
    stage: Stage,
    /// Each in a task of its own, which ends with this.
    streams: JoinSet<()>,
    is_idle_for_long: bool,
    goodbye: Goodbye,
    /// Behind the stage, which has h2.
    _last_look: LastLook,
}

impl<H: Handler> Serving<'_, H> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.connection.client.watch.woken_by(cx.waker());
        if let Some(end) = self.overdue() {
            return Poll::Ready(end);
        }
        if let Stage::Handshake(handshake) = &mut self.stage {
            match Pin::new(&mut **handshake).poll(cx) {
                Poll::Pending => {
                    self.connection.intakes.take();
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
                Poll::Ready(Ok(mut open)) => {
                    self.connection.has_come();
                    let pings = self.connection.limits.ping_interval.and_then(|_| open.ping_pong());
                    self.stage = Stage::Open(Box::new(open), pings);
                }
            }
        }
        self.take_leave();
        let end = self.poll_open(cx);
        self.connection.intakes.take();
        while let Poll::Ready(Some(ended)) = self.streams.poll_join_next(cx) {
            if ended.is_err_and(|error| error.is_panic()) {
                tracing::error!(peer = %self.connection.client.peer, "a stream's task panicked");
                self.handler.count(Counter::Panics);
            }
        }
        self.ask_whether_there(cx);
        end
    }

    /// Whether something was waited for too long.
    fn overdue(&mut self) -> Option<End> {
        let watch = &self.connection.client.watch;
        if watch.take_expired(ConnectionWait::NextRequest) {
            if !self.connection.meter.has_seen_a_frame() {
                return Some(End::NoPreface);
            }
            self.is_idle_for_long = true;
        }
        if watch.take_expired(ConnectionWait::ClientWrite) {
            return Some(End::SlowClient);
        }
        if watch.take_expired(ConnectionWait::Pong) {
            return Some(End::Gone);
        }
        let is_over = watch.take_expired(ConnectionWait::Farewell);
        match watch.notice() {
            Notice::LeaveNow => Some(End::GivenUp),
            Notice::Leave if is_over => Some(End::GivenUp),
            Notice::Leave | Notice::Stay | Notice::Gone => is_over.then_some(End::Parted),
        }
    }

    /// Tells the client to go, if it has to. Requests that cross the goodbye are responded to.
    fn take_leave(&mut self) {
        let watch = &self.connection.client.watch;
        let is_asked_to = watch.is_draining() || watch.notice() == Notice::Leave;
        let leaves = is_asked_to || self.is_idle_for_long || self.connection.is_to_be_left();
        let Stage::Open(open, _) = &mut self.stage else { return };
        if leaves && self.goodbye == Goodbye::Unsaid {
            open.graceful_shutdown();
            self.goodbye = Goodbye::Said;
        }
        // h2 may have ended the connection meanwhile, for a fault that is to be told; it then has time of its own.
        let has_ended = watch.is_armed(ConnectionWait::LingerEnd);
        match (self.goodbye, self.connection.is_idle()) {
            (Goodbye::Said, true) if !has_ended => {
                watch.arm(ConnectionWait::Farewell, PARTING_TIMEOUT);
                self.goodbye = Goodbye::Parting;
            }
            (Goodbye::Parting, false) if watch.notice() == Notice::Stay => {
                watch.disarm(ConnectionWait::Farewell);
                self.goodbye = Goodbye::Said;
            }
            (Goodbye::Unsaid | Goodbye::Said | Goodbye::Parting, _) => {}
        }
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Stage::Open(open, _) = &mut self.stage else { return Poll::Pending };
        loop {
            match open.poll_accept(cx) {
                Poll::Ready(Some(Ok(arrival))) => {
                    let connection = Rc::clone(&self.connection);
                    let (request, responder) = arrival;
                    let request = request.map(|stream| connection.intakes.begin(stream));
                    let watch = self.watchers.exchange(&connection.client.watch);
                    let serving = stream::serve(connection, watch, (request, responder), Rc::clone(self.handler));
                    // Boxed: it is large, and a task moves what it runs when it begins, when it ends and when that is noticed.
                    self.streams.spawn_local(Box::pin(serving));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(End::Failed(error)),
                Poll::Ready(None) => return Poll::Ready(self.connection.flood().map_or(End::Closed, End::Flooded)),
                Poll::Pending if self.connection.tells_of_flood() => open.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Asks a client that was silent for long.
    fn ask_whether_there(&mut self, cx: &mut Context<'_>) {
        let Stage::Open(_, Some(pings)) = &mut self.stage else { return };
        let (watch, limits) = (&self.connection.client.watch, &self.connection.limits);
        // Where one is under way already, its response counts.
        if watch.take_expired(ConnectionWait::Silence) && pings.send_ping(Ping::opaque()).is_ok() {
            watch.arm(ConnectionWait::Pong, limits.ping_timeout);
        }
        if pings.poll_pong(cx).is_ready() {
            watch.disarm(ConnectionWait::Pong);
        }
    }
}
