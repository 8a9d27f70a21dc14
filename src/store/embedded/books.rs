//! What the store keeps of itself: rows of statistics, leases, the last sweep.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::draft::Draft;
use super::state::State;
use crate::domain::node::NodeId;
use crate::domain::stats::{Day, Snapshot};
use crate::domain::time::Timestamp;
use crate::store::{DayRow, DayTotals, Duty, Fence, Fenced, Lease, Measurement, Statistics, SweepRecord};

/// How long it is known how much of a node's totals was counted: longer than a node tells them.
const TOTALS_KEPT_DAYS: i32 = 9;

/// How many old rows and totals one change drops at most.
const DROPPED_MAX: usize = 16;

/// The books as they are.
#[derive(Debug, Default)]
pub(in crate::store) struct Books {
    pub(super) rows: BTreeMap<Day, DayRow>,
    /// How much of what each node counted is in the rows.
    pub(super) totals: BTreeMap<(Day, NodeId), Snapshot>,
    pub(super) last_sweep: Option<SweepRecord>,
    pub(super) last_measurement: Option<Measurement>,
    /// Not in the file: the process that held one is gone when the file is read again.
    leases: BTreeMap<Duty, Held>,
}

/// A lease, the latest that there was of its duty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    holder: NodeId,
    fence: Fence,
    until: Timestamp,
}

/// What a batch does to the books. `None`: the entry goes.
#[derive(Debug, Default)]
pub(in crate::store) struct BookChanges {
    pub(super) rows: BTreeMap<Day, Option<DayRow>>,
    pub(super) totals: BTreeMap<(Day, NodeId), Option<Snapshot>>,
    pub(super) last_sweep: Option<SweepRecord>,
    pub(super) last_measurement: Option<Measurement>,
    leases: BTreeMap<Duty, Held>,
}

impl BookChanges {
    /// Whether the file stays as it is.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.totals.is_empty() && self.last_sweep.is_none() && self.last_measurement.is_none()
    }
}

impl Books {
    pub(super) fn apply(&mut self, changes: BookChanges) {
        put(&mut self.rows, changes.rows);
        put(&mut self.totals, changes.totals);
        self.last_sweep = changes.last_sweep.or(self.last_sweep);
        self.last_measurement = changes.last_measurement.or(self.last_measurement);
        self.leases.extend(changes.leases);
    }

    pub(super) fn statistics(&self, days: RangeInclusive<Day>) -> Statistics {
        // A range from a later day to an earlier one is empty, and not a panic.
        let rows = self.rows.iter().filter(|(day, _)| days.contains(day));
        Statistics {
            rows: rows.map(|(_, row)| *row).collect(),
            last_sweep: self.last_sweep,
            last_measurement: self.last_measurement,
        }
    }
}

fn put<K: Ord, V>(entries: &mut BTreeMap<K, V>, changes: BTreeMap<K, Option<V>>) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(entries.insert(key, value)),
            None => drop(entries.remove(&key)),
        }
    }
}

impl Draft<'_> {
    pub(in crate::store) fn lease(&mut self, duty: Duty, holder: NodeId, span: Duration, now: Timestamp) -> Lease {
        let held = self.held(duty);
        let fence = match held {
            Some(held) if held.until > now && held.holder != holder => return Lease::Others { left: held.until.since(now) },
            Some(held) if held.until > now => held.fence,
            Some(_) | None => {
                let latest = held.map_or(0, |held| held.fence.0);
                // By the clock, so that a fence is higher than all before a restart too.
                Fence(latest.saturating_add(1).max(u64::try_from(now.millis()).unwrap_or_default()))
            }
        };
        self.changes.books.leases.insert(duty, Held { holder, fence, until: now.saturating_add(span) });
        Lease::Ours(fence)
    }

    pub(in crate::store) fn release(&mut self, duty: Duty, holder: NodeId) {
        if let Some(held) = self.held(duty).filter(|held| held.holder == holder) {
            self.changes.books.leases.insert(duty, Held { until: Timestamp::MIN, ..held });
        }
    }

    /// Whether the duty was taken over by a holder with a higher number.
    pub(super) fn is_overtaken(&self, duty: Duty, fence: Fence) -> bool {
        self.held(duty).is_some_and(|held| held.fence > fence)
    }

    pub(in crate::store) fn record_sweep(&mut self, sweep: &SweepRecord, fence: Fence) -> Fenced<()> {
        if self.is_overtaken(Duty::Sweep, fence) {
            return Fenced::Overtaken;
        }
        self.changes.books.last_sweep = Some(*sweep);
        Fenced::Done(())
    }

    pub(in crate::store) fn record_measurement(&mut self, measurement: &Measurement, fence: Fence) -> Fenced<()> {
        if self.is_overtaken(Duty::Measure, fence) {
            return Fenced::Overtaken;
        }
        self.row(Day::of(measurement.taken_at)).measured = Some(*measurement);
        self.changes.books.last_measurement = Some(*measurement);
        Fenced::Done(())
    }

    pub(in crate::store) fn count(&mut self, totals: &DayTotals) {
        let key = (totals.day, totals.node);
        let drafted = self.changes.books.totals.get(&key).copied().flatten();
        let known = drafted.or_else(|| self.base.books.totals.get(&key).copied()).unwrap_or(Snapshot::ZERO);
        let risen = totals.counts - known;
        if risen == Snapshot::ZERO {
            return;
        }
        self.row(totals.day).counts += risen;
        self.changes.books.totals.insert(key, Some(known.max(&totals.counts)));
        self.drop_old(totals.day);
    }

    pub(super) fn count_expired(&mut self, sessions: u64, now: Timestamp) {
        if sessions > 0 {
            self.row(Day::of(now)).expired += sessions;
        }
    }

    fn held(&self, duty: Duty) -> Option<Held> {
        self.changes.books.leases.get(&duty).or_else(|| self.base.books.leases.get(&duty)).copied()
    }

    fn row(&mut self, day: Day) -> &mut DayRow {
        let before = self.base.books.rows.get(&day).copied();
        let row = self.changes.books.rows.entry(day).or_insert(before);
        row.get_or_insert(DayRow::of(day))
    }

    fn drop_old(&mut self, today: Day) {
        let State { books, .. } = self.base;
        let rows = books.rows.range(..today.oldest_kept()).take(DROPPED_MAX);
        self.changes.books.rows.extend(rows.map(|(day, _)| (*day, None)));
        let oldest = (Day(today.0.saturating_sub(TOTALS_KEPT_DAYS)), NodeId::new([0; 8]));
        let totals = books.totals.range(..oldest).take(DROPPED_MAX);
        self.changes.books.totals.extend(totals.map(|(key, _)| (*key, None)));
    }
}
