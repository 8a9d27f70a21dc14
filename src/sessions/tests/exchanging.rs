use super::store::Fault;
use super::world::*;
use crate::domain::claims::{Principal, RevokedBy};
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::ids::Generation;
use crate::domain::revocation::Target;
use crate::domain::session::Client;
use crate::domain::session_policy::SessionPolicy;
use crate::domain::stats::Counter;
use crate::domain::subject_token::SubjectTokenLives;
use crate::domain::time::Clock as _;
use crate::sessions::{Credentials, DeadToken, LogoutScope, RefreshError, TokenPair};
use crate::store::RevocationLog as _;

/// The world's policy, where the legacy tokens end after thirty days.
fn world_with(exchange: ExchangeRule, change: impl FnOnce(SessionPolicy) -> SessionPolicy) -> World {
    let clock = ManualClock::new();
    let until = clock.now().saturating_add(30 * DAY);
    let world = World::with(change(SessionPolicy { subject_tokens: SubjectTokenLives::default().with(until, None), ..policy() }));
    world.accept_legacy_tokens(exchange, until);
    world
}

fn world(exchange: ExchangeRule) -> World {
    world_with(exchange, |policy| policy)
}

fn another_node(world: &World) -> Node {
    let node = world.another_node();
    node.replica.confirm(std::time::Duration::ZERO);
    node
}

async fn exchange(node: &Node, token: &str) -> Result<TokenPair, RefreshError> {
    exchange_as(node, token, &client()).await
}

async fn exchange_as(node: &Node, token: &str, client: &Client) -> Result<TokenPair, RefreshError> {
    let token = node.sessions.legacy_token(token).ok_or(RefreshError::Dead(DeadToken::Malformed))?;
    node.sessions.exchange(&token, client, None).await
}

async fn refresh(node: &Node, pair: &TokenPair) -> Result<TokenPair, RefreshError> {
    node.sessions.refresh_text(&refresh_token(pair), &client()).await
}

fn principal(node: &Node, token: &str) -> Principal {
    node.sessions.legacy_token(token).unwrap().principal
}

#[tokio::test]
async fn a_legacy_token_becomes_a_session_with_what_it_granted() {
    let world = world(ExchangeRule::Once);
    let pair = exchange(&world.node, &world.legacy_token("ada", DAY)).await.unwrap();
    assert_eq!((pair.generation, pair.scopes.as_slice()), (Generation::FIRST, ["a".to_owned(), "b".to_owned()].as_slice()));
    let session = world.record(pair.session).await.unwrap();
    assert_eq!((&session.subject, &session.grant.claims["role"]), (&subject("ada"), &"admin".into()));
    world.clock.advance(MINUTE);
    assert_eq!(refresh(&world.node, &pair).await.unwrap().generation, Generation(2));
    assert_eq!((world.count(Counter::LegacyExchanges), world.count(Counter::RefreshesRotated)), (1, 1));
}

#[tokio::test]
async fn once_means_one_session_and_a_lost_reply_is_given_again() {
    let world = world(ExchangeRule::Once);
    let (token, other) = (world.legacy_token("ada", DAY), another_node(&world));
    let first = exchange(&world.node, &token).await.unwrap();
    for seconds in [0, 5, 15, 20] {
        world.clock.advance(seconds * SECOND);
        other.replica.confirm(world.clock.monotonic());
        let again = exchange(&other, &token).await.unwrap();
        assert_eq!(
            (again.session, refresh_token(&again)),
            (first.session, refresh_token(&first)),
            "the same bytes, on every node"
        );
    }
    assert_eq!(world.sessions_of("ada").await, [first.session]);
    assert_eq!(world.count(Counter::LegacyExchanges) + other.counters.snapshot().value(Counter::LegacyExchanges), 1);
}

#[tokio::test]
async fn a_reply_that_never_arrived_is_given_again_however_late() {
    let world = world(ExchangeRule::Once);
    let token = world.legacy_token("ada", DAY);
    let lost = exchange(&world.node, &token).await.unwrap();
    world.clock.advance(DAY / 2);
    world.node.replica.confirm(world.clock.monotonic());
    let second = exchange(&world.node, &token).await.unwrap();
    assert_eq!((second.session, second.generation), (lost.session, Generation(2)));
    world.clock.advance(MINUTE);
    assert_eq!(refresh(&world.node, &second).await.unwrap().generation, Generation(3));
}

