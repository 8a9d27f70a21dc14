//! How tokens come along, and what is said when they do not.

use super::rig::Rig;
use super::upstream::Upstream;

#[test]
fn a_401_challenges_and_names_no_error_when_no_credentials_came() {
    let rig = Rig::start(Upstream::echo().address);
    for fields in ["", "Authorization: Basic dXNlcjpwYXNz\r\n", "Authorization: Digest x=y\r\n"] {
        let response = rig.ask(format!("GET /api HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!((response.status, response.field("www-authenticate")), (401, Some("bearer")), "{fields}: {response:?}");
        assert_eq!(response.field("cache-control"), Some("no-store"));
    }
    let response = rig.get("/api", "garbage");
    assert_eq!((response.status, response.code().as_str()), (401, "token_invalid"));
    assert!(response.field("www-authenticate").unwrap().starts_with(r#"bearer error="invalid_token""#), "{response:?}");
}

#[test]
fn a_token_without_the_scope_is_403() {
    let rig = Rig::start(Upstream::echo().address);
    let token = rig.log_in().access;
    let response = rig.get("/scoped", &token);
    assert_eq!(response.status, 403, "{response:?}");
    assert_eq!(response.field("www-authenticate"), Some(r#"bearer error="insufficient_scope", scope="admin""#));
}

#[test]
fn two_authorization_fields_are_400() {
    let rig = Rig::start(Upstream::echo().address);
    let token = rig.log_in().access;
    for second in [format!("Bearer {token}"), "Basic eA==".to_owned(), String::new()] {
        let response =
            rig.ask(format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nAuthorization: {second}\r\n\r\n"));
        assert_eq!((response.status, response.code().as_str()), (400, "token_ambiguous"), "{response:?}");
        assert!(response.field("www-authenticate").unwrap().contains("invalid_request"), "{response:?}");
    }
}

#[test]
fn a_token_in_the_query_is_no_token() {
    let rig = Rig::start(Upstream::echo().address);
    let token = rig.log_in().access;
    assert_eq!(rig.ask(format!("GET /api?access_token={token} HTTP/1.1\r\nHost: a\r\n\r\n")).status, 401);
    let form = format!("access_token={token}");
    let length = form.len();
    let response = rig.ask(format!(
        "POST /api HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
    ));
    assert_eq!(response.status, 401);
}

#[test]
fn the_scheme_is_read_in_any_case() {
    let rig = Rig::start(Upstream::echo().address);
    let token = rig.log_in().access;
    for scheme in ["bearer", "BEARER", "bEaReR"] {
        let response = rig.ask(format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: {scheme} {token}\r\n\r\n"));
        assert_eq!(response.status, 200, "{scheme}: {response:?}");
        assert!(!response.body.contains(&token), "the upstream does not get the token unless settings say so");
    }
}
