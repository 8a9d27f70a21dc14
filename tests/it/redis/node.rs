//! A node as far as it concerns the store: its connection, its replica, and the feed between them.

use std::sync::Arc;
use std::time::Duration;

use tokengate::crypto::entropy::SystemEntropy;
use tokengate::domain::node::NodeId;
use tokengate::domain::replica::Replica;
use tokengate::domain::revocation::Revocation;
use tokengate::domain::stats::Counters;
use tokengate::domain::time::{Clock, Timestamp};
use tokengate::sessions::nodes::{NodeParts, NodeRules, Nodes};
use tokengate::store::redis::{RedisOptions, RedisStore};
use tokengate::store::{RevocationLog as _, StoreError};
use tokengate::tasks::revocation_feed::RevocationFeed;
use tokengate::tasks::rules::{LiveRules, TaskRules};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::deployments::PARTITIONS;
use crate::store::rig::{now, partitions, spawn};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Node {
    pub(super) store: Arc<RedisStore>,
    pub(super) replica: Arc<Replica>,
    stop: CancellationToken,
    feed: JoinHandle<()>,
}

/// The wall clock, and a monotonic one.
#[derive(Debug)]
pub(super) struct RealClock(Instant);

impl Default for RealClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        now()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// With the settings that a gateway has by default.
pub(super) fn options(url: &str) -> RedisOptions {
    RedisOptions::from_url(url, partitions(PARTITIONS)).unwrap()
}

fn rules() -> TaskRules {
    let second = Duration::from_secs(1);
    TaskRules {
        node: NodeRules { name: "test".to_owned(), silence_max: 60 * second },
        log_heartbeat: second,
        node_heartbeat: second,
        canary_interval: second,
        acknowledge_interval: second,
        flush_interval: second,
        measure_interval: second,
        sweeps: None,
    }
}

impl Node {
    pub(super) async fn start(url: &str) -> Self {
        let store = Arc::new(RedisStore::connect(&options(url)).await.unwrap());
        let (replica, stop) = (Arc::new(Replica::new()), CancellationToken::new());
        let clock = Arc::new(RealClock::default());
        let nodes = Arc::new(Nodes::new(NodeParts {
            registry: Arc::<RedisStore>::clone(&store),
            partitions: partitions(PARTITIONS),
            clock: Arc::<RealClock>::clone(&clock),
            id: NodeId::new([1; 8]),
        }));
        let feed = RevocationFeed {
            log: Arc::<RedisStore>::clone(&store),
            replica: Arc::clone(&replica),
            nodes,
            clock,
            entropy: Arc::new(SystemEntropy::new()),
            counters: Arc::new(Counters::new()),
            rules: LiveRules::fixed(rules()),
        };
        let stopped = stop.clone();
        let feed = spawn(async move { feed.run(stopped).await });
        let node = Self { store, replica, stop, feed };
        eventually("the node has read the log", async || node.replica.is_loaded()).await;
        node
    }

    /// As a use case does: into the store, then into the own replica.
    pub(super) async fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        self.store.revoke(revocation).await?;
        self.replica.insert(revocation);
        Ok(())
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.feed.await.unwrap();
    }
}

/// Waits until something holds that comes about by itself.
pub(super) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
