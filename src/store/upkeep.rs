//! What keeps a store tidy and tells what it holds: leases, sweeps, measurements, statistics.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Finding, LogPosition, StoreError};
use crate::domain::ids::Partition;
use crate::domain::node::NodeId;
use crate::domain::stats::{Day, Readings, Snapshot};
use crate::domain::time::{Clock, Timestamp};

/// What one node does for all of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Duty {
    Sweep,
    Measure,
}

impl Duty {
    /// Stable across versions.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sweep => "sweep",
            Self::Measure => "measure",
        }
    }
}

/// Numbers the holders of a duty's lease: each later one has a higher number than all before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fence(pub u64);

/// Whose a lease is, now that it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lease {
    Ours(Fence),
    /// Another node's, and for how long unless it is prolonged.
    Others {
        left: Duration,
    },
}

/// How a write ended that only the latest holder of a lease may make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fenced<T> {
    Done(T),
    /// The duty is another's since: nothing was written.
    Overtaken,
}

/// Where a sweep goes on. Opaque to callers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SweepPlace {
    pub(super) partition: Partition,
    pub(super) stage: SweepStage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SweepStage {
    /// Sessions that have ended.
    Ended,
    /// Index entries without a record, from this cursor on.
    Orphans(u64),
    /// Log entries that may be forgotten, after this one.
    Log(LogPosition),
}

/// What a sweep removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Swept {
    /// Sessions that had ended, with their index entries.
    pub sessions: u64,
    /// Index entries of sessions whose record was gone before its time.
    pub orphans: u64,
    /// Log entries that may be forgotten.
    pub revocations: u64,
}

impl Swept {
    /// Counts what another step removed.
    pub fn add(&mut self, step: Self) {
        self.sessions += step.sessions;
        self.orphans += step.orphans;
        self.revocations += step.revocations;
    }
}

/// One bounded part of a sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SweepStep {
    pub swept: Swept,
    /// `None`: everything was looked at.
    pub next: Option<SweepPlace>,
}

/// A sweep that came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SweepRecord {
    pub began_at: Timestamp,
    #[serde(rename = "took_millis", with = "millis")]
    pub took: Duration,
    #[serde(flatten)]
    pub swept: Swept,
}

/// What was measured, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Measurement {
    pub taken_at: Timestamp,
    #[serde(flatten)]
    pub readings: Readings,
}

/// What one node counted on one day so far, since its process began. Only grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DayTotals {
    pub node: NodeId,
    pub day: Day,
    pub counts: Snapshot,
}

/// The figures of one day, of all nodes together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DayRow {
    pub day: Day,
    pub counts: Snapshot,
    /// Sessions that sweeps of this day found ended by their own lifetimes: each counted once, when its entry was removed.
    pub expired: u64,
    /// The day's last measurement.
    pub measured: Option<Measurement>,
}

impl DayRow {
    #[must_use]
    pub const fn of(day: Day) -> Self {
        Self { day, counts: Snapshot::ZERO, expired: 0, measured: None }
    }
}

/// What the store remembers of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Days of which there is something to tell, in their order.
    pub rows: Vec<DayRow>,
    pub last_sweep: Option<SweepRecord>,
    pub last_measurement: Option<Measurement>,
}

/// What keeps a store tidy, and what it tells of itself. As with all of a [`super::Store`], asking again is safe for every method.
#[async_trait]
pub trait Upkeep: Send + Sync + fmt::Debug + 'static {
    /// Takes the lease on a duty if nobody else has it; prolongs it, under the same fence, for who has it already. It runs out
    /// after `span` by the store's clock, where it has one, and by `now` where it has none.
    async fn lease(&self, duty: Duty, holder: NodeId, span: Duration, now: Timestamp) -> Result<Lease, StoreError>;

    /// Gives the lease back, if it is the holder's.
    async fn release(&self, duty: Duty, holder: NodeId) -> Result<(), StoreError>;

    /// Removes some of what has ended by itself: expired sessions with their index entries, index entries without a record,
    /// revocations past `forget_at`; from `place` on, or from the beginning. One step is small enough to hold nobody else up.
    /// Live state is never touched, whatever `now` is in a store that has a clock of its own. Each expired session is counted in
    /// the row of the day in the same atomic step that removes it.
    async fn sweep(&self, place: Option<SweepPlace>, fence: Fence, now: Timestamp) -> Result<Fenced<SweepStep>, StoreError>;

    /// Remembers a sweep that came to its end.
    async fn record_sweep(&self, sweep: &SweepRecord, fence: Fence) -> Result<Fenced<()>, StoreError>;

    /// Counts what the store holds that lives at `now`. Looks at every session, in steps that hold nobody up.
    async fn measure(&self, now: Timestamp) -> Result<Readings, StoreError>;

    /// Remembers a measurement, also as the latest of its day.
    async fn record_measurement(&self, measurement: &Measurement, fence: Fence) -> Result<Fenced<()>, StoreError>;

    /// Brings the day's row up to the node's totals. The store knows how much of them it has: what it was told before, once or
    /// several times, in whatever order, is not counted again.
    async fn count(&self, totals: &DayTotals) -> Result<(), StoreError>;

    async fn statistics(&self, days: RangeInclusive<Day>) -> Result<Statistics, StoreError>;

    /// Looks for what endangers the data, and for what has happened to it since the last look. A store that nobody else can
    /// touch has nothing to tell.
    async fn inspect(&self, _clock: &dyn Clock) -> Vec<Finding> {
        Vec::new()
    }
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
