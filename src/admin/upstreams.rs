//! `/upstreams`: how the servers behind the gateway are, as this node sees them.

use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::response::{BoxedResponse, json};
use super::sessions::rfc3339;
use crate::domain::time::{Clock, Timestamp};
use crate::domain::upstream_report::{AddressReport, AddressState, LastProbe, TargetReport, UpstreamReport, UpstreamStates};

pub(super) fn respond(states: &dyn UpstreamStates, clock: &dyn Clock) -> BoxedResponse {
    let (reports, now) = (states.reports(), clock.now());
    json(StatusCode::OK, &Upstreams { upstreams: reports.iter().map(|report| Upstream::of(report, now)).collect() })
}

#[derive(Serialize)]
struct Upstreams<'a> {
    upstreams: Vec<Upstream<'a>>,
}

#[derive(Serialize)]
struct Upstream<'a> {
    name: &'a str,
    targets: Vec<Target<'a>>,
}

#[derive(Serialize)]
struct Target<'a> {
    /// As `check --online` and faults in the settings name it.
    key: String,
    place: &'a str,
    weight: u32,
    addresses: Vec<Address<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Address<'a> {
    #[serde(rename = "address")]
    at: Option<SocketAddr>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ejected_until: Option<String>,
    takes_requests: bool,
    last_probe: Option<Probe<'a>>,
    requests: u32,
    connections: u32,
}

#[derive(Serialize)]
struct Probe<'a> {
    at: String,
    passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
}

impl<'a> Upstream<'a> {
    fn of(report: &'a UpstreamReport, now: Timestamp) -> Self {
        let target = |target: &'a TargetReport| Target {
            key: format!("upstreams.{}.{}", report.name, target.key),
            place: &target.place,
            weight: target.weight,
            addresses: target.addresses.iter().map(|address| Address::of(address, now)).collect(),
        };
        Self { name: &report.name, targets: report.targets.iter().map(target).collect() }
    }
}

impl<'a> Address<'a> {
    fn of(report: &'a AddressReport, now: Timestamp) -> Self {
        Self {
            at: report.address,
            state: report.state.name(),
            ejected_until: match report.state {
                AddressState::Ejected { remaining } => Some(rfc3339(now.saturating_add(remaining))),
                AddressState::Healthy | AddressState::Returning | AddressState::Unhealthy => None,
            },
            takes_requests: report.takes_requests,
            last_probe: report.last_probe.as_ref().map(Probe::of),
            requests: report.requests,
            connections: report.connections,
        }
    }
}

impl<'a> Probe<'a> {
    fn of(probe: &'a LastProbe) -> Self {
        let cause = probe.outcome.as_ref().err().map(Arc::as_ref);
        Self { at: rfc3339(probe.ended_at), passed: cause.is_none(), cause }
    }
}
