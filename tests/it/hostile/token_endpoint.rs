//! The token endpoint before those who speak its protocol otherwise than the RFC has it.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::client::Response;
use super::rig::{Rig, eventually};
use super::upstream::Upstream;

const SECRET: &str = "a+secret/of:machines-0123456789abcdef%";
/// [`SECRET`] as a form has it.
const ENCODED: &str = "a%2Bsecret%2Fof%3Amachines-0123456789abcdef%25";
const GRANT: &str = "grant_type=client_credentials";

fn settings(further: &str) -> String {
    format!(
        "[store]\nkind = \"memory\"\n[endpoints]\ntoken = \"/oauth/token\"\n[tokens]\naudience = [\"api\", \"bills\"]\n\
         [[clients]]\nid = \"m&m\"\nsecret = \"{SECRET}\"\ngrants = [\"client_credentials\"]\nscopes = [\"read\", \"write\"]\n\
         [[clients]]\nid = \"asks\"\nsecret = \"{SECRET}\"\n\
         [[clients]]\nid = \"off\"\nsecret = \"{SECRET}\"\ngrants = [\"client_credentials\"]\ndisabled = true\n{further}"
    )
}

fn rig() -> Rig {
    Rig::start_from(Upstream::echo().address, &settings(""), |_| {})
}

