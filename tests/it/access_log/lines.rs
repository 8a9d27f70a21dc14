//! One line for each request, whatever it comes by and however it ends.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{Logging, await_lines, counted, eventually, has, seconds};
use crate::support::gateway::{Gateway, Tokens};
use crate::support::http::{Client, connect};
use crate::support::upstream::{PASSWORD, Upstream};

#[test]
fn a_line_tells_all_that_is_known_of_a_request() {
    let upstream = Upstream::start();
    let set = [
        ("listen.trusted_peers", "127.0.0.0/8"),
        ("node.name", "node-a"),
        ("log.access.query_values", "page"),
        ("endpoints.ticket", "/ticket"),
    ];
    let logging = Logging::start(&upstream, &set);
    let mut client = logging.gateway.client();
    let Tokens { access, refresh } = client.log_in("ada");
    let authorization = format!("Bearer {access}");
    let fields = [
        ("authorization", authorization.as_str()),
        ("x-request-id", "id-1"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("user-agent", "a \"browser\""),
        ("referer", "https://ann:hunter2@app.example/x?code=c&page=2#y"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("content-type", "text/plain"),
    ];
    let response = client.send("POST", "/%61pi/things/7?page=3&token=t", &fields, Some(b"hello")).unwrap().expect(200);
    let line = logging.only("/api/things/7");
    has(
        &line,
        &[
            ("node", json!("node-a")),
            ("request_id", json!("id-1")),
            ("trace_id", json!("0af7651916cd43dd8448eb211c80319c")),
            ("client", json!("203.0.113.7")),
            ("subject", json!("ada")),
            ("method", json!("POST")),
            ("scheme", json!("https")),
            ("host", json!(logging.gateway.address().to_string())),
            ("query", json!("page=3&token=*")),
            ("protocol", json!("HTTP/1.1")),
            ("user_agent", json!("a \"browser\"")),
            ("referer", json!("https://app.example/x?code=*&page=2")),
            ("route", json!("api")),
            ("upstream", json!("api")),
            ("target", json!(upstream.address().to_string())),
            ("status", json!(200)),
            ("outcome", json!("forwarded")),
            ("request_bytes", json!(5)),
            ("response_bytes", json!(response.body.len())),
        ],
    );
    assert!(line["session"].as_str().unwrap().len() > 10 && !access.contains(line["session"].as_str().unwrap()));
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
    for absent in ["endpoint", "code", "certificate_subject", "cut"] {
        assert!(line.get(absent).is_none(), "{absent}: {line:#}");
    }
    let [total, gateway, asked] = ["duration", "gateway_duration", "upstream_duration"].map(|name| seconds(&line, name));
    assert!(total >= asked && total >= gateway && asked > 0.0, "{line:#}");

    let refreshed = client.refresh(&refresh).expect(200);
    client.call("POST", "/ticket", Some(&Tokens::of(&refreshed).access), Some(&json!({"path": "/events"}))).expect(200);
    client.log_out(&Tokens::of(&refreshed).access, "session").expect(200);
    client.post("/login", &json!({"email": "ada", "password": "wrong"})).expect(401);
    client.get("/api/x", None).expect(401);
    client.get("/.well-known/jwks.json", None).expect(200);
    client.send("PUT", "/login", &[], None).unwrap().expect(405);
    let bad = client.send("GET", "/bad/%zz?password=hunter3", &[], None).unwrap().expect(400);
    let lines = logging.lines();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            (text("endpoint"), line["status"].as_u64().unwrap(), text("outcome"), text("code"), text("path"))
        })
        .collect();
    let expected = [
        ("login", 200, "answered", "-", "/login"),
        ("-", 200, "forwarded", "-", "/api/things/7"),
        ("refresh", 200, "answered", "-", "/refresh"),
        ("ticket", 200, "answered", "-", "/ticket"),
        ("logout", 200, "answered", "-", "/logout"),
        ("login", 401, "forwarded", "-", "/login"),
        ("-", 401, "denied", "token_missing", "/api/x"),
        ("jwks", 200, "answered", "-", "/.well-known/jwks.json"),
        ("none", 405, "refused", "method_not_allowed", "/login"),
        ("none", 400, "refused", "request_malformed", "/bad/%zz"),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(endpoint, status, outcome, code, path)| {
            (endpoint.to_owned(), status, outcome.to_owned(), code.to_owned(), path.to_owned())
        })
        .collect();
    assert_eq!(told, expected);
    assert_eq!(lines[9]["request_id"].as_str(), bad.header("x-request-id"), "who asks for help can be found");
    assert_eq!(lines[4]["subject"], "ada", "who logs out");
    eventually("all are counted", || counted(&logging.gateway, "written") >= 12);
    assert_eq!(counted(&logging.gateway, "dropped"), 0);
}

