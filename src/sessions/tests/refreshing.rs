use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::store::Fault;
use super::world::{DAY, MINUTE, SECOND, World, client, policy, refresh_token};
use crate::crypto::access_token::MintError;
use crate::domain::claims::RevokedBy;
use crate::domain::ids::Generation;
use crate::domain::revocation::{Revocation, Target};
use crate::domain::session::Client;
use crate::domain::session_policy::{ReusePolicy, SessionPolicy};
use crate::domain::stats::Counter;
use crate::sessions::{DeadToken, RefreshError, TokenPair};

async fn refresh(world: &World, token: &str) -> Result<TokenPair, RefreshError> {
    world.node.sessions.refresh_text(token, &client()).await
}

#[tokio::test]
async fn a_refresh_gives_the_next_generation_and_pushes_the_idle_end_ahead() {
    let world = World::new();
    let first = world.log_in("ada").await;
    world.clock.advance(DAY);
    let second = refresh(&world, &refresh_token(&first)).await.unwrap();
    assert_eq!((second.generation, second.session), (Generation(2), first.session));
    assert_ne!(refresh_token(&first), refresh_token(&second));
    assert_eq!(second.session_ends_in, 7 * DAY);
    assert_eq!(second.scopes, first.scopes, "scope never grows");
}

#[tokio::test]
async fn a_lost_reply_is_made_good_by_asking_again() {
    for pause in [SECOND, 31 * SECOND, 3 * DAY] {
        let world = World::new();
        let first = refresh_token(&world.log_in("ada").await);
        world.clock.advance(MINUTE);
        let lost = refresh(&world, &first).await.unwrap();
        world.clock.advance(pause);
        let again = refresh(&world, &first).await.unwrap();
        assert_eq!(again.session, lost.session);
        assert_eq!(refresh_token(&again) == refresh_token(&lost), pause < 30 * SECOND, "the same bytes within the leeway");
        assert!(refresh(&world, &refresh_token(&again)).await.is_ok());
    }
}

#[tokio::test]
async fn a_response_that_the_store_lost_is_made_good_by_asking_again() {
    let world = World::new();
    let token = refresh_token(&world.log_in("ada").await);
    world.store.fail(Fault::LosesResponses);
    assert!(matches!(refresh(&world, &token).await, Err(RefreshError::Store(_))));
    world.store.fail(None);
    assert_eq!(refresh(&world, &token).await.unwrap().generation, Generation(2));
}

