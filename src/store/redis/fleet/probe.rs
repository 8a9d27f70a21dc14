//! Probes the servers of partitions that they refuse to serve, until they serve them again.

use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Node, Shared};
use crate::domain::ids::Partition;
use crate::store::redis::codec;
use crate::store::redis::discovery::cluster::{self, Account};
use crate::store::redis::link::Command;
use crate::store::redis::options::Address;

/// How often the servers are asked.
const INTERVAL: Duration = Duration::from_millis(100);

/// Asks for the partitions that are not served, as long as there are any.
pub(super) async fn probe(shared: &Shared) {
    loop {
        while !shared.unserved.present().is_empty() {
            let round = async {
                ask_once(shared).await;
                tokio::time::sleep(INTERVAL).await;
            };
            if shared.stop.run_until_cancelled(round).await.is_none() {
                return;
            }
        }
        if shared.stop.run_until_cancelled(shared.unserved.noted.notified()).await.is_none() {
            return;
        }
    }
}

async fn ask_once(shared: &Shared) {
    let mut by_server: BTreeMap<u64, (Arc<Node>, Vec<Partition>)> = BTreeMap::new();
    for partition in shared.unserved.present() {
        match shared.owner(partition) {
            Some(node) => by_server.entry(node.number).or_insert_with(|| (node, Vec::new())).1.push(partition),
            // Nothing can be sent for it anyhow.
            None => shared.unserved.clear(partition),
        }
    }
    let asked = by_server.into_values().map(async |(node, partitions)| {
        let deadline = Instant::now() + shared.call_timeout();
        let Some(slots) = slots_served(&node, deadline).await else { return };
        for partition in partitions.into_iter().filter(|&partition| slots.serves(shared.slot(partition))) {
            shared.unserved.clear(partition);
        }
    });
    futures_util::future::join_all(asked).await;
}

/// What a server would not respond with `CLUSTERDOWN`.
enum Served {
    /// It does not say. A call will tell.
    Unknown,
    None,
    /// By itself, or by others to which it would send on.
    Known(Account),
}

impl Served {
    /// From `CLUSTER INFO` and `CLUSTER NODES`.
    fn read(info: &str, nodes: &str, asked: &Address) -> Self {
        let is_up = info.lines().any(|line| line.trim_end() == "cluster_state:ok");
        if is_up { Self::Known(Account::read(nodes, asked)) } else { Self::None }
    }

    fn serves(&self, slot: u16) -> bool {
        match self {
            Self::Unknown => true,
            Self::None => false,
            Self::Known(account) => cluster::owner(slice::from_ref(account), slot).is_some(),
        }
    }
}

/// `None`: it does not respond.
async fn slots_served(node: &Node, deadline: Instant) -> Option<Served> {
    let commands = ["INFO", "NODES"].map(|what| Command::new("CLUSTER", vec![what.into()]));
    let replies = node.link.send_in_a_row(commands.into(), deadline).await.ok()?;
    let [Ok(info), Ok(nodes)] = replies.as_slice() else { return Some(Served::Unknown) };
    let text = |value| codec::text(value).unwrap_or_default();
    Some(Served::read(text(info), text(nodes), &node.address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
67ed2db8 127.0.0.1:30002@31002 master - 0 1426238316232 2 connected 5461-10922
e7d1eecc 127.0.0.1:30001@31001 myself,master - 0 0 1 connected 0-5459
";

    #[test]
    fn a_slot_is_served_by_a_server_that_is_up_if_somebody_owns_it() {
        let asked = Address::parse("127.0.0.1:30001").unwrap();
        let up = Served::read("cluster_state:ok\r\ncluster_slots_assigned:16383\r\n", NODES, &asked);
        assert_eq!([0, 5460, 10922].map(|slot| up.serves(slot)), [true, false, true]);
        let down = Served::read("cluster_state:fail\r\n", NODES, &asked);
        assert!(!down.serves(0));
        assert!(Served::Unknown.serves(5460), "a call will tell");
    }
}
