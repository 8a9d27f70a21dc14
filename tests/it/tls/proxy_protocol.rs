//! PROXY headers: by hand, and from `haproxy`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::rig::{Rig, said, upstream_saw};
use crate::support::leash::Leashed;
use crate::support::upstream::Upstream;

const REQUEST: &str = "GET /public/a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.99\r\nConnection: close\r\n\r\n";

fn behind(upstream: &Upstream, listen: &str) -> Rig {
    Rig::start(upstream, |_, _| {
        format!("[listen]\nworkers = 1\n{listen}\n[[listeners]]\naddress = '127.0.0.1:0'\nproxy_protocol = true\n")
    })
}

const TRUSTED: &str = "trusted_peers = ['127.0.0.1']";

/// What is answered to these bytes, if anything.
fn ask(rig: &Rig, wire: &[u8]) -> Vec<u8> {
    let mut stream = rig.connect(0);
    stream.write_all(wire).unwrap();
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    response
}

fn body(response: &[u8]) -> &[u8] {
    let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or_else(|| panic!("{}", response.escape_ascii()));
    &response[end + 4..]
}

fn block(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, family], &length, rest].concat()
}

#[test]
fn the_address_that_the_header_names_is_the_client() {
    let upstream = Upstream::start();
    let rig = behind(&upstream, TRUSTED);
    let v4 = [198, 51, 100, 7, 127, 0, 0, 1, 0x1f, 0x90, 0, 80];
    let with_extensions = [v4.as_slice(), &[0xee; 3000]].concat();
    for (header, client) in [
        (b"PROXY TCP4 198.51.100.7 127.0.0.1 8080 80\r\n".to_vec(), "198.51.100.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 8080 80\r\n".to_vec(), "2001:db8::7"),
        (block(0x21, 0x11, &v4), "198.51.100.7"),
        (block(0x21, 0x11, &with_extensions), "198.51.100.7"),
    ] {
        let response = ask(&rig, &[header.as_slice(), REQUEST.as_bytes()].concat());
        assert_eq!(upstream_saw(body(&response), "x-forwarded-for"), [client], "what the client says is not believed");
    }
    // Whoever sends one of its own connection, as a health check, is a trusted peer like others.
    for family in [0x00, 0x11] {
        let response = ask(&rig, &[block(0x20, family, &v4).as_slice(), REQUEST.as_bytes()].concat());
        assert_eq!(upstream_saw(body(&response), "x-forwarded-for"), ["203.0.113.99, 127.0.0.1"]);
    }
}

#[test]
fn a_trusted_peer_that_stays_silent_makes_room_for_those_that_speak() {
    let upstream = Upstream::start();
    let rig = behind(&upstream, &format!("{TRUSTED}\nconnections_max = 4\nhandshake_timeout = '4m'"));
    let silent: Vec<_> = (0..4).map(|_| rig.connect(0)).collect();
    for _ in 0..8 {
        let answer = ask(&rig, &[b"PROXY TCP4 198.51.100.7 127.0.0.1 8080 80\r\n".as_slice(), REQUEST.as_bytes()].concat());
        assert_eq!(upstream_saw(body(&answer), "x-forwarded-for"), ["198.51.100.7"]);
    }
    drop(silent);
}

fn headers_of_unknown_clients() -> [Vec<u8>; 4] {
    [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 203.0.113.1 127.0.0.1 1 2\r\n".to_vec(),
        block(0x21, 0x00, &[]),
        block(0x21, 0x31, &[0; 216]),
    ]
}

#[test]
fn a_client_of_unknown_address_has_none_of_the_balancers_trust() {
    let upstream = Upstream::start();
    let rig = behind(&upstream, TRUSTED);
    let request = "GET /public/a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.99\r\nForwarded: for=203.0.113.99;host=evil\r\n\
                   X-Forwarded-Host: evil\r\nX-Forwarded-Proto: evil\r\nX-Request-Id: evil\r\nConnection: close\r\n\r\n";
    for header in headers_of_unknown_clients() {
        let response = ask(&rig, &[header.as_slice(), request.as_bytes()].concat());
        let echo = body(&response);
        assert_eq!(upstream_saw(echo, "x-forwarded-for"), ["127.0.0.1"], "{}", header.escape_ascii());
        let told = String::from_utf8_lossy(echo);
        assert!(!told.contains("evil") && !told.contains("203.0.113"), "{}: {told}", header.escape_ascii());
    }
    let own = ask(&rig, &[block(0x20, 0, &[]).as_slice(), request.as_bytes()].concat());
    assert_eq!(upstream_saw(body(&own), "x-request-id"), ["evil"], "the balancer itself is believed");
}

