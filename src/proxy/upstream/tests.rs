//! Exchanges with scripted upstreams over real sockets.

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
        Self { upstream: Upstream::new(options(places), Rc::clone(&watchers), Arc::default()), watchers, watch, listener }
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
        let terms = ExchangeTerms { timeouts, watch, interim: &|_, _| {} };
        let answering = self.upstream.exchange(&request, body, terms);
        let mut answering = pin!(answering);
        let response = poll_fn(|cx| {
            watch.woken_by(cx.waker());
            answering.as_mut().poll(cx)
        })
        .await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await.map(|whole| whole.to_bytes().to_vec())))
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

#[test]
fn a_connection_is_used_again() {
    run(async {
        let bench = Bench::new().await;
        let serve = async {
            let mut stream = bench.accept().await;
            for _ in 0..3 {
                assert!(head(&mut stream).await.starts_with("GET /a?b HTTP/1.1\r\nhost: example.com\r\n"));
                stream.write_all(OK).await.unwrap();
            }
        };
        let ask = async {
            for _ in 0..3 {
                let (status, body) = bench.ask().await.unwrap();
                assert_eq!((status, body.unwrap()), (StatusCode::OK, b"ok".to_vec()));
            }
            assert_eq!(bench.pooled(), 1);
        };
        tokio::join!(serve, ask);
    });
}

#[test]
fn a_connection_that_died_in_the_pool_costs_nothing() {
    run(async {
        let bench = Bench::new().await;
        let serve = async {
            for _ in 0..2 {
                let mut stream = bench.accept().await;
                head(&mut stream).await;
                stream.write_all(OK).await.unwrap();
            }
        };
        let ask = async {
            bench.ask().await.unwrap().1.unwrap();
            tokio::task::yield_now().await;
            bench.ask().await.unwrap().1.unwrap();
        };
        tokio::join!(serve, ask);
    });
}

#[test]
fn an_idempotent_request_is_repeated_once_when_a_reused_connection_dies_under_it() {
    run(async {
        let bench = Bench::new().await;
        let serve = async {
            let mut first = bench.accept().await;
            head(&mut first).await;
            first.write_all(OK).await.unwrap();
            head(&mut first).await;
            drop(first);
            let mut second = bench.accept().await;
            head(&mut second).await;
            second.write_all(OK).await.unwrap();
        };
        let ask = async {
            bench.ask().await.unwrap().1.unwrap();
            bench.ask().await.unwrap().1.unwrap();
        };
        tokio::join!(serve, ask);
    });
}

#[test]
fn a_post_that_may_have_happened_is_not_repeated() {
    run(async {
        let bench = Bench::new().await;
        let serve = async {
            let mut first = bench.accept().await;
            head(&mut first).await;
            first.write_all(OK).await.unwrap();
            head(&mut first).await;
            drop(first);
        };
        let ask = async {
            bench.ask().await.unwrap().1.unwrap();
            let failed = bench.send(&Method::POST, RequestBody::Empty).await;
            assert!(matches!(failed, Err(ExchangeEnd::Upstream(UpstreamFault::Lost(_)))), "{failed:?}");
        };
        tokio::join!(serve, ask);
    });
}

#[test]
fn a_fresh_connection_that_dies_is_not_tried_again() {
    run(async {
        let bench = Bench::new().await;
        let serve = async {
            let mut stream = bench.accept().await;
            head(&mut stream).await;
        };
        let (failed, ()) = tokio::join!(bench.ask(), serve);
        assert!(matches!(failed, Err(ExchangeEnd::Upstream(UpstreamFault::Lost(_)))), "{failed:?}");
    });
}

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

#[test]
fn a_truncated_response_is_never_taken_for_the_whole() {
    for wire in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ] {
        let (response, pooled) = answered_with(wire);
        let end = response.map_or_else(Some, |(_, body)| body.err());
        assert!(matches!(end, Some(ExchangeEnd::Upstream(UpstreamFault::Truncated(_)))), "{end:?}");
        assert_eq!(pooled, 0);
    }
}

