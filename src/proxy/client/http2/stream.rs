//! One stream of HTTP/2 from the head of its request to the last byte of its response.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, DATE, Entry};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;

use super::connection::{Http2Connection, UnderWay};
use super::exchange::Http2Exchange;
use super::head;
use crate::domain::meters::{Http2Reset, ResetBy};
use crate::domain::stats::Counter;
use crate::domain::time::Timestamp;
use crate::proxy::client::exchange::Exchange;
use crate::proxy::client::handler::Handler;
use crate::proxy::client::tunnel;
use crate::proxy::client::unread::Unread;
use crate::proxy::http2::duplex::Duplex;
use crate::proxy::http2::intake::Intake;
use crate::proxy::http2::poll_room;
use crate::proxy::incoming::{Http2Incoming, Incoming};
use crate::proxy::seats::Notice;
use crate::proxy::upstream::ExchangeEnd;
use crate::proxy::watch::{ExchangeWait, ExchangeWatch};

/// Why a stream ends before its response is out.
#[derive(Debug, thiserror::Error)]
enum StreamEnd {
    /// By the client, or by h2 because of what the client sent.
    #[error("reset: {0}")]
    Reset(Reason),
    /// With the connection.
    #[error("lost: {0}")]
    Lost(h2::Error),
    #[error("the client did not take the response")]
    SlowClient,
    #[error("{0}")]
    Response(ExchangeEnd),
}

impl StreamEnd {
    /// What the client is told: never that the response is complete.
    const fn reason(&self) -> Reason {
        match self {
            Self::Reset(_)
            | Self::Lost(_)
            | Self::SlowClient
            | Self::Response(ExchangeEnd::Client(_) | ExchangeEnd::Refused(_) | ExchangeEnd::Session(_)) => Reason::CANCEL,
            Self::Response(ExchangeEnd::Upstream(_)) => Reason::INTERNAL_ERROR,
        }
    }
}

/// Responds to one request.
pub(super) async fn serve<H: Handler>(
    connection: Rc<Http2Connection>,
    watch: Rc<ExchangeWatch>,
    (request, responder): (Request<Intake>, SendResponse<Bytes>),
    handler: Rc<H>,
) {
    let exchange = Http2Exchange::new(UnderWay::on(&connection), watch, Rc::new(RefCell::new(responder)));
    let (mut parts, intake) = request.into_parts();
    head::prepare(&mut parts, || handler.nonce());
    if parts.headers.len() > connection.client.limits.header_count_max {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        refuse(&exchange, status);
        let unread = Unread::head(Counter::RejectedTooLarge, status, parts.version);
        handler.rejects(connection.client.peer, &Unread { head: Some(&parts), ..unread });
        return;
    }
    let is_head = parts.method == Method::HEAD;
    let body = body(&parts, &intake, &exchange);
    // In its place for good: it is most of what a stream takes of memory, and would be there twice if it were moved.
    let outcome = {
        let responding = pin!(handler.respond(Request::from_parts(parts, body), Exchange::of_http2(&exchange)));
        until_reset(&exchange, responding).await
    };
    let end = match outcome {
        Ok(mut response) => {
            complete(&mut response, handler.now());
            finish(&exchange, response, is_head, &intake).await
        }
        Err(end) => Err(end),
    };
    if let Err(end) = end {
        match &end {
            StreamEnd::Reset(reason) => {
                count_reset(&*handler, ResetBy::Client, *reason);
                connection.was_reset();
            }
            StreamEnd::SlowClient | StreamEnd::Response(_) => count_reset(&*handler, ResetBy::Gateway, end.reason()),
            // With its connection.
            StreamEnd::Lost(_) => {}
        }
        tracing::debug!(peer = %connection.client.peer, %end, "stream ended");
    }
}

fn count_reset(handler: &impl Handler, by: ResetBy, reason: Reason) {
    handler.meters().resets(by).of(Http2Reset::of(reason.into())).add(1);
}

/// What the handler gets of the request's body. That of a WebSocket is the tunnel's.
fn body(head: &Parts, intake: &Intake, exchange: &Http2Exchange) -> Incoming {
    if tunnel::handshake::wants_websocket(head) {
        return Incoming::Empty;
    }
    let expecting = head::expects_continue(&head.headers).then(|| Rc::clone(&exchange.responder));
    Incoming::Http2(Http2Incoming::new(intake.clone(), head::length(&head.headers), expecting))
}

fn refuse(exchange: &Http2Exchange, status: StatusCode) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    // A stream that has ended needs none.
    let _ = exchange.responder.borrow_mut().send_response(response, true);
}

/// Goes on as long as the client wants it.
async fn until_reset<T>(exchange: &Http2Exchange, mut work: Pin<&mut impl Future<Output = T>>) -> Result<T, StreamEnd> {
    poll_fn(|cx| {
        if let Poll::Ready(reset) = exchange.responder.borrow_mut().poll_reset(cx) {
            return Poll::Ready(Err(reset.map_or_else(StreamEnd::Lost, StreamEnd::Reset)));
        }
        exchange.watch.woken_by(cx.waker());
        work.as_mut().poll(cx).map(Ok)
    })
    .await
}

