//! What is of everyone: revocations of all that is older, nodes that know each other, marks in the log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokengate::domain::ids::Partition;
use tokengate::domain::lag::LagFigures;
use tokengate::domain::node::{Asks, Canary, Node, NodeId};
use tokengate::domain::revocation::Revocation;
use tokengate::domain::stats::Gauge;
use tokengate::domain::time::Timestamp;
use tokengate::store::{LogCursor, Store};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::store::rig::{HOUR, MINUTE, PATIENCE, by_token, now, of_everyone, read_log, session, spawn, subject, sweep};

const A_WHILE: Duration = Duration::from_millis(50);

pub(crate) async fn a_revocation_of_everyone_is_logged_alone(store: Arc<dyn Store>) {
    let now = now();
    let session = session(store.partitions(), "ann", now, 1);
    store.create(&session, None, now).await.unwrap();
    let revocation = of_everyone(now.saturating_add(MINUTE), now);
    assert_eq!(store.revoke(&revocation).await.unwrap(), []);
    assert!(store.load(session.id).await.unwrap().is_some());
    assert_eq!(read_log(&*store, None).await.revocations, [revocation]);
}

pub(crate) async fn what_was_created_before_a_moment_is_ended_everywhere(store: Arc<dyn Store>) {
    const OLD: u64 = 1500;
    const USERS: u64 = 300;
    let now = now();
    let moment = now.saturating_sub(MINUTE);
    let user = |n: u64| format!("user-{}", n % USERS);
    let mut logins = JoinSet::new();
    for n in 0..OLD + USERS {
        let age = if n < OLD { Duration::from_millis(1) } else { Duration::ZERO };
        let session = session(store.partitions(), &user(n), moment.saturating_sub(age), n);
        let store = Arc::clone(&store);
        logins.spawn(async move { store.create(&session, None, now).await.unwrap() });
    }
    logins.join_all().await;
    assert_eq!(store.end_created_before(moment).await.unwrap(), OLD);
    for n in 0..USERS {
        let left = store.sessions_of(&subject(&user(n)), now).await.unwrap();
        assert_eq!(left, [session(store.partitions(), &user(n), moment, OLD + n)]);
    }
    assert_eq!(store.end_created_before(moment).await.unwrap(), 0);
    let measured = store.measure(now).await.unwrap();
    assert_eq!(measured.value(Gauge::Sessions), Some(USERS), "nothing is left in an index");
    assert_eq!(read_log(&*store, None).await.revocations, []);
}

pub(crate) async fn a_node_is_known_until_it_was_silent_for_too_long_or_leaves(store: Arc<dyn Store>) {
    assert_eq!(store.nodes().await.unwrap(), []);
    let [lasting, leaving, silent] = [1, 2, 3].map(node);
    assert_eq!(store.register(&lasting, HOUR).await.unwrap(), 1);
    assert_eq!(store.register(&leaving, HOUR).await.unwrap(), 2);
    let lasting = Node { lag: LagFigures { samples: 5, ..LagFigures::default() }, ..lasting };
    assert_eq!(store.register(&lasting, HOUR).await.unwrap(), 2, "the same node with other figures");
    store.register(&silent, A_WHILE).await.unwrap();
    store.unregister(leaving.id).await.unwrap();
    store.unregister(leaving.id).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while store.nodes().await.unwrap().contains(&silent) {
        assert!(Instant::now() < deadline, "still known");
        sleep(A_WHILE / 5).await;
    }
    assert_eq!(store.nodes().await.unwrap(), std::slice::from_ref(&lasting));
    assert_eq!(store.register(&silent, HOUR).await.unwrap(), 2);
    assert_eq!(store.nodes().await.unwrap(), [lasting, silent]);
}

pub(crate) async fn a_canary_wakes_a_follower_and_is_no_revocation(store: Arc<dyn Store>) {
    let cursor = read_log(&*store, None).await.cursor;
    let follower = spawn({
        let store = Arc::clone(&store);
        async move { store.follow(Some(&cursor), 2 * PATIENCE).await.unwrap() }
    });
    sleep(A_WHILE).await;
    assert!(!follower.is_finished(), "there was nothing to bring");
    let canary = Canary { node: node(1).id, number: 7, asks: Asks::Writer };
    store.mark(Partition(0), canary).await.unwrap();
    let batch = timeout(PATIENCE, follower).await.unwrap().unwrap();
    assert_eq!((batch.revocations, batch.canaries), (vec![], vec![canary]));
    let after = read_log(&*store, Some(&batch.cursor)).await;
    assert_eq!((after.revocations, after.canaries), (vec![], vec![]), "each follower sees it once");

    assert_eq!(sweep(&*store, now().saturating_add(24 * HOUR)).await.revocations, 0);
    let news = by_token("i", "news", now());
    store.revoke(&news).await.unwrap();
    assert_eq!(read_log(&*store, Some(&batch.cursor)).await.revocations, [news]);
}

