//! What nodes tell each other: who is there, marks in the log, and who has seen them.
//!
//! Layout: `tg:{0}:nodes` (hash of node id to the moment of silence and the record), `tg:{0}:receipts:<canary>` (set of node
//! ids). A canary is an entry of the revocation log with the field `c` instead of `r`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fred::types::Value;

use super::fleet::Fleet;
use super::keys::Keys;
use super::{StoreError, codec, scripts};
use crate::domain::ids::Partition;
use crate::domain::node::{Asks, Canary, Node, NodeId};
use crate::store::RECEIPTS_KEPT;

/// Where it lies.
const HOME: Partition = Partition(0);

/// How long a canary may lie in the log before a sweep takes it, should nothing take its place.
const CANARY_KEPT: Duration = RECEIPTS_KEPT;

/// The canaries of this node that lie in the logs: one in each partition, whose place the next one takes.
#[derive(Debug, Default)]
pub(super) struct Canaries(Mutex<BTreeMap<u16, String>>);

impl Canaries {
    fn last(&self, partition: Partition) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&partition.0).cloned().unwrap_or_default()
    }

    fn replace(&self, partition: Partition, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(partition.0, id.to_owned());
    }
}

pub(super) async fn register(fleet: &Fleet, keys: &Keys, node: &Node, silence_max: Duration) -> Result<u64, StoreError> {
    let record = serde_json::to_string(node).map_err(|error| StoreError::Unreadable(error.to_string()))?;
    let args = [node.id.to_string().into(), record.into(), millis(silence_max)];
    let known = fleet.begin(HOME).await?.script(&scripts::HEARTBEAT, &[keys.nodes()], &args).await?;
    Ok(u64::try_from(codec::integer(&known)?).unwrap_or_default())
}

pub(super) async fn unregister(fleet: &Fleet, keys: &Keys, node: NodeId) -> Result<(), StoreError> {
    let key = keys.nodes();
    fleet.begin(HOME).await?.command("HDEL", vec![key.as_str().into(), node.to_string().into()]).await.map(|_| ())
}

pub(super) async fn nodes(fleet: &Fleet, keys: &Keys) -> Result<Vec<Node>, StoreError> {
    let records = fleet.begin(HOME).await?.script(&scripts::NODES, &[keys.nodes()], &[]).await?;
    let read = |record: &Value| codec::text(record).and_then(|json| serde_json::from_str::<Node>(json).ok());
    let nodes = codec::array(&records)?.iter().map(read).collect::<Option<Vec<_>>>();
    let mut nodes = nodes.ok_or_else(|| StoreError::Unreadable("record of a node".into()))?;
    nodes.sort_unstable_by_key(|node| node.id);
    Ok(nodes)
}

pub(super) async fn mark(
    fleet: &Fleet,
    keys: &Keys,
    canaries: &Canaries,
    partition: Partition,
    canary: Canary,
) -> Result<(), StoreError> {
    let replaced = match canary.asks {
        Asks::Writer => canaries.last(partition),
        // Others may not have seen the one before yet.
        Asks::Everyone => String::new(),
    };
    let args = [canary.to_string().into(), millis(CANARY_KEPT), replaced.into()];
    let id = fleet.begin(partition).await?.script(&scripts::CANARY, &[keys.revocations(partition)], &args).await?;
    if let (Asks::Writer, Some(id)) = (canary.asks, codec::text(&id)) {
        canaries.replace(partition, id);
    }
    Ok(())
}

pub(super) async fn give_receipt(fleet: &Fleet, keys: &Keys, canary: Canary, node: NodeId) -> Result<(), StoreError> {
    let args = [node.to_string().into(), millis(RECEIPTS_KEPT)];
    fleet.begin(HOME).await?.script(&scripts::RECEIPT, &[keys.receipts(canary)], &args).await.map(|_| ())
}

pub(super) async fn receipts(fleet: &Fleet, keys: &Keys, canary: Canary) -> Result<Vec<NodeId>, StoreError> {
    let key = keys.receipts(canary);
    let given = fleet.begin(HOME).await?.command("SMEMBERS", vec![key.as_str().into()]).await?;
    let ids = codec::array(&given)?.iter().map(|id| codec::text(id).and_then(NodeId::parse));
    ids.collect::<Option<Vec<_>>>().ok_or_else(|| StoreError::Unreadable("receipt".into()))
}

fn millis(span: Duration) -> Value {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX).into()
}
