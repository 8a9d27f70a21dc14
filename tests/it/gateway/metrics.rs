//! What `/metrics` tells of requests: as operators read it, after requests by real sockets.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Request;
use serde_json::json;
use tokio::runtime::Runtime;

use super::BOUND;
use crate::support::gateway::Gateway;
use crate::support::http::{Client, connect};
use crate::support::open_streams::{OpenStreams, streaming_upstream};
use crate::support::tunnels::{Tunnels, pass_through};
use crate::support::upstream::Upstream;

/// One scrape: each series as it is written, without the prefix of all names.
struct Scrape(BTreeMap<String, String>);

impl Scrape {
    fn of(gateway: &Gateway) -> Self {
        let text = gateway.admin().get("/metrics", None).expect(200).text();
        let series = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let name = name.strip_prefix("tokengate_").unwrap_or_else(|| panic!("{line}"));
            (name.to_owned(), value.to_owned())
        });
        Self(series.collect())
    }

    /// 0 where it is left out.
    fn value(&self, series: &str) -> u64 {
        self.0.get(series).map_or(0, |value| value.parse().unwrap_or_else(|_| panic!("{series} {value}")))
    }

    fn seconds(&self, series: &str) -> f64 {
        self.0.get(series).map_or(0.0, |value| value.parse().unwrap_or_else(|_| panic!("{series} {value}")))
    }

    /// Of the requests to one route, or endpoint.
    fn requests(&self, met: (&str, &str), method: &str, status: &str, outcome: &str) -> u64 {
        let (route, endpoint) = met;
        self.value(&format!(
            "requests_total{{route=\"{route}\",endpoint=\"{endpoint}\",method=\"{method}\",status=\"{status}\",outcome=\"{outcome}\"}}"
        ))
    }

    fn of_row(&self, metric: &str, (route, endpoint): (&str, &str)) -> u64 {
        self.value(&format!("{metric}{{route=\"{route}\",endpoint=\"{endpoint}\"}}"))
    }

    /// What requests of a route took all together.
    fn took(&self, of: &str, (route, endpoint): (&str, &str)) -> f64 {
        self.seconds(&format!("{of}_duration_seconds_sum{{route=\"{route}\",endpoint=\"{endpoint}\"}}"))
    }

    /// All series of a metric.
    fn sum(&self, metric: &str) -> u64 {
        let of_metric = |name: &&String| name.strip_prefix(metric).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        self.0.keys().filter(of_metric).map(|name| self.value(name)).sum()
    }
}

/// A scrape of which this holds: the last request may not have ended when its client has the response.
#[track_caller]
fn await_scrape(gateway: &Gateway, what: &str, holds: impl Fn(&Scrape) -> bool) -> Scrape {
    let began = tokio::time::Instant::now();
    loop {
        let scrape = Scrape::of(gateway);
        if holds(&scrape) {
            return scrape;
        }
        assert!(began.elapsed() < 2 * BOUND, "{what}: {:#?}", scrape.0);
        std::thread::sleep(Duration::from_millis(10));
    }
}

const API: (&str, &str) = ("api", "");
const PUBLIC: (&str, &str) = ("public", "");
const LOGIN: (&str, &str) = ("", "login");
const NOTHING: (&str, &str) = ("", "none");

