//! The servers in use: which of them has which partition, and a link to each.

mod probe;
mod search;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use fred::types::config::TlsConnector;
use fred::util::redis_keyslot;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::ServerError;
use super::keys::Keys;
use super::link::{Access, Link};
use super::options::{Address, Deployment, RedisOptions, RedisOptionsError, Replication, SentinelOptions};
use super::supervise::supervise;
use super::tls;
use super::unserved::Unserved;
use crate::domain::ids::Partition;
use crate::store::StoreError;

/// Nodes of a Cluster that are asked at one time. Others have their turn the next time.
const INFORMANTS_MAX: usize = 5;

/// The servers of one deployment.
#[derive(Debug)]
pub(super) struct Fleet {
    shared: Arc<Shared>,
}

struct Shared {
    /// By partition; of meaning in a Cluster alone.
    slots: Vec<u16>,
    informants: Informants,
    access: Access,
    replication: Option<Replication>,
    routes: RwLock<Routes>,
    unserved: Unserved,
    /// Why nothing is known of a primary.
    failure: Mutex<Option<String>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Whom to ask for primaries.
enum Informants {
    /// There is one server, and it is the primary.
    None,
    Sentinels {
        options: SentinelOptions,
        links: Vec<Link>,
    },
    /// These, and the primaries that are known.
    Nodes {
        seeds: Vec<Address>,
    },
}

#[derive(Default)]
struct Routes {
    nodes: HashMap<Address, Arc<Node>>,
    /// By partition.
    owners: Vec<Option<Owner>>,
    /// By address, the same server by the name that it announces: a node that sends a command on may tell the address alone,
    /// which certificates need not know.
    names: HashMap<Address, Address>,
    /// Whose turn it is to be asked.
    turn: usize,
}

#[derive(Clone)]
struct Owner {
    node: Arc<Node>,
    epoch: u64,
}

/// One server.
#[derive(Debug)]
pub(super) struct Node {
    /// Tells it from a later link to the same address.
    pub(super) number: u64,
    pub(super) address: Address,
    pub(super) link: Link,
    /// Where replicas are waited for, which holds up whatever comes behind.
    pub(super) confirming: Option<Link>,
}

/// The server that a partition is read from, and the connection to it. Another one may lack what was read before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lineage {
    node: u64,
    connections: u64,
}

