//! Revocations: log and follow.

use std::sync::Arc;
use std::time::Duration;

use tokengate::domain::revocation::Revocation;
use tokengate::store::Store;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::store::rig::{
    MINUTE, PATIENCE, by_session, by_subject, by_token, follow_for, id_of, now, read_log, session, spawn, subject,
};

const A_WHILE: Duration = Duration::from_millis(50);

pub(crate) async fn revoking_a_session_deletes_and_logs_it(store: Arc<dyn Store>) {
    let now = now();
    let ended = session(store.partitions(), "ann", now, 1);
    let other = session(store.partitions(), "ann", now, 2);
    store.create(&ended, None, now).await.unwrap();
    store.create(&other, None, now).await.unwrap();
    let revocation = by_session(ended.id, now);
    assert_eq!(store.revoke(&revocation).await.unwrap(), [ended.id]);
    assert_eq!(store.load(ended.id).await.unwrap(), None);
    assert_eq!(store.sessions_of(&other.subject, now).await.unwrap(), [other]);
    assert_eq!(read_log(&*store, None).await.revocations, [revocation]);
}

pub(crate) async fn revoking_an_unknown_session_is_logged(store: Arc<dyn Store>) {
    let now = now();
    let revocation = by_session(session(store.partitions(), "ann", now, 1).id, now);
    assert_eq!(store.revoke(&revocation).await.unwrap(), []);
    assert_eq!(read_log(&*store, None).await.revocations, [revocation]);
}

pub(crate) async fn revoking_twice_is_harmless(store: Arc<dyn Store>) {
    let now = now();
    let session = session(store.partitions(), "ann", now, 1);
    store.create(&session, None, now).await.unwrap();
    for revocation in [by_session(session.id, now), by_subject(subject("ann"), now, now), by_token("issuer", "t", now)] {
        let before = read_log(&*store, None).await.cursor;
        store.revoke(&revocation).await.unwrap();
        assert_eq!(store.revoke(&revocation).await.unwrap(), []);
        let mut logged = read_log(&*store, Some(&before)).await.revocations;
        logged.dedup();
        assert_eq!(logged, [revocation]);
    }
}

pub(crate) async fn revoking_a_subject_ends_what_was_created_before(store: Arc<dyn Store>) {
    let now = now();
    let moment = now.saturating_add(MINUTE);
    let millisecond = Duration::from_millis(1);
    let before = [
        session(store.partitions(), "ann", now, 1),
        session(store.partitions(), "ann", moment.saturating_sub(millisecond), 2),
        session(store.partitions(), "ann", moment.saturating_sub(millisecond), 3),
    ];
    let after = [
        session(store.partitions(), "ann", moment, 4),
        session(store.partitions(), "ann", moment.saturating_add(millisecond), 5),
    ];
    let other = session(store.partitions(), "bob", now, 6);
    for session in before.iter().rev().chain(&after).chain([&other]) {
        store.create(session, None, now).await.unwrap();
    }
    let revocation = by_subject(subject("ann"), moment, now);
    assert_eq!(store.revoke(&revocation).await.unwrap(), before.clone().map(|session| session.id));
    for session in &before {
        assert_eq!(store.load(session.id).await.unwrap(), None);
    }
    assert_eq!(store.sessions_of(&subject("ann"), now).await.unwrap(), after);
    assert!(store.load(other.id).await.unwrap().is_some());
    assert_eq!(read_log(&*store, None).await.revocations, [revocation]);

    let nobody = by_subject(subject("nobody"), moment, now);
    assert_eq!(store.revoke(&nobody).await.unwrap(), []);
}

pub(crate) async fn revoking_a_token_is_logged_alone(store: Arc<dyn Store>) {
    let now = now();
    let session = session(store.partitions(), "ann", now, 1);
    store.create(&session, None, now).await.unwrap();
    let revocation = by_token("https://issuer.example/{x}", "id ☂ \"1\"", now);
    assert_eq!(store.revoke(&revocation).await.unwrap(), []);
    assert!(store.load(session.id).await.unwrap().is_some());
    assert_eq!(read_log(&*store, None).await.revocations, [revocation]);
}

