//! What the Redis store keeps of sessions, and how much of it.

use std::sync::Arc;
use std::time::Duration;

use tokengate::domain::ids::{Generation, SessionId};
use tokengate::domain::revocation::{Cutoff, Target};
use tokengate::domain::rotation::Rotation;
use tokengate::domain::session::{Lifetime, Session};
use tokengate::domain::time::Timestamp;
use tokengate::store::redis::RedisStore;
use tokengate::store::{RevocationLog as _, SessionLimit, SessionStore as _, StoreError, Swap, Version};

use super::{DAY, NOW, connect, end_of, options, revocation, session};
use crate::store::rig::sweep;
use crate::support::redis::RedisServer;

#[tokio::test]
async fn a_full_server_takes_no_login_and_every_logout() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let (a, b) = (session("alice", 1), session("alice", 2));
    store.create(&a, None, NOW).await.unwrap();
    store.create(&b, None, NOW).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(matches!(store.create(&session("bob", 3), None, NOW).await, Err(StoreError::Full(_))));
    assert!(matches!(store.swap(Version(1), &a).await, Err(StoreError::Full(_))));
    assert_eq!(store.load(a.id).await.unwrap().unwrap().session, a);
    assert_eq!(store.revoke(&end_of(a.id)).await.unwrap(), [a.id]);
    let all = Target::Subject { subject: b.subject.clone(), issued_before: Cutoff::named(Timestamp::MAX) };
    assert_eq!(store.revoke(&revocation(all)).await.unwrap(), [b.id]);
    let issuer: Arc<str> = "https://issuer".into();
    let token = tokengate::domain::ids::TokenId::new("jti").unwrap();
    store.revoke(&revocation(Target::Token { issuer, token })).await.unwrap();
    assert_eq!(store.follow(None, Duration::ZERO).await.unwrap().revocations.len(), 3);
}

#[tokio::test]
async fn every_key_carries_the_hash_tag_of_its_partition_and_nothing_is_left_over() {
    let server = RedisServer::start();
    let mut options = options(&server);
    options.key_prefix = "acme:".into();
    let store = RedisStore::connect(&options).await.unwrap();
    let sessions = [session("alice", 1), session("alice", 2), session("bob", 3)];
    for session in &sessions {
        store.create(session, None, NOW).await.unwrap();
    }
    store.revoke(&end_of(sessions[0].id)).await.unwrap();
    let mut expected = Vec::new();
    for session in &sessions[1..] {
        let p = session.id.partition().0;
        expected.push(format!("acme:{{{p}}}:session:{}", session.id));
        expected.push(format!("acme:{{{p}}}:subject:{}", session.subject));
        expected.push(format!("acme:{{{p}}}:expiry"));
    }
    expected.push(format!("acme:{{{}}}:revocations", sessions[0].id.partition().0));
    expected.sort();
    expected.dedup();
    let keys = |server: &RedisServer| {
        let mut keys: Vec<String> = server.cli(&["KEYS", "*"]).lines().map(str::to_owned).collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&server), expected);

    assert_eq!(sweep(&store, NOW.saturating_add(60 * DAY)).await.sessions, 2);
    let log = format!("acme:{{{}}}:revocations", sessions[0].id.partition().0);
    // An empty log, and what the sweep knows of itself.
    let mut expected = vec![log.clone(), "acme:{0}:fences".to_owned(), "acme:{0}:lease:sweep".to_owned()];
    for p in 0..4 {
        expected.push(format!("acme:{{{p}}}:fence"));
        if sessions[1..].iter().any(|session| session.id.partition().0 == p) {
            expected.push(format!("acme:{{{p}}}:expired"));
        }
    }
    expected.sort();
    assert_eq!(keys(&server), expected);
    assert_eq!(server.cli(&["XLEN", &log]), "0");
}

#[tokio::test]
async fn a_record_outlives_its_session_in_redis_whatever_the_clocks_say() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let mut session = session("alice", 1);
    // A node whose clock is years behind the server's.
    let now = Timestamp::from_secs(1_000_000_000);
    session.lifetime = Lifetime::starting(now, DAY, 30 * DAY);
    session.last_used_at = now;
    store.create(&session, None, now).await.unwrap();
    let key = format!("tg:{{{}}}:session:{}", session.id.partition().0, session.id);
    let left = || Duration::from_millis(server.cli(&["PTTL", &key]).parse().unwrap());
    assert!((DAY + DAY / 2..=2 * DAY).contains(&left()), "{:?}", left());
    session.lifetime = session.lifetime.extended(now.saturating_add(DAY / 2), DAY);
    session.last_used_at = now.saturating_add(DAY / 2);
    assert_eq!(store.swap(Version(1), &session).await.unwrap(), Swap::Done(Version(2)));
    assert!((DAY + DAY / 2..=2 * DAY).contains(&left()), "{:?}", left());
}

