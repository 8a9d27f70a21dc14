//! The nodes and the tickets of a store that one process has: they are kept beside the sessions in memory, and none outlives the process.

use std::time::Duration;

use async_trait::async_trait;

use super::Shared;
use crate::domain::ids::Partition;
use crate::domain::node::{Canary, Node, NodeId};
use crate::domain::ticket::{KeptTicket, TicketDigest, TicketTerms};
use crate::store::{NodeRegistry, StoreError, TicketKept, TicketStore};

/// A store that one process has.
pub(in crate::store) trait OneProcess: std::fmt::Debug + Send + Sync + 'static {
    fn shared(&self) -> &Shared;
}

#[async_trait]
impl<S: OneProcess> NodeRegistry for S {
    async fn register(&self, node: &Node, silence_max: Duration) -> Result<u64, StoreError> {
        Ok(self.shared().register(node, silence_max))
    }

    async fn unregister(&self, node: NodeId) -> Result<(), StoreError> {
        self.shared().unregister(node);
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        Ok(self.shared().nodes())
    }

    async fn mark(&self, _: Partition, canary: Canary) -> Result<(), StoreError> {
        self.shared().mark(canary);
        Ok(())
    }

    async fn give_receipt(&self, canary: Canary, node: NodeId) -> Result<(), StoreError> {
        self.shared().give_receipt(canary, node);
        Ok(())
    }

    async fn receipts(&self, canary: Canary) -> Result<Vec<NodeId>, StoreError> {
        Ok(self.shared().receipts(canary))
    }
}

#[async_trait]
impl<S: OneProcess> TicketStore for S {
    async fn keep_ticket(&self, ticket: &KeptTicket, terms: TicketTerms) -> Result<TicketKept, StoreError> {
        self.shared().tickets().keep(ticket, terms)
    }

    async fn read_ticket(&self, _: Partition, digest: &TicketDigest) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.shared().tickets().read(digest))
    }

    async fn spend_ticket(&self, _: Partition, digest: &TicketDigest) -> Result<bool, StoreError> {
        Ok(self.shared().tickets().spend(digest))
    }
}
