use http::Response;

use super::{Fields, GRANTED, Gate, JSON, cookies_of, field, granted, json, text};
use crate::domain::ids::SessionId;
use crate::domain::route::OwnEndpoint;
use crate::domain::stats::Counter;
use crate::proxy::reply::Reply;
use crate::sessions::tests::{Fault, subject};

async fn session_of(gate: &Gate, reply: &Reply) -> crate::domain::session::Session {
    let id: SessionId = gate.world.node.sessions.session_of(text(&json(reply), "refreshToken")).unwrap();
    gate.world.record(id).await.unwrap()
}

#[tokio::test]
async fn the_pair_is_merged_into_the_upstreams_response_and_all_else_stays() {
    let gate = Gate::new("");
    let upstream = Response::builder()
        .status(201)
        .header("content-type", "application/json")
        .header("content-length", GRANTED.len())
        .header("etag", "\"1\"")
        .header("cache-control", "public")
        .header("x-own", "kept")
        .header("set-cookie", "upstream=1")
        .body(GRANTED)
        .unwrap();
    let reply = gate.log_in(&[], "{}", upstream).await;
    assert_eq!(reply.status(), 201);
    let body = std::str::from_utf8(reply.body()).unwrap();
    assert!(body.starts_with(&format!("{},\"accessToken\":\"", &GRANTED[..GRANTED.len() - 1])), "{body}");
    let value = json(&reply);
    assert!(text(&value, "refreshToken").starts_with("tgr_"));
    assert_eq!((text(&value, "tokenType"), &value["expiresIn"], &value["generation"]), ("Bearer", &900.into(), &1.into()));
    assert!(value.get("token").is_none());
    let headers = reply.headers();
    assert_eq!((field(&reply, "cache-control"), field(&reply, "x-own")), ("no-store", "kept"));
    assert!(!headers.contains_key("etag") && !headers.contains_key("content-length"));
    assert_eq!(cookies_of(&reply), [("upstream=1".into(), String::new())]);
    assert_eq!(session_of(&gate, &reply).await.subject, subject("42"), "an integer counts in digits");
}

