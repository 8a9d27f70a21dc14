//! What a machine that speaks OAuth does with the gateway, over two nodes.

use serde_json::{Value, json};

use super::until_refused;
use crate::support::gateway::{Gateway, Pair, Tokens};
use crate::support::http::{Client, Message};
use crate::support::upstream::Upstream;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
/// `reports` and its secret, as HTTP Basic.
const BASIC: (&str, &str) = ("authorization", "Basic cmVwb3J0czowMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==");
const CLIENT: [(&str, &str); 2] = [("clients.0.id", "reports"), ("clients.0.secret", "0123456789abcdef0123456789abcdef")];

fn post(client: &mut Client, path: &str, fields: &[(&str, &str)], form: &str) -> Message {
    let fields: Vec<(&str, &str)> = [FORM].iter().chain(fields).copied().collect();
    client.send("POST", path, &fields, Some(form.as_bytes())).unwrap()
}

fn introspect(client: &mut Client, token: &str) -> Value {
    post(client, "/oauth/introspect", &[BASIC], &format!("token={token}")).expect(200).json()
}

#[test]
fn a_machine_finds_the_endpoints_refreshes_introspects_and_revokes() {
    let issuer = ("tokens.issuer", "https://auth.example.com");
    let pair = Pair::start(&[CLIENT[0], CLIENT[1], issuer]);
    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    let found = a.get("/.well-known/oauth-authorization-server", None).expect(200).json();
    assert_eq!(found["issuer"], "https://auth.example.com");
    let path = |name: &str| found[name].as_str().unwrap().strip_prefix("https://auth.example.com").unwrap().to_owned();
    assert_eq!(
        (path("introspection_endpoint"), path("revocation_endpoint")),
        ("/oauth/introspect".into(), "/oauth/revoke".into())
    );

    let first = a.log_in("ann");
    let form = format!("grant_type=refresh_token&refresh_token={}", first.refresh);
    let second = post(&mut b, &path("token_endpoint"), &[], &form).expect(200);
    let second = Tokens { access: second.member("access_token"), refresh: second.member("refresh_token") };
    let says = introspect(&mut a, &second.access);
    assert_eq!((&says["active"], &says["sub"], &says["iss"]), (&true.into(), &"ann".into(), &"https://auth.example.com".into()));
    assert_eq!(introspect(&mut b, &second.refresh)["sid"], says["sid"]);

    assert!(
        post(&mut a, "/oauth/revoke", &[], &format!("token={}&token_type_hint=unknown", second.access))
            .expect(200)
            .body
            .is_empty()
    );
    a.get("/api/me", Some(&second.access)).expect(401);
    until_refused(&mut b, &second.access);
    for client in [&mut a, &mut b] {
        for token in [&second.access, &second.refresh, &first.refresh] {
            assert_eq!(introspect(client, token), json!({"active": false}));
        }
    }
    b.refresh(&second.refresh).expect(401);
    post(&mut b, "/oauth/revoke", &[], &format!("token={}", second.refresh)).expect(200);
}

#[test]
fn what_is_refused_says_so_in_the_words_of_the_rfcs() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &CLIENT);
    let mut client = gateway.client();
    let anonymous = post(&mut client, "/oauth/introspect", &[], "token=x").expect(401);
    assert!(anonymous.header("www-authenticate").unwrap().starts_with("Basic realm="));
    assert_eq!(anonymous.member("error"), "invalid_client");
    let wrong = ("authorization", "Basic cmVwb3J0czp3cm9uZw==");
    assert_eq!(post(&mut client, "/oauth/revoke", &[wrong], "token=x").expect(401).member("error"), "invalid_client");
    assert_eq!(post(&mut client, "/oauth/revoke", &[], "token_type_hint=x").expect(400).member("error"), "invalid_request");
    client.get("/oauth/revoke", None).expect(405);
    // Our issuer is a name here and no URL: there is nothing to find, and the path is the upstream's.
    client.get("/.well-known/oauth-authorization-server", None).expect(401);
}

#[test]
fn without_clients_the_path_of_introspection_belongs_to_the_upstream() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[("routes.0.prefix", "/oauth")]);
    let response = post(&mut gateway.client(), "/oauth/introspect", &[], "token=x").expect(200);
    assert_eq!(response.member("target"), "/oauth/introspect");
}
