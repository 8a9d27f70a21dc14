//! What the store keeps of itself: rows of statistics, leases, the last sweep.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::domain::node::NodeId;
use crate::domain::stats::{Day, Snapshot};
use crate::domain::time::Timestamp;
use crate::store::{DayRow, Duty, Fence, Measurement, Statistics, SweepRecord};

/// The books as they are.
#[derive(Debug, Default)]
pub(in crate::store) struct Books {
    pub(super) rows: BTreeMap<Day, DayRow>,
    /// How much of what each node counted is in the rows.
    pub(super) totals: BTreeMap<(Day, NodeId), Snapshot>,
    pub(super) last_sweep: Option<SweepRecord>,
    pub(super) last_measurement: Option<Measurement>,
    /// Not in the file: the process that held one is gone when the file is read again.
    pub(super) leases: BTreeMap<Duty, Held>,
}

/// A lease, the latest that there was of its duty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) holder: NodeId,
    pub(super) fence: Fence,
    pub(super) until: Timestamp,
}

/// What a batch does to the books. `None`: the entry goes.
#[derive(Debug, Default)]
pub(in crate::store) struct BookChanges {
    pub(super) rows: BTreeMap<Day, Option<DayRow>>,
    pub(super) totals: BTreeMap<(Day, NodeId), Option<Snapshot>>,
    pub(super) last_sweep: Option<SweepRecord>,
    pub(super) last_measurement: Option<Measurement>,
    pub(super) leases: BTreeMap<Duty, Held>,
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
