//! Logouts that wait for replicas, stores that were emptied, and what is looked for on servers in use.

use std::time::Duration;

use tokengate::store::redis::{RedisOptions, RedisStore, Replication};
use tokengate::store::{Finding, RevocationLog as _, SessionStore as _, Severity, StoreError, Upkeep as _};

use super::deployments::connect;
use super::node::{Node, eventually, options};
use super::{SystemClock, is_unavailable};
use crate::store::rig::{by_session, now, partitions, session};
use crate::support::redis::RedisServer;
use crate::support::redis::cluster::Cluster;
use crate::support::redis::sentinel::Sentinels;

fn errors(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().filter(|finding| finding.severity == Severity::Error).map(|finding| finding.subject).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_that_no_replica_has_is_not_acknowledged_and_holds_up_nobody() {
    let topology = Sentinels::start();
    let replication = Some(Replication { replicas: 1, timeout: Duration::from_secs(2) });
    let options = RedisOptions { replication, call_timeout: Duration::from_secs(10), ..options(&topology.url()) };
    let store = RedisStore::connect(&options).await.unwrap();
    let [a, b, c] = [1, 2, 3].map(|number| session(store.partitions(), "ann", now(), number));
    for session in [&a, &b, &c] {
        store.create(session, None, now()).await.unwrap();
    }
    assert_eq!(store.revoke(&by_session(a.id, now())).await.unwrap(), [a.id]);
    store.settle(a.id).await.unwrap();

    let [primary, replica] = &topology.servers;
    primary.cut_off(replica);
    let revocation = by_session(b.id, now());
    let logout = store.revoke(&revocation);
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let loads = async {
            for _ in 0..20 {
                store.load(c.id).await.unwrap().unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(1), loads).await
    };
    let (logout, meanwhile) = tokio::join!(logout, meanwhile);
    assert!(matches!(&logout, Err(StoreError::Unconfirmed(cause)) if cause.contains("0 of 1")), "{logout:?}");
    meanwhile.expect("others do not wait for replicas");
    assert!(is_unavailable(&store.settle(b.id).await), "nor is a repetition of it");
    assert!(errors(&store.inspect(&SystemClock).await).contains(&"replicas"));

    replica.thaw();
    eventually("the replica is back", async || replica.is_synced_replica()).await;
    store.settle(b.id).await.unwrap();
    assert_eq!(store.revoke(&by_session(c.id, now())).await.unwrap(), [c.id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_store_is_noticed_and_what_is_known_is_put_back() {
    let server = RedisServer::start();
    let node = Node::start(&server.url()).await;
    let one = session(partitions(8), "ann", now(), 1);
    node.store.create(&one, None, now()).await.unwrap();
    let ended = by_session(session(partitions(8), "bob", now(), 2).id, now());
    node.revoke(&ended).await.unwrap();
    assert_eq!(errors(&node.store.inspect(&SystemClock).await), Vec::<&str>::new());
    server.cli(&["FLUSHALL"]);
    assert_eq!(errors(&node.store.inspect(&SystemClock).await), ["emptied"]);
    assert_eq!(errors(&node.store.inspect(&SystemClock).await), ["emptied"], "and told for a while");
    assert_eq!(node.store.load(one.id).await.unwrap(), None, "whoever was logged in is unknown");
    let newcomer = connect(&server.url()).await;
    eventually("the logout is put back", async || {
        newcomer.follow(None, Duration::ZERO).await.unwrap().revocations.iter().any(|one| one.target == ended.target)
    })
    .await;
    assert_eq!(errors(&newcomer.inspect(&SystemClock).await), Vec::<&str>::new(), "for it there was nothing before");
    node.end().await;
}

#[tokio::test]
async fn one_primary_of_a_cluster_that_was_emptied_is_noticed() {
    let cluster = Cluster::start();
    let store = connect(&cluster.url()).await;
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    assert_eq!(errors(&store.inspect(&SystemClock).await), Vec::<&str>::new());
    cluster.nodes[cluster.owner_of(cluster.slot_of("5"))].cli(&["FLUSHALL"]);
    assert_eq!(errors(&store.inspect(&SystemClock).await), ["emptied"]);
    assert!(is_unavailable(&store.follow(Some(&cursor), Duration::ZERO).await), "the logs are to be read again");
    store.follow(None, Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_policy_that_is_changed_and_keys_that_are_evicted_are_noticed() {
    let server = RedisServer::start_with(&["--appendonly", "yes"]);
    let store = connect(&server.url()).await;
    assert_eq!(store.inspect(&SystemClock).await, []);
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    assert_eq!(errors(&store.inspect(&SystemClock).await), ["eviction"]);
    for number in 0..100 {
        server.cli(&["SET", &format!("other-{number}"), &"x".repeat(1_000)]);
    }
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    eventually("keys are evicted", async || server.info("evicted_keys") != "0").await;
    assert!(errors(&store.inspect(&SystemClock).await).contains(&"evicted"));
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    assert!(!errors(&store.inspect(&SystemClock).await).contains(&"eviction"));
}

#[tokio::test]
async fn a_server_that_took_its_data_from_elsewhere_is_read_again() {
    let (server, other) = (RedisServer::start(), RedisServer::start());
    other.cli(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    let store = connect(&server.url()).await;
    store.inspect(&SystemClock).await;
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    store.follow(Some(&cursor), Duration::ZERO).await.unwrap();
    server.cli(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    eventually("it is a replica", async || server.is_synced_replica()).await;
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    store.inspect(&SystemClock).await;
    assert!(is_unavailable(&store.follow(Some(&cursor), Duration::ZERO).await));
    let whole = store.follow(None, Duration::ZERO).await.unwrap();
    store.follow(Some(&whole.cursor), Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn every_primary_of_a_cluster_is_looked_at() {
    let cluster = Cluster::start_with(&["--appendonly", "yes"]);
    let store = connect(&cluster.url()).await;
    assert_eq!(store.verify(&SystemClock).await, []);
    let owner = cluster.owner_of(cluster.slot_of("5"));
    cluster.nodes[owner].cli(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    cluster.nodes[owner].cli(&["CONFIG", "SET", "cluster-require-full-coverage", "yes"]);
    let findings = store.verify(&SystemClock).await;
    assert_eq!(findings.iter().map(|finding| finding.subject).collect::<Vec<_>>(), ["eviction", "coverage"], "{findings:?}");
    let port = cluster.nodes[owner].port();
    assert!(findings.iter().all(|finding| finding.text.contains(&format!("127.0.0.1:{port}: "))), "{findings:?}");
}

#[tokio::test]
async fn a_node_of_a_cluster_alone_is_no_store() {
    let cluster = Cluster::start();
    let store = connect(&format!("redis://127.0.0.1:{}", cluster.nodes[0].port())).await;
    assert!(errors(&store.verify(&SystemClock).await).contains(&"cluster"));
}
