use http::Method;

use super::{FORM, Fields, Gate, JSON, cookies_of, field, granted, json, text};
use crate::domain::claims::Denial;
use crate::domain::route::OwnEndpoint;
use crate::proxy::reply::Reply;
use crate::sessions::tests::Fault;

const ON: &str = "cookies = { enabled = true }";
const OWN_ORIGIN: (&str, &str) = ("origin", "https://api.example.com");
const EVIL_ORIGIN: (&str, &str) = ("origin", "https://evil.example");

/// Logs in and returns the `Cookie` field that a browser would send.
async fn log_in(gate: &Gate) -> String {
    let reply = gate.log_in(&[OWN_ORIGIN], "{}", granted()).await;
    assert_eq!(reply.status(), 200);
    sent_back(&reply)
}

fn sent_back(reply: &Reply) -> String {
    cookies_of(reply).into_iter().map(|(pair, _)| pair).collect::<Vec<_>>().join("; ")
}

fn clears(reply: &Reply) -> bool {
    let cookies = cookies_of(reply);
    assert!(cookies.is_empty() || cookies.len() == 2);
    cookies.iter().any(|(pair, rest)| pair.ends_with('=') && rest.contains("Max-Age=0"))
}

async fn refresh(gate: &Gate, fields: Fields<'_>) -> Reply {
    gate.post(OwnEndpoint::Refresh, fields, "").await
}

#[tokio::test]
async fn a_login_sets_both_cookies_and_keeps_the_tokens_out_of_the_body() {
    let gate = Gate::new(ON);
    let reply = gate.log_in(&[OWN_ORIGIN], "{}", granted()).await;
    let [(access, access_rest), (refresh, refresh_rest)] = cookies_of(&reply).try_into().unwrap();
    assert!(access.starts_with("__Host-access=ey") && refresh.starts_with("__Host-refresh=tgr_"));
    assert_eq!(access_rest, "Path=/; Max-Age=900; HttpOnly; SameSite=Lax; Secure");
    assert_eq!(refresh_rest, "Path=/; Max-Age=604800; HttpOnly; SameSite=Lax; Secure");
    let value = json(&reply);
    assert!(value.get("accessToken").is_none() && value.get("refreshToken").is_none());
    assert_eq!((&value["expiresIn"], &value["generation"]), (&900.into(), &1.into()));
}

#[tokio::test]
async fn the_body_may_carry_the_tokens_as_well() {
    let gate = Gate::new("cookies = { enabled = true, tokens_in_body = true }");
    let reply = gate.log_in(&[OWN_ORIGIN], "{}", granted()).await;
    assert_eq!(cookies_of(&reply).len(), 2);
    assert!(json(&reply)["refreshToken"].is_string());
}

#[tokio::test]
async fn a_refresh_by_cookie_sets_the_next_ones() {
    let gate = Gate::new(ON);
    let cookie = log_in(&gate).await;
    let reply = refresh(&gate, &[("cookie", &cookie), OWN_ORIGIN]).await;
    assert_eq!((reply.status().as_u16(), field(&reply, "cache-control")), (200, "no-store"));
    assert!(sent_back(&reply).contains("__Host-refresh=tgr_") && json(&reply).get("refreshToken").is_none());
    let by_field = refresh(&gate, &[("cookie", &sent_back(&reply)), ("x-csrf", "1")]).await;
    assert_eq!(by_field.status(), 200);
}

