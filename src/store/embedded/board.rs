//! What nodes tell each other through a store that lives in their process: gone with it, and of use to it alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::node::{Asks, Canary, Node, NodeId};

/// Canaries kept, and as many of them with receipts; the oldest go first.
const CANARIES_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Notices>);

#[derive(Debug, Default)]
struct Notices {
    nodes: BTreeMap<NodeId, (Node, Instant)>,
    /// By their place, which counts up from 1.
    canaries: VecDeque<(u64, Canary)>,
    receipts: VecDeque<(Canary, BTreeSet<NodeId>)>,
}

impl Board {
    /// Returns how many nodes are known now.
    pub(super) fn register(&self, node: &Node, silence_max: Duration) -> u64 {
        self.change(|notices| {
            notices.nodes.insert(node.id, (node.clone(), Instant::now() + silence_max));
            notices.nodes.len() as u64
        })
    }

    pub(super) fn unregister(&self, node: NodeId) {
        self.change(|notices| notices.nodes.remove(&node));
    }

    pub(super) fn nodes(&self) -> Vec<Node> {
        self.change(|notices| notices.nodes.values().map(|(node, _)| node.clone()).collect())
    }

    /// `place` is behind that of every other.
    pub(super) fn mark(&self, place: u64, canary: Canary) {
        self.change(|notices| {
            if canary.asks == Asks::Writer {
                notices.canaries.retain(|(_, other)| other.node != canary.node || other.asks != Asks::Writer);
            }
            if notices.canaries.len() == CANARIES_MAX {
                notices.canaries.pop_front();
            }
            notices.canaries.push_back((place, canary));
        });
    }

    /// Those at places after the first and up to the last.
    pub(super) fn canaries(&self, after: u64, last: u64) -> Vec<Canary> {
        let is_asked_for = |place: u64| after < place && place <= last;
        self.change(|notices| notices.canaries.iter().filter(|(place, _)| is_asked_for(*place)).map(|(_, one)| *one).collect())
    }

    pub(super) fn give_receipt(&self, canary: Canary, node: NodeId) {
        self.change(|notices| {
            if let Some((_, givers)) = notices.receipts.iter_mut().find(|(known, _)| *known == canary) {
                givers.insert(node);
                return;
            }
            if notices.receipts.len() == CANARIES_MAX {
                notices.receipts.pop_front();
            }
            notices.receipts.push_back((canary, BTreeSet::from([node])));
        });
    }

    pub(super) fn receipts(&self, canary: Canary) -> Vec<NodeId> {
        self.change(|notices| {
            let found = notices.receipts.iter().find(|(known, _)| *known == canary);
            found.into_iter().flat_map(|(_, givers)| givers.iter().copied()).collect()
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Notices) -> T) -> T {
        let mut notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        notices.nodes.retain(|_, (_, silent_at)| *silent_at > now);
        change(&mut notices)
    }
}
