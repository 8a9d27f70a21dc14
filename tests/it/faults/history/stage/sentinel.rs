//! A primary, its replica, and sentinels that make one of the other.

use tokio::time::Instant;

use super::{End, Stage, Successor, pause};
use crate::faults::history::trouble::{Effect, Loss};
use crate::faults::history::{NODES, USERS};
use crate::support::random::Random;
use crate::support::redis::RedisServer;
use crate::support::redis::sentinel::Sentinels;

pub(in super::super) struct OnSentinels {
    topology: Sentinels,
}

#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Fault {
    /// The primary's end, and what comes after.
    Failover(End, Successor),
    /// The same, while one of the sentinels is gone.
    FailoverHalfSeen,
    /// The primary hangs for less time than it takes to be given up.
    Hesitation,
    ReplicaHangs,
    /// Nobody can be asked who the primary is.
    SentinelsHang,
    ForgetScripts,
}

impl OnSentinels {
    pub(in super::super) fn start() -> Self {
        Self { topology: Sentinels::start() }
    }

    fn fail_over(&mut self, end: End, successor: Successor, random: &mut Random) -> Effect {
        let old = self.topology.primary_index();
        let new = 1 - old;
        let [primary, replica] = [&self.topology.servers[old], &self.topology.servers[new]];
        let from = primary.replicated_until(replica);
        successor.cut_off(replica, primary, random);
        end.befall(&mut self.topology.servers[old]);
        successor.mend(&self.topology.servers[new]);
        self.topology.await_promotion(new);
        let promoted_at = Instant::now();
        if end == End::Hung {
            // It wakes up as the primary that it was.
            pause(random, 0..=1_000);
            self.topology.servers[old].thaw();
        }
        pause(random, 0..=1_500);
        let [first, second] = &mut self.topology.servers;
        let (risen, fallen) = if new == 0 { (first, second) } else { (second, first) };
        fallen.follow(risen);
        Effect::Failover(Loss { from, promoted_at, users: (0..USERS).collect() })
    }
}

impl Stage for OnSentinels {
    type Fault = Fault;

    const FAULTS: &'static [Fault] = &[
        Fault::Failover(End::Killed, Successor::InStep),
        Fault::Failover(End::Killed, Successor::Behind),
        Fault::Failover(End::Hung, Successor::InStep),
        Fault::Failover(End::Hung, Successor::Behind),
        Fault::FailoverHalfSeen,
        Fault::Hesitation,
        Fault::ReplicaHangs,
        Fault::SentinelsHang,
        Fault::ForgetScripts,
    ];

    fn name(&self) -> &'static str {
        "Sentinel"
    }

    fn urls(&self) -> [String; NODES] {
        [(); NODES].map(|()| self.topology.url())
    }

    fn own_url(&self) -> String {
        self.topology.url()
    }

    fn befall(&mut self, fault: Fault, random: &mut Random) -> Effect {
        let mut effect = Effect::Store;
        match fault {
            Fault::Failover(end, successor) => effect = self.fail_over(end, successor, random),
            Fault::FailoverHalfSeen => {
                let blind = random.index(self.topology.sentinels.len());
                self.topology.sentinels[blind].kill();
                effect = self.fail_over(End::Killed, Successor::InStep, random);
                self.topology.sentinels[blind].run();
            }
            Fault::Hesitation => {
                let primary = self.topology.primary();
                primary.freeze();
                pause(random, 100..=700);
                primary.thaw();
            }
            Fault::ReplicaHangs => {
                let replica = &self.topology.servers[1 - self.topology.primary_index()];
                replica.freeze();
                pause(random, 300..=2_000);
                replica.thaw();
            }
            Fault::SentinelsHang => {
                // After two seconds they would not trust their clocks any more, and do nothing for thirty.
                self.topology.sentinels.iter().for_each(RedisServer::freeze);
                pause(random, 300..=1_200);
                self.topology.sentinels.iter().for_each(RedisServer::thaw);
            }
            Fault::ForgetScripts => drop(self.topology.primary().cli(&["SCRIPT", "FLUSH"])),
        }
        self.topology.await_order();
        effect
    }
}