/// A POST with these lines in its head.
fn post(rig: &Rig, target: &str, lines: &[&str], body: &str) -> Response {
    let mut head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n", body.len());
    for line in lines {
        let _ = write!(head, "{line}\r\n");
    }
    rig.ask(format!("{head}\r\n{body}"))
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

fn ask(rig: &Rig, body: &str) -> Response {
    post(rig, "/oauth/token", &[FORM], body)
}

fn basic(id: &str, secret: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn json(response: &Response) -> Value {
    serde_json::from_str(&response.body).unwrap_or_else(|error| panic!("{error}: {response:?}"))
}

/// Status and `error`, where the rest is as RFC 6749, section 5.2, has it.
#[track_caller]
fn refused(response: &Response) -> (u16, String) {
    assert_eq!(response.field("content-type"), Some("application/json"), "{response:?}");
    assert_eq!((response.field("cache-control"), response.field("pragma")), (Some("no-store"), Some("no-cache")), "{response:?}");
    let is_challenged = response.field("www-authenticate").is_some_and(|challenge| challenge.starts_with("basic "));
    assert_eq!(is_challenged, response.status == 401, "{response:?}");
    let body = json(response);
    assert!(body["error_description"].is_string(), "{body}");
    (response.status, body["error"].as_str().unwrap().to_owned())
}

fn granted(response: &Response) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    json(response)["access_token"].as_str().unwrap().to_owned()
}

#[test]
fn each_error_is_the_one_of_the_rfc() {
    let rig = rig();
    let with = |id: &str, secret: &str, rest: &str| format!("client_id={id}&client_secret={secret}{rest}");
    let good = with("m%26m", ENCODED, "");
    let long = "x".repeat(2000);
    let many = (0..40).fold(String::new(), |mut many, n| {
        let _ = write!(many, "&p{n}=");
        many
    });
    for (body, status, error) in [
        (good.clone(), 400, "invalid_request"),
        (format!("{good}&grant_type="), 400, "invalid_request"),
        (format!("{good}&grant_type=password"), 400, "unsupported_grant_type"),
        (format!("{good}&grant_type=Client_Credentials"), 400, "unsupported_grant_type"),
        (format!("{good}&grant_type=urn:ietf:params:oauth:grant-type:token-exchange"), 400, "unsupported_grant_type"),
        (format!("{good}&{GRANT}&{GRANT}"), 400, "invalid_request"),
        (format!("{good}&{GRANT}&scope=read&scope=write"), 400, "invalid_request"),
        (format!("{good}&{GRANT}&scope=read+admin"), 400, "invalid_scope"),
        (format!("{good}&{GRANT}&scope={long}"), 400, "invalid_scope"),
        (format!("{good}&{GRANT}&audience=elsewhere"), 400, "invalid_target"),
        (format!("{good}&{GRANT}&resource=https://elsewhere.example"), 400, "invalid_target"),
        (format!("{good}&{GRANT}&resource=api&audience=api"), 400, "invalid_request"),
        (format!("{good}&{GRANT}{many}"), 400, "invalid_request"),
        (GRANT.to_owned(), 401, "invalid_client"),
        (with("m%26m", "wrong", &format!("&{GRANT}")), 401, "invalid_client"),
        (with("nobody", ENCODED, &format!("&{GRANT}")), 401, "invalid_client"),
        (with("off", ENCODED, &format!("&{GRANT}")), 401, "invalid_client"),
        (format!("client_secret={ENCODED}&{GRANT}"), 401, "invalid_client"),
        (format!("client_id=m%26m&{GRANT}"), 401, "invalid_client"),
        (with("asks", ENCODED, &format!("&{GRANT}")), 400, "unauthorized_client"),
        ("grant_type=refresh_token".to_owned(), 400, "invalid_request"),
        ("grant_type=refresh_token&refresh_token=none".to_owned(), 400, "invalid_grant"),
        (with("m%26m", "wrong", "&grant_type=refresh_token&refresh_token=none"), 401, "invalid_client"),
    ] {
        assert_eq!(refused(&ask(&rig, &body)), (status, error.to_owned()), "{body}");
    }
    granted(&ask(&rig, &format!("{good}&{GRANT}")));
    // Whatever is not known is passed over (section 3.2), and empty is absent.
    granted(&ask(&rig, &format!("{good}&{GRANT}&scope=&audience=&assertion_of=nobody")));
}

#[test]
fn what_is_asked_for_is_what_the_token_says_and_never_more() {
    let rig = rig();
    let good = format!("client_id=m%26m&client_secret={ENCODED}&{GRANT}");
    let says = |token: &str| {
        let asked = post(&rig, "/oauth/introspect", &[FORM, &basic("asks", ENCODED)], &format!("token={token}"));
        json(&asked)
    };
    let all = says(&granted(&ask(&rig, &good)));
    assert_eq!((&all["active"], &all["sub"], &all["client_id"]), (&true.into(), &"client:m&m".into(), &"m&m".into()));
    assert_eq!(
        (&all["scope"], &all["aud"], &all["sid"]),
        (&"read write".into(), &serde_json::json!(["api", "bills"]), &Value::Null)
    );
    let part = says(&granted(&ask(&rig, &format!("{good}&scope=write&audience=bills"))));
    assert_eq!((&part["scope"], &part["aud"]), (&"write".into(), &serde_json::json!(["bills"])));
    let shut = rig.get("/scoped", &granted(&ask(&rig, &good)));
    assert_eq!((shut.status, shut.code().as_str()), (403, "scope_insufficient"));
}

#[test]
fn what_tokens_are_worth_is_told_to_those_whose_entries_say_so() {
    let further = |id: &str, lines: &str| format!("[[clients]]\nid = \"{id}\"\nsecret = \"{SECRET}\"\n{lines}\n");
    let grants = "grants = [\"client_credentials\"]";
    let both = further("both", &format!("{grants}\nintrospects = true"));
    let neither = further("neither", "introspects = false");
    let rig = Rig::start_from(Upstream::echo().address, &settings(&format!("{both}{neither}")), |_| {});
    let ask = |id: &str| post(&rig, "/oauth/introspect", &[FORM, &basic(id, ENCODED)], "token=x");
    for id in ["asks", "both"] {
        assert_eq!(ask(id).status, 200, "{id}");
    }
    // Who gets tokens for itself need not know.
    for id in ["m%26m", "neither"] {
        assert_eq!(refused(&ask(id)), (400, "unauthorized_client".to_owned()), "{id}");
    }
    for id in ["off", "nobody"] {
        assert_eq!(refused(&ask(id)), (401, "invalid_client".to_owned()), "{id}");
    }
}

#[test]
fn who_shows_no_secret_is_told_the_same_whoever_it_says_to_be() {
    let rig = rig();
    let refresh = rig.log_in().refresh;
    for (lines, named) in [
        (vec![], String::new()),
        (vec![], "&client_id=nobody".to_owned()),
        (vec![], "&client_id=m%26m".to_owned()),
        (vec![], "&client_id=off&client_secret=".to_owned()),
        (vec![basic("nobody", "")], String::new()),
        (vec![basic("m%26m", "")], "&client_id=m%26m".to_owned()),
        // Another scheme is no authentication of a client.
        (vec!["Authorization: Bearer x".to_owned()], String::new()),
        (vec!["Authorization: BasicX eDp4".to_owned()], String::new()),
    ] {
        let lines: Vec<&str> = [FORM].into_iter().chain(lines.iter().map(String::as_str)).collect();
        let by = |form: &str| post(&rig, "/oauth/token", &lines, &format!("{form}{named}"));
        // Within the leeway: the same successor each time.
        granted(&by(&format!("grant_type=refresh_token&refresh_token={refresh}")));
        assert_eq!(refused(&by("grant_type=refresh_token&refresh_token=x")), (400, "invalid_grant".to_owned()), "{lines:?}");
        assert_eq!(refused(&by(GRANT)), (401, "invalid_client".to_owned()), "{lines:?} {named}");
    }
}

#[test]
fn with_cookies_a_form_without_a_token_is_told_what_it_lacks() {
    let cookies = "[cookies]\nenabled = true\nsecure = false\naccess_name = \"a\"\nrefresh_name = \"r\"\n";
    let rig = Rig::start_from(Upstream::echo().address, &settings(cookies), |_| {});
    for body in ["grant_type=refresh_token", "grant_type=refresh_token&refresh_token="] {
        assert_eq!(refused(&ask(&rig, body)), (400, "invalid_request".to_owned()), "{body}");
    }
    let as_json = post(&rig, "/refresh", &["Content-Type: application/json"], "{}");
    assert_eq!((as_json.status, as_json.code().as_str()), (401, "refresh_token_missing"), "whose user logs in");
}

#[test]
fn credentials_come_in_one_place_and_in_the_encoding_of_the_rfc() {
    let rig = rig();
    let by = |lines: &[&str], body: &str| {
        let lines: Vec<&str> = [FORM].iter().chain(lines).copied().collect();
        post(&rig, "/oauth/token", &lines, body)
    };
    let good = basic("m%26m", ENCODED);
    granted(&by(&[&good], GRANT));
    granted(&by(&[&good.replace("Basic", "basic")], GRANT));
    granted(&by(&[&good], &format!("{GRANT}&client_id=m%26m")));
    for wrong in [
        basic("m&m", SECRET),
        basic("m%26m", SECRET),
        basic("m%26m", &format!("{ENCODED}%20")),
        basic("m%2526m", ENCODED),
        basic(":m%26m", ENCODED),
        "Authorization: Basic ???".to_owned(),
        "Authorization: Basic".to_owned(),
        "Authorization: Bearer x".to_owned(),
        format!("Authorization: Basic {}", STANDARD.encode([0xff, b':', 0xfe])),
    ] {
        assert_eq!(refused(&by(&[&wrong], GRANT)), (401, "invalid_client".to_owned()), "{wrong}");
    }
    let in_body = format!("{GRANT}&client_id=m%26m&client_secret={ENCODED}");
    for (lines, body) in [
        (&[good.as_str()][..], in_body.clone()),
        (&[good.as_str(), good.as_str()], GRANT.to_owned()),
        (&[good.as_str()], format!("{GRANT}&client_id=asks")),
    ] {
        assert_eq!(refused(&by(lines, &body)), (400, "invalid_request".to_owned()), "{lines:?} {body}");
    }
}

#[test]
fn parameters_count_in_the_body_of_a_form_alone() {
    let rig = rig();
    let good = format!("client_id=m%26m&client_secret={ENCODED}&{GRANT}");
    for name in ["grant_type", "client_secret", "client_id", "refresh_token", "scope", "client%5fsecret"] {
        let target = format!("/oauth/token?{name}=x");
        assert_eq!(refused(&post(&rig, &target, &[FORM], &good)), (400, "invalid_request".to_owned()), "{name}");
    }
    granted(&post(&rig, "/oauth/token?tenant=1", &[FORM], &good));
    let as_json = format!(r#"{{"grant_type":"client_credentials","client_id":"m&m","client_secret":"{SECRET}"}}"#);
    for (lines, body) in
        [(&["Content-Type: application/json"][..], as_json.as_str()), (&[], &good), (&["Content-Type: text/plain"], &good)]
    {
        assert_eq!(refused(&post(&rig, "/oauth/token", lines, body)), (400, "invalid_request".to_owned()), "{lines:?}");
    }
    for method in ["GET", "PUT", "DELETE"] {
        let response = rig.ask(format!("{method} /oauth/token?{good} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        assert_eq!(response.status, 405, "{method}: no upstream gets to see it: {response:?}");
    }
    let huge = format!("{good}&x={}", "x".repeat(100_000));
    assert_eq!(ask(&rig, &huge).status, 413);
}

#[test]
fn a_refresh_is_that_of_the_other_endpoint() {
    let rig = rig();
    let first = rig.log_in().refresh;
    let form = format!("grant_type=refresh_token&refresh_token={first}");
    let there = ask(&rig, &form);
    let second = json(&there);
    assert_eq!((there.status, there.field("cache-control")), (200, Some("no-store")));
    assert_eq!(json(&post(&rig, "/refresh", &[FORM], &form))["refresh_token"], second["refresh_token"], "the same successor");
    assert_eq!(refused(&ask(&rig, &format!("{form}&scope=admin"))), (400, "invalid_scope".to_owned()));
}

#[test]
fn a_machine_is_no_user_and_no_user_is_a_machine() {
    let body = r#"{"user":{"id":"client:m&m"}}"#;
    let length = body.len();
    let login = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
    let upstream = Upstream::answering_once(login);
    let rig = Rig::start_from(upstream.address, &settings(""), |_| {});
    let login = rig.post("/login", r#"{"email":"a@example.com","password":"x"}"#);
    assert_eq!((login.status, login.body.as_str()), (200, body), "the response passes, and makes no session of a machine's name");
    let form = format!("client_id=m%26m&client_secret={ENCODED}&{GRANT}");
    let (token, other) = (granted(&ask(&rig, &form)), granted(&ask(&rig, &form)));
    let sessions = rig.get("/sessions", &token);
    assert_eq!((sessions.status, &json(&sessions)["sessions"]), (200, &serde_json::json!([])), "nor is there one");
    let refreshed = ask(&rig, &format!("grant_type=refresh_token&refresh_token={token}"));
    assert_eq!(refused(&refreshed), (400, "invalid_grant".to_owned()), "an access token is none to refresh");
    let says = post(&rig, "/oauth/introspect", &[FORM, &basic("asks", ENCODED)], &format!("token={token}"));
    assert_eq!((&json(&says)["sub"], &json(&says)["sid"]), (&"client:m&m".into(), &Value::Null));
    // It ends its own token, as whoever holds one may; a user's it cannot name.
    let line = format!("Authorization: Bearer {token}");
    assert_eq!(post(&rig, "/logout", &[&line, "Content-Type: application/json"], "{}").status, 200);
    assert_eq!(rig.get("/sessions", &token).code(), "token_revoked");
    assert_eq!(rig.get("/sessions", &other).status, 200);
}

#[test]
fn the_name_of_a_machine_stays_its_own_when_its_entry_is_removed() {
    let body = r#"{"user":{"id":"client:m&m"}}"#;
    let length = body.len();
    let login = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
    let upstream = Upstream::answering_once(login);
    let without = "[store]\nkind = \"memory\"\n[endpoints]\ntoken = \"/oauth/token\"\n";
    let rig = Rig::start_from(upstream.address, without, |_| {});
    let login = rig.post("/login", r#"{"email":"a@example.com","password":"x"}"#);
    assert_eq!((login.status, login.body.as_str()), (200, body));
}

#[test]
fn tokens_of_machines_expire_and_end_with_their_entry() {
    let mut rig = rig();
    let form = format!("client_id=m%26m&client_secret={ENCODED}&{GRANT}");
    let token = granted(&ask(&rig, &form));
    assert_eq!(rig.get("/api", &token).status, 200);
    rig.reload(&settings("").replacen("scopes", "disabled = true\nscopes", 1));
    eventually("it is refused, cached or not", || rig.get("/api", &token).status == 401);
    assert_eq!(rig.get("/api", &token).code(), "token_invalid");
    assert_eq!(refused(&ask(&rig, &form)), (400, "unsupported_grant_type".to_owned()), "no machine is left");
    rig.reload(&settings(""));
    eventually("it is taken again", || rig.get("/api", &token).status == 200);
    rig.clock.advance(Duration::from_secs(901));
    assert_eq!(rig.get("/api", &token).code(), "token_expired");
}

#[test]
fn tries_are_counted_by_address_and_by_client() {
    let limits = "[limits.clients]\nper_address = \"5/1m\"\nper_client = \"2/1m\"\n";
    let rig = Rig::start_from(Upstream::echo().address, &settings(limits), |_| {});
    let good = format!("client_id=m%26m&client_secret={ENCODED}&{GRANT}");
    let statuses: Vec<u16> = (0..3).map(|_| ask(&rig, &good).status).collect();
    assert_eq!(statuses, [200, 200, 429], "by client");
    let wrong = format!("client_id=m%26m&client_secret=wrong&{GRANT}");
    let statuses: Vec<u16> = (0..3).map(|_| ask(&rig, &wrong).status).collect();
    assert_eq!(statuses, [401, 401, 429], "by address, right or wrong");
    let limited = ask(&rig, &good);
    assert_eq!(refused(&limited), (429, "temporarily_unavailable".to_owned()));
    assert!(limited.field("retry-after").is_some());
    let refresh = rig.log_in().refresh;
    granted(&ask(&rig, &format!("grant_type=refresh_token&refresh_token={refresh}")));
}

#[test]
fn a_refresh_is_counted_before_credentials_are_looked_at() {
    let limits = "[limits.refresh]\nper_address = \"2/1m\"\n";
    let rig = Rig::start_from(Upstream::echo().address, &settings(limits), |_| {});
    let wrong = "grant_type=refresh_token&refresh_token=x&client_id=m%26m&client_secret=wrong";
    let statuses: Vec<u16> = (0..3).map(|_| ask(&rig, wrong).status).collect();
    assert_eq!(statuses, [401, 401, 429]);
    assert_eq!(post(&rig, "/refresh", &["Content-Type: application/json"], "{}").status, 429, "as the other endpoint counts");
}

#[test]
fn without_a_path_of_its_own_there_is_no_endpoint() {
    let rig = Rig::start_from(Upstream::echo().address, "[store]\nkind = \"memory\"\n", |_| {});
    let response = post(&rig, "/oauth/token", &[FORM], GRANT);
    assert_eq!(response.status, 404, "no route of the rig has it: {response:?}");
}
