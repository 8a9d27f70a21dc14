//! Whether this node may be given work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::Mutex;

use super::Sessions;
use crate::crypto::issuers::JwksCache;
use crate::domain::replica::Replica;
use crate::domain::time::Clock;

/// How long a response of the store holds: anyone may ask whether the node is ready.
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
    /// What endangers it though it works. Somebody has to see to it, and traffic sent elsewhere would mend nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<&'static str>,
}

/// What is wrong with one dependency, as of the last look: of the store, [`crate::store::Finding::subject`] of each error.
#[derive(Debug, Default)]
pub struct Alarms(ArcSwap<Vec<&'static str>>);

impl Alarms {
    pub fn set(&self, alarms: Vec<&'static str>) {
        self.0.store(Arc::new(alarms));
    }

    #[must_use]
    pub fn present(&self) -> Vec<&'static str> {
        self.0.load().to_vec()
    }
}

/// The keys of another issuer, and whether the node is of no use without them.
#[derive(Debug)]
pub struct FetchedKeys {
    pub keys: Arc<JwksCache>,
    pub required: bool,
}

/// Tells what a node needs before it may be given work.
#[async_trait]
pub trait Readiness: Send + Sync + 'static {
    /// Every dependency, ready or not.
    async fn dependencies(&self) -> Vec<Dependency>;
}

/// Tells readiness. One for the process, shared with the admin listener.
pub struct Health {
    sessions: Arc<Sessions>,
    replica: Arc<Replica>,
    clock: Arc<dyn Clock>,
    /// How old the replica may be before the node vouches for nobody.
    max_staleness: Duration,
    draining: AtomicBool,
    alarms: Arc<Alarms>,
    issuers: Vec<FetchedKeys>,
    /// Of the certificates that clients are shown; `None`: there are none.
    certificates: Option<Arc<Alarms>>,
    /// When the store was asked last, on the monotonic clock, and whether it responded.
    probed: Mutex<Option<(Duration, bool)>>,
}

impl Health {
    #[must_use]
    pub fn new(
        sessions: Arc<Sessions>,
        replica: Arc<Replica>,
        alarms: Arc<Alarms>,
        clock: Arc<dyn Clock>,
        max_staleness: Duration,
    ) -> Self {
        Self {
            sessions,
            replica,
            clock,
            max_staleness,
            draining: AtomicBool::new(false),
            alarms,
            issuers: Vec::new(),
            certificates: None,
            probed: Mutex::new(None),
        }
    }

    /// The same, of a node that takes tokens of these issuers too.
    #[must_use]
    pub fn with_issuers(self, issuers: Vec<FetchedKeys>) -> Self {
        Self { issuers, ..self }
    }

    /// The same, of a node that shows certificates to clients.
    #[must_use]
    pub fn with_certificates(self, certificates: Option<Arc<Alarms>>) -> Self {
        Self { certificates, ..self }
    }

    fn issuer_keys(&self) -> Option<Dependency> {
        let missing: Vec<&FetchedKeys> = self.issuers.iter().filter(|issuer| issuer.keys.keys().is_none()).collect();
        let is_required = missing.iter().any(|issuer| issuer.required);
        (!self.issuers.is_empty()).then(|| Dependency {
            name: "issuer_keys",
            ready: !is_required,
            detail: is_required.then_some("those of a required issuer were never fetched, or not for a day"),
            alarms: if missing.is_empty() { Vec::new() } else { vec!["unavailable"] },
        })
    }

    /// From now on the node is not ready: it is about to stop.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Asks once for all who want to know at the same time.
    async fn store_answers(&self) -> bool {
        let mut probed = self.probed.lock().await;
        let now = self.clock.monotonic();
        match *probed {
            Some((at, answered)) if now.saturating_sub(at) < PROBE_INTERVAL => answered,
            Some(_) | None => {
                let answered = self.sessions.probe().await.is_ok();
                *probed = Some((now, answered));
                answered
            }
        }
    }
}

#[async_trait]
impl Readiness for Health {
    async fn dependencies(&self) -> Vec<Dependency> {
        let revocations = if !self.replica.is_loaded() {
            Some("the log was not read yet")
        } else if self.replica.is_stale(self.clock.monotonic(), self.max_staleness) {
            Some("the log was not confirmed lately")
        } else {
            None
        };
        let store = (!self.store_answers().await).then_some("does not answer");
        let serving = self.draining.load(Ordering::Relaxed).then_some("shutting down");
        let dependency =
            |name, fault: Option<&'static str>, alarms| Dependency { name, ready: fault.is_none(), detail: fault, alarms };
        let mut dependencies = vec![
            dependency("store", store, self.alarms.present()),
            dependency("revocations", revocations, Vec::new()),
            dependency("serving", serving, Vec::new()),
        ];
        dependencies.extend(self.issuer_keys());
        // Other nodes have the same certificates: to take this one out of service would mend nothing.
        dependencies.extend(self.certificates.as_ref().map(|alarms| dependency("certificates", None, alarms.present())));
        dependencies
    }
}
