//! Primaries that die or hang, and who takes their place.

use std::sync::Arc;
use std::time::Duration;

use tokengate::domain::rotation::{self, Outcome};
use tokengate::domain::session::Session;
use tokengate::store::redis::RedisStore;
use tokengate::store::{RevocationLog as _, SessionStore as _, StoreError, Swap, Version};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::deployments::connect;
use super::node::{Node, eventually, options};
use super::traffic::{Reply, Traffic};
use super::{DEADLINE, SLACK};
use crate::store::rig::{by_session, now, partitions, rotated, session};
use crate::support::redis::RedisServer;
use crate::support::redis::cluster::{Cluster, PRIMARIES};
use crate::support::redis::sentinel::Sentinels;

/// How soon after its promotion a primary is in use. A second is promised; the test machine may be busy.
const TAKEOVER: Duration = Duration::from_secs(1);
const BUSY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
enum Fault {
    Killed,
    Hung,
}

impl Fault {
    fn befall(self, server: &mut RedisServer) {
        match self {
            Self::Killed => server.kill(),
            Self::Hung => server.freeze(),
        }
    }
}

/// Every call ends in time, with a response or with the store's being away.
fn assert_in_time(answers: &[Reply]) {
    for response in answers {
        assert!(response.took < DEADLINE + SLACK, "{response:?}");
    }
}

fn recovered_after(answers: &[Reply], promoted_at: Instant) -> Duration {
    let last = answers.iter().filter(|response| response.error.is_some()).map(|response| response.began + response.took).max();
    last.map_or(Duration::ZERO, |last| last.saturating_duration_since(promoted_at))
}

