//! What one node does for all: removes from the store what has ended, and measures it. Nothing depends on its punctuality.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::replica::Replica;
use crate::domain::stats::{Counter, Counters, Day, Gauges, Readings};
use crate::domain::time::{Clock, Timestamp};
use crate::sessions::nodes::Nodes;
use crate::sessions::statistics::of_node;
use crate::store::{Duty, Fence, Fenced, Lease, Measurement, StoreError, SweepRecord, Swept, Upkeep};

/// How long a node that was killed keeps the others from taking over.
const LEASE_SPAN: Duration = Duration::from_secs(10);

/// How often a lease is prolonged while its holder is at work.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(3);

/// Steps of one sweep: beyond some six billion entries the next one goes on.
const SWEEP_STEPS_MAX: u64 = 100_000_000;

/// How a call for a sweep ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SweepOutcome {
    Swept(SweepRecord),
    /// One since the moment given is done already.
    Done(SweepRecord),
    /// Another node, or another call to this one, is at it; its lease runs out after so long unless it is prolonged.
    Busy {
        left: Duration,
    },
    /// This node stalled for longer than its lease, and another took over.
    Overtaken,
}

/// Sweeps on demand, for the admin listener.
#[async_trait]
pub trait Sweeps: Send + Sync + 'static {
    async fn sweep_now(&self) -> Result<SweepOutcome, StoreError>;
}

/// The upkeep of the store. Every node has one; for each duty at most one of them is at work.
pub struct Caretaker {
    nodes: Arc<Nodes>,
    store: Arc<dyn Upkeep>,
    replica: Arc<Replica>,
    gauges: Arc<Gauges>,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
    /// The lease tells nodes apart, not the calls within one.
    sweeping: tokio::sync::Mutex<()>,
}

/// What a [`Caretaker`] is made of.
pub struct CaretakerParts {
    pub nodes: Arc<Nodes>,
    pub store: Arc<dyn Upkeep>,
    pub replica: Arc<Replica>,
    pub gauges: Arc<Gauges>,
    pub counters: Arc<Counters>,
    pub clock: Arc<dyn Clock>,
}

impl Caretaker {
    #[must_use]
    pub fn new(parts: CaretakerParts) -> Self {
        let CaretakerParts { nodes, store, replica, gauges, counters, clock } = parts;
        Self { nodes, store, replica, gauges, counters, clock, sweeping: tokio::sync::Mutex::new(()) }
    }

    /// The last sweep of any node that came to its end.
    pub async fn last_sweep(&self) -> Result<Option<SweepRecord>, StoreError> {
        let today = Day::of(self.clock.now());
        self.store.statistics(today..=today).await.map(|statistics| statistics.last_sweep)
    }

    /// Sweeps the whole store, unless someone is at it, or has done it since `unless_since`. A sweep that does not come to its end
    /// leaves nothing half done: the next one finds the rest.
    pub async fn sweep(&self, unless_since: Option<Timestamp>) -> Result<SweepOutcome, StoreError> {
        let Ok(_one_at_a_time) = self.sweeping.try_lock() else { return Ok(SweepOutcome::Busy { left: LEASE_SPAN }) };
        let fence = match self.lease(Duty::Sweep).await? {
            Lease::Ours(fence) => fence,
            Lease::Others { left } => return Ok(SweepOutcome::Busy { left }),
        };
        let outcome = self.sweep_under(fence, unless_since).await;
        // Without it others wait until it runs out, and that is all.
        if let Err(error) = self.store.release(Duty::Sweep, self.nodes.id()).await {
            tracing::debug!(%error, "the lease of a sweep was not given back");
        }
        outcome
    }

    async fn sweep_under(&self, fence: Fence, unless_since: Option<Timestamp>) -> Result<SweepOutcome, StoreError> {
        if let (Some(since), Some(last)) = (unless_since, self.last_sweep().await?)
            && last.began_at >= since
        {
            return Ok(SweepOutcome::Done(last));
        }
        let (began_at, began) = (self.clock.now(), self.clock.monotonic());
        let mut renewed = began;
        let (mut swept, mut place) = (Swept::default(), None);
        for _ in 0..SWEEP_STEPS_MAX {
            if self.clock.monotonic().saturating_sub(renewed) >= RENEWAL_INTERVAL {
                renewed = self.clock.monotonic();
                if self.lease(Duty::Sweep).await? != Lease::Ours(fence) {
                    return Ok(SweepOutcome::Overtaken);
                }
            }
            let Fenced::Done(step) = self.store.sweep(place, fence, began_at).await? else { return Ok(SweepOutcome::Overtaken) };
            swept.add(step.swept);
            self.counters.add(Counter::SessionsSwept, step.swept.sessions);
            place = step.next;
            if place.is_none() {
                break;
            }
            // A store in memory responds at once: others get their turn.
            tokio::task::yield_now().await;
        }
        let record = SweepRecord { began_at, took: self.clock.monotonic().saturating_sub(began), swept };
        match self.store.record_sweep(&record, fence).await? {
            Fenced::Done(()) => {
                let Swept { sessions, orphans, revocations } = swept;
                tracing::info!(sessions, orphans, revocations, took = ?record.took, "swept");
                Ok(SweepOutcome::Swept(record))
            }
            Fenced::Overtaken => Ok(SweepOutcome::Overtaken),
        }
    }

    /// Measures the store, unless another node is at it, or did so within the last `interval`; then its measurement is taken over.
    pub async fn measure(&self, interval: Duration) -> Result<(), StoreError> {
        if let Lease::Ours(fence) = self.lease(Duty::Measure).await? {
            let measured = self.measure_under(fence, interval).await;
            self.store.release(Duty::Measure, self.nodes.id()).await?;
            measured?;
        }
        if let Some(last) = self.last_measurement().await? {
            self.gauges.set_all(&of_deployment(&last));
        }
        Ok(())
    }

    async fn measure_under(&self, fence: Fence, interval: Duration) -> Result<(), StoreError> {
        let now = self.clock.now();
        let is_due = |last: &Measurement| now.since(last.taken_at) >= interval || last.taken_at > now.saturating_add(interval);
        if self.last_measurement().await?.as_ref().is_some_and(|last| !is_due(last)) {
            return Ok(());
        }
        let mut readings = self.store.measure(now).await?;
        readings.extend(of_node(&self.nodes, &self.replica).iter());
        // Overtaken: the other's is the later one.
        self.store.record_measurement(&Measurement { taken_at: now, readings }, fence).await.map(|_: Fenced<()>| ())
    }

    async fn last_measurement(&self) -> Result<Option<Measurement>, StoreError> {
        let today = Day::of(self.clock.now());
        self.store.statistics(today..=today).await.map(|statistics| statistics.last_measurement)
    }

    async fn lease(&self, duty: Duty) -> Result<Lease, StoreError> {
        self.store.lease(duty, self.nodes.id(), LEASE_SPAN, self.clock.now()).await
    }
}

/// Without what the node that measured said of itself.
fn of_deployment(measurement: &Measurement) -> Readings {
    measurement.readings.iter().filter(|(gauge, _)| !gauge.is_of_node()).collect()
}

#[async_trait]
impl Sweeps for Caretaker {
    async fn sweep_now(&self) -> Result<SweepOutcome, StoreError> {
        self.sweep(None).await
    }
}

impl std::fmt::Debug for Caretaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caretaker").field("node", &self.nodes.id()).finish_non_exhaustive()
    }
}
