//! Refresh tokens of another maker, in every place where a refresh token may come.

use serde_json::json;

use super::{FORM, Gate, JSON, json, text};
use crate::crypto::imported_token::digest_of;
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::route::OwnEndpoint;
use crate::domain::session::Grant;
use crate::sessions::import::{ForeignToken, Importer};
use crate::sessions::tests::{DAY, policy, subject};

const OLD: &str = "made+by/another service==";

async fn gate(settings: &str) -> Gate {
    let gate = Gate::new(&format!("refresh.imported_until = '2099-01-01'\n{settings}"));
    import(&gate, OLD).await;
    gate
}

async fn import(gate: &Gate, token: &str) {
    let now = gate.world.now();
    let token = ForeignToken {
        digest: digest_of(token).unwrap(),
        subject: subject("ada"),
        grant: Grant::default(),
        created_at: now.saturating_sub(DAY),
        expires_at: now.saturating_add(DAY),
        last_used_at: None,
        revoked: false,
    };
    let importer = Importer::new(gate.world.store.clone(), gate.world.store.clone(), policy(), gate.world.clock.clone());
    assert_eq!(importer.import(&[token]).await.unwrap().imported, 1);
}

#[tokio::test]
async fn an_imported_token_is_taken_in_json_in_a_form_and_from_a_cookie() {
    let gate = gate("cookies = { enabled = true, refresh_name = '__Host-refresh' }").await;
    let from_json = gate.post(OwnEndpoint::Refresh, &[JSON], &json!({"refreshToken": OLD}).to_string()).await;
    let form = form_urlencoded::Serializer::new("grant_type=refresh_token".to_owned()).append_pair("refresh_token", OLD).finish();
    let from_form = gate.post(OwnEndpoint::Refresh, &[FORM], &form).await;
    let successor = text(&json(&from_json), "refreshToken").to_owned();
    assert!(successor.starts_with("tgr_"));
    assert_eq!(text(&json(&from_form), "refresh_token"), successor, "within the leeway: the same");
    let ended = gate.post(OwnEndpoint::Logout, &[JSON], &json!({"refreshToken": OLD}).to_string()).await;
    assert_eq!(json(&ended)["ended"], 1);
    let again = gate.post(OwnEndpoint::Refresh, &[JSON], &json!({"refreshToken": successor}).to_string()).await;
    assert_eq!(again.status(), 401);
}

#[tokio::test]
async fn an_imported_token_may_be_signed_with_the_secret_of_old_access_tokens() {
    let gate = gate("").await;
    let until = gate.world.now().saturating_add(30 * DAY);
    gate.world.accept_legacy_tokens(ExchangeRule::Never, until);
    let signed = gate.world.legacy_token("ada", DAY);
    let body = json!({"refreshToken": signed}).to_string();
    assert_eq!(gate.post(OwnEndpoint::Refresh, &[JSON], &body).await.status(), 401, "not imported, and never exchanged");
    import(&gate, &signed).await;
    assert_eq!(gate.post(OwnEndpoint::Refresh, &[JSON], &body).await.status(), 200);
}

#[tokio::test]
async fn look_ups_are_limited_by_address_wherever_they_are_made() {
    let gate = gate("limits.refresh.imported_per_address = '4/1m'").await;
    let guess = json!({"refreshToken": "a guess"}).to_string();
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(gate.post(OwnEndpoint::Refresh, &[JSON], &guess).await.status().as_u16());
        statuses.push(gate.post(OwnEndpoint::Logout, &[JSON], &guess).await.status().as_u16());
    }
    assert_eq!(statuses, [401, 200, 401, 200]);
    let before = gate.world.store.calls();
    for (endpoint, field, body) in [
        (OwnEndpoint::Refresh, JSON, &*guess),
        (OwnEndpoint::Logout, JSON, &*guess),
        (OwnEndpoint::Revoke, FORM, "token=a+guess"),
    ] {
        assert_eq!(gate.post(endpoint, &[field], body).await.status(), 429, "{endpoint:?}");
    }
    assert_eq!(gate.world.store.calls(), before);
    gate.log_in_granted().await;
}