#[tokio::test]
async fn two_tabs_get_the_same_successor() {
    let world = World::new();
    let token = refresh_token(&world.log_in("ada").await);
    let one = refresh(&world, &token).await.unwrap();
    world.clock.advance(5 * SECOND);
    let two = refresh(&world, &token).await.unwrap();
    assert_eq!(refresh_token(&one), refresh_token(&two));
    assert_eq!(world.count(Counter::RefreshesRotated), 1);
    assert_eq!(world.count(Counter::RefreshesReissued), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_refreshes_at_once_over_two_nodes_give_one_successor() {
    let world = World::new();
    let other = world.another_node();
    let mut token = refresh_token(&world.log_in("ada").await);
    for round in 2..12 {
        world.clock.advance(MINUTE);
        let mut tasks = JoinSet::new();
        for n in 0..64 {
            let sessions = Arc::clone(if n % 2 == 0 { &world.node.sessions } else { &other.sessions });
            let token = token.clone();
            tasks.spawn(async move {
                sessions.refresh_text(&token, &client()).await.map(|pair| (pair.generation, refresh_token(&pair)))
            });
        }
        let answers: BTreeSet<_> = tasks.join_all().await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.len(), 1);
        let (generation, successor) = answers.into_iter().next().unwrap();
        assert_eq!(generation, Generation(round));
        token = successor;
    }
}

#[tokio::test]
async fn a_spent_token_after_the_leeway_revokes_its_session() {
    let world = World::new();
    let first = world.log_in("ada").await;
    let second = refresh(&world, &refresh_token(&first)).await.unwrap();
    world.acknowledge(second.session, second.generation).await;
    world.clock.advance(31 * SECOND);
    assert!(matches!(refresh(&world, &refresh_token(&first)).await, Err(RefreshError::Dead(DeadToken::Reused))));
    assert_eq!(
        world.node.replica.covers(&world.principal("ada", &second)),
        Some(RevokedBy::Session),
        "access tokens too, at once"
    );
    assert!(refresh(&world, &refresh_token(&second)).await.unwrap_err().is_final());
    assert_eq!(world.count(Counter::RefreshesReused), 1);
}

#[tokio::test]
async fn a_spent_token_may_be_refused_without_ending_the_session() {
    let world = World::with(SessionPolicy { reuse: ReusePolicy::Refuse, ..policy() });
    let first = world.log_in("ada").await;
    let second = refresh(&world, &refresh_token(&first)).await.unwrap();
    world.acknowledge(second.session, second.generation).await;
    world.clock.advance(31 * SECOND);
    assert!(matches!(refresh(&world, &refresh_token(&first)).await, Err(RefreshError::Dead(DeadToken::Reused))));
    assert!(refresh(&world, &refresh_token(&second)).await.is_ok());
}

#[tokio::test]
async fn garbage_costs_no_store_call_and_revokes_nobody() {
    let world = World::new();
    let token = refresh_token(&world.log_in("ada").await);
    let calls = world.store.calls();
    let flipped = |at: usize| {
        let other = if &token[at..=at] == "A" { "B" } else { "A" };
        format!("{}{other}{}", &token[..at], &token[at + 1..])
    };
    for text in [String::new(), "tgr_".into(), "\u{0}".into(), "é".repeat(34), flipped(40), flipped(60), token.to_uppercase()] {
        assert!(matches!(refresh(&world, &text).await, Err(RefreshError::Dead(DeadToken::Malformed))));
    }
    assert_eq!(world.store.calls(), calls);
    assert_eq!(world.count(Counter::RefreshesMalformed), 7);
    assert!(refresh(&world, &token).await.is_ok());
}

#[tokio::test]
async fn a_store_in_trouble_is_never_the_clients_fault() {
    let world = World::new();
    let token = refresh_token(&world.log_in("ada").await);
    for fault in [Fault::Refuses, Fault::Full, Fault::LosesResponses] {
        world.store.fail(fault);
        let error = refresh(&world, &token).await.unwrap_err();
        assert!(matches!(error, RefreshError::Store(_)), "{fault:?}");
    }
    world.store.fail(None);
    assert!(refresh(&world, &token).await.is_ok());
}

#[tokio::test]
async fn reuse_that_cannot_be_recorded_is_trouble_and_decided_again_later() {
    let world = World::new();
    let first = world.log_in("ada").await;
    let second = refresh(&world, &refresh_token(&first)).await.unwrap();
    world.acknowledge(second.session, second.generation).await;
    world.clock.advance(31 * SECOND);
    world.store.fail(Fault::LosesResponses);
    assert!(matches!(refresh(&world, &refresh_token(&first)).await, Err(RefreshError::Store(_))));
}

#[tokio::test]
async fn an_expired_session_is_refused_and_stays_so_whatever_the_store_keeps() {
    let world = World::new();
    let token = refresh_token(&world.log_in("ada").await);
    world.clock.advance(7 * DAY);
    assert!(matches!(refresh(&world, &token).await, Err(RefreshError::Dead(DeadToken::Expired))));
}

#[tokio::test]
async fn a_session_ends_at_its_absolute_end_however_often_it_is_refreshed() {
    let world = World::new();
    let mut token = refresh_token(&world.log_in("ada").await);
    for _ in 0..17 {
        world.clock.advance(5 * DAY);
        token = refresh_token(&refresh(&world, &token).await.unwrap());
    }
    world.clock.advance(5 * DAY);
    assert!(matches!(refresh(&world, &token).await, Err(RefreshError::Dead(DeadToken::Expired))));
}

#[tokio::test]
async fn a_refresh_in_flight_does_not_revive_a_session_that_is_being_revoked() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    let forget_at = world.now().saturating_add(DAY);
    let target = Target::Session { session: pair.session };
    world.store.revoke_before_swap(Revocation { target, revoked_at: world.now(), forget_at });
    assert!(refresh(&world, &refresh_token(&pair)).await.unwrap_err().is_final());
    assert!(world.record(pair.session).await.is_none());
}

