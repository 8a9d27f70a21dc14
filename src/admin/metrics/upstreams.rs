//! Upstreams and their servers: the names of both are the settings', and few.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::encode::Family;
use crate::domain::meters::{Http2Reset, Label as _};
use crate::domain::upstream_report::{AddressReport, AddressState, TargetReport, UpstreamReport, UpstreamStates};

/// How upstreams are, and what is asked of them.
pub(super) struct OfUpstreams(pub(super) Arc<dyn UpstreamStates>);

impl Collector for OfUpstreams {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let reports = self.0.reports();
        let help = "Addresses of the servers of upstreams, by whether they are fit for requests";
        let mut family = Family::new(&mut encoder, "upstream_targets", help, MetricType::Gauge)?;
        for report in &reports {
            for state in AddressState::NAMES {
                let count = report.addresses().filter(|address| address.state.name() == state).count() as u64;
                family.gauge([("upstream", &*report.name), ("state", state)], count)?;
            }
        }
        of_targets(&reports, &mut encoder)?;
        of_connections(&reports, &mut encoder)
    }
}

fn of_targets(reports: &[UpstreamReport], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "The same of each server that the settings name";
    let mut family = Family::new(encoder, "upstream_target_addresses", help, MetricType::Gauge)?;
    for (upstream, target) in targets(reports) {
        for state in AddressState::NAMES {
            let count = target.addresses.iter().filter(|address| address.state.name() == state).count() as u64;
            family.gauge([("upstream", upstream), ("target", &*target.key), ("state", state)], count)?;
        }
    }
    for (name, help, of_address) in OF_ADDRESSES {
        let mut family = Family::new(encoder, name, help, MetricType::Gauge)?;
        for (upstream, target) in targets(reports) {
            let count = target.addresses.iter().map(|address| u64::from(of_address(address))).sum();
            family.gauge([("upstream", upstream), ("target", &*target.key)], count)?;
        }
    }
    Ok(())
}

type OfAddress = fn(&AddressReport) -> u32;

const OF_ADDRESSES: [(&str, &str, OfAddress); 4] = [
    ("upstream_requests", "Requests that a server has now", |address| address.requests),
    ("upstream_connections", "Connections that are open to a server", |address| address.connections),
    ("upstream_connections_idle", "Of these, those without a request", |address| address.idle),
    ("upstream_connections_awaited", "Requests that wait for a connection", |address| address.waiting),
];

fn of_connections(reports: &[UpstreamReport], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Requests that had to wait for a connection";
    let mut family = Family::new(encoder, "upstream_connections_waited", help, MetricType::Counter)?;
    for report in reports {
        family.counter([("upstream", &*report.name)], report.meters.waited.get())?;
    }
    let help = "Requests for which no connection became free in time";
    let mut family = Family::new(encoder, "upstream_connections_refused", help, MetricType::Counter)?;
    for report in reports {
        family.counter([("upstream", &*report.name)], report.meters.refused.get())?;
    }
    let help = "Streams of HTTP/2 that an upstream reset";
    let mut family = Family::new(encoder, "upstream_http2_resets", help, MetricType::Counter)?;
    for report in reports {
        for code in Http2Reset::ALL {
            let count = report.meters.resets.of(code).get();
            if count > 0 {
                family.counter([("upstream", &*report.name), ("code", code.name())], count)?;
            }
        }
    }
    Ok(())
}

/// Each with the name of its upstream.
fn targets(reports: &[UpstreamReport]) -> impl Iterator<Item = (&str, &TargetReport)> {
    reports.iter().flat_map(|report| report.targets.iter().map(|target| (&*report.name, target)))
}

impl fmt::Debug for OfUpstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfUpstreams").finish_non_exhaustive()
    }
}
