//! Upstreams as one worker sees them: a pool of kept-alive connections, and exchanges over them.
//!
//! An exchange runs inside the task of the request that it serves; there is no task per connection and nothing to hand over.

mod codec;
pub mod connect;
mod end;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod request;
mod response;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderValue, Method, StatusCode};

pub(in crate::proxy) use codec::Chunks;
pub use codec::{Framing, ResponseHead};
pub use connect::{Stream, Target, Tls};

pub use end::{ExchangeEnd, UpstreamFault};
pub(in crate::proxy) use request::Part;
pub use request::{BodyFault, ClientBody, Pacing, RequestBody};
use request::{Outgoing, Progress, SendFault};
pub use response::ResponseBody;
use response::StreamWatch;

use super::watch::{ExchangeWait, ExchangeWatch, Watchers};
use crate::domain::stats::{Counter, Counters};

/// Told of an interim answer before the final one.
type Interim<'a> = &'a dyn Fn(ResponseHead);

/// Interim answers (1xx) that one exchange sits through before it gives up on the upstream.
const INTERIM_ANSWERS_MAX: u32 = 16;

/// Free room that a read is given at the least.
const READ_ROOM_MIN: usize = 4 * 1024;

/// What a read buffer grows by.
const READ_ROOM: usize = 16 * 1024;

/// One upstream's address and habits.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    pub name: Arc<str>,
    pub target: Target,
    /// Put before the path of each request. Canonical, without a slash at its end.
    pub base_path: Arc<str>,
    /// Host and port of its URL.
    pub own_host: HeaderValue,
    /// Whether it is sent as Host instead of the client's.
    pub replaces_host: bool,
    pub connect_timeout: Duration,
    /// How long the upstream may take none of the bytes that there are of a request.
    pub write_timeout: Duration,
    /// How long a connection is kept without use.
    pub idle_timeout: Duration,
    /// How many unused connections each worker keeps.
    pub idle_max: usize,
}

/// How long one exchange may take for what.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeTimeouts {
    /// From the end of the request to the end of the response's head.
    pub response: Duration,
    /// From then on: how long no byte may move, in either direction.
    pub idle: Duration,
}

impl UpstreamOptions {
    /// Whether both are one upstream: connections to the one are connections to the other.
    #[must_use]
    pub fn is_at_the_target_of(&self, other: &Self) -> bool {
        self.name == other.name && self.target == other.target
    }

    /// The Host field for a request whose client named this one, or none.
    #[must_use]
    pub fn host<'a>(&'a self, named: Option<&'a HeaderValue>) -> &'a HeaderValue {
        named.filter(|_| !self.replaces_host).unwrap_or(&self.own_host)
    }
}

/// What is sent ahead of the body.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    pub method: &'a Method,
    /// Put before the target.
    pub base_path: &'a str,
    /// Path and query, canonical.
    pub target: &'a str,
    pub host: &'a HeaderValue,
    /// Appends all other fields, each as a line. Host and those that say where the body ends are none of its business.
    pub write_fields: &'a dyn Fn(&mut Vec<u8>),
    pub framing: Framing,
}

impl RequestHead<'_> {
    /// RFC 9110, section 9.2.2, for requests that can be made again because nothing of them is used up.
    fn may_be_repeated(&self) -> bool {
        let idempotent =
            [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE].contains(self.method);
        idempotent && self.framing == Framing::Empty
    }
}

/// A connection with what was read beyond the last answer, and the request that it carries. In a box, which goes with it from exchange
/// to exchange: it is passed on from step to step of each.
#[derive(Debug)]
struct Connection {
    io: Stream,
    read: BytesMut,
    outgoing: Outgoing,
    reused: bool,
}

impl Connection {
    fn new(io: Stream) -> Box<Self> {
        Box::new(Self { io, read: BytesMut::new(), outgoing: Outgoing::default(), reused: false })
    }

    /// Writes as much of the request as both sides allow. Ready once it is out whole.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendFault>> {
        self.outgoing.poll_send(&mut self.io, cx)
    }

    /// Reads more into the buffer; 0 at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < READ_ROOM_MIN {
            self.read.reserve(READ_ROOM);
        }
        tokio_util::io::poll_read_buf(Pin::new(&mut self.io), cx, &mut self.read)
    }

    /// Whether an unused connection is still good: nothing to read, and not at its end. Asks what the event loop knows already.
    fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.read.is_empty() && self.poll_fill(&mut cx).is_pending()
    }
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since: u32,
}

/// One worker's connections to one upstream.
#[derive(Debug)]
pub struct Upstream {
    options: UpstreamOptions,
    watchers: Rc<Watchers>,
    counters: Arc<Counters>,
    /// Used last, taken first: the oldest may then idle away. Shared with the same upstream by other options.
    idle: Rc<RefCell<Vec<Idle>>>,
}

