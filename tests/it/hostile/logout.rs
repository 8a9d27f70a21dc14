//! What a logout ends whose access token is no longer good.

use std::time::Duration;

use serde_json::json;

use super::client::Response;
use super::rig::{Rig, Tokens};
use super::upstream::Upstream;

/// Longer than an access token lives, shorter than a session.
const NIGHT: Duration = Duration::from_hours(9);

fn log_out(rig: &Rig, fields: &str, body: &serde_json::Value) -> Response {
    call(rig, "/logout", fields, &body.to_string())
}

fn call(rig: &Rig, path: &str, fields: &str, body: &str) -> Response {
    let kind = if body.starts_with('{') { "json" } else { "x-www-form-urlencoded" };
    let length = body.len();
    rig.ask(format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/{kind}\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    ))
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn lives(rig: &Rig, tokens: &Tokens) -> bool {
    let response = rig.post("/refresh", &json!({"refreshToken": tokens.refresh}).to_string());
    assert!([200, 401].contains(&response.status), "{response:?}");
    response.status == 200
}

fn ended(response: &Response) -> (u16, String) {
    (response.status, response.body.clone())
}

#[test]
fn a_token_that_merely_expired_ends_its_own_session_and_no_other() {
    let rig = Rig::start(Upstream::echo().address);
    let [mine, other] = [rig.log_in(), rig.log_in()];
    rig.clock.advance(NIGHT);
    assert_eq!(rig.get("/api", &mine.access).code(), "token_expired");
    assert_eq!(ended(&log_out(&rig, &bearer(&mine.access), &json!({}))), (200, r#"{"ended":1}"#.to_owned()));
    assert!(!lives(&rig, &mine) && lives(&rig, &other));
    for scope in ["session", "others", "all"] {
        let again = log_out(&rig, &bearer(&mine.access), &json!({"scope": scope}));
        assert_eq!(ended(&again), (200, r#"{"ended":0}"#.to_owned()), "{scope}: it has ended");
    }
    assert!(lives(&rig, &other));
}

#[test]
fn more_than_its_own_session_an_expired_token_does_not_end_and_says_so() {
    let rig = Rig::start(Upstream::echo().address);
    let [mine, other] = [rig.log_in(), rig.log_in()];
    rig.clock.advance(NIGHT);
    for scope in ["others", "all"] {
        let response = log_out(&rig, &bearer(&mine.access), &json!({"scope": scope}));
        assert_eq!((response.status, response.code().as_str()), (401, "token_expired"), "{scope}");
        assert!(response.field("www-authenticate").is_some_and(|challenge| challenge.contains("invalid_token")));
    }
    assert!(lives(&rig, &mine) && lives(&rig, &other), "nothing was ended");
    // The refresh token speaks for the subject, whatever became of the other.
    let both = log_out(&rig, &bearer(&mine.access), &json!({"scope": "all", "refreshToken": mine.refresh}));
    assert_eq!(ended(&both), (200, r#"{"ended":2}"#.to_owned()));
    assert!(!lives(&rig, &mine) && !lives(&rig, &other));
}

#[test]
fn an_expired_token_that_is_not_ours_ends_nothing() {
    let rig = Rig::start(Upstream::echo().address);
    let tokens = rig.log_in();
    rig.clock.advance(NIGHT);
    let (signed, signature) = tokens.access.rsplit_once('.').unwrap();
    let other = rig.log_in().access;
    let other_signature = other.rsplit_once('.').unwrap().1;
    for forged in
        [format!("{signed}.{other_signature}"), format!("{signed}."), format!("{signed}.{signature}x"), "null".to_owned()]
    {
        let response = log_out(&rig, &bearer(&forged), &json!({}));
        assert_eq!(ended(&response), (200, r#"{"ended":0}"#.to_owned()), "{forged}");
    }
    assert!(lives(&rig, &tokens));
}

#[test]
fn a_revocation_by_an_expired_token_ends_its_session_too() {
    let rig = Rig::start(Upstream::echo().address);
    let tokens = rig.log_in();
    rig.clock.advance(NIGHT);
    assert_eq!(call(&rig, "/oauth/revoke", "", &format!("token={}", tokens.access)).status, 200);
    assert!(!lives(&rig, &tokens));
}

#[test]
fn another_site_ends_nothing_by_an_expired_cookie() {
    let further = "[store]\nkind = \"memory\"\n[cookies]\nenabled = true\ntokens_in_body = true\n";
    let rig = Rig::start_from(Upstream::echo().address, further, |_| {});
    let tokens = rig.log_in();
    rig.clock.advance(NIGHT);
    let cookie = format!("Cookie: __Host-access={}\r\n", tokens.access);
    let foreign = log_out(&rig, &format!("{cookie}Origin: https://evil.example\r\n"), &json!({}));
    assert_eq!(ended(&foreign), (200, r#"{"ended":0}"#.to_owned()));
    assert!(lives(&rig, &tokens));
    let own = log_out(&rig, &format!("{cookie}x-csrf: 1\r\n"), &json!({}));
    assert_eq!(ended(&own), (200, r#"{"ended":1}"#.to_owned()));
    assert!(!lives(&rig, &tokens));
}
