//! An upstream that is spoken to in HTTP/2: many exchanges at once on each connection.

pub(super) mod body;
mod connection;
mod failure;
mod handshake;
mod head;
mod io;
mod limits;
mod openings;
pub(super) mod pool;
mod sending;
mod signs;
pub(super) mod socket;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use h2::RecvStream;
use h2::client::ResponseFuture;
use http::uri::Scheme;
use http::{Response, StatusCode};

use self::body::Http2Body;
use self::connection::Permit;
use self::failure::Failure;
use self::handshake::Handshake;
use self::openings::Opening;
use self::pool::{Opened, Pool};
use self::sending::Sending;
use super::body::RequestBody;
use super::end::{Again, ExchangeEnd, Failed, UpstreamFault};
use super::link::Link;
use super::options::UpstreamOptions;
use super::outgoing::{Outgoing as _, SendFault};
use super::request::{RequestFields, UpstreamRequest};
use super::terms::{ExchangeTerms, Progress, StreamWatch, is_interim};
use crate::domain::interim::INTERIM_RESPONSES_MAX;
use crate::domain::stats::{Counter, Counters};
use crate::proxy::watch::ExchangeWait;

/// How often one backend is asked again for what it has not taken: it may close one connection after the other.
const REPEATS_MAX: u32 = 2;

/// One request, on its way to one backend.
pub(super) struct Http2Exchange<'a, F> {
    pub(super) options: &'a UpstreamOptions,
    pub(super) link: &'a Link,
    pub(super) pool: &'a Pool,
    pub(super) counters: &'a Counters,
    pub(super) request: &'a UpstreamRequest<'a, F>,
    pub(super) terms: ExchangeTerms<'a>,
}

/// A connection that is being opened.
type Coming<'a> = Pin<Box<dyn Future<Output = std::io::Result<Opened>> + 'a>>;

/// Why the head of a response did not come.
enum Stopped {
    /// Because of what its stream has come to.
    Stream(h2::Error),
    Otherwise(ExchangeEnd),
}

