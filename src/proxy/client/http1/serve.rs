//! Serving a connection on which HTTP/1 is spoken: from its first byte to its end.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Response, StatusCode, Version};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::connection::{Http1Connection, read_buffer_bytes_max};
use super::io::ClientIo;
use super::linger::{Lingerers, farewell, linger};
use crate::domain::client_limits::{ClientLimits, Http2Limits};
use crate::domain::field_list;
use crate::domain::stats::Counter;
use crate::proxy::client::exchange::Exchange;
use crate::proxy::client::handler::Handler;
use crate::proxy::client::stream::ClientStream;
use crate::proxy::client::tunnel;
use crate::proxy::client::unread::Unread;
use crate::proxy::incoming;
use crate::proxy::seats::Notice;
use crate::proxy::watch::ConnectionWait;

const REQUEST_TIMEOUT_ANSWER: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// The head with which HTTP/2 begins, so that no server of HTTP/1 takes it for a request (RFC 9113, section 3.4).
const HTTP2_BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Who reads what a client sends.
#[expect(clippy::large_enum_variant, reason = "the room is there anyway: a parser comes into it with each head")]
enum Reader<S: HttpService<Incoming>> {
    /// Nobody but us, as long as a head is awaited: neither the parser's buffer nor the room for a handler is there.
    Holding(ClientIo, S),
    Parser(http1::Connection<TokioIo<ClientIo>, S>),
}

impl<S: HttpService<Incoming, ResBody: http_body::Body<Error: std::error::Error + Send + Sync> + 'static>> Reader<S> {
    fn parse(self, limits: &ClientLimits) -> Self {
        match self {
            Self::Holding(io, service) => Self::Parser(
                http1::Builder::new()
                    // The end of a client within an exchange is looked for by `ClientIo`: hyper would read ahead to see it, into a
                    // buffer that is new each time, because the head of the request still lies in the one before it.
                    .half_close(true)
                    // Deadlines are the watch's: no timer per request.
                    .header_read_timeout(None)
                    .max_headers(limits.header_count_max)
                    .max_header_size(limits.header_bytes_max)
                    .max_buf_size(read_buffer_bytes_max(limits))
                    .serve_connection(TokioIo::new(io), service),
            ),
            Self::Parser(http) => Self::Parser(http),
        }
    }

    fn hold(self) -> Self {
        let Self::Parser(http) = self else { return self };
        let parts = http.into_parts();
        let mut io = parts.io.into_inner();
        io.held.put_before(&parts.read_buf);
        Self::Holding(io, parts.service)
    }

    fn into_io(self) -> Option<ClientIo> {
        match self.hold() {
            Self::Holding(io, _) => Some(io),
            Self::Parser(_) => None,
        }
    }
}

enum End {
    Served(hyper::Result<()>),
    /// The client speaks HTTP/2.
    Http2(Http2Limits),
    /// Nothing was asked of us: close without a word.
    Idle,
    SlowHead,
    SlowClient,
    /// Others need the seat.
    GivenUp,
}

impl End {
    fn breaks_a_response_off(&self) -> bool {
        match self {
            Self::Served(result) => result.as_ref().is_err_and(hyper::Error::is_user),
            Self::SlowClient | Self::GivenUp => true,
            Self::Http2(_) | Self::Idle | Self::SlowHead => false,
        }
    }
}