#[test]
fn a_response_until_the_end_of_the_connection_is_whole_and_its_connection_is_not_kept() {
    let (response, pooled) = answered_with(b"HTTP/1.1 200 OK\r\n\r\nall of it");
    assert_eq!(response.unwrap().1.unwrap(), b"all of it");
    assert_eq!(pooled, 0);
}

#[test]
fn a_chunked_response_is_read_whole_and_its_connection_is_kept() {
    let (response, pooled) =
        answered_with(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
    assert_eq!(response.unwrap().1.unwrap(), b"hello world");
    assert_eq!(pooled, 1);
}

#[test]
fn bytes_behind_a_response_spoil_the_connection() {
    let wire = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let (response, pooled) = answered_in_pieces(wire, wire.len());
    assert_eq!(response.unwrap().1.unwrap(), b"ok");
    assert_eq!(pooled, 0);
}

#[test]
fn interim_responses_are_no_responses_and_not_without_end() {
    let (response, pooled) = answered_with(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    assert_eq!(response.unwrap().0, StatusCode::OK);
    assert_eq!(pooled, 1);
    let endless: &'static [u8] = Box::leak("HTTP/1.1 102 Processing\r\n\r\n".repeat(40).into_bytes().into_boxed_slice());
    assert!(matches!(answered_with(endless).0, Err(ExchangeEnd::Upstream(UpstreamFault::Malformed(_)))));
}

#[test]
fn an_upstream_that_says_nothing_is_given_up_on() {
    run(async {
        let bench = Bench::new().await;
        let serve = async {
            let mut stream = bench.accept().await;
            head(&mut stream).await;
            for _ in 0..200 {
                bench.watchers.tick(|_| Verdict::Holds);
            }
            stream
        };
        let (failed, _stream) = tokio::join!(bench.ask(), serve);
        assert!(matches!(failed, Err(ExchangeEnd::Upstream(UpstreamFault::ResponseTimedOut))), "{failed:?}");
    });
}

#[test]
fn what_is_broken_before_anything_of_it_was_passed_on_is_no_response() {
    for (wire, is_whole) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"[..], false),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", false),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", true),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", true),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
    ] {
        let asked = run(async {
            let bench = Bench::new().await;
            let serve = async {
                let mut stream = bench.accept().await;
                // All of it is there, and the end, before the gateway looks.
                stream.write_all(wire).await.unwrap();
                stream.shutdown().await.unwrap();
                stream
            };
            tokio::join!(bench.ask(), serve).0
        });
        let ended = matches!(asked, Err(ExchangeEnd::Upstream(UpstreamFault::Truncated(_))));
        assert!(if is_whole { asked.is_ok_and(|(_, body)| body.is_ok()) } else { ended }, "{}", wire.escape_ascii());
    }
}

