//! Two gateways side by side on one store.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokengate::crypto::access_token::{self, Holder, NewAccessToken};
use tokengate::crypto::entropy::SystemEntropy;
use tokengate::crypto::keyring::KeyRing;
use tokengate::domain::algorithm::Algorithm;
use tokengate::domain::ids::{Generation, Partition, SessionId, Subject, TokenId};
use tokengate::domain::session::Grant;
use tokengate::domain::time::Timestamp;

use super::until_refused;
use crate::support::gateway::{Pair, Tokens};
use crate::support::http::Message;
use crate::support::upstream::PASSWORD;

#[test]
fn a_login_on_one_node_is_good_on_the_other_until_the_logout() {
    let pair = Pair::start(&[]);
    let (mut a, mut b) = (pair.a.client(), pair.b.client());

    let login = a.post("/login", &json!({"email": "ann@example.com", "password": PASSWORD})).expect(200);
    assert_eq!(login.json()["user"]["id"], "ann@example.com", "what the upstream said stays");
    assert_eq!((login.json()["tokenType"].as_str(), login.json()["expiresIn"].as_u64()), (Some("Bearer"), Some(900)));
    assert_eq!(login.header("cache-control"), Some("no-store"));
    let first = Tokens::of(&login);

    let resource = b.get("/api/notes?page=2", Some(&first.access)).expect(200);
    assert_eq!(resource.json()["target"], "/api/notes?page=2");
    assert_eq!(resource.upstream_saw("x-auth-subject"), ["ann@example.com"]);
    assert_eq!(resource.upstream_saw("x-auth-session").len(), 1);
    assert!(resource.upstream_saw("authorization").is_empty());

    let refused = b.get("/api/notes", None).expect(401);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));

    let second = Tokens::of(&b.refresh(&first.refresh).expect(200));
    assert_ne!(first.refresh, second.refresh);
    a.get("/api/notes", Some(&second.access)).expect(200);
    let again = Tokens::of(&a.refresh(&first.refresh).expect(200));
    assert_eq!(again.refresh, second.refresh, "within the leeway the spent token yields the same successor");

    assert_eq!(a.log_out(&second.access, "session").expect(200).json()["ended"], 1);
    for token in [&first.access, &second.access, &again.access] {
        let refused = a.get("/api/notes", Some(token)).expect(401);
        assert!(refused.header("www-authenticate").unwrap().contains("invalid_token"), "{refused:?}");
        assert_eq!(refused.json()["code"], "token_revoked");
        until_refused(&mut b, token);
    }
    for node in [&mut a, &mut b] {
        node.refresh(&second.refresh).expect(401);
        node.log_out(&second.access, "session").expect(200);
    }
}

#[test]
fn identity_fields_from_outside_reach_nobody() {
    let pair = Pair::start(&[]);
    let mut a = pair.a.client();
    let token = format!("Bearer {}", a.log_in("ann").access);
    let forged =
        [("X-Auth-Subject", "root"), ("x_auth_subject", "root"), ("X-AUTH-SCOPES", "admin"), ("connection", "x-auth-subject")];
    let open = a.send("GET", "/public/hello", &forged, None).unwrap().expect(200);
    for name in ["x-auth-subject", "x_auth_subject", "x-auth-scopes", "x-auth-session"] {
        assert!(open.upstream_saw(name).is_empty(), "{name}: {}", open.text());
    }
    let mut fields = forged.to_vec();
    fields.push(("authorization", &token));
    let closed = a.send("GET", "/api/me", &fields, None).unwrap().expect(200);
    assert_eq!(closed.upstream_saw("x-auth-subject"), ["ann"]);
    assert!(closed.upstream_saw("x_auth_subject").is_empty());
}

#[test]
fn logging_the_others_out_leaves_the_own_session_and_logging_all_out_leaves_none() {
    let pair = Pair::start(&[]);
    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    let [own, second, third] = [a.log_in("eve"), b.log_in("eve"), a.log_in("eve")];
    let stranger = b.log_in("mallory");

    assert_eq!(a.log_out(&own.access, "others").expect(200).json()["ended"], 2);
    for ended in [&second, &third] {
        a.get("/api/me", Some(&ended.access)).expect(401);
        until_refused(&mut b, &ended.access);
        b.refresh(&ended.refresh).expect(401);
    }
    b.get("/api/me", Some(&own.access)).expect(200);
    let own = Tokens::of(&b.refresh(&own.refresh).expect(200));

    let fourth = b.log_in("eve");
    assert_eq!(b.log_out(&own.access, "all").expect(200).json()["ended"], 2);
    for ended in [&own, &fourth] {
        b.get("/api/me", Some(&ended.access)).expect(401);
        until_refused(&mut a, &ended.access);
        a.refresh(&ended.refresh).expect(401);
    }
    // Within the same second, and on both nodes.
    let anew = b.log_in("eve");
    for node in [&mut b, &mut a] {
        node.get("/api/me", Some(&anew.access)).expect(200);
        node.get("/api/me", Some(&stranger.access)).expect(200);
    }
    a.refresh(&anew.refresh).expect(200);
}