#[test]
fn clients_of_unknown_address_count_as_one_address() {
    let upstream = Upstream::start();
    let rig = behind(&upstream, &format!("{TRUSTED}\nconnections_per_address_max = 1"));
    let open = |header: &[u8]| {
        let mut stream = rig.connect(0);
        stream.write_all(&[header, b"GET /public/a HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, String::from_utf8_lossy(&status[9..]).into_owned())
    };
    let headers = headers_of_unknown_clients();
    let (_first, status) = open(&headers[0]);
    assert_eq!(status, "200");
    for header in &headers {
        assert_eq!(open(header).1, "429", "{}", header.escape_ascii());
    }
    let (_own, status) = open(&block(0x20, 0, &[]));
    assert_eq!(status, "200", "the balancer's own connections are never counted");
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let upstream = Upstream::start();
    let rig = behind(&upstream, TRUSTED);
    let mut stream = rig.connect(0);
    stream.set_nodelay(true).unwrap();
    for byte in b"PROXY TCP4 198.51.100.7 127.0.0.1 8080 80\r\n" {
        stream.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    stream.write_all(REQUEST.as_bytes()).unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    assert_eq!(upstream_saw(body(&response), "x-forwarded-for"), ["198.51.100.7"]);
}

#[test]
fn without_a_sound_header_nothing_is_served() {
    let upstream = Upstream::start();
    let rig = behind(&upstream, &format!("{TRUSTED}\nhandshake_timeout = '300ms'"));
    let headers: [&[u8]; 6] = [
        b"",
        b"PROXY TCP4 198.51.100.7 127.0.0.1 8080\r\n",
        b"PROXY TCP4 198.51.100.7 127.0.0.1 8080 80\n",
        &block(0x21, 0x12, &[0; 12]),
        &block(0x21, 0x11, &[0; 5000]),
        b"PROXY TCP4 198.51",
    ];
    for header in headers {
        let request = if header.ends_with(b"51") { "" } else { REQUEST };
        assert_eq!(ask(&rig, &[header, request.as_bytes()].concat()), b"", "{}", header.escape_ascii());
    }
    assert_eq!((upstream.requests(), rig.metric("proxy_headers_refused_total")), (0, 6));
}

#[test]
fn from_those_who_are_not_trusted_no_header_is_taken() {
    let upstream = Upstream::start();
    let rig = behind(&upstream, "trusted_peers = ['192.0.2.1']");
    assert_eq!(ask(&rig, format!("PROXY TCP4 198.51.100.7 127.0.0.1 8080 80\r\n{REQUEST}").as_bytes()), b"");
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn limits_count_for_the_client_and_not_for_the_proxy() {
    let upstream = Upstream::start();
    let rig = behind(&upstream, &format!("{TRUSTED}\nconnections_per_address_max = 1"));
    let open = |client: &str| {
        let mut stream = rig.connect(0);
        write!(stream, "PROXY TCP4 {client} 127.0.0.1 8080 80\r\nGET /public/a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, String::from_utf8_lossy(&status[9..]).into_owned())
    };
    let (_first, status) = open("198.51.100.7");
    assert_eq!(status, "200");
    let (_second, status) = open("198.51.100.7");
    assert_eq!(status, "429");
    let (_of_another, status) = open("198.51.100.8");
    assert_eq!(status, "200");
}

fn haproxy(rig: &Rig, listener: usize, send: &str) -> (Leashed, SocketAddr) {
    let server = rig.addresses[listener];
    Leashed::listening(|address| {
        let file = rig.path("haproxy.cfg");
        let text = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
             frontend f\n bind {address}\n default_backend b\nbackend b\n server s {server} {send}\n"
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new(if fs::exists("/usr/sbin/haproxy").unwrap() { "/usr/sbin/haproxy" } else { "haproxy" });
        command.args(["-db", "-f"]).arg(&file);
        command
    })
}

#[test]
fn haproxy_tells_of_its_clients_in_both_versions_and_in_front_of_tls() {
    let upstream = Upstream::start();
    let rig = Rig::start(&upstream, |folder, authority| {
        let files = authority.issue(folder, "server", &["localhost"]).entry();
        format!(
            "[listen]\nworkers = 2\ntrusted_peers = ['127.0.0.1']\n\
             [[listeners]]\naddress = '127.0.0.1:0'\nproxy_protocol = true\n\
             [[listeners]]\naddress = '127.0.0.1:0'\nproxy_protocol = true\n[listeners.tls]\n{files}"
        )
    });
    for send in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"] {
        let (_plain, address) = haproxy(&rig, 0, send);
        let url = format!("http://{address}/public/a");
        // Clients of another loopback address than the proxy's.
        let response =
            Command::new("curl").args(["--silent", "--show-error", "--interface", "127.0.0.2", &url]).output().unwrap();
        assert_eq!(upstream_saw(&response.stdout, "x-forwarded-for"), ["127.0.0.2"], "{send}: {}", said(&response));
        let (_tls, address) = haproxy(&rig, 1, send);
        let resolve = format!("localhost:{}:127.0.0.1", address.port());
        let response = Command::new("curl")
            .args(["--silent", "--show-error", "--interface", "127.0.0.2", "--resolve", &resolve, "--cacert"])
            .arg(&rig.authority_file)
            .arg(format!("https://localhost:{}/public/a", address.port()))
            .output()
            .unwrap();
        assert_eq!(upstream_saw(&response.stdout, "x-forwarded-for"), ["127.0.0.2"], "{send}: {}", said(&response));
        assert_eq!(upstream_saw(&response.stdout, "x-forwarded-proto"), ["https"]);
    }
}
