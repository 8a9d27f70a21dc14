//! A store that fails as it is told to.

use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::domain::ids::{Partition, Partitions, SessionId, Subject};
use crate::domain::imported::{Import, ImportedDigest};
use crate::domain::node::{Canary, Node, NodeId};
use crate::domain::page::Page;
use crate::domain::revocation::Revocation;
use crate::domain::session::Session;
use crate::domain::stats::{Day, Readings};
use crate::domain::ticket::{KeptTicket, TicketDigest, TicketTerms};
use crate::domain::time::{Clock, Timestamp};
use crate::store::memory::Memory;
use crate::store::{
    Acknowledgement, DayTotals, Duty, Fence, Fenced, Finding, Lease, LogBatch, LogCursor, Measurement, NodeRegistry,
    RevocationLog, SessionLimit, SessionPage, SessionStore, Severity, Statistics, StoreError, Stored, Swap, SweepPlace,
    SweepRecord, SweepStep, TicketKept, TicketStore, Upkeep, Version,
};

/// What the store does wrong with changes and reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Nothing is done.
    Refuses,
    /// Changes are done, and the response is lost.
    LosesResponses,
    /// Counts are taken, and lost as with a primary that failed over.
    ForgetsCounts,
    Full,
    Panics,
    /// Nothing is done before the fault is lifted.
    Hangs,
}

/// The memory store with faults, a count of calls, and a pause before each so that tasks interleave.
#[derive(Debug)]
pub(crate) struct TestStore {
    pub(super) inner: Memory,
    fault: watch::Sender<Option<Fault>>,
    /// Done right before the next swap, between the reading of the record and its change.
    before_swap: Mutex<Option<Revocation>>,
    acknowledged: Mutex<Vec<Acknowledgement>>,
    findings: Mutex<Vec<Finding>>,
    calls: AtomicUsize,
}

impl TestStore {
    pub(crate) fn new(partitions: Partitions) -> Self {
        Self {
            inner: Memory::new(partitions),
            fault: watch::Sender::default(),
            before_swap: Mutex::default(),
            acknowledged: Mutex::default(),
            findings: Mutex::default(),
            calls: AtomicUsize::new(0),
        }
    }

