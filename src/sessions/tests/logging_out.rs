use super::store::Fault;
use super::world::{DAY, MINUTE, SECOND, World, client, refresh_token, subject};
use crate::domain::claims::RevokedBy;
use crate::domain::ids::SessionId;
use crate::domain::session::Session;
use crate::domain::stats::Counter;
use crate::sessions::{Credentials, DeadToken, LogoutError, LogoutScope, RefreshError, TokenPair};

async fn log_out_by_refresh_token(world: &World, pair: &TokenPair, scope: LogoutScope) -> Result<u64, LogoutError> {
    let token = refresh_token(pair);
    world
        .node
        .sessions
        .log_out(Credentials { refresh_token: Some(&world.node.sessions.read(&token)), principal: None, expired: None }, scope)
        .await
}

async fn is_alive(world: &World, pair: &TokenPair) -> bool {
    let recorded = world.record(pair.session).await.is_some();
    let covered = world.node.replica.covers_session(pair.session)
        || world.node.replica.subject_revoked_before(&subject("ada")).is_some_and(|before| pair.session.created_at() < before);
    assert_ne!(recorded, covered, "record and revocation tell the same");
    recorded
}

#[tokio::test]
async fn each_scope_ends_what_it_names() {
    for (scope, ended, alive) in [
        (LogoutScope::Session, 1, [true, false, true]),
        (LogoutScope::Others, 2, [false, true, false]),
        (LogoutScope::All, 3, [false, false, false]),
    ] {
        for by_principal in [false, true] {
            let world = World::new();
            let pairs = [world.log_in("ada").await, world.log_in("ada").await, world.log_in("ada").await];
            let eve = world.log_in("eve").await;
            let principal = world.principal("ada", &pairs[1]);
            let count = if by_principal {
                let credentials = Credentials { refresh_token: None, principal: Some(&principal), expired: None };
                world.node.sessions.log_out(credentials, scope).await
            } else {
                log_out_by_refresh_token(&world, &pairs[1], scope).await
            };
            assert_eq!(count.unwrap(), ended, "{scope:?}");
            for (pair, alive) in pairs.iter().zip(alive) {
                assert_eq!(is_alive(&world, pair).await, alive, "{scope:?}");
            }
            assert!(world.record(eve.session).await.is_some());
        }
    }
}

#[tokio::test]
async fn logging_out_twice_is_no_error_and_ends_nothing_more() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    assert_eq!(log_out_by_refresh_token(&world, &pair, LogoutScope::Session).await.unwrap(), 1);
    let calls = world.store.calls();
    for scope in [LogoutScope::Session, LogoutScope::Others, LogoutScope::All] {
        assert_eq!(log_out_by_refresh_token(&world, &pair, scope).await.unwrap(), 0);
    }
    assert_eq!(world.store.calls(), calls + 3, "one look each, and nothing is written again");
}

#[tokio::test]
async fn garbage_ends_nothing_and_costs_no_store_call() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    let calls = world.store.calls();
    let mut forged = refresh_token(&pair);
    forged.replace_range(20..21, if &forged[20..21] == "A" { "B" } else { "A" });
    for text in ["", "tgr_", "x", &forged] {
        let credentials = Credentials { refresh_token: Some(&world.node.sessions.read(text)), principal: None, expired: None };
        assert_eq!(world.node.sessions.log_out(credentials, LogoutScope::All).await.unwrap(), 0);
    }
    assert_eq!(world.store.calls(), calls);
    assert!(world.record(pair.session).await.is_some());
}

#[tokio::test]
async fn an_unrecorded_logout_is_an_error() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    for fault in [Fault::Refuses, Fault::LosesResponses] {
        world.store.fail(fault);
        for scope in [LogoutScope::Session, LogoutScope::All] {
            assert!(matches!(log_out_by_refresh_token(&world, &pair, scope).await, Err(LogoutError::Store(_))), "{fault:?}");
        }
    }
    world.store.fail(None);
    assert_eq!(
        log_out_by_refresh_token(&world, &pair, LogoutScope::All).await.unwrap(),
        0,
        "the lost answer was of a logout that was done"
    );
    assert!(!is_recorded(&world, pair.session).await);
}

async fn is_recorded(world: &World, id: SessionId) -> bool {
    world.record(id).await.is_some()
}

#[tokio::test]
async fn a_session_that_the_store_lost_is_still_ended_for_its_access_tokens() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    let other_world = World::new();
    let token = refresh_token(&pair);
    let count = other_world
        .node
        .sessions
        .log_out(
            Credentials { refresh_token: Some(&world.node.sessions.read(&token)), principal: None, expired: None },
            LogoutScope::All,
        )
        .await
        .unwrap();
    assert_eq!(count, 0);
    assert_eq!(other_world.node.replica.covers(&world.principal("ada", &pair)), Some(RevokedBy::Session));
}

#[tokio::test]
async fn logging_out_everywhere_reaches_sessions_of_a_clock_that_is_ahead() {
    for ahead in [5 * SECOND, DAY] {
        let world = World::new();
        let millis = i64::try_from(ahead.as_millis()).unwrap();
        world.clock.jump(millis);
        let from_ahead = world.log_in("ada").await;
        world.clock.jump(-millis);
        let own = world.log_in("ada").await;
        assert_eq!(log_out_by_refresh_token(&world, &own, LogoutScope::All).await.unwrap(), 2, "{ahead:?}");
        assert!(!is_alive(&world, &from_ahead).await && !is_alive(&world, &own).await);
        let new = world.log_in("ada").await;
        assert!(is_alive(&world, &new).await, "{ahead:?}");
    }
}

