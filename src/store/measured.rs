//! A store, and how long each call of it takes.

use std::fmt;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Acknowledgement, DayTotals, Duty, Fence, Fenced, Finding, Lease, LogBatch, LogCursor, Measurement, NodeRegistry,
    RevocationLog, SessionLimit, SessionPage, SessionStore, Statistics, Store, StoreError, Stored, Swap, SweepPlace, SweepRecord,
    SweepStep, TicketKept, TicketStore, Upkeep, Version,
};
use crate::domain::ids::{Partition, Partitions, SessionId, Subject};
use crate::domain::imported::{Import, ImportedDigest};
use crate::domain::meters::{ControlSet, StoreCommand};
use crate::domain::node::{Canary, Node, NodeId};
use crate::domain::page::Page;
use crate::domain::revocation::Revocation;
use crate::domain::session::Session;
use crate::domain::stats::{Day, Readings};
use crate::domain::ticket::{KeptTicket, TicketDigest, TicketTerms};
use crate::domain::time::{Clock, Timestamp};

/// Does what the store does that it was given. A read of the log that waits for what is to come is not measured.
pub struct MeasuredStore {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    meters: Arc<ControlSet>,
}

impl MeasuredStore {
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, meters: Arc<ControlSet>) -> Self {
        Self { store, clock, meters }
    }

    async fn timed<T>(&self, command: StoreCommand, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let mut running = Running { store: self, command, began_at: self.clock.nanos(), has_failed: true };
        let answer = call.await;
        running.has_failed = answer.is_err();
        answer
    }
}

/// A call that has begun. It is measured when this is dropped: one that nobody waits for any longer has failed.
struct Running<'a> {
    store: &'a MeasuredStore,
    command: StoreCommand,
    began_at: u64,
    has_failed: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let took = self.store.clock.nanos().saturating_sub(self.began_at);
        self.store.meters.store_answered(self.command, took, self.has_failed);
    }
}

impl fmt::Debug for MeasuredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MeasuredStore").field(&self.store).finish()
    }
}

#[async_trait]
impl SessionStore for MeasuredStore {
    fn partitions(&self) -> Partitions {
        self.store.partitions()
    }

    async fn create(&self, session: &Session, limit: Option<SessionLimit>, now: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        self.timed(StoreCommand::Create, self.store.create(session, limit, now)).await
    }

    async fn load(&self, id: SessionId) -> Result<Option<Stored>, StoreError> {
        self.timed(StoreCommand::Load, self.store.load(id)).await
    }

    async fn swap(&self, expected: Version, next: &Session) -> Result<Swap, StoreError> {
        self.timed(StoreCommand::Swap, self.store.swap(expected, next)).await
    }

    async fn acknowledge(&self, seen: &[Acknowledgement]) -> Result<(), StoreError> {
        self.timed(StoreCommand::Acknowledge, self.store.acknowledge(seen)).await
    }

    async fn page_of(&self, subject: &Subject, page: Page, now: Timestamp) -> Result<SessionPage, StoreError> {
        self.timed(StoreCommand::PageOf, self.store.page_of(subject, page, now)).await
    }

    async fn end_created_before(&self, moment: Timestamp) -> Result<u64, StoreError> {
        self.timed(StoreCommand::EndCreatedBefore, self.store.end_created_before(moment)).await
    }

    async fn import(&self, batch: &[Import], now: Timestamp) -> Result<u64, StoreError> {
        self.timed(StoreCommand::Import, self.store.import(batch, now)).await
    }

    async fn imported(&self, digests: &[ImportedDigest]) -> Result<Vec<Option<SessionId>>, StoreError> {
        self.timed(StoreCommand::Imported, self.store.imported(digests)).await
    }

    async fn settle(&self, session: SessionId) -> Result<(), StoreError> {
        self.timed(StoreCommand::Settle, self.store.settle(session)).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.timed(StoreCommand::Probe, self.store.probe()).await
    }
}

#[async_trait]
impl RevocationLog for MeasuredStore {
    async fn revoke(&self, revocation: &Revocation) -> Result<Vec<SessionId>, StoreError> {
        self.timed(StoreCommand::Revoke, self.store.revoke(revocation)).await
    }

