//! Three primaries and a replica of each.

use std::collections::BTreeSet;
use std::iter;
use std::sync::Arc;

use super::tls::Tls;
use super::{LOOPBACK, PORT_ATTEMPTS_MAX, RedisServer, next_port, wait_until, wait_until_or_tell};

pub(crate) const PRIMARIES: usize = 3;
const SLOTS: usize = 16_384;
/// How long a node may be silent before the others hold it for dead. Failing over takes about a second more.
const NODE_TIMEOUT_MILLIS: &str = "1500";

pub(crate) struct Cluster {
    /// The primaries of the start, then the replica of each.
    pub(crate) nodes: Vec<RedisServer>,
}

/// A moment in the migration of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Migration {
    /// The keys are on their way: what is not here any more is there.
    Begun,
    Done,
}

impl Cluster {
    /// Every slot served, every replica in step.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// `arguments` are for each node. A slot without a primary stops only its own keys.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        Self::start_over(None, arguments)
    }

    /// All of them over TLS, among themselves too.
    pub(crate) fn start_over(tls: Option<&Arc<Tls>>, arguments: &[&str]) -> Self {
        let name = tls.filter(|tls| tls.is_by_name()).map(|tls| tls.host());
        let arguments = [arguments, name.map(|name| ["--cluster-announce-hostname", name]).as_slice().as_flattened()].concat();
        let nodes: Vec<RedisServer> = (0..2 * PRIMARIES).map(|_| start_node(&arguments, tls)).collect();
        let cluster = Self { nodes };
        for (index, node) in cluster.nodes.iter().enumerate() {
            node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
        }
        let per_primary = SLOTS.div_ceil(PRIMARIES);
        for (index, node) in cluster.nodes[..PRIMARIES].iter().enumerate() {
            let (first, last) = (index * per_primary, ((index + 1) * per_primary).min(SLOTS) - 1);
            node.cli(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
        }
        for node in &cluster.nodes[1..] {
            cluster.nodes[0].cli(&["CLUSTER", "MEET", LOOPBACK, &node.port().to_string(), &bus_port(node)]);
        }
        wait_until("the nodes know each other", || {
            cluster.nodes.iter().all(|node| {
                let known = node.cli(&["CLUSTER", "NODES"]);
                let named = known.lines().filter(|line| name.is_none_or(|name| line.contains(&format!(",{name} "))));
                named.count() == 2 * PRIMARIES && !known.contains("handshake")
            })
        });
        for (index, replica) in cluster.nodes[PRIMARIES..].iter().enumerate() {
            let primary = cluster.nodes[index].cli(&["CLUSTER", "MYID"]);
            replica.cli(&["CLUSTER", "REPLICATE", &primary]);
        }
        cluster.await_order();
        cluster
    }

    /// Waits until every slot is served, each primary has a replica in step, and all agree on who has which slot.
    pub(crate) fn await_order(&self) {
        let is_in_order = || {
            let is_primary = |index: usize| self.nodes[index].info("role") == "master";
            let is_pair = |first: usize| {
                let partner = Self::partner_of(first);
                let replica = if is_primary(first) { partner } else { first };
                is_primary(Self::partner_of(replica)) && self.nodes[replica].is_synced_replica()
            };
            let views = self.nodes.iter().map(|node| owned_ranges(&node.cli(&["CLUSTER", "NODES"])));
            self.nodes.iter().all(RedisServer::sees_whole_cluster)
                && (0..PRIMARIES).all(is_pair)
                && views.collect::<BTreeSet<_>>().len() == 1
        };
        wait_until_or_tell(is_in_order, || format!("order in the cluster\n{}", self.views().join("\n\n")));
    }

    /// Which of a node and its partner is the primary.
    pub(crate) fn primary_of_pair(&self, index: usize) -> usize {
        if self.nodes[index].info("role") == "master" { index } else { Self::partner_of(index) }
    }

    /// `redis-cluster://…`, with the primaries of the start.
    pub(crate) fn url(&self) -> String {
        let secure = if self.nodes[0].tls.is_some() { "s" } else { "" };
        let addresses: Vec<String> = self.nodes[..PRIMARIES].iter().map(RedisServer::address).collect();
        format!("redis{secure}-cluster://{}", addresses.join(","))
    }

    /// The slot of every key with this hash tag: of a partition, its number.
    pub(crate) fn slot_of(&self, hash_tag: &str) -> u16 {
        let node = self.nodes.iter().find(|node| node.answers()).expect("a node that answers");
        node.cli(&["CLUSTER", "KEYSLOT", &format!("{{{hash_tag}}}")]).parse().unwrap()
    }

    /// Of `nodes`, the primary that serves a slot, as `CLUSTER SHARDS`' own source has it: the highest epoch counts.
    pub(crate) fn owner_of(&self, slot: u16) -> usize {
        self.find_owner(slot).unwrap_or_else(|| panic!("nobody serves slot {slot}"))
    }

    /// The replica at the start of a primary of the start, or the other way round.
    pub(crate) const fn partner_of(index: usize) -> usize {
        (index + PRIMARIES) % (2 * PRIMARIES)
    }

    /// Waits until this node serves the slot and takes writes.
    pub(crate) fn await_owner(&self, slot: u16, index: usize) {
        wait_until("the promotion of the replica", || {
            self.find_owner(slot) == Some(index) && self.nodes[index].info("role") == "master"
        });
    }

    /// Moves a slot with its keys to another primary, as `redis-cli --cluster reshard` does: step by step, under traffic.
    /// `between` is called with some keys moved and some not, and when all is done.
    pub(crate) fn migrate(&self, slot: u16, to: usize, mut between: impl FnMut(Migration)) {
        const KEYS_AT_ONCE: &str = "10";
        const MIGRATE_TIMEOUT_MILLIS: &str = "5000";
        let from = self.owner_of(slot);
        assert_ne!(from, to);
        let (source, target, slot) = (&self.nodes[from], &self.nodes[to], slot.to_string());
        let (source_id, target_id) = (source.cli(&["CLUSTER", "MYID"]), target.cli(&["CLUSTER", "MYID"]));
        assert_eq!(target.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]), "OK");
        assert_eq!(source.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]), "OK");
        let mut first = true;
        loop {
            let keys = source.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, if first { "1" } else { KEYS_AT_ONCE }]);
            let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                break;
            }
            let port = target.port().to_string();
            let head = ["MIGRATE", LOOPBACK, port.as_str(), "", "0", MIGRATE_TIMEOUT_MILLIS, "KEYS"];
            let reply = source.cli(&[&head, keys.as_slice()].concat());
            assert!(reply == "OK" || reply == "NOKEY", "{reply}");
            if std::mem::take(&mut first) {
                between(Migration::Begun);
            }
        }
        assert_eq!(target.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]), "OK");
        assert_eq!(source.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]), "OK");
        between(Migration::Done);
    }

    /// The owner of each of these slots.
    pub(crate) fn owners_of(&self, slots: &[u16]) -> Vec<usize> {
        let views = self.views();
        slots.iter().map(|&slot| self.owner_in(&views, slot).unwrap_or_else(|| panic!("nobody serves slot {slot}"))).collect()
    }

    /// Takes a slot from its owner and gives it to nobody; its keys stay where they are. Returns the owner.
    pub(crate) fn unassign(&self, slot: u16) -> usize {
        let owner = self.owner_of(slot);
        // The owner first, or the others would hear of the slot from it again. A replica that did not forget it would not take it
        // over when it is promoted later.
        let others = (0..self.nodes.len()).filter(|&index| index != owner);
        for index in iter::once(owner).chain(others) {
            self.nodes[index].cli(&["CLUSTER", "DELSLOTS", &slot.to_string()]);
        }
        wait_until("nobody owns the slot", || self.find_owner(slot).is_none());
        owner
    }

    /// Gives back a slot that was taken.
    pub(crate) fn assign(&self, slot: u16, owner: usize) {
        assert_eq!(self.nodes[owner].cli(&["CLUSTER", "ADDSLOTS", &slot.to_string()]), "OK");
    }

    fn find_owner(&self, slot: u16) -> Option<usize> {
        self.owner_in(&self.views(), slot)
    }

    fn owner_in(&self, views: &[String], slot: u16) -> Option<usize> {
        let claims = views.iter().flat_map(|view| view.lines()).filter_map(|line| claim(line, slot));
        let (_, port) = claims.max()?;
        self.nodes.iter().position(|node| node.port() == port)
    }

    /// What each node that answers knows of all.
    fn views(&self) -> Vec<String> {
        self.nodes.iter().filter(|node| node.answers()).map(|node| node.cli(&["CLUSTER", "NODES"])).collect()
    }
}

