//! curl, OpenSSL, Node and Python.

use std::process::Command;

use super::rig::{Rig, eventually, said, upstream_saw};
use crate::support::upstream::{PASSWORD, Turn, Upstream};

#[test]
fn curl_speaks_both_versions_and_the_upstream_hears_of_https() {
    let upstream = Upstream::start();
    let rig = Rig::tls(&upstream, "");
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"], &["--http1.1"], &["--http2"]] {
        let response = rig.curl("/public/a", version);
        assert!(response.status.success(), "{version:?}: {}", said(&response));
        assert_eq!(upstream_saw(&response.stdout, "x-forwarded-proto"), ["https"]);
        let forwarded = upstream_saw(&response.stdout, "forwarded");
        assert!(forwarded[0].contains("for=127.0.0.1;proto=https;host="), "{forwarded:?}");
    }
    assert_eq!(rig.metric("tls_handshakes_total{outcome=\"full\"}"), 4);
}

#[test]
fn versions_below_the_minimum_are_refused() {
    let upstream = Upstream::start();
    let (lax, strict) = (Rig::tls(&upstream, ""), Rig::tls(&upstream, "minimum_version = '1.3'"));
    let old = lax.s_client(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "");
    assert!(!old.status.success() && said(&old).contains("alert"), "{}", said(&old));
    let old = strict.curl("/public/a", &["--tls-max", "1.2"]);
    assert!(!old.status.success() && said(&old).contains("protocol version"), "{}", said(&old));
    assert!(strict.curl("/public/a", &[]).status.success());
    eventually("it is counted", || strict.metric("tls_handshakes_total{outcome=\"failed\"}") == 1);
}

#[test]
fn a_login_and_its_token_travel_over_tls() {
    let upstream = Upstream::start();
    let rig = Rig::tls(&upstream, "");
    let body = format!("{{\"email\":\"ann@example.com\",\"password\":\"{PASSWORD}\"}}");
    let login = rig.curl("/login", &["--json", &body]);
    let login: serde_json::Value = serde_json::from_slice(&login.stdout).unwrap();
    let bearer = format!("Authorization: Bearer {}", login["accessToken"].as_str().unwrap());
    let me = rig.curl("/api/me", &["--header", &bearer]);
    assert_eq!(upstream_saw(&me.stdout, "x-auth-subject"), ["ann@example.com"]);
}

#[test]
fn a_session_is_resumed_with_both_versions_and_by_any_worker() {
    let upstream = Upstream::start();
    let rig = Rig::tls(&upstream, "");
    for version in ["-tls1_2", "-tls1_3"] {
        let ticket = rig.path(version);
        let ticket = ticket.to_str().unwrap();
        let request = "GET /public/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let first = rig.s_client(&[version, "-sess_out", ticket], request);
        assert!(said(&first).contains("New, "), "{}", said(&first));
        for _ in 0..4 {
            let again = rig.s_client(&[version, "-sess_in", ticket], request);
            assert!(said(&again).contains("Reused, ") && said(&again).contains("200 OK"), "{}", said(&again));
        }
    }
    assert_eq!(rig.metric("tls_handshakes_total{outcome=\"resumed\"}"), 8);
}

#[test]
fn node_and_python_are_served() {
    let upstream = Upstream::start();
    let rig = Rig::tls(&upstream, "");
    let url = format!("https://localhost:{}/public/a?b=c", rig.addresses[0].port());
    let script = "const one = await fetch(process.argv[1]); const two = await fetch(process.argv[1], {method: 'POST', \
                  body: 'x'.repeat(1 << 20)}); console.log(one.status, (await one.json()).target, (await two.json()).body.length)";
    let node = Command::new("node")
        .args(["--input-type=module", "--dns-result-order=ipv4first", "--eval", script, &url])
        .env("NODE_EXTRA_CA_CERTS", &rig.authority_file)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&node.stdout).trim(), "200 /public/a?b=c 1048576", "{}", said(&node));
    let script = "import json, ssl, sys, urllib.request\n\
                  context = ssl.create_default_context(cafile=sys.argv[2])\n\
                  response = urllib.request.urlopen(sys.argv[1], context=context)\n\
                  print(response.status, json.load(response)['target'])";
    let python = Command::new("python3").args(["-c", script, &url]).arg(&rig.authority_file).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&python.stdout).trim(), "200 /public/a?b=c", "{}", said(&python));
}

