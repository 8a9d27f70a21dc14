//! A revocation log that can be lost, and that fails or hangs as it is told to, for the tests of the tasks; and a clock that follows
//! tokio's.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::domain::ids::{Partition, SessionId, Subject};
use crate::domain::revocation::{Revocation, Target};
use crate::domain::rotation::Rotation;
use crate::domain::session::{Client, Grant, Lifetime, Session};
use crate::domain::time::{Clock, Timestamp};
use crate::store::{LogBatch, LogCursor, LogPosition, RevocationLog, StoreError};

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
pub(super) struct FakeLog {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    log: Vec<(u64, Revocation)>,
    written: u64,
    fails: bool,
    hangs: bool,
    reads_in_part: bool,
    revocations_before_failure: Option<usize>,
}

impl FakeLog {
    pub(super) fn with_log(revocations: impl Iterator<Item = Revocation>) -> Self {
        let log = Self::default();
        revocations.for_each(|revocation| log.append(revocation));
        log
    }

    pub(super) fn fail(&self, fails: bool) {
        self.change(|state| (state.fails, state.revocations_before_failure) = (fails, None));
    }

    pub(super) fn hang(&self, hangs: bool) {
        self.change(|state| state.hangs = hangs);
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

    async fn respond(&self) -> Result<(), StoreError> {
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
impl RevocationLog for FakeLog {
    async fn revoke(&self, revocation: &Revocation) -> Result<Vec<SessionId>, StoreError> {
        self.respond().await?;
        self.append(revocation.clone());
        self.change(|state| {
            if let Some(left) = &mut state.revocations_before_failure {
                *left -= 1;
                state.fails = *left == 0;
            }
        });
        Ok(Vec::new())
    }

    async fn follow(&self, cursor: Option<&LogCursor>, wait: Duration) -> Result<LogBatch, StoreError> {
        self.respond().await?;
        let position = cursor.map_or(0, |cursor| cursor.0[0].millis);
        let batch = self.after(position);
        if !batch.revocations.is_empty() || cursor.is_none() {
            return Ok(batch);
        }
        let _ = tokio::time::timeout(wait, self.changed.notified()).await;
        self.respond().await?;
        Ok(self.after(position))
    }
}
