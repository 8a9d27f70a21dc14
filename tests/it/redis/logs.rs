//! The revocation log in Redis: lost, long, waited for, trimmed.

use std::time::Duration;

use tokengate::domain::revocation::{Cutoff, Revocation, Target};
use tokengate::domain::time::{Clock as _, Timestamp};
use tokengate::store::{LogCursor, RevocationLog as _, SessionStore as _};
use tokio::time::Instant;

use super::{DAY, SystemClock, connect, end_of, is_unavailable, revocation, session};
use crate::support::redis::RedisServer;

#[tokio::test]
async fn a_server_that_lost_the_log_is_noticed() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    store.revoke(&end_of(session("alice", 1).id)).await.unwrap();
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    let heartbeat = store.follow(Some(&cursor), Duration::from_millis(20)).await.unwrap();
    assert!(heartbeat.revocations.is_empty() && heartbeat.cursor == cursor);

    server.cli(&["FLUSHALL"]);
    assert!(is_unavailable(&store.follow(Some(&cursor), Duration::from_millis(20)).await));
    let whole = store.follow(None, Duration::ZERO).await.unwrap();
    let tail = store.follow(Some(&cursor), Duration::from_millis(20)).await;
    assert!(is_unavailable(&tail), "another reader, which has not read it whole since");
    assert!(whole.revocations.is_empty());
    store.follow(Some(&whole.cursor), Duration::from_millis(20)).await.unwrap();
}

#[tokio::test]
async fn a_log_that_went_back_is_noticed() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let one = session("alice", 1);
    store.revoke(&end_of(one.id)).await.unwrap();
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    let log = format!("tg:{{{}}}:revocations", one.id.partition().0);
    server.cli(&["DEL", &log]);
    server.cli(&["XADD", &log, "1-1", "f", "1", "r", "1{}"]);
    let tail = store.follow(Some(&cursor), Duration::from_millis(20)).await;
    assert!(is_unavailable(&tail), "{tail:?}");
}

#[tokio::test]
async fn a_reader_that_was_dropped_while_waiting_does_not_disturb_the_next() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    let waiting = store.follow(Some(&cursor), Duration::from_secs(1));
    assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
    let one = session("alice", 1);
    let (tail, ended) = tokio::join!(store.follow(Some(&cursor), Duration::from_secs(1)), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.revoke(&end_of(one.id)).await
    });
    ended.unwrap();
    assert_eq!(tail.unwrap().revocations, [end_of(one.id)]);
}

#[tokio::test]
async fn a_waiting_reader_holds_up_no_one() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    let began = Instant::now();
    let calls = async {
        for _ in 0..50 {
            store.probe().await.unwrap();
        }
        began.elapsed()
    };
    let (tail, calls) = tokio::join!(store.follow(Some(&cursor), Duration::from_secs(2)), calls);
    assert!(tail.unwrap().revocations.is_empty());
    assert!(calls < Duration::from_secs(1), "{calls:?}");
}

#[tokio::test]
async fn a_long_log_is_read_whole_and_in_order() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let subject = session("alice", 1).subject;
    let mut expected = Vec::new();
    for n in 0..1_201_i64 {
        let target = Target::Subject { subject: subject.clone(), issued_before: Cutoff::named(Timestamp::from_millis(n)) };
        expected.push(revocation(target));
        store.revoke(expected.last().unwrap()).await.unwrap();
    }
    assert_eq!(store.follow(None, Duration::ZERO).await.unwrap().revocations, expected);

    let (mut cursor, mut seen) = (LogCursor::default(), Vec::new());
    while seen.len() < expected.len() {
        let batch = store.follow(Some(&cursor), Duration::ZERO).await.unwrap();
        assert!(!batch.revocations.is_empty());
        seen.extend(batch.revocations);
        cursor = batch.cursor;
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn forgotten_revocations_leave_the_log_without_a_sweep() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let one = session("alice", 1);
    let minute = Duration::from_secs(60);
    for n in 0..1_000 {
        let revoked_at = Timestamp::from_secs(1_700_000_000).saturating_add(Duration::from_secs(n));
        let forget_at = revoked_at.saturating_add(minute);
        let target = Target::Session { session: one.id };
        store.revoke(&Revocation { target, revoked_at, forget_at }).await.unwrap();
    }
    let length: u64 = server.cli(&["XLEN", &format!("tg:{{{}}}:revocations", one.id.partition().0)]).parse().unwrap();
    assert!((60..100).contains(&length), "{length}");
}

#[tokio::test]
async fn a_clock_ahead_of_the_servers_forgets_nothing_when_it_revokes() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let now = SystemClock.now();
    let (a, b) = (session("alice", 1), session("alice", 2));
    let forget_at = now.saturating_add(Duration::from_secs(1_800));
    store.revoke(&Revocation { forget_at, revoked_at: now, ..end_of(a.id) }).await.unwrap();
    let revoked_at = now.saturating_add(Duration::from_secs(3_600));
    store.revoke(&Revocation { forget_at: revoked_at.saturating_add(DAY), revoked_at, ..end_of(b.id) }).await.unwrap();
    assert_eq!(store.follow(None, Duration::ZERO).await.unwrap().revocations.len(), 2);
}
