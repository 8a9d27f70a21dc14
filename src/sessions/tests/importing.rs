use super::store::Fault;
use super::world::{DAY, MINUTE, SECOND, World, client, login, policy, refresh_token, subject};
use crate::crypto::imported_token::digest_of;
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::ids::Generation;
use crate::domain::session::Grant;
use crate::domain::session_policy::SessionPolicy;
use crate::domain::stats::Counter;
use crate::domain::time::Timestamp;
use crate::sessions::import::{ForeignToken, Importer, Tally};
use crate::sessions::{Credentials, DeadToken, Login, LogoutScope, RefreshError, TokenPair, TokenText};

const OLD: &str = "c0ffee-of-another-maker";

/// A world in which imported tokens are taken for a month, and [`OLD`] is one that `ada` got two days ago.
async fn world_with(policy: SessionPolicy) -> World {
    let until = Timestamp::from_millis(1_790_000_000_000).saturating_add(30 * DAY);
    let world = World::with(SessionPolicy { imported_until: Some(until), ..policy });
    assert_eq!(import(&world, &[token(&world, OLD)]).await, Tally { imported: 1, ..Tally::default() });
    world
}

async fn world() -> World {
    world_with(policy()).await
}

fn token(world: &World, text: &str) -> ForeignToken {
    ForeignToken {
        digest: digest_of(text).unwrap(),
        subject: subject("ada"),
        grant: Grant { scopes: vec!["read".into()], ..Grant::default() },
        created_at: world.now().saturating_sub(2 * DAY),
        expires_at: world.now().saturating_add(5 * DAY),
        last_used_at: None,
        revoked: false,
    }
}

async fn import(world: &World, tokens: &[ForeignToken]) -> Tally {
    Importer::new(world.store.clone(), world.store.clone(), policy(), world.clock.clone()).import(tokens).await.unwrap()
}

async fn refresh(world: &World, token: &str) -> Result<TokenPair, RefreshError> {
    world.node.sessions.refresh_text(token, &client()).await
}

#[tokio::test]
async fn a_text_is_one_kind_of_token_and_what_may_be_imported_alone_needs_the_store() {
    let world = world().await;
    world.accept_legacy_tokens(ExchangeRule::Once, world.now().saturating_add(DAY));
    let (ours, legacy) = (refresh_token(&world.log_in("ada").await), world.legacy_token("ada", DAY));
    let calls = world.store.calls();
    let kind = |text: &str| {
        let text = world.node.sessions.read(text);
        let name = match text {
            TokenText::Ours(_) => "ours",
            TokenText::Legacy { .. } => "legacy",
            TokenText::PerhapsImported(_) => "perhaps imported",
            TokenText::Unknown => "unknown",
        };
        (name, text.needs_look_up())
    };
    assert_eq!([kind(&ours), kind(&legacy), kind(OLD)], [("ours", false), ("legacy", true), ("perhaps imported", true)]);
    for text in ["tgr_forged", "", "null"] {
        assert_eq!(kind(text), ("unknown", false), "{text}");
    }
    world.clock.advance(31 * DAY);
    assert_eq!([kind(&ours), kind(&legacy), kind(OLD)], [("ours", false), ("unknown", false), ("unknown", false)]);
    assert_eq!(world.store.calls(), calls);
}

#[tokio::test]
async fn an_imported_token_becomes_one_of_ours_at_its_first_refresh() {
    let world = world().await;
    let pair = refresh(&world, OLD).await.unwrap();
    assert!(refresh_token(&pair).starts_with("tgr_"));
    assert_eq!((pair.generation, pair.scopes.as_slice()), (Generation(2), ["read".to_owned()].as_slice()));
    assert_eq!(pair.session_ends_in, 7 * DAY, "our lifetimes hold from now on");
    world.clock.advance(6 * DAY);
    assert_eq!(refresh(&world, &refresh_token(&pair)).await.unwrap().session, pair.session, "beyond the end of the old one");
    assert_eq!(world.count(Counter::RefreshesRotated), 2);
}

#[tokio::test]
async fn tabs_and_lost_replies_within_the_leeway_get_the_same_successor() {
    let world = world().await;
    let first = refresh_token(&refresh(&world, OLD).await.unwrap());
    world.clock.advance(29 * SECOND);
    assert_eq!(refresh_token(&refresh(&world, OLD).await.unwrap()), first);
    assert_eq!(refresh_token(&world.another_node().sessions.refresh_text(OLD, &client()).await.unwrap()), first);
    world.clock.advance(DAY);
    let again = refresh(&world, OLD).await.unwrap();
    assert_ne!(refresh_token(&again), first, "the reply never arrived: its generation is void");
    assert!(refresh(&world, &refresh_token(&again)).await.is_ok());
}

#[tokio::test]
async fn an_imported_token_after_its_successor_was_seen_is_theft() {
    let world = world().await;
    let pair = refresh(&world, OLD).await.unwrap();
    world.acknowledge(pair.session, pair.generation).await;
    world.clock.advance(31 * SECOND);
    assert!(matches!(refresh(&world, OLD).await, Err(RefreshError::Dead(DeadToken::Reused))));
    assert!(
        matches!(refresh(&world, &refresh_token(&pair)).await, Err(RefreshError::Dead(DeadToken::Revoked))),
        "the session has ended"
    );
    assert!(matches!(refresh(&world, OLD).await, Err(RefreshError::Dead(DeadToken::Revoked))));
}

