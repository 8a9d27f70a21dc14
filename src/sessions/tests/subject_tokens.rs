//! Tokens of another issuer become sessions.

use serde_json::{Value, json};

use super::store::Fault;
use super::world::*;
use crate::domain::claims::{Denial, Principal};
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::ids::{Generation, SessionId, TokenMaker};
use crate::domain::revocation::Target;
use crate::domain::secret::Secret;
use crate::domain::session_policy::SessionPolicy;
use crate::domain::stats::Counter;
use crate::domain::subject_token::{SubjectToken, SubjectTokenLives, SubjectTokenType};
use crate::domain::subjects::{ReservedPrefixes, SubjectPrefix};
use crate::domain::time::{Clock as _, Timestamp};
use crate::domain::vouching::Standing;
use crate::sessions::{Credentials, DeadToken, Introspected, LogoutScope, OldToken, Order, RefreshError, RevokeError, TokenPair};

fn world_with(rule: ExchangeRule, change: impl FnOnce(SessionPolicy) -> SessionPolicy) -> World {
    let reserved = ReservedPrefixes::default().with_exchanged([SubjectPrefix::new("idp:").unwrap()]);
    let lives = SubjectTokenLives::default().with(Timestamp::MAX, Some(DAY + MINUTE));
    let world = World::with(change(SessionPolicy { subject_tokens: lives, reserved, ..policy() }));
    world.exchange_tokens(rule);
    world
}

fn world(rule: ExchangeRule) -> World {
    world_with(rule, |policy| policy)
}

fn another_node(world: &World) -> Node {
    let node = world.another_node();
    node.replica.confirm(world.clock.monotonic());
    node
}

fn pass(world: &World, span: std::time::Duration) {
    world.clock.advance(span);
    world.node.replica.confirm(world.clock.monotonic());
}

async fn read(node: &Node, token: &str) -> Result<SubjectToken, Denial> {
    node.sessions.read_subject_token(token, SubjectTokenType::Jwt).await
}

async fn exchange(node: &Node, token: &str) -> Result<TokenPair, RefreshError> {
    let token = read(node, token).await.map_err(|_| RefreshError::Dead(DeadToken::Malformed))?;
    node.sessions.exchange(&token, &client(), None).await
}

async fn refresh(node: &Node, pair: &TokenPair) -> Result<TokenPair, RefreshError> {
    node.sessions.refresh_text(&refresh_token(pair), &client()).await
}

async fn says(node: &Node, pair: &TokenPair) -> Option<std::sync::Arc<Principal>> {
    match node.sessions.introspect(pair.access_token.expose()).await.unwrap() {
        Introspected::Access(principal) => Some(principal),
        Introspected::Inactive | Introspected::Refresh(_) => None,
    }
}

#[tokio::test]
async fn a_token_of_another_issuer_becomes_a_session_of_its_user() {
    let world = world(ExchangeRule::Once);
    let pair = exchange(&world.node, &world.issuers_token("7", &json!({"auth_time": 5}))).await.unwrap();
    assert_eq!((pair.generation, pair.scopes.as_slice()), (Generation::FIRST, ["read".to_owned()].as_slice()));
    assert_eq!(pair.session.token_maker(), Some(TokenMaker::Issuer));
    let session = world.record(pair.session).await.unwrap();
    assert_eq!((&session.subject, &session.grant.claims["role"]), (&subject("idp:7"), &"admin".into()));
    assert_eq!(session.grant.logged_in_at, Some(Timestamp::from_secs(5)));
    let said = says(&world.node, &pair).await.unwrap();
    assert_eq!((&said.subject, said.session, &*said.issuer), (&subject("idp:7"), Some(pair.session), "tokengate"));
    pass(&world, MINUTE);
    let next = refresh(&world.node, &pair).await.unwrap();
    assert_eq!(next.generation, Generation(2));
    assert!(says(&world.node, &next).await.is_some());
    assert_eq!(world.sessions_of("idp:7").await, [pair.session]);
    assert_eq!((world.count(Counter::TokenExchanges), world.count(Counter::LegacyExchanges)), (1, 0));
}