#[tokio::test]
async fn a_store_that_lost_writes_takes_the_tokens_word() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    let before = world.record(pair.session).await.unwrap();
    let mut token = refresh_token(&pair);
    for _ in 0..3 {
        world.clock.advance(MINUTE);
        token = refresh_token(&refresh(&world, &token).await.unwrap());
    }
    let forgetful = World::new();
    forgetful.clock.advance(5 * MINUTE);
    forgetful.bring_back(&before).await;
    let adopted = refresh(&forgetful, &token).await.unwrap();
    assert_eq!(refresh_token(&adopted), token, "the same token again");
    assert_eq!(forgetful.count(Counter::RefreshesAdopted), 1);
    assert_eq!(forgetful.record(pair.session).await.unwrap().rotation.current, Generation(4));
}

#[tokio::test]
async fn a_reissue_to_another_client_is_counted() {
    let world = World::new();
    let token = refresh_token(&world.log_in("ada").await);
    refresh(&world, &token).await.unwrap();
    let stranger = Client::new(Some("203.0.113.9".parse().unwrap()), Some("curl"));
    refresh(&world, &token).await.unwrap();
    assert_eq!(world.count(Counter::ReissuesToAnotherClient), 0);
    world.node.sessions.refresh_text(&token, &stranger).await.unwrap();
    world.clock.advance(20 * SECOND);
    world.node.sessions.refresh_text(&token, &stranger).await.unwrap();
    assert_eq!(world.count(Counter::ReissuesToAnotherClient), 2, "also after the leeway began again");
}

#[tokio::test]
async fn without_rotation_the_token_stays_and_an_access_token_comes() {
    let world = World::with(SessionPolicy { rotation: false, ..policy() });
    let pair = world.log_in("ada").await;
    let token = refresh_token(&pair);
    for _ in 0..3 {
        world.clock.advance(DAY);
        let again = refresh(&world, &token).await.unwrap();
        assert!(again.refresh_token.is_none());
        assert_eq!((again.generation, again.session_ends_in), (Generation::FIRST, 7 * DAY));
    }
    let calls = world.store.calls();
    refresh(&world, &token).await.unwrap();
    assert_eq!(world.store.calls(), calls + 1, "used a moment ago: nothing is written");
}

#[tokio::test]
async fn rotation_can_be_switched_off_and_on_under_a_client_that_lost_a_reply() {
    let mut world = World::new();
    let first = refresh_token(&world.log_in("ada").await);
    refresh(&world, &first).await.unwrap();
    world.clock.advance(MINUTE);
    world.node.reload(super::world::minting(), SessionPolicy { rotation: false, ..policy() });
    let in_place = refresh(&world, &first).await.unwrap();
    assert_eq!(in_place.generation, Generation::FIRST, "a later one would acknowledge what never arrived");
    world.acknowledge(in_place.session, in_place.generation).await;
    world.node.reload(super::world::minting(), policy());
    assert_eq!(refresh(&world, &first).await.unwrap().generation, Generation(3));
}

#[tokio::test]
async fn what_cannot_be_handed_out_spends_nothing() {
    for rotation in [true, false] {
        let rules = SessionPolicy { rotation, ..policy() };
        let mut world = World::with(rules.clone());
        let pair = world.log_in("ada").await;
        let token = refresh_token(&pair);
        let before = world.record(pair.session).await;
        world.clock.advance(MINUTE);
        let tight = SessionPolicy { access_token_bytes_max: 100, ..rules.clone() };
        world.node.reload(super::world::minting(), tight);
        for _ in 0..3 {
            let error = refresh(&world, &token).await.unwrap_err();
            assert!(matches!(error, RefreshError::Mint(MintError::TooLarge(_))), "{error}");
            world.clock.advance(MINUTE);
        }
        assert_eq!(world.record(pair.session).await, before, "not used, not rotated");
        world.node.reload(super::world::minting(), rules);
        assert!(refresh(&world, &token).await.is_ok(), "the client still holds what it held");
    }
}

#[tokio::test]
async fn the_record_does_not_grow() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    let size = async || serde_json::to_vec(&world.record(pair.session).await.unwrap()).unwrap().len();
    let mut token = refresh_token(&pair);
    let mut sizes = BTreeSet::new();
    for _ in 0..8 {
        world.clock.advance(MINUTE);
        token = refresh_token(&refresh(&world, &token).await.unwrap());
        sizes.insert(size().await);
    }
    assert_eq!(sizes.len(), 1);
}
