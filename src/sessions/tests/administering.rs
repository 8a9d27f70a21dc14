use std::time::Duration;

use super::world::{DAY, MINUTE, SECOND, World, client, refresh_token, subject};
use crate::domain::claims::{Principal, RevokedBy};
use crate::domain::ids::TokenId;
use crate::domain::page::Page;
use crate::domain::revocation::{Revocation, Target};
use crate::domain::time::Timestamp;
use crate::sessions::{DeadToken, Ended, Order, OrderError, RefreshError, TokenPair};
use crate::store::RevocationLog as _;

async fn carry_out(world: &World, order: Order) -> Ended {
    world.node.sessions.carry_out(order).await.unwrap()
}

async fn refused(world: &World, pair: &TokenPair) -> RefreshError {
    world.node.sessions.refresh_text(&refresh_token(pair), &client()).await.unwrap_err()
}

async fn logged(world: &World) -> Vec<Revocation> {
    world.store.follow(None, Duration::ZERO).await.unwrap().revocations
}

#[tokio::test]
async fn what_began_before_a_moment_ends_for_one_subject_or_for_all() {
    for order in [
        |issued_before| Order::Subject { subject: subject("ada"), issued_before: Some(issued_before) },
        |issued_before| Order::Everyone { issued_before },
    ] {
        let world = World::new();
        let old = [world.log_in("ada").await, world.log_in("ada").await];
        world.clock.advance(MINUTE);
        let young = world.log_in("ada").await;
        assert_eq!(carry_out(&world, order(world.now())).await.sessions, 2);
        for pair in &old {
            assert!(world.node.replica.covers(&world.principal("ada", pair)).is_some());
            assert!(refused(&world, pair).await.is_final());
            assert_eq!(world.record(pair.session).await, None);
        }
        assert_eq!(world.node.replica.covers(&world.principal("ada", &young)), None);
        assert!(world.node.sessions.refresh_text(&refresh_token(&young), &client()).await.is_ok());
    }
}

#[tokio::test]
async fn a_session_that_was_left_behind_by_a_revocation_of_everyone_stays_refused() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    world.clock.advance(MINUTE);
    let ended = carry_out(&world, Order::Everyone { issued_before: world.now() }).await;
    assert_eq!(ended, Ended { target: Target::Everyone { issued_before: world.now() }, sessions: 1 });
    let [revocation] = logged(&world).await.try_into().unwrap();
    assert!(revocation.forget_at >= world.now().saturating_add(90 * DAY), "no session lives longer");

    // Another node, to which the deletion came late: the record is still there.
    let other = World::new();
    let pair_there = other.log_in("ada").await;
    other.store.revoke(&revocation).await.unwrap();
    other.catch_up(&other.node).await;
    assert!(other.record(pair_there.session).await.is_some());
    assert_eq!(other.node.sessions.list(&subject("ada"), Page::FIRST).await.unwrap().sessions, []);
    assert!(matches!(refused(&other, &pair_there).await, RefreshError::Dead(DeadToken::Revoked)));
    assert_eq!(other.record(pair_there.session).await, None);
    assert_eq!(world.node.replica.covers(&world.principal("ada", &pair)), Some(RevokedBy::Everyone));
}

#[tokio::test]
async fn whoever_logs_in_after_a_revocation_of_everyone_is_in_on_a_slow_clock_too() {
    let world = World::new();
    let ahead = world.now().saturating_add(30 * SECOND);
    carry_out(&world, Order::Everyone { issued_before: ahead }).await;
    let pair = world.log_in("ada").await;
    assert_eq!(world.node.replica.covers(&world.principal("ada", &pair)), None);
    assert!(world.node.sessions.refresh_text(&refresh_token(&pair), &client()).await.is_ok());
}