#[test]
fn a_user_sees_the_own_devices_and_ends_one_of_them() {
    let pair = Pair::start(&[]);
    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    let (phone, laptop, stranger) = (a.log_in("ann"), b.log_in("ann"), a.log_in("bob"));

    let listed = b.get("/sessions", Some(&laptop.access)).expect(200).json();
    let sessions = listed["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "{listed}");
    let other = sessions.iter().find(|session| session["current"] == false).unwrap()["id"].as_str().unwrap().to_owned();
    let path = format!("/sessions/{other}");

    b.call("DELETE", &path, None, None).expect(401);
    b.call("DELETE", &path, Some(&stranger.access), None).expect(404);
    a.get("/api/me", Some(&phone.access)).expect(200);
    b.call("DELETE", &path, Some(&laptop.access), None).expect(204);
    b.get("/api/me", Some(&phone.access)).expect(401);
    until_refused(&mut a, &phone.access);
    a.refresh(&phone.refresh).expect(401);
    assert_eq!(a.get("/sessions", Some(&laptop.access)).expect(200).json()["sessions"].as_array().unwrap().len(), 1);
}

#[test]
fn both_nodes_publish_the_same_public_keys_and_nothing_private() {
    let pair = Pair::start(&[]);
    let [a, b] = pair.nodes().map(|node| node.client().get("/.well-known/jwks.json", None).expect(200).json());
    assert_eq!(a, b);
    let keys = a["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    assert!(keys[0].get("d").is_none() && keys[0]["kty"] == "EC" && keys[0]["alg"] == "ES256", "{a}");
    let token = pair.a.client().log_in("ann").access;
    assert_eq!(part(&token, 0)["kid"], keys[0]["kid"]);
}

#[test]
fn forged_and_expired_tokens_are_refused_on_every_node() {
    let pair = Pair::start(&[]);
    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    let (token, others) = (a.log_in("ann").access, a.log_in("bob").access);
    let claims = part(&token, 1);
    let issued_at = claims["iat"].as_i64().unwrap();
    let keys = KeyRing::load(&pair.keys(), None).unwrap();
    let strange_keys = KeyRing::ephemeral(Algorithm::Es256, &SystemEntropy::new()).unwrap();
    let minute = Duration::from_secs(60);

    let good = minted(&keys, issued_at, minute);
    let expired = minted(&keys, issued_at - 120, minute);
    let by_a_strange_key = minted(&strange_keys, issued_at, minute);
    let [head, _, signature]: [&str; 3] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let anothers_payload = format!("{head}.{}.{signature}", others.split('.').nth(1).unwrap());
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
    let unsigned = format!("{none}.{}.", token.split('.').nth(1).unwrap());
    let cut = token[..token.len() - 4].to_owned();

    let reached = pair.upstream.requests();
    for node in [&mut a, &mut b] {
        assert_eq!(node.get("/api/me", Some(&good)).expect(200).upstream_saw("x-auth-subject"), ["ann"]);
        let refused = node.get("/api/me", Some(&expired)).expect(401);
        assert_eq!(refused.json()["code"], "token_expired");
        assert_is_invalid(&refused);
        for forged in [&by_a_strange_key, &anothers_payload, &unsigned, &cut] {
            assert_is_invalid(&node.get("/api/me", Some(forged)).expect(401));
        }
    }
    assert_eq!(pair.upstream.requests(), reached + 2, "the good one alone, once from each node");
}

fn assert_is_invalid(refused: &Message) {
    assert!(refused.header("www-authenticate").unwrap().contains("error=\"invalid_token\""), "{refused:?}");
}

fn minted(keys: &KeyRing, issued_at: i64, lifetime: Duration) -> String {
    let issued_at = Timestamp::from_secs(issued_at);
    let token = NewAccessToken {
        issuer: "tokengate",
        subject: &Subject::new("ann").unwrap(),
        audiences: &["tokengate".to_owned()],
        holder: Holder::Session { id: SessionId::new(Partition(0), issued_at, [7; 8]), generation: Generation(1) },
        token_id: &TokenId::new("one-of-its-kind").unwrap(),
        issued_at,
        expires_at: issued_at.saturating_add(lifetime),
        grant: &Grant::default(),
        bytes_max: 12 * 1024,
    };
    access_token::mint(keys, &token).unwrap().expose().clone()
}

/// A part of a JWT, unverified.
fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
}