struct Failed {
    end: ExchangeEnd,
    /// The body, when nothing of the request was sent or the request has none.
    repeatable: Option<RequestBody>,
}

/// What holds for every attempt at one exchange.
#[derive(Clone, Copy)]
struct Asking<'a> {
    head: RequestHead<'a>,
    /// That of the response begins with the first attempt that sends the request whole.
    timeouts: ExchangeTimeouts,
    watch: &'a Rc<ExchangeWatch>,
    interim: Interim<'a>,
}

impl Upstream {
    pub fn new(options: UpstreamOptions, watchers: Rc<Watchers>, counters: Arc<Counters>) -> Rc<Self> {
        Rc::new(Self { options, watchers, counters, idle: Rc::default() })
    }

    /// The same connections to the same target, by other options.
    #[must_use]
    pub fn with(&self, options: UpstreamOptions) -> Rc<Self> {
        let (watchers, counters, idle) = (Rc::clone(&self.watchers), Arc::clone(&self.counters), Rc::clone(&self.idle));
        Rc::new(Self { options, watchers, counters, idle })
    }

    pub const fn options(&self) -> &UpstreamOptions {
        &self.options
    }

    /// Sends a request and waits for the head of the answer; the rest of both bodies moves while the returned body is read.
    /// `interim` is told of what comes before the answer, but not of 100, which answers nobody: Expect is not sent on.
    ///
    /// A kept-alive connection may have died unnoticed. The request is then repeated once, on a new connection, if nothing of it
    /// was sent or if it is idempotent and has no body. The time that is left for the response does not begin anew.
    pub async fn exchange(
        self: &Rc<Self>,
        head: RequestHead<'_>,
        body: RequestBody,
        timeouts: ExchangeTimeouts,
        watch: &Rc<ExchangeWatch>,
        interim: Interim<'_>,
    ) -> Result<(ResponseHead, ResponseBody), ExchangeEnd> {
        let outcome = self.attempts(Asking { head, timeouts, watch, interim }, body).await;
        watch.disarm(ExchangeWait::ResponseHead);
        outcome
    }

    async fn attempts(
        self: &Rc<Self>,
        asking: Asking<'_>,
        mut body: RequestBody,
    ) -> Result<(ResponseHead, ResponseBody), ExchangeEnd> {
        if let Some(connection) = self.take_idle() {
            match self.attempt(connection, asking, body).await {
                Ok(response) => return Ok(response),
                Err(Failed { repeatable: Some(again), .. }) => {
                    self.counters.add(Counter::UpstreamRetries, 1);
                    body = again;
                }
                Err(failed) => return Err(failed.end),
            }
        }
        // Boxed: rare, and a TLS handshake is large.
        let connection = Box::pin(self.connect(asking.watch)).await?;
        self.attempt(connection, asking, body).await.map_err(|failed| failed.end)
    }

    async fn connect(&self, watch: &ExchangeWatch) -> Result<Box<Connection>, ExchangeEnd> {
        watch.arm(ExchangeWait::Connect, self.options.connect_timeout);
        let mut opening = pin!(Stream::open(&self.options.target));
        let io = poll_fn(|cx| match opening.as_mut().poll(cx) {
            Poll::Ready(opened) => Poll::Ready(opened.map_err(|error| UpstreamFault::Connect(error).into())),
            Poll::Pending if watch.take_expired(ExchangeWait::Connect) => Poll::Ready(Err(UpstreamFault::ConnectTimedOut.into())),
            // A repeated attempt has what time the first one left.
            Poll::Pending if watch.take_expired(ExchangeWait::ResponseHead) => {
                Poll::Ready(Err(UpstreamFault::ResponseTimedOut.into()))
            }
            Poll::Pending => watch.ended().map_or(Poll::Pending, |ending| Poll::Ready(Err(ExchangeEnd::Session(ending)))),
        })
        .await;
        watch.disarm(ExchangeWait::Connect);
        io.map(Connection::new)
    }