#[tokio::test]
async fn a_legacy_token_is_spent_once_its_reply_arrived_and_nobody_is_logged_out_by_a_copy() {
    let world = world(ExchangeRule::Once);
    let token = world.legacy_token("ada", DAY);
    let pair = exchange(&world.node, &token).await.unwrap();
    world.acknowledge(pair.session, pair.generation).await;
    assert!(exchange(&world.node, &token).await.is_ok(), "within the leeway another tab gets the same");
    world.clock.advance(31 * SECOND);
    world.node.replica.confirm(world.clock.monotonic());
    assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Dead(DeadToken::Reused))));
    let next = refresh(&world.node, &pair).await.unwrap();
    world.clock.advance(31 * SECOND);
    world.node.replica.confirm(world.clock.monotonic());
    assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Dead(DeadToken::Reused))));
    assert!(refresh(&world.node, &next).await.is_ok(), "the session lives on");
}

#[tokio::test]
async fn calls_at_once_on_two_nodes_make_one_session() {
    let world = world(ExchangeRule::Once);
    let (token, other) = (world.legacy_token("ada", DAY), another_node(&world));
    let calls = (0..20).map(|n| exchange(if n % 2 == 0 { &world.node } else { &other }, &token));
    let pairs: Vec<TokenPair> = futures_util::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert!(pairs.iter().all(|pair| refresh_token(pair) == refresh_token(&pairs[0])));
    assert_eq!(world.sessions_of("ada").await.len(), 1);
}

#[tokio::test]
async fn a_response_that_the_store_lost_is_found_again() {
    let world = world(ExchangeRule::Once);
    let token = world.legacy_token("ada", DAY);
    world.store.fail(Fault::LosesResponses);
    assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Store(_))));
    world.store.fail(None);
    let pair = exchange(&world.node, &token).await.unwrap();
    assert_eq!((pair.generation, world.sessions_of("ada").await.len()), (Generation::FIRST, 1));
}

#[tokio::test]
async fn once_holds_until_the_legacy_token_ends_even_if_the_session_would_have_expired() {
    let world = world_with(ExchangeRule::Once, |policy| SessionPolicy {
        idle_lifetime: MINUTE,
        absolute_lifetime: 10 * MINUTE,
        ..policy
    });
    let token = world.legacy_token("ada", DAY);
    let pair = exchange(&world.node, &token).await.unwrap();
    world.acknowledge(pair.session, pair.generation).await;
    world.clock.advance(23 * 60 * MINUTE);
    world.node.replica.confirm(world.clock.monotonic());
    world.sweep().await;
    assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Dead(DeadToken::Reused))));
    assert!(refresh(&world.node, &pair).await.is_ok(), "and nobody is logged out earlier than the legacy token would have been");
    world.clock.advance(61 * MINUTE);
    assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Dead(DeadToken::Malformed))), "it has ended");
}

#[tokio::test]
async fn many_makes_a_session_each_time_and_never_none() {
    let world = world(ExchangeRule::Never);
    let token = world.legacy_token("ada", DAY);
    assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Dead(DeadToken::Malformed))));
    world.accept_legacy_tokens(ExchangeRule::Many, world.now().saturating_add(30 * DAY));
    let (first, second) = (exchange(&world.node, &token).await.unwrap(), exchange(&world.node, &token).await.unwrap());
    assert_ne!(first.session, second.session);
    world.clock.advance(DAY / 2);
    world.node.replica.confirm(world.clock.monotonic());
    exchange(&world.node, &token).await.unwrap();
    assert_eq!(world.sessions_of("ada").await.len(), 3);
    assert!(refresh(&world.node, &first).await.is_ok() && refresh(&world.node, &second).await.is_ok());
}

