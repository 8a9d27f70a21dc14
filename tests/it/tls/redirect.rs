//! `redirect = "https"`: to the same place, and to no other.

use std::io::{Read as _, Write as _};

use super::rig::Rig;
use crate::support::upstream::Upstream;

fn ask(rig: &Rig, request: &str) -> (u16, Option<String>) {
    let mut stream = rig.connect(0);
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let status = response.split(' ').nth(1).unwrap().parse().unwrap();
    let location = response.lines().find_map(|line| line.strip_prefix("location: ")).map(str::to_owned);
    (status, location)
}

#[test]
fn every_request_is_sent_to_https_at_its_own_host_and_path() {
    let upstream = Upstream::start();
    let rig = Rig::start(&upstream, |_, _| "[[listeners]]\naddress = '127.0.0.1:0'\nredirect = 'https'\n".to_owned());
    for (method, target, host, location) in [
        ("GET", "/a/b?c=d&e", "api.example.com", "https://api.example.com/a/b?c=d&e"),
        ("POST", "/login", "API.Example.com:8080", "https://api.example.com/login"),
        ("GET", "/healthz", "api.example.com.", "https://api.example.com/healthz"),
        ("GET", "/", "[2001:DB8::1]:80", "https://[2001:db8::1]/"),
        ("GET", "/a//evil.example/", "api.example.com", "https://api.example.com/a//evil.example/"),
        ("OPTIONS", "/a", "api.example.com", "https://api.example.com/a"),
        ("GET", "http://api.example.com/x", "ignored.example", "https://api.example.com/x"),
    ] {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nOrigin: http://a\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(ask(&rig, &request), (308, Some(location.to_owned())), "{target} at {host}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn what_names_no_host_or_an_odd_one_is_sent_nowhere() {
    let upstream = Upstream::start();
    let rig = Rig::start(&upstream, |_, _| "[[listeners]]\naddress = '127.0.0.1:0'\nredirect = 'https'\n".to_owned());
    for request in [
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET //evil.example/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@evil.example\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\\evil.example\r\nConnection: close\r\n\r\n",
        "GET http://user@evil.example/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ] {
        assert_eq!(ask(&rig, request), (400, None), "{request}");
    }
}

#[test]
fn the_port_is_that_of_the_listener_with_tls_unless_it_is_said() {
    let upstream = Upstream::start();
    let free = crate::support::gateway::lasting_address();
    for (keys, location) in
        [(String::new(), format!("https://a:{}/", free.port())), ("redirect_port = 443".into(), "https://a/".into())]
    {
        let rig = Rig::start(&upstream, |folder, authority| {
            let files = authority.issue(folder, "server", &["localhost"]).entry();
            format!(
                "[[listeners]]\naddress = '127.0.0.1:0'\nredirect = 'https'\n{keys}\n\
                 [[listeners]]\naddress = '{free}'\n[listeners.tls]\n{files}"
            )
        });
        let request = "GET / HTTP/1.1\r\nHost: a:80\r\nConnection: close\r\n\r\n";
        assert_eq!(ask(&rig, request), (308, Some(location)));
        assert!(rig.curl_at(1, "localhost", "/public/a", &[]).status.success());
    }
}
