//! A store whose log can be lost and which fails or hangs when told to, for the tests of the tasks.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::domain::ids::{Partition, Partitions, SessionId, Subject};
use crate::domain::imported::{Import, ImportedDigest};
use crate::domain::node::{Canary, Node, NodeId};
use crate::domain::page::Page;
use crate::domain::revocation::{Revocation, Target};
use crate::domain::rotation::Rotation;
use crate::domain::session::{Client, Grant, Lifetime, Session};
use crate::domain::stats::{Day, Readings};
use crate::domain::time::{Clock, Timestamp};
use crate::store::memory::Memory;
use crate::store::{
    Acknowledgement, DayTotals, Duty, Fence, Fenced, Finding, Lease, LogBatch, LogCursor, LogPosition, Measurement, SessionLimit,
    SessionPage, Severity, Statistics, Store, StoreError, Stored, Swap, SweepPlace, SweepRecord, SweepStep, Upkeep, Version,
};

/// Tells tokio's time, which tests pause; the wall clock can be set.
#[derive(Debug)]
pub(super) struct TestClock {
    start: tokio::time::Instant,
    began_at: Mutex<Timestamp>,
    wall: Mutex<Option<Timestamp>>,
}

impl Default for TestClock {
    fn default() -> Self {
        let began_at = Mutex::new(Timestamp::from_secs(1000));
        Self { start: tokio::time::Instant::now(), began_at, wall: Mutex::default() }
    }
}

impl TestClock {
    /// The wall clock showed this when tokio's time began.
    pub(super) fn begin_at(&self, wall: Timestamp) {
        *self.began_at.lock().unwrap() = wall;
    }

