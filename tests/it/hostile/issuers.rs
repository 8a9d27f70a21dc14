//! Tokens of another issuer: whose users they name, and what they can do to ours.

use std::time::Duration;

use serde_json::{Value, json};

use super::partner::{Partner, token};
use super::rig::{Rig, eventually};
use super::upstream::Upstream;
use crate::support::old_api::{self, now, signed};

const PREFIXED: &str = "subject_prefix = \"partner:\"";

fn authorized(rig: &Rig, method: &str, path: &str, token: &str, body: &str) -> super::client::Response {
    let length = body.len();
    rig.ask(format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    ))
}

fn sessions(rig: &Rig, token: &str) -> Vec<Value> {
    let response = rig.get("/sessions", token);
    assert_eq!(response.status, 200, "{response:?}");
    let list: Value = serde_json::from_str(&response.body).unwrap();
    list["sessions"].as_array().unwrap().clone()
}

/// The echo's login is always of `user-1`.
#[test]
fn a_partners_user_is_nobody_of_ours_whatever_its_name() {
    let partner = Partner::new();
    let rig = Rig::start_from(Upstream::echo().address, &partner.accepted(PREFIXED), |_| {});
    let ours = rig.log_in().access;
    let [session] = sessions(&rig, &ours).try_into().unwrap();
    let theirs = token("user-1", &json!({"jti": "t1", "role": "admin", "scope": "admin"}));
    let seen = rig.get("/api", &theirs);
    assert!(seen.body.to_ascii_lowercase().contains("x-auth-subject: partner:user-1\r\n"), "{seen:?}");
    assert!(!seen.body.to_ascii_lowercase().contains("x-auth-session"), "{seen:?}");
    assert_eq!(sessions(&rig, &theirs), Vec::<Value>::new());
    let end = authorized(&rig, "DELETE", &format!("/sessions/{}", session["id"].as_str().unwrap()), &theirs, "");
    assert_eq!(end.status, 404, "{end:?}");
    assert_eq!(authorized(&rig, "POST", "/logout", &theirs, r#"{"scope":"others"}"#).status, 200);
    assert_eq!(rig.get("/api", &ours).status, 200, "ours lives on");
    assert_eq!(authorized(&rig, "POST", "/logout", &theirs, r#"{"scope":"all"}"#).status, 200);
    assert_eq!(rig.get("/api", &theirs).code(), "token_revoked");
    assert_eq!(rig.get("/api", &ours).status, 200, "ours lives on");
    let ours_ended = authorized(&rig, "POST", "/logout", &ours, r#"{"scope":"all"}"#);
    assert_eq!((ours_ended.status, rig.get("/api", &ours).status), (200, 401), "{ours_ended:?}");
}

#[test]
fn a_partners_token_names_no_session_of_ours() {
    let partner = Partner::new();
    let rig = Rig::start_from(Upstream::echo().address, &partner.accepted("shares_subjects = true"), |_| {});
    let ours = rig.log_in().access;
    let [session] = sessions(&rig, &ours).try_into().unwrap();
    let theirs = token("user-1", &json!({"sid": session["id"], "gen": 1, "jti": "t1"}));
    let seen = rig.get("/api", &theirs);
    assert!(!seen.body.to_ascii_lowercase().contains("x-auth-session"), "{seen:?}");
    assert!(
        sessions(&rig, &theirs).iter().all(|session| session["current"] == false),
        "it is the same user, on no device of ours"
    );
    assert_eq!(authorized(&rig, "POST", "/logout", &theirs, "{}").body, r#"{"ended":1}"#, "the token itself");
    assert_eq!((rig.get("/api", &theirs).status, rig.get("/api", &ours).status), (401, 200));
}

#[test]
fn a_partners_claims_are_told_where_they_are_trusted_alone() {
    let partner = Partner::new();
    let claims = json!({"role": "admin", "plan": "gold", "x-auth-subject": "root"});
    for (trusted, role, plan) in [("[]", false, false), ("[\"plan\"]", false, true), ("[\"plan\", \"role\"]", true, true)] {
        let settings = partner.accepted(&format!("{PREFIXED}\ntrusted_claims = {trusted}"));
        let rig = Rig::start_from(Upstream::echo().address, &settings, |_| {});
        let seen = rig.get("/api", &token("7", &claims)).body.to_ascii_lowercase();
        assert_eq!(seen.contains("x-auth-role: admin"), role, "{trusted}: {seen}");
        assert_eq!(seen.contains("x-auth-plan: gold"), plan, "{trusted}: {seen}");
        assert!(!seen.contains("root"), "{seen}");
    }
}

#[test]
fn a_scope_with_a_space_in_it_grants_nothing() {
    let partner = Partner::new();
    let rig = Rig::start_from(Upstream::echo().address, &partner.accepted(PREFIXED), |_| {});
    for scopes in [json!(["read admin"]), json!("read\tadmin"), json!(["\u{a0}admin"]), json!(["", "admin\n"]), Value::Null] {
        let theirs = token("7", &json!({"scope": scopes}));
        assert_eq!(rig.get("/scoped", &theirs).code(), "scope_insufficient", "{scopes}");
        let seen = rig.get("/api", &theirs);
        assert!(seen.status == 200 && !seen.body.to_ascii_lowercase().contains("x-auth-scopes"), "{scopes}: {seen:?}");
    }
    for scopes in [json!(["read", "admin"]), json!("read admin")] {
        assert_eq!(rig.get("/scoped", &token("7", &json!({"scope": scopes}))).status, 200, "{scopes}");
    }
}

#[test]
fn names_kept_for_a_partners_users_are_nobodys_else() {
    let partner = Partner::new();
    let upstream = Upstream::start(|conversation| {
        while let Some(request) = conversation.request() {
            let name = if request.contains("partner") { "partner:7" } else { "Partner:7" };
            let body = format!(r#"{{"user":{{"id":"{name}"}}}}"#);
            let length = body.len();
            conversation
                .say(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"));
        }
    });
    let sharing = "[[issuers]]\nissuer = \"https://idp.example\"\naudiences = [\"api\"]\nalgorithms = [\"HS256\"]\ntypes = []";
    let file = partner.accepted(PREFIXED);
    let jwks = file.lines().find(|line| line.starts_with("jwks_file")).unwrap();
    let legacy = format!(
        "[[legacy]]\nname = \"old-api\"\nalgorithm = \"HS256\"\nsecret = \"{}\"\naccepted_until = 2099-12-31\n",
        old_api::SECRET
    );
    let settings = format!("{file}{sharing}\n{jwks}\nshares_subjects = true\n{legacy}");
    let rig = Rig::start_from(upstream.address, &settings, |_| {});
    let refused = rig.post("/login", r#"{"email":"partner"}"#);
    assert_eq!((refused.status, refused.body.as_str()), (200, r#"{"user":{"id":"partner:7"}}"#), "as the API said it");
    assert!(rig.post("/login", r#"{"email":"other"}"#).body.contains("accessToken"));
    let sharing = |name: &str| rig.get("/api", &token(name, &json!({"iss": "https://idp.example"})));
    assert_eq!((sharing("7").status, sharing("partner:7").code().as_str()), (200, "token_invalid"));
    let old = |name: &str| {
        let claims = json!({"id": name, "iat": now(), "exp": now() + 3600});
        rig.get("/api", &signed(old_api::SECRET, &json!({"alg": "HS256"}), &claims))
    };
    assert_eq!((old("7").status, old("partner:7").code().as_str()), (200, "token_invalid"));
    assert_eq!(rig.get("/api", &token("7", &json!({}))).status, 200);
}

#[test]
fn a_partners_token_issued_ahead_of_our_clock_ends_with_all_of_its_subject() {
    let partner = Partner::new();
    let rig = Rig::start_from(Upstream::echo().address, &partner.accepted(PREFIXED), |_| {});
    for ahead in [0, 1, 30, 55] {
        let user = format!("user-{ahead}");
        let theirs = token(&user, &json!({"iat": now() + ahead}));
        assert_eq!(rig.get("/api", &theirs).status, 200, "{ahead}");
        assert_eq!(authorized(&rig, "POST", "/logout", &theirs, r#"{"scope":"all"}"#).status, 200);
        assert_eq!(rig.get("/api", &theirs).code(), "token_revoked", "{ahead}");
    }
    rig.clock.advance(Duration::from_secs(61));
    let later = token("user-30", &json!({"iat": now() + 62}));
    eventually("the revocations are confirmed after the jump", || rig.get("/api", &later).status == 200);
    let theirs = token("user-30", &json!({"iat": now()}));
    assert_eq!(rig.get("/api", &theirs).code(), "token_revoked", "and no minute brings it back");
}

#[test]
fn a_login_of_ours_right_after_all_was_ended_works_at_once() {
    let rig = Rig::start(Upstream::echo().address);
    for _ in 0..5 {
        let tokens = rig.log_in();
        assert_eq!(authorized(&rig, "POST", "/logout", &tokens.access, r#"{"scope":"all"}"#).status, 200);
        assert_eq!(rig.get("/api", &tokens.access).status, 401);
        let again = rig.log_in();
        assert_eq!(rig.get("/api", &again.access).status, 200);
    }
}
