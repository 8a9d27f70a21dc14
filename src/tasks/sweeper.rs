//! Removes from the store what has ended by itself. Correctness never depends on it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::domain::stats::{Counter, Counters};
use crate::domain::time::Clock;
use crate::store::{Store, StoreError, Swept};

/// After this a sweep counts as failed. The next one goes on where it ended.
const SWEEP_MAX: Duration = Duration::from_secs(600);

/// Sweeps at an interval, and logs one line of figures each time.
pub struct Sweeper {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub counters: Arc<Counters>,
    /// From the end of one sweep to the start of the next.
    pub interval: Duration,
}

impl Sweeper {
    /// Returns when `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(self.interval)).await.is_some() {
            if stop.run_until_cancelled(self.sweep()).await.is_none() {
                break;
            }
        }
    }

    async fn sweep(&self) {
        let began_at = self.clock.monotonic();
        let sweeping = tokio::time::timeout(SWEEP_MAX, self.store.sweep(self.clock.now())).await;
        let swept = sweeping.unwrap_or_else(|_| Err(StoreError::Unavailable("sweeping takes too long".to_owned())));
        let took = self.clock.monotonic().saturating_sub(began_at);
        match swept {
            Ok(Swept { sessions, revocations }) => {
                self.counters.add(Counter::SessionsSwept, sessions);
                info!(sessions, revocations, ?took, "swept");
            }
            Err(error) => {
                self.counters.add(Counter::StoreErrors, 1);
                warn!(%error, ?took, "sweep failed");
            }
        }
    }
}

impl std::fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweeper").field("store", &self.store).field("interval", &self.interval).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake_store::{FakeStore, TestClock};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sweeps_go_on_after_one_failed_and_end_when_told() {
        let (store, counters, stop) = (Arc::new(FakeStore::default()), Arc::new(Counters::new()), CancellationToken::new());
        let sweeper = Sweeper {
            store: Arc::<FakeStore>::clone(&store),
            clock: Arc::new(TestClock::default()),
            counters: Arc::clone(&counters),
            interval: Duration::from_secs(60),
        };
        store.fail(true);
        let stopped = stop.clone();
        let running = tokio::runtime::Handle::current().spawn(async move { sweeper.run(stopped).await });
        tokio::time::sleep(Duration::from_secs(90)).await;
        store.fail(false);
        tokio::time::sleep(Duration::from_secs(120)).await;
        let counted = counters.snapshot();
        assert_eq!((counted.value(Counter::StoreErrors), counted.value(Counter::SessionsSwept)), (1, 2));
        stop.cancel();
        running.await.unwrap();
    }
}
