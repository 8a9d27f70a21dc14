use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Map, json};

use super::world::{DAY, MINUTE, SECOND, World, client, policy, refresh_token};
use crate::domain::claims::RevokedBy;
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::session::Session;
use crate::domain::session_policy::{SessionPolicy, WithoutClaims};
use crate::domain::stats::Counter;
use crate::sessions::claims_hook::{ClaimsHook, ClaimsSource, Present, PresentClaims};
use crate::sessions::{DeadToken, RefreshError, TokenPair};

/// Gives the responses that it was told, one after the other.
#[derive(Default)]
struct Script(Mutex<VecDeque<Present>>);

#[async_trait]
impl ClaimsSource for Script {
    async fn ask(&self, session: &Session) -> Present {
        assert_eq!(session.subject.as_str(), "ada");
        self.0.lock().unwrap().pop_front().expect("asked more often than was thought")
    }
}

fn world(
    policy: SessionPolicy,
    without_claims: WithoutClaims,
    answers: impl IntoIterator<Item = Present>,
) -> (World, Arc<Script>) {
    let script = Arc::new(Script(Mutex::new(answers.into_iter().collect())));
    let hook = ClaimsHook { source: Arc::<Script>::clone(&script), without_claims };
    (World::with_hook(policy, Some(hook)), script)
}

fn known(role: &str, scopes: Option<&[&str]>) -> Present {
    let claims = Map::from_iter([("role".to_owned(), json!(role))]);
    let scopes = scopes.map(|scopes| scopes.iter().map(|scope| (*scope).to_owned()).collect());
    Present::Known(PresentClaims { scopes, claims })
}

async fn refresh(world: &World, pair: &TokenPair) -> Result<TokenPair, RefreshError> {
    world.node.sessions.refresh_text(&refresh_token(pair), &client()).await
}

#[tokio::test]
async fn claims_are_those_of_now_and_scopes_never_grow() {
    let answers =
        [known("admin", Some(&["read", "write"])), known("guest", None), known("guest", Some(&[])), known("x", Some(&["read"]))];
    let (world, _) = world(policy(), WithoutClaims::Keep, answers);
    let mut pair = world.log_in("ada").await;
    for (role, scopes) in [("admin", &["read"][..]), ("guest", &["read"]), ("guest", &[]), ("x", &[])] {
        world.clock.advance(MINUTE);
        pair = refresh(&world, &pair).await.unwrap();
        let grant = world.record(pair.session).await.unwrap().grant;
        assert_eq!((grant.claims["role"].as_str(), grant.scopes.as_slice()), (Some(role), pair.scopes.as_slice()));
        assert_eq!(pair.scopes, scopes);
    }
}

#[tokio::test]
async fn a_repeated_response_is_not_asked_for_again() {
    for rotation in [true, false] {
        let policy = SessionPolicy { rotation, ..policy() };
        let (world, script) = world(policy, WithoutClaims::Keep, [known("admin", None)]);
        let first = world.log_in("ada").await;
        world.clock.advance(MINUTE);
        refresh(&world, &first).await.unwrap();
        world.clock.advance(SECOND);
        refresh(&world, &first).await.unwrap();
        assert!(script.0.lock().unwrap().is_empty());
        let claims = world.record(first.session).await.unwrap().grant.claims;
        assert_eq!(claims["role"], json!("admin"));
    }
}

#[tokio::test]
async fn a_subject_that_is_gone_has_no_session_any_more() {
    for rotation in [true, false] {
        let (world, _) = world(SessionPolicy { rotation, ..policy() }, WithoutClaims::Keep, [Present::Gone]);
        let pair = world.log_in("ada").await;
        world.clock.advance(MINUTE);
        let refused = refresh(&world, &pair).await.unwrap_err();
        assert!(matches!(refused, RefreshError::Dead(DeadToken::Disowned)));
        assert_eq!(world.node.replica.covers(&world.principal("ada", &pair)), Some(RevokedBy::Session));
        assert_eq!(world.record(pair.session).await, None);
        assert!(matches!(refresh(&world, &pair).await, Err(RefreshError::Dead(DeadToken::Revoked))), "without being asked again");
        assert_eq!(world.count(Counter::RefreshesDisowned), 1);
    }
}

#[tokio::test]
async fn without_a_response_the_old_claims_hold_or_there_are_no_tokens_and_nobody_is_logged_out() {
    let silent = || Present::NoResponse("timed out".to_owned());
    for rotation in [true, false] {
        let policy = SessionPolicy { rotation, ..policy() };
        let (keeping, _) = world(policy.clone(), WithoutClaims::Keep, [known("admin", None), silent()]);
        let first = keeping.log_in("ada").await;
        keeping.clock.advance(MINUTE);
        let mut second = refresh(&keeping, &first).await.unwrap();
        second.refresh_token = second.refresh_token.or(first.refresh_token);
        keeping.clock.advance(MINUTE);
        refresh(&keeping, &second).await.unwrap();
        assert_eq!(keeping.record(second.session).await.unwrap().grant.claims["role"], json!("admin"));
        assert_eq!(keeping.count(Counter::ClaimsHookFailures), 1);

        let (refusing, _) = world(policy, WithoutClaims::Refuse, [silent(), known("admin", None)]);
        let pair = refusing.log_in("ada").await;
        refusing.clock.advance(MINUTE);
        let refused = refresh(&refusing, &pair).await.unwrap_err();
        assert!(matches!(refused, RefreshError::ClaimsUnknown));
        refresh(&refusing, &pair).await.unwrap();
    }
}

#[tokio::test]
async fn an_exchange_gives_the_claims_of_now_and_ends_the_legacy_token_of_a_subject_that_is_gone() {
    for how in [ExchangeRule::Once, ExchangeRule::Many] {
        let (world, script) = world(policy(), WithoutClaims::Keep, [known("guest", Some(&["a"])), Present::Gone]);
        world.accept_legacy_tokens(how, world.now().saturating_add(30 * DAY));
        let (token, gone) = (world.legacy_token("ada", DAY), world.legacy_token("ada", 2 * DAY));
        let exchange = async |token: &str| {
            let token = world.node.sessions.legacy_token(token).unwrap();
            (world.node.sessions.exchange(&token, &client(), None).await, token.principal)
        };
        let pair = exchange(&token).await.0.unwrap();
        let grant = world.record(pair.session).await.unwrap().grant;
        assert_eq!((grant.claims["role"].as_str(), pair.scopes.as_slice()), (Some("guest"), ["a".to_owned()].as_slice()));
        let (refused, bearer) = exchange(&gone).await;
        assert!(matches!(refused, Err(RefreshError::Dead(DeadToken::Disowned))));
        assert_eq!(world.node.replica.covers(&bearer), Some(RevokedBy::Session), "{how:?}");
        assert!(matches!(exchange(&gone).await.0, Err(RefreshError::Dead(DeadToken::Revoked))), "without being asked again");
        assert!(script.0.lock().unwrap().is_empty());
    }
}
