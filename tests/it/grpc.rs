//! gRPC from end to end, by its stock client and a service made with its stock server (`tests/grpc`).

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::leash::Leashed;
use crate::support::python::{Lines, python};
use crate::support::servers::Server;
use crate::support::upstream::Upstream;

const FOLDER: &str = "grpc";

/// Connections are as old as they get, for tests that do not care.
const LONG_MILLIS: u32 = 600_000;

/// A service with a call of each kind.
struct Service {
    lines: Lines,
    address: SocketAddr,
    _process: Leashed,
}

impl Service {
    /// It says goodbye on connections of this age.
    fn start(age_millis_max: u32) -> Self {
        let (process, mut lines) = python(FOLDER, "server.py", &[&age_millis_max.to_string()]);
        let said = lines.next().unwrap().unwrap();
        let port = said.strip_prefix("listening on port ").unwrap().parse().unwrap();
        Self { lines, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), _process: process }
    }

    /// Waits until it sees the end of an endless call.
    fn saw_the_end_of(&mut self, call: &str) {
        assert_eq!(self.lines.next().unwrap().unwrap(), format!("ended {call}"));
    }
}

impl Server for Service {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A call that goes on, and what its client says of it.
struct Call {
    lines: Lines,
    _process: Leashed,
}

impl Call {
    fn begin(gateway: &Gateway, token: &str, arguments: &[&str]) -> Self {
        let address = gateway.address().to_string();
        let (process, lines) = python(FOLDER, "client.py", &[&[address.as_str(), token], arguments].concat());
        Self { lines, _process: process }
    }

    fn said(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().expect("it says what came of its call").unwrap()).unwrap()
    }
}

fn outcome(gateway: &Gateway, token: &str, arguments: &[&str]) -> Value {
    Call::begin(gateway, token, arguments).said()
}

/// Users log in elsewhere.
fn gateway(service: &Service, users: &Upstream) -> Gateway {
    let tables = format!(
        "protocol = \"http2\"\n[upstreams.users]\nurl = \"{}\"\n[login]\nupstream = \"users\"\n\
         [[routes]]\nname = \"calls\"\nprefix = \"/test.Kinds\"\nupstream = \"api\"\n",
        users.url()
    );
    Gateway::of(service, &tables, &[])
}

#[test]
fn calls_of_all_kinds_pass_and_tell_who_calls() {
    let (service, users) = (Service::start(LONG_MILLIS), Upstream::start());
    let gateway = gateway(&service, &users);
    let token = gateway.client().log_in("ann").access;
    let said = outcome(&gateway, &token, &["kinds"]);
    let unary = &said["unary"];
    assert_eq!((&unary["message"], &unary["fields"]["x-auth-subject"]), (&json!("hello"), &json!("ann")));
    assert!(unary["fields"]["x-request-id"].is_string() && unary["fields"]["user-agent"].as_str().unwrap().contains("grpc"));
    assert_eq!(unary["fields"].get("authorization"), None, "the token stays here");
    assert_eq!(said["trailers"], json!({"x-after": "said"}), "what only the gateway may say does not pass behind a body either");
    assert_eq!(said["server_stream"], json!(["0", "1", "2", "3", "4"]));
    assert_eq!(said["client_stream"], json!("a+b+c"));
    assert_eq!(said["both_ways"], json!(["echo 0", "echo 1", "echo 2"]), "neither side waits for the other's end");
}

#[test]
fn a_call_that_fails_says_so_in_the_form_of_grpc_whoever_says_it() {
    let (service, users) = (Service::start(LONG_MILLIS), Upstream::start());
    let gateway = gateway(&service, &users);
    let token = gateway.client().log_in("ann").access;
    let of = |token: &str, call: &str| outcome(&gateway, token, &[call]);
    assert_eq!(of(&token, "fails"), json!({"status": "FAILED_PRECONDITION", "details": "not on a Monday"}));
    assert_eq!(of(&token, "unknown"), json!({"status": "UNIMPLEMENTED", "details": "Method not found!"}));
    assert_eq!(of(&token, "deadline")["status"], "DEADLINE_EXCEEDED");
    assert_eq!(of("", "nothing")["status"], "UNAUTHENTICATED");
    assert_eq!(of("nonsense", "nothing")["status"], "UNAUTHENTICATED");
    drop(service);
    assert_eq!(of(&token, "nothing")["status"], "UNAVAILABLE");
}

#[test]
fn a_stream_ends_with_its_session_or_its_client_and_the_service_sees_that() {
    let (mut service, users) = (Service::start(LONG_MILLIS), Upstream::start());
    let gateway = gateway(&service, &users);
    let [ended, kept] = ["ann", "bob"].map(|user| gateway.client().log_in(user).access);
    let mut other = Call::begin(&gateway, &kept, &["endless", "kept"]);
    let mut revoked = Call::begin(&gateway, &ended, &["endless", "revoked"]);
    assert_eq!((other.said(), revoked.said()), (json!("one"), json!("one")));
    gateway.client().log_out(&ended, "session").expect(200);
    service.saw_the_end_of("revoked");
    assert_eq!(revoked.said()["status"], "CANCELLED", "never a clean end");
    // The other one still goes on, until its client leaves. (A client that cancels and leaves at once is now and then not noticed by
    // this service, also where it is asked directly.)
    drop(other);
    service.saw_the_end_of("kept");
}

#[test]
fn no_call_fails_when_the_service_closes_its_connections_time_and_again() {
    let (service, users) = (Service::start(100), Upstream::start());
    let gateway = gateway(&service, &users);
    let token = gateway.client().log_in("ann").access;
    assert_eq!(outcome(&gateway, &token, &["many", "500"]), json!({"failed": []}));
}