#[tokio::test]
async fn a_token_from_the_body_is_answered_in_the_body() {
    let gate = Gate::new(ON);
    let cookie = log_in(&gate).await;
    let token = cookie.split("__Host-refresh=").nth(1).unwrap();
    let body = format!(r#"{{"refreshToken":"{token}"}}"#);
    let reply = gate.post(OwnEndpoint::Refresh, &[JSON], &body).await;
    assert!(text(&json(&reply), "refreshToken").starts_with("tgr_") && cookies_of(&reply).is_empty());
    let both = gate.post(OwnEndpoint::Refresh, &[JSON, ("cookie", &cookie), OWN_ORIGIN], &body).await;
    assert_eq!(both.status(), 400, "two tokens in two places");
}

#[tokio::test]
async fn another_site_can_neither_refresh_nor_log_out_nor_log_in() {
    let gate = Gate::new(ON);
    let cookie = log_in(&gate).await;
    let calls = gate.world.store.calls();
    for fields in [vec![("cookie", cookie.as_str()), EVIL_ORIGIN], vec![("cookie", cookie.as_str())]] {
        for endpoint in [OwnEndpoint::Refresh, OwnEndpoint::Logout] {
            let reply = gate.post(endpoint, &fields, "").await;
            assert_eq!((reply.status().as_u16(), text(&json(&reply), "code")), (403, "origin_refused"));
            assert!(cookies_of(&reply).is_empty());
        }
    }
    assert_eq!(gate.log_in(&[EVIL_ORIGIN], "{}", granted()).await.status(), 403);
    for endpoint in [OwnEndpoint::Refresh, OwnEndpoint::Logout] {
        let reply = gate.post(endpoint, &[EVIL_ORIGIN], "").await;
        assert!(cookies_of(&reply).is_empty(), "nor take the cookies away by a call that carries none");
    }
    assert_eq!(gate.world.store.calls(), calls);
    let principal = gate.world.principal("42", &gate.world.log_in("42").await);
    for (endpoint, method) in
        [(OwnEndpoint::Logout, Method::POST), (OwnEndpoint::Session(principal.session.unwrap()), Method::DELETE)]
    {
        let reply = gate.call_as(Err(Denial::OriginRefused), method, endpoint, &[EVIL_ORIGIN], "").await;
        assert_eq!(reply.status(), 403, "an access cookie is sent by the browser too");
    }
}

#[tokio::test]
async fn cookies_are_taken_away_at_logout_and_at_a_definite_refusal_and_never_for_trouble_of_ours() {
    let gate = Gate::new(&format!("{ON}\nlimits.refresh.per_account = '4/1m'"));
    let cookie = log_in(&gate).await;
    let fields: Fields<'_> = &[("cookie", &cookie), OWN_ORIGIN];
    gate.world.store.fail(Fault::Refuses);
    let trouble = refresh(&gate, fields).await;
    assert!(trouble.status() == 503 && !clears(&trouble));
    gate.world.store.fail(None);
    let reply = gate.post(OwnEndpoint::Logout, fields, "").await;
    assert!(reply.status() == 200 && clears(&reply));
    let refused = refresh(&gate, fields).await;
    assert!(refused.status() == 401 && clears(&refused));
    refresh(&gate, fields).await;
    refresh(&gate, fields).await;
    let limited = refresh(&gate, fields).await;
    assert!(limited.status() == 429 && !clears(&limited));
    let none = refresh(&gate, &[OWN_ORIGIN]).await;
    assert_eq!((none.status().as_u16(), text(&json(&none), "code")), (401, "refresh_token_missing"));
}

#[tokio::test]
async fn logging_out_the_others_keeps_the_own_cookies() {
    let gate = Gate::new(ON);
    let cookie = log_in(&gate).await;
    let reply = gate.post(OwnEndpoint::Logout, &[JSON, ("cookie", &cookie), OWN_ORIGIN], r#"{"scope":"others"}"#).await;
    assert!(reply.status() == 200 && !clears(&reply));
}

#[tokio::test]
async fn a_token_that_no_browser_would_keep_is_not_set() {
    let gate = Gate::new(&format!("{ON}\nlogin.claims = {{ big = '/big' }}"));
    let body = format!(r#"{{"user":{{"id":"a"}},"big":"{}"}}"#, "x".repeat(4000));
    let upstream = http::Response::builder().header("content-type", "application/json").body(body.as_str()).unwrap();
    let reply = gate.log_in(&[OWN_ORIGIN], "{}", upstream).await;
    assert_eq!((reply.status().as_u16(), text(&json(&reply), "code")), (502, "token_too_large"));
    assert!(cookies_of(&reply).is_empty());
    assert_eq!(gate.world.store.calls(), 0, "no session is left behind");
}

#[tokio::test]
async fn whatever_browsers_keep_is_set() {
    let gate = Gate::new(&format!("{ON}\nlogin.claims = {{ big = '/big' }}\nlimits.login.per_address = ''"));
    let mut largest = 0;
    for size in 2700..2900 {
        let body = format!(r#"{{"user":{{"id":"a"}},"big":"{}"}}"#, "x".repeat(size));
        let upstream = http::Response::builder().header("content-type", "application/json").body(body.as_str()).unwrap();
        let reply = gate.log_in(&[OWN_ORIGIN], "{}", upstream).await;
        assert!(matches!(reply.status().as_u16(), 200 | 502));
        largest = cookies_of(&reply).iter().map(|(pair, _)| pair.len() - 1).chain([largest]).max().unwrap();
    }
    assert!((4093..=4096).contains(&largest), "name and value, which is what browsers count: {largest}");
}

#[tokio::test]
async fn a_page_that_may_share_credentials_is_believed() {
    let cors = "cors = { allowed_origins = ['https://app.example.com'], allow_credentials = true }";
    let gate = Gate::new(&format!("{ON}\n{cors}"));
    let cookie = log_in(&gate).await;
    let status = async |origin| refresh(&gate, &[("cookie", &cookie), ("origin", origin)]).await.status().as_u16();
    assert_eq!((status("https://evil.example").await, status("https://app.example.com").await), (403, 200));
}

#[tokio::test]
async fn a_logout_by_a_form_leads_to_a_page_and_one_by_a_script_does_not() {
    let gate = Gate::new("cookies = { enabled = true, signed_out = '/bye?x=1', clear_site_data = ['cache', 'storage'] }");
    let navigation = ("sec-fetch-mode", "navigate");
    let cookie = log_in(&gate).await;
    let form = gate.post(OwnEndpoint::Logout, &[("cookie", &cookie), OWN_ORIGIN, navigation, FORM], "_csrf=x").await;
    assert_eq!((form.status().as_u16(), field(&form, "location"), field(&form, "cache-control")), (303, "/bye?x=1", "no-store"));
    assert!(clears(&form) && field(&form, "clear-site-data") == "\"cache\", \"storage\"");
    let again = gate.post(OwnEndpoint::Logout, &[OWN_ORIGIN, navigation], "").await;
    assert_eq!(again.status(), 303, "whoever is logged out already gets there too");
    let cookie = log_in(&gate).await;
    let script = gate.post(OwnEndpoint::Logout, &[("cookie", &cookie), OWN_ORIGIN, ("sec-fetch-mode", "cors")], "").await;
    assert!(script.status() == 200 && json(&script)["ended"] == 1 && clears(&script));
    assert_eq!(field(&script, "clear-site-data"), "\"cache\", \"storage\"");
    let foreign = gate.post(OwnEndpoint::Logout, &[EVIL_ORIGIN, navigation], "").await;
    assert!(!foreign.headers().contains_key("clear-site-data"), "another site clears nothing");
    let cookie = log_in(&gate).await;
    let others = [("cookie", cookie.as_str()), OWN_ORIGIN, navigation, FORM];
    let others = gate.post(OwnEndpoint::Logout, &others, "scope=others").await;
    assert!(!clears(&others) && !others.headers().contains_key("clear-site-data"));
    gate.world.store.fail(Fault::Refuses);
    let trouble = gate.post(OwnEndpoint::Logout, &[("cookie", &cookie), OWN_ORIGIN, navigation], "").await;
    assert!(trouble.status() == 503 && !clears(&trouble), "nobody is told to have logged out who has not");
}