pub(crate) async fn a_canary_comes_after_what_was_logged_before_it(store: Arc<dyn Store>) {
    const ROUNDS: u64 = 40;
    let follower = spawn({
        let store = Arc::clone(&store);
        async move {
            let mut cursor: Option<LogCursor> = None;
            let mut seen: Vec<Revocation> = Vec::new();
            let mut canaries: u64 = 0;
            while canaries < ROUNDS {
                let batch = store.follow(cursor.as_ref(), PATIENCE).await.unwrap();
                seen.extend(batch.revocations);
                for canary in batch.canaries {
                    let named =
                        |revocation: &Revocation| format!("{:?}", revocation.target).contains(&format!("<{}>", canary.number));
                    assert!(seen.iter().any(named), "canary {} came first", canary.number);
                    canaries += 1;
                }
                cursor = Some(batch.cursor);
            }
        }
    });
    for number in 0..ROUNDS {
        let revocation = by_token("i", &format!("<{number}>"), now());
        store.revoke(&revocation).await.unwrap();
        let partition = revocation.target.partition(store.partitions());
        store.mark(partition, Canary { node: node(1).id, number, asks: Asks::Everyone }).await.unwrap();
    }
    timeout(PATIENCE, follower).await.unwrap().unwrap();
}

pub(crate) async fn canaries_do_not_pile_up(store: Arc<dyn Store>) {
    const NODES: u64 = 2;
    let partitions = store.partitions();
    let old = by_token("i", "old", now());
    store.revoke(&old).await.unwrap();
    for number in 0..10 * u64::from(partitions.count()) {
        for name in 0..NODES {
            let partition = Partition(u16::try_from(number % u64::from(partitions.count())).unwrap());
            store.mark(partition, Canary { node: node(name).id, number, asks: Asks::Writer }).await.unwrap();
        }
    }
    let whole = read_log(&*store, None).await;
    assert_eq!(whole.revocations, [old]);
    // One writer of this process has one in each partition; several share the place here.
    let most = NODES * u64::from(partitions.count());
    assert!(whole.canaries.len() as u64 <= most, "{} canaries", whole.canaries.len());
    assert!(!whole.canaries.is_empty());
}

pub(crate) async fn a_canary_for_everyone_stays_until_all_have_seen_it(store: Arc<dyn Store>) {
    let for_all = Canary { node: node(1).id, number: 0, asks: Asks::Everyone };
    store.mark(Partition(0), for_all).await.unwrap();
    for number in 1..20 {
        store.mark(Partition(0), Canary { node: node(1).id, number, asks: Asks::Writer }).await.unwrap();
        store.mark(Partition(0), Canary { node: node(1).id, number: 100 + number, asks: Asks::Everyone }).await.unwrap();
    }
    assert!(read_log(&*store, None).await.canaries.contains(&for_all));
}

pub(crate) async fn receipts_are_of_one_canary(store: Arc<dyn Store>) {
    let asked = |number| Canary { node: node(1).id, number, asks: Asks::Everyone };
    assert_eq!(store.receipts(asked(1)).await.unwrap(), []);
    for giver in [2, 3, 2] {
        store.give_receipt(asked(1), node(giver).id).await.unwrap();
    }
    store.give_receipt(asked(2), node(4).id).await.unwrap();
    let given: BTreeSet<NodeId> = store.receipts(asked(1)).await.unwrap().into_iter().collect();
    assert_eq!(given, BTreeSet::from([node(2).id, node(3).id]));
    assert_eq!(store.receipts(asked(2)).await.unwrap(), [node(4).id]);
}

fn node(number: u64) -> Node {
    Node {
        id: NodeId::new(number.to_be_bytes()),
        name: format!("node {number} ☂"),
        started_at: Timestamp::from_secs(1_790_000_000),
        lag: LagFigures::default(),
    }
}
