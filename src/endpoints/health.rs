//! Whether this node may be given work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::domain::replica::Replica;
use crate::domain::time::Clock;
use crate::sessions::Sessions;

/// How long an answer of the store holds: anyone may ask whether the node is ready.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// One thing that the node needs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Dependency {
    /// Stable, for programs.
    pub name: &'static str,
    pub ready: bool,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
}

/// Tells readiness. One for the process, shared with the admin listener.
pub struct Health {
    sessions: Arc<Sessions>,
    replica: Arc<Replica>,
    clock: Arc<dyn Clock>,
    draining: AtomicBool,
    /// When the store was asked last, on the monotonic clock, and whether it answered.
    probed: ArcSwapOption<Probed>,
    /// Held while the store is asked.
    asking: Mutex<()>,
}

struct Probed {
    at: Duration,
    answered: bool,
}

impl Health {
    #[must_use]
    pub fn new(sessions: Arc<Sessions>, replica: Arc<Replica>, clock: Arc<dyn Clock>) -> Self {
        Self {
            sessions,
            replica,
            clock,
            draining: AtomicBool::new(false),
            probed: ArcSwapOption::empty(),
            asking: Mutex::new(()),
        }
    }

    /// From now on the node is not ready: it is about to stop.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Every dependency, ready or not, as far as it is known: the store by what [`Health::probe`] saw last.
    #[must_use]
    pub fn dependencies(&self, max_staleness: Duration) -> Vec<Dependency> {
        let store = match self.probed.load().as_deref() {
            Some(Probed { answered: true, .. }) => None,
            Some(Probed { answered: false, .. }) => Some("does not answer"),
            None => Some("was not asked yet"),
        };
        let revocations = if !self.replica.is_loaded() {
            Some("the log was not read yet")
        } else if self.replica.is_stale(self.clock.monotonic(), max_staleness) {
            Some("the log was not confirmed lately")
        } else {
            None
        };
        let serving = self.draining.load(Ordering::Relaxed).then_some("shutting down");
        [("store", store), ("revocations", revocations), ("serving", serving)]
            .map(|(name, fault)| Dependency { name, ready: fault.is_none(), detail: fault })
            .into()
    }

    /// Asks the store whether it answers, unless that is known from a moment ago: once for all who want to know at the same time.
    pub async fn probe(&self) {
        let _asking = self.asking.lock().await;
        let at = self.clock.monotonic();
        let is_known = self.probed.load().as_ref().is_some_and(|last| at.saturating_sub(last.at) < PROBE_INTERVAL);
        if !is_known {
            let answered = self.sessions.probe().await.is_ok();
            self.probed.store(Some(Arc::new(Probed { at, answered })));
        }
    }
}
