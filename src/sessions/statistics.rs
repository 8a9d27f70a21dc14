//! Brings what this node counts into the store, and tells what all nodes have counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::domain::replica::Replica;
use crate::domain::stats::{Counter, DAYS_KEPT, Day, Gauge, Gauges, Readings, Snapshot, Tally};
use crate::domain::time::Clock;
use crate::sessions::nodes::Nodes;
use crate::store::{self, DayTotals, StoreError, Upkeep};

/// Days whose totals are remembered while the store does not take them. Shorter than stores know what they were told.
const DAYS_PENDING_MAX: usize = 7;

/// How often the totals of today and yesterday are told although the store has confirmed them: a failover may have taken them back.
const RETELL_INTERVAL: Duration = Duration::from_secs(60);
const DAYS_RETOLD: u32 = 1;

/// What there is to be told, for the admin listener.
#[async_trait]
pub trait Figures: Send + Sync + 'static {
    /// Counters of this process since its start, and the last measurements; asks no store.
    fn live(&self) -> Live;

    /// The last `days` days, this node's counts of this moment included.
    async fn report(&self, days: u32) -> Result<Report, StoreError>;
}

/// What one process knows by itself.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    pub counts: Snapshot,
    pub readings: Readings,
}

/// Rows of days, ended with the present one.
#[derive(Clone, Debug)]
pub struct Report {
    pub today: Day,
    pub statistics: store::Statistics,
}

/// Counts of this node on their way into the store.
///
/// The store is told totals, not increments: of this process, by day. So a lost response costs nothing, the next flush tells the
/// same and more; and what a failover took back comes again.
pub struct Statistics {
    nodes: Arc<Nodes>,
    store: Arc<dyn Upkeep>,
    tally: Arc<Tally>,
    gauges: Arc<Gauges>,
    replica: Arc<Replica>,
    clock: Arc<dyn Clock>,
    /// One flush at a time.
    pending: Mutex<Pending>,
}

/// What [`Statistics`] is made of.
pub struct StatisticsParts {
    pub nodes: Arc<Nodes>,
    pub store: Arc<dyn Upkeep>,
    pub tally: Arc<Tally>,
    pub gauges: Arc<Gauges>,
    pub replica: Arc<Replica>,
    pub clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Pending {
    /// The tally when it was last divided among days.
    divided: Snapshot,
    days: BTreeMap<Day, Pages>,
}

/// One day's totals, and how much of them the store is known to have.
#[derive(Debug)]
struct Pages {
    totals: Snapshot,
    confirmed: Snapshot,
    /// When, by the monotonic clock.
    confirmed_at: Duration,
}

impl Statistics {
    #[must_use]
    pub fn new(parts: StatisticsParts) -> Self {
        let StatisticsParts { nodes, store, tally, gauges, replica, clock } = parts;
        let pending = Mutex::new(Pending { divided: Snapshot::ZERO, days: BTreeMap::new() });
        Self { nodes, store, tally, gauges, replica, clock, pending }
    }

    /// Tells the store what it does not have yet, or may have lost. What it does not take is told again by the next call.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let mut pending = self.pending.lock().await;
        let today = Day::of(self.clock.now());
        pending.divide(&self.tally.total(), today);
        for (&day, pages) in &mut pending.days {
            let is_recent = day.0.abs_diff(today.0) <= DAYS_RETOLD;
            let may_be_lost = self.clock.monotonic().saturating_sub(pages.confirmed_at) >= RETELL_INTERVAL;
            if pages.totals != pages.confirmed || is_recent && may_be_lost {
                let counts = pages.totals;
                self.store.count(&DayTotals { node: self.nodes.id(), day, counts }).await?;
                (pages.confirmed, pages.confirmed_at) = (counts, self.clock.monotonic());
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Figures for Statistics {
    fn live(&self) -> Live {
        let mut readings = self.gauges.readings();
        readings.extend(of_node(&self.nodes, &self.replica).iter());
        Live { counts: self.tally.total(), readings }
    }

    async fn report(&self, days: u32) -> Result<Report, StoreError> {
        self.flush().await?;
        let today = Day::of(self.clock.now());
        let statistics = self.store.statistics(today.last(days.clamp(1, DAYS_KEPT))).await?;
        Ok(Report { today, statistics })
    }
}

impl Pending {
    /// What was counted since the last time belongs to `today`.
    fn divide(&mut self, tally: &Snapshot, today: Day) {
        // Sweeps count what they find where they remove it: a number of this process would be wrong once it is killed.
        let since = (*tally - self.divided).without(Counter::SessionsSwept);
        self.divided = *tally;
        if since == Snapshot::ZERO {
            return;
        }
        let none = || Pages { totals: Snapshot::ZERO, confirmed: Snapshot::ZERO, confirmed_at: Duration::ZERO };
        self.days.entry(today).or_insert_with(none).totals += since;
        while self.days.len() > DAYS_PENDING_MAX {
            let farthest = self.days.keys().copied().max_by_key(|day| day.0.abs_diff(today.0));
            let Some((day, pages)) = farthest.and_then(|day| self.days.remove_entry(&day)) else { break };
            if pages.totals != pages.confirmed {
                tracing::warn!(day = ?day.starts_at(), "statistics of a day are lost: the store did not take them in time");
            }
        }
    }
}

impl std::fmt::Debug for Statistics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statistics").field("node", &self.nodes.id()).finish_non_exhaustive()
    }
}

/// What this node measures of itself.
pub(super) fn of_node(nodes: &Nodes, replica: &Replica) -> Readings {
    let mut readings = Readings::default();
    readings.set(Gauge::ReplicaEntries, replica.len() as u64);
    let lag = nodes.lag();
    if lag.samples > 0 {
        readings.set(Gauge::RevocationLagP50, lag.p50_micros);
        readings.set(Gauge::RevocationLagP99, lag.p99_micros);
        readings.set(Gauge::RevocationLagMax, lag.max_micros);
    }
    readings
}