#[tokio::test]
async fn a_foreign_token_is_ended_by_its_id_or_with_its_subject() {
    let world = World::new();
    let foreign = world.foreign_principal("ada", Some("f1"));
    let credentials = Credentials { refresh_token: None, principal: Some(&foreign), expired: None };
    assert_eq!(world.node.sessions.log_out(credentials, LogoutScope::Session).await.unwrap(), 1);
    assert_eq!(world.node.replica.covers(&foreign), Some(RevokedBy::Token));
    let sibling = world.foreign_principal("ada", Some("f2"));
    assert_eq!(world.node.replica.covers(&sibling), None);

    let without_id = world.foreign_principal("ada", None);
    let credentials = Credentials { refresh_token: None, principal: Some(&without_id), expired: None };
    let result = world.node.sessions.log_out(credentials, LogoutScope::Session).await;
    assert!(matches!(result, Err(LogoutError::NoTokenId)));
    let pair = world.log_in("ada").await;
    assert_eq!(world.node.sessions.log_out(credentials, LogoutScope::All).await.unwrap(), 1);
    assert_eq!(world.node.replica.covers(&sibling), Some(RevokedBy::Subject));
    assert!(!is_alive(&world, &pair).await);
}

#[tokio::test]
async fn both_credentials_of_one_session_count_once() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    let (token, principal) = (refresh_token(&pair), world.principal("ada", &pair));
    let both = Credentials { refresh_token: Some(&world.node.sessions.read(&token)), principal: Some(&principal), expired: None };
    assert_eq!(world.node.sessions.log_out(both, LogoutScope::Session).await.unwrap(), 1);
    assert_eq!(world.count(Counter::Logouts), 1);
    assert_eq!(world.count(Counter::RevocationsBySession), 1);
}

#[tokio::test]
async fn both_credentials_of_two_sessions_end_both() {
    let world = World::new();
    let (one, two) = (world.log_in("ada").await, world.log_in("ada").await);
    let (token, principal) = (refresh_token(&one), world.principal("ada", &two));
    let both = Credentials { refresh_token: Some(&world.node.sessions.read(&token)), principal: Some(&principal), expired: None };
    assert_eq!(world.node.sessions.log_out(both, LogoutScope::Others).await.unwrap(), 0);
    assert_eq!(world.node.sessions.log_out(both, LogoutScope::Session).await.unwrap(), 2);
}

#[tokio::test]
async fn another_node_refuses_once_it_has_read_the_log() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    let other = world.another_node();
    log_out_by_refresh_token(&world, &pair, LogoutScope::Session).await.unwrap();
    assert!(matches!(
        other.sessions.refresh_text(&refresh_token(&pair), &client()).await,
        Err(RefreshError::Dead(DeadToken::Unknown))
    ));
    world.catch_up(&other).await;
    assert!(other.replica.covers(&world.principal("ada", &pair)).is_some());
    assert!(matches!(
        other.sessions.refresh_text(&refresh_token(&pair), &client()).await,
        Err(RefreshError::Dead(DeadToken::Revoked))
    ));
}

#[tokio::test]
async fn a_store_that_forgot_a_logout_does_not_revive_the_session_ever() {
    for scope in [LogoutScope::Session, LogoutScope::All] {
        let world = World::new();
        let pair = world.log_in("ada").await;
        let before: Session = world.record(pair.session).await.unwrap();
        log_out_by_refresh_token(&world, &pair, scope).await.unwrap();
        world.bring_back(&before).await;
        let refresh = async || world.node.sessions.refresh_text(&refresh_token(&pair), &client()).await;
        assert!(matches!(refresh().await, Err(RefreshError::Dead(DeadToken::Revoked))));
        assert!(world.record(pair.session).await.is_none(), "ended again, for good");
        world.clock.advance(30 * MINUTE);
        world.node.replica.forget(world.now());
        assert!(matches!(refresh().await, Err(RefreshError::Dead(DeadToken::Unknown))), "once the revocation is forgotten too");
    }
}

#[tokio::test]
async fn a_logout_reaches_more_sessions_than_are_read_at_once() {
    for (scope, left) in [(LogoutScope::Others, 1), (LogoutScope::All, 0)] {
        let world = World::new();
        let pair = world.log_in("ada").await;
        for _ in 0..450 {
            world.log_in("ada").await;
        }
        let ended = log_out_by_refresh_token(&world, &pair, scope).await.unwrap();
        assert_eq!(ended, 451 - left, "{scope:?}");
        assert_eq!(world.sessions_of("ada").await.len() as u64, left, "{scope:?}");
    }
}

#[tokio::test]
async fn logging_out_everywhere_reads_no_more_than_it_needs() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    for _ in 0..450 {
        world.log_in("ada").await;
    }
    let calls = world.store.calls();
    assert_eq!(log_out_by_refresh_token(&world, &pair, LogoutScope::All).await.unwrap(), 451);
    assert_eq!(world.store.calls(), calls + 3, "its own session, the youngest, and the end of all");
}
