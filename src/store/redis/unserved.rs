//! Partitions that their own servers refuse to serve: a slot without an owner, or a Cluster without a majority.
//!
//! fred gives up a connection, and everything that is under way on it, when it hears `CLUSTERDOWN`. So one slot that nobody owns
//! would cost the others at its server: nothing is sent for it until that server says, asked for something else, that it is served.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::error::ServerError;
use crate::domain::ids::Partition;
use crate::store::StoreError;

/// Each with what the server said.
#[derive(Default)]
pub(super) struct Unserved {
    partitions: Mutex<BTreeMap<Partition, String>>,
    pub(super) noted: Notify,
}

impl Unserved {
    /// Fails for a partition that is not to be asked for.
    pub(super) fn admit(&self, partition: Partition) -> Result<(), StoreError> {
        self.partitions().get(&partition).map_or(Ok(()), |cause| Err(StoreError::Unavailable(cause.clone())))
    }

    pub(super) fn note(&self, partition: Partition, refusal: &ServerError) {
        if self.partitions().insert(partition, refusal.text.clone()).is_none() {
            tracing::warn!(partition = partition.0, refusal = refusal.text, "redis: the cluster does not serve a partition");
            self.noted.notify_one();
        }
    }

    pub(super) fn present(&self) -> Vec<Partition> {
        self.partitions().keys().copied().collect()
    }

    pub(super) fn clear(&self, partition: Partition) {
        if self.partitions().remove(&partition).is_some() {
            tracing::info!(partition = partition.0, "redis: the cluster serves a partition again");
        }
    }

    fn partitions(&self) -> MutexGuard<'_, BTreeMap<Partition, String>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