#[test]
fn an_upstream_that_dies_right_behind_its_last_byte_is_noticed_before_anything_is_passed_on() {
    for wire in
        [&b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"]
    {
        let asked = run(async {
            let bench = Bench::new().await;
            let serve = async {
                let mut stream = bench.accept().await;
                head(&mut stream).await;
                stream.write_all(wire).await.unwrap();
                // Here the gateway looks for the first time.
                tokio::task::yield_now().await;
                drop(stream);
            };
            tokio::join!(bench.ask(), serve).0
        });
        assert!(matches!(asked, Err(ExchangeEnd::Upstream(UpstreamFault::Truncated(_)))), "{}", wire.escape_ascii());
    }
}

#[test]
fn a_repeated_request_has_no_more_time_than_one_that_is_not() {
    run(async {
        let bench = Bench::new().await;
        let wait = || (0..60).for_each(|_| bench.watchers.tick(|_| Verdict::Holds));
        let serve = async {
            let mut first = bench.accept().await;
            head(&mut first).await;
            first.write_all(OK).await.unwrap();
            head(&mut first).await;
            wait();
            drop(first);
            let mut second = bench.accept().await;
            head(&mut second).await;
            // Of 100 ticks, which are 5 s, 60 are gone.
            wait();
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        };
        let ask = async {
            bench.ask().await.unwrap().1.unwrap();
            bench.ask().await
        };
        let ((), failed) = tokio::join!(serve, ask);
        assert!(matches!(failed, Err(ExchangeEnd::Upstream(UpstreamFault::ResponseTimedOut))), "{failed:?}");
    });
}

#[test]
fn an_upstream_that_takes_nothing_more_is_given_up_on() {
    run(async {
        let bench = Bench::new().await;
        let serve = async {
            let mut stream = bench.accept().await;
            head(&mut stream).await;
            for _ in 0..200 {
                bench.watchers.tick(|_| Verdict::Holds);
                tokio::task::yield_now().await;
            }
            stream
        };
        let much = Bytes::from(vec![b'x'; 64 << 20]);
        let (failed, _stream) = tokio::join!(bench.send(&Method::POST, RequestBody::Whole(much)), serve);
        assert!(matches!(failed, Err(ExchangeEnd::Upstream(UpstreamFault::WriteTimedOut))), "{failed:?}");
    });
}

#[test]
fn connections_idle_away() {
    run(async {
        let bench = Bench::new().await;
        let serve = async {
            let mut stream = bench.accept().await;
            head(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            stream
        };
        let (_, _stream) = tokio::join!(bench.ask(), serve);
        assert_eq!(bench.pooled(), 1);
        for _ in 0..500 {
            bench.watchers.tick(|_| Verdict::Holds);
        }
        bench.upstream.tick();
        assert_eq!(bench.pooled(), 0);
    });
}

#[test]
fn requests_go_where_fewer_are_under_way_and_follow_a_name_that_moves() {
    run(async {
        let (busy, other) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (first, second) = (busy.local_addr().unwrap(), other.local_addr().unwrap());
        let named = Target::tcp("moves.example".to_owned(), 80, None);
        let bench = Bench::of(busy, vec![Place { target: named, ..place(first) }]);
        let backends = Arc::clone(&bench.upstream.options.backends);
        assert!(backends.resolved(0, vec![first]));
        bench.upstream.tick();
        let ask_twice = async {
            bench.ask().await.unwrap().1.unwrap();
            assert!(backends.resolved(0, vec![first, second]));
            bench.upstream.tick();
            assert_eq!(bench.pooled(), 1, "the connection to the address that stayed is kept");
            let held =
                Lease::new(&bench.upstream.links.borrow().list.iter().find(|link| link.pool.idle() == 1).cloned().unwrap(), 0);
            for _ in 0..5 {
                bench.ask().await.unwrap().1.unwrap();
            }
            drop(held);
            assert!(backends.resolved(0, vec![second]));
            bench.upstream.tick();
            assert_eq!(bench.pooled(), 1, "the connection to the address that is gone is closed");
            bench.ask().await.unwrap().1.unwrap();
        };
        let serve_first = async {
            let mut stream = bench.accept().await;
            head(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "nothing more is asked, and it is closed");
        };
        let serve_second = async {
            let mut stream = other.accept().await.unwrap().0;
            for _ in 0..6 {
                head(&mut stream).await;
                stream.write_all(OK).await.unwrap();
            }
            stream
        };
        tokio::join!(ask_twice, serve_first, serve_second);
    });
}

/// Two backends, of which the one at the bench's listener is asked first.
async fn pair() -> (Bench, TcpListener, Lease) {
    let (first, second) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let places = [&first, &second].map(|listener| place(listener.local_addr().unwrap())).to_vec();
    let bench = Bench::of(first, places);
    let busier = Lease::new(&bench.upstream.links.borrow().list[1], 0);
    (bench, second, busier)
}

#[test]
fn a_harmless_request_that_is_lost_with_its_backend_is_sent_to_another_and_any_other_is_not() {
    for (method, is_repeated) in [(Method::GET, true), (Method::DELETE, true), (Method::POST, false)] {
        run(async {
            let (bench, other, _busier) = pair().await;
            let lose = async {
                let mut stream = bench.accept().await;
                head(&mut stream).await;
            };
            let serve = async {
                let mut stream = other.accept().await.unwrap().0;
                head(&mut stream).await;
                stream.write_all(OK).await.unwrap();
                std::future::pending::<()>().await;
            };
            let ask = async { tokio::join!(bench.send(&method, RequestBody::Empty), lose).0 };
            let outcome = tokio::select! {
                outcome = ask => outcome,
                () = serve => unreachable!("it never ends"),
            };
            let is_served = outcome.as_ref().is_ok_and(|(status, _)| *status == StatusCode::OK);
            let is_lost = matches!(outcome, Err(ExchangeEnd::Upstream(UpstreamFault::Lost(_))));
            assert!(if is_repeated { is_served } else { is_lost }, "{method}: {outcome:?}");
        });
    }
}

#[test]
fn repeats_end_with_their_budget() {
    run(async {
        let (bench, other, _busier) = pair().await;
        // One that is left out would end them earlier.
        let rules = BackendRules { ejection: EjectionRules { failures: 0, ..RULES.ejection }, ..RULES };
        let places = [&bench.listener, &other].map(|listener| place(listener.local_addr().unwrap())).to_vec();
        let options =
            UpstreamOptions { backends: Backends::new(places, rules, standing_clock(), None), ..bench.upstream.options.clone() };
        let bench = Bench { upstream: bench.upstream.with(options), ..bench };
        let lose = async |listener: &TcpListener| loop {
            let mut stream = listener.accept().await.unwrap().0;
            head(&mut stream).await;
        };
        let ask = async {
            let mut lost = 0;
            for _ in 0..30 {
                assert!(bench.ask().await.is_err());
                lost += 1;
            }
            lost
        };
        let lost = tokio::select! {
            lost = ask => lost,
            () = async { tokio::join!(lose(&bench.listener), lose(&other)); } => unreachable!("they never end"),
        };
        let repeats = bench
            .upstream
            .counters
            .snapshot()
            .iter()
            .find(|(counter, _)| *counter == Counter::UpstreamRetries)
            .map_or(0, |(_, count)| count);
        // One a second for ten seconds, and a fifth of the requests.
        assert!(lost == 30 && (10..=17).contains(&repeats), "{repeats} repeats");
    });
}

#[test]
fn where_all_connections_are_in_use_a_request_waits_for_one_of_them_and_not_for_ever() {
    run(async {
        let bench = Bench::new().await;
        let options = UpstreamOptions { connections_max: Some(1), ..bench.upstream.options.clone() };
        let bench = Bench { upstream: bench.upstream.with(options), ..bench };
        let other = bench.watchers.exchange(&bench.watchers.connection(Seat::of_test()));
        let serve = async {
            let mut stream = bench.accept().await;
            for _ in 0..2 {
                head(&mut stream).await;
                tokio::task::yield_now().await;
                stream.write_all(OK).await.unwrap();
            }
            head(&mut stream).await;
            // While the third request is under way, the fourth runs out of time.
            for _ in 0..110 {
                bench.watchers.tick(|_| Verdict::Holds);
                bench.upstream.tick();
                tokio::task::yield_now().await;
            }
            stream.write_all(OK).await.unwrap();
            stream
        };
        let ask = async {
            let (one, two) = tokio::join!(bench.ask(), bench.ask_by(&other));
            assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
            let (one, two) = tokio::join!(bench.ask_patiently(), bench.ask_by(&other));
            assert!(one.is_ok(), "{one:?}");
            assert!(matches!(two, Err(ExchangeEnd::Upstream(UpstreamFault::Busy))), "{two:?}");
        };
        let (_stream, ()) = tokio::join!(serve, ask);
    });
}