#[test]
fn the_name_that_is_asked_for_chooses_the_certificate() {
    let upstream = Upstream::start();
    let rig = Rig::start(&upstream, |folder, authority| {
        let first = authority.issue(folder, "first", &["localhost"]).entry();
        let wildcard = authority.issue(folder, "wildcard", &["*.example.com"]).entry();
        let exact = authority.issue(folder, "exact", &["api.example.com"]).entry();
        format!("[[listeners]]\naddress = '127.0.0.1:0'\n[listeners.tls]\n{first}{wildcard}{exact}")
    });
    for (name, subject) in [
        ("localhost", "CN=first"),
        ("api.example.com", "CN=exact"),
        ("API.example.com", "CN=exact"),
        ("www.example.com", "CN=wildcard"),
        ("a.b.example.com", "CN=first"),
        ("nobody.test", "CN=first"),
    ] {
        let shown = rig.s_client(&["-servername", name], "GET / HTTP/1.0\r\n\r\n");
        let shown = said(&shown).replace("CN = ", "CN=");
        assert!(shown.contains(&format!("subject={subject}")), "{name}: {shown}");
    }
    let unnamed = rig.s_client(&["-noservername"], "GET / HTTP/1.0\r\n\r\n");
    assert!(said(&unnamed).replace("CN = ", "CN=").contains("subject=CN=first"), "{}", said(&unnamed));
    assert!(rig.curl_at(0, "api.example.com", "/public/a", &[]).status.success());
    assert!(!rig.curl_at(0, "nobody.test", "/public/a", &[]).status.success(), "curl checks the name");
}

#[test]
fn what_an_upstream_breaks_off_curl_reports_as_broken_off() {
    // A small response would be awaited whole.
    let half = "half".repeat(100_000);
    for (head, version) in [
        ("content-length: 1000000\r\n\r\n", "--http1.1"),
        ("transfer-encoding: chunked\r\n\r\n61a80\r\n", "--http1.1"),
        // Towards a client of HTTP/1.0 nothing but the end of the connection says how long a response is.
        ("transfer-encoding: chunked\r\n\r\n61a80\r\n", "--http1.0"),
    ] {
        let script = format!("HTTP/1.1 200 OK\r\n{head}{half}\r\n");
        let upstream = Upstream::taking_turns(move |_, _| Turn::AnswerAndClose(script.clone().into()));
        let rig = Rig::tls(&upstream, "");
        let response = rig.curl("/public/a", &[version]);
        // curl's word for a part, and for a connection that was lost.
        let is_lost = matches!(response.status.code(), Some(18 | 56));
        assert!(is_lost, "{version} {head}: {} bytes, {}", response.stdout.len(), String::from_utf8_lossy(&response.stderr));
        // A reset may overtake what is under way.
        let has_begun = response.stdout.starts_with(b"halfhalf") || version == "--http1.0" && response.stdout.is_empty();
        assert!(has_begun, "{version} {head}: {} bytes", response.stdout.len());
    }
    // The same in whole is no error.
    let whole = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n";
    let upstream = Upstream::taking_turns(move |_, _| Turn::Response(whole.into()));
    let rig = Rig::tls(&upstream, "");
    for version in ["--http1.0", "--http1.1"] {
        let response = rig.curl("/public/a", &[version]);
        assert!(response.status.success() && response.stdout == b"whole", "{version}: {}", said(&response));
    }
}