fn scrape(gateway: &Gateway) -> String {
    gateway.admin().get("/metrics", None).expect(200).text()
}

async fn open_http2(gateway: &Gateway) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::task::spawn_local(async { drop(connection.await) });
    sender.ready().await.unwrap()
}

#[test]
fn a_request_by_http2_has_one_line_also_where_it_is_refused_or_taken_back() {
    let upstream = Upstream::start();
    let logging = Logging::start(&upstream, &[("listen.header_count_max", "10")]);
    let token = logging.gateway.client().log_in("ada").access;
    let runtime = Runtime::new().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut sender = open_http2(&logging.gateway).await;
        let request =
            |path: &str| Request::get(format!("http://api.example{path}")).header("authorization", format!("Bearer {token}"));
        let (response, _) = sender.send_request(request("/api/whole").body(()).unwrap(), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        let crowded = (0..20).fold(request("/api/crowded"), |request, n| request.header(format!("x-{n}"), "1"));
        let (response, _) = sender.send_request(crowded.body(()).unwrap(), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 431);
        let (_held, mut sending) = sender.send_request(request("/api/held").body(()).unwrap(), false).unwrap();
        sending.send_data(Bytes::from_static(b"abc"), false).unwrap();
        while !scrape(&logging.gateway).contains("tokengate_requests_in_flight{route=\"api\",endpoint=\"\"} 1") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sending.send_reset(h2::Reason::CANCEL);
        while !super::lines_of(&logging.file).iter().any(|line| line["path"] == "/api/held") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    upstream.release();
    has(
        &logging.only("/api/whole"),
        &[
            ("protocol", json!("HTTP/2")),
            ("host", json!("api.example")),
            ("subject", json!("ada")),
            ("status", json!(200)),
            ("outcome", json!("forwarded")),
        ],
    );
    let lines = logging.lines();
    let crowded: Vec<_> = lines.iter().filter(|line| line["status"] == 431).collect();
    let [crowded] = crowded.as_slice() else { panic!("{crowded:#?}") };
    has(
        crowded,
        &[("protocol", json!("HTTP/2")), ("method", json!("GET")), ("outcome", json!("refused")), ("client", json!("127.0.0.1"))],
    );
    let held = logging.only("/api/held");
    has(&held, &[("outcome", json!("client_gone")), ("request_bytes", json!(3)), ("status", Value::Null)]);
}

#[test]
fn what_is_refused_before_it_is_a_request_has_one_line_of_what_is_known() {
    let upstream = Upstream::start();
    let logging = Logging::start(&upstream, &[("listen.header_timeout", "1s"), ("listen.header_bytes_max", "8KiB")]);
    let say = |bytes: &[u8]| {
        let mut stream = connect(logging.gateway.address()).unwrap();
        stream.write_all(bytes).unwrap();
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response);
        String::from_utf8_lossy(&response).into_owned()
    };
    assert!(say(b"GET / HTTP/1.1\r\nbad field\r\n\r\n").starts_with("HTTP/1.1 400"));
    assert!(say(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS\r\n\r\n").starts_with("HTTP/1.1 400"));
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(9_000));
    assert!(say(long.as_bytes()).starts_with("HTTP/1.1 431"));
    assert!(say(b"GET / HTTP/1.1\r\nhost:").starts_with("HTTP/1.1 408"));
    drop(connect(logging.gateway.address()).unwrap());
    assert!(say(b"GET /twice HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n").starts_with("HTTP/1.1 400"));
    let lines = logging.lines();
    let statuses: Vec<_> = lines.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [400, 400, 431, 408, 400], "{lines:#?}");
    for line in &lines[..4] {
        has(
            line,
            &[
                ("outcome", json!("refused")),
                ("endpoint", json!("none")),
                ("client", json!("127.0.0.1")),
                ("protocol", json!("HTTP/1.1")),
                ("path", Value::Null),
                ("duration", Value::Null),
            ],
        );
    }
    has(
        &lines[4],
        &[("path", json!("/twice")), ("code", json!("request_malformed")), ("host", Value::Null), ("client", json!("127.0.0.1"))],
    );
}