#[tokio::test]
async fn once_is_one_session_however_many_ask_at_once_on_two_nodes() {
    let world = world(ExchangeRule::Once);
    let (token, other) = (world.issuers_token("7", &json!({})), another_node(&world));
    let calls = (0..40).map(|n| exchange(if n % 2 == 0 { &world.node } else { &other }, &token));
    let pairs: Vec<TokenPair> = futures_util::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert!(pairs.iter().all(|pair| refresh_token(pair) == refresh_token(&pairs[0])));
    assert_eq!(world.sessions_of("idp:7").await.len(), 1);
    // It is spent once its response was seen to arrive.
    world.acknowledge(pairs[0].session, pairs[0].generation).await;
    pass(&world, 31 * SECOND);
    other.replica.confirm(world.clock.monotonic());
    for node in [&world.node, &other] {
        assert!(matches!(exchange(node, &token).await, Err(RefreshError::Dead(DeadToken::Reused))));
    }
    assert!(refresh(&world.node, &pairs[0]).await.is_ok(), "nobody is logged out by a copy");
    assert_ne!(exchange(&world.node, &world.issuers_token("7", &json!({"jti": "2"}))).await.unwrap().session, pairs[0].session);
}

#[tokio::test]
async fn many_is_another_session_each_time() {
    let world = world(ExchangeRule::Many);
    let token = world.issuers_token("7", &json!({}));
    let (first, second) = (exchange(&world.node, &token).await.unwrap(), exchange(&world.node, &token).await.unwrap());
    assert_ne!(first.session, second.session);
    pass(&world, MINUTE);
    for pair in [&first, &second] {
        assert!(says(&world.node, pair).await.is_some() && refresh(&world.node, pair).await.is_ok());
    }
}

#[tokio::test]
async fn a_token_is_spent_until_it_ends_though_its_session_would_have_ended_before() {
    let world = world_with(ExchangeRule::Once, |policy| SessionPolicy {
        idle_lifetime: MINUTE,
        absolute_lifetime: 10 * MINUTE,
        ..policy
    });
    let token = world.issuers_token("7", &json!({}));
    let pair = exchange(&world.node, &token).await.unwrap();
    world.acknowledge(pair.session, pair.generation).await;
    // To the last moment of the leeway that its issuer has.
    pass(&world, 60 * MINUTE + 59 * SECOND);
    world.sweep().await;
    assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Dead(DeadToken::Reused))));
    pass(&world, SECOND);
    assert!(read(&world.node, &token).await.is_err(), "it has ended");
}

#[tokio::test]
async fn what_was_made_of_a_token_ends_everywhere_and_the_token_does_not_come_again() {
    for (rule, how) in [
        (ExchangeRule::Once, LogoutScope::Session),
        (ExchangeRule::Once, LogoutScope::All),
        (ExchangeRule::Many, LogoutScope::All),
    ] {
        let world = world(rule);
        let (token, other) = (world.issuers_token("7", &json!({})), another_node(&world));
        let pair = exchange(&world.node, &token).await.unwrap();
        let principal = says(&world.node, &pair).await.unwrap();
        let credentials = Credentials { refresh_token: None, principal: Some(&principal), expired: None };
        world.node.sessions.log_out(credentials, how).await.unwrap();
        world.catch_up(&other).await;
        for node in [&world.node, &other] {
            assert!(matches!(refresh(node, &pair).await, Err(RefreshError::Dead(_))), "{rule:?} {how:?}");
            assert!(says(node, &pair).await.is_none());
            assert!(matches!(exchange(node, &token).await, Err(RefreshError::Dead(DeadToken::Revoked))), "{rule:?} {how:?}");
        }
        // For as long as the token would count.
        pass(&world, 59 * MINUTE);
        world.node.replica.forget(world.now());
        assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Dead(DeadToken::Revoked))), "{rule:?} {how:?}");
    }
}

