//! What goes wrong, one after the other, and what it may have cost.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::stage::{Stage, pause};
use super::{CALM_AFTER, NODES};
use crate::faults::eventually;
use crate::faults::rig::Rig;
use crate::support::random::Random;

/// Deaths of nodes among the faults of the store.
const DEATHS: usize = 2;

/// What was wrong, and when.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) what: String,
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) effect: Effect,
}

/// Who may notice, and what may be lost.
#[derive(Debug)]
pub(super) enum Effect {
    /// The store was hard to reach; it has everything.
    Store,
    /// It was so for this node.
    OneWay { node: usize },
    /// Another server took a primary's place.
    Failover(Loss),
    /// A node was killed and started again.
    Death(Death),
}

/// Of what a primary had written, its successor may lack what was answered from a moment on.
#[derive(Debug)]
pub(super) struct Loss {
    pub(super) from: Instant,
    pub(super) promoted_at: Instant,
    /// Whose sessions it kept.
    pub(super) users: BTreeSet<usize>,
}

#[derive(Debug)]
pub(super) struct Death {
    pub(super) node: usize,
    /// Up to this moment it had told the store what it counted.
    pub(super) told_until: Instant,
    pub(super) killed_at: Instant,
}

impl Trouble {
    /// Whether it has to do with what this node was doing between two moments. Trouble lasts on for a while after it is over.
    pub(super) fn concerns(&self, node: usize, from: Instant, to: Instant) -> bool {
        let is_concerned = match &self.effect {
            Effect::Store | Effect::Failover(_) => true,
            Effect::OneWay { node: one } | Effect::Death(Death { node: one, .. }) => *one == node,
        };
        is_concerned && self.began <= to && from <= self.ended + CALM_AFTER
    }
}

/// What was dealt.
enum Card<F> {
    Fault(F),
    Death,
}

/// Faults come in an order of chance, and each as often as the others.
pub(super) fn come_and_go<S: Stage>(stage: &mut S, rig: &mut Rig, mut random: Random, span: Duration) -> Vec<Trouble> {
    let (until, mut deck, mut troubles) = (Instant::now() + span, Vec::new(), Vec::<Trouble>::new());
    while Instant::now() < until {
        pause(&mut random, 300..=3_500);
        if deck.is_empty() {
            deck.extend(S::FAULTS.iter().copied().map(Card::Fault));
            deck.extend((0..DEATHS).map(|_| Card::Death));
        }
        let (what, began, effect) = match deck.swap_remove(random.index(deck.len())) {
            Card::Fault(fault) => (format!("{fault:?}"), Instant::now(), stage.befall(fault, &mut random)),
            Card::Death => {
                // When all is well otherwise, so that whatever the other node does not do is to be blamed on this.
                if let Some(last) = troubles.last() {
                    thread::sleep((last.ended + CALM_AFTER).saturating_duration_since(Instant::now()));
                }
                let death = kill_a_node(rig, &mut random);
                (format!("Death of node {}", death.node), death.killed_at, Effect::Death(death))
            }
        };
        troubles.push(Trouble { what, began, ended: Instant::now(), effect });
    }
    troubles
}

fn kill_a_node(rig: &mut Rig, random: &mut Random) -> Death {
    let node = random.index(NODES);
    let mut told_until = Instant::now();
    let mut admin = rig.nodes[node].admin();
    eventually("the node tells what it counted", || {
        told_until = Instant::now();
        admin.get("/stats", None).status() == 200
    });
    pause(random, 0..=1_000);
    let killed_at = Instant::now();
    rig.kill(node);
    pause(random, 100..=2_000);
    rig.restart(node);
    Death { node, told_until, killed_at }
}
