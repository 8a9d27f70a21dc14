//! A small HTTP/1.1 server for what is not traffic: the admin listener, the demo's API. Bounded in every direction, simple
//! before fast.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::response::{BoxedResponse, problem, retry_later};
use crate::bounded::CallError;

/// What one client, or all of them together, may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections beyond this wait in the listener's backlog.
    pub connections_max: usize,
    /// Request line and fields; 431 beyond.
    pub header_bytes_max: usize,
    /// From the connection, or the last response, to the end of the request's head. Also ends idle connections.
    pub header_timeout: Duration,
    /// 413 beyond.
    pub body_bytes_max: usize,
    /// From the head to the end of the body; 408 beyond.
    pub body_timeout: Duration,
    /// How long requests in flight may go on once the server is told to stop.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 256,
            header_bytes_max: 16 * 1024,
            header_timeout: Duration::from_secs(10),
            body_bytes_max: 1024 * 1024,
            body_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// How long to wait when no connection can be accepted, for want of file descriptors mostly.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Serves requests with `handler` until `stop`, then lets those in flight finish within `limits.drain_timeout`.
///
/// A request reaches the handler with its whole body. The handler calls a [`Bounded`](crate::bounded::Bounded) service, so that a panic
/// costs its own request a 500 and nothing else, and a call whose client goes away still runs to its end.
pub async fn serve<H, F>(listener: &TcpListener, limits: Limits, handler: H, stop: CancellationToken)
where
    H: Fn(Request<Bytes>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Result<BoxedResponse, CallError>> + Send + 'static,
{
    let handler = Arc::new(handler);
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        let accepted = stop.run_until_cancelled(async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        });
        let Some((slot, accepted)) = accepted.await else { break };
        match accepted {
            Ok((socket, peer)) => {
                let connection = serve_connection(socket, peer, limits, Arc::clone(&handler), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection accepted");
                tokio::time::sleep(ACCEPT_RETRY_PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn serve_connection<H, F>(socket: TcpStream, peer: SocketAddr, limits: Limits, handler: Arc<H>, stop: CancellationToken)
where
    H: Fn(Request<Bytes>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Result<BoxedResponse, CallError>> + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let handler = Arc::clone(&handler);
        async move {
            let request = match read_whole(request, limits).await {
                Ok(request) => request,
                Err(refusal) => return Ok(closing(refusal)),
            };
            Ok::<_, std::convert::Infallible>(handler(request, peer).await.unwrap_or_else(call_problem))
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_header_size(limits.header_bytes_max)
            .serve_connection(TokioIo::new(socket), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(limits.drain_timeout, connection.as_mut()).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "connection ended early");
    }
}

fn call_problem(error: CallError) -> BoxedResponse {
    let unavailable = |code, detail| retry_later(problem(StatusCode::SERVICE_UNAVAILABLE, code, detail));
    match error {
        CallError::Overloaded => unavailable("overloaded", "Too many calls are in progress; try again later."),
        CallError::TimedOut => unavailable("timed_out", "The call took too long, and may still be carried out; repeat it."),
        CallError::ShuttingDown => unavailable("shutting_down", "This node is about to stop; try again."),
        CallError::Panicked => {
            tracing::error!("the handler of a request panicked");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The request failed; the cause is in the log.")
        }
    }
}

async fn read_whole(request: Request<Incoming>, limits: Limits) -> Result<Request<Bytes>, BoxedResponse> {
    let too_large = || problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The request's body is too large.");
    let (head, body) = request.into_parts();
    // Before the body is asked for: a client that expects 100-continue never sends it.
    if body.size_hint().lower() > limits.body_bytes_max as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(limits.body_timeout, Limited::new(body, limits.body_bytes_max).collect()).await {
        Ok(Ok(body)) => Ok(Request::from_parts(head, body.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(problem(StatusCode::BAD_REQUEST, "body_unreadable", "The request's body could not be read.")),
        Err(_) => Err(problem(StatusCode::REQUEST_TIMEOUT, "body_timeout", "The request's body took too long.")),
    }
}

/// The rest of the request was not read: the connection cannot carry another.
fn closing(mut response: BoxedResponse) -> BoxedResponse {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use tokio::runtime::Handle;

    use super::super::response::{stream, text};
    use super::*;
    use crate::bounded::{Bounded, Bounds};

    struct Server {
        address: SocketAddr,
        stop: CancellationToken,
        done: tokio::task::JoinHandle<()>,
    }

    async fn start(limits: Limits) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let bounds = Bounds { calls_max: 8, timeout: Duration::from_secs(1) };
        let echo = Bounded::new("echo", bounds, &Handle::current(), echo);
        let handler = move |request, _peer| echo.call(request);
        let done = tasks.spawn({
            let stop = stop.clone();
            async move { serve(&listener, limits, handler, stop).await }
        });
        Server { address, stop, done }
    }

    async fn echo(request: Request<Bytes>) -> BoxedResponse {
        match request.uri().path() {
            "/panic" => panic!("as asked"),
            "/stuck" => std::future::pending().await,
            "/endless" => {
                let (mut sender, response) = stream(StatusCode::OK, "text/event-stream");
                TaskTracker::new().spawn(async move {
                    while sender.send_data(Bytes::from_static(b"data: x\n\n")).await.is_ok() {
                        tokio::task::yield_now().await;
                    }
                });
                response
            }
            _ => text(StatusCode::OK, "text/plain", request.into_body()),
        }
    }

    impl Server {
        /// Sends the bytes and reads until the server closes.
        async fn exchange(&self, request: &str) -> String {
            let mut socket = TcpStream::connect(self.address).await.unwrap();
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut response = Vec::new();
            let _ = socket.read_to_end(&mut response).await;
            String::from_utf8(response).unwrap()
        }
    }

    #[tokio::test]
    async fn a_request_reaches_its_handler_with_its_body() {
        let server = start(Limits::default()).await;
        let response = server.exchange("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").await;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\nhello"), "{response}");
    }

    #[tokio::test]
    async fn a_body_past_its_limit_is_refused_whether_announced_or_not() {
        let server = start(Limits { body_bytes_max: 4, ..Limits::default() }).await;
        let announced = server.exchange("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").await;
        assert!(announced.starts_with("HTTP/1.1 413 "), "{announced}");
        let chunked =
            server.exchange("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await;
        assert!(chunked.starts_with("HTTP/1.1 413 ") && chunked.contains("connection: close"), "{chunked}");
    }

    #[tokio::test]
    async fn slow_heads_and_bodies_end_at_their_deadline() {
        let brief = Duration::from_millis(20);
        let server = start(Limits { header_timeout: brief, body_timeout: brief, ..Limits::default() }).await;
        let head = server.exchange("GET / HTTP/1.1\r\nhos").await;
        assert!(!head.contains("200 OK"), "{head}");
        let body = server.exchange("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel").await;
        assert!(body.starts_with("HTTP/1.1 408 "), "{body}");
    }

    #[tokio::test]
    async fn a_head_past_its_limit_is_431() {
        let server = start(Limits { header_bytes_max: 8192, ..Limits::default() }).await;
        let response = server.exchange(&format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(9000))).await;
        assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_request_alone() {
        let server = start(Limits::default()).await;
        let both = "GET /panic HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let response = server.exchange(both).await;
        assert!(response.contains("HTTP/1.1 500 ") && response.contains("HTTP/1.1 200 OK"), "{response}");
    }

    #[tokio::test]
    async fn a_call_that_takes_too_long_is_503_and_so_is_one_beyond_the_bound() {
        let server = start(Limits::default()).await;
        let stuck = "GET /stuck HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let answers = futures_util::future::join_all((0..9).map(|_| server.exchange(stuck))).await;
        let count = |code: &str| {
            let code = format!("\"code\":\"{code}\"");
            answers.iter().filter(|response| response.contains("retry-after: 1\r\n") && response.contains(&code)).count()
        };
        assert_eq!((count("overloaded"), count("timed_out")), (1, 8), "{answers:?}");
    }

    #[tokio::test]
    async fn a_connection_past_the_limit_waits_for_its_turn() {
        let server = start(Limits { connections_max: 1, header_timeout: Duration::from_secs(60), ..Limits::default() }).await;
        let first = TcpStream::connect(server.address).await.unwrap();
        let mut second = TcpStream::connect(server.address).await.unwrap();
        second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut response = String::new();
        let early = tokio::time::timeout(Duration::from_millis(50), second.read_to_string(&mut response)).await;
        assert!(early.is_err(), "{response}");
        drop(first);
        second.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200 OK"), "{response}");
    }

    #[tokio::test]
    async fn stopping_ends_endless_streams_within_the_deadline() {
        let server = start(Limits { drain_timeout: Duration::from_millis(50), ..Limits::default() }).await;
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert!(socket.read(&mut [0; 64]).await.unwrap() > 0);
        server.stop.cancel();
        server.done.await.unwrap();
        assert!(TcpStream::connect(server.address).await.is_err());
    }
}
