//! Where refusals lead by their `type`: at every door the same, and nothing else of a response changes.

use super::client::{Client, Response};
use super::rig::{Rig, eventually};
use super::upstream::Upstream;

const APP: &str = "https://app.example";
const BASE: &str = "https://docs.example/errors#";

const SETTINGS: &str = r#"
    [store]
    kind = "memory"
    [decision]
    address = "127.0.0.1:0"
    [cors]
    allowed_origins = ["https://app.example"]
    "#;

fn with_base(base: &str) -> String {
    format!("{SETTINGS}[errors]\ntype_base = \"{base}\"\n")
}

fn request(line: &str, fields: &str, body: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: a\r\nOrigin: {APP}\r\nContent-Length: {}\r\n{fields}\r\n{body}", body.len())
}

fn asked_about(target: &str) -> String {
    let asked = format!("X-Original-URL: http://a{target}\r\nX-Original-Method: GET\r\nX-Forwarded-For: 192.0.2.7\r\n");
    format!("GET /auth HTTP/1.1\r\nHost: g\r\nOrigin: {APP}\r\n{asked}\r\n")
}

fn refused(rig: &Rig) -> Response {
    rig.ask(request("GET /api", "", ""))
}

/// What the data plane refuses, what own endpoints refuse in either dialect, a login that is not tried, and what a proxy is told.
fn refusals(rig: &Rig) -> Vec<Response> {
    let mut proxy = Client::connect(rig.decision_address());
    proxy.send(asked_about("/api"));
    let json = "Content-Type: application/json\r\n";
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let compressed = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
    vec![
        refused(rig),
        rig.ask(request("GET /nowhere", "", "")),
        rig.ask(request("POST /refresh", json, r#"{"refreshToken":"none"}"#)),
        rig.ask(request("POST /refresh", form, "grant_type=password")),
        rig.ask(request("POST /login", compressed, "{}")),
        proxy.response(),
    ]
}

fn type_of(response: &Response) -> String {
    let body: serde_json::Value = serde_json::from_str(&response.body).unwrap();
    body["type"].as_str().unwrap().to_owned()
}

/// All of it but the type and what differs from one request to the next.
fn rest_of(response: &Response) -> (u16, Vec<String>, String) {
    let varies = ["content-length:", "x-request-id:", "date:"];
    let fields = response.head.lines().filter(|line| !varies.iter().any(|name| line.starts_with(name)));
    (response.status, fields.map(str::to_owned).collect(), response.body.replace(&type_of(response), ""))
}

#[test]
fn a_refusal_leads_to_its_code_by_whatever_door_and_a_reload_changes_where() {
    let upstream = Upstream::echo();
    let mut rig = Rig::start_from(upstream.address, SETTINGS, |_| {});
    let codes = [
        "token_missing",
        "route_not_found",
        "refresh_token_invalid",
        "grant_type_unsupported",
        "encoding_unsupported",
        "token_missing",
    ];
    let untyped = refusals(&rig);
    for (refused, code) in untyped.iter().zip(codes) {
        assert_eq!((refused.code().as_str(), type_of(refused).as_str()), (code, "about:blank"), "{refused:?}");
    }
    rig.reload(&with_base(BASE));
    eventually("the worker goes by the new settings", || type_of(&refused(&rig)).starts_with(BASE));
    let typed = refusals(&rig);
    for (refused, code) in typed.iter().zip(codes) {
        assert_eq!((refused.code(), type_of(refused)), (code.to_owned(), format!("{BASE}{code}")), "{refused:?}");
        assert_eq!(refused.field("content-length"), Some(&*refused.body.len().to_string()), "{refused:?}");
        assert_eq!(refused.field("access-control-allow-origin"), Some(APP), "{refused:?}");
    }
    for (before, after) in untyped.iter().zip(&typed) {
        assert_eq!(rest_of(before), rest_of(after));
    }
    assert_eq!(upstream.heard(), [""; 0]);
    rig.reload(SETTINGS);
    eventually("types are gone", || type_of(&refused(&rig)) == "about:blank");
}

#[test]
fn a_call_of_grpc_is_refused_as_before() {
    let upstream = Upstream::echo();
    let rig = Rig::start_from(upstream.address, &with_base(BASE), |_| {});
    let refused = rig.ask(request("POST /api", "Content-Type: application/grpc\r\n", ""));
    assert_eq!((refused.status, refused.field("grpc-status"), refused.body.as_str()), (200, Some("16"), ""), "{refused:?}");
    assert!(refused.field("grpc-message").unwrap().starts_with("token_missing: "), "{refused:?}");
    assert!(!refused.head.contains("docs.example"), "{refused:?}");
}

#[test]
fn what_is_refused_before_there_is_a_request_leads_there_too() {
    let upstream = Upstream::echo();
    let rig = Rig::start_from(upstream.address, &with_base(BASE), |settings| {
        settings.listen.connections_per_address_max = Some(1);
    });
    let mut first = rig.client_from(1);
    first.send("GET /public HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(first.response().status, 200);
    let refused = rig.client_from(1).response();
    assert_eq!((refused.status, type_of(&refused)), (429, format!("{BASE}too_many_connections")), "{refused:?}");
    assert!(refused.whole && refused.field("connection") == Some("close"), "{refused:?}");
}
