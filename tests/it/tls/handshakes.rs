//! Handshakes that are slow, half, or none.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use tokio::time::Instant;

use super::client::{ask, config, connect};
use super::rig::{Rig, eventually, said};
use crate::support::upstream::Upstream;

fn rest(mut stream: TcpStream) -> String {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    String::from_utf8_lossy(&rest).into_owned()
}

#[test]
fn http_in_clear_text_gets_a_clear_response() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let file = folder.path().join("access.log");
    let rig = Rig::tls(&upstream, &format!("[log.access]\nmode = 'on'\nto = '{}'\n", file.display()));
    for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "post / HTTP/1.0\r\n\r\n"] {
        let mut stream = rig.connect(0);
        stream.write_all(request.as_bytes()).unwrap();
        let response = rest(stream);
        assert!(response.starts_with("HTTP/1.1 400 ") && response.contains("\"tls_required\""), "{request}: {response}");
        let body = response.split_once("\r\n\r\n").unwrap().1;
        assert!(response.contains(&format!("content-length: {}\r\n", body.len())), "{response}");
    }
    for noise in [&b"\0"[..], b"\x15\x03\x01\x00\x02\x01\x00", b"\r\n\r\n\0\r\nQUIT\n", b"\x80\x2e\x01"] {
        let mut stream = rig.connect(0);
        stream.write_all(noise).unwrap();
        assert_eq!(rest(stream), "", "{}", noise.escape_ascii());
    }
    let told = || fs::read_to_string(&file).unwrap();
    eventually("whoever was told so has a line", || told().matches("tls_required").count() == 3);
    for line in told().lines().filter(|line| line.contains("tls_required")) {
        assert!(line.contains("\"client\":\"127.0.0.1\"") && line.contains("\"status\":400"), "{line}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn tls_at_a_clear_listener_ends_at_once() {
    let upstream = Upstream::start();
    let rig = Rig::start(&upstream, |_, _| "[[listeners]]\naddress = '127.0.0.1:0'\n".to_owned());
    let began = Instant::now();
    let refused = rig.s_client(&[], "");
    assert!(!refused.status.success(), "{}", said(&refused));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn a_handshake_has_a_deadline_however_slowly_it_goes_on() {
    const BOUND: Duration = Duration::from_millis(300);
    let upstream = Upstream::start();
    let rig = Rig::start(&upstream, |folder, authority| {
        let files = authority.issue(folder, "server", &["localhost"]).entry();
        format!(
            "[listen]\nworkers = 1\nhandshake_timeout = '300ms'\n[[listeners]]\naddress = '127.0.0.1:0'\n[listeners.tls]\n{files}"
        )
    });
    for first in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let (mut stream, began) = (rig.connect(0), Instant::now());
        stream.write_all(first).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut byte = [0];
        // A byte now and then does not help.
        while !matches!(stream.read(&mut byte), Ok(0)) && stream.write_all(if first.is_empty() { b"" } else { b"\0" }).is_ok() {
            assert!(began.elapsed() < 20 * BOUND, "still there");
        }
        assert!(began.elapsed() >= BOUND, "{:?}", began.elapsed());
    }
    assert!(rig.curl("/public/a", &[]).status.success());
}

#[test]
fn a_connection_beyond_what_an_address_may_have_is_closed_without_a_handshake() {
    let upstream = Upstream::start();
    let rig = Rig::start(&upstream, |folder, authority| {
        let files = authority.issue(folder, "server", &["localhost"]).entry();
        format!(
            "[listen]\nworkers = 1\nconnections_per_address_max = 1\n[[listeners]]\naddress = '127.0.0.1:0'\n[listeners.tls]\n{files}"
        )
    });
    let mut first = connect(&rig, &config(&rig));
    ask(&mut first);
    assert_eq!(rest(rig.connect(0)), "", "clear text would be no response to TLS");
    ask(&mut first);
    assert_eq!(rig.metric("connections_refused_total"), 1);
}

#[test]
fn half_handshakes_make_room_for_whole_ones() {
    const SEATS: usize = 40;
    let upstream = Upstream::start();
    let rig = Rig::start(&upstream, |folder, authority| {
        let files = authority.issue(folder, "server", &["localhost"]).entry();
        format!(
            "[listen]\nworkers = 1\nconnections_max = {SEATS}\nhandshake_timeout = '5m'\n[[listeners]]\naddress = '127.0.0.1:0'\n\
             [listeners.tls]\n{files}"
        )
    });
    let half: Vec<TcpStream> = (0..2 * SEATS)
        .map(|_| {
            let mut stream = rig.connect(0);
            stream.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
            stream
        })
        .collect();
    for _ in 0..3 {
        let response = rig.curl("/public/a", &[]);
        assert!(response.status.success(), "{}", said(&response));
    }
    drop(half);
    eventually("those who made room are counted", || rig.metric("connections_given_up_total") > 0);
}
