//! Families of metrics, written one series after the other.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;

use crate::domain::meters::{BOUNDS, Distribution};

const NANOS_PER_SECOND: f64 = 1e9;

/// A label's name and value.
pub(super) type Labelled<'a> = (&'a str, &'a str);

/// One family, to which series are added.
pub(super) struct Family<'a>(MetricEncoder<'a>);

impl<'a> Family<'a> {
    pub(super) fn new(
        encoder: &'a mut DescriptorEncoder<'_>,
        name: &'a str,
        help: &'a str,
        kind: MetricType,
    ) -> Result<Self, fmt::Error> {
        encoder.encode_descriptor(name, help, None, kind).map(Self)
    }

    pub(super) fn counter<const N: usize>(&mut self, labels: [Labelled<'_>; N], value: u64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_counter::<[(&str, &str); 0], _, u64>(&value, None)
    }

    pub(super) fn seconds<const N: usize>(&mut self, labels: [Labelled<'_>; N], nanos: u64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_counter::<[(&str, &str); 0], _, f64>(&seconds(nanos), None)
    }

    pub(super) fn gauge<const N: usize>(&mut self, labels: [Labelled<'_>; N], value: u64) -> fmt::Result {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.0.encode_family(&labels)?.encode_gauge(&value)
    }

    pub(super) fn histogram<const N: usize>(&mut self, labels: [Labelled<'_>; N], spans: &Distribution) -> fmt::Result {
        // The encoder adds the one that has no bound.
        let buckets: Vec<(f64, u64)> = BOUNDS.into_iter().map(seconds).zip(spans.buckets).collect();
        let mut series = self.0.encode_family(&labels)?;
        series.encode_histogram::<[(&str, &str); 0]>(seconds(spans.nanos), spans.count(), &buckets, None)
    }
}

#[expect(clippy::cast_precision_loss, reason = "spans are read by people and graphs")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / NANOS_PER_SECOND
}