#[test]
fn a_client_that_goes_leaves_a_line_without_a_status() {
    let upstream = Upstream::start();
    let logging = Logging::start(&upstream, &[]);
    let token = logging.gateway.client().log_in("ada").access;
    let mut stream = connect(logging.gateway.address()).unwrap();
    write!(stream, "GET /api/held HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n").unwrap();
    upstream.await_held(1);
    drop(stream);
    await_lines(&logging.file, "it is given up", |lines| lines.iter().any(|line| line["path"] == "/api/held"));
    upstream.release();
    has(
        &logging.only("/api/held"),
        &[
            ("outcome", json!("client_gone")),
            ("status", Value::Null),
            ("subject", json!("ada")),
            ("upstream", json!("api")),
            ("target", json!(upstream.address().to_string())),
        ],
    );
}

#[test]
fn the_server_that_was_asked_last_is_the_one_that_is_named() {
    let upstream = Upstream::start();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tables = format!(
        "[upstreams.two]\nurls = [\"http://{dead}\", \"http://{}\"]\n\
         [upstreams.dead]\nurl = \"http://{dead}\"\n\
         [[routes]]\nname = \"two\"\nprefix = \"/two\"\naccess = \"public\"\nupstream = \"two\"\n\
         [[routes]]\nname = \"dead\"\nprefix = \"/dead\"\naccess = \"public\"\nupstream = \"dead\"\n\
         [[routes]]\nname = \"public\"\nprefix = \"/\"\naccess = \"public\"\nupstream = \"api\"\n",
        upstream.address()
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let to = file.display().to_string();
    let set = [("login.upstream", "api"), ("listen.workers", "1"), ("log.access.mode", "on"), ("log.access.to", to.as_str())];
    let gateway = Gateway::of(&upstream, &tables, &set);
    for _ in 0..8 {
        gateway.client().get("/two", None).expect(200);
    }
    gateway.client().get("/dead", None).expect(502);
    let lines = await_lines(&file, "all are there", |lines| lines.iter().any(|line| line["route"] == "dead"));
    for line in lines.iter().filter(|line| line["route"] == "two") {
        has(line, &[("target", json!(upstream.address().to_string())), ("upstream", json!("two"))]);
    }
    let failed = lines.iter().find(|line| line["route"] == "dead").unwrap();
    has(
        failed,
        &[
            ("target", json!(dead.to_string())),
            ("outcome", json!("upstream_error")),
            ("code", json!("upstream_unreachable")),
            ("status", json!(502)),
        ],
    );
}

/// A field of protobuf that has a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    [bytes.as_slice(), content].concat()
}

