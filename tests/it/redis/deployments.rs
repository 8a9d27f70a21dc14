//! The suites that hold for every store, on primaries that sentinels watch and on a Cluster.

use std::sync::Arc;
use std::time::Duration;

use tokengate::store::Store;
use tokengate::store::redis::{RedisOptions, RedisStore};

use crate::store::rig::{Rig, partitions};
use crate::support::redis::cluster::Cluster;
use crate::support::redis::sentinel::Sentinels;

/// Partitions of a store on a Cluster: their slots lie on all three primaries.
pub(crate) const PARTITIONS: u16 = 8;

/// With a deadline that a busy test machine does not run into.
pub(crate) async fn connect(url: &str) -> RedisStore {
    let patience = Duration::from_secs(10);
    let options = RedisOptions::from_url(url, partitions(PARTITIONS)).unwrap();
    RedisStore::connect(&RedisOptions { call_timeout: patience, connect_timeout: patience, ..options }).await.unwrap()
}

pub(crate) struct SentinelRig {
    store: Arc<RedisStore>,
    _topology: Sentinels,
}

impl Rig for SentinelRig {
    async fn start() -> Self {
        let topology = Sentinels::start();
        Self { store: Arc::new(connect(&topology.url()).await), _topology: topology }
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }
}

pub(crate) struct ClusterRig {
    store: Arc<RedisStore>,
    _topology: Cluster,
}

impl Rig for ClusterRig {
    async fn start() -> Self {
        let topology = Cluster::start();
        Self { store: Arc::new(connect(&topology.url()).await), _topology: topology }
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }
}