#[test]
fn requests_are_counted_by_what_they_met_and_how_they_ended() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[("limits.login.per_address", "2/1d")]);
    let mut client = gateway.client();
    let token = client.log_in("ada").access;
    client.post("/login", &json!({"email": "ada", "password": "wrong"})).expect(401);
    client.post("/login", &json!({"email": "ada", "password": "wrong"})).expect(429);
    for _ in 0..3 {
        client.get("/api/x", Some(&token)).expect(200);
    }
    let echo = client.send("POST", "/public/x", &[], Some(b"hello")).unwrap().expect(200);
    client.send("BREW", "/public/x", &[], None).unwrap().expect(200);
    client.get("/api/x", None).expect(401);
    client.get("/api/x", Some("no.token.of-ours")).expect(401);
    client.send("GET", "/logout/%zz", &[], None).unwrap().expect(400);
    let scrape =
        await_scrape(&gateway, "the refusals are counted", |scrape| scrape.requests(NOTHING, "read", "4xx", "refused") == 1);
    for (met, method, status, outcome, count) in [
        (API, "read", "2xx", "forwarded", 3),
        (API, "read", "4xx", "denied", 2),
        (PUBLIC, "write", "2xx", "forwarded", 1),
        (PUBLIC, "other", "2xx", "forwarded", 1),
        (LOGIN, "write", "2xx", "answered", 1),
        (LOGIN, "write", "4xx", "forwarded", 1),
        (LOGIN, "write", "4xx", "limited", 1),
    ] {
        assert_eq!(scrape.requests(met, method, status, outcome), count, "{met:?} {method} {status} {outcome}: {:#?}", scrape.0);
    }
    assert_eq!(scrape.value("limited_total{limit=\"login_by_address\"}"), 1);
    assert_eq!(scrape.of_row("request_bytes_total", PUBLIC), 5);
    assert!(scrape.of_row("response_bytes_total", PUBLIC) >= echo.body.len() as u64);
    assert_eq!(scrape.of_row("requests_in_flight", API), 0);
    for metric in ["request_duration_seconds", "gateway_duration_seconds"] {
        assert_eq!(scrape.of_row(&format!("{metric}_count"), API), 5, "{metric}");
    }
    assert_eq!(scrape.of_row("upstream_duration_seconds_count", API), 3, "what is refused asks no upstream");
    assert_eq!(scrape.of_row("upstream_duration_seconds_count", LOGIN), 2);
    let [total, upstream] = ["request", "upstream"].map(|of| scrape.took(of, API));
    assert!(total > upstream && upstream > 0.0, "{total} {upstream}");
    assert!(scrape.value("store_call_duration_seconds_count{command=\"create\"}") == 1, "{:#?}", scrape.0);
    assert!(scrape.seconds("worker_busy_seconds_total{worker=\"0\"}") > 0.0 && scrape.sum("event_loop_lag_seconds_count") > 0);
    await_scrape(&gateway, "the worker tells of its cache", |scrape| scrape.sum("token_cache_entries") == 1);
}

#[test]
fn what_took_long_is_told_apart_by_whose_time_it_was() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[]);
    let token = gateway.client().log_in("ada").access;
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| gateway.client().get("/api/held", Some(&token)).expect(200));
        await_scrape(&gateway, "it is in flight", |scrape| scrape.of_row("requests_in_flight", API) == 1);
        upstream.await_held(1);
        std::thread::sleep(Duration::from_millis(300));
        upstream.release();
        asking.join().unwrap();
    });
    let scrape = await_scrape(&gateway, "it has ended", |scrape| scrape.of_row("requests_in_flight", API) == 0);
    let sum = |of: &str| scrape.took(of, API);
    assert!(sum("upstream") >= 0.3 && sum("request") >= sum("upstream"), "{} {}", sum("upstream"), sum("request"));
    // None of the upstream's time is told as the gateway's; sums of fractions are exact to less than a microsecond.
    assert!(sum("gateway") + sum("upstream") < sum("request") + 1e-6, "{} {}", sum("gateway"), sum("request"));
    let within = |le: &str| scrape.value(&format!("upstream_duration_seconds_bucket{{route=\"api\",endpoint=\"\",le=\"{le}\"}}"));
    assert_eq!((within("0.25"), within("30"), within("+Inf")), (0, 1, 1), "{:#?}", scrape.0);
}

