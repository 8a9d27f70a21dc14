//! Many writers at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokengate::domain::ids::Partition;
use tokengate::domain::revocation::Revocation;
use tokengate::store::{SessionLimit, SessionStore, Store, Swap};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::store::rig::{HOUR, PATIENCE, by_session, follow_for, id_of, import, now, read_log, rotated, session, spawn, subject};

pub(crate) async fn one_of_many_swaps_wins_each_version(store: Arc<dyn Store>) {
    const WRITERS: usize = 16;
    const ATTEMPTS: usize = 15;
    let now = now();
    let first = session(store.partitions(), "ann", now, 1);
    store.create(&first, None, now).await.unwrap();
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (store, id) = (Arc::clone(&store), first.id);
        writers.spawn(async move {
            let mut won = Vec::new();
            for _ in 0..ATTEMPTS {
                let read = store.load(id).await.unwrap().unwrap();
                match store.swap(read.version, &rotated(&read.session, now)).await.unwrap() {
                    Swap::Done(version) => won.push((read.version, version)),
                    Swap::Lost => {}
                    Swap::Missing => panic!("nobody ended the session"),
                }
            }
            won
        });
    }
    let won: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    let replaced: BTreeSet<_> = won.iter().map(|(replaced, _)| *replaced).collect();
    let made: BTreeSet<_> = won.iter().map(|(_, made)| *made).collect();
    assert_eq!((replaced.len(), made.len()), (won.len(), won.len()), "two swaps of one version were done");
    let last = store.load(first.id).await.unwrap().unwrap();
    assert_eq!(last.session.rotation.current.0 as usize, 1 + won.len(), "a rotation was lost or made twice");
    assert_eq!(Some(&last.version), made.last());
}

pub(crate) async fn concurrent_creation_of_one_session_makes_one(store: Arc<dyn Store>) {
    let now = now();
    let limit = Some(SessionLimit { sessions_max: 1, forget_at: now.saturating_add(HOUR) });
    let session = session(store.partitions(), "ann", now, 1);
    let mut logins = JoinSet::new();
    for _ in 0..16 {
        let (store, session) = (Arc::clone(&store), session.clone());
        logins.spawn(async move { store.create(&session, limit, now).await.unwrap() });
    }
    assert!(logins.join_all().await.iter().all(Vec::is_empty));
    assert_eq!(store.sessions_of(&session.subject, now).await.unwrap(), [session]);
    assert_eq!(read_log(&*store, None).await.revocations, []);
}

pub(crate) async fn concurrent_logins_stay_within_the_limit(store: Arc<dyn Store>) {
    const LOGINS: u64 = 24;
    const SESSIONS_MAX: u32 = 4;
    let now = now();
    let limit = Some(SessionLimit { sessions_max: SESSIONS_MAX, forget_at: now.saturating_add(HOUR) });
    let mut logins = JoinSet::new();
    for n in 0..LOGINS {
        let store = Arc::clone(&store);
        let session = session(store.partitions(), "ann", now.saturating_add(Duration::from_millis(n)), n);
        logins.spawn(async move { store.create(&session, limit, now).await.unwrap() });
    }
    let ended: Vec<_> = logins.join_all().await.into_iter().flatten().collect();
    let living = store.sessions_of(&subject("ann"), now).await.unwrap();
    assert_eq!(living.len(), SESSIONS_MAX as usize);
    assert_eq!(ended.len() + living.len(), usize::try_from(LOGINS).unwrap());
    let logged = read_log(&*store, None).await.revocations;
    let expected: BTreeSet<_> = ended.iter().map(|&id| format!("{:?}", by_session(id, now))).collect();
    assert_eq!(logged.iter().map(|revocation| format!("{revocation:?}")).collect::<BTreeSet<_>>(), expected);
    assert_eq!(logged.len(), expected.len());
}

pub(crate) async fn a_swap_that_races_a_revocation_revives_nothing(store: Arc<dyn Store>) {
    let now = now();
    for round in 0..40 {
        let session = session(store.partitions(), "ann", now, round);
        store.create(&session, None, now).await.unwrap();
        let read = store.load(session.id).await.unwrap().unwrap();
        let swap = spawn({
            let store = Arc::clone(&store);
            async move { store.swap(read.version, &rotated(&read.session, now)).await.unwrap() }
        });
        let revoke = spawn({
            let store = Arc::clone(&store);
            async move { store.revoke(&by_session(session.id, now)).await.unwrap() }
        });
        assert_eq!(revoke.await.unwrap(), [session.id]);
        assert_ne!(swap.await.unwrap(), Swap::Lost);
        assert_eq!(store.load(session.id).await.unwrap(), None);
    }
}

pub(crate) async fn two_imports_at_once_import_each_token_once(store: Arc<dyn Store>) {
    const TOKENS: u64 = 500;
    let now = now();
    let batch: Vec<_> = (0..TOKENS).map(|n| import(store.partitions(), &format!("user-{n}"), now, n)).collect();
    let mut imports = JoinSet::new();
    for turned in [false, true] {
        let (store, mut batch) = (Arc::clone(&store), batch.clone());
        if turned {
            batch.reverse();
        }
        imports.spawn(async move {
            let mut new = 0;
            for part in batch.chunks(100) {
                new += store.import(part, now).await.unwrap();
            }
            new
        });
    }
    assert_eq!(imports.join_all().await.into_iter().sum::<u64>(), TOKENS);
    for import in &batch {
        assert_eq!(store.sessions_of(&import.session.subject, now).await.unwrap(), std::slice::from_ref(&import.session));
    }
}

pub(crate) async fn a_follower_misses_nothing_of_concurrent_writers(store: Arc<dyn Store>) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 40;
    let now = now();
    let follower = spawn({
        let store = Arc::clone(&store);
        async move { follow_for(&*store, None, usize::try_from(WRITERS * EACH).unwrap()).await }
    });
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let owner = subject(&format!("user-{writer}"));
            let mut written = Vec::new();
            for n in 0..EACH {
                let revocation = by_session(id_of(store.partitions(), &owner, now, writer * EACH + n), now);
                store.revoke(&revocation).await.unwrap();
                written.push(revocation);
            }
            written
        });
    }
    let written = writers.join_all().await;
    let followed = timeout(PATIENCE, follower).await.unwrap().unwrap();
    assert_eq!(followed.len(), written.iter().map(Vec::len).sum::<usize>());
    for one_writer in &written {
        let of_this_writer = |revocation: &&Revocation| one_writer.contains(revocation);
        assert!(followed.iter().filter(of_this_writer).eq(one_writer), "missing, doubled or out of order");
    }
    let read_afterwards = read_log(&*store, None).await.revocations;
    assert_eq!(by_partition(&*store, &followed), by_partition(&*store, &read_afterwards), "the log has one order");
}

fn by_partition<'a>(store: &dyn SessionStore, revocations: &'a [Revocation]) -> BTreeMap<Partition, Vec<&'a Revocation>> {
    let mut logs = BTreeMap::<_, Vec<_>>::new();
    for revocation in revocations {
        logs.entry(revocation.target.partition(store.partitions())).or_default().push(revocation);
    }
    logs
}
