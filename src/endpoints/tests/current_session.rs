use http::Method;

use super::{Gate, json, text};
use crate::domain::claims::{Denial, Principal};
use crate::domain::route::OwnEndpoint;
use crate::domain::time::Timestamp;

const ON: &str = "cookies = { enabled = true }";

async fn ask(gate: &Gate, caller: Result<Principal, Denial>) -> crate::proxy::reply::Reply {
    gate.call_as(caller, Method::GET, OwnEndpoint::CurrentSession, &[], "").await
}

#[tokio::test]
async fn a_page_learns_what_its_token_says_and_no_token() {
    let gate = Gate::new(ON);
    let pair = gate.world.log_in("42").await;
    let mut principal = gate.world.principal("42", &pair);
    principal.scopes = vec!["read".to_owned()];
    principal.claims.insert("role".to_owned(), "admin".into());
    principal.logged_in_at = Some(Timestamp::from_secs(1_700_000_000));
    principal.expires_at = Timestamp::from_secs(1_700_000_900);
    let (calls, session) = (gate.world.store.calls(), principal.session.unwrap().to_string());
    let reply = ask(&gate, Ok(principal)).await;
    assert_eq!((reply.status().as_u16(), &reply.headers()["cache-control"]), (200, &"no-store".parse().unwrap()));
    let answer = serde_json::json!({
        "subject": "42",
        "session": session,
        "scopes": ["read"],
        "claims": {"role": "admin"},
        "loggedInAt": "2023-11-14T22:13:20Z",
        "expiresAt": "2023-11-14T22:28:20Z",
    });
    assert_eq!(json(&reply), answer);
    assert_eq!(gate.world.store.calls(), calls, "told from memory");
}

#[tokio::test]
async fn whoever_has_no_session_is_told_why() {
    let gate = Gate::new(ON);
    for (denial, status, code) in [
        (Denial::NoToken, 401, "token_missing"),
        (Denial::Expired, 401, "token_expired"),
        (Denial::RevocationsStale, 503, "revocations_stale"),
    ] {
        let reply = ask(&gate, Err(denial)).await;
        assert_eq!((reply.status().as_u16(), text(&json(&reply), "code")), (status, code));
    }
}
