//! What the log says: of those who chose their own names, and of upstreams that fail.

use serde_json::{Value, json};

use super::drain::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::{PASSWORD, Upstream};

/// Names that would be another line, another field or a terminal's command.
const FORGERIES: [&str; 4] =
    ["7 event=logout subject=8", "7\u{2028}{\"event\":\"logout\"}", "7\" event=\"logout", "7\u{202e}\u{2029}tuogol"];

#[test]
fn what_users_choose_is_quoted_in_the_audit_and_forges_nothing() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[]);
    for subject in FORGERIES.into_iter().chain(["7"]) {
        let mut client = gateway.client();
        let granted = client.post("/login", &json!({"email": subject, "password": PASSWORD})).expect(200);
        client.log_out(&granted.member("accessToken"), "session").expect(200);
    }
    let logouts = || gateway.log().matches(r#""event":"logout""#).count();
    eventually("the log has come", || logouts() == FORGERIES.len() + 1);
    let log = gateway.log();
    assert!(!log.contains(['\u{2028}', '\u{2029}', '\u{202e}']), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (event, address) in [("session_issued", Some("127.0.0.1")), ("logout", None)] {
        let audit = lines.iter().filter(|line| line["target"] == "audit" && line["event"] == event);
        let told: Vec<&str> = audit.clone().map(|line| line["subject"].as_str().unwrap()).collect();
        assert_eq!(told, [FORGERIES.as_slice(), &["7"]].concat(), "{event}");
        assert!(audit.clone().all(|line| line["address"].as_str() == address), "{log}");
        assert!(audit.clone().all(|line| line["session"].as_str().is_some_and(|id| !id.contains("Some"))), "{log}");
    }
    assert!(!log.contains("Some(") && !log.contains("Subject("), "{log}");
}

#[test]
fn a_response_that_breaks_off_is_logged_and_counted_as_the_upstreams() {
    let upstream =
        Upstream::saying(|_| b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 10\r\n\r\nhello".to_vec());
    let gateway = Gateway::of(&upstream, "[[routes]]\nname = \"public\"\nprefix = \"/public\"\naccess = \"public\"\n", &[]);
    // Whole or not, and by which status, is for the moment when the end was seen.
    let _ = gateway.client().try_call("GET", "/public", None, None);
    let told = || {
        let lines = gateway.log();
        let told = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        told.filter(|line| line["message"] == "response broken off" || line["message"] == "request failed").collect::<Vec<_>>()
    };
    eventually("it is logged", || !told().is_empty());
    let [line] = <[Value; 1]>::try_from(told()).unwrap();
    assert!(line["level"] == "WARN" && line["request"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
    assert!(line["cause"].as_str().unwrap().contains("connection lost within the response"), "{line}");
    let metrics = gateway.admin().get("/metrics", None).expect(200).text();
    assert!(metrics.lines().any(|line| line.contains("upstream_failures_total{kind=\"error\"} 1")), "{metrics}");
}
