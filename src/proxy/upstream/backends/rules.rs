//! How the backends of one upstream are treated.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode};

use crate::domain::ejection::EjectionRules;
use crate::domain::probing::ProbeThresholds;

/// How all of them are treated.
#[derive(Clone, Debug)]
pub struct BackendRules {
    /// How often names are resolved.
    pub resolve_interval: Duration,
    /// Whether requests name the host of each one's URL: several names of one address may be several servers then.
    pub tells_host: bool,
    pub ejection: EjectionRules,
    /// `None`: nobody asks how they are.
    pub probing: Option<Arc<ProbeRules>>,
}

/// How backends are asked whether they are healthy.
#[derive(Clone, Debug)]
pub struct ProbeRules {
    pub path: PathAndQuery,
    /// `None`: host and port of each one's URL.
    pub host: Option<HeaderValue>,
    /// Those of a healthy one.
    pub statuses: Vec<StatusCode>,
    /// From the beginning of one probe to that of the next.
    pub interval: Duration,
    /// From the beginning of a probe to the end of the response. No longer than the interval: of each backend, one probe is under way.
    pub timeout: Duration,
    pub thresholds: ProbeThresholds,
}

impl ProbeRules {
    /// Whether both ask the same, however often, and whatever they make of it.
    pub(super) fn asks_as(&self, other: &Self) -> bool {
        self.path == other.path && self.host == other.host && self.statuses == other.statuses
    }
}
