//! The deployments of the store, and what can go wrong with each.

pub(super) mod cluster;
pub(super) mod sentinel;
pub(super) mod standalone;

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use super::NODES;
use super::trouble::Effect;
use crate::support::random::Random;
use crate::support::redis::RedisServer;

pub(super) trait Stage {
    /// What can go wrong here.
    type Fault: Copy + Debug + 'static;

    /// Each as often as it is to be dealt among the others.
    const FAULTS: &'static [Self::Fault];

    fn name(&self) -> &'static str;

    /// How each node reaches the store.
    fn urls(&self) -> [String; NODES];

    /// How the test itself does.
    fn own_url(&self) -> String;

    /// Lets something go wrong, and puts it right again: when it returns, all servers are as ready for the next fault as before.
    fn befall(&mut self, fault: Self::Fault, random: &mut Random) -> Effect;
}

/// How a server ends, as far as the others can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Killed,
    Hung,
}

impl End {
    fn befall(self, server: &mut RedisServer) {
        match self {
            Self::Killed => server.kill(),
            Self::Hung => server.freeze(),
        }
    }
}

/// What a primary's successor has of its writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Successor {
    /// All but those that were under way.
    InStep,
    /// Not the last ones: it was cut off from them for a while.
    Behind,
}

impl Successor {
    fn cut_off(self, replica: &RedisServer, primary: &RedisServer, random: &mut Random) {
        if self == Self::Behind {
            primary.cut_off(replica);
            // Shorter than a leeway, so that a failover takes no more than one rotation of a session.
            pause(random, 1_000..=3_500);
        }
    }

    fn mend(self, replica: &RedisServer) {
        if self == Self::Behind {
            replica.thaw();
        }
    }
}

pub(super) fn pause(random: &mut Random, millis: RangeInclusive<u64>) {
    thread::sleep(Duration::from_millis(random.within(millis)));
}
