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
use crate::domain::upstream_report::{TargetReport, UpstreamReport, UpstreamStates};

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
    /// Servers behind the gateway that are not fit for requests. For operators alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unfit: Vec<UnfitTarget>,
}

/// A server of which at least one address is ejected, or fails its probes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct UnfitTarget {
    /// The key that names it: `upstreams.api.urls[1]`.
    pub target: String,
    pub addresses: usize,
    /// Of the addresses.
    pub fit: usize,
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

/// What a node needs by its settings.
pub struct Needs {
    /// How old the replica may be before the node vouches for nobody.
    pub max_staleness: Duration,
    /// The other issuers whose keys are fetched.
    pub issuers: Vec<FetchedKeys>,
    /// Of the certificates that clients are shown; `None`: there are none.
    pub certificates: Option<Arc<Alarms>>,
    /// Of the certificates that upstreams are shown, and of those that vouch for them; `None`: there are none.
    pub upstream_certificates: Option<Arc<Alarms>>,
    pub upstreams: Arc<dyn UpstreamStates>,
}

/// Tells readiness, by one set of settings. It is the readiness of the process: all share whether it drains, and when the store was asked.
pub struct Health {
    needs: Needs,
    sessions: Arc<Sessions>,
    replica: Arc<Replica>,
    clock: Arc<dyn Clock>,
    alarms: Arc<Alarms>,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    draining: AtomicBool,
    /// When the store was asked last, on the monotonic clock, and whether it answered.
    probed: Mutex<Option<(Duration, bool)>>,
}

impl Health {
    #[must_use]
    pub fn new(sessions: Arc<Sessions>, replica: Arc<Replica>, alarms: Arc<Alarms>, clock: Arc<dyn Clock>, needs: Needs) -> Self {
        Self { needs, sessions, replica, clock, alarms, seen: Arc::default() }
    }

    /// The same node by other settings.
    #[must_use]
    pub fn ruled_by(&self, sessions: Arc<Sessions>, needs: Needs) -> Self {
        Self {
            needs,
            sessions,
            replica: Arc::clone(&self.replica),
            clock: Arc::clone(&self.clock),
            alarms: Arc::clone(&self.alarms),
            seen: Arc::clone(&self.seen),
        }
    }

    fn issuer_keys(&self) -> Option<Dependency> {
        let issuers = &self.needs.issuers;
        let missing: Vec<&FetchedKeys> = issuers.iter().filter(|issuer| issuer.keys.keys().is_none()).collect();
        let is_required = missing.iter().any(|issuer| issuer.required);
        (!issuers.is_empty()).then(|| Dependency {
            name: "issuer_keys",
            ready: !is_required,
            detail: is_required.then_some("those of a required issuer were never fetched, or not for a day"),
            alarms: if missing.is_empty() { Vec::new() } else { vec!["unavailable"] },
            unfit: Vec::new(),
        })
    }

    /// Never a reason to take the node out of service: other nodes have the same upstreams, and its own endpoints need none.
    fn upstreams(&self) -> Dependency {
        let reports = self.needs.upstreams.reports();
        let is_down = |report: &UpstreamReport| report.addresses().all(|address| !address.state.is_fit());
        let unfit: Vec<UnfitTarget> = reports.iter().flat_map(unfit_of).collect();
        let mut alarms = Vec::new();
        if reports.iter().any(is_down) {
            alarms.push("no_target_fit");
        }
        if !unfit.is_empty() {
            alarms.push("targets_unfit");
        }
        Dependency { name: "upstreams", ready: true, detail: None, alarms, unfit }
    }

    /// From now on the node is not ready: it is about to stop.
    pub fn drain(&self) {
        self.seen.draining.store(true, Ordering::Relaxed);
    }

    /// Asks once for all who want to know at the same time.
    async fn store_answers(&self) -> bool {
        let mut probed = self.seen.probed.lock().await;
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
        } else if self.replica.is_stale(self.clock.monotonic(), self.needs.max_staleness) {
            Some("the log was not confirmed lately")
        } else {
            None
        };
        let store = (!self.store_answers().await).then_some("does not answer");
        let serving = self.seen.draining.load(Ordering::Relaxed).then_some("shutting down");
        let dependency = |name, fault: Option<&'static str>, alarms| Dependency {
            name,
            ready: fault.is_none(),
            detail: fault,
            alarms,
            unfit: Vec::new(),
        };
        let mut dependencies = vec![
            dependency("store", store, self.alarms.present()),
            dependency("revocations", revocations, Vec::new()),
            dependency("serving", serving, Vec::new()),
        ];
        dependencies.extend(self.issuer_keys());
        dependencies.push(self.upstreams());
        // Other nodes have the same certificates: to take this one out of service would mend nothing.
        let certificates =
            [("certificates", &self.needs.certificates), ("upstream_certificates", &self.needs.upstream_certificates)];
        let certificates = certificates.into_iter().filter_map(|(name, alarms)| Some((name, alarms.as_ref()?)));
        dependencies.extend(certificates.map(|(name, alarms)| dependency(name, None, alarms.present())));
        dependencies
    }
}

fn unfit_of(report: &UpstreamReport) -> impl Iterator<Item = UnfitTarget> {
    let unfit = |target: &TargetReport| UnfitTarget {
        target: format!("upstreams.{}.{}", report.name, target.key),
        addresses: target.addresses.len(),
        fit: target.addresses.iter().filter(|address| address.state.is_fit()).count(),
    };
    report.targets.iter().map(unfit).filter(|target| target.fit < target.addresses)
}