    pub(crate) fn fail(&self, fault: impl Into<Option<Fault>>) {
        self.fault.send_replace(fault.into());
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Everything that was acknowledged, in its order.
    pub(crate) fn acknowledged(&self) -> Vec<Acknowledgement> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// What inspections bring to light from now on.
    pub(crate) fn find(&self, findings: &[(Severity, &'static str)]) {
        let finding = |&(severity, subject)| Finding { severity, subject, text: "told to".to_owned() };
        *self.findings.lock().unwrap() = findings.iter().map(finding).collect();
    }

    pub(crate) fn revoke_before_swap(&self, revocation: Revocation) {
        *self.before_swap.lock().unwrap() = Some(revocation);
    }

    async fn begin(&self) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        let mut told = self.fault.subscribe();
        let fault = *told.wait_for(|fault| *fault != Some(Fault::Hangs)).await.expect("the store keeps the sender");
        match fault {
            None | Some(Fault::LosesResponses | Fault::ForgetsCounts | Fault::Hangs) => Ok(()),
            Some(Fault::Refuses) => Err(StoreError::Unavailable("test".into())),
            Some(Fault::Full) => Err(StoreError::Full("test".into())),
            Some(Fault::Panics) => panic!("the store panics for a test"),
        }
    }

    fn finish<T>(&self, value: T) -> Result<T, StoreError> {
        match *self.fault.borrow() {
            Some(Fault::LosesResponses) => Err(StoreError::Unconfirmed("answer lost".into())),
            None | Some(Fault::Refuses | Fault::ForgetsCounts | Fault::Full | Fault::Panics | Fault::Hangs) => Ok(value),
        }
    }

    fn forgets_counts(&self) -> bool {
        *self.fault.borrow() == Some(Fault::ForgetsCounts)
    }
}

#[async_trait]
impl SessionStore for TestStore {
    fn partitions(&self) -> Partitions {
        self.inner.partitions()
    }

    async fn create(&self, session: &Session, limit: Option<SessionLimit>, now: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        self.begin().await?;
        self.finish(self.inner.create(session, limit, now).await?)
    }

    async fn load(&self, id: SessionId) -> Result<Option<Stored>, StoreError> {
        self.begin().await?;
        self.inner.load(id).await
    }

    async fn swap(&self, expected: Version, next: &Session) -> Result<Swap, StoreError> {
        self.begin().await?;
        let revocation = self.before_swap.lock().unwrap().take();
        if let Some(revocation) = revocation {
            self.inner.revoke(&revocation).await?;
        }
        self.finish(self.inner.swap(expected, next).await?)
    }

    async fn acknowledge(&self, seen: &[Acknowledgement]) -> Result<(), StoreError> {
        self.begin().await?;
        self.acknowledged.lock().unwrap().extend_from_slice(seen);
        self.inner.acknowledge(seen).await
    }

    async fn page_of(&self, subject: &Subject, page: Page, now: Timestamp) -> Result<SessionPage, StoreError> {
        self.begin().await?;
        self.inner.page_of(subject, page, now).await
    }

    async fn end_created_before(&self, moment: Timestamp) -> Result<u64, StoreError> {
        self.begin().await?;
        self.finish(self.inner.end_created_before(moment).await?)
    }

    async fn import(&self, batch: &[Import], now: Timestamp) -> Result<u64, StoreError> {
        self.begin().await?;
        self.finish(self.inner.import(batch, now).await?)
    }

    async fn imported(&self, digests: &[ImportedDigest]) -> Result<Vec<Option<SessionId>>, StoreError> {
        self.begin().await?;
        self.inner.imported(digests).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.begin().await
    }
}

#[async_trait]
impl RevocationLog for TestStore {
    async fn revoke(&self, revocation: &Revocation) -> Result<Vec<SessionId>, StoreError> {
        self.begin().await?;
        self.finish(self.inner.revoke(revocation).await?)
    }

    async fn follow(&self, cursor: Option<&LogCursor>, wait: Duration) -> Result<LogBatch, StoreError> {
        self.inner.follow(cursor, wait).await
    }
}

#[async_trait]
impl NodeRegistry for TestStore {
    async fn register(&self, node: &Node, silence_max: Duration) -> Result<u64, StoreError> {
        self.begin().await?;
        self.inner.register(node, silence_max).await
    }

    async fn unregister(&self, node: NodeId) -> Result<(), StoreError> {
        self.begin().await?;
        self.inner.unregister(node).await
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        self.begin().await?;
        self.inner.nodes().await
    }

    async fn mark(&self, partition: Partition, canary: Canary) -> Result<(), StoreError> {
        self.begin().await?;
        self.inner.mark(partition, canary).await
    }

    async fn give_receipt(&self, canary: Canary, node: NodeId) -> Result<(), StoreError> {
        self.begin().await?;
        self.inner.give_receipt(canary, node).await
    }

    async fn receipts(&self, canary: Canary) -> Result<Vec<NodeId>, StoreError> {
        self.begin().await?;
        self.inner.receipts(canary).await
    }
}

#[async_trait]
impl TicketStore for TestStore {
    async fn keep_ticket(&self, ticket: &KeptTicket, terms: TicketTerms) -> Result<TicketKept, StoreError> {
        self.begin().await?;
        self.finish(self.inner.keep_ticket(ticket, terms).await?)
    }

    async fn read_ticket(&self, home: Partition, digest: &TicketDigest) -> Result<Option<Vec<u8>>, StoreError> {
        self.begin().await?;
        self.finish(self.inner.read_ticket(home, digest).await?)
    }

    async fn spend_ticket(&self, home: Partition, digest: &TicketDigest) -> Result<bool, StoreError> {
        self.begin().await?;
        self.finish(self.inner.spend_ticket(home, digest).await?)
    }
}

#[async_trait]
impl Upkeep for TestStore {
    async fn lease(&self, duty: Duty, holder: NodeId, span: Duration, now: Timestamp) -> Result<Lease, StoreError> {
        self.begin().await?;
        self.finish(self.inner.lease(duty, holder, span, now).await?)
    }

    async fn release(&self, duty: Duty, holder: NodeId) -> Result<(), StoreError> {
        self.begin().await?;
        self.finish(self.inner.release(duty, holder).await?)
    }

    async fn sweep(&self, place: Option<SweepPlace>, fence: Fence, now: Timestamp) -> Result<Fenced<SweepStep>, StoreError> {
        self.begin().await?;
        self.finish(self.inner.sweep(place, fence, now).await?)
    }

    async fn record_sweep(&self, sweep: &SweepRecord, fence: Fence) -> Result<Fenced<()>, StoreError> {
        self.begin().await?;
        self.finish(self.inner.record_sweep(sweep, fence).await?)
    }

    async fn measure(&self, now: Timestamp) -> Result<Readings, StoreError> {
        self.begin().await?;
        self.finish(self.inner.measure(now).await?)
    }

    async fn record_measurement(&self, measurement: &Measurement, fence: Fence) -> Result<Fenced<()>, StoreError> {
        self.begin().await?;
        self.finish(self.inner.record_measurement(measurement, fence).await?)
    }

    async fn count(&self, totals: &DayTotals) -> Result<(), StoreError> {
        self.begin().await?;
        if self.forgets_counts() {
            return Ok(());
        }
        self.finish(self.inner.count(totals).await?)
    }

    async fn statistics(&self, days: RangeInclusive<Day>) -> Result<Statistics, StoreError> {
        self.begin().await?;
        self.finish(self.inner.statistics(days).await?)
    }

    async fn inspect(&self, _clock: &dyn Clock) -> Vec<Finding> {
        match self.begin().await {
            Ok(()) => self.findings.lock().unwrap().clone(),
            Err(_) => Vec::new(),
        }
    }
}
