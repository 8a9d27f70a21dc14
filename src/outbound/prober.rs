//! Asks the backends of upstreams time and again whether they are healthy, and looks whether some are slow: once for the process,
//! whatever the number of workers.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::probe;
use crate::domain::probing::Verdict;
use crate::domain::slowness::Slow;
use crate::domain::stats::{Counter, Counters};
use crate::proxy::upstream::backends::{Backend, Backends, ProbeRules};

/// How often is looked whether probes are due.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Probes under way at once, of all upstreams. Further ones begin when there is room.
const PROBES_MAX: usize = 256;

/// An upstream, by its name.
pub type Named = (Arc<str>, Arc<Backends>);

/// Probes what `upstreams` returns, each as its rules say, until `stop`.
pub async fn run(upstreams: impl Fn() -> Vec<Named>, counters: Arc<Counters>, stop: CancellationToken) {
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A task for each: none waits while another is busy. They end with this one.
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(ended) = under_way.join_next() => {
                if let Err(Ok(panic)) = ended.map_err(JoinError::try_into_panic) {
                    std::panic::resume_unwind(panic);
                }
            }
            _ = look.tick() => {
                for (name, backends) in upstreams() {
                    for (backend, slow) in backends.eject_slow() {
                        counters.add(Counter::UpstreamEjections, 1);
                        let Slow { mean, others, .. } = slow;
                        tracing::warn!(
                            upstream = &*name, %backend, ?mean, ?others,
                            "a server of an upstream responds far slower than the others: it gets no requests for a while"
                        );
                    }
                    let due = backends.take_due_probes(PROBES_MAX - under_way.len());
                    let Some(rules) = backends.probing() else { continue };
                    for backend in due {
                        let probe = Probe { upstream: Arc::clone(&name), backends: Arc::clone(&backends), backend };
                        under_way.spawn(probe.run(Arc::clone(rules), Arc::clone(&counters)));
                    }
                }
            }
        }
    }
}

struct Probe {
    upstream: Arc<str>,
    backends: Arc<Backends>,
    backend: Arc<Backend>,
}

impl Probe {
    async fn run(self, rules: Arc<ProbeRules>, counters: Arc<Counters>) {
        let outcome = probe::ask(&self.backend, &rules).await;
        counters.add(if outcome.is_ok() { Counter::UpstreamProbesPassed } else { Counter::UpstreamProbesFailed }, 1);
        let verdict = self.backends.probed(&self.backend, outcome.as_ref().copied().map_err(String::as_str));
        let (upstream, backend) = (&*self.upstream, &self.backend);
        match (outcome, verdict) {
            (Err(cause), Some(Verdict::Unhealthy)) => {
                tracing::warn!(upstream, %backend, cause, "a server of an upstream fails its probes: it gets no requests");
                if !self.backends.is_any_healthy() {
                    tracing::error!(upstream, "no server of an upstream passes its probes: all get requests all the same");
                }
            }
            (Ok(()), Some(Verdict::Healthy)) => {
                tracing::info!(upstream, %backend, "a server of an upstream passes its probes again: it gets requests");
            }
            (Err(cause), _) => tracing::debug!(upstream, %backend, cause, "a probe failed"),
            (Ok(()), _) => tracing::trace!(upstream, %backend, "a probe passed"),
        }
    }
}
