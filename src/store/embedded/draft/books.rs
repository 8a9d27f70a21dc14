//! What changes write into the books.

use std::time::Duration;

use super::Draft;
use crate::domain::node::NodeId;
use crate::domain::stats::{Day, Snapshot};
use crate::domain::time::Timestamp;
use crate::store::embedded::books::Held;
use crate::store::{DayRow, DayTotals, Duty, Fence, Fenced, Lease, Measurement, SweepRecord};

/// How long it is known how much of a node's totals was counted: longer than a node tells them.
const TOTALS_KEPT_DAYS: i32 = 9;

/// How many old rows and totals one change drops at most.
const DROPPED_MAX: usize = 16;

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
        let books = &self.base.books;
        let rows = books.rows.range(..today.oldest_kept()).take(DROPPED_MAX);
        self.changes.books.rows.extend(rows.map(|(day, _)| (*day, None)));
        let oldest = (Day(today.0.saturating_sub(TOTALS_KEPT_DAYS)), NodeId::new([0; 8]));
        let totals = books.totals.range(..oldest).take(DROPPED_MAX);
        self.changes.books.totals.extend(totals.map(|(key, _)| (*key, None)));
    }
}