impl Fleet {
    /// Starts to connect; does not wait for it.
    pub(super) fn open(options: &RedisOptions, keys: &Keys) -> Result<Self, RedisOptionsError> {
        options.check()?;
        let tls = options.tls.as_ref().map(tls::client_config).transpose()?.map(TlsConnector::from);
        let trouble = Arc::new(Notify::new());
        let access = Access {
            tls: tls.clone(),
            username: options.username.clone(),
            password: options.password.clone(),
            password_file: options.password_file.clone(),
            database: options.database,
            call_timeout: options.call_timeout,
            connect_timeout: options.connect_timeout,
            trouble: Arc::clone(&trouble),
        };
        let partitions = usize::from(keys.partitions().count());
        let mut routes = Routes { owners: vec![None; partitions], ..Routes::default() };
        let informants = match &options.deployment {
            Deployment::Standalone(address) => {
                let node = routes.node(address, &access, options.replication);
                routes.owners.fill(Some(Owner { node, epoch: 0 }));
                Informants::None
            }
            Deployment::Sentinel(sentinel) => {
                let access = Access {
                    tls,
                    username: sentinel.username.clone(),
                    password: sentinel.password.clone(),
                    password_file: sentinel.password_file.clone(),
                    database: 0,
                    call_timeout: options.call_timeout,
                    connect_timeout: options.connect_timeout,
                    trouble,
                };
                let links = sentinel.addresses.iter().map(|address| Link::open(&access, address)).collect();
                Informants::Sentinels { options: sentinel.clone(), links }
            }
            Deployment::Cluster(seeds) => {
                for seed in seeds {
                    routes.node(seed, &access, options.replication);
                }
                Informants::Nodes { seeds: seeds.clone() }
            }
        };
        let shared = Arc::new(Shared {
            slots: keys.partitions().iter().map(|p| redis_keyslot(keys.check(p).as_bytes())).collect(),
            informants,
            access,
            replication: options.replication,
            routes: RwLock::new(routes),
            unserved: Unserved::default(),
            failure: Mutex::new(None),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        if !matches!(shared.informants, Informants::None) {
            let searching = shared.clone();
            shared.tasks.spawn(async move { supervise("redis search", || search::search(&searching)).await });
        }
        if matches!(shared.informants, Informants::Nodes { .. }) {
            let watching = shared.clone();
            shared.tasks.spawn(async move { supervise("redis partitions not served", || probe::probe(&watching)).await });
        }
        Ok(Self { shared })
    }

    /// Waits until every partition's primary is connected, or for `patience`.
    pub(super) async fn connected_within(&self, patience: Duration) -> bool {
        const POLL: Duration = Duration::from_millis(2);
        let deadline = Instant::now() + patience;
        loop {
            let owners = self.shared.routes().owners.clone();
            let known: Vec<_> = owners.iter().flatten().collect();
            if known.len() == owners.len() {
                let mut connected = true;
                for owner in known {
                    connected &= owner.node.link.connected_by(deadline).await;
                }
                return connected;
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Closes every connection and waits for the tasks.
    pub(super) async fn close(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        if let Informants::Sentinels { links, .. } = &self.shared.informants {
            for link in links {
                link.close().await;
            }
        }
        let nodes: Vec<_> = self.shared.routes().nodes.values().cloned().collect();
        for node in nodes {
            node.link.close().await;
            if let Some(link) = &node.confirming {
                link.close().await;
            }
        }
    }

    pub(super) fn call_timeout(&self) -> Duration {
        self.shared.call_timeout()
    }

    pub(super) fn replication(&self) -> Option<Replication> {
        self.shared.replication
    }

    /// Whether partitions may lie on several servers, each in a slot of its own.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.shared.informants, Informants::Nodes { .. })
    }

    /// The primary of a partition.
    pub(super) fn owner(&self, partition: Partition) -> Result<Arc<Node>, StoreError> {
        self.shared.unserved.admit(partition)?;
        self.shared.owner(partition).ok_or_else(|| {
            let failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner);
            StoreError::Unavailable(failure.as_deref().unwrap_or("the primary is not known yet").to_owned())
        })
    }

    /// Every primary once, with a partition that it has.
    pub(super) fn primaries(&self) -> Vec<(Arc<Node>, Partition)> {
        let routes = self.shared.routes();
        let mut seen = HashSet::new();
        let owners = (0..).zip(&routes.owners).filter_map(|(partition, owner)| Some((Partition(partition), owner.as_ref()?)));
        owners
            .filter(|(_, owner)| seen.insert(owner.node.number))
            .map(|(partition, owner)| (Arc::clone(&owner.node), partition))
            .collect()
    }

    /// The link to a node of a Cluster that another has named.
    pub(super) fn node(&self, address: &Address) -> Arc<Node> {
        let mut routes = self.shared.routes_mut();
        let address = routes.announced(address);
        routes.node(&address, &self.shared.access, self.shared.replication)
    }

    /// Takes a node's word for it that nobody serves a partition, until it says otherwise.
    pub(super) fn refused(&self, partition: Partition, refusal: &ServerError) {
        self.shared.unserved.note(partition, refusal);
    }

    /// Takes a node's word for it that a partition has moved, until the search knows better.
    pub(super) fn moved(&self, partition: Partition, to: &Address) -> Arc<Node> {
        let mut routes = self.shared.routes_mut();
        let to = routes.announced(to);
        let node = routes.node(&to, &self.shared.access, self.shared.replication);
        if let Some(owner) = routes.owners.get_mut(usize::from(partition.0)) {
            let epoch = owner.as_ref().map_or(0, |owner| owner.epoch);
            *owner = Some(Owner { node: Arc::clone(&node), epoch });
        }
        self.shared.access.trouble.notify_one();
        node
    }

    /// Of every partition. Differs from before when a partition, or the connection to it, has been replaced.
    pub(super) fn lineages(&self) -> Vec<Option<Lineage>> {
        let routes = self.shared.routes();
        let lineage = |owner: &Owner| Lineage { node: owner.node.number, connections: owner.node.link.connections() };
        routes.owners.iter().map(|owner| owner.as_ref().map(lineage)).collect()
    }

    /// A further connection to the server of a node.
    pub(super) fn another_link(&self, node: &Node) -> Link {
        Link::open(&self.shared.access, &node.address)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("nodes", &self.routes().nodes.keys()).finish_non_exhaustive()
    }
}

impl Shared {
    fn routes(&self) -> std::sync::RwLockReadGuard<'_, Routes> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn routes_mut(&self) -> std::sync::RwLockWriteGuard<'_, Routes> {
        self.routes.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn owner(&self, partition: Partition) -> Option<Arc<Node>> {
        let routes = self.routes();
        let owner = routes.owners.get(usize::from(partition.0)).and_then(Option::as_ref);
        owner.map(|owner| Arc::clone(&owner.node))
    }

    fn slot(&self, partition: Partition) -> u16 {
        self.slots.get(usize::from(partition.0)).copied().unwrap_or_default()
    }

    fn call_timeout(&self) -> Duration {
        self.access.call_timeout
    }
}

impl Routes {
    fn node(&mut self, address: &Address, access: &Access, replication: Option<Replication>) -> Arc<Node> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let node = self.nodes.entry(address.clone()).or_insert_with(|| {
            Arc::new(Node {
                number: NUMBERS.fetch_add(1, Ordering::Relaxed),
                address: address.clone(),
                link: Link::open(access, address),
                confirming: replication.map(|_| Link::open(access, address)),
            })
        });
        Arc::clone(node)
    }

    /// A server as it wants to be called.
    fn announced(&self, address: &Address) -> Address {
        self.names.get(address).unwrap_or(address).clone()
    }

    /// Those whose turn it is, the healthy before the others.
    fn informants(&mut self) -> Vec<Arc<Node>> {
        self.turn = self.turn.wrapping_add(1);
        let mut nodes: Vec<_> = self.nodes.values().cloned().collect();
        nodes.sort_unstable_by_key(|node| node.number);
        let turn = self.turn.checked_rem(nodes.len()).unwrap_or_default();
        nodes.rotate_left(turn);
        nodes.sort_by_key(|node| !node.link.is_well());
        nodes.truncate(INFORMANTS_MAX);
        nodes
    }
}
