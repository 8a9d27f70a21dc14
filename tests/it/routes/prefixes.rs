//! What upstreams get in the place of a route's prefix.

use super::assert_refused;
use crate::support::gateway::Gateway;
use crate::support::http::Message;
use crate::support::upstream::Upstream;

const ROUTES: &str = r#"
[[routes]]
name = "stripped"
prefix = "/api"
access = "public"
strip_prefix = true
[[routes]]
name = "replaced"
prefix = "/old/shop"
access = "public"
replace_prefix = "/v2"
[[routes]]
name = "exact"
prefix = "/ping"
exact = true
access = "public"
replace_prefix = "/internal/health"
[[routes]]
name = "of host"
host = "*.shop.example"
prefix = "/"
access = "public"
replace_prefix = "/shop"
[[routes]]
name = "kept"
prefix = "/kept"
access = "public"
"#;

fn target(response: &Message) -> String {
    response.json()["target"].as_str().unwrap().to_owned()
}

#[test]
fn upstreams_get_the_path_that_the_route_makes_and_the_query_as_it_came() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, ROUTES, &[]);
    for (path, expected) in [
        ("/api/x/y?q=/api&%2e%2e/", "/x/y?q=/api&%2e%2e/"),
        ("/api", "/"),
        ("/api?q", "/?q"),
        ("/api/", "/"),
        ("/%61pi/%41", "/A"),
        ("/api/a%2fb", "/a%2Fb"),
        ("/old/shop/x?q", "/v2/x?q"),
        ("/old/shop", "/v2"),
        ("/old/shop//x", "/v2//x"),
        ("/ping?now", "/internal/health?now"),
        ("/kept/x?q", "/kept/x?q"),
    ] {
        assert_eq!(target(&gateway.client().get(path, None).expect(200)), expected, "{path}");
    }
    let response = gateway.client().get("/old/shopping", None);
    assert_refused(&response, 404, "route_not_found");
    let before = upstream.requests();
    for path in ["/api//evil.example/x", "/api//", "/api/../x", "/api/..;/x", "/api/%2e%2e/x", "/api/%252e%252e/x", "/ping/x"] {
        let response = gateway.client().get(path, None);
        assert!([400, 404].contains(&response.status()), "{path}: {response:?}");
    }
    assert_eq!(upstream.requests(), before, "nothing of it reaches the upstream");
}

#[test]
fn a_prefix_of_a_host_leaves_other_hosts_alone() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, ROUTES, &[]);
    let at = |host: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let mut stream = crate::support::http::connect(gateway.address()).unwrap();
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        Message::read(&mut std::io::BufReader::new(stream), |_| false).unwrap().unwrap()
    };
    assert_eq!(target(&at("a.shop.example", "/x?q").expect(200)), "/shop/x?q");
    assert_eq!(target(&at("a.shop.example", "/").expect(200)), "/shop/");
    assert_refused(&at("shop.example", "/x"), 404, "route_not_found");
    assert_eq!(target(&at("shop.example", "/kept").expect(200)), "/kept");
}

#[test]
fn upstreams_are_told_of_a_stripped_prefix_by_the_gateway_and_by_trusted_peers_alone() {
    let upstream = Upstream::start();
    let told = |trusted: &[(&str, &str)], path: &str, prefix: Option<&str>| {
        let gateway = Gateway::of(&upstream, ROUTES, trusted);
        let fields: Vec<(&str, &str)> = prefix.map(|prefix| ("x-forwarded-prefix", prefix)).into_iter().collect();
        gateway.client().send("GET", path, &fields, None).unwrap().expect(200).upstream_saw("x-forwarded-prefix")
    };
    assert_eq!(told(&[], "/api/x", None), ["/api"]);
    assert_eq!(told(&[], "/api/x", Some("/evil")), ["/api"]);
    assert_eq!(told(&[], "/old/shop/x", Some("/evil")), [""; 0]);
    assert_eq!(told(&[], "/kept", None), [""; 0]);
    let trusted = [("listen.trusted_peers", "127.0.0.1/32")];
    assert_eq!(told(&trusted, "/api/x", Some("/outer/")), ["/outer/api"]);
    assert_eq!(told(&trusted, "/api/x", Some("//evil.example")), ["/api"]);
    assert_eq!(told(&trusted, "/kept", Some("/outer")), ["/outer"]);
}

#[test]
fn responses_are_not_rewritten() {
    let upstream = Upstream::saying(|_| {
        b"HTTP/1.1 302 Found\r\nlocation: /login?next=/x\r\nset-cookie: a=1; Path=/\r\ncontent-length: 0\r\n\r\n".to_vec()
    });
    let gateway = Gateway::of(&upstream, ROUTES, &[]);
    let response = gateway.client().get("/api/x", None).expect(302);
    assert_eq!((response.header("location"), response.header("set-cookie")), (Some("/login?next=/x"), Some("a=1; Path=/")));
}
