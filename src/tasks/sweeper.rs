//! Sweeps the store when its time has come. Correctness never depends on it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::rules::LiveRules;
use crate::crypto::entropy::{Entropy, draw};
use crate::domain::stats::{Counter, Counters};
use crate::domain::time::{Clock, Timestamp};
use crate::sessions::caretaker::{Caretaker, SweepOutcome};
use crate::store::StoreError;

/// The clock on the wall is looked at this often: it may be set.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Before a sweep that failed, or that another node is at, is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(30);

/// After this a sweep counts as failed. The next one goes on where it ended.
const SWEEP_MAX: Duration = Duration::from_secs(3600);

/// Sees to it that the store is swept once for each moment of the schedule, if there is one: by this node, if no other has done it.
pub struct Sweeper {
    pub caretaker: Arc<Caretaker>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub counters: Arc<Counters>,
    pub rules: LiveRules,
}

impl Sweeper {
    /// Returns when `stop` is cancelled. A moment that passed while no node was there is made up for.
    pub async fn run(&self, stop: CancellationToken) {
        let began_at = self.clock.now();
        let mut swept_at = None;
        while !stop.is_cancelled() {
            let pause = match self.turn(&mut swept_at, began_at).await {
                Ok(pause) => pause,
                Err(error) => {
                    self.counters.add(Counter::StoreErrors, 1);
                    warn!(%error, "sweep failed");
                    RETRY_PAUSE
                }
            };
            let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// Sweeps if it is due. Returns how long there is nothing to do.
    async fn turn(&self, swept_at: &mut Option<Timestamp>, began_at: Timestamp) -> Result<Duration, StoreError> {
        let last = match *swept_at {
            Some(at) => at,
            None => *swept_at.insert(self.caretaker.last_sweep().await?.map_or(began_at, |last| last.began_at)),
        };
        let now = self.clock.now();
        let Some(due) = self.rules.now().sweeps.as_ref().and_then(|schedule| schedule.next_after(last)) else {
            return Ok(LOOK_INTERVAL);
        };
        if due > now {
            return Ok(due.since(now).min(LOOK_INTERVAL));
        }
        let sweeping = tokio::time::timeout(SWEEP_MAX, self.caretaker.sweep(Some(due))).await;
        let outcome = sweeping.unwrap_or_else(|_| Err(StoreError::Unavailable("sweeping takes too long".to_owned())))?;
        match outcome {
            SweepOutcome::Swept(sweep) | SweepOutcome::Done(sweep) => {
                *swept_at = Some(sweep.began_at);
                Ok(Duration::ZERO)
            }
            SweepOutcome::Busy { left } => Ok(left.min(RETRY_PAUSE) + self.jitter()),
            SweepOutcome::Overtaken => Ok(self.jitter()),
        }
    }

    /// Up to a second: nodes do not come back in step.
    fn jitter(&self) -> Duration {
        let [random] = draw::<1>(&*self.entropy);
        Duration::from_millis(4 * u64::from(random))
    }
}

impl std::fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweeper").field("rules", &self.rules).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
