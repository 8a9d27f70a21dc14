use http::Method;

use super::{FORM, Fields, Gate, JSON, cookies_of, json, text};
use crate::domain::claims::Denial;
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::route::OwnEndpoint;
use crate::domain::stats::Counter;
use crate::domain::time::Clock as _;
use crate::proxy::reply::Reply;
use crate::sessions::tests::DAY;

const OLD: &str = "[[legacy]]\nname = 'old-api'\nalgorithm = 'HS256'\naccepted_until = 2100-01-01\n\
                   secret = 'the secret of the API, long enough to be one'\n";

fn gate_with(settings: &str, exchange: ExchangeRule) -> Gate {
    let gate = Gate::new(&format!("{settings}\n{OLD}"));
    gate.world.accept_legacy_tokens(exchange, gate.world.now().saturating_add(30 * DAY));
    gate
}

fn gate() -> Gate {
    gate_with("", ExchangeRule::Once)
}

async fn refresh(gate: &Gate, fields: Fields<'_>, body: &str) -> Reply {
    gate.post(OwnEndpoint::Refresh, fields, body).await
}

#[tokio::test]
async fn a_legacy_token_is_exchanged_in_the_place_of_a_refresh_token() {
    let gate = gate();
    let token = gate.world.legacy_token("ada", DAY);
    for name in ["refreshToken", "token", "refresh_token"] {
        let reply = refresh(&gate, &[JSON], &format!(r#"{{"{name}":"{token}"}}"#)).await;
        assert_eq!(reply.status(), 200, "{name}");
        let pair = json(&reply);
        assert!(text(&pair, "refreshToken").starts_with("tgr_") && pair["accessToken"].is_string(), "{pair}");
    }
    let reply = refresh(&gate, &[FORM], &format!("grant_type=refresh_token&refresh_token={token}")).await;
    assert_eq!((reply.status().as_u16(), text(&json(&reply), "token_type")), (200, "Bearer"));
    assert_eq!(gate.world.count(Counter::LegacyExchanges), 1, "it was one exchange, and the same pair each time");
}

#[tokio::test]
async fn the_old_name_counts_only_where_there_are_legacy_tokens_and_no_other() {
    let gate = gate();
    let token = gate.world.legacy_token("ada", DAY);
    let pair = json(&refresh(&gate, &[JSON], &format!(r#"{{"token":"{token}"}}"#)).await);
    let both = format!(r#"{{"token":"some old one","refreshToken":"{}"}}"#, text(&pair, "refreshToken"));
    assert_eq!(refresh(&gate, &[JSON], &both).await.status(), 200, "what the refresh token says counts");
    let without = Gate::new("");
    let reply = refresh(&without, &[JSON], &format!(r#"{{"token":"{token}"}}"#)).await;
    assert_eq!((reply.status().as_u16(), text(&json(&reply), "code")), (400, "refresh_token_missing"));
}

#[tokio::test]
async fn what_may_not_be_exchanged_is_refused_like_any_bad_refresh_token() {
    let gate = gate_with("", ExchangeRule::Never);
    let forged = format!("{}x", gate.world.legacy_token("ada", DAY));
    for token in [gate.world.legacy_token("ada", DAY), forged, "a.b.c".to_owned()] {
        let reply = refresh(&gate, &[JSON], &format!(r#"{{"refreshToken":"{token}"}}"#)).await;
        assert_eq!((reply.status().as_u16(), text(&json(&reply), "error")), (401, "invalid_grant"));
        let reply = refresh(&gate, &[FORM], &format!("grant_type=refresh_token&refresh_token={token}")).await;
        assert_eq!((reply.status().as_u16(), text(&json(&reply), "error")), (400, "invalid_grant"));
    }
    assert_eq!(gate.world.store.calls(), 0, "and costs no store call");
}

#[tokio::test]
async fn exchanges_of_one_token_are_limited_like_refreshes_of_one_session() {
    let gate = gate_with("limits.refresh = { per_address = '', per_account = '2/1m' }", ExchangeRule::Many);
    let token = gate.world.legacy_token("ada", DAY);
    let body = format!(r#"{{"token":"{token}"}}"#);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(refresh(&gate, &[JSON], &body).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn with_cookies_an_exchange_sets_them_as_a_login_does() {
    let gate = gate_with("cookies = { enabled = true }", ExchangeRule::Once);
    let token = gate.world.legacy_token("ada", DAY);
    let body = format!(r#"{{"token":"{token}"}}"#);
    let strange = refresh(&gate, &[JSON, ("origin", "https://evil.example")], &body).await;
    assert_eq!(strange.status(), 403, "no other site logs a browser in");
    let reply = refresh(&gate, &[JSON, ("origin", "https://api.example.com")], &body).await;
    assert_eq!(reply.status(), 200);
    let names: Vec<String> = cookies_of(&reply).iter().map(|(pair, _)| pair.split('=').next().unwrap().to_owned()).collect();
    assert_eq!(names, ["__Host-access", "__Host-refresh"]);
    assert!(json(&reply).get("accessToken").is_none() && json(&reply)["expiresIn"] == 900);
}

#[tokio::test]
async fn a_legacy_token_is_logged_out_by_itself_or_in_the_body() {
    let gate = gate();
    let ended = async |caller, body: &str| {
        let reply = gate.call_as(caller, Method::POST, OwnEndpoint::Logout, &[JSON], body).await;
        assert_eq!(reply.status(), 200);
        json(&reply)["ended"].as_u64().unwrap()
    };
    let (one, two) = (gate.world.legacy_token("ada", DAY), gate.world.legacy_token("bob", DAY));
    let bearer = gate.world.node.sessions.legacy_token(&one).unwrap().principal;
    assert_eq!(ended(Ok(bearer.clone()), "").await, 1);
    assert!(gate.world.node.replica.covers(&bearer).is_some());
    for name in ["token", "refreshToken"] {
        let body = format!(r#"{{"{name}":"{two}"}}"#);
        assert_eq!(ended(Err(Denial::NoToken), &body).await, u64::from(name == "token"), "once is enough");
        assert_eq!(refresh(&gate, &[JSON], &body).await.status(), 401);
    }
}

#[tokio::test]
async fn while_logouts_may_be_unknown_an_exchange_has_to_wait() {
    let gate = gate();
    let token = gate.world.legacy_token("ada", DAY);
    gate.world.clock.advance(DAY / 2);
    let body = format!(r#"{{"token":"{token}"}}"#);
    let reply = refresh(&gate, &[JSON], &body).await;
    assert_eq!(reply.status(), 503);
    assert!(reply.headers().contains_key("retry-after"));
    gate.world.node.replica.confirm(gate.world.clock.monotonic());
    assert_eq!(refresh(&gate, &[JSON], &body).await.status(), 200);
}
