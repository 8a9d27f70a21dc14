//! Guessing passwords, and keeping others from logging in.

use super::rig::Rig;
use super::upstream::Upstream;

/// Knows one password, wherever it stands.
fn upstream() -> Upstream {
    Upstream::start(|conversation| {
        while let Some(request) = conversation.request() {
            let (status, body) =
                if request.contains("right") { ("200 OK", r#"{"user":{"id":"ada"}}"#) } else { ("401 No", r#"{"error":"no"}"#) };
            let length = body.len();
            conversation
                .say(format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"));
        }
    })
}

const THREE_FOR_EACH: &str = r#"
    [store]
    kind = "memory"
    [limits.login]
    per_account = "3/1m"
"#;

fn log_in(rig: &Rig, fields: &str, body: &str) -> u16 {
    let length = body.len();
    let response = rig.ask(format!("POST /login HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {length}\r\n\r\n{body}"));
    if response.status == 429 {
        assert_eq!(response.code(), "rate_limited");
    }
    response.status
}

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn an_account_is_limited_over_all_ways_to_name_it() {
    let rig = Rig::start_from(upstream().address, THREE_FOR_EACH, |_| {});
    for (fields, body) in [
        (JSON, r#"{"email":"ada","password":"x"}"#),
        ("Content-Type: application/x-www-form-urlencoded\r\n", "username=ADA&password=x"),
        (
            "Content-Type: multipart/form-data; boundary=b\r\n",
            "--b\r\nContent-Disposition: form-data; name=\"login\"\r\n\r\nada\r\n--b--\r\n",
        ),
    ] {
        assert_eq!(log_in(&rig, fields, body), 401, "{body}");
    }
    for (fields, body) in [
        (JSON, r#"{"email":"decoy","user":{"login":"\u0061da"}}"#),
        (JSON, r#"{"email":"decoy","email":"ada"}"#),
        ("", "email=ada"),
        ("Authorization: Basic YWRhOnB3\r\n", ""),
        ("Authorization: Digest username=\"ada\", realm=\"api\"\r\n", ""),
        (JSON, r#"{"query":"mutation { login(email: \"ada\", password: \"x\") { token } }"}"#),
        (JSON, r#"{"query":"mutation ($x: String!) { login(email: $x) { token } }","variables":{"x":"ada"}}"#),
        (JSON, r#"{"body":"{\"email\":\"ada\"}"}"#),
        ("Content-Type: application/graphql\r\n", r#"{ login(email: "ada") { token } }"#),
    ] {
        assert_eq!(log_in(&rig, fields, body), 429, "{body}");
    }
    assert_eq!(log_in(&rig, "Content-Type: application/json\r\nContent-Encoding: gzip\r\n", "x"), 415);
    assert_eq!(log_in(&rig, JSON, "{email:'ada'}"), 400);
    assert_eq!(log_in(&rig, JSON, r#"{"email":"eve"}"#), 401, "nobody else is concerned");
}

#[test]
fn the_owner_logs_in_while_strangers_are_refused() {
    let upstream = upstream();
    let behind_a_proxy = format!("{THREE_FOR_EACH}\nper_address = \"\"");
    let rig = Rig::start_from(upstream.address, &behind_a_proxy, |settings| {
        settings.listen.trusted_peers = vec!["127.0.0.1/32".parse().unwrap()];
    });
    let from = |address: &str, password: &str| {
        let fields = format!("{JSON}X-Forwarded-For: {address}\r\n");
        log_in(&rig, &fields, &format!(r#"{{"email":"ada","password":"{password}"}}"#))
    };
    assert_eq!(from("192.0.2.1", "right"), 200);
    for stranger in 1..=5 {
        from(&format!("198.51.100.{stranger}"), "guess");
    }
    assert_eq!(from("198.51.100.6", "right"), 429);
    assert_eq!(from("192.0.2.1", "right"), 200);
}
