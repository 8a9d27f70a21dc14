//! Ends the sessions of logins that failed, once the store can be told.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::access::DynAccess;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::backoff::Backoff;
use crate::crypto::entropy::Entropy;
use crate::domain::stats::{Counter, Counters};
use crate::sessions::Sessions;

const RETRY_PAUSE: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Leads to the sessions by the rules that are in force.
pub type Latest = Box<dyn DynAccess<Arc<Sessions>> + Send + Sync>;

pub struct Withdrawals {
    pub sessions: Latest,
    pub entropy: Arc<dyn Entropy>,
    pub counters: Arc<Counters>,
}

impl Withdrawals {
    /// Returns when `stop` is cancelled and what waits was tried once more.
    pub async fn run(&self, stop: CancellationToken) {
        let mut backoff = Backoff::new(RETRY_PAUSE, RETRY_PAUSE_MAX);
        while stop.run_until_cancelled(self.sessions().withdrawal_due()).await.is_some() {
            if self.withdraw().await {
                backoff.reset();
            } else if stop.run_until_cancelled(tokio::time::sleep(backoff.next(&*self.entropy))).await.is_none() {
                break;
            }
        }
        self.withdraw().await;
    }

    fn sessions(&self) -> Arc<Sessions> {
        Arc::clone(&self.sessions.load())
    }

    /// Whether the store took them all.
    async fn withdraw(&self) -> bool {
        let outcome = self.sessions().withdraw().await;
        if let Err(error) = &outcome {
            self.counters.add(Counter::StoreErrors, 1);
            debug!(%error, "session not withdrawn");
        }
        outcome.is_ok()
    }
}

impl std::fmt::Debug for Withdrawals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Withdrawals").finish_non_exhaustive()
    }
}
