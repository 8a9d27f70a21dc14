//! Whom a request is addressed to, in every spelling, and what an upstream is told of it.

use super::client::Response;
use super::rig::Rig;
use super::upstream::Upstream;

const ROUTES: &str = r#"
    [store]
    kind = "memory"
    [[routes]]
    name = "admin"
    host = "Admin.Example.com."
    [[routes]]
    name = "tenants"
    host = "*.tenants.example.com"
    [[routes]]
    name = "open"
    access = "public"
    "#;

fn rig(upstream: &Upstream) -> Rig {
    Rig::start_from(upstream.address, ROUTES, |_| {})
}

fn at_host(rig: &Rig, host: &str) -> Response {
    rig.ask(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

/// What the upstream was told, in lower case.
fn told<'a>(response: &'a Response, name: &str) -> Vec<&'a str> {
    let fields = response.body.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[test]
fn no_spelling_of_a_host_misses_its_route() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    for host in [
        "admin.example.com",
        "admin.example.com.",
        "ADMIN.example.com",
        "Admin.Example.Com.:8080",
        "admin.example.com:0443",
        "admin.example.com:",
        "a.tenants.example.com",
        "A.b.Tenants.example.com.",
    ] {
        assert_eq!(at_host(&rig, host).status, 401, "{host}");
        let absolute = rig.ask(format!("GET http://{host}/x HTTP/1.1\r\nHost: open.example\r\n\r\n"));
        assert_eq!(absolute.status, 401, "{host}");
        assert_eq!(rig.ask(format!("GET /x HTTP/1.0\r\nHost: {host}\r\n\r\n")).status, 401, "{host}");
    }
    for host in ["admin.example.com..", "admin%2eexample.com", "admin.example.com:0", "127.1", "0x7f.0.0.1", "[::1%25lo]"] {
        assert_eq!(at_host(&rig, host).status, 400, "{host}");
    }
    assert_eq!(upstream.heard(), [""; 0], "nothing reaches the upstream");
}

#[test]
fn an_upstream_is_told_the_host_in_the_form_that_decided() {
    let rig = rig(&Upstream::echo());
    for (host, canonical) in [
        ("WWW.Example.com.", "www.example.com"),
        ("www.example.com.:08080", "www.example.com:8080"),
        ("localhost:8080", "localhost:8080"),
        ("api_1:3000", "api_1:3000"),
        ("[::0001]:80", "[::1]:80"),
        ("tenants.example.com", "tenants.example.com"),
    ] {
        for response in [at_host(&rig, host), rig.ask(format!("GET http://{host}/x HTTP/1.1\r\nHost: other.example\r\n\r\n"))] {
            assert_eq!(response.status, 200, "{host}: {response:?}");
            assert_eq!(told(&response, "host"), [canonical], "{host}");
            assert_eq!(told(&response, "x-forwarded-host"), [canonical], "{host}");
            assert!(told(&response, "forwarded")[0].ends_with(&format!(";host=\"{canonical}\"")), "{host}: {response:?}");
        }
    }
}

#[test]
fn an_old_client_that_names_no_host_is_served_where_no_route_asks_for_one() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    for head in ["GET /healthz HTTP/1.0\r\n\r\n", "GET /healthz HTTP/1.0\r\nHost:\r\n\r\n", "GET /readyz HTTP/1.0\r\n\r\n"] {
        assert_eq!(rig.ask(head).status, 200, "{head:?}");
    }
    let response = rig.ask("GET /x HTTP/1.0\r\nUser-Agent: probe\r\n\r\n");
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(told(&response, "host"), [upstream.address.to_string()], "that of its URL");
    assert_eq!(told(&response, "x-forwarded-host"), [""; 0]);
    assert!(!told(&response, "forwarded")[0].contains("host="), "{response:?}");
    assert_eq!(rig.ask("GET /x HTTP/1.1\r\n\r\n").status, 400, "the new version must name one");
    assert_eq!(rig.ask("GET /x HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n").status, 400);
}

#[test]
fn an_old_client_that_names_no_host_meets_no_route_of_a_host() {
    let upstream = Upstream::echo();
    let routes = ROUTES.replace("name = \"open\"", "name = \"open\"\n    host = \"open.example.com\"");
    let rig = Rig::start_from(upstream.address, &routes, |_| {});
    assert_eq!(rig.ask("GET /x HTTP/1.0\r\n\r\n").status, 404);
    assert_eq!(rig.ask("GET /healthz HTTP/1.0\r\n\r\n").status, 200);
    assert_eq!(upstream.heard(), [""; 0]);
}

#[test]
fn a_host_that_a_trusted_peer_tells_of_opens_nothing_that_a_stricter_route_guards() {
    let upstream = Upstream::echo();
    let trusting = Rig::start_from(upstream.address, ROUTES, |settings| {
        settings.listen.trusted_peers = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let ask = |rig: &Rig, told: &str| rig.ask(format!("GET /x HTTP/1.1\r\nHost: gateway.internal\r\n{told}\r\n\r\n"));
    for told in [
        "X-Forwarded-Host: admin.example.com",
        "X-Forwarded-Host: ADMIN.example.com.:443",
        "X-Forwarded-Host: a.tenants.example.com, gateway.internal",
        "Forwarded: for=192.0.2.7;host=admin.example.com",
    ] {
        assert_eq!(ask(&trusting, told).status, 400, "{told}");
    }
    assert_eq!(upstream.heard(), [""; 0], "nothing reaches the upstream");
    for told in [
        "X-Forwarded-Host: www.example.com",
        "X-Forwarded-Host: gateway.internal",
        "X-Forwarded-Host: no host",
        "X-Forwarded-For: 192.0.2.7",
    ] {
        assert_eq!(ask(&trusting, told).status, 200, "{told}");
    }
    let strict = trusting.ask("GET /x HTTP/1.1\r\nHost: admin.example.com\r\nX-Forwarded-Host: www.example.com\r\n\r\n");
    assert_eq!(strict.status, 401, "the route of the host decides, as ever");

    let wary = rig(&upstream);
    let response = ask(&wary, "X-Forwarded-Host: admin.example.com");
    assert_eq!(
        (response.status, told(&response, "x-forwarded-host")),
        (200, vec!["gateway.internal"]),
        "a stranger tells of no host"
    );
}