    async fn attempt(
        self: &Rc<Self>,
        mut connection: Box<Connection>,
        asking: Asking<'_>,
        body: RequestBody,
    ) -> Result<(ResponseHead, ResponseBody), Failed> {
        let Asking { head, watch, timeouts, .. } = asking;
        connection.outgoing.begin(&head, body);
        let outcome = self.await_response(&mut connection, asking).await;
        watch.disarm(ExchangeWait::UpstreamWrite);
        match outcome {
            Ok(response) => {
                let stream = StreamWatch { watch: Rc::clone(watch), idle_timeout: timeouts.idle };
                let mut body = ResponseBody::new(Rc::clone(self), connection, &response, stream);
                body.begin().await.map(|()| (response, body)).map_err(|end| Failed { end, repeatable: None })
            }
            Err(end) => {
                let is_lost = matches!(end, ExchangeEnd::Upstream(UpstreamFault::Lost(_)));
                let lost_unanswered = connection.reused && is_lost && connection.read.is_empty();
                let never_sent = !connection.outgoing.anything_sent();
                let repeatable =
                    (lost_unanswered && (never_sent || head.may_be_repeated())).then(|| connection.outgoing.take_body());
                Err(Failed { end, repeatable })
            }
        }
    }

    /// Writes the request and reads until the head of the final response is there. Both at once: an upstream may respond early.
    async fn await_response(&self, connection: &mut Connection, asking: Asking<'_>) -> Result<ResponseHead, ExchangeEnd> {
        let watch = asking.watch;
        let mut interim_left = INTERIM_ANSWERS_MAX;
        let mut send_error = None;
        poll_fn(|cx| {
            if send_error.is_none() {
                match connection.poll_send(cx) {
                    Poll::Ready(Err(SendFault::Body(fault))) => return Poll::Ready(Err(fault.into())),
                    // It may have responded before it stopped listening.
                    Poll::Ready(Err(SendFault::Upstream(error))) => send_error = Some(error),
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
                self.keep_time(&mut connection.outgoing, send_error.is_some(), asking);
            }
            loop {
                match codec::read_response_head(&mut connection.read, asking.head.method) {
                    Err(malformed) => return Poll::Ready(Err(UpstreamFault::Malformed(malformed.0).into())),
                    Ok(Some(head)) if is_interim(head.status) => {
                        interim_left = match interim_left.checked_sub(1) {
                            Some(left) => left,
                            None => return Poll::Ready(Err(UpstreamFault::Malformed("too many interim responses").into())),
                        };
                        if head.status != StatusCode::CONTINUE {
                            (asking.interim)(head);
                        }
                        continue;
                    }
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                }
                match connection.poll_fill(cx) {
                    Poll::Ready(Ok(0)) => {
                        let cause = send_error.take().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                        return Poll::Ready(Err(UpstreamFault::Lost(cause).into()));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(UpstreamFault::Lost(error).into())),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending if watch.take_expired(ExchangeWait::ResponseHead) => {
                        return Poll::Ready(Err(UpstreamFault::ResponseTimedOut.into()));
                    }
                    Poll::Pending if watch.take_expired(ExchangeWait::UpstreamWrite) => {
                        return Poll::Ready(Err(UpstreamFault::WriteTimedOut.into()));
                    }
                    Poll::Pending => {
                        return watch.ended().map_or(Poll::Pending, |ending| Poll::Ready(Err(ExchangeEnd::Session(ending))));
                    }
                }
            }
        })
        .await
    }

    /// While the request is on its way, the upstream owes that it takes bytes; from then on, the response. While the client owes
    /// more of the body, the upstream owes nothing.
    fn keep_time(&self, outgoing: &mut Outgoing, listens_no_more: bool, asking: Asking<'_>) {
        let watch = asking.watch;
        let progress = if listens_no_more { Progress::Finished } else { outgoing.progress() };
        match progress {
            Progress::Finished => {
                watch.disarm(ExchangeWait::UpstreamWrite);
                if !watch.is_armed(ExchangeWait::ResponseHead) {
                    watch.arm(ExchangeWait::ResponseHead, asking.timeouts.response);
                }
            }
            Progress::AwaitsClient => watch.disarm(ExchangeWait::UpstreamWrite),
            Progress::Blocked if watch.is_armed(ExchangeWait::UpstreamWrite) => {}
            Progress::Blocked | Progress::Moved => watch.arm(ExchangeWait::UpstreamWrite, self.options.write_timeout),
        }
    }

    fn take_idle(&self) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut last) = idle.pop() {
            let young = self.watchers.age_since(last.since) < self.options.idle_timeout;
            if young && last.connection.is_quiet() {
                last.connection.reused = true;
                return Some(last.connection);
            }
        }
        None
    }

    fn give_back(&self, connection: Box<Connection>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.options.idle_max {
            idle.push(Idle { connection, since: self.watchers.now() });
        }
    }

    /// Closes connections that idled too long. The pool is ordered by age, the oldest first.
    pub fn prune(&self) {
        let mut idle = self.idle.borrow_mut();
        let young = idle.iter().position(|one| self.watchers.age_since(one.since) < self.options.idle_timeout);
        let old = young.unwrap_or(idle.len());
        idle.drain(..old);
    }
}

fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

#[cfg(test)]
mod tests;
