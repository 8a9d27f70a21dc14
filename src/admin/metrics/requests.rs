//! Requests, by what they met.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::encode::{Family, Labelled};
use crate::domain::meters::{Distribution, Label as _, Meters, RowName, Totals};

/// What the workers measure of requests. Series of what has not happened yet are left out: there would be thousands.
#[derive(Debug)]
pub(super) struct OfRequests(pub(super) Arc<Meters>);

impl Collector for OfRequests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let rows: Vec<(RowName, Totals)> = self.0.requests().into_iter().filter(|(_, totals)| is_used(totals)).collect();
        let help = "Requests that have ended, by what they met, what they asked for, and how they ended";
        let mut family = Family::new(&mut encoder, "requests", help, MetricType::Counter)?;
        for (name, totals) in &rows {
            for ((method, status, outcome), count) in totals.counted() {
                let [route, endpoint] = labels(name);
                let of_request = [("method", method.name()), ("status", status.name()), ("outcome", outcome.name())];
                family.counter([route, endpoint, of_request[0], of_request[1], of_request[2]], count)?;
            }
        }
        let mut family = Family::new(&mut encoder, "requests_in_flight", "Requests that have not ended", MetricType::Gauge)?;
        for (name, totals) in &rows {
            family.gauge(labels(name), totals.in_flight)?;
        }
        for (metric, help, bytes) in BYTES {
            let mut family = Family::new(&mut encoder, metric, help, MetricType::Counter)?;
            for (name, totals) in &rows {
                family.counter(labels(name), bytes(totals))?;
            }
        }
        for (metric, help, spans) in SPANS {
            let mut family = Family::new(&mut encoder, metric, help, MetricType::Histogram)?;
            for (name, totals) in &rows {
                family.histogram(labels(name), spans(totals))?;
            }
        }
        Ok(())
    }
}

type Of<T> = fn(&Totals) -> T;

const BYTES: [(&str, &str, Of<u64>); 2] = [
    ("request_bytes", "Bytes of the bodies of requests, as far as they came", |totals| totals.request_bytes),
    ("response_bytes", "Bytes of the bodies of responses, as far as connections took them", |totals| totals.response_bytes),
];

type Spans = fn(&Totals) -> &Distribution;

const SPANS: [(&str, &str, Spans); 3] = [
    ("request_duration_seconds", "From the head of a request to the end of its response", |totals| &totals.total),
    (
        "gateway_duration_seconds",
        "From the head of a request until an upstream was asked, or until its end without that",
        |totals| &totals.gateway,
    ),
    (
        "upstream_duration_seconds",
        "From then until the head of the upstream's response was there, or the upstream was given up",
        |totals| &totals.upstream,
    ),
];

fn is_used(totals: &Totals) -> bool {
    totals.in_flight > 0 || totals.counted().next().is_some()
}

/// A route may be called as an endpoint is: each has a label of its own, and the other is empty.
fn labels(name: &RowName) -> [Labelled<'_>; 2] {
    match name {
        RowName::Route(route) => [("route", route), ("endpoint", "")],
        RowName::Endpoint(endpoint) => [("route", ""), ("endpoint", endpoint.name())],
    }
}
