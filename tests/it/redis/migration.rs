//! Slots of a Cluster that move while their keys are in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokengate::domain::ids::SessionId;
use tokengate::domain::revocation::Target;
use tokengate::store::redis::RedisStore;
use tokengate::store::{RevocationLog as _, SessionStore as _, Swap};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use super::deployments::{PARTITIONS, connect};
use super::node::{Node, eventually};
use crate::store::rig::{by_session, by_token, now, rotated, session, spawn};
use crate::support::redis::cluster::{Cluster, PRIMARIES};

/// Logs in, refreshes and logs out as fast as it can until told to stop. Whatever fails ends the test. Returns whom it logged out.
fn user(store: Arc<RedisStore>, name: String, stop: Arc<AtomicBool>) -> JoinHandle<Vec<SessionId>> {
    spawn(async move {
        let mut ended = Vec::new();
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let new = session(store.partitions(), &name, now(), number);
            store.create(&new, None, now()).await.unwrap();
            let stored = store.load(new.id).await.unwrap().unwrap();
            let swapped = store.swap(stored.version, &rotated(&stored.session, now())).await.unwrap();
            assert!(matches!(swapped, Swap::Done(_)), "{swapped:?}");
            assert!(store.sessions_of(&new.subject, now()).await.unwrap().iter().any(|session| session.id == new.id));
            if number % 3 == 0 {
                assert_eq!(store.revoke(&by_session(new.id, now())).await.unwrap(), [new.id]);
                ended.push(new.id);
            }
        }
        ended
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_under_load_without_an_error_and_no_revocation_is_missed() {
    let cluster = Cluster::start();
    let (store, node) = (Arc::new(connect(&cluster.url()).await), Node::start(&cluster.url()).await);
    let stop = Arc::new(AtomicBool::new(false));
    let users: Vec<_> = (0..6).map(|n| user(Arc::clone(&store), format!("user-{n}"), Arc::clone(&stop))).collect();
    let cluster = spawn_blocking(move || {
        // Every partition to the next primary.
        for partition in 0..PARTITIONS {
            let slot = cluster.slot_of(&partition.to_string());
            cluster.migrate(slot, (cluster.owner_of(slot) + 1) % PRIMARIES, |_| {});
        }
        cluster
    })
    .await
    .unwrap();
    stop.store(true, Ordering::Relaxed);
    let mut ended = Vec::new();
    for user in users {
        ended.extend(user.await.unwrap());
    }
    assert!(ended.len() > 20, "there was load: {}", ended.len());
    eventually("the node knows every logout", async || ended.iter().all(|&id| node.replica.covers_session(id))).await;
    let log = store.follow(None, Duration::ZERO).await.unwrap().revocations;
    for id in ended {
        assert!(log.iter().any(|revocation| revocation.target == Target::Session { session: id }));
    }
    node.end().await;
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_in_a_slot_that_is_half_moved_is_heard_of_soon() {
    let cluster = Cluster::start();
    let (store, node) = (Arc::new(connect(&cluster.url()).await), Node::start(&cluster.url()).await);
    let revocation = |number: u32| by_token("issuer", &number.to_string(), now());
    // The log is the only key, and gone from where it was when the slot is half moved.
    let partition = revocation(0).target.partition(store.partitions());
    let slot = cluster.slot_of(&partition.0.to_string());
    store.revoke(&revocation(0)).await.unwrap();
    let others = |number: &u32| revocation(*number).target.partition(store.partitions()) == partition;
    let further: Vec<u32> = (1..).filter(others).take(2).collect();
    let (store, runtime) = (Arc::clone(&store), tokio::runtime::Handle::current());
    let (cluster, replica) = (cluster, Arc::clone(&node.replica));
    spawn_blocking(move || {
        let mut further = further.into_iter();
        cluster.migrate(slot, (cluster.owner_of(slot) + 1) % PRIMARIES, |moment| {
            let number = further.next().unwrap();
            runtime.block_on(async {
                let known = replica.len();
                store.revoke(&revocation(number)).await.unwrap();
                eventually(&format!("{moment:?}: the revocation is known"), async || replica.len() > known).await;
            });
        });
        assert_eq!(further.next(), None, "half moved, and moved");
        cluster
    })
    .await
    .unwrap();
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_moved_just_before_is_read_whole() {
    let cluster = Cluster::start();
    let store = connect(&cluster.url()).await;
    let revocation = by_token("issuer", "1", now());
    store.revoke(&revocation).await.unwrap();
    let slot = cluster.slot_of(&revocation.target.partition(store.partitions()).0.to_string());
    let cluster = spawn_blocking(move || {
        cluster.migrate(slot, (cluster.owner_of(slot) + 1) % PRIMARIES, |_| {});
        cluster
    });
    let cluster = cluster.await.unwrap();
    // That it was moved is found out on the way.
    assert_eq!(store.follow(None, Duration::ZERO).await.unwrap().revocations, [revocation]);
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_of_every_partition_comes_at_once_and_not_with_the_next_heartbeat() {
    const HEARTBEAT: Duration = Duration::from_secs(60);
    let cluster = Cluster::start();
    let (writer, reader) = (connect(&cluster.url()).await, Arc::new(connect(&cluster.url()).await));
    let mut cursor = reader.follow(None, Duration::ZERO).await.unwrap().cursor;
    let (mut seen, mut took) = (std::collections::BTreeSet::new(), Vec::new());
    for number in 0..64 {
        let one = session(writer.partitions(), &format!("user-{number}"), now(), number);
        seen.insert(one.id.partition().0);
        let follower = spawn({
            let (reader, cursor) = (Arc::clone(&reader), cursor.clone());
            async move { reader.follow(Some(&cursor), HEARTBEAT).await.unwrap() }
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
        let began = Instant::now();
        writer.revoke(&by_session(one.id, now())).await.unwrap();
        let batch = tokio::time::timeout(HEARTBEAT / 6, follower).await.expect("at once").unwrap();
        took.push(began.elapsed());
        assert_eq!(batch.revocations.len(), 1);
        cursor = batch.cursor;
    }
    assert_eq!(seen.len(), usize::from(PARTITIONS));
    took.sort_unstable();
    report(&format!("from the call that revokes to the follower's return: median {:?}, longest {:?}", took[32], took[63]));
}

/// A figure for the documentation: run with `--no-capture`.
#[expect(clippy::print_stdout, reason = "the figures are read by people")]
fn report(figure: &str) {
    println!("{figure}");
}