#[tokio::test]
async fn logging_a_legacy_token_out_ends_it_and_its_session_for_as_long_as_it_would_have_lived() {
    let world = world(ExchangeRule::Once);
    let (token, other) = (world.legacy_token("ada", 20 * DAY), another_node(&world));
    let pair = exchange(&world.node, &token).await.unwrap();
    let bearer = principal(&world.node, &token);
    let log_out = async || {
        let credentials = Credentials { refresh_token: None, principal: Some(&bearer), expired: None };
        world.node.sessions.log_out(credentials, LogoutScope::Session).await.unwrap()
    };
    assert_eq!(log_out().await, 1);
    world.catch_up(&other).await;
    for node in [&world.node, &other] {
        assert_eq!(node.replica.covers(&bearer), Some(RevokedBy::Session));
        assert!(matches!(exchange(node, &token).await, Err(RefreshError::Dead(DeadToken::Revoked))));
        assert!(matches!(refresh(node, &pair).await, Err(RefreshError::Dead(DeadToken::Revoked))));
    }
    world.clock.advance(19 * DAY);
    for node in [&world.node, &other] {
        node.replica.forget(world.now());
        node.replica.confirm(world.clock.monotonic());
        assert!(node.replica.covers(&bearer).is_some(), "remembered");
        assert!(matches!(exchange(node, &token).await, Err(RefreshError::Dead(DeadToken::Revoked))));
    }
}

#[tokio::test]
async fn a_legacy_token_that_was_never_exchanged_logs_out_too_in_either_place() {
    let world = world(ExchangeRule::Once);
    for in_body in [false, true] {
        let token = world.legacy_token(if in_body { "ada" } else { "bob" }, DAY);
        let bearer = principal(&world.node, &token);
        let text = world.node.sessions.read(&token);
        let credentials =
            Credentials { refresh_token: in_body.then_some(&text), principal: (!in_body).then_some(&bearer), expired: None };
        assert_eq!(world.node.sessions.log_out(credentials, LogoutScope::Session).await.unwrap(), 1);
        assert!(world.node.replica.covers(&bearer).is_some());
        assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Dead(DeadToken::Revoked))));
        if in_body {
            let again = world.node.sessions.log_out(credentials, LogoutScope::Session).await.unwrap();
            assert_eq!(again, 0, "what has ended counts as none");
        }
    }
}

#[tokio::test]
async fn logging_the_session_out_ends_the_legacy_token_as_well() {
    let world = world(ExchangeRule::Once);
    let token = world.legacy_token("ada", 20 * DAY);
    let pair = exchange(&world.node, &token).await.unwrap();
    let credentials =
        Credentials { refresh_token: Some(&world.node.sessions.read(&refresh_token(&pair))), principal: None, expired: None };
    world.node.sessions.log_out(credentials, LogoutScope::Session).await.unwrap();
    world.clock.advance(19 * DAY);
    world.node.replica.forget(world.now());
    assert!(world.node.replica.covers(&principal(&world.node, &token)).is_some(), "they are one login");
}

#[tokio::test]
async fn logging_all_out_ends_legacy_tokens_of_before_and_what_was_made_of_them() {
    for how in [ExchangeRule::Once, ExchangeRule::Many] {
        let world = world(how);
        let (token, login) = (world.legacy_token("ada", 20 * DAY), world.log_in("ada").await);
        let exchanged = exchange(&world.node, &token).await.unwrap();
        let bearer = world.principal("ada", &login);
        let credentials = Credentials { refresh_token: None, principal: Some(&bearer), expired: None };
        assert_eq!(world.node.sessions.log_out(credentials, LogoutScope::All).await.unwrap(), 2);
        world.clock.advance(19 * DAY);
        world.node.replica.forget(world.now());
        world.node.replica.confirm(world.clock.monotonic());
        assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Dead(DeadToken::Revoked))), "{how:?}");
        assert!(refresh(&world.node, &exchanged).await.unwrap_err().is_final(), "{how:?}");
        let later = world.legacy_token("ada", DAY);
        world.clock.advance(11 * SECOND);
        let fresh = legacy_token(&serde_json::json!({"id": "ada", "iat": world.now().secs(), "exp": world.now().secs() + 60}));
        assert!(exchange(&world.node, &later).await.is_ok() && exchange(&world.node, &fresh).await.is_ok(), "made afterwards");
    }
}

