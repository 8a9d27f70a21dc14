//! WebSocket connections from end to end, by other people's client and server: `websockets` in front, hypercorn behind (`tests/websockets`), which
//! is spoken to by HTTP/1.1 and by HTTP/2.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::leash::Leashed;
use crate::support::python::{Lines, python};
use crate::support::servers::Server;
use crate::support::upstream::Upstream;

const FOLDER: &str = "websockets";

struct Service {
    lines: Lines,
    address: SocketAddr,
    _process: Leashed,
}

impl Service {
    fn start() -> Self {
        let (process, mut lines) = python(FOLDER, "server.py", &[]);
        let port = said(&mut lines).as_u64().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).unwrap()));
        Self { lines, address, _process: process }
    }
}

impl Server for Service {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

fn said(lines: &mut Lines) -> Value {
    serde_json::from_str(&lines.next().expect("it says more").unwrap()).unwrap()
}

/// Users log in elsewhere.
fn gateway(service: &Service, users: &Upstream, protocol: &str) -> Gateway {
    let tables = format!(
        "protocol = \"{protocol}\"\n[upstreams.users]\nurl = \"{}\"\n[login]\nupstream = \"users\"\n\
         [[routes]]\nname = \"sockets\"\nprefix = \"/\"\nupstream = \"api\"\n",
        users.url()
    );
    Gateway::of(service, &tables, &[("listen.workers", "1")])
}

fn open(gateway: &Gateway, path: &str, token: &str, steps: &[&str]) -> (Leashed, Lines) {
    let address = gateway.address().to_string();
    python(FOLDER, "client.py", &[&[address.as_str(), path, token], steps].concat())
}

#[test]
fn messages_pass_whole_and_the_upstreams_word_of_farewell_by_either_protocol() {
    for (protocol, version) in [("http1", "1.1"), ("http2", "2")] {
        let (mut service, users) = (Service::start(), Upstream::start());
        let gateway = gateway(&service, &users, protocol);
        let token = gateway.client().log_in("ann").access;
        let (_process, mut client) = open(&gateway, "/room?of=ann", &token, &["hello", "ping", "256", "4194304", "bye"]);
        assert_eq!(said(&mut client), json!({"subprotocol": "chat"}), "{protocol}");
        let began = said(&mut service.lines);
        assert_eq!((&began["began"], &began["version"]), (&json!("/room"), &json!(version)));
        assert_eq!((&began["fields"]["x-auth-subject"], began["fields"].get("authorization")), (&json!("ann"), None));
        for expected in [json!({"came": "hello"}), json!({"pong": true}), json!({"whole": true}), json!({"whole": true})] {
            assert_eq!(said(&mut client), expected, "{protocol}");
        }
        assert_eq!(said(&mut client), json!({"closed": [4001, "as you like"]}), "{protocol}");
    }
}

#[test]
fn a_socket_ends_with_its_session_and_the_others_on_the_same_connection_go_on() {
    for protocol in ["http1", "http2"] {
        let (mut service, users) = (Service::start(), Upstream::start());
        let gateway = gateway(&service, &users, protocol);
        let [ended, kept] = ["ann", "bob"].map(|user| gateway.client().log_in(user).access);
        let (_other, mut other) = open(&gateway, "/kept", &kept, &["one"]);
        let (_revoked, mut revoked) = open(&gateway, "/revoked", &ended, &["one"]);
        for lines in [&mut other, &mut revoked] {
            assert_eq!(said(lines), json!({"subprotocol": "chat"}), "{protocol}");
            assert_eq!(said(lines), json!({"came": "one"}), "{protocol}");
            said(&mut service.lines);
        }
        // Another one leaves by itself.
        let (_left, mut left) = open(&gateway, "/left", &kept, &["one", "leave"]);
        let expected = [json!({"subprotocol": "chat"}), json!({"came": "one"}), json!({"left": 1000})];
        assert!(expected.into_iter().all(|expected| said(&mut left) == expected), "{protocol}");
        said(&mut service.lines);
        assert_eq!(said(&mut service.lines)["ended"], "/left", "{protocol}");
        gateway.client().log_out(&ended, "session").expect(200);
        assert_eq!(said(&mut revoked), json!({"closed": [1008, "session ended"]}), "{protocol}");
        let end = said(&mut service.lines);
        assert_eq!(end["ended"], "/revoked", "{protocol}: {end}");
        gateway.client().log_out(&kept, "session").expect(200);
        assert_eq!(said(&mut other), json!({"closed": [1008, "session ended"]}), "{protocol}: it was there until now");
    }
}

#[test]
fn who_is_refused_learns_by_whom() {
    for protocol in ["http1", "http2"] {
        let (service, users) = (Service::start(), Upstream::start());
        let gateway = gateway(&service, &users, protocol);
        let token = gateway.client().log_in("ann").access;
        let (_process, mut client) = open(&gateway, "/refused", &token, &[]);
        assert_eq!(said(&mut client)["status"], 403, "{protocol}: the application's word");
        let (_process, mut client) = open(&gateway, "/room", "", &[]);
        let refused = said(&mut client);
        assert!(refused["status"] == 401 && refused["body"].as_str().unwrap().contains("token_missing"), "{protocol}: {refused}");
    }
}