async fn a_sentinel_failover(fault: Fault) {
    let mut topology = Sentinels::start();
    let store = Arc::new(RedisStore::connect(&options(&topology.url())).await.unwrap());
    let traffic = Traffic::start(&store).await;
    eventually("the replica has the sessions", async || {
        topology.servers[1].cli(&["DBSIZE"]) == topology.servers[0].cli(&["DBSIZE"])
    })
    .await;
    fault.befall(&mut topology.servers[0]);
    let (topology, promoted_at) = spawn_blocking(move || {
        topology.await_promotion(1);
        (topology, Instant::now())
    })
    .await
    .unwrap();
    eventually("the new primary is in use", async || store.probe().await.is_ok()).await;
    tokio::time::sleep(TAKEOVER).await;
    if matches!(fault, Fault::Hung) {
        // It still thinks that it is the primary, and is not believed.
        topology.servers[0].thaw();
        tokio::time::sleep(TAKEOVER).await;
    }
    let answers = traffic.stop().await;
    assert_in_time(&answers);
    assert!(answers.iter().any(|response| response.error.is_some()), "the fault was felt");
    let recovered = recovered_after(&answers, promoted_at);
    assert!(recovered < TAKEOVER + BUSY, "{recovered:?} after the promotion");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_killed_is_followed_to_where_the_sentinels_say() {
    a_sentinel_failover(Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_hangs_is_followed_to_where_the_sentinels_say() {
    a_sentinel_failover(Fault::Hung).await;
}

async fn a_cluster_failover(fault: Fault) {
    let mut cluster = Cluster::start();
    let store = Arc::new(RedisStore::connect(&options(&cluster.url())).await.unwrap());
    let slots: Vec<u16> = (0..store.partitions().count()).map(|p| cluster.slot_of(&p.to_string())).collect();
    let owners: Vec<usize> = slots.iter().map(|&slot| cluster.owner_of(slot)).collect();
    let traffic = Traffic::start(&store).await;
    let victim = owners[0];
    eventually("the replica has the sessions", async || {
        cluster.nodes[victim].cli(&["DBSIZE"]) == cluster.nodes[Cluster::partner_of(victim)].cli(&["DBSIZE"])
    })
    .await;
    fault.befall(&mut cluster.nodes[victim]);
    let slot = slots[0];
    let (cluster, promoted_at) = spawn_blocking(move || {
        cluster.await_owner(slot, Cluster::partner_of(victim));
        (cluster, Instant::now())
    })
    .await
    .unwrap();
    let victims: Vec<u16> = (0..).zip(&owners).filter(|(_, owner)| **owner == victim).map(|(p, _)| p).collect();
    for &partition in &victims {
        let id = traffic.session_in(partition).id;
        eventually("the new primary is in use", async || store.load(id).await.is_ok()).await;
    }
    tokio::time::sleep(TAKEOVER).await;
    if matches!(fault, Fault::Hung) {
        cluster.nodes[victim].thaw();
        tokio::time::sleep(TAKEOVER).await;
    }
    let (of_victim, of_others): (Vec<Reply>, Vec<Reply>) =
        traffic.stop().await.into_iter().partition(|response| victims.contains(&response.partition));
    assert_in_time(&of_victim);
    assert_in_time(&of_others);
    assert!(of_victim.iter().any(|response| response.error.is_some()), "the fault was felt");
    let felt: Vec<&Reply> = of_others.iter().filter(|response| response.error.is_some()).collect();
    assert!(felt.is_empty(), "nobody else feels it: {felt:?}");
    let recovered = recovered_after(&of_victim, promoted_at);
    assert!(recovered < TAKEOVER + BUSY, "{recovered:?} after the promotion");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_of_a_cluster_that_was_killed_is_replaced_and_the_others_go_on() {
    a_cluster_failover(Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_of_a_cluster_that_hangs_is_replaced_and_the_others_go_on() {
    a_cluster_failover(Fault::Hung).await;
}

/// A session that is known to both, then a rotation of it and the end of another that only the primary ever has.
struct LastWrites {
    rotated: Session,
    before: Session,
    ended: Session,
}

impl LastWrites {
    async fn make(node: &Node, primary: &RedisServer, replica: &RedisServer) -> Self {
        let (before, ended) = (session(partitions(8), "ann", now(), 1), session(partitions(8), "ann", now(), 2));
        for session in [&before, &ended] {
            node.store.create(session, None, now()).await.unwrap();
        }
        eventually("the replica has the sessions", async || replica.cli(&["DBSIZE"]) == primary.cli(&["DBSIZE"])).await;
        primary.cut_off(replica);
        let rotated = rotated(&before, now());
        assert!(matches!(node.store.swap(Version(1), &rotated).await.unwrap(), Swap::Done(_)));
        node.revoke(&by_session(ended.id, now())).await.unwrap();
        Self { rotated, before, ended }
    }

    /// What the store forgot is taken from the token, or written again by a node that lives on.
    async fn are_made_up_for(&self, node: &Node, newcomer: &RedisStore) {
        let leeway = Duration::from_secs(30);
        let record = eventually_loaded(newcomer, &self.before).await.rotation;
        assert_eq!(record, self.before.rotation, "the store lost the rotation");
        let adopted = rotation::present(&record, self.rotated.rotation.token(), leeway, now());
        assert!(matches!(adopted, Outcome::Adopt(rotation) if rotation.current == self.rotated.rotation.current), "{adopted:?}");
        assert!(node.replica.covers_session(self.ended.id));
        eventually("the lost revocation is put back", async || {
            let log = newcomer.follow(None, Duration::ZERO).await;
            let is_logged =
                log.is_ok_and(|log| log.revocations.iter().any(|one| one.target == by_session(self.ended.id, now()).target));
            is_logged && matches!(newcomer.load(self.ended.id).await, Ok(None))
        })
        .await;
    }
}

async fn eventually_loaded(store: &RedisStore, session: &Session) -> Session {
    let mut found = None;
    eventually("the session is there", async || {
        found = store.load(session.id).await.ok().flatten();
        found.is_some()
    })
    .await;
    found.unwrap().session
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sentinel_failover_lost_is_made_up_for() {
    let mut topology = Sentinels::start();
    let (node, witness) = (Node::start(&topology.url()).await, Node::start(&topology.url()).await);
    let [primary, replica] = &topology.servers;
    let lost = LastWrites::make(&node, primary, replica).await;
    eventually("the other node has heard of it", async || witness.replica.covers_session(lost.ended.id)).await;
    topology.servers[0].kill();
    topology.servers[1].thaw();
    let topology = spawn_blocking(move || {
        topology.await_promotion(1);
        topology
    })
    .await
    .unwrap();
    let newcomer = connect(&topology.url()).await;
    lost.are_made_up_for(&node, &newcomer).await;
    assert!(witness.replica.covers_session(lost.ended.id));
    node.end().await;
    witness.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cluster_failover_lost_is_made_up_for() {
    let mut cluster = Cluster::start();
    let node = Node::start(&cluster.url()).await;
    let partition = session(partitions(8), "ann", now(), 1).id.partition().0;
    let slot = cluster.slot_of(&partition.to_string());
    let owner = cluster.owner_of(slot);
    let partner = Cluster::partner_of(owner);
    let lost = LastWrites::make(&node, &cluster.nodes[owner], &cluster.nodes[partner]).await;
    cluster.nodes[owner].kill();
    cluster.nodes[partner].thaw();
    let cluster = spawn_blocking(move || {
        cluster.await_owner(slot, partner);
        cluster
    })
    .await
    .unwrap();
    let seed = &cluster.nodes[(owner + 1) % PRIMARIES];
    let newcomer = connect(&format!("redis-cluster://127.0.0.1:{}", seed.port())).await;
    lost.are_made_up_for(&node, &newcomer).await;
    node.end().await;
}

#[tokio::test]
async fn a_sentinel_that_hangs_and_one_that_is_gone_hide_no_primary() {
    let mut topology = Sentinels::start();
    topology.sentinels[0].freeze();
    topology.sentinels[1].kill();
    let store = connect(&topology.url()).await;
    store.probe().await.unwrap();
}

#[tokio::test]
async fn sentinels_that_know_no_such_service_are_named_as_the_cause() {
    let topology = Sentinels::start();
    let url = topology.url().replace("/gate", "/other");
    let store = RedisStore::connect(&options(&url)).await.unwrap();
    let error = store.probe().await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(cause) if cause.contains("no service \"other\"")), "{error}");
    let findings = store.verify(&super::SystemClock).await;
    assert!(findings.iter().any(|finding| finding.text.contains("no service \"other\"")), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_of_healthy_primaries_comes_while_another_hangs() {
    let cluster = Cluster::start();
    let node = Node::start(&cluster.url()).await;
    let one = session(partitions(8), "ann", now(), 1);
    let owner_of = |partition: u16| cluster.owner_of(cluster.slot_of(&partition.to_string()));
    let owner = owner_of(one.id.partition().0);
    let hung = (0..8).map(owner_of).find(|&other| other != owner).unwrap();
    // Its replica too: nobody is to take its place.
    cluster.nodes[Cluster::partner_of(hung)].freeze();
    cluster.nodes[hung].freeze();
    let other = connect(&cluster.url()).await;
    other.revoke(&by_session(one.id, now())).await.unwrap();
    eventually("the revocation is known", async || node.replica.covers_session(one.id)).await;
    node.end().await;
    cluster.nodes[hung].thaw();
}