/// Revoked on one node, exchanged on another that has not heard of it: what comes of it is dead once it has, and stays so.
#[tokio::test]
async fn a_session_that_a_late_node_made_of_a_revoked_token_is_covered_for_as_long_as_it_could_live() {
    // Its clock may be ahead of ours, and is believed.
    for (rule, ahead) in [ExchangeRule::Once, ExchangeRule::Many].into_iter().flat_map(|rule| [(rule, -10), (rule, 45)]) {
        let world = world(rule);
        let issued = json!({"iat": world.now().secs() + ahead});
        let (token, late) = (world.issuers_token("7", &issued), another_node(&world));
        world.node.sessions.carry_out(Order::Subject { subject: subject("idp:7"), issued_before: None }).await.unwrap();
        let pair = exchange(&late, &token).await.unwrap();
        world.catch_up(&late).await;
        assert!(says(&late, &pair).await.is_none(), "{rule:?} {ahead}");
        pass(&world, 6 * DAY);
        late.replica.confirm(world.clock.monotonic());
        for node in [&world.node, &late] {
            node.replica.forget(world.now());
            assert!(matches!(refresh(node, &pair).await, Err(RefreshError::Dead(_))), "{rule:?} {ahead}");
        }
    }
}

#[tokio::test]
async fn a_token_that_was_revoked_alone_makes_no_session() {
    let world = world(ExchangeRule::Once);
    let token = world.issuers_token("7", &json!({"jti": "t1"}));
    let order =
        Order::Token { issuer: Some("https://idp.example".into()), token: crate::domain::ids::TokenId::new("t1").unwrap() };
    let ended = world.node.sessions.carry_out(order).await.unwrap();
    assert!(matches!(ended.target, Target::Token { .. }));
    assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Dead(DeadToken::Revoked))));
}

#[tokio::test]
async fn whoever_holds_a_token_ends_it_and_what_was_made_of_it_before_it_is_exchanged_or_after() {
    for rule in [ExchangeRule::Once, ExchangeRule::Many] {
        let world = world(rule);
        let other = another_node(&world);
        let (unused, used) = (world.issuers_token("7", &json!({"jti": "a"})), world.issuers_token("7", &json!({"jti": "b"})));
        let pair = exchange(&world.node, &used).await.unwrap();
        for token in [&unused, &used] {
            world.node.sessions.revoke_token(token).await.unwrap();
            world.node.sessions.revoke_token(token).await.unwrap();
        }
        world.catch_up(&other).await;
        for (node, token) in [(&world.node, &unused), (&world.node, &used), (&other, &unused), (&other, &used)] {
            assert!(matches!(exchange(node, token).await, Err(RefreshError::Dead(DeadToken::Revoked))), "{rule:?}");
        }
        assert_eq!(refresh(&other, &pair).await.is_err(), rule == ExchangeRule::Once, "of many, each is a login of its own");
        // Without an id, the session that it would become is what is revoked. There is none of many.
        let nameless = world.issuers_token("8", &json!({}));
        let revoked = world.node.sessions.revoke_token(&nameless).await;
        assert_eq!(matches!(revoked, Err(RevokeError::NoTokenId)), rule == ExchangeRule::Many, "{rule:?} {revoked:?}");
        assert_eq!(exchange(&world.node, &nameless).await.is_ok(), rule == ExchangeRule::Many, "{rule:?}");
        world.store.fail(Fault::Refuses);
        assert!(world.node.sessions.revoke_token(&used).await.is_err(), "it is not known to have ended");
    }
}

#[tokio::test]
async fn nothing_is_exchanged_while_nobody_can_say_what_was_revoked_or_spent() {
    let world = world(ExchangeRule::Once);
    let token = world.issuers_token("7", &json!({}));
    world.store.fail(Fault::Refuses);
    assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Store(_))));
    world.store.fail(None);
    world.clock.advance(31 * SECOND);
    assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Store(_))), "the revocations were not confirmed");
    assert!(world.sessions_of("idp:7").await.is_empty());
    world.node.replica.confirm(world.clock.monotonic());
    // The response to the store's call is lost: the next one finds what it did.
    world.store.fail(Fault::LosesResponses);
    assert!(matches!(exchange(&world.node, &token).await, Err(RefreshError::Store(_))));
    world.store.fail(None);
    let pair = exchange(&world.node, &token).await.unwrap();
    assert_eq!((pair.generation, world.sessions_of("idp:7").await.len()), (Generation::FIRST, 1));
}

