use std::time::Duration;

use super::store::Fault;
use super::world::{DAY, MINUTE, SECOND, World, client, login, policy, refresh_token, subject};
use crate::crypto::keyring::KeyRing;
use crate::domain::claims::{Denial, RevokedBy};
use crate::domain::ids::{Generation, Partition, SessionId};
use crate::domain::revocation::{Cutoff, Revocation, Target};
use crate::domain::secret::Secret;
use crate::domain::session_policy::SessionPolicy;
use crate::domain::stats::Counter;
use crate::domain::time::Clock as _;
use crate::sessions::{Credentials, DeadToken, EndError, IssueError, LogoutScope, Minting, OldToken, RefreshError};

#[tokio::test]
async fn a_login_gives_a_pair_of_the_first_generation() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    assert_eq!((pair.generation, pair.expires_in, pair.session_ends_in), (Generation::FIRST, 15 * MINUTE, 7 * DAY));
    assert_eq!(pair.scopes, ["read"]);
    let record = world.record(pair.session).await.unwrap();
    assert_eq!((record.subject, record.client), (subject("ada"), client()));
    assert_eq!(world.count(Counter::Logins), 1);
}

#[tokio::test]
async fn nothing_is_given_that_was_not_stored() {
    let world = World::new();
    for fault in [Fault::Refuses, Fault::LosesResponses, Fault::Full] {
        world.store.fail(fault);
        assert!(matches!(world.node.sessions.issue(login("ada")).await, Err(IssueError::Store(_))), "{fault:?}");
    }
}

#[tokio::test]
async fn a_session_that_nobody_was_told_of_ends_as_soon_as_the_store_answers() {
    let world = World::new();
    let sessions = &world.node.sessions;
    let kept = world.log_in("ada").await;
    world.store.fail(Fault::LosesResponses);
    sessions.issue(login("ada")).await.unwrap_err();
    world.store.fail(Fault::Refuses);
    sessions.issue(login("ada")).await.unwrap_err();
    sessions.withdrawal_due().await;
    sessions.withdraw().await.unwrap_err();
    world.store.fail(None);
    assert_eq!(world.sessions_of("ada").await.len(), 2, "one that failed was stored");
    sessions.withdraw().await.unwrap();
    assert_eq!(world.sessions_of("ada").await, [kept.session]);
    assert_eq!((world.count(Counter::SessionsWithdrawn), world.count(Counter::Logins)), (1, 1));
    let calls = world.store.calls();
    sessions.withdraw().await.unwrap();
    assert_eq!(world.store.calls(), calls, "each once");
}

#[tokio::test]
async fn without_a_key_that_signs_no_session_is_left_behind() {
    let mut world = World::new();
    let minting = Minting { keys: KeyRing::empty().into(), ..super::world::minting() };
    world.node.reload(minting, policy());
    assert!(matches!(world.node.sessions.issue(login("ada")).await, Err(IssueError::Mint(_))));
    assert_eq!(world.store.calls(), 0);
}

#[tokio::test]
async fn no_access_token_outlives_its_session() {
    let world = World::with(SessionPolicy { absolute_lifetime: 20 * MINUTE, idle_lifetime: 20 * MINUTE, ..policy() });
    let pair = world.log_in("ada").await;
    world.clock.advance(12 * MINUTE);
    let pair = world.node.sessions.refresh_text(&refresh_token(&pair), &client()).await.unwrap();
    assert_eq!(pair.expires_in, 8 * MINUTE);
    assert_eq!(pair.session_ends_in, 8 * MINUTE);
}

#[tokio::test]
async fn beyond_the_limit_the_oldest_session_ends_at_once() {
    let world = World::with(SessionPolicy { sessions_max: Some(2), ..policy() });
    let mut pairs = Vec::new();
    for _ in 0..3 {
        pairs.push(world.log_in("ada").await);
        world.clock.advance(SECOND);
    }
    let principal = world.principal("ada", &pairs[0]);
    assert_eq!(world.node.replica.covers(&principal), Some(RevokedBy::Session), "on this node without a detour by the log");
    assert_eq!(world.count(Counter::SessionsEndedByLimit), 1);
    for (pair, lives) in pairs.iter().zip([false, true, true]) {
        assert_eq!(world.node.sessions.refresh_text(&refresh_token(pair), &client()).await.is_ok(), lives);
    }
}

#[tokio::test]
async fn a_login_ends_the_old_session_whose_token_it_brings_and_no_other_device_for_it() {
    let world = World::with(SessionPolicy { sessions_max: Some(2), ..policy() });
    let other_device = world.log_in("ada").await;
    world.clock.advance(SECOND);
    let old = world.log_in("ada").await;
    let old_token = OldToken { text: Secret::new(refresh_token(&old)), is_replaced: false };
    let with_old = crate::sessions::Login { old_refresh_token: Some(old_token), ..login("ada") };
    let new = world.node.sessions.issue(with_old).await.unwrap();
    assert!(world.record(old.session).await.is_none());
    assert!(world.record(other_device.session).await.is_some() && world.record(new.session).await.is_some());
}

#[tokio::test]
async fn a_login_never_ends_the_session_of_someone_else() {
    let world = World::new();
    let eve = world.log_in("eve").await;
    let old_token = OldToken { text: Secret::new(refresh_token(&eve)), is_replaced: false };
    let with_old = crate::sessions::Login { old_refresh_token: Some(old_token), ..login("ada") };
    world.node.sessions.issue(with_old).await.unwrap();
    assert!(world.record(eve.session).await.is_some());
}