pub(crate) async fn a_follower_reads_the_whole_log_and_then_the_news(store: Arc<dyn Store>) {
    let now = now();
    let empty = read_log(&*store, None).await;
    assert_eq!(empty.revocations, []);
    let old = [by_token("i", "a", now), by_token("i", "b", now), by_subject(subject("ann"), now, now)];
    for revocation in &old {
        store.revoke(revocation).await.unwrap();
    }
    let whole = read_log(&*store, None).await;
    assert_eq!(by_text(whole.revocations), by_text(old.to_vec()));
    assert_eq!(by_text(read_log(&*store, Some(&empty.cursor)).await.revocations), by_text(old.to_vec()));
    let caught_up = read_log(&*store, Some(&whole.cursor)).await;
    assert_eq!(caught_up.revocations, []);
    let news = by_token("i", "c", now);
    store.revoke(&news).await.unwrap();
    for cursor in [&whole.cursor, &caught_up.cursor] {
        assert_eq!(read_log(&*store, Some(cursor)).await.revocations, std::slice::from_ref(&news));
    }
}

pub(crate) async fn a_waiting_follower_wakes_up(store: Arc<dyn Store>) {
    let now = now();
    for round in 0..3 {
        let cursor = if round == 0 { None } else { Some(read_log(&*store, None).await.cursor) };
        let follower = spawn({
            let store = Arc::clone(&store);
            async move { store.follow(cursor.as_ref(), 2 * PATIENCE).await.unwrap() }
        });
        tokio::time::sleep(A_WHILE).await;
        assert!(!follower.is_finished(), "there was nothing to bring");
        let news = by_session(id_of(store.partitions(), &subject("ann"), now, round), now);
        store.revoke(&news).await.unwrap();
        let batch = timeout(PATIENCE, follower).await.unwrap().unwrap();
        assert_eq!(batch.revocations, [news]);
    }
}

pub(crate) async fn silence_is_a_heartbeat(store: Arc<dyn Store>) {
    let now = now();
    store.revoke(&by_token("i", "a", now)).await.unwrap();
    let mut cursor = read_log(&*store, None).await.cursor;
    for _ in 0..3 {
        let started = Instant::now();
        let batch = timeout(PATIENCE, store.follow(Some(&cursor), A_WHILE)).await.unwrap().unwrap();
        assert_eq!(batch.revocations, []);
        assert!(started.elapsed() >= A_WHILE / 2, "it waits for news first");
        cursor = batch.cursor;
    }
    let news = by_token("i", "b", now);
    store.revoke(&news).await.unwrap();
    assert_eq!(read_log(&*store, Some(&cursor)).await.revocations, [news]);
}

pub(crate) async fn following_without_a_wait_returns_at_once(store: Arc<dyn Store>) {
    let empty = timeout(PATIENCE, store.follow(None, Duration::ZERO)).await.unwrap().unwrap();
    assert_eq!(empty.revocations, []);
    timeout(PATIENCE, store.follow(Some(&empty.cursor), Duration::ZERO)).await.unwrap().unwrap();
}

pub(crate) async fn two_followers_see_the_same(store: Arc<dyn Store>) {
    let now = now();
    let start = read_log(&*store, None).await.cursor;
    let followers: Vec<_> = [None, Some(start)]
        .into_iter()
        .map(|cursor| {
            let store = Arc::clone(&store);
            spawn(async move { follow_for(&*store, cursor, 20).await })
        })
        .collect();
    let revocations: Vec<Revocation> =
        (0..20).map(|n| by_session(id_of(store.partitions(), &subject("ann"), now, n), now)).collect();
    for revocation in &revocations {
        store.revoke(revocation).await.unwrap();
    }
    for follower in followers {
        assert_eq!(timeout(PATIENCE, follower).await.unwrap().unwrap(), revocations);
    }
}

pub(crate) async fn a_long_log_is_read_whole(store: Arc<dyn Store>) {
    const ENTRIES: u64 = 5000;
    let now = now();
    let mut writers = JoinSet::new();
    for writer in 0..50 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for n in 0..ENTRIES / 50 {
                store.revoke(&by_token("i", &format!("{writer} {n}"), now)).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let whole = by_text(read_log(&*store, None).await.revocations);
    assert_eq!(whole.len() as u64, ENTRIES);
    let mut distinct = whole.clone();
    distinct.dedup();
    assert_eq!(distinct.len(), whole.len());
}

/// In an order of their own: logs of several partitions come interleaved in any way.
pub(super) fn by_text(mut revocations: Vec<Revocation>) -> Vec<Revocation> {
    revocations.sort_by_cached_key(|revocation| format!("{revocation:?}"));
    revocations
}