#[tokio::test]
async fn what_is_no_token_for_an_exchange_makes_nothing() {
    let world = world(ExchangeRule::Once);
    let own = world.log_in("ann").await;
    let refused: Vec<Value> = vec![
        json!({"aud": "api"}),
        json!({"iss": "https://other.example"}),
        json!({"exp": world.now().secs() - 61}),
        json!({"nbf": world.now().secs() + 120}),
        json!({"exp": world.now().secs() + 10 * 86_400}),
    ];
    let mut texts: Vec<String> = refused.iter().map(|further| world.issuers_token("7", further)).collect();
    let good = world.issuers_token("7", &json!({}));
    texts.extend([format!("{good}x"), good.rsplit_once('.').unwrap().0.to_owned(), String::new(), "a.b.c".to_owned()]);
    texts.extend([own.access_token.expose().clone(), refresh_token(&own)]);
    for text in texts {
        assert!(read(&world.node, &text).await.is_err(), "{text}");
    }
    world.exchange_tokens(ExchangeRule::Never);
    assert!(read(&world.node, &good).await.is_err(), "its issuer's are not exchanged");
    assert!(world.sessions_of("idp:7").await.is_empty());
}

#[tokio::test]
async fn a_login_of_an_issuers_users_name_is_nobody_though_its_tokens_are_exchanged() {
    let world = world(ExchangeRule::Once);
    // As from before the issuer was there.
    let login = world.log_in("idp:7").await;
    assert!(says(&world.node, &login).await.is_none());
    assert!(matches!(refresh(&world.node, &login).await, Err(RefreshError::Dead(DeadToken::Disowned))));
    let theirs = exchange(&world.node, &world.issuers_token("7", &json!({}))).await.unwrap();
    assert!(says(&world.node, &theirs).await.is_some());
}

#[tokio::test]
async fn the_session_of_the_token_that_is_replaced_ends_and_never_the_one_that_is_made() {
    let world = world(ExchangeRule::Once);
    let token = read(&world.node, &world.issuers_token("7", &json!({}))).await.unwrap();
    let before = world.log_in("ann").await;
    let old = |pair: &TokenPair| OldToken { text: Secret::new(refresh_token(pair)), is_replaced: true };
    let pair = world.node.sessions.exchange(&token, &client(), Some(&old(&before))).await.unwrap();
    assert!(matches!(refresh(&world.node, &before).await, Err(RefreshError::Dead(DeadToken::Revoked))));
    // The response was lost, but for its cookie.
    let again = world.node.sessions.exchange(&token, &client(), Some(&old(&pair))).await.unwrap();
    assert_eq!((again.session, refresh_token(&again)), (pair.session, refresh_token(&pair)));
    assert!(refresh(&world.node, &again).await.is_ok());
}

#[tokio::test]
async fn the_session_that_is_replaced_does_not_count_against_the_limit() {
    for rule in [ExchangeRule::Once, ExchangeRule::Many] {
        let world = world_with(rule, |policy| SessionPolicy { sessions_max: Some(2), ..policy });
        let token = |minutes: i64| world.issuers_token("7", &json!({"iat": world.now().secs() - 60 * minutes}));
        let device = exchange(&world.node, &token(3)).await.unwrap();
        let before = exchange(&world.node, &token(2)).await.unwrap();
        let old = OldToken { text: Secret::new(refresh_token(&before)), is_replaced: true };
        let next = read(&world.node, &token(1)).await.unwrap();
        let next = world.node.sessions.exchange(&next, &client(), Some(&old)).await.unwrap();
        assert!(matches!(refresh(&world.node, &before).await, Err(RefreshError::Dead(DeadToken::Revoked))), "{rule:?}");
        assert!(refresh(&world.node, &device).await.is_ok() && refresh(&world.node, &next).await.is_ok(), "{rule:?}");
    }
}

#[tokio::test]
async fn the_replica_takes_the_token_as_the_exchange_does() {
    let world = world(ExchangeRule::Once);
    let token = read(&world.node, &world.issuers_token("7", &json!({}))).await.unwrap();
    assert_eq!(world.node.sessions.vouching().token(&token.principal), Standing::Good);
    let id: SessionId = token.session;
    assert_eq!(id.created_at(), token.principal.issued_at.unwrap(), "what revokes the subject covers both or neither");
}