    async fn follow(&self, cursor: Option<&LogCursor>, wait: Duration) -> Result<LogBatch, StoreError> {
        self.store.follow(cursor, wait).await
    }
}

#[async_trait]
impl NodeRegistry for MeasuredStore {
    async fn register(&self, node: &Node, silence_max: Duration) -> Result<u64, StoreError> {
        self.timed(StoreCommand::Register, self.store.register(node, silence_max)).await
    }

    async fn unregister(&self, node: NodeId) -> Result<(), StoreError> {
        self.timed(StoreCommand::Unregister, self.store.unregister(node)).await
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        self.timed(StoreCommand::Nodes, self.store.nodes()).await
    }

    async fn mark(&self, partition: Partition, canary: Canary) -> Result<(), StoreError> {
        self.timed(StoreCommand::Mark, self.store.mark(partition, canary)).await
    }

    async fn give_receipt(&self, canary: Canary, node: NodeId) -> Result<(), StoreError> {
        self.timed(StoreCommand::GiveReceipt, self.store.give_receipt(canary, node)).await
    }

    async fn receipts(&self, canary: Canary) -> Result<Vec<NodeId>, StoreError> {
        self.timed(StoreCommand::Receipts, self.store.receipts(canary)).await
    }
}

#[async_trait]
impl TicketStore for MeasuredStore {
    async fn keep_ticket(&self, ticket: &KeptTicket, terms: TicketTerms) -> Result<TicketKept, StoreError> {
        self.timed(StoreCommand::KeepTicket, self.store.keep_ticket(ticket, terms)).await
    }

    async fn read_ticket(&self, home: Partition, digest: &TicketDigest) -> Result<Option<Vec<u8>>, StoreError> {
        self.timed(StoreCommand::ReadTicket, self.store.read_ticket(home, digest)).await
    }

    async fn spend_ticket(&self, home: Partition, digest: &TicketDigest) -> Result<bool, StoreError> {
        self.timed(StoreCommand::SpendTicket, self.store.spend_ticket(home, digest)).await
    }
}

#[async_trait]
impl Upkeep for MeasuredStore {
    async fn lease(&self, duty: Duty, holder: NodeId, span: Duration, now: Timestamp) -> Result<Lease, StoreError> {
        self.timed(StoreCommand::Lease, self.store.lease(duty, holder, span, now)).await
    }

    async fn release(&self, duty: Duty, holder: NodeId) -> Result<(), StoreError> {
        self.timed(StoreCommand::Release, self.store.release(duty, holder)).await
    }

    async fn sweep(&self, place: Option<SweepPlace>, fence: Fence, now: Timestamp) -> Result<Fenced<SweepStep>, StoreError> {
        self.timed(StoreCommand::Sweep, self.store.sweep(place, fence, now)).await
    }

    async fn record_sweep(&self, sweep: &SweepRecord, fence: Fence) -> Result<Fenced<()>, StoreError> {
        self.timed(StoreCommand::RecordSweep, self.store.record_sweep(sweep, fence)).await
    }

    async fn measure(&self, now: Timestamp) -> Result<Readings, StoreError> {
        self.timed(StoreCommand::Measure, self.store.measure(now)).await
    }

    async fn record_measurement(&self, measurement: &Measurement, fence: Fence) -> Result<Fenced<()>, StoreError> {
        self.timed(StoreCommand::RecordMeasurement, self.store.record_measurement(measurement, fence)).await
    }

    async fn count(&self, totals: &DayTotals) -> Result<(), StoreError> {
        self.timed(StoreCommand::Count, self.store.count(totals)).await
    }

    async fn statistics(&self, days: RangeInclusive<Day>) -> Result<Statistics, StoreError> {
        self.timed(StoreCommand::Statistics, self.store.statistics(days)).await
    }

    async fn inspect(&self, clock: &dyn Clock) -> Vec<Finding> {
        let inspecting = async { Ok(self.store.inspect(clock).await) };
        self.timed(StoreCommand::Inspect, inspecting).await.unwrap_or_default()
    }
}
