//! What operators are told of backends.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Backend, Backends, Place};
use crate::domain::ejection::PART_WHOLE;
use crate::domain::probing::Verdict;
use crate::domain::upstream_report::{AddressReport, AddressState, TargetReport, UpstreamReport, UpstreamStates};

/// All upstreams of one set of settings, each by its name.
pub struct Board(Vec<(Arc<str>, Arc<Backends>)>);

impl Board {
    #[must_use]
    pub const fn new(upstreams: Vec<(Arc<str>, Arc<Backends>)>) -> Self {
        Self(upstreams)
    }
}

impl UpstreamStates for Board {
    fn reports(&self) -> Vec<UpstreamReport> {
        let report = |(name, backends): &(Arc<str>, Arc<Backends>)| UpstreamReport {
            name: Arc::clone(name),
            targets: backends.report(),
            meters: Arc::clone(&backends.meters),
        };
        self.0.iter().map(report).collect()
    }
}

impl Backends {
    fn report(&self) -> Vec<TargetReport> {
        let known = self.known();
        let weighted = known.iter().flatten().zip(self.weights(&known)).filter(|(_, weight)| *weight > 0);
        let in_use: HashSet<u64> = weighted.map(|(backend, _)| backend.id()).collect();
        let target = |(place, backends): (&Place, &Vec<Arc<Backend>>)| TargetReport {
            key: Arc::clone(&place.key),
            place: place.target.to_string(),
            weight: place.weight,
            addresses: backends.iter().map(|backend| self.of_address(backend, in_use.contains(&backend.id()))).collect(),
        };
        self.places.iter().zip(&*known).map(target).collect()
    }

    fn of_address(&self, backend: &Backend, takes_requests: bool) -> AddressReport {
        let now = self.clock.monotonic();
        let mut condition = backend.condition();
        let part = condition.standing.part(&self.rules.ejection, now);
        let state = match (self.verdict(&condition), condition.standing.remaining(now)) {
            (Verdict::Unhealthy, _) => AddressState::Unhealthy,
            (Verdict::Healthy, Some(remaining)) => AddressState::Ejected { remaining },
            (Verdict::Healthy, None) if part < PART_WHOLE => AddressState::Returning,
            (Verdict::Healthy, None) => AddressState::Healthy,
        };
        AddressReport {
            address: backend.address,
            state,
            takes_requests,
            last_probe: condition.probed.last.clone().filter(|_| condition.probed.is_by(self.probing())),
            requests: backend.requests(),
            connections: backend.connections(),
            idle: backend.idle(),
            waiting: backend.demand().waiting(),
        }
    }
}