#[tokio::test]
async fn an_imported_token_ends_when_its_maker_said() {
    let world = world().await;
    world.clock.advance(5 * DAY);
    assert!(matches!(refresh(&world, OLD).await, Err(RefreshError::Dead(DeadToken::Expired))));
    assert_eq!(import(&world, &[ForeignToken { expires_at: world.now(), ..token(&world, "x") }]).await.expired, 1);
    assert!(matches!(refresh(&world, "x").await, Err(RefreshError::Dead(DeadToken::Malformed))), "nothing was stored of it");
}

#[tokio::test]
async fn revoked_tokens_stay_revoked_and_end_what_an_earlier_import_began() {
    let world = world().await;
    let revoked = |text| ForeignToken { revoked: true, ..token(&world, text) };
    let pair = refresh(&world, OLD).await.unwrap();
    let tally = import(&world, &[revoked("never imported"), revoked(OLD)]).await;
    assert_eq!(tally, Tally { revoked: 2, ended: 1, ..Tally::default() });
    for token in [OLD, "never imported", &refresh_token(&pair)] {
        assert!(refresh(&world, token).await.is_err(), "{token}");
    }
    assert_eq!(import(&world, &[revoked(OLD)]).await.ended, 0, "once");
    assert_eq!(import(&world, &[token(&world, OLD)]).await, Tally { present: 1, ..Tally::default() }, "an older export");
    assert!(refresh(&world, OLD).await.is_err());
}

#[tokio::test]
async fn a_logout_outlives_a_second_import() {
    for scope in [LogoutScope::Session, LogoutScope::All] {
        let world = world().await;
        let credentials = Credentials { refresh_token: Some(&world.node.sessions.read(OLD)), principal: None, expired: None };
        assert_eq!(world.node.sessions.log_out(credentials, scope).await.unwrap(), 1, "an imported token logs out too");
        world.clock.advance(DAY);
        assert_eq!(import(&world, &[token(&world, OLD)]).await.imported, 0);
        assert!(refresh(&world, OLD).await.is_err());
    }
}

#[tokio::test]
async fn a_login_that_brings_an_imported_token_ends_its_session() {
    let world = world().await;
    let text = crate::domain::secret::Secret::new(OLD.to_owned());
    let old_refresh_token = Some(crate::sessions::OldToken { text, is_replaced: false });
    world.node.sessions.issue(Login { old_refresh_token, ..login("ada") }).await.unwrap();
    assert!(matches!(refresh(&world, OLD).await, Err(RefreshError::Dead(DeadToken::Revoked))));
}

#[tokio::test]
async fn without_rotation_an_imported_token_is_replaced_all_the_same() {
    let world = world_with(SessionPolicy { rotation: false, ..policy() }).await;
    let pair = refresh(&world, OLD).await.unwrap();
    let own = refresh_token(&pair);
    world.clock.advance(6 * DAY);
    let next = refresh(&world, &own).await.unwrap();
    assert_eq!((next.session, next.generation), (pair.session, Generation(1)));
}

#[tokio::test]
async fn garbage_costs_a_look_up_only_while_imports_are_taken() {
    let garbage = "a".repeat(64);
    let without = World::new();
    assert!(matches!(refresh(&without, &garbage).await, Err(RefreshError::Dead(DeadToken::Malformed))));
    assert_eq!(without.store.calls(), 0);

    let with = world().await;
    let before = with.store.calls();
    for token in ["tgr_forged", "", &"a".repeat(5000)] {
        assert!(matches!(refresh(&with, token).await, Err(RefreshError::Dead(DeadToken::Malformed))));
    }
    assert_eq!(with.store.calls(), before, "what cannot have been imported is not looked up");
    assert!(matches!(refresh(&with, &garbage).await, Err(RefreshError::Dead(DeadToken::Malformed))));
    assert_eq!(with.store.calls(), before + 1);
    with.clock.advance(30 * DAY);
    assert!(matches!(refresh(&with, &garbage).await, Err(RefreshError::Dead(DeadToken::Malformed))));
    assert_eq!(with.store.calls(), before + 1, "after the cut-off date");
}

#[tokio::test]
async fn a_store_that_is_away_refuses_no_imported_token_for_good() {
    let world = world().await;
    world.store.fail(Fault::Refuses);
    let error = refresh(&world, OLD).await.unwrap_err();
    assert!(!error.is_final(), "{error}");
    world.store.fail(None);
    world.clock.advance(MINUTE);
    assert!(refresh(&world, OLD).await.is_ok());
}

#[tokio::test]
async fn no_promise_of_another_maker_outlasts_what_the_operator_allows() {
    let world = world().await;
    let eternal = ForeignToken { expires_at: world.now().saturating_add(3650 * DAY), ..token(&world, "eternal") };
    let aged = ForeignToken { created_at: world.now().saturating_sub(400 * DAY), ..token(&world, "aged") };
    import(&world, &[eternal, aged]).await;
    world.clock.advance(4 * DAY);
    assert!(refresh(&world, "aged").await.is_ok(), "its maker said so");
    world.clock.advance(86 * DAY);
    assert!(refresh(&world, "eternal").await.is_err());
}
