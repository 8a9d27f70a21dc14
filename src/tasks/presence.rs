//! Heartbeats of this node, and the canaries by which it measures how long the revocation log takes to reach it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::rules::LiveRules;
use crate::crypto::entropy::{Entropy, draw};
use crate::domain::stats::{Counter, Counters};
use crate::sessions::nodes::Nodes;
use crate::store::StoreError;

/// All nodes together send no more canaries than this in an interval: each of them wakes every node.
const CANARIES_PER_INTERVAL_MAX: u64 = 4;

/// The longest that a farewell may take.
const FAREWELL_MAX: Duration = Duration::from_millis(500);

/// Tells the others that this node is there, again and again, and takes the time of the log.
pub struct Presence {
    pub nodes: Arc<Nodes>,
    pub entropy: Arc<dyn Entropy>,
    pub counters: Arc<Counters>,
    pub rules: LiveRules,
}

impl Presence {
    /// Returns when `stop` is cancelled and the node has taken leave.
    pub async fn run(&self, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(async { tokio::join!(self.beat(), self.send_canaries()) }).await;
        // Without a farewell the others wait for this node a while longer.
        let _ = tokio::time::timeout(FAREWELL_MAX, self.nodes.leave()).await;
    }

    async fn beat(&self) {
        loop {
            self.note(self.nodes.announce(&self.rules.now().node).await, "heartbeat not written");
            self.rules.pause(|rules| rules.node_heartbeat).await;
        }
    }

    async fn send_canaries(&self) {
        // Nodes that were started together are not to write together.
        let [random] = draw::<1>(&*self.entropy);
        self.rules.pause(|rules| rules.canary_interval * u32::from(random) / u32::from(u8::MAX)).await;
        loop {
            self.note(self.nodes.send_canary().await, "canary not written");
            let share = self.nodes.known().div_ceil(CANARIES_PER_INTERVAL_MAX).max(1);
            let share = u32::try_from(share).unwrap_or(u32::MAX);
            self.rules.pause(|rules| rules.canary_interval * share).await;
        }
    }

    /// The revocation feed makes more noise of a store that does not respond.
    fn note(&self, done: Result<(), StoreError>, what: &'static str) {
        if let Err(error) = done {
            self.counters.add(Counter::StoreErrors, 1);
            debug!(%error, what);
        }
    }
}

impl std::fmt::Debug for Presence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presence").field("nodes", &self.nodes).field("rules", &self.rules).finish_non_exhaustive()
    }
}