#[test]
fn a_question_of_a_proxy_has_one_line_about_the_request_in_question() {
    let upstream = Upstream::start();
    let logging = Logging::start(&upstream, &[("decision.address", "127.0.0.1:0")]);
    let token = logging.gateway.client().log_in("ada").access;
    let authorization = format!("Bearer {token}");
    let asked = [
        ("x-original-method", "DELETE"),
        ("x-original-url", "http://api.example/api/x?token=t"),
        ("x-forwarded-for", "203.0.113.7"),
    ];
    let decision = logging.gateway.decision_address();
    let with_token = [&asked[..], &[("authorization", authorization.as_str())]].concat();
    Client::new(decision).send("GET", "/auth", &with_token, None).unwrap().expect(200);
    Client::new(decision).send("GET", "/auth", &asked, None).unwrap().expect(401);

    let header = |name: &str, value: &str| field(3, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    let call = |fields: &[Vec<u8>]| {
        let http = [&[field(2, b"GET"), field(4, b"/api/y"), field(5, b"api.example")], fields].concat().concat();
        let source = field(1, &field(1, &field(2, b"203.0.113.8")));
        let request = field(1, &[field(1, &source), field(4, &field(2, &http))].concat());
        let mut message = vec![0];
        message.extend_from_slice(&u32::try_from(request.len()).unwrap().to_be_bytes());
        [message, request].concat()
    };
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(decision).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        let driving = async {
            let _ = connection.await;
        };
        let asking = async {
            let mut sender = sender.ready().await.unwrap();
            for fields in [vec![header("authorization", &authorization), header("user-agent", "envoy's client")], Vec::new()] {
                let request = Request::post(format!("http://{decision}/envoy.service.auth.v3.Authorization/Check"))
                    .header("content-type", "application/grpc")
                    .body(())
                    .unwrap();
                let (response, mut sending) = sender.send_request(request, false).unwrap();
                sending.send_data(call(&fields).into(), true).unwrap();
                assert_eq!(response.await.unwrap().status(), 200);
            }
        };
        tokio::select! {
            () = driving => panic!("the connection ended"),
            () = asking => {}
        }
    });
    let lines: Vec<_> = logging.lines().into_iter().filter(|line| line["endpoint"] != "login").collect();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    for (line, (client, method, path, protocol)) in lines.iter().zip([
        ("203.0.113.7", "DELETE", "/api/x", "HTTP/1.1"),
        ("203.0.113.7", "DELETE", "/api/x", "HTTP/1.1"),
        ("203.0.113.8", "GET", "/api/y", "HTTP/2"),
        ("203.0.113.8", "GET", "/api/y", "HTTP/2"),
    ]) {
        has(line, &[("client", json!(client)), ("method", json!(method)), ("path", json!(path)), ("host", json!("api.example"))]);
        has(line, &[("protocol", json!(protocol)), ("route", Value::Null), ("endpoint", json!("decision"))]);
    }
    has(
        &lines[0],
        &[("status", json!(200)), ("outcome", json!("answered")), ("subject", json!("ada")), ("query", json!("token=*"))],
    );
    has(
        &lines[1],
        &[("status", json!(401)), ("outcome", json!("denied")), ("code", json!("token_missing")), ("subject", Value::Null)],
    );
    has(
        &lines[2],
        &[
            ("status", json!(200)),
            ("outcome", json!("answered")),
            ("subject", json!("ada")),
            ("user_agent", json!("envoy's client")),
        ],
    );
    has(&lines[3], &[("status", json!(200)), ("outcome", json!("denied")), ("code", json!("token_missing"))]);
}

#[test]
fn a_login_has_the_upstream_that_judged_it() {
    let upstream = Upstream::start();
    let logging = Logging::start(&upstream, &[]);
    logging.gateway.client().post("/login", &json!({"email": "ada", "password": PASSWORD})).expect(200);
    has(
        &logging.only("/login"),
        &[("upstream", json!("api")), ("target", json!(upstream.address().to_string())), ("method", json!("POST"))],
    );
}
