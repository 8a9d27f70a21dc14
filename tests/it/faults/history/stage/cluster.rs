//! Three primaries, a replica of each, and slots that move between them.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use tokengate::domain::ids::{Partitions, Subject};
use tokio::time::Instant;

use super::{End, Stage, Successor, pause};
use crate::faults::history::trouble::{Effect, Loss};
use crate::faults::history::{NODES, USERS, name_of};
use crate::support::random::Random;
use crate::support::redis::cluster::{Cluster, PRIMARIES};

/// The default of `store.redis.partitions`.
const PARTITIONS: NonZeroU16 = NonZeroU16::new(16).unwrap();

pub(in super::super) struct OnCluster {
    cluster: Cluster,
    /// By partition.
    slots: Vec<u16>,
}

#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Fault {
    /// A primary's end, and what comes after.
    Failover(End, Successor),
    /// A primary hangs for less time than it takes to be given up.
    Hesitation,
    /// Two primaries hang, and the third is alone: it serves nobody, and nobody is promoted.
    MajorityHangs,
    /// A slot moves to another primary.
    Migration,
    /// For a while a slot belongs to nobody.
    UnownedSlot,
    ForgetScripts,
}

impl OnCluster {
    pub(in super::super) fn start() -> Self {
        let cluster = Cluster::start();
        let slots = (0..PARTITIONS.get()).map(|partition| cluster.slot_of(&partition.to_string())).collect();
        Self { cluster, slots }
    }

    /// Whose sessions a server keeps as their primary.
    fn users_of(&self, server: usize) -> BTreeSet<usize> {
        let owners = self.cluster.owners_of(&self.slots);
        let partitions = Partitions::new(PARTITIONS);
        let partition_of = |user| usize::from(partitions.of(&Subject::new(&name_of(user)).unwrap()).0);
        (0..USERS).filter(|&user| owners[partition_of(user)] == server).collect()
    }

    fn some_primary(&self, random: &mut Random) -> usize {
        self.cluster.primary_of_pair(random.index(PRIMARIES))
    }

    fn some_slot(&self, random: &mut Random) -> u16 {
        self.slots[random.index(self.slots.len())]
    }

    fn fail_over(&mut self, end: End, successor: Successor, random: &mut Random) -> Effect {
        // One that has something to lose.
        let slot = self.some_slot(random);
        let old = self.cluster.owner_of(slot);
        let new = Cluster::partner_of(old);
        let users = self.users_of(old);
        let [primary, replica] = [&self.cluster.nodes[old], &self.cluster.nodes[new]];
        let from = primary.replicated_until(replica);
        successor.cut_off(replica, primary, random);
        end.befall(&mut self.cluster.nodes[old]);
        successor.mend(&self.cluster.nodes[new]);
        self.cluster.await_owner(slot, new);
        let promoted_at = Instant::now();
        pause(random, 0..=1_500);
        // It finds out for itself that its slots are another's now.
        match end {
            End::Killed => self.cluster.nodes[old].run(),
            End::Hung => self.cluster.nodes[old].thaw(),
        }
        Effect::Failover(Loss { from, promoted_at, users })
    }

    fn hang_majority(&self, random: &mut Random) -> Effect {
        let spared = random.index(PRIMARIES);
        let hung: Vec<usize> =
            (0..PRIMARIES).filter(|&pair| pair != spared).map(|pair| self.cluster.primary_of_pair(pair)).collect();
        let users = hung.iter().flat_map(|&server| self.users_of(server)).collect();
        let replicated =
            |&server: &usize| self.cluster.nodes[server].replicated_until(&self.cluster.nodes[Cluster::partner_of(server)]);
        let from = hung.iter().map(replicated).min().unwrap();
        for &server in &hung {
            self.cluster.nodes[server].freeze();
        }
        pause(random, 2_000..=4_000);
        for &server in &hung {
            self.cluster.nodes[server].thaw();
        }
        self.cluster.await_order();
        // As they wake up they may be voted out of office all the same.
        Effect::Failover(Loss { from, promoted_at: Instant::now(), users })
    }
}

impl Stage for OnCluster {
    type Fault = Fault;

    const FAULTS: &'static [Fault] = &[
        Fault::Failover(End::Killed, Successor::InStep),
        Fault::Failover(End::Killed, Successor::Behind),
        Fault::Failover(End::Hung, Successor::InStep),
        Fault::Failover(End::Hung, Successor::Behind),
        Fault::Hesitation,
        Fault::MajorityHangs,
        Fault::Migration,
        Fault::Migration,
        Fault::UnownedSlot,
        Fault::ForgetScripts,
    ];

    fn name(&self) -> &'static str {
        "Cluster"
    }

    fn urls(&self) -> [String; NODES] {
        [(); NODES].map(|()| self.cluster.url())
    }

    fn own_url(&self) -> String {
        self.cluster.url()
    }

    fn befall(&mut self, fault: Fault, random: &mut Random) -> Effect {
        let mut effect = Effect::Store;
        match fault {
            Fault::Failover(end, successor) => effect = self.fail_over(end, successor, random),
            Fault::Hesitation => {
                let primary = &self.cluster.nodes[self.some_primary(random)];
                primary.freeze();
                pause(random, 100..=800);
                primary.thaw();
            }
            Fault::MajorityHangs => effect = self.hang_majority(random),
            Fault::Migration => {
                let slot = self.some_slot(random);
                let owner = self.cluster.owner_of(slot);
                let others: Vec<usize> =
                    (0..PRIMARIES).map(|pair| self.cluster.primary_of_pair(pair)).filter(|&other| other != owner).collect();
                self.cluster.migrate(slot, others[random.index(others.len())], |_| pause(random, 0..=500));
            }
            Fault::UnownedSlot => {
                let slot = self.some_slot(random);
                let owner = self.cluster.unassign(slot);
                pause(random, 300..=3_000);
                self.cluster.assign(slot, owner);
            }
            Fault::ForgetScripts => {
                for node in &self.cluster.nodes {
                    node.cli(&["SCRIPT", "FLUSH"]);
                }
            }
        }
        self.cluster.await_order();
        effect
    }
}
