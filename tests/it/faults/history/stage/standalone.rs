//! One server, and a way to it for each node.

use std::time::Duration;

use super::{Stage, pause};
use crate::faults::history::NODES;
use crate::faults::history::trouble::Effect;
use crate::support::fault_proxy::{Fault as Disturbance, FaultProxy, Loss};
use crate::support::random::Random;
use crate::support::redis::RedisServer;

pub(in super::super) struct Standalone {
    redis: RedisServer,
    proxies: [FaultProxy; NODES],
}

#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Fault {
    Hang,
    Kill,
    ForgetScripts,
    DisturbOne,
    DisturbAll,
}

impl Standalone {
    pub(in super::super) fn start() -> Self {
        let redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
        let proxies = [(); NODES].map(|()| FaultProxy::to(redis.port()));
        Self { redis, proxies }
    }
}

impl Stage for Standalone {
    type Fault = Fault;

    const FAULTS: &'static [Fault] = &[
        Fault::Hang,
        Fault::Kill,
        Fault::ForgetScripts,
        Fault::DisturbOne,
        Fault::DisturbOne,
        Fault::DisturbOne,
        Fault::DisturbOne,
        Fault::DisturbAll,
        Fault::DisturbAll,
        Fault::DisturbAll,
    ];

    fn name(&self) -> &'static str {
        "one server"
    }

    fn urls(&self) -> [String; NODES] {
        self.proxies.each_ref().map(FaultProxy::url)
    }

    fn own_url(&self) -> String {
        self.redis.url()
    }

    fn befall(&mut self, fault: Fault, random: &mut Random) -> Effect {
        match fault {
            Fault::Hang => {
                self.redis.freeze();
                pause(random, 300..=3_000);
                self.redis.thaw();
            }
            Fault::Kill => {
                self.redis.kill();
                pause(random, 100..=3_000);
                self.redis.run();
            }
            Fault::ForgetScripts => drop(self.redis.cli(&["SCRIPT", "FLUSH"])),
            Fault::DisturbOne => {
                let node = random.index(NODES);
                self.proxies[node].set(some_disturbance(random));
                pause(random, 200..=5_000);
                self.proxies[node].set(Disturbance::None);
                return Effect::OneWay { node };
            }
            Fault::DisturbAll => {
                for proxy in &self.proxies {
                    proxy.set(some_disturbance(random));
                }
                pause(random, 200..=3_000);
                for proxy in &self.proxies {
                    proxy.set(Disturbance::None);
                }
            }
        }
        Effect::Store
    }
}

fn some_disturbance(random: &mut Random) -> Disturbance {
    let loss = [Loss::Broken, Loss::Torn, Loss::Swallowed][random.index(3)];
    match random.within(0..=8) {
        0 => Disturbance::Refuse,
        1 => Disturbance::Blackhole,
        2 => Disturbance::Delay(Duration::from_millis(random.within(50..=450))),
        3 => Disturbance::Delay(Duration::from_millis(random.within(500..=2_500))),
        4 => Disturbance::AnswerAll("LOADING Redis is loading the dataset in memory"),
        5 => Disturbance::ResponseScripts("READONLY You can't write against a read only replica."),
        _ => Disturbance::LoseEvery(random.within(2..=5), loss),
    }
}