#[tokio::test]
async fn a_session_takes_no_more_memory_however_often_it_is_refreshed() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let mut session = session("alice", 1);
    store.create(&session, None, NOW).await.unwrap();
    let refresh = async |session: &mut Session, n: u32| {
        let at = NOW.saturating_add(Duration::from_secs(u64::from(n) * 600));
        session.rotation =
            Rotation { current: Generation(n + 1), parent: Generation(n), acknowledged: false, rotated_at: Some(at) };
        session.lifetime = session.lifetime.extended(at, 7 * DAY);
        session.last_used_at = at;
        assert_eq!(store.swap(Version(u64::from(n)), session).await.unwrap(), Swap::Done(Version(u64::from(n) + 1)));
    };
    let bytes = || -> u64 {
        server.cli(&["KEYS", "*"]).lines().map(|key| server.cli(&["MEMORY", "USAGE", key]).parse::<u64>().unwrap()).sum()
    };
    refresh(&mut session, 1).await;
    let (first, keys) = (bytes(), server.cli(&["DBSIZE"]));
    for n in 2..=1_000 {
        refresh(&mut session, n).await;
    }
    assert_eq!(server.cli(&["DBSIZE"]), keys);
    // Three counters have three digits more each; an allocation may round up to the next step.
    assert!(bytes() <= first + 64, "{first} bytes became {}", bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logging_out_everywhere_while_logins_arrive_leaves_no_session_behind() {
    let server = RedisServer::start();
    let store = Arc::new(connect(&server).await);
    for round in 0..10_u8 {
        let mut logins = tokio::task::JoinSet::new();
        for n in 0..16 {
            let (store, session) = (store.clone(), session("alice", round * 16 + n));
            logins.spawn(async move { store.create(&session, None, NOW).await });
        }
        let all = Target::Subject { subject: session("alice", 0).subject, issued_before: Cutoff::named(Timestamp::MAX) };
        store.revoke(&revocation(all.clone())).await.unwrap();
        while let Some(login) = logins.join_next().await {
            login.unwrap().unwrap();
        }
        store.revoke(&revocation(all)).await.unwrap();
        assert_eq!(server.cli(&["--scan", "--pattern", "*session*"]), "");
        assert_eq!(server.cli(&["--scan", "--pattern", "*subject*"]), "");
        assert_eq!(server.cli(&["--scan", "--pattern", "*expiry*"]), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_when_logins_arrive_together() {
    let server = RedisServer::start();
    let store = Arc::new(connect(&server).await);
    let limit = SessionLimit { sessions_max: 3, forget_at: NOW.saturating_add(DAY) };
    let mut logins = tokio::task::JoinSet::new();
    for n in 0..16 {
        let (store, session) = (store.clone(), session("alice", n));
        logins.spawn(async move { store.create(&session, Some(limit), NOW).await });
    }
    let mut ended = 0;
    while let Some(login) = logins.join_next().await {
        ended += login.unwrap().unwrap().len();
    }
    assert_eq!(ended, 13);
    assert_eq!(store.sessions_of(&session("alice", 0).subject, NOW).await.unwrap().len(), 3);
    assert_eq!(store.follow(None, Duration::ZERO).await.unwrap().revocations.len(), 13);
}

#[tokio::test]
async fn a_subject_with_more_sessions_than_fit_into_a_step_loses_them_all() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let template = session("alice", 1);
    for n in 0..2_100_u64 {
        let id = SessionId::new(template.id.partition(), NOW, n.to_be_bytes());
        store.create(&Session { id, ..template.clone() }, None, NOW).await.unwrap();
    }
    let all = revocation(Target::Subject { subject: template.subject.clone(), issued_before: Cutoff::named(Timestamp::MAX) });
    assert_eq!(store.revoke(&all).await.unwrap().len(), 2_100);
    assert_eq!(store.follow(None, Duration::ZERO).await.unwrap().revocations, [all], "logged once");
    assert_eq!(server.cli(&["DBSIZE"]), "1");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_an_error_and_no_absence() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let session = session("alice", 1);
    let key = format!("tg:{{{}}}:session:{}", session.id.partition().0, session.id);
    for (field, value) in [("d", "2{}"), ("d", "1{"), ("d", ""), ("v", "x"), ("s", ""), ("g", "-1"), ("a", "2")] {
        store.create(&session, None, NOW).await.unwrap();
        server.cli(&["HSET", &key, field, value]);
        let loaded = store.load(session.id).await;
        assert!(matches!(loaded, Err(StoreError::Unreadable(_))), "{field} = {value}: {loaded:?}");
        server.cli(&["DEL", &key]);
    }
    server.cli(&["SET", &key, "x"]);
    assert!(matches!(store.load(session.id).await, Err(StoreError::Unreadable(_))));
}

/// Between the session and the pointer to it lie two slots: an import may break off there.
#[tokio::test]
async fn an_import_that_broke_off_between_its_steps_is_completed_and_revives_nothing() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let now = crate::store::rig::now();
    let one = crate::store::rig::import(store.partitions(), "ann", now, 1);
    let lose_pointer = || {
        let pointer = server.cli(&["--scan", "--pattern", "tg:*:imported:*"]);
        assert_eq!(server.cli(&["DEL", &pointer]), "1");
    };
    store.import(std::slice::from_ref(&one), now).await.unwrap();
    lose_pointer();
    assert_eq!(store.imported(&[one.digest]).await.unwrap(), [None]);
    assert_eq!(store.import(std::slice::from_ref(&one), now).await.unwrap(), 0, "the session is there");
    assert_eq!(store.imported(&[one.digest]).await.unwrap(), [Some(one.session.id)]);
    assert_eq!(store.sessions_of(&one.session.subject, now).await.unwrap(), std::slice::from_ref(&one.session));

    store.revoke(&crate::store::rig::by_session(one.session.id, now)).await.unwrap();
    lose_pointer();
    assert_eq!(store.import(std::slice::from_ref(&one), now).await.unwrap(), 0);
    assert_eq!(store.load(one.session.id).await.unwrap(), None, "a logout outlives whatever broke off");
    // Both records go by themselves.
    let keys = server.cli(&["--scan", "--pattern", "tg:*:import*"]);
    assert_eq!(keys.lines().count(), 2);
    assert!(keys.lines().all(|key| server.cli(&["PTTL", key]).parse::<i64>().unwrap() > 0), "{keys}");
}
