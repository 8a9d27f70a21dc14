//! Brings counts into the store and measures it, time and again.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::rules::LiveRules;
use crate::domain::stats::{Counter, Counters};
use crate::sessions::caretaker::Caretaker;
use crate::sessions::statistics::Statistics;
use crate::store::StoreError;

/// Tells the store what this node counts.
pub struct Flushing {
    pub statistics: Arc<Statistics>,
    pub counters: Arc<Counters>,
    pub rules: LiveRules,
}

impl Flushing {
    /// Returns when `stop` is cancelled and what was counted until then is told.
    pub async fn run(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.rules.pause(|rules| rules.flush_interval)).await.is_some() {
            // Not cut off: a response that is waited for is one less to ask for again.
            note(self.statistics.flush().await, &self.counters, "statistics are not in the store yet");
        }
        note(self.statistics.flush().await, &self.counters, "the last statistics are not in the store");
    }
}

/// Measures the store, or takes over what another node measured.
pub struct Measuring {
    pub caretaker: Arc<Caretaker>,
    pub counters: Arc<Counters>,
    pub rules: LiveRules,
}

impl Measuring {
    /// Returns when `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        while let Some(measured) = stop.run_until_cancelled(self.caretaker.measure(self.rules.now().measure_interval / 2)).await {
            note(measured, &self.counters, "the store was not measured");
            let _ = stop.run_until_cancelled(self.rules.pause(|rules| rules.measure_interval)).await;
        }
    }
}

fn note(outcome: Result<(), StoreError>, counters: &Counters, what: &'static str) {
    if let Err(error) = outcome {
        counters.add(Counter::StoreErrors, 1);
        debug!(%error, what);
    }
}
