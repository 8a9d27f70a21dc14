//! Answers of upstreams that are to become sessions, or must not.

use tokengate::domain::stats::Counter;

use super::rig::Rig;
use super::upstream::Upstream;

/// One that answers by path: a login that asks for a second factor, the second step, and what else there is.
fn in_two_steps() -> Upstream {
    Upstream::start(|conversation| {
        while let Some(request) = conversation.request() {
            let (status, body) = match request.split(' ').nth(1).unwrap() {
                "/login" => ("200 OK", r#"{"mfaRequired":true,"userId":"42","user":{"id":"42"}}"#),
                "/login/2fa" | "/magic-link" => ("200 OK", r#"{"user":{"id":"42"}}"#),
                "/register" => ("201 Created", r#"{"user":{"id":"43"}}"#),
                "/join" => ("202 Accepted", r#"{"user":{"id":"44"},"state":"verification_mail_sent"}"#),
                _ => ("200 OK", "{}"),
            };
            let length = body.len();
            conversation.say(format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nETag: \"1\"\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
        }
    })
}

const SEVERAL: &str = r#"
    [store]
    kind = "memory"
    [endpoints]
    login = ["/login", "/login/2fa", "/magic-link"]
    register = ["/register", "/join"]
"#;

#[test]
fn a_password_alone_opens_nothing_where_a_second_factor_is_due() {
    let upstream = in_two_steps();
    let rig = Rig::start(upstream.address);
    let response = rig.post("/login", "{}");
    assert_eq!((response.status, response.body.as_str()), (200, r#"{"mfaRequired":true,"userId":"42","user":{"id":"42"}}"#));
    assert_eq!((response.field("etag"), response.field("set-cookie")), (Some("\"1\""), None), "as it came");
    assert_eq!((rig.counted(Counter::Logins), rig.counted(Counter::LoginsRefused)), (0, 1));
}

#[test]
fn every_path_of_a_login_makes_sessions() {
    let upstream = in_two_steps();
    let rig = Rig::start_from(upstream.address, SEVERAL, |_| {});
    assert!(!rig.post("/login", "{}").body.contains("accessToken"));
    for path in ["/login/2fa", "/magic-link"] {
        let response = rig.post(path, "{}");
        let body: serde_json::Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(rig.get("/api", body["accessToken"].as_str().unwrap()).status, 200, "{path}");
    }
    assert!(rig.post("/register", "{}").body.contains("accessToken"));
    let pending = rig.post("/join", "{}");
    assert!(pending.status == 202 && !pending.body.contains("accessToken"), "{pending:?}");
    assert_eq!((rig.counted(Counter::Logins), rig.counted(Counter::Registrations)), (2, 1));
    // Lenient spellings of any of them lead nowhere: the upstream would take them for a login without our limits.
    for path in ["/LOGIN/2fa", "/login/2fa/", "//magic-link", "/magic%2Dlink;x"] {
        assert!(matches!(rig.post(path, "{}").status, 400 | 404), "{path}");
    }
}

#[test]
fn calls_that_are_not_issued_on_pass_unchanged() {
    let upstream = in_two_steps();
    let only_logins = format!("{SEVERAL}\n[login]\nissue_on = [\"login\"]");
    let rig = Rig::start_from(upstream.address, &only_logins, |_| {});
    let response = rig.post("/register", "{}");
    assert_eq!((response.status, response.body.as_str()), (201, r#"{"user":{"id":"43"}}"#));
    assert!(rig.post("/login/2fa", "{}").body.contains("accessToken"));
    assert_eq!((rig.counted(Counter::Registrations), rig.counted(Counter::LoginsNotIssued)), (0, 1));
}