/// Dated by its token, such a session is covered; so it must be for as long as it could live.
#[tokio::test]
async fn what_a_node_that_has_not_heard_of_a_logout_makes_of_a_legacy_token_never_comes_to_life() {
    for (how, scope) in [
        (ExchangeRule::Once, LogoutScope::Session),
        (ExchangeRule::Once, LogoutScope::All),
        (ExchangeRule::Many, LogoutScope::All),
    ] {
        let world = world(how);
        world.clock.advance(29 * DAY);
        world.node.replica.confirm(world.clock.monotonic());
        let late = world.another_node();
        late.replica.confirm(world.clock.monotonic());
        let token = world.legacy_token("ada", DAY);
        let bearer = principal(&world.node, &token);
        let credentials = Credentials { refresh_token: None, principal: Some(&bearer), expired: None };
        world.node.sessions.log_out(credentials, scope).await.unwrap();
        let pair = exchange(&late, &token).await.unwrap();
        world.catch_up(&late).await;
        world.clock.advance(6 * DAY);
        late.replica.forget(world.now());
        late.replica.confirm(world.clock.monotonic());
        assert!(matches!(refresh(&late, &pair).await, Err(RefreshError::Dead(DeadToken::Revoked))), "{how:?} {scope:?}");
        assert!(world.sessions_of("ada").await.is_empty());
    }
}

#[tokio::test]
async fn a_session_that_the_limit_ends_does_not_come_back_from_its_legacy_token() {
    let world = world_with(ExchangeRule::Once, |policy| SessionPolicy { sessions_max: Some(1), ..policy });
    let token = world.legacy_token("ada", 20 * DAY);
    exchange(&world.node, &token).await.unwrap();
    world.log_in("ada").await;
    world.clock.advance(19 * DAY);
    world.node.replica.forget(world.now());
    world.node.replica.confirm(world.clock.monotonic());
    assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Dead(DeadToken::Revoked))));
}

#[tokio::test]
async fn revocations_of_ordinary_sessions_are_kept_no_longer_than_before() {
    let world = world(ExchangeRule::Once);
    let pair = world.log_in("ada").await;
    world.node.sessions.end(&subject("ada"), pair.session).await.unwrap();
    let log = world.store.follow(None, std::time::Duration::ZERO).await.unwrap().revocations;
    assert_eq!(log[0].target, Target::Session { session: pair.session });
    assert!(log[0].forget_at < world.now().saturating_add(DAY));
}

#[tokio::test]
async fn nothing_is_exchanged_while_logouts_may_be_unknown() {
    let world = world(ExchangeRule::Once);
    let token = world.legacy_token("ada", DAY);
    world.clock.advance(31 * SECOND);
    assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Store(_))), "503: the client keeps its token");
    assert_eq!(world.store.calls(), 0);
    world.node.replica.confirm(world.clock.monotonic());
    assert!(exchange(&world.node, &token).await.is_ok());
}

#[tokio::test]
async fn without_rotation_an_exchange_gives_a_refresh_token_that_stays() {
    let world = world_with(ExchangeRule::Once, |policy| SessionPolicy { rotation: false, ..policy });
    let token = world.legacy_token("ada", DAY);
    let pair = exchange(&world.node, &token).await.unwrap();
    assert_eq!(refresh_token(&exchange(&world.node, &token).await.unwrap()), refresh_token(&pair));
    world.clock.advance(MINUTE);
    assert!(refresh(&world.node, &pair).await.unwrap().refresh_token.is_none());
    assert!(refresh(&world.node, &pair).await.is_ok());
}

#[tokio::test]
async fn a_strict_route_takes_a_legacy_token_whether_it_was_exchanged_or_not() {
    let world = world(ExchangeRule::Once);
    let token = world.legacy_token("ada", DAY);
    let bearer = principal(&world.node, &token);
    assert_eq!(world.node.sessions.confirm(&bearer).await, Ok(()));
    exchange(&world.node, &token).await.unwrap();
    assert_eq!(world.node.sessions.confirm(&bearer).await, Ok(()));
}

#[tokio::test]
async fn a_reissue_to_another_client_is_counted() {
    let world = world(ExchangeRule::Once);
    let token = world.legacy_token("ada", DAY);
    exchange(&world.node, &token).await.unwrap();
    exchange_as(&world.node, &token, &Client::new(None, Some("another"))).await.unwrap();
    assert_eq!(world.count(Counter::ReissuesToAnotherClient), 1);
}