#[tokio::test]
async fn members_have_the_names_that_the_operator_gave_them() {
    let gate =
        Gate::new("login.members = { access_token = 'access_token', token = 'token', refresh_token = 'r', generation = '' }");
    let upstream =
        Response::builder().header("content-type", "application/json").body(r#"{"token":"old","user":{"id":"a"}}"#).unwrap();
    let value = json(&gate.log_in(&[], "{}", upstream).await);
    assert_eq!(value["token"], value["access_token"]);
    assert!(value.get("generation").is_none());
    let refreshed = gate.post(OwnEndpoint::Refresh, &[JSON], &format!(r#"{{"r":"{}"}}"#, text(&value, "r"))).await;
    assert_eq!(refreshed.status(), 200);
    assert!(json(&refreshed).get("token").is_some());
}

#[tokio::test]
async fn the_pair_stands_under_other_names_beside_ours_and_the_user_stays_as_it_was() {
    let members = "login.members = { access_token = ['accessToken', '/data/tokens/access'], token = 'token', \
                   refresh_token = ['refreshToken', '/data/tokens/refresh'], expires_in = ['expiresIn', 'expires_in'] }";
    let gate = Gate::new(members);
    let response = r#"{"token":"old","user":{"id": 7,"quota":0.10000000000000000000001,"tags":[1.0]},"data":{"plan":12345678901234567890123}}"#;
    let upstream = Response::builder().header("content-type", "application/json").body(response).unwrap();
    let reply = gate.log_in(&[], "{}", upstream).await;
    let body = std::str::from_utf8(reply.body()).unwrap();
    assert!(body.contains(r#""user":{"id": 7,"quota":0.10000000000000000000001,"tags":[1.0]}"#), "byte for byte: {body}");
    assert!(body.contains(r#""plan":12345678901234567890123"#));
    let object = |body: &[u8]| -> std::collections::HashMap<String, Box<serde_json::value::RawValue>> {
        serde_json::from_slice(body).unwrap()
    };
    let members = object(reply.body());
    let tokens: serde_json::Value = serde_json::from_str(object(members["data"].get().as_bytes())["tokens"].get()).unwrap();
    for name in ["accessToken", "token"] {
        assert_eq!(members[name].get(), tokens["access"].to_string(), "{name}");
    }
    assert_eq!(members["refreshToken"].get(), tokens["refresh"].to_string());
    assert_eq!((members["expiresIn"].get(), members["expires_in"].get()), ("900", "900"));

    let token = tokens["refresh"].as_str().unwrap();
    let refreshed = json(&gate.post(OwnEndpoint::Refresh, &[JSON], &format!(r#"{{"refreshToken":"{token}"}}"#)).await);
    assert_eq!(refreshed["token"], refreshed["data"]["tokens"]["access"], "and so in answers of refresh");
}

#[tokio::test]
async fn what_the_upstream_said_is_not_replaced_on_the_way_to_a_nested_member() {
    let gate = Gate::new("login.members = { access_token = ['accessToken', '/user/tokens/access'] }");
    let response = r#"{"user":{"id":7,"tokens":"none"}}"#;
    let upstream = Response::builder().header("content-type", "application/json").body(response).unwrap();
    let value = json(&gate.log_in(&[], "{}", upstream).await);
    assert!(value["accessToken"].is_string());
    assert_eq!(value["user"]["tokens"], "none");
}

#[tokio::test]
async fn logins_outside_the_share_pass_unchanged_and_the_same_subjects_come_back_in() {
    let gate = |share: u8| Gate::new(&format!("login.issue_share = {share}"));
    let answers: Vec<String> = (0..50).map(|id| format!(r#"{{"token":"old","user":{{"id":"user-{id}"}}}}"#)).collect();
    let issued = async |share| {
        let gate = gate(share);
        let mut issued = Vec::new();
        for response in &answers {
            let upstream = Response::builder()
                .header("content-type", "application/json")
                .header("etag", "1")
                .body(response.as_str())
                .unwrap();
            let reply = gate.log_in(&[], "{}", upstream).await;
            let is_issued = json(&reply).get("accessToken").is_some();
            assert!(is_issued || reply.body() == response.as_bytes() && reply.headers()["etag"] == "1");
            issued.push(is_issued);
        }
        let count = u64::try_from(issued.iter().filter(|issued| **issued).count()).unwrap();
        assert_eq!((gate.world.count(Counter::Logins), gate.world.count(Counter::LoginsNotIssued)), (count, 50 - count));
        issued
    };
    let (none, some, more, all) = (issued(0).await, issued(30).await, issued(60).await, issued(100).await);
    assert!(none.iter().all(|issued| !issued) && all.iter().all(|issued| *issued));
    assert!(some.iter().zip(&more).all(|(small, large)| !small || *large), "nobody falls out while the share grows");
    assert_eq!(some, issued(30).await, "and after it shrank, the same are in");
    assert!(some.contains(&true) && some.contains(&false) && some != more);
}

#[tokio::test]
async fn what_grants_no_session_passes_unchanged_and_mints_nothing() {
    let json_type: Fields<'_> = &[JSON];
    let cases: [(u16, Fields<'_>, &str); 13] = [
        (401, json_type, GRANTED),
        (302, json_type, GRANTED),
        (500, json_type, GRANTED),
        (200, &[("content-type", "text/html")], GRANTED),
        (200, &[], GRANTED),
        (200, &[JSON, ("content-encoding", "gzip")], GRANTED),
        (200, json_type, "[{\"id\":1}]"),
        (200, json_type, "{\"id\":1"),
        (200, json_type, r#"{"user":{"name":"Ada"}}"#),
        (200, json_type, r#"{"user":{"id":null}}"#),
        (200, json_type, r#"{"user":{"id":true}}"#),
        (200, json_type, r#"{"user":{"id":1.5}}"#),
        (200, json_type, r#"{"user":{"id":"a\nb"}}"#),
    ];
    let gate = Gate::new("");
    for (status, fields, body) in cases {
        let mut upstream = Response::builder().status(status).header("etag", "\"1\"");
        for (name, value) in fields {
            upstream = upstream.header(*name, *value);
        }
        let reply = gate.log_in(&[], "{}", upstream.body(body).unwrap()).await;
        assert_eq!((reply.status().as_u16(), reply.body().as_ref()), (status, body.as_bytes()));
        assert_eq!(reply.headers().len(), fields.len() + 1, "{:?}", reply.headers());
    }
    assert_eq!(gate.world.store.calls(), 0);
    assert_eq!(gate.world.count(Counter::LoginsRefused), 13);
}

#[tokio::test]
async fn scopes_and_claims_come_from_where_the_operator_points() {
    let gate = Gate::new("login.scopes = ['/scope', '/user/roles']\nlogin.claims = { role = '/user/role', none = '/user/none' }");
    let body = r#"{"scope":"read write","user":{"id":"a","roles":["admin","read","no good"],"role":{"level":3}}}"#;
    let upstream = Response::builder().header("content-type", "application/vnd.api+json").body(body).unwrap();
    let session = session_of(&gate, &gate.log_in(&[], "{}", upstream).await).await;
    assert_eq!(session.grant.scopes, ["read", "write", "admin"]);
    assert_eq!(serde_json::Value::from(session.grant.claims).to_string(), r#"{"role":{"level":3}}"#);
}

#[tokio::test]
async fn a_login_that_cannot_be_stored_is_a_503_and_gives_no_token() {
    let gate = Gate::new("");
    for (fault, code) in
        [(Fault::Refuses, "store_unavailable"), (Fault::LosesResponses, "store_unavailable"), (Fault::Full, "store_full")]
    {
        gate.world.store.fail(fault);
        let reply = gate.log_in(&[], "{}", granted()).await;
        assert_eq!((reply.status().as_u16(), text(&json(&reply), "code")), (503, code));
        assert!(reply.headers().contains_key("retry-after"));
        assert!(json(&reply).get("accessToken").is_none());
    }
}

#[tokio::test]
async fn an_old_refresh_token_in_the_body_ends_its_session() {
    let gate = Gate::new("");
    let old = gate.log_in_granted().await;
    let body = format!(r#"{{"email":"a","refreshToken":"{}"}}"#, text(&old, "refreshToken"));
    assert_eq!(gate.log_in(&[JSON], &body, granted()).await.status(), 200);
    let refused = gate.post(OwnEndpoint::Refresh, &[JSON], &body).await;
    assert_eq!(refused.status(), 401);
}

#[tokio::test]
async fn what_fits_into_no_token_is_a_502_and_leaves_nothing_behind() {
    let gate = Gate::new("login.scopes = ['/scopes']\nlogin.claims = { groups = '/groups', deep = '/deep' }");
    let log_in = async |grants: String| {
        let body = format!(r#"{{"user":{{"id":"a"}},{grants}}}"#);
        let upstream = Response::builder().header("content-type", "application/json").body(body.as_str()).unwrap();
        gate.log_in(&[], "{}", upstream).await
    };
    let groups = |count: usize| serde_json::to_string(&vec!["6a7e41ff-5f0c-4cf5-9d5b-1b6f1a5a2c1d"; count]).unwrap();
    let scopes = |count: usize| (0..count).map(|number| format!("s{number}")).collect::<Vec<_>>().join(" ");
    let deep = format!("{}1{}", "[".repeat(30), "]".repeat(30));
    for (grants, code) in [
        (format!("\"groups\":{}", groups(480)), "token_too_large"),
        (format!("\"groups\":{}", groups(20_000)), "token_too_large"),
        (format!("\"scopes\":\"{}\"", scopes(257)), "token_too_large"),
        (format!("\"deep\":{deep}"), "token_unusable"),
    ] {
        let reply = log_in(grants).await;
        assert_eq!((reply.status().as_u16(), text(&json(&reply), "code")), (502, code));
    }
    assert_eq!((gate.world.store.calls(), gate.world.count(Counter::Logins)), (0, 0));
    for grants in [
        format!("\"groups\":{}", groups(150)),
        format!("\"scopes\":\"{}\"", scopes(256)),
        format!("\"scopes\":\"{0} {0}\"", scopes(200)),
    ] {
        assert_eq!(log_in(grants).await.status(), 200);
    }
}
