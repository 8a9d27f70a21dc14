//! HTTP/2 over TLS, where the client asks for it.

use tokio::time::Instant;

use super::rig::{Rig, SILENCE_MAX, said};
use crate::support::upstream::Upstream;

const OUTCOME: [&str; 2] = ["-w", " %{http_version} %{http_code}"];

#[test]
fn a_client_gets_the_protocol_that_it_asks_for() {
    let upstream = Upstream::start();
    let rig = Rig::tls(&upstream, "");
    for (version, outcome) in [("--http2", " 2 200"), ("--http1.1", " 1.1 200")] {
        let output = said(&rig.curl("/public/x", &[&OUTCOME[..], &[version]].concat()));
        assert!(output.ends_with(outcome) && output.contains("\"/public/x\""), "{version}: {output}");
        assert!(output.contains("[\"x-forwarded-proto\",\"https\"]"), "{version}: {output}");
    }
    let refused = said(&rig.curl("/api", &[&OUTCOME[..], &["--http2"]].concat()));
    assert!(refused.contains("token_missing") && refused.ends_with(" 2 401"), "{refused}");
    let shaken = said(&rig.s_client(&["-alpn", "h2,http/1.1"], ""));
    assert!(shaken.contains("ALPN protocol: h2"), "{shaken}");
}

#[test]
fn where_http_2_is_off_it_is_not_offered() {
    let upstream = Upstream::start();
    let rig = Rig::tls(&upstream, "");
    rig.gateway.reload(|settings| format!("{settings}\n[listen.http2]\nenabled = false\n"));
    // Workers follow with their next tick.
    let is_http_1 = || said(&rig.curl("/public/x", &[&OUTCOME[..], &["--http2"]].concat())).ends_with(" 1.1 200");
    let deadline = Instant::now() + SILENCE_MAX;
    while !is_http_1() {
        assert!(Instant::now() < deadline, "still HTTP/2");
    }
}