impl RedisServer {
    fn sees_whole_cluster(&self) -> bool {
        let info = self.cli(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384") && self.info("cluster_enabled") == "1"
    }
}

fn start_node(arguments: &[&str], tls: Option<&Arc<Tls>>) -> RedisServer {
    for _ in 0..PORT_ATTEMPTS_MAX {
        let bus_port = next_port().to_string();
        let of_cluster = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus_port,
            "--cluster-node-timeout",
            NODE_TIMEOUT_MILLIS,
            "--cluster-require-full-coverage",
            "no",
            "--cluster-replica-validity-factor",
            "0",
            "--repl-diskless-sync-delay",
            "0",
        ];
        let mut node = RedisServer::prepare(&[&of_cluster, arguments].concat()).over(tls);
        // Another port for the bus as well, should one of the two be taken.
        if node.try_run() {
            return node;
        }
    }
    panic!("no free ports for a cluster node");
}

fn bus_port(node: &RedisServer) -> String {
    node.cli(&["CONFIG", "GET", "cluster-port"]).lines().last().unwrap_or_default().to_owned()
}

/// The slots as a node's view has them, each with the owner's id.
fn owned_ranges(view: &str) -> BTreeSet<String> {
    let owned = view.lines().flat_map(|line| {
        let mut fields = line.split(' ');
        let owner = fields.next().unwrap_or_default();
        fields.skip(7).filter(|range| !range.starts_with('[')).map(move |range| format!("{owner} {range}"))
    });
    owned.collect()
}

/// With which epoch, and at which port, a line of `CLUSTER NODES` claims a slot.
fn claim(line: &str, slot: u16) -> Option<(u64, u16)> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [_, address, flags, _, _, _, epoch, _, ranges @ ..] = fields.as_slice() else { return None };
    let is_in = |range: &&str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse().is_ok_and(|first: u16| first <= slot) && last.parse().is_ok_and(|last: u16| slot <= last)
    };
    let port = address.split(['@', ',']).next()?.rsplit(':').next()?;
    (flags.contains("master") && ranges.iter().any(is_in)).then_some((epoch.parse().ok()?, port.parse().ok()?))
}