    pub(super) fn set(&self, wall: Timestamp) {
        *self.wall.lock().unwrap() = Some(wall);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let wall = *self.wall.lock().unwrap();
        wall.unwrap_or_else(|| self.began_at.lock().unwrap().saturating_add(self.monotonic()))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

pub(super) fn session(n: u64) -> SessionId {
    SessionId::new(Partition(0), Timestamp::from_secs(500), n.to_be_bytes())
}

pub(super) fn session_of(n: u64, ends_at: Timestamp) -> Session {
    Session {
        id: session(n),
        subject: Subject::new("ann").unwrap(),
        grant: Grant::default(),
        rotation: Rotation::first(),
        lifetime: Lifetime { idle_ends_at: ends_at, absolute_ends_at: ends_at },
        client: Client::default(),
        last_used_at: Timestamp::from_secs(500),
    }
}

/// Of session `n`, to be remembered for hours.
pub(super) fn revocation(n: u64) -> Revocation {
    Revocation {
        target: Target::Session { session: session(n) },
        revoked_at: Timestamp::from_secs(900),
        forget_at: Timestamp::from_secs(100_000),
    }
}

#[derive(Debug, Default)]
pub(super) struct FakeStore {
    state: Mutex<State>,
    /// Whose upkeep is the real one.
    sessions: Sessions,
    changed: Notify,
}

#[derive(Debug)]
struct Sessions(Memory);

impl Default for Sessions {
    fn default() -> Self {
        Self(Memory::new(Partitions::ONE))
    }
}

#[derive(Debug, Default)]
struct State {
    log: Vec<(u64, Revocation)>,
    written: u64,
    acknowledged: Vec<Acknowledgement>,
    findings: Vec<Finding>,
    fails: bool,
    hangs: bool,
    reads_in_part: bool,
    revocations_before_failure: Option<usize>,
}

impl FakeStore {
    pub(super) fn with_log(revocations: impl Iterator<Item = Revocation>) -> Self {
        let store = Self::default();
        revocations.for_each(|revocation| store.append(revocation));
        store
    }

    pub(super) fn fail(&self, fails: bool) {
        self.change(|state| (state.fails, state.revocations_before_failure) = (fails, None));
    }

    pub(super) fn hang(&self, hangs: bool) {
        self.change(|state| state.hangs = hangs);
    }

    /// What the next looks bring to light.
    pub(super) fn find(&self, findings: &[(Severity, &'static str)]) {
        let finding = |&(severity, subject)| Finding { severity, subject, text: "told to".to_owned() };
        self.change(|state| state.findings = findings.iter().map(finding).collect());
    }

    pub(super) fn read_in_part(&self, in_part: bool) {
        self.change(|state| state.reads_in_part = in_part);
    }

    /// Works again, until so many revocations were written.
    pub(super) fn fail_after_revocations(&self, count: usize) {
        self.change(|state| (state.fails, state.revocations_before_failure) = (false, Some(count)));
    }

    /// Loses the last `count` entries of the log.
    pub(super) fn lose_log(&self, count: usize) {
        self.change(|state| state.log.truncate(state.log.len() - count));
    }

    pub(super) fn logged(&self) -> usize {
        self.state.lock().unwrap().log.len()
    }

    pub(super) fn acknowledged(&self) -> Vec<Acknowledgement> {
        self.state.lock().unwrap().acknowledged.clone()
    }

    fn append(&self, revocation: Revocation) {
        self.change(|state| {
            state.written += 1;
            state.log.push((state.written, revocation));
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_waiters();
    }

    async fn answer(&self) -> Result<(), StoreError> {
        if self.state.lock().unwrap().hangs {
            std::future::pending::<()>().await;
        }
        let fails = self.state.lock().unwrap().fails;
        if fails { Err(StoreError::Unavailable("told to fail".to_owned())) } else { Ok(()) }
    }

    fn after(&self, position: u64) -> LogBatch {
        let state = self.state.lock().unwrap();
        let revocations = state.log.iter().filter(|(at, _)| *at > position).map(|(_, revocation)| revocation.clone()).collect();
        let cursor = LogCursor(vec![LogPosition { millis: state.written, sequence: 0 }]);
        let unread = state.reads_in_part.then(|| "told to".to_owned());
        LogBatch { revocations, canaries: Vec::new(), cursor, unread }
    }
}

#[async_trait]
impl Store for FakeStore {
    fn partitions(&self) -> Partitions {
        Partitions::new(NonZeroU16::MIN)
    }

    async fn create(&self, session: &Session, limit: Option<SessionLimit>, now: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        self.sessions.0.create(session, limit, now).await
    }

    async fn load(&self, _: SessionId) -> Result<Option<Stored>, StoreError> {
        unreachable!("tasks load no sessions")
    }

    async fn swap(&self, _: Version, _: &Session) -> Result<Swap, StoreError> {
        unreachable!("tasks change no sessions")
    }

    async fn acknowledge(&self, seen: &[Acknowledgement]) -> Result<(), StoreError> {
        self.answer().await?;
        self.change(|state| state.acknowledged.extend_from_slice(seen));
        Ok(())
    }

    async fn page_of(&self, _: &Subject, _: Page, _: Timestamp) -> Result<SessionPage, StoreError> {
        unreachable!("tasks list no sessions")
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<Vec<SessionId>, StoreError> {
        self.answer().await?;
        self.append(revocation.clone());
        self.change(|state| {
            if let Some(left) = &mut state.revocations_before_failure {
                *left -= 1;
                state.fails = *left == 0;
            }
        });
        Ok(Vec::new())
    }

    async fn end_created_before(&self, _: Timestamp) -> Result<u64, StoreError> {
        unreachable!("tasks end no sessions")
    }

    async fn follow(&self, cursor: Option<&LogCursor>, wait: Duration) -> Result<LogBatch, StoreError> {
        self.answer().await?;
        let position = cursor.map_or(0, |cursor| cursor.0[0].millis);
        let batch = self.after(position);
        if !batch.revocations.is_empty() || cursor.is_none() {
            return Ok(batch);
        }
        let _ = tokio::time::timeout(wait, self.changed.notified()).await;
        self.answer().await?;
        Ok(self.after(position))
    }

    async fn import(&self, _: &[Import], _: Timestamp) -> Result<u64, StoreError> {
        unreachable!("tasks import no tokens")
    }

    async fn imported(&self, _: &[ImportedDigest]) -> Result<Vec<Option<SessionId>>, StoreError> {
        unreachable!("tasks look no tokens up")
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.answer().await
    }

    async fn register(&self, _: &Node, _: Duration) -> Result<u64, StoreError> {
        self.answer().await?;
        Ok(1)
    }

    async fn unregister(&self, _: NodeId) -> Result<(), StoreError> {
        self.answer().await
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        unreachable!("tasks ask for no nodes")
    }

    async fn mark(&self, _: Partition, _: Canary) -> Result<(), StoreError> {
        self.answer().await
    }

    async fn give_receipt(&self, _: Canary, _: NodeId) -> Result<(), StoreError> {
        self.answer().await
    }

    async fn receipts(&self, _: Canary) -> Result<Vec<NodeId>, StoreError> {
        unreachable!("tasks ask for no receipts")
    }

    async fn inspect(&self, _: &dyn Clock) -> Vec<Finding> {
        if self.state.lock().unwrap().hangs {
            std::future::pending::<()>().await;
        }
        self.state.lock().unwrap().findings.clone()
    }
}

#[async_trait]
impl Upkeep for FakeStore {
    async fn lease(&self, duty: Duty, holder: NodeId, span: Duration, now: Timestamp) -> Result<Lease, StoreError> {
        self.answer().await?;
        self.sessions.0.lease(duty, holder, span, now).await
    }

    async fn release(&self, duty: Duty, holder: NodeId) -> Result<(), StoreError> {
        self.answer().await?;
        self.sessions.0.release(duty, holder).await
    }

    async fn sweep(&self, place: Option<SweepPlace>, fence: Fence, now: Timestamp) -> Result<Fenced<SweepStep>, StoreError> {
        self.answer().await?;
        self.sessions.0.sweep(place, fence, now).await
    }

    async fn record_sweep(&self, sweep: &SweepRecord, fence: Fence) -> Result<Fenced<()>, StoreError> {
        self.answer().await?;
        self.sessions.0.record_sweep(sweep, fence).await
    }

    async fn measure(&self, now: Timestamp) -> Result<Readings, StoreError> {
        self.answer().await?;
        self.sessions.0.measure(now).await
    }

    async fn record_measurement(&self, measurement: &Measurement, fence: Fence) -> Result<Fenced<()>, StoreError> {
        self.answer().await?;
        self.sessions.0.record_measurement(measurement, fence).await
    }

    async fn count(&self, totals: &DayTotals) -> Result<(), StoreError> {
        self.answer().await?;
        self.sessions.0.count(totals).await
    }

    async fn statistics(&self, days: RangeInclusive<Day>) -> Result<Statistics, StoreError> {
        self.answer().await?;
        self.sessions.0.statistics(days).await
    }
}
