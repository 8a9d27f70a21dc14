//! This node among those that share the store: it tells that it is there, measures how long the log takes to reach it, says what
//! it has seen, and learns what the others have seen.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::domain::ids::{Partition, Partitions};
use crate::domain::lag::{Lag, LagFigures};
use crate::domain::node::{Asks, Canary, Node, NodeId};
use crate::domain::revocation::Target;
use crate::domain::time::{Clock, Timestamp};
use crate::store::{NodeRegistry, RECEIPTS_KEPT, StoreError};

/// The longest wait for the other nodes: receipts are kept for longer.
pub const PATIENCE_MAX: Duration = Duration::from_secs(60);
const _: () = assert!(PATIENCE_MAX.as_secs() < RECEIPTS_KEPT.as_secs());

/// The pauses between two looks at the receipts: the first, and the longest that they grow to.
const LOOK_PAUSE: Duration = Duration::from_millis(2);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(50);

/// Receipts that this node remembers to have given: the log is read again now and then, and holds canaries for a while.
const GIVEN_MAX: usize = 256;

/// What [`Nodes`] is made of.
pub struct NodeParts {
    pub registry: Arc<dyn NodeRegistry>,
    /// Of the store.
    pub partitions: Partitions,
    pub clock: Arc<dyn Clock>,
    pub id: NodeId,
}

/// How a node makes itself known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeRules {
    /// For people.
    pub name: String,
    /// After this without a heartbeat the node is known no more. Not before it vouches for nobody any more: whoever is told that
    /// all nodes know of a revocation relies on it.
    pub silence_max: Duration,
}

/// One for the process.
pub struct Nodes {
    registry: Arc<dyn NodeRegistry>,
    partitions: Partitions,
    clock: Arc<dyn Clock>,
    id: NodeId,
    started_at: Timestamp,
    lag: Lag,
    numbers: AtomicU64,
    /// How many nodes there were at the last heartbeat.
    known: AtomicU64,
    given: Mutex<VecDeque<Canary>>,
}

/// How far a revocation has come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Spread {
    /// They refuse what it covers.
    pub applied: Vec<Node>,
    /// They may not know of it yet.
    pub pending: Vec<Node>,
}

impl Nodes {
    #[must_use]
    pub fn new(parts: NodeParts) -> Self {
        let NodeParts { registry, partitions, clock, id } = parts;
        let started_at = clock.now();
        let (numbers, known) = (AtomicU64::new(0), AtomicU64::new(1));
        let (lag, given) = (Lag::default(), Mutex::default());
        Self { registry, partitions, clock, id, started_at, lag, numbers, known, given }
    }

    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// Of the log on its way to this node, over the last minutes.
    #[must_use]
    pub fn lag(&self) -> LagFigures {
        self.lag.figures(self.clock.monotonic())
    }

    /// How many nodes there were at the last heartbeat, this one included.
    pub fn known(&self) -> u64 {
        self.known.load(Ordering::Relaxed)
    }

    /// One heartbeat.
    pub async fn announce(&self, rules: &NodeRules) -> Result<(), StoreError> {
        let node = Node { id: self.id, name: rules.name.clone(), started_at: self.started_at, lag: self.lag() };
        let known = self.registry.register(&node, rules.silence_max).await?;
        self.known.store(known.max(1), Ordering::Relaxed);
        Ok(())
    }

    /// Nobody is to wait for this node any more.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.registry.unregister(self.id).await
    }

    /// Every node that was heard of lately.
    pub async fn all(&self) -> Result<Vec<Node>, StoreError> {
        self.registry.nodes().await
    }

    /// Writes a canary of which the way back will be timed: to each partition in turn.
    pub async fn send_canary(&self) -> Result<(), StoreError> {
        let canary = self.canary(Asks::Writer);
        let partitions = u64::from(self.partitions.count());
        let partition = Partition(u16::try_from(canary.number % partitions).unwrap_or_default());
        self.lag.sent(canary.number, self.clock.monotonic());
        let sent = self.registry.mark(partition, canary).await;
        if sent.is_err() {
            self.lag.not_sent(canary.number);
        }
        sent
    }

    /// Canaries came by in the log, and everything that was logged before them is in the replica.
    pub async fn see(&self, canaries: &[Canary]) -> Result<(), StoreError> {
        for &canary in canaries {
            match canary.asks {
                Asks::Writer if canary.node == self.id => self.lag.came_back(canary.number, self.clock.monotonic()),
                Asks::Writer => {}
                Asks::Everyone if self.has_given(canary) => {}
                Asks::Everyone => {
                    self.registry.give_receipt(canary, self.id).await?;
                    self.remember_given(canary);
                }
            }
        }
        Ok(())
    }

    fn has_given(&self, canary: Canary) -> bool {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).contains(&canary)
    }

    fn remember_given(&self, canary: Canary) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.len() == GIVEN_MAX {
            given.pop_front();
        }
        given.push_back(canary);
    }

    /// Waits until every node has applied what was logged so far in the place of `target`, for `patience` at most. It must have
    /// been applied here.
    ///
    /// # Errors
    /// How far it has come is not known.
    pub async fn when_applied(&self, target: &Target, patience: Duration) -> Result<Spread, StoreError> {
        // A node that registers from here on reads the whole log after that, and so finds it there.
        let known = self.registry.nodes().await?;
        let (own, others) = known.into_iter().partition(|node| node.id == self.id);
        let mut spread = Spread { applied: own, pending: others };
        if spread.pending.is_empty() {
            return Ok(spread);
        }
        let canary = self.canary(Asks::Everyone);
        self.registry.mark(target.partition(self.partitions), canary).await?;
        let looking = async {
            let mut pause = LOOK_PAUSE;
            while !spread.pending.is_empty() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LOOK_PAUSE_MAX);
                if let Err(error) = self.look(canary, &mut spread).await {
                    tracing::debug!(%error, "receipts cannot be read");
                }
            }
        };
        // When time is up, those that are left are named.
        let _ = tokio::time::timeout(patience.min(PATIENCE_MAX), looking).await;
        Ok(spread)
    }

    /// Takes those out of the pending that have given a receipt, or are gone.
    async fn look(&self, canary: Canary, spread: &mut Spread) -> Result<(), StoreError> {
        let given: BTreeSet<NodeId> = self.registry.receipts(canary).await?.into_iter().collect();
        spread.applied.extend(spread.pending.extract_if(.., |node| given.contains(&node.id)));
        if !spread.pending.is_empty() {
            let known: BTreeSet<NodeId> = self.registry.nodes().await?.iter().map(|node| node.id).collect();
            spread.pending.retain(|node| known.contains(&node.id));
        }
        Ok(())
    }

    fn canary(&self, asks: Asks) -> Canary {
        Canary { node: self.id, number: self.numbers.fetch_add(1, Ordering::Relaxed), asks }
    }
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nodes").field("id", &self.id).finish_non_exhaustive()
    }
}
