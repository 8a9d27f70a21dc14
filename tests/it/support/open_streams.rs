//! Many streams at once, of all kinds, and when each of them ends.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::upstream::{Turn, Upstream};

/// Fewer than a gateway takes on one connection.
const HTTP2_STREAMS: usize = 50;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    WebSocket,
    Events,
    Http2,
    /// A call with a stream of responses, of which the first is there.
    Grpc,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::WebSocket, Self::Events, Self::Http2, Self::Grpc];
}

/// One message of gRPC: not compressed, and one byte long.
const MESSAGE: &[u8] = b"\0\0\0\0\x01x";

/// How a stream went on after it had begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// Position of its token among those that there are streams of.
    pub(crate) session: usize,
    pub(crate) kind: Kind,
    pub(crate) at: Instant,
}

/// One stream of each kind for each token. They end when this is dropped.
pub(crate) struct OpenStreams {
    _streams: JoinSet<()>,
    _runtime: Runtime,
    ends: Receiver<End>,
}

impl OpenStreams {
    /// Returns once all have begun.
    pub(crate) fn open(address: SocketAddr, tokens: &[String]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (told, ends) = channel();
        let streams = runtime.block_on(async {
            let mut streams = JoinSet::new();
            for (session, token) in tokens.iter().enumerate() {
                for kind in [Kind::WebSocket, Kind::Events] {
                    let stream = begin(address, kind, token).await;
                    streams.spawn(await_end(stream, session, kind, told.clone()));
                }
            }
            for kind in [Kind::Http2, Kind::Grpc] {
                for (index, tokens) in tokens.chunks(HTTP2_STREAMS).enumerate() {
                    begin_http2(address, kind, index * HTTP2_STREAMS, tokens, &mut streams, &told).await;
                }
            }
            streams
        });
        Self { _streams: streams, _runtime: runtime, ends }
    }

    /// The next so many ends, however long they take within reason.
    pub(crate) fn ended(&self, count: usize) -> Vec<End> {
        let next = |number| self.ends.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{number} of {count} ended"));
        (0..count).map(next).collect()
    }

    /// Fails if any has ended, or said anything, beside those that were counted.
    #[track_caller]
    pub(crate) fn assert_others_noticed_nothing(&self, for_so_long: Duration) {
        if let Ok(end) = self.ends.recv_timeout(for_so_long) {
            panic!("it noticed something: {end:?}");
        }
    }
}

/// What is behind the gateway: streams for whoever asks for them, and logins.
pub(crate) fn streaming_upstream() -> Upstream {
    Upstream::taking_turns(|request, _| {
        if request.header("upgrade").is_some() {
            return Turn::Response(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n"
                    .to_vec(),
            );
        }
        if request.header("content-type") == Some("application/grpc") {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n6\r\n";
            return Turn::Response([head.as_bytes(), MESSAGE, b"\r\n"].concat());
        }
        if request.target() == "/events" {
            return Turn::Response(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\ndata: one\n\r\n".to_vec());
        }
        let body = r#"{"user":{"id":"user-1"}}"#;
        let length = body.len();
        Turn::Response(
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes(),
        )
    })
}

async fn begin(address: SocketAddr, kind: Kind, token: &str) -> TcpStream {
    let (further, first) = match kind {
        Kind::WebSocket => (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            "\r\n\r\n",
        ),
        Kind::Events | Kind::Http2 | Kind::Grpc => ("", "data: one\n\r\n"),
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{further}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(first.as_bytes()) {
        let got = timeout(PATIENCE, stream.read_buf(&mut read)).await.expect("it begins").unwrap();
        assert!(got > 0, "{}", String::from_utf8_lossy(&read));
    }
    stream
}

/// A close frame, the end, or a reset: nothing else is to come.
async fn await_end(mut stream: TcpStream, session: usize, kind: Kind, told: Sender<End>) {
    let _ = stream.read(&mut [0; 1]).await;
    let _ = told.send(End { session, kind, at: Instant::now() });
}

async fn begin_http2(
    address: SocketAddr,
    kind: Kind,
    first: usize,
    tokens: &[String],
    streams: &mut JoinSet<()>,
    told: &Sender<End>,
) {
    let (mut client, connection) = h2::client::handshake(TcpStream::connect(address).await.unwrap()).await.unwrap();
    streams.spawn(async { drop(connection.await) });
    for (index, token) in tokens.iter().enumerate() {
        let authorization = format!("Bearer {token}");
        let (request, first_data) = if kind == Kind::Grpc {
            let call = Request::post("http://a/events").header("content-type", "application/grpc").header("te", "trailers");
            (call, MESSAGE)
        } else {
            (Request::get("http://a/events"), &b"data: one\n"[..])
        };
        let request = request.header("authorization", authorization).body(()).unwrap();
        client = client.ready().await.unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        let response = timeout(PATIENCE, response).await.expect("it begins").unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        assert_eq!(timeout(PATIENCE, body.data()).await.expect("it goes on").unwrap().unwrap(), first_data);
        let (told, client) = (told.clone(), client.clone());
        streams.spawn(async move {
            let end = body.data().await;
            assert!(matches!(&end, Some(Err(error)) if error.is_reset()), "{end:?}");
            let _ = told.send(End { session: first + index, kind, at: Instant::now() });
            drop(client);
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "the long form is asked for from outside")]
/// So many of each kind, unless `TOKENGATE_STREAMS` says otherwise: before a release, 1000.
pub(crate) fn streams_of_each_kind() -> usize {
    std::env::var("TOKENGATE_STREAMS").map_or(60, |count| count.parse().expect("TOKENGATE_STREAMS is a number"))
}
