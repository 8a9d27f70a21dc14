//! Upstreams whose URL has a path, and listeners that have a name.

use super::rig::{Rig, eventually};
use super::upstream::Upstream;
use tokengate::config::{HostField, Listeners};
use tokengate::domain::per_upstream::UpstreamIndex;

fn rig(upstream: &Upstream, path: &str, further: &str) -> Rig {
    let url = format!("http://{}{path}", upstream.address);
    Rig::start_from(upstream.address, &format!("[store]\nkind = \"memory\"\n{further}"), |settings| {
        settings.upstreams[UpstreamIndex::FIRST].targets = url.parse().unwrap();
        settings.upstreams[UpstreamIndex::FIRST].host = HostField::Replace;
    })
}

#[test]
fn the_path_of_an_upstreams_url_is_put_before_that_of_every_request() {
    for (path, base) in [("/v2", "/v2"), ("/v2/api/", "/v2/api"), ("/", ""), ("", "")] {
        let upstream = Upstream::echo();
        let rig = rig(&upstream, path, "");
        for target in ["/public", "/public/x?y=/z", "/public/"] {
            let response = rig.ask(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert!(response.body.starts_with(&format!("GET {base}{target} HTTP/1.1\r\n")), "{path}: {response:?}");
            assert!(response.body.contains(&format!("\r\nhost: {}\r\n", upstream.address)), "{response:?}");
        }
        for target in ["/public/../../x", "/public/%2e%2e/x", "/public/..%2fx"] {
            assert_eq!(rig.ask(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).status, 400, "nothing leaves it");
        }
        // Routes know nothing of it.
        let expected = if base.is_empty() { 200 } else { 404 };
        assert_eq!(rig.ask(format!("GET {base}/public HTTP/1.1\r\nHost: a\r\n\r\n")).status, expected);
    }
}

#[test]
fn logins_and_the_claims_hook_have_the_path_too() {
    let upstream = Upstream::start(|conversation| {
        while let Some(request) = conversation.request() {
            let body = if request.starts_with("POST /v2/login ") { r#"{"user":{"id":"user-1"}}"# } else { "{}" };
            let length = body.len();
            conversation
                .say(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"));
        }
    });
    let rig = rig(&upstream, "/v2", "[claims_hook]\npath = \"/claims\"\n");
    let tokens = rig.log_in();
    assert_eq!(rig.post("/refresh", &format!(r#"{{"refreshToken":"{}"}}"#, tokens.refresh)).status, 200);
    eventually("the hook is asked", || {
        upstream.heard().iter().any(|request| request.starts_with("POST /v2/claims HTTP/1.1\r\n"))
    });
}

#[test]
fn a_listener_may_have_a_name() {
    let upstream = Upstream::echo();
    let rig = Rig::start_with(upstream.address, |settings| settings.listeners = Listeners::plain("localhost:0".parse().unwrap()));
    assert!(rig.address().ip().is_loopback());
    assert_eq!(rig.ask("GET /public HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
}