#[test]
fn an_upstream_that_is_dead_slow_or_full_is_told_apart() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let upstream = Upstream::start();
    let tables = format!(
        "[upstreams.dead]\nurl = \"http://{dead}\"\n\
         [upstreams.slow]\nurl = \"http://{}\"\nconnections_max = 1\nconnections_wait = \"100ms\"\n\
         [[routes]]\nname = \"dead\"\nprefix = \"/dead\"\naccess = \"public\"\nupstream = \"dead\"\n\
         [[routes]]\nname = \"slow\"\nprefix = \"/slow\"\naccess = \"public\"\nupstream = \"slow\"\nresponse_timeout = \"5s\"\n\
         [[routes]]\nname = \"api\"\nprefix = \"/\"\nupstream = \"api\"\n",
        silent.local_addr().unwrap()
    );
    let gateway = Gateway::of(&upstream, &tables, &[("listen.workers", "1"), ("login.upstream", "api")]);
    gateway.client().get("/dead", None).expect(502);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| gateway.client().get("/slow", None).expect(504));
        await_scrape(&gateway, "it has a connection", |scrape| {
            scrape.value("upstream_connections{upstream=\"slow\",target=\"url\"}") == 1
        });
        gateway.client().get("/slow", None).expect(503);
        first.join().unwrap();
    });
    let scrape = await_scrape(&gateway, "both have ended", |scrape| scrape.of_row("requests_in_flight", ("slow", "")) == 0);
    assert_eq!(scrape.requests(("dead", ""), "read", "5xx", "upstream_error"), 1, "{:#?}", scrape.0);
    assert_eq!(scrape.requests(("slow", ""), "read", "5xx", "upstream_timeout"), 1);
    assert_eq!(scrape.requests(("slow", ""), "read", "5xx", "upstream_busy"), 1);
    assert_eq!(scrape.of_row("upstream_duration_seconds_count", ("slow", "")), 2, "one that fails is measured too");
    assert_eq!(scrape.value("upstream_connections_waited_total{upstream=\"slow\"}"), 1);
    assert_eq!(scrape.value("upstream_connections_refused_total{upstream=\"slow\"}"), 1);
    assert_eq!(scrape.value("upstream_connections_refused_total{upstream=\"dead\"}"), 0);
}

#[test]
fn a_client_that_goes_is_no_fault_of_the_upstream() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[]);
    let token = gateway.client().log_in("ada").access;
    let mut stream = connect(gateway.address()).unwrap();
    write!(stream, "GET /api/held HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n").unwrap();
    await_scrape(&gateway, "it is in flight", |scrape| scrape.of_row("requests_in_flight", API) == 1);
    drop(stream);
    let scrape = await_scrape(&gateway, "it is given up", |scrape| scrape.of_row("requests_in_flight", API) == 0);
    assert_eq!(scrape.requests(API, "read", "none", "client_gone"), 1, "{:#?}", scrape.0);
    upstream.release();
}

#[test]
fn streams_and_tunnels_count_by_their_kind_for_as_long_as_they_are_open() {
    let upstream = streaming_upstream();
    let gateway = Gateway::start(&upstream, &[]);
    let tokens: Vec<String> = (0..3).map(|user| gateway.client().log_in(&format!("user-{user}")).access).collect();
    let open = |scrape: &Scrape, kind: &str| scrape.value(&format!("open_streams{{kind=\"{kind}\"}}"));
    let streams = OpenStreams::open(gateway.address(), &tokens);
    let scrape = await_scrape(&gateway, "all are open", |scrape| scrape.sum("open_streams") == 12);
    // What the upstream sends to all of them says nothing of its type, but for the calls.
    assert_eq!(open(&scrape, "websocket_http1"), 3);
    assert_eq!((open(&scrape, "unsized"), open(&scrape, "grpc"), open(&scrape, "event_stream")), (6, 3, 0));
    assert_eq!(scrape.requests(API, "read", "1xx", "switched"), 3, "a tunnel is no request in flight");
    assert_eq!(scrape.of_row("requests_in_flight", API), 9);
    drop(streams);
    // Not all that a scrape tells is of the same instant.
    let gone = |scrape: &Scrape, method: &str| scrape.requests(API, method, "2xx", "client_gone");
    await_scrape(&gateway, "none is open, and all of them are known to have lost their clients", |scrape| {
        scrape.sum("open_streams") == 0 && gone(scrape, "read") + gone(scrape, "write") == 9
    });
}

