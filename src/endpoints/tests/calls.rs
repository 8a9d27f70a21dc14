use std::io;
use std::sync::{Arc, Mutex};

use http::Method;

use super::{FORM, Gate, JSON, field, json, text};
use crate::domain::claims::{Denial, RevokedBy};
use crate::domain::ids::{Partition, SessionId};
use crate::domain::route::OwnEndpoint;
use crate::domain::stats::Counter;
use crate::sessions::tests::{Fault, refresh_token};

fn refresh_json(token: &str) -> String {
    format!(r#"{{"refreshToken":"{token}"}}"#)
}

fn refresh_form(token: &str) -> String {
    format!("grant_type=refresh_token&refresh_token={token}")
}

#[tokio::test]
async fn a_refresh_answers_in_the_dialect_of_the_request() {
    let gate = Gate::new("login.scopes = ['/user/name']");
    let first = gate.log_in_granted().await;
    let first = text(&first, "refreshToken");
    for body in [refresh_json(first), format!(r#"{{"refresh_token":"{first}","more":[]}}"#)] {
        let reply = gate.post(OwnEndpoint::Refresh, &[JSON], &body).await;
        assert_eq!((reply.status().as_u16(), field(&reply, "cache-control")), (200, "no-store"));
        let value = json(&reply);
        assert!(value["accessToken"].is_string() && value["refreshToken"].is_string());
        assert_eq!((&value["expiresIn"], &value["generation"]), (&900.into(), &2.into()));
    }
    let reply = gate
        .post(OwnEndpoint::Refresh, &[("content-type", "Application/X-WWW-Form-Urlencoded; charset=utf-8")], &refresh_form(first))
        .await;
    let value = json(&reply);
    assert!(value["access_token"].is_string() && value["refresh_token"].is_string());
    assert_eq!((&value["token_type"], &value["expires_in"], &value["scope"]), (&"Bearer".into(), &900.into(), &"Ada".into()));
    assert_eq!(reply.headers()["cache-control"], "no-store");
}

#[tokio::test]
async fn a_form_gets_the_answers_of_rfc_6749() {
    let gate = Gate::new("login.scopes = ['/user/name']");
    let first = gate.log_in_granted().await;
    let form = refresh_form(text(&first, "refreshToken"));
    let headers = |reply: &crate::proxy::reply::Reply| {
        ["content-type", "cache-control", "pragma"].map(|name| field(reply, name).to_owned())
    };
    let good = gate.post(OwnEndpoint::Refresh, &[FORM], &form).await;
    assert_eq!((good.status().as_u16(), headers(&good)), (200, ["application/json", "no-store", "no-cache"].map(str::to_owned)));
    assert_eq!(text(&json(&good), "token_type"), "Bearer");
    for (body, error) in [
        ("grant_type=refresh_token&refresh_token=garbage", "invalid_grant"),
        ("grant_type=refresh_token", "invalid_request"),
        ("refresh_token=x", "invalid_request"),
        ("grant_type=refresh_token&refresh_token=&refresh_token=x", "invalid_request"),
        ("grant_type=password&username=a", "unsupported_grant_type"),
        (&format!("{form}&scope=Ada+root"), "invalid_scope"),
    ] {
        let reply = gate.post(OwnEndpoint::Refresh, &[FORM], body).await;
        assert_eq!((reply.status().as_u16(), text(&json(&reply), "error")), (400, error), "{body}");
        assert_eq!(headers(&reply), ["application/json", "no-store", "no-cache"].map(str::to_owned), "{body}");
        let is_plain = |byte: u8| matches!(byte, b' '..=b'!' | b'#'..=b'[' | b']'..=b'~');
        assert!(text(&json(&reply), "error_description").bytes().all(is_plain), "{body}");
    }
    let in_part = gate.post(OwnEndpoint::Refresh, &[FORM], &format!("{form}&scope=Ada&client_id=web&unknown=1")).await;
    assert_eq!((in_part.status().as_u16(), text(&json(&in_part), "scope")), (200, "Ada"));
    gate.world.store.fail(Fault::Refuses);
    let fault = gate.post(OwnEndpoint::Refresh, &[FORM], &form).await;
    assert_eq!((fault.status().as_u16(), text(&json(&fault), "error")), (503, "temporarily_unavailable"));
    assert_eq!(field(&fault, "retry-after"), "1");
}

#[tokio::test]
async fn a_refused_token_is_401_in_json_and_400_in_a_form_whatever_the_cause() {
    let gate = Gate::new("");
    let pair = gate.world.log_in("ada").await;
    let token = refresh_token(&pair);
    gate.world.node.sessions.end(&crate::sessions::tests::subject("ada"), pair.session).await.unwrap();
    for token in ["garbage", &token] {
        let reply = gate.post(OwnEndpoint::Refresh, &[JSON], &refresh_json(token)).await;
        assert_eq!(reply.status(), 401);
        assert!(reply.headers().contains_key("www-authenticate"));
        assert_eq!((text(&json(&reply), "code"), text(&json(&reply), "error")), ("refresh_token_invalid", "invalid_grant"));
        let reply = gate.post(OwnEndpoint::Refresh, &[FORM], &refresh_form(token)).await;
        assert_eq!((reply.status().as_u16(), text(&json(&reply), "error")), (400, "invalid_grant"));
    }
}

#[tokio::test]
async fn malformed_refreshes_are_told_so_and_reach_no_store() {
    let gate = Gate::new("");
    let many = format!("grant_type=refresh_token&{}", "a=b&".repeat(100));
    let deep = format!("{{\"refreshToken\":{}", "[".repeat(10_000));
    let cases = [
        (JSON, "", 400, "refresh_token_missing"),
        (JSON, "  ", 400, "refresh_token_missing"),
        (JSON, "{}", 400, "refresh_token_missing"),
        (JSON, r#"{"refreshToken":null}"#, 400, "refresh_token_missing"),
        (JSON, r#"{"refreshToken":""}"#, 400, "refresh_token_missing"),
        (JSON, r#"{"refreshToken":1}"#, 400, "request_malformed"),
        (JSON, r#"{"refreshToken":"a","refreshToken":"a"}"#, 400, "request_malformed"),
        (JSON, r#"{"refreshToken":"a","refresh_token":"a"}"#, 400, "request_malformed"),
        (JSON, r#"["a"]"#, 400, "request_malformed"),
        (JSON, "{", 400, "request_malformed"),
        (JSON, &deep, 400, "request_malformed"),
        (FORM, "grant_type=refresh_token", 400, "refresh_token_missing"),
        (FORM, "refresh_token=a", 400, "request_malformed"),
        (FORM, "grant_type=password&refresh_token=a", 400, "grant_type_unsupported"),
        (FORM, "grant_type=refresh_token&refresh_token=a&refresh_token=a", 400, "request_malformed"),
        (FORM, "grant_type=refresh_token&refresh_token=a&x=1&x=2", 400, "request_malformed"),
        (FORM, &many, 400, "request_malformed"),
        (("content-type", "text/plain"), "a", 415, "media_type_unsupported"),
        (("x-other", ""), "a", 415, "media_type_unsupported"),
    ];
    for (field, body, status, code) in cases {
        let reply = gate.post(OwnEndpoint::Refresh, &[field], body).await;
        assert_eq!((reply.status().as_u16(), text(&json(&reply), "code")), (status, code), "{body}");
        assert!(json(&reply)["error"].is_string());
    }
    assert_eq!(gate.post(OwnEndpoint::Refresh, &[JSON, FORM], "{}").await.status(), 415, "two content types");
    assert_eq!(gate.world.store.calls(), 0);
}

#[tokio::test]
async fn a_store_in_trouble_is_503_with_a_time_to_try_again() {
    let gate = Gate::new("");
    let token = refresh_token(&gate.world.log_in("ada").await);
    gate.world.store.fail(Fault::Refuses);
    for endpoint in [OwnEndpoint::Refresh, OwnEndpoint::Logout] {
        let reply = gate.post(endpoint, &[JSON], &refresh_json(&token)).await;
        assert_eq!((reply.status().as_u16(), text(&json(&reply), "code")), (503, "store_unavailable"));
        assert_eq!(reply.headers()["retry-after"], "1");
    }
    gate.world.store.fail(None);
    assert_eq!(gate.post(OwnEndpoint::Refresh, &[JSON], &refresh_json(&token)).await.status(), 200);
    assert_eq!(gate.world.count(Counter::StoreErrors), 2);
}

#[tokio::test]
async fn refreshes_are_limited_by_session_and_by_address_and_nobody_is_logged_out() {
    let gate = Gate::new("limits.refresh = { per_address = '6/1m', per_account = '2/1m' }");
    let (one, two) = (refresh_token(&gate.world.log_in("ada").await), refresh_token(&gate.world.log_in("ada").await));
    let refresh = async |token: &str| gate.post(OwnEndpoint::Refresh, &[JSON], &refresh_json(token)).await.status().as_u16();
    assert_eq!([refresh(&one).await, refresh(&one).await, refresh(&one).await], [200, 200, 429]);
    assert_eq!(
        [refresh(&two).await, refresh("garbage").await, refresh("garbage").await, refresh(&two).await],
        [200, 401, 401, 429]
    );
    gate.world.clock.advance(std::time::Duration::from_secs(3600));
    assert_eq!([refresh(&one).await, refresh(&two).await], [200, 200]);
}

#[tokio::test]
async fn a_logout_is_idempotent_and_tells_how_many_ended() {
    let gate = Gate::new("");
    let log_out = async |field, body: &str| {
        let reply = gate.post(OwnEndpoint::Logout, &[field], body).await;
        assert_eq!(reply.status(), 200, "{body}");
        json(&reply)["ended"].as_u64().unwrap()
    };
    let token = async || refresh_token(&gate.world.log_in("ada").await);
    let json_token = token().await;
    assert_eq!(log_out(JSON, &refresh_json(&json_token)).await, 1);
    assert_eq!(log_out(JSON, &refresh_json(&json_token)).await, 0);
    assert_eq!(log_out(FORM, &format!("refresh_token={}", token().await)).await, 1);
    assert_eq!(log_out(JSON, &refresh_json("garbage")).await, 0);
    assert_eq!(log_out(JSON, "").await, 0, "nothing to end is ended");
    let (_, all) = (token().await, token().await);
    assert_eq!(log_out(JSON, &format!(r#"{{"refreshToken":"{all}","scope":"all"}}"#)).await, 2);
    let bad = gate.post(OwnEndpoint::Logout, &[JSON], r#"{"scope":"everything"}"#).await;
    assert_eq!(bad.status(), 400);
}

#[tokio::test]
async fn a_valid_access_token_logs_out_and_an_unusable_one_does_nothing() {
    let gate = Gate::new("");
    let pair = gate.world.log_in("ada").await;
    let bearer = ("authorization", "Bearer x");
    let log_out = async |caller| gate.call_as(caller, Method::POST, OwnEndpoint::Logout, &[bearer], "").await;
    for denial in [Denial::Expired, Denial::Invalid("signature"), Denial::Revoked(RevokedBy::Session), Denial::NoToken] {
        let reply = log_out(Err(denial)).await;
        assert_eq!((reply.status().as_u16(), &json(&reply)["ended"]), (200, &0.into()));
    }
    let principal = gate.world.principal("ada", &pair);
    let reply = log_out(Ok(principal.clone())).await;
    assert_eq!((reply.status().as_u16(), &json(&reply)["ended"]), (200, &1.into()));
    assert!(gate.world.node.replica.covers(&principal).is_some(), "refused from this instant");
    assert_eq!(log_out(Err(Denial::Ambiguous("two"))).await.status(), 400);
    assert_eq!(log_out(Err(Denial::RevocationsStale)).await.status(), 503, "it may be valid: nothing was recorded");
}

#[tokio::test]
async fn a_caller_sees_and_ends_its_own_sessions() {
    let gate = Gate::new("");
    let (here, there) = (gate.world.log_in("ada").await, gate.world.log_in("ada").await);
    let eve = gate.world.log_in("eve").await;
    let ada = gate.world.principal("ada", &here);
    let call =
        async |method, endpoint| gate.call_as(Ok(ada.clone()), method, endpoint, &[("authorization", "Bearer x")], "").await;
    let list = json(&call(Method::GET, OwnEndpoint::Sessions).await);
    let entries = list["sessions"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    let own = entries.iter().find(|entry| entry["current"] == true).unwrap();
    assert_eq!((text(own, "id"), text(own, "createdAt")), (here.session.to_string().as_str(), "2026-09-21T14:13:20Z"));
    assert_eq!((text(own, "address"), text(own, "userAgent")), ("192.0.2.1", "test"));

    let end = async |id| call(Method::DELETE, OwnEndpoint::Session(id)).await.status().as_u16();
    assert_eq!([end(there.session).await, end(there.session).await, end(eve.session).await], [204, 404, 404]);
    assert_eq!(end(SessionId::new(Partition(60_000), gate.world.now(), [0; 8])).await, 404);
    assert!(gate.world.record(eve.session).await.is_some());

    let stranger = gate.call(Method::GET, OwnEndpoint::Sessions, &[], "").await;
    assert_eq!((stranger.status().as_u16(), field(&stranger, "www-authenticate")), (401, "Bearer"));
    gate.world.store.fail(Fault::Refuses);
    assert_eq!(call(Method::GET, OwnEndpoint::Sessions).await.status(), 503);
}

#[tokio::test]
async fn the_key_set_may_be_kept_for_a_while() {
    let reply = Gate::new("").call(Method::GET, OwnEndpoint::Jwks, &[], "").await;
    assert_eq!(reply.status(), 200);
    assert!(json(&reply)["keys"].is_array());
    assert_eq!(reply.headers()["cache-control"], "public, max-age=300");
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let gate = Gate::new("");
    let ready = async || {
        let reply = gate.call(Method::GET, OwnEndpoint::Ready, &[], "").await;
        let value = json(&reply);
        let dependencies = value["dependencies"].as_array().unwrap();
        let missing: Vec<String> =
            dependencies.iter().filter(|d| d["ready"] == false).map(|d| text(d, "name").to_owned()).collect();
        assert_eq!(reply.status() == 200, missing.is_empty());
        missing
    };
    assert_eq!(ready().await, [""; 0]);
    gate.world.store.fail(Fault::Refuses);
    assert_eq!(ready().await, [""; 0], "the response of a moment ago");
    gate.world.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(ready().await, ["store"]);
    gate.world.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(ready().await, ["store", "revocations"]);
    gate.health.drain();
    assert_eq!(ready().await, ["store", "revocations", "serving"]);
    assert_eq!(gate.call(Method::GET, OwnEndpoint::Health, &[], "").await.status(), 200, "alive all the same");
}

#[tokio::test]
async fn a_panic_is_a_500_on_that_request_alone() {
    let gate = Gate::new("");
    let token = refresh_token(&gate.world.log_in("ada").await);
    gate.world.store.fail(Fault::Panics);
    let reply = gate.post(OwnEndpoint::Refresh, &[JSON], &refresh_json(&token)).await;
    assert_eq!((reply.status().as_u16(), text(&json(&reply), "code")), (500, "internal_error"));
    assert_eq!(gate.log_in(&[], "{}", super::granted()).await.status(), 500);
    gate.world.store.fail(None);
    assert_eq!(gate.post(OwnEndpoint::Refresh, &[JSON], &refresh_json(&token)).await.status(), 200);
    assert_eq!(gate.world.count(Counter::Panics), 2);
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_token_reaches_the_log_and_the_audit_names_what_happened() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let gate = Gate::new("");
    let login = gate.log_in_granted().await;
    let first = text(&login, "refreshToken");
    let reply = json(&gate.post(OwnEndpoint::Refresh, &[JSON], &refresh_json(first)).await);
    let second = text(&reply, "refreshToken");
    let id = gate.world.node.sessions.session_of(second).unwrap();
    gate.world.acknowledge(id, crate::domain::ids::Generation(2)).await;
    gate.world.clock.advance(std::time::Duration::from_secs(60));
    gate.post(OwnEndpoint::Refresh, &[JSON], &refresh_json(first)).await;
    gate.post(OwnEndpoint::Refresh, &[JSON], &refresh_json("tgr_garbage")).await;
    gate.post(OwnEndpoint::Refresh, &[FORM], "refresh_token=tgr_garbage").await;
    let other = gate.log_in_granted().await;
    gate.world.store.fail(Fault::Refuses);
    gate.post(OwnEndpoint::Logout, &[JSON], &refresh_json(text(&other, "refreshToken"))).await;
    gate.world.store.fail(None);
    gate.post(OwnEndpoint::Logout, &[JSON], &refresh_json(text(&other, "refreshToken"))).await;
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for event in ["session_issued", "refresh_token_reused", "logout"] {
        assert!(log.contains(event), "{log}");
    }
    for secret in ["tgr_", "eyJ", text(&login, "accessToken"), second] {
        assert!(!log.contains(secret), "{log}");
    }
}
