//! An upstream that is spoken to in HTTP/1.1: one exchange at a time on each connection.

pub(super) mod body;
mod connection;
pub(super) mod head;
pub(super) mod pool;
mod sending;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Response, StatusCode};

use self::body::Http1Body;
use self::connection::Connection;
use self::head::ResponseHead;
use self::pool::Pool;
use super::body::RequestBody;
use super::connect::Slot;
use super::end::{Again, ExchangeEnd, Failed, UpstreamFault};
use super::link::Link;
use super::options::UpstreamOptions;
use super::outgoing::{Outgoing as _, SendFault};
use super::request::{RequestFields, UpstreamRequest};
use super::terms::{ExchangeTerms, Progress, StreamWatch, is_interim};
use crate::domain::interim::INTERIM_RESPONSES_MAX;
use crate::domain::stats::{Counter, Counters};
use crate::proxy::watch::ExchangeWait;

/// One request, on its way to one backend.
pub(super) struct Http1Exchange<'a, F> {
    pub(super) options: &'a UpstreamOptions,
    pub(super) link: &'a Link,
    pub(super) pool: &'a Rc<Pool>,
    pub(super) counters: &'a Counters,
    pub(super) request: &'a UpstreamRequest<'a, F>,
    pub(super) terms: ExchangeTerms<'a>,
}

/// What a request waited for.
enum Free {
    Connection(Box<Connection>),
    Slot(Slot),
}

impl<F: RequestFields> Http1Exchange<'_, F> {
    /// A kept-alive connection may have died unnoticed. The request is then repeated once, on a new connection, if nothing of it
    /// was sent or if it is idempotent and has no body. The time that is left for the response does not begin anew.
    ///
    /// `body` is taken, and put back where the request may be sent again.
    pub(super) async fn run(&self, body: &mut RequestBody) -> Result<Response<Http1Body>, Failed> {
        if let Some(connection) = self.pool.take() {
            match self.attempt(connection, body).await {
                Err(Failed { again: Again::Unsent | Again::Harmless, .. }) => {}
                outcome => return outcome,
            }
            self.counters.add(Counter::UpstreamRetries, 1);
        }
        // Boxed: rare, and a TLS handshake is large.
        match Box::pin(self.connection()).await {
            Ok(connection) => self.attempt(connection, body).await,
            Err(end) => Err(Failed::unsent(end)),
        }
    }

    /// A new connection, or where there may be no more of them, the first that becomes free.
    async fn connection(&self) -> Result<Box<Connection>, ExchangeEnd> {
        let watch = self.terms.watch;
        let max = self.options.connections_max;
        let slot = if let Some(slot) = self.link.backend.slot(max) {
            slot
        } else {
            let _waiting = self.pool.queue.join();
            let is_free = |cx: &mut Context<'_>| {
                if let Some(connection) = self.pool.take() {
                    return Poll::Ready(Free::Connection(connection));
                }
                if let Some(slot) = self.link.backend.slot(max) {
                    return Poll::Ready(Free::Slot(slot));
                }
                self.pool.queue.wait(cx.waker());
                Poll::Pending
            };
            watch.arm(ExchangeWait::Connect, self.options.connections_wait);
            match self.terms.connected(is_free, || self.busy()).await? {
                Free::Connection(connection) => return Ok(connection),
                Free::Slot(slot) => slot,
            }
        };
        watch.arm(ExchangeWait::Connect, self.options.connect_timeout);
        let mut opening = pin!(self.link.backend.connect());
        let opened = self.terms.connected(|cx| opening.as_mut().poll(cx), || UpstreamFault::ConnectTimedOut).await?;
        opened.map(|io| Connection::new(io.in_slot(slot))).map_err(|error| UpstreamFault::Connect(error).into())
    }

    fn busy(&self) -> UpstreamFault {
        self.link.backend.meters().refused.add_shared(1);
        UpstreamFault::Busy
    }

    async fn attempt(&self, mut connection: Box<Connection>, body: &mut RequestBody) -> Result<Response<Http1Body>, Failed> {
        self.terms.cleared().await?;
        let ExchangeTerms { watch, timeouts, .. } = self.terms;
        let is_harmless_twice = self.request.is_idempotent() && body.length() == Some(0);
        let host = self.options.host(self.request.host, &self.link.backend);
        connection.sending.begin(self.request, std::mem::take(body), &self.options.base_path, host);
        let outcome = self.await_response(&mut connection).await;
        watch.disarm(ExchangeWait::UpstreamWrite);
        match outcome {
            Ok(head) => {
                let stream = StreamWatch { watch: Rc::clone(watch), idle_timeout: timeouts.idle };
                let mut body = Http1Body::new(Rc::clone(self.pool), connection, &head, stream);
                body.begin().await.map_err(|end| Failed { end, again: Again::Never })?;
                let mut response = Response::new(body);
                *response.status_mut() = head.status;
                *response.headers_mut() = head.headers;
                Ok(response)
            }
            Err(end) => {
                let is_lost = matches!(end, ExchangeEnd::Upstream(UpstreamFault::Lost(_)));
                let again = if !is_lost || !connection.read.is_empty() {
                    Again::Never
                } else if !connection.sending.anything_sent() {
                    *body = connection.sending.take_body();
                    Again::Unsent
                } else if is_harmless_twice {
                    Again::Harmless
                } else {
                    Again::Never
                };
                Err(Failed { end, again })
            }
        }
    }

    /// Writes the request and reads until the head of the final response is there. Both at once: an upstream may respond early.
    async fn await_response(&self, connection: &mut Connection) -> Result<ResponseHead, ExchangeEnd> {
        let mut interim_left = INTERIM_RESPONSES_MAX;
        let mut send_error = None;
        poll_fn(|cx| {
            if send_error.is_none() {
                match connection.poll_send(cx) {
                    Poll::Ready(Err(SendFault::Body(fault))) => return Poll::Ready(Err(fault.into())),
                    // It may have responded before it stopped listening.
                    Poll::Ready(Err(SendFault::Upstream(error))) => send_error = Some(error),
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
                let progress = if send_error.is_some() { Progress::Finished } else { connection.progress() };
                self.terms.keep_time(progress, self.options.write_timeout);
            }
            loop {
                match head::read_response_head(&mut connection.read, self.request.method) {
                    Err(malformed) => return Poll::Ready(Err(UpstreamFault::Malformed(malformed.0).into())),
                    Ok(Some(head)) if is_interim(head.status) => {
                        interim_left = match interim_left.checked_sub(1) {
                            Some(left) => left,
                            None => return Poll::Ready(Err(UpstreamFault::Malformed("too many interim responses").into())),
                        };
                        if head.status != StatusCode::CONTINUE {
                            (self.terms.interim)(head.status, head.headers);
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
                    Poll::Pending => return self.terms.overdue().map_or(Poll::Pending, |end| Poll::Ready(Err(end))),
                }
            }
        })
        .await
    }
}
