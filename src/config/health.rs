//! `[upstreams.NAME.health]`: how its servers are asked whether they are healthy.

use std::time::Duration;

use http::StatusCode;
use http::uri::PathAndQuery;

use super::parse;
use super::reading::Reading;
use super::section::Section;
use super::setting::open_settings;
use crate::domain::host::Host;
use crate::domain::probing::ProbeThresholds;

/// How each server of an upstream is probed.
#[derive(Clone, Debug)]
pub struct Health {
    pub path: PathAndQuery,
    /// The Host field. `None`: host and port of the server's URL.
    pub host: Option<Host>,
    /// Those of a healthy server.
    pub statuses: Vec<StatusCode>,
    /// From the beginning of one probe to that of the next.
    pub interval: Duration,
    /// From the beginning of a probe to the end of the response. No longer than the interval.
    pub timeout: Duration,
    pub thresholds: ProbeThresholds,
}

open_settings!(PathAndQuery, Host);

/// The longest target of a probe.
const PATH_BYTES_MAX: usize = 1024;

impl Health {
    /// `None` when its path is missing or wrong, after that was noted.
    pub(super) fn read(s: &mut Section<'_>) -> Option<Self> {
        let path = s.require("path", path());
        let host = s.optional("host", host());
        let statuses = s.read("statuses", statuses());
        let interval = s.read("interval", parse::duration(Duration::from_millis(100), Duration::from_hours(1)));
        let timeout = s.read("timeout", parse::duration(Duration::from_millis(10), Duration::from_mins(1)));
        let thresholds = ProbeThresholds {
            healthy_after: s.read("healthy_after", parse::number_u32(1, 100)),
            unhealthy_after: s.read("unhealthy_after", parse::number_u32(1, 100)),
        };
        // A shorter interval alone is no reason to be told of a timeout that nobody has named.
        let timeout = if s.has_any(&["timeout"]) { timeout } else { timeout.min(interval) };
        if timeout > interval {
            s.fault("timeout", "must not be longer than `interval`: of each server, one probe at a time is under way");
        }
        Some(Self { path: path?, host, statuses, interval, timeout, thresholds })
    }
}

/// What stands in the request line: a path, perhaps with a query.
fn path() -> Reading<PathAndQuery> {
    const ALLOWED: &str = "allowed is a path such as \"/healthz\", with or without a query: visible ASCII, and no #";
    parse::text().then(|text| {
        let is_sound = text.starts_with('/') && text.len() <= PATH_BYTES_MAX && !text.contains('#');
        text.parse()
            .ok()
            .filter(|_| is_sound && text.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(|| ALLOWED.to_owned())
    })
}

fn host() -> Reading<Host> {
    parse::text().then(|text| {
        Host::parse(text.as_bytes())
            .map_err(|_| "allowed is a host, with or without a port, such as \"api.example.com\"".to_owned())
    })
}

fn statuses() -> Reading<Vec<StatusCode>> {
    let refusal = "allowed is one status or more, such as [200, 204]";
    parse::list(parse::status(200, 599))
        .then(move |statuses| if statuses.is_empty() { Err(refusal.to_owned()) } else { Ok(statuses) })
}
