//! Tokens of another issuer become sessions: over two nodes and Redis, with an issuer whose keys are fetched.

use std::thread;
use std::time::Duration;

use super::until_refused;
use crate::support::gateway::{Gateway, Pair};
use crate::support::http::{Client, Message};
use crate::support::upstream::Upstream;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const IDP: &str = "https://idp.example";

fn post(client: &mut Client, form: &str) -> Message {
    client.send("POST", "/oauth/token", &[FORM], Some(form.as_bytes())).unwrap()
}

fn form(subject_token: &str) -> String {
    format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token={subject_token}\
         &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token"
    )
}

fn exchange(client: &mut Client, subject_token: &str) -> Message {
    post(client, &form(subject_token))
}

fn refresh(client: &mut Client, refresh_token: &str) -> Message {
    post(client, &format!("grant_type=refresh_token&refresh_token={refresh_token}"))
}

/// Two nodes that exchange what a third gateway issues, which is nothing but another issuer to them.
fn nodes(rule: &str) -> (Gateway, Upstream, Pair) {
    let upstream = Upstream::start();
    let idp = Gateway::start(&upstream, &[("tokens.issuer", IDP), ("tokens.audience", "our-app")]);
    let pair = Pair::start(&settings(&keys_of(&idp), rule));
    (idp, upstream, pair)
}

fn keys_of(idp: &Gateway) -> String {
    format!("http://{}/.well-known/jwks.json", idp.address())
}

/// Of a node that exchanges the tokens of the issuer whose keys are there.
fn settings<'a>(keys: &'a str, rule: &'a str) -> [(&'a str, &'a str); 9] {
    [
        ("endpoints.token", "/oauth/token"),
        ("tokens.issuer", "https://auth.example.com"),
        ("issuers.0.issuer", IDP),
        ("issuers.0.audiences", "[]"),
        ("issuers.0.exchange_audiences", "our-app"),
        ("issuers.0.algorithms", "EdDSA,ES256"),
        ("issuers.0.jwks_url", keys),
        ("issuers.0.subject_prefix", "idp:"),
        ("issuers.0.exchange", rule),
    ]
}

#[test]
fn one_token_is_one_session_on_two_nodes_however_many_replay_it_at_once_and_a_logout_ends_it_everywhere() {
    let (idp, _upstream, pair) = nodes("once");
    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    let found = a.get("/.well-known/oauth-authorization-server", None).expect(200).json();
    let grants = found["grant_types_supported"].as_array().unwrap();
    assert!(grants.contains(&"urn:ietf:params:oauth:grant-type:token-exchange".into()), "{found}");

    let theirs = idp.client().log_in("ann").access;
    a.get("/api/me", Some(&theirs)).expect(401);
    let given: Vec<Message> = thread::scope(|scope| {
        let call = |n: usize| {
            let (mut client, theirs) = (pair.nodes()[n % 2].client(), theirs.as_str());
            scope.spawn(move || exchange(&mut client, theirs).expect(200))
        };
        let calls: Vec<_> = (0..24).map(call).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let first = given[0].member("refresh_token");
    assert!(given.iter().all(|response| response.member("refresh_token") == first), "one successor");
    let access = given[0].member("access_token");
    let seen = b.get("/api/me", Some(&access)).expect(200);
    assert_eq!(seen.upstream_saw("x-auth-subject"), ["idp:ann"]);
    let sessions = a.get("/sessions", Some(&access)).expect(200).json();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1, "{sessions}");

    let second = refresh(&mut b, &first).expect(200);
    let (access, latest) = (second.member("access_token"), second.member("refresh_token"));
    a.log_out(&access, "session").expect(200);
    until_refused(&mut b, &access);
    for client in [&mut a, &mut b] {
        assert_eq!(refresh(client, &latest).expect(400).member("error"), "invalid_grant");
        let replayed = exchange(client, &theirs).expect(400);
        assert_eq!(
            (replayed.member("error"), replayed.member("code")),
            ("invalid_request".into(), "subject_token_invalid".into())
        );
    }
    // A token of now makes a session at once: that alone was ended.
    let again = idp.client().log_in("ann").access;
    exchange(&mut b, &again).expect(200);
}

#[test]
fn nothing_is_exchanged_while_the_store_is_away_and_nothing_is_spent_by_trying() {
    let (idp, _upstream, pair) = nodes("once");
    let theirs = idp.client().log_in("ann").access;
    let mut client = pair.a.client();
    // Its keys are there.
    let other = idp.client().log_in("bob").access;
    exchange(&mut client, &other).expect(200);
    pair.redis.freeze();
    let away = exchange(&mut client, &theirs).expect(503);
    assert_eq!(away.member("error"), "temporarily_unavailable");
    assert!(away.header("retry-after").is_some());
    pair.redis.thaw();
    pair.a.await_ready();
    let given = exchange(&mut client, &theirs).expect(200);
    let sessions = client.get("/sessions", Some(&given.member("access_token"))).expect(200).json();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1, "{sessions}");
}

#[test]
fn without_the_keys_of_its_issuer_nobody_can_say_what_a_token_is_worth() {
    let (mut idp, upstream, pair) = nodes("many");
    let theirs = idp.client().log_in("ann").access;
    let (mut client, keys) = (pair.a.client(), keys_of(&idp));
    exchange(&mut client, &theirs).expect(200);
    idp.terminate();
    idp.wait(Duration::from_secs(20));
    // Where they are known, they go on.
    exchange(&mut client, &theirs).expect(200);
    let late = Gateway::start(&upstream, &settings(&keys, "many"));
    let away = exchange(&mut late.client(), &theirs).expect(503);
    assert_eq!(away.member("error"), "temporarily_unavailable");
    assert!(away.header("retry-after").is_some());
}