impl<F: RequestFields> Http2Exchange<'_, F> {
    /// A connection may have died unnoticed, or be about to close: its peer says of which requests it has done nothing. Those are sent
    /// again, on another connection. So is one that was lost, once, if it is idempotent and has no body. The time that is left for the
    /// response does not begin anew.
    ///
    /// `body` is taken, and put back where the request may be sent again.
    pub(super) async fn run(self, body: &mut RequestBody) -> Result<Response<Box<Http2Body>>, Failed> {
        let mut repeats = 0;
        loop {
            let permit = self.permit().await.map_err(Failed::unsent)?;
            self.terms.cleared().await?;
            let is_of_used = permit.is_of_used();
            let failed = match self.attempt(permit, body).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            let may_repeat = match failed.again {
                Again::Unsent => repeats < REPEATS_MAX,
                Again::Harmless => repeats == 0 && is_of_used,
                Again::Never => false,
            };
            if !may_repeat {
                return Err(failed);
            }
            repeats += 1;
            self.counters.add(Counter::UpstreamRetries, 1);
        }
    }

    /// Leave for this request on a connection: one that is open, or else the first that has room, of which more are opened as long as
    /// there may be.
    async fn permit(&self) -> Result<Permit, ExchangeEnd> {
        if let Some(permit) = self.pool.permit() {
            return Ok(permit);
        }
        let (watch, backend) = (self.terms.watch, &self.link.backend);
        let awaiting = self.pool.join();
        let is_full = Cell::new(false);
        let mut opening: Option<(Coming<'_>, Opening<'_>)> = None;
        watch.arm(ExchangeWait::Connect, self.options.connect_timeout);
        let poll = |cx: &mut Context<'_>| {
            loop {
                if let Some((future, _)) = &mut opening {
                    let Poll::Ready(opened) = future.as_mut().poll(cx) else { return Poll::Pending };
                    opening = None;
                    match opened {
                        Ok(opened) => self.pool.add(opened),
                        Err(error) => {
                            self.pool.failed(&error);
                            return Poll::Ready(Err(UpstreamFault::Connect(error)));
                        }
                    }
                }
                if let Some(permit) = self.pool.permit() {
                    return Poll::Ready(Ok(permit));
                }
                if let Some(fault) = awaiting.failure() {
                    return Poll::Ready(Err(fault));
                }
                match self.pool.wants_more().then(|| backend.slot(self.options.connections_max)) {
                    Some(Some(slot)) => {
                        if is_full.replace(false) {
                            watch.arm(ExchangeWait::Connect, self.options.connect_timeout);
                        }
                        let coming: Coming<'_> = Box::pin(self.pool.open(backend, slot));
                        opening = Some((coming, self.pool.opening()));
                    }
                    Some(None) => {
                        if !is_full.replace(true) {
                            watch.arm(ExchangeWait::Connect, self.options.connections_wait);
                        }
                        break;
                    }
                    None => break,
                }
            }
            self.pool.wait(cx.waker());
            Poll::Pending
        };
        let too_late = || {
            if !is_full.get() {
                return UpstreamFault::ConnectTimedOut;
            }
            backend.meters().refused.add_shared(1);
            UpstreamFault::Busy
        };
        Ok(self.terms.connected(poll, too_late).await??)
    }

    async fn attempt(&self, permit: Permit, body: &mut RequestBody) -> Result<Response<Box<Http2Body>>, Failed> {
        let watch = self.terms.watch;
        let is_harmless_twice = self.request.is_idempotent() && body.length() == Some(0);
        let mut head = self.head(body).map_err(|fault| Failed { end: fault.into(), again: Again::Never })?;
        let handshake = if self.request.opens_websocket { Handshake::of(&mut head) } else { None };
        if handshake.is_some() && !permit.takes_websockets() {
            return Err(Failed { end: UpstreamFault::NoWebSockets.into(), again: Again::Never });
        }
        let is_whole = body.length() == Some(0) && handshake.is_none();
        let (mut responding, stream) = match permit.send(head, is_whole) {
            Ok(sent) => sent,
            Err(error) => {
                return Err(Failed::unsent(UpstreamFault::Refused(error.to_string()).into()));
            }
        };
        let mut sending = Sending::new(stream, std::mem::take(body));
        let has_heard = Cell::new(false);
        let outcome = self.await_response(&mut responding, &mut sending, &has_heard).await;
        watch.disarm(ExchangeWait::UpstreamWrite);
        let end = match outcome {
            Ok(response) => return self.begin(response, permit, sending, handshake).await,
            Err(Stopped::Otherwise(end)) => {
                if let ExchangeEnd::Upstream(UpstreamFault::ResponseTimedOut | UpstreamFault::WriteTimedOut) = end {
                    permit.doubt();
                }
                return Err(Failed { end, again: Again::Never });
            }
            Err(Stopped::Stream(error)) => Failure::of(error, permit.signs()),
        };
        let (fault, again) = match end {
            Failure::Untaken(fault) => match sending.into_body() {
                Some(same) => {
                    *body = same;
                    (fault, Again::Unsent)
                }
                None => (fault, Again::Never),
            },
            Failure::Lost(fault) if is_harmless_twice && !has_heard.get() => (fault, Again::Harmless),
            Failure::Lost(fault) | Failure::Given(fault) => (fault, Again::Never),
        };
        Err(Failed { end: fault.into(), again })
    }

    fn head(&self, body: &RequestBody) -> Result<http::Request<()>, UpstreamFault> {
        let backend = &self.link.backend;
        let destination = head::Destination {
            scheme: if backend.target().is_tls() { Scheme::HTTPS } else { Scheme::HTTP },
            host: self.options.host(self.request.host, backend),
            base_path: &self.options.base_path,
        };
        head::of_request(self.request, body.length(), destination)
            .map_err(|_| UpstreamFault::Malformed("the request's host or path cannot be written"))
    }

    /// Sends the request and awaits the head of the final response. Both at once: an upstream may respond early.
    async fn await_response(
        &self,
        responding: &mut ResponseFuture,
        sending: &mut Sending,
        has_heard: &Cell<bool>,
    ) -> Result<Response<RecvStream>, Stopped> {
        let mut interim_left = INTERIM_RESPONSES_MAX;
        let mut listens_no_more = false;
        let malformed = |text| Stopped::Otherwise(UpstreamFault::Malformed(text).into());
        poll_fn(|cx| {
            if !listens_no_more {
                match sending.poll_send(cx) {
                    Poll::Ready(Err(SendFault::Body(fault))) => return Poll::Ready(Err(Stopped::Otherwise(fault.into()))),
                    // It may have responded before it stopped listening.
                    Poll::Ready(Err(SendFault::Upstream(()))) => listens_no_more = true,
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
                let progress = if listens_no_more { Progress::Finished } else { sending.progress() };
                self.terms.keep_time(progress, self.options.write_timeout);
            }
            while let Poll::Ready(Some(interim)) = responding.poll_informational(cx) {
                let (head, ()) = interim.map_err(Stopped::Stream)?.into_parts();
                has_heard.set(true);
                interim_left = interim_left.checked_sub(1).ok_or_else(|| malformed("too many interim responses"))?;
                head::check_fields(&head.headers).map_err(|fault| malformed(fault.0))?;
                if !is_interim(head.status) {
                    return Poll::Ready(Err(malformed("status 101, which HTTP/2 does not have")));
                }
                if head.status != StatusCode::CONTINUE {
                    (self.terms.interim)(head.status, head.headers);
                }
            }
            match Pin::new(&mut *responding).poll(cx) {
                Poll::Ready(response) => Poll::Ready(response.map_err(Stopped::Stream)),
                Poll::Pending => self.terms.overdue().map_or(Poll::Pending, |end| Poll::Ready(Err(Stopped::Otherwise(end)))),
            }
        })
        .await
    }

    async fn begin(
        &self,
        response: Response<RecvStream>,
        permit: Permit,
        mut sending: Sending,
        handshake: Option<Handshake>,
    ) -> Result<Response<Box<Http2Body>>, Failed> {
        let failed = |end: ExchangeEnd| Failed { end, again: Again::Never };
        let (mut head, receiving) = response.into_parts();
        let announced = head::announced(&head, self.request.method);
        let announced = announced.map_err(|fault| failed(UpstreamFault::Malformed(fault.0).into()))?;
        let stream = StreamWatch { watch: Rc::clone(self.terms.watch), idle_timeout: self.terms.timeouts.idle };
        if let Some(handshake) = handshake {
            let ends = receiving.is_end_stream();
            if handshake.conclude(&mut head, announced, ends).map_err(|fault| failed(UpstreamFault::Malformed(fault.0).into()))? {
                return Ok(Response::from_parts(head, Http2Body::of_socket(permit, receiving, sending, stream)));
            }
            sending.end_unasked();
        }
        let mut body = Http2Body::new(permit, receiving, sending, announced, stream);
        body.begin().await.map_err(failed)?;
        Ok(Response::from_parts(head, body))
    }
}
