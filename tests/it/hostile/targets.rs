//! Host and request target: whom and what a request means.

use super::rig::Rig;
use super::upstream::Upstream;

fn assert_refused(requests: &[&str]) {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    for request in requests {
        let mut client = rig.client();
        client.send(request);
        let response = client.response();
        assert_eq!(response.status, 400, "{request:?}: {response:?}");
    }
    assert_eq!(upstream.heard(), [""; 0], "nothing reaches the upstream");
}

#[test]
fn exactly_one_valid_host_is_needed() {
    assert_refused(&[
        "GET /public HTTP/1.1\r\n\r\n",
        "GET /public HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET /public HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /public HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /public HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /public HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET /public HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET /public HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET /public HTTP/1.1\r\nHost: a:99999\r\n\r\n",
        "GET /public HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET http://b/public HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET http://b/public HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET http://u@b/public HTTP/1.1\r\nHost: b\r\n\r\n",
    ]);
}

#[test]
fn the_absolute_form_overrides_host() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let response = rig.ask("GET http://real.example:81/public/x?y HTTP/1.1\r\nHost: other.example\r\n\r\n");
    assert_eq!(response.status, 200, "{response:?}");
    assert!(response.body.starts_with("GET /public/x?y HTTP/1.1\r\nhost: real.example:81\r\n"), "{}", response.body);
    assert!(!response.body.contains("other.example"), "{}", response.body);
}

#[test]
fn connect_and_the_asterisk_are_refused() {
    assert_refused(&[
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        "CONNECT /public HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    ]);
}

#[test]
fn a_fragment_behind_a_pipelined_target_is_cut_off() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    client.send("GET /public/1 HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /public/2#/../api HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert!(client.response().body.starts_with("GET /public/2 HTTP/1.1\r\n"));
}

#[test]
fn dot_segments_in_any_disguise_are_refused() {
    assert_refused(&[
        "GET /public/../api HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /public/%2e%2e/api HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /public/.%2E/api HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /public/..%2fapi HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /public/%252e%252e/api HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /public/..;x/api HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /public/..%5capi HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /public/./x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET //public HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /public/%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /public/%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /public\\..\\api HTTP/1.1\r\nHost: a\r\n\r\n",
    ]);
}

#[test]
fn a_public_rule_opens_no_other_reading_of_the_path() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    for path in ["/public%2f..%2fapi", "/public/..%2f..%2fapi/x", "/PUBLIC/../api"] {
        let response = rig.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!([400, 404].contains(&response.status), "{path}: {response:?}");
    }
    assert_eq!(upstream.heard(), [""; 0]);
    // Harmless below the public prefix, and forwarded in the form that was judged.
    let response = rig.ask("GET /public/a%2Fb%41 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(response.body.starts_with("GET /public/a%2FbA HTTP/1.1\r\n"), "{response:?}");
    // By whole segments alone.
    assert_eq!(rig.ask("GET /publican HTTP/1.1\r\nHost: a\r\n\r\n").status, 404);
}

#[test]
fn an_unknown_path_is_404_and_a_method_that_is_not_served_is_405() {
    let rig = Rig::start(Upstream::echo().address);
    assert_eq!(rig.ask("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n").status, 404);
    let response = rig.ask("GET /written HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((response.status, response.field("allow")), (405, Some("post")), "{response:?}");
    assert_eq!(rig.ask("GET /logout HTTP/1.1\r\nHost: a\r\n\r\n").status, 405);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut client = rig.client();
    let all: Vec<String> = (0..20)
        .map(|number| {
            format!(
                "GET /public/{number} HTTP/1.1\r\nHost: a\r\n\r\nGET /nothing HTTP/1.1\r\nHost: a\r\n\r\n\
                 POST /public/{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
            )
        })
        .collect();
    client.send(all.concat());
    for number in 0..20 {
        let response = client.response();
        assert!(response.body.starts_with(&format!("GET /public/{number} ")), "{response:?}");
        assert_eq!(client.response().status, 404);
        let response = client.response();
        assert!(response.body.starts_with(&format!("POST /public/{number} ")), "{response:?}");
        assert!(response.body.ends_with("\r\n\r\nhello"), "{response:?}");
    }
    client.end_sending();
    client.assert_closed();
}