/// Sends the response, and whatever the stream turns into.
async fn finish<B: Body<Data = Bytes, Error = ExchangeEnd> + Unpin>(
    exchange: &Http2Exchange,
    response: Response<B>,
    is_head: bool,
    intake: &Intake,
) -> Result<(), StreamEnd> {
    let (head, body) = response.into_parts();
    let upgrade = exchange.take_upgrade();
    let is_bodiless = (is_head || body.is_end_stream()) && upgrade.is_none();
    let sent = exchange.responder.borrow_mut().send_response(Response::from_parts(head, ()), is_bodiless);
    let sending = sent.map_err(StreamEnd::Lost)?;
    match upgrade {
        Some(upgrade) => {
            drop(body);
            let duplex = Duplex::new(intake.clone(), sending);
            Box::pin(tunnel::run(duplex, Bytes::new(), upgrade, exchange.client(), &exchange.watch)).await;
            return Ok(());
        }
        None if is_bodiless => drop((sending, body)),
        None => Outgoing { sending, body, waiting: Bytes::new() }.send(exchange).await?,
    }
    linger(exchange, intake).await;
    Ok(())
}

/// The longest wait for more of a body that nobody wants.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Reads on behind the response, within bounds, what the client still sends of its request. Clients that are told at once to stop, by a
/// reset without an error, do so, but some lose the response over it: curl 7.88 is one. At the bounds they are told.
async fn linger(exchange: &Http2Exchange, intake: &Intake) {
    let (watch, client) = (&exchange.watch, exchange.client());
    let mut left = client.limits.linger.bytes_max;
    watch.arm(ExchangeWait::Farewell, client.limits.linger.timeout);
    watch.arm(ExchangeWait::RequestBody, PAUSE_MAX);
    poll_fn(|cx| {
        watch.woken_by(cx.waker());
        loop {
            let is_over = watch.take_expired(ExchangeWait::Farewell) || watch.take_expired(ExchangeWait::RequestBody);
            let has_to_go = client.watch.is_draining() || client.watch.notice() != Notice::Stay;
            if is_over || has_to_go || left == 0 {
                return Poll::Ready(());
            }
            let Some(Ok(data)) = ready!(intake.poll_data(cx)) else { return Poll::Ready(()) };
            left = left.saturating_sub(data.len() as u64);
            watch.arm(ExchangeWait::RequestBody, PAUSE_MAX);
        }
    })
    .await;
}

/// What hyper adds to responses of HTTP/1.
fn complete<B: Body>(response: &mut Response<B>, now: Timestamp) {
    let length = response.body().size_hint().exact().filter(|_| !response.body().is_end_stream());
    let headers = response.headers_mut();
    if let Entry::Vacant(date) = headers.entry(DATE) {
        let since_epoch = Duration::from_secs(now.secs().try_into().unwrap_or_default());
        date.insert(HeaderValue::try_from(httpdate::fmt_http_date(UNIX_EPOCH + since_epoch)).expect("a date is a field value"));
    }
    if let Some(length) = length {
        headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
}

/// A response's body on its way.
struct Outgoing<B> {
    sending: SendStream<Bytes>,
    body: B,
    /// What the client has given no room for.
    waiting: Bytes,
}

impl<B: Body<Data = Bytes, Error = ExchangeEnd> + Unpin> Outgoing<B> {
    async fn send(mut self, exchange: &Http2Exchange) -> Result<(), StreamEnd> {
        let sent = poll_fn(|cx| self.poll_send(exchange, cx)).await;
        exchange.watch.disarm(ExchangeWait::ClientWrite);
        if let Err(end) = &sent {
            self.sending.send_reset(end.reason());
        }
        sent
    }

    fn poll_send(&mut self, exchange: &Http2Exchange, cx: &mut Context<'_>) -> Poll<Result<(), StreamEnd>> {
        let watch = &exchange.watch;
        watch.woken_by(cx.waker());
        if let Poll::Ready(reset) = self.sending.poll_reset(cx) {
            return Poll::Ready(Err(reset.map_or_else(StreamEnd::Lost, StreamEnd::Reset)));
        }
        loop {
            if !self.waiting.is_empty() {
                match self.poll_give(watch, cx) {
                    Poll::Ready(Ok(true)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(false)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(StreamEnd::Lost(error))),
                    Poll::Pending if watch.take_expired(ExchangeWait::ClientWrite) => {
                        return Poll::Ready(Err(StreamEnd::SlowClient));
                    }
                    // Nobody takes it, and it is not to be taken any more.
                    Poll::Pending if watch.ended().is_some() => self.waiting = Bytes::new(),
                    Poll::Pending => {
                        if !watch.is_armed(ExchangeWait::ClientWrite) {
                            watch.arm(ExchangeWait::ClientWrite, exchange.client().limits.write_timeout);
                        }
                        return Poll::Pending;
                    }
                }
                continue;
            }
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                return Poll::Ready(self.end());
            };
            match frame.map_err(StreamEnd::Response)?.into_data() {
                Ok(data) => self.waiting = data,
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) if !trailers.is_empty() => {
                        return Poll::Ready(self.sending.send_trailers(trailers).map_err(StreamEnd::Lost));
                    }
                    Ok(_) | Err(_) => {}
                },
            }
        }
    }

    /// Gives the client as much as it has room for: whether that was the end of the response.
    fn poll_give(&mut self, watch: &ExchangeWatch, cx: &mut Context<'_>) -> Poll<Result<bool, h2::Error>> {
        let room = ready!(poll_room(&mut self.sending, self.waiting.len(), cx))?;
        let piece = self.waiting.split_to(room);
        let is_last = self.waiting.is_empty() && self.body.is_end_stream();
        watch.disarm(ExchangeWait::ClientWrite);
        watch.stream_moves();
        Poll::Ready(self.sending.send_data(piece, is_last).map(|()| is_last))
    }

    fn end(&mut self) -> Result<(), StreamEnd> {
        self.sending.send_data(Bytes::new(), true).map_err(StreamEnd::Lost)
    }
}
