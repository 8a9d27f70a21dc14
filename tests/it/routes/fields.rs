//! Header fields that routes set, add and remove.

use super::assert_refused;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

const ROUTES: &str = r#"
[[routes]]
name = "edited"
prefix = "/edited"
access = "public"
[routes.request_headers]
set = { x-tenant = "acme", X-Api-Key = "hunter2 is secret" }
add = { x-tag = "gateway" }
remove = ["x-debug-*", "accept-language"]
[routes.response_headers]
set = { strict-transport-security = "max-age=31536000", cache-control = "private" }
add = { vary = "x-tenant" }
remove = ["server", "x-powered-*"]
[[routes]]
name = "guarded"
prefix = "/guarded"
response_headers.set = { x-marked = "yes" }
[[routes]]
name = "plain"
prefix = "/plain"
access = "public"
"#;

const SENT: [(&str, &str); 7] = [
    ("x-tenant", "evil"),
    ("x_tenant", "evil"),
    ("x-api-key", "evil"),
    ("x-tag", "client"),
    ("x-debug-sql", "evil"),
    ("accept-language", "evil"),
    ("x-debugging", "client"),
];

#[test]
fn an_upstream_gets_the_fields_that_the_route_makes() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, ROUTES, &[("log.level", "trace")]);
    let edited = gateway.client().send("GET", "/edited", &SENT, None).unwrap().expect(200);
    assert!(!edited.text().contains("evil"), "{}", edited.text());
    assert_eq!(
        (edited.upstream_saw("x-tenant"), edited.upstream_saw("x-api-key")),
        (vec!["acme".to_owned()], vec!["hunter2 is secret".to_owned()])
    );
    assert_eq!(
        (edited.upstream_saw("x-tag"), edited.upstream_saw("x-debugging")),
        (vec!["client".to_owned(), "gateway".to_owned()], vec!["client".to_owned()])
    );
    let plain = gateway.client().send("GET", "/plain", &SENT, None).unwrap().expect(200);
    for (name, value) in SENT {
        assert_eq!(plain.upstream_saw(name), [value], "{name}");
    }
    assert!(!gateway.log().contains("hunter2"), "{}", gateway.log());
}

#[test]
fn trailers_bring_nothing_that_the_route_sets_or_removes() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let recorder = {
        let seen = std::sync::Arc::clone(&seen);
        std::thread::Builder::new()
            .spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut chunk = [0; 4096];
                loop {
                    let read = std::io::Read::read(&mut stream, &mut chunk).unwrap();
                    let mut seen = seen.lock().unwrap();
                    seen.extend_from_slice(&chunk[..read]);
                    let is_whole = seen
                        .windows(5)
                        .position(|bytes| bytes == b"\r\n0\r\n")
                        .is_some_and(|at| seen[at..].ends_with(b"\r\n\r\n"));
                    if read == 0 || is_whole {
                        break;
                    }
                }
                std::io::Write::write_all(&mut stream, b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            })
            .unwrap()
    };
    let idle = Upstream::start();
    let gateway = Gateway::of(&idle, ROUTES, &[("upstreams.api.url", &format!("http://{address}"))]);
    let mut stream = crate::support::http::connect(gateway.address()).unwrap();
    let request = "POST /edited HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-tenant, x-sum\r\n\r\n\
                   2\r\nhi\r\n0\r\nx-tenant: evil\r\nx_tenant: evil\r\nx-debug-sql: evil\r\nx-sum: 1\r\n\r\n";
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    recorder.join().unwrap();
    let seen = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
    assert!(!seen.contains("evil") && seen.contains("x-sum: 1"), "{seen}");
}

#[test]
fn a_client_gets_the_fields_that_the_route_makes_of_responses_and_refusals_stay_as_they_are() {
    let upstream = Upstream::saying(|_| {
        let fields =
            "server: secret/1.0\r\nx-powered-by: php\r\nstrict-transport-security: max-age=0\r\nvary: accept\r\netag: \"1\"";
        format!("HTTP/1.1 200 OK\r\n{fields}\r\ncontent-length: 2\r\n\r\nhi").into_bytes()
    });
    let gateway = Gateway::of(&upstream, ROUTES, &[]);
    let edited = gateway.client().get("/edited", None).expect(200);
    let values = |name: &str| {
        let named = edited.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(values("strict-transport-security"), ["max-age=31536000"]);
    assert_eq!(
        (values("cache-control"), values("vary"), values("etag")),
        (vec!["private".to_owned()], vec!["accept".to_owned(), "x-tenant".to_owned()], vec!["\"1\"".to_owned()])
    );
    assert!(values("server").is_empty() && values("x-powered-by").is_empty() && edited.text() == "hi", "{edited:?}");
    assert_eq!(gateway.client().get("/plain", None).expect(200).header("server"), Some("secret/1.0"));
    let refused = gateway.client().get("/guarded", None);
    assert_refused(&refused, 401, "token_missing");
    assert_eq!(refused.header("x-marked"), None);
    let token = gateway.client().get("/edited/none", None).expect(200);
    assert_eq!(token.header("x-marked"), None);
}