/// What came of a connection.
pub enum Served {
    /// It has ended, perhaps by a request that no handler got to see.
    ToTheEnd(Option<Unread<'static>>),
    /// It began as one of HTTP/2: what was read of it so far.
    Http2(ClientStream, Bytes, Http2Limits),
}

/// Serves one connection until either side is done with it, or it was too slow.
pub async fn serve<H: Handler>(
    stream: ClientStream,
    connection: Rc<Http1Connection>,
    handler: &Rc<H>,
    lingerers: Rc<Lingerers>,
) -> Served {
    let client = &connection.client;
    let (watch, limits) = (&client.watch, client.limits);
    let mut reader = Some(Reader::Holding(ClientIo::new(stream, &connection), service(&connection, handler)));
    let mut is_last = false;
    let end = poll_fn(|cx| {
        watch.woken_by(cx.waker());
        connection.exchange.woken_by(cx.waker());
        if watch.take_expired(ConnectionWait::NextRequest) {
            return Poll::Ready(End::Idle);
        }
        if watch.take_expired(ConnectionWait::RequestHead) {
            return Poll::Ready(End::SlowHead);
        }
        if watch.take_expired(ConnectionWait::ClientWrite) {
            return Poll::Ready(End::SlowClient);
        }
        let leaves = match watch.notice() {
            Notice::Stay | Notice::Gone => false,
            Notice::Leave if watch.take_expired(ConnectionWait::Farewell) => return Poll::Ready(End::GivenUp),
            Notice::Leave => true,
            Notice::LeaveNow => return Poll::Ready(End::GivenUp),
        };
        if let Some(Reader::Holding(io, _)) = &mut reader
            && io.poll_head(cx).is_ready()
        {
            if let Some(http2) = limits.http2.filter(|_| !connection.is_used.get() && io.held.starts_with(HTTP2_BEGINNING)) {
                return Poll::Ready(End::Http2(http2));
            }
            reader = reader.take().map(|reader| reader.parse(&limits));
        }
        if let Some(Reader::Parser(http)) = &mut reader
            && let Poll::Ready(result) = Pin::new(http).poll(cx)
        {
            return Poll::Ready(End::Served(result));
        }
        // By now every byte that has come was looked at: no request is lost that could be kept.
        if connection.is_idle() && (leaves || watch.awaits_no_request() && connection.is_used.get()) {
            return Poll::Ready(End::Idle);
        }
        let is_first_or_under_way = connection.in_exchange.get() || !connection.is_used.get();
        if (leaves || watch.is_draining())
            && is_first_or_under_way
            && !is_last
            && let Some(Reader::Parser(http)) = &mut reader
        {
            is_last = true;
            // Answers the request that is under way, and no other.
            Pin::new(http).graceful_shutdown();
        }
        if connection.holds_much() && !is_last {
            reader = reader.take().map(Reader::hold);
        }
        Poll::Pending
    })
    .await;
    match reader.and_then(Reader::into_io) {
        Some(io) => see_out(end, io, &connection, &lingerers).await,
        None => Served::ToTheEnd(None),
    }
}

/// Ends what is spoken on a connection, as far as it is HTTP/1.
async fn see_out(end: End, io: ClientIo, connection: &Rc<Http1Connection>, lingerers: &Rc<Lingerers>) -> Served {
    let ClientIo { mut stream, held, .. } = io;
    let client = &connection.client;
    let broke_off = end.breaks_a_response_off();
    if broke_off {
        stream.break_off();
    } else if connection.ends_by_reset.replace(false) {
        stream.end_by_reset(false);
    }
    let unread = match end {
        End::Http2(limits) => return Served::Http2(stream, held.into_bytes().into(), limits),
        End::Served(result) => {
            let rejected = result.as_ref().err().and_then(rejection);
            if let Err(error) = result {
                tracing::debug!(peer = %client.peer, %error, "client connection ended");
                if broke_off && connection.ends_by_reset.get() {
                    return Served::ToTheEnd(None);
                }
            }
            match connection.take_upgrade() {
                Some(upgrade) => {
                    let early = held.into_bytes().into();
                    Box::pin(tunnel::run(stream, early, upgrade, client, &connection.exchange)).await;
                }
                None => Box::pin(linger(&mut stream, connection, lingerers)).await,
            }
            rejected
        }
        End::SlowHead => {
            tracing::debug!(peer = %client.peer, "request head timed out");
            // Best effort: a client that reads learns why.
            if stream.try_say(REQUEST_TIMEOUT_ANSWER) {
                Box::pin(farewell(&mut stream, connection)).await;
            }
            Some(Unread::head(Counter::RejectedTimeout, StatusCode::REQUEST_TIMEOUT, Version::HTTP_11))
        }
        End::Idle => {
            Box::pin(part(&mut stream)).await;
            None
        }
        End::GivenUp => {
            tracing::debug!(peer = %client.peer, "connection given up for others");
            None
        }
        End::SlowClient => {
            tracing::debug!(peer = %client.peer, "client did not take the response");
            None
        }
    };
    Served::ToTheEnd(unread)
}

/// What responds to the requests of one connection.
fn service<H: Handler>(
    connection: &Rc<Http1Connection>,
    handler: &Rc<H>,
) -> impl HttpService<Incoming, ResBody = H::Body> + use<H> {
    let (connection, handler) = (Rc::clone(connection), Rc::clone(handler));
    service_fn(move |request: Request<Incoming>| {
        let (handler, client) = (Rc::clone(&handler), Rc::clone(&connection.client));
        let exchange = Exchange::of_http1(&connection, request.version());
        async move {
            let mut response = handler.respond(request.map(incoming::Incoming::Http1), exchange).await;
            if client.watch.is_draining() || client.watch.notice() == Notice::Leave {
                say_that_it_is_the_last(&mut response);
            }
            Ok::<_, Infallible>(response)
        }
    })
}

/// Said here and not by the parser alone, which may have written the head of a response by the time that it hears of the end.
fn say_that_it_is_the_last<B>(response: &mut Response<B>) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS && !field_list::has(response.headers(), &CONNECTION, "close") {
        response.headers_mut().append(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// What the HTTP parser refused, and answered by itself.
fn rejection(error: &hyper::Error) -> Option<Unread<'static>> {
    let of = |counter, status| Some(Unread::head(counter, status, Version::HTTP_11));
    if error.is_parse_too_large() {
        of(Counter::RejectedTooLarge, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    } else if error.is_parse() {
        of(Counter::RejectedMalformed, StatusCode::BAD_REQUEST)
    } else {
        None
    }
}

/// How long a request may be under way that crosses the end of an idle connection.
const PARTING_TIMEOUT: Duration = Duration::from_millis(200);

/// Ends an idle connection so that a request which crosses the end meets an orderly one, after which clients repeat it, and no reset.
async fn part(stream: &mut ClientStream) {
    let mut parting = pin!(async {
        let _ = stream.shutdown().await;
        let mut scratch = [0; 1024];
        while let Ok(1..) = stream.read(&mut scratch).await {}
    });
    let _ = tokio::time::timeout(PARTING_TIMEOUT, &mut parting).await;
}
