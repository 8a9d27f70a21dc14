//! Exchanges with scripted upstreams over real sockets.

mod choice;
mod connections;
mod repeats;
mod responses;

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use super::backends::{BackendRules, Backends, Place};
use super::*;
use crate::domain::affinity::Balance;
use crate::domain::ejection::EjectionRules;
use crate::domain::headers::FieldSink;
use crate::domain::time::standing_clock;
use crate::proxy::bond::Verdict;
use crate::proxy::seats::Seat;
use crate::proxy::watch::ExchangeWatch;

fn run<F: Future>(test: F) -> F::Output {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap().block_on(test)
}

const RULES: BackendRules = BackendRules {
    resolve_interval: Duration::from_secs(30),
    tells_host: false,
    ejection: EjectionRules {
        failures: 5,
        pause: Duration::from_secs(3600),
        slow_start: Duration::from_secs(10),
        slow_factor: None,
    },
    probing: None,
};

/// The status and the body, or what became of them.
type Asked = Result<(StatusCode, Result<Vec<u8>, ExchangeEnd>), ExchangeEnd>;

struct NoFields;

impl RequestFields for NoFields {
    fn write(&self, _: &mut impl FieldSink) {}

    fn wants_trailers(&self) -> bool {
        false
    }
}

struct Bench {
    upstream: Rc<Upstream>,
    watchers: Rc<Watchers>,
    watch: Rc<ExchangeWatch>,
    listener: TcpListener,
    links: Rc<AllLinks>,
}

impl Bench {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let places = vec![place(listener.local_addr().unwrap())];
        Self::of(listener, places)
    }

    /// With further places beside that of the listener.
    fn of(listener: TcpListener, places: Vec<Place>) -> Self {
        let watchers = Rc::new(Watchers::default());
        let watch = watchers.exchange(&watchers.connection(Seat::of_test()));
        let links = Rc::<AllLinks>::default();
        let upstream = Upstream::new(options(places), Rc::clone(&watchers), Arc::default(), Rc::clone(&links));
        Self { upstream, watchers, watch, listener, links }
    }

    /// What a worker does in every tick.
    fn tick(&self) {
        self.upstream.tick();
        self.links.tick();
    }

    /// One GET, and what comes of it: status and body.
    async fn ask(&self) -> Asked {
        self.send(&Method::GET, RequestBody::Empty).await
    }

    /// The same by another exchange.
    async fn ask_by(&self, watch: &Rc<ExchangeWatch>) -> Asked {
        self.send_by(watch, &Method::GET, RequestBody::Empty, Duration::from_secs(5)).await
    }

    async fn ask_patiently(&self) -> Asked {
        self.send_by(&self.watch, &Method::GET, RequestBody::Empty, Duration::from_secs(60)).await
    }

    async fn send(&self, method: &Method, body: RequestBody) -> Asked {
        self.send_by(&self.watch, method, body, Duration::from_secs(5)).await
    }

    async fn send_by(&self, watch: &Rc<ExchangeWatch>, method: &Method, body: RequestBody, response: Duration) -> Asked {
        let response = self.begin(watch, method, body, response).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await.map(|whole| whole.to_bytes().to_vec())))
    }

    /// The response, once its head has come.
    async fn begin(
        &self,
        watch: &Rc<ExchangeWatch>,
        method: &Method,
        body: RequestBody,
        response: Duration,
    ) -> Result<Response<UpstreamBody>, ExchangeEnd> {
        let host = HeaderValue::from_static("example.com");
        let request = UpstreamRequest {
            method,
            target: "/a?b",
            host: Some(&host),
            fields: NoFields,
            affinity: None,
            opens_websocket: false,
        };
        let timeouts = ExchangeTimeouts { response, idle: Duration::from_secs(5) };
        let terms = ExchangeTerms { timeouts, watch, interim: &|_, _| {}, last_word: &Unasked, asks: &|_| {} };
        let answering = self.upstream.exchange(&request, body, terms);
        let mut answering = pin!(answering);
        poll_fn(|cx| {
            watch.woken_by(cx.waker());
            answering.as_mut().poll(cx)
        })
        .await
    }

    async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    fn pooled(&self) -> usize {
        self.upstream.links.borrow().list.iter().map(|link| link.pool.idle()).sum()
    }
}

fn options(places: Vec<Place>) -> UpstreamOptions {
    UpstreamOptions {
        name: "test".into(),
        backends: Backends::new(places, RULES, standing_clock(), None),
        balance: Balance::LeastRequests,
        identity: None,
        authorities: None,
        base_path: "".into(),
        replaces_host: false,
        connect_timeout: Duration::from_secs(5),
        write_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(20),
        idle_max: 8,
        connections_max: None,
        connections_wait: Duration::from_secs(5),
        retries: Share::new(20).unwrap(),
        http2: Http2Options { streams_max: 100, stream_window_bytes: 1 << 18 },
    }
}

fn place(address: SocketAddr) -> Place {
    let target = Target::tcp(address.ip().to_string(), address.port(), None);
    Place { key: "url".into(), target, own_host: HeaderValue::from_static("upstream.example"), weight: 1 }
}

/// Reads one request head.
async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What one response on a fresh connection comes to, arriving a few bytes at a time, and whether the connection was kept.
fn answered_with(wire: &'static [u8]) -> (Asked, usize) {
    answered_in_pieces(wire, 7)
}

fn answered_in_pieces(wire: &'static [u8], piece: usize) -> (Asked, usize) {
    run(async {
        let bench = Bench::new().await;
        let serve = async {
            let mut stream = bench.accept().await;
            head(&mut stream).await;
            for part in wire.chunks(piece) {
                if stream.write_all(part).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        let (response, ()) = tokio::join!(bench.ask(), serve);
        (response, bench.pooled())
    })
}
