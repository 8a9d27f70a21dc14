//! Faults that come and go.

use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::NODES;
use crate::support::fault_proxy::{Fault, FaultProxy, Loss};
use crate::support::random::Random;
use crate::support::redis::RedisServer;

/// The store, and each node's way to it.
pub(super) struct Stage {
    pub(super) redis: RedisServer,
    pub(super) proxies: [FaultProxy; NODES],
}

/// What was wrong, and when.
pub(super) struct Trouble {
    pub(super) began: Instant,
    pub(super) ended: Instant,
}

impl Trouble {
    pub(super) fn come_and_go(stage: &mut Stage, mut random: Random, span: Duration) -> Vec<Self> {
        let (until, mut troubles) = (Instant::now() + span, Vec::new());
        while Instant::now() < until {
            pause(&mut random, 300..=3_500);
            let began = Instant::now();
            match random.within(0..=9) {
                0 => stage.freeze(&mut random),
                1 => stage.kill(&mut random),
                2 => drop(stage.redis.cli(&["SCRIPT", "FLUSH"])),
                3..=6 => stage.disturb_one(&mut random),
                _ => stage.disturb_all(&mut random),
            }
            troubles.push(Self { began, ended: Instant::now() });
        }
        troubles
    }
}

impl Stage {
    fn freeze(&self, random: &mut Random) {
        self.redis.freeze();
        pause(random, 300..=3_000);
        self.redis.thaw();
    }

    fn kill(&mut self, random: &mut Random) {
        self.redis.kill();
        pause(random, 100..=3_000);
        self.redis.run();
    }

    fn disturb_one(&self, random: &mut Random) {
        let node = random.index(NODES);
        self.proxies[node].set(some_fault(random));
        pause(random, 200..=5_000);
        self.proxies[node].set(Fault::None);
    }

    fn disturb_all(&self, random: &mut Random) {
        for proxy in &self.proxies {
            proxy.set(some_fault(random));
        }
        pause(random, 200..=3_000);
        for proxy in &self.proxies {
            proxy.set(Fault::None);
        }
    }
}

fn some_fault(random: &mut Random) -> Fault {
    let loss = [Loss::Broken, Loss::Torn, Loss::Swallowed][random.index(3)];
    match random.within(0..=8) {
        0 => Fault::Refuse,
        1 => Fault::Blackhole,
        2 => Fault::Delay(Duration::from_millis(random.within(50..=450))),
        3 => Fault::Delay(Duration::from_millis(random.within(500..=2_500))),
        4 => Fault::AnswerAll("LOADING Redis is loading the dataset in memory"),
        5 => Fault::AnswerScripts("READONLY You can't write against a read only replica."),
        _ => Fault::LoseEvery(random.within(2..=5), loss),
    }
}

fn pause(random: &mut Random, millis: std::ops::RangeInclusive<u64>) {
    thread::sleep(Duration::from_millis(random.within(millis)));
}