#[tokio::test]
async fn a_login_whose_tokens_take_the_place_of_someone_elses_ends_the_session_that_nobody_has_any_more() {
    let world = World::new();
    let (eve, elsewhere) = (world.log_in("eve").await, world.log_in("eve").await);
    let old_token = OldToken { text: Secret::new(refresh_token(&eve)), is_replaced: true };
    let with_old = crate::sessions::Login { old_refresh_token: Some(old_token), ..login("ada") };
    let new = world.node.sessions.issue(with_old).await.unwrap();
    assert!(world.record(eve.session).await.is_none());
    assert!(world.node.replica.covers_session(eve.session), "this node knows it when the login is answered");
    assert!(world.record(elsewhere.session).await.is_some() && world.record(new.session).await.is_some());
}

#[tokio::test]
async fn a_session_is_never_born_revoked() {
    let world = World::new();
    let until = world.now().saturating_add(5 * SECOND);
    let target = Target::Subject { subject: subject("ada"), issued_before: Cutoff::named(until) };
    world.node.replica.insert(&Revocation { target, revoked_at: world.now(), forget_at: until.saturating_add(DAY) });
    let pair = world.log_in("ada").await;
    assert_eq!(pair.session.created_at(), until, "a node whose clock is ahead revoked the subject a moment ago");
    assert_eq!(world.node.replica.covers(&world.principal("ada", &pair)), None);
    assert!(world.node.sessions.refresh_text(&refresh_token(&pair), &client()).await.is_ok());
}

#[tokio::test]
async fn a_subject_barred_for_long_gets_no_session() {
    let world = World::new();
    let until = world.now().saturating_add(DAY);
    let target = Target::Subject { subject: subject("ada"), issued_before: Cutoff::named(until) };
    world.node.replica.insert(&Revocation { target, revoked_at: world.now(), forget_at: until.saturating_add(DAY) });
    assert!(matches!(world.node.sessions.issue(login("ada")).await, Err(IssueError::Barred(at)) if at == until));
}

#[tokio::test]
async fn a_login_right_after_logging_out_everywhere_works() {
    let world = World::new();
    let old = world.log_in("ada").await;
    let all =
        Credentials { refresh_token: Some(&world.node.sessions.read(&refresh_token(&old))), principal: None, expired: None };
    assert_eq!(world.node.sessions.log_out(all, LogoutScope::All).await.unwrap(), 1);
    let new = world.log_in("ada").await;
    assert_eq!(world.node.replica.covers(&world.principal("ada", &new)), None, "in the same millisecond");
    assert!(world.node.sessions.refresh_text(&refresh_token(&new), &client()).await.is_ok());
    assert!(matches!(
        world.node.sessions.refresh_text(&refresh_token(&old), &client()).await,
        Err(RefreshError::Dead(DeadToken::Revoked | DeadToken::Unknown))
    ));
}

#[tokio::test]
async fn the_list_shows_the_subjects_live_sessions_alone() {
    let world = World::new();
    let first = world.log_in("ada").await;
    world.clock.advance(SECOND);
    let second = world.log_in("ada").await;
    world.log_in("eve").await;
    let ids = async || world.sessions_of("ada").await;
    assert_eq!(ids().await, [first.session, second.session]);
    let forgotten = world.record(first.session).await.unwrap();
    world.node.sessions.end(&subject("ada"), first.session).await.unwrap();
    world.bring_back(&forgotten).await;
    assert_eq!(ids().await, [second.session], "what the store forgot, the node remembers");
    world.clock.advance(8 * DAY);
    assert!(ids().await.is_empty());
}

#[tokio::test]
async fn only_ones_own_sessions_can_be_ended() {
    let world = World::new();
    let (ada, eve) = (world.log_in("ada").await, world.log_in("eve").await);
    let end = async |id| world.node.sessions.end(&subject("eve"), id).await;
    assert!(matches!(end(ada.session).await, Err(EndError::NotFound)));
    assert!(world.record(ada.session).await.is_some());
    let calls = world.store.calls();
    let elsewhere = SessionId::new(Partition(9999), world.now(), [1; 8]);
    assert!(matches!(end(elsewhere).await, Err(EndError::NotFound)));
    assert_eq!(world.store.calls(), calls, "an id that cannot be eve's costs no store call");
    assert!(end(eve.session).await.is_ok());
    assert!(matches!(end(eve.session).await, Err(EndError::NotFound)));
    assert_eq!(world.node.replica.covers(&world.principal("eve", &eve)), Some(RevokedBy::Session));
}

#[tokio::test]
async fn a_strict_check_asks_the_store_once() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    let principal = world.principal("ada", &pair);
    let calls = world.store.calls();
    assert_eq!(world.node.sessions.confirm(&principal).await, Ok(()));
    assert_eq!(world.store.calls(), calls + 1);
    world.store.fail(Fault::Refuses);
    assert_eq!(world.node.sessions.confirm(&principal).await, Err(Denial::StoreUnavailable));
    world.store.fail(None);
    let other = world.another_node();
    other.sessions.end(&subject("ada"), pair.session).await.unwrap();
    assert_eq!(world.node.sessions.confirm(&principal).await, Err(Denial::Revoked(RevokedBy::Session)), "before the log told");
    assert_eq!(world.node.sessions.confirm(&world.foreign_principal("ada", None)).await, Ok(()));
}

#[tokio::test]
async fn a_clock_that_jumps_back_gives_no_one_a_longer_session() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    let ends_at = world.record(pair.session).await.unwrap().lifetime.absolute_ends_at;
    world.clock.jump(-i64::try_from(Duration::from_secs(3600).as_millis()).unwrap());
    let pair = world.node.sessions.refresh_text(&refresh_token(&pair), &client()).await.unwrap();
    assert_eq!(world.record(pair.session).await.unwrap().lifetime.absolute_ends_at, ends_at);
    assert!(world.clock.now() < ends_at);
}
