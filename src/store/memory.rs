//! The embedded store without its file: for trials and tests. A restart forgets everything.

use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;

use super::embedded::{OneProcess, SWEEP_STEP_MAX, Shared, State};
use super::{
    Acknowledgement, DayTotals, Duty, Fence, Fenced, Lease, LogBatch, LogCursor, Measurement, RevocationLog, SessionLimit,
    SessionPage, SessionStore, Statistics, StoreError, Stored, Swap, SweepPlace, SweepRecord, SweepStep, Upkeep, Version,
};
use crate::domain::ids::{Partitions, SessionId, Subject};
use crate::domain::imported::{Import, ImportedDigest};
use crate::domain::node::NodeId;
use crate::domain::page::Page;
use crate::domain::revocation::Revocation;
use crate::domain::session::Session;
use crate::domain::stats::{Day, Readings};
use crate::domain::time::Timestamp;

/// Sessions and revocations in this process alone.
#[derive(Debug)]
pub struct Memory {
    shared: Shared,
}

impl Memory {
    #[must_use]
    pub fn new(partitions: Partitions) -> Self {
        Self { shared: Shared::new(partitions, State::new()) }
    }
}

#[async_trait]
impl SessionStore for Memory {
    fn partitions(&self) -> Partitions {
        self.shared.partitions()
    }

    async fn create(&self, session: &Session, limit: Option<SessionLimit>, now: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        Ok(self.shared.change(|draft| draft.create(session, limit, now)))
    }

    async fn load(&self, id: SessionId) -> Result<Option<Stored>, StoreError> {
        Ok(self.shared.load(id))
    }

    async fn swap(&self, expected: Version, next: &Session) -> Result<Swap, StoreError> {
        Ok(self.shared.change(|draft| draft.swap(expected, next)))
    }

    async fn acknowledge(&self, seen: &[Acknowledgement]) -> Result<(), StoreError> {
        self.shared.change(|draft| draft.acknowledge(seen));
        Ok(())
    }

    async fn page_of(&self, subject: &Subject, page: Page, now: Timestamp) -> Result<SessionPage, StoreError> {
        Ok(self.shared.page_of(subject, page, now))
    }

    async fn end_created_before(&self, moment: Timestamp) -> Result<u64, StoreError> {
        let mut ended = 0;
        for ids in self.shared.created_before(moment).chunks(SWEEP_STEP_MAX) {
            ended += self.shared.change(|draft| draft.end(ids));
            tokio::task::yield_now().await;
        }
        Ok(ended)
    }

    async fn import(&self, batch: &[Import], now: Timestamp) -> Result<u64, StoreError> {
        Ok(self.shared.change(|draft| draft.import(batch, now)))
    }

    async fn imported(&self, digests: &[ImportedDigest]) -> Result<Vec<Option<SessionId>>, StoreError> {
        Ok(self.shared.imported(digests))
    }

    async fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl RevocationLog for Memory {
    async fn revoke(&self, revocation: &Revocation) -> Result<Vec<SessionId>, StoreError> {
        Ok(self.shared.change(|draft| draft.revoke(revocation)))
    }

    async fn follow(&self, cursor: Option<&LogCursor>, wait: Duration) -> Result<LogBatch, StoreError> {
        self.shared.follow(cursor, wait).await
    }
}

impl OneProcess for Memory {
    fn shared(&self) -> &Shared {
        &self.shared
    }
}

#[async_trait]
impl Upkeep for Memory {
    async fn lease(&self, duty: Duty, holder: NodeId, span: Duration, now: Timestamp) -> Result<Lease, StoreError> {
        Ok(self.shared.change(|draft| draft.lease(duty, holder, span, now)))
    }

    async fn release(&self, duty: Duty, holder: NodeId) -> Result<(), StoreError> {
        self.shared.change(|draft| draft.release(duty, holder));
        Ok(())
    }

    async fn sweep(&self, _place: Option<SweepPlace>, fence: Fence, now: Timestamp) -> Result<Fenced<SweepStep>, StoreError> {
        Ok(self.shared.change(|draft| draft.sweep(fence, now)))
    }

    async fn record_sweep(&self, sweep: &SweepRecord, fence: Fence) -> Result<Fenced<()>, StoreError> {
        Ok(self.shared.change(|draft| draft.record_sweep(sweep, fence)))
    }

    async fn measure(&self, now: Timestamp) -> Result<Readings, StoreError> {
        Ok(self.shared.measure(now).await)
    }

    async fn record_measurement(&self, measurement: &Measurement, fence: Fence) -> Result<Fenced<()>, StoreError> {
        Ok(self.shared.change(|draft| draft.record_measurement(measurement, fence)))
    }

    async fn count(&self, totals: &DayTotals) -> Result<(), StoreError> {
        self.shared.change(|draft| draft.count(totals));
        Ok(())
    }

    async fn statistics(&self, days: RangeInclusive<Day>) -> Result<Statistics, StoreError> {
        Ok(self.shared.statistics(days))
    }
}
