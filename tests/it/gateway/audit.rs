//! What the audit says of those who chose their own names.

use serde_json::{Value, json};

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
