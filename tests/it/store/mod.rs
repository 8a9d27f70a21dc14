//! What every store must do, shown for each of them.

#[macro_use]
mod conformance;
mod compare;
mod crash;
pub(crate) mod rig;

use rig::{EmbeddedRig, MemoryRig};

use crate::redis::RedisRig;
use crate::redis::deployments::{ClusterRig, SentinelRig};

conformance_suite!(memory, MemoryRig);
conformance_suite!(embedded, EmbeddedRig);
conformance_suite!(redis, RedisRig);
conformance_suite!(sentinel, SentinelRig);
conformance_suite!(cluster, ClusterRig);

#[test]
fn memory_and_the_embedded_store_agree_command_by_command() {
    compare::stores_agree::<MemoryRig, EmbeddedRig>(40);
}

#[test]
fn memory_and_redis_agree_command_by_command() {
    compare::stores_agree::<MemoryRig, RedisRig>(64);
}