#[tokio::test]
async fn a_moment_that_lies_ahead_is_refused_before_anything_is_done() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    let moment = world.now().saturating_add(2 * MINUTE);
    for order in [
        Order::Everyone { issued_before: moment },
        Order::Everyone { issued_before: Timestamp::MAX },
        Order::Subject { subject: subject("ada"), issued_before: Some(moment) },
    ] {
        assert!(matches!(world.node.sessions.carry_out(order).await, Err(OrderError::MomentAhead)));
    }
    assert!(world.record(pair.session).await.is_some());
    assert_eq!(logged(&world).await, []);
}

#[tokio::test]
async fn a_token_is_ended_alone_whoever_made_it() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    let own = world.principal("ada", &pair);
    let foreign = world.foreign_principal("ada", Some("some"));
    let token = || TokenId::new("some").unwrap();
    carry_out(&world, Order::Token { issuer: None, token: token() }).await;
    assert_eq!(world.node.replica.covers(&own), Some(RevokedBy::Token));
    assert_eq!(world.node.replica.covers(&foreign), None, "of the same id, by another issuer");
    carry_out(&world, Order::Token { issuer: Some(foreign.issuer.clone()), token: token() }).await;
    assert_eq!(world.node.replica.covers(&foreign), Some(RevokedBy::Token));
    assert!(world.record(pair.session).await.is_some());
}

#[tokio::test]
async fn all_of_a_subject_ends_with_its_foreign_tokens() {
    let world = World::new();
    let pairs = [world.log_in("ada").await, world.log_in("ada").await];
    let bystander = world.log_in("bob").await;
    let foreign = world.foreign_principal("ada", None);
    assert_eq!(carry_out(&world, Order::Subject { subject: subject("ada"), issued_before: None }).await.sessions, 2);
    for pair in &pairs {
        assert!(world.node.replica.covers(&world.principal("ada", pair)).is_some());
    }
    assert_eq!(world.node.replica.covers(&foreign), Some(RevokedBy::Subject));
    assert_eq!(world.node.replica.covers(&world.principal("bob", &bystander)), None);
}

#[tokio::test]
async fn all_of_a_subject_ends_with_tokens_of_an_issuer_whose_clock_is_ahead() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    let at = |issued_at| Principal { issued_at: Some(issued_at), ..world.foreign_principal("ada", None) };
    let ahead = at(world.now().saturating_add(MINUTE));
    carry_out(&world, Order::Subject { subject: subject("ada"), issued_before: None }).await;
    assert_eq!(world.node.replica.covers(&ahead), Some(RevokedBy::Subject), "it was accepted a moment ago");
    assert!(world.node.replica.covers(&world.principal("ada", &pair)).is_some());
    let again = world.log_in("ada").await;
    assert_eq!(world.node.replica.covers(&world.principal("ada", &again)), None, "a login of ours is dated by our own clocks");
    assert!(again.session.created_at() <= world.now().saturating_add(SECOND));
    let other = world.another_node();
    world.catch_up(&other).await;
    assert_eq!(other.replica.covers(&ahead), Some(RevokedBy::Subject), "so says the log");
    assert_eq!(other.replica.covers(&at(world.now().saturating_add(MINUTE + SECOND))), None);
    let [revocation] = logged(&world).await.try_into().unwrap();
    assert!(revocation.forget_at >= world.now().saturating_add(16 * MINUTE + MINUTE), "and for as long as those tokens live");
}

#[tokio::test]
async fn a_moment_that_was_named_ends_what_was_issued_before_it_and_nothing_else() {
    let world = World::new();
    let moment = world.now();
    carry_out(&world, Order::Subject { subject: subject("ada"), issued_before: Some(moment) }).await;
    let at = |issued_at| Principal { issued_at: Some(issued_at), ..world.foreign_principal("ada", None) };
    assert_eq!(world.node.replica.covers(&at(moment)), None);
    assert_eq!(world.node.replica.covers(&at(moment.saturating_sub(SECOND))), Some(RevokedBy::Subject));
}