#[test]
fn bytes_in_tunnels_are_counted_for_each_direction() {
    let tunnels = Tunnels::start();
    let gateway = Gateway::start(&tunnels, &[]);
    let stream = pass_through(gateway.address(), "/public");
    await_scrape(&gateway, "both directions are counted", |scrape| {
        scrape.value("tunnel_bytes_total{to=\"upstream\"}") == 3 && scrape.value("tunnel_bytes_total{to=\"client\"}") == 5
    });
    drop(stream);
}

#[test]
fn resets_of_http2_are_counted_by_their_code() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[]);
    let token = gateway.client().log_in("ada").access;
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        let driving = async move {
            let _ = connection.await;
        };
        let asking = async {
            let mut sender = sender.ready().await.unwrap();
            let request = |path: &str| {
                let uri = format!("http://{}{path}", gateway.address());
                Request::get(uri).header("authorization", format!("Bearer {token}")).body(()).unwrap()
            };
            let (response, _) = sender.send_request(request("/api/x"), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
            let (_held, mut sending) = sender.send_request(request("/api/held"), false).unwrap();
            sending.send_data(Bytes::from_static(b"abc"), false).unwrap();
            while Scrape::of(&gateway).of_row("requests_in_flight", API) < 1 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            sending.send_reset(Reason::CANCEL);
            while Scrape::of(&gateway).of_row("requests_in_flight", API) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = driving => panic!("the connection ended"),
            asked = tokio::time::timeout(4 * BOUND, asking) => asked.unwrap(),
        }
    });
    upstream.release();
    let scrape = await_scrape(&gateway, "it is counted", |scrape| scrape.sum("http2_resets_total") == 1);
    assert_eq!(scrape.value("http2_resets_total{by=\"client\",code=\"cancel\"}"), 1);
    assert_eq!(scrape.requests(API, "read", "2xx", "forwarded"), 1);
    assert_eq!(scrape.requests(API, "read", "none", "client_gone"), 1, "{:#?}", scrape.0);
    assert_eq!(scrape.of_row("request_bytes_total", API), 3);
}

#[test]
fn what_clients_send_adds_no_series_beyond_the_first_of_each_kind() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[]);
    let ask = |client: &mut Client, round: usize| {
        client
            .send(&format!("M{round}"), &format!("/public/{round}?q={round}"), &[("x-request-id", "x")], None)
            .unwrap()
            .expect(200);
        client.send("GET", &format!("/api/{round}"), &[("authorization", "Basic x")], None).unwrap().expect(401);
    };
    let mut client = gateway.client();
    ask(&mut client, 0);
    let first = await_scrape(&gateway, "both are counted", |scrape| scrape.sum("requests_total") >= 2).0.len();
    (1..50).for_each(|round| ask(&mut client, round));
    let later = await_scrape(&gateway, "all are counted", |scrape| scrape.sum("requests_total") >= 100).0.len();
    assert_eq!(later, first);
}

#[test]
fn counts_go_on_when_routes_are_reloaded() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[("listen.workers", "1")]);
    gateway.client().get("/public/x", None).expect(200);
    gateway.reload(|text| text.replace("name = \"api\"", "name = \"renamed\""));
    gateway.client().get("/public/x", None).expect(200);
    gateway.client().get("/other", None).expect(401);
    let scrape =
        await_scrape(&gateway, "all are counted", |scrape| scrape.requests(("renamed", ""), "read", "4xx", "denied") == 1);
    assert_eq!(scrape.requests(PUBLIC, "read", "2xx", "forwarded"), 2);
}
