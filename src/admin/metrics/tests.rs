use std::collections::{BTreeSet, HashSet};

use async_trait::async_trait;

use super::*;
use crate::domain::meters::{
    AccessLogLine, Ended, EndpointName, Label, Limit, MethodClass, Outcome, ResetBy, Spans, StatusClass, StreamKind, TlsFailure,
};
use crate::domain::stats::{Readings, Snapshot};
use crate::domain::upstream_report::{AddressReport, AddressState, TargetReport, UpstreamReport};
use crate::sessions::statistics::Report;
use crate::store::StoreError;

struct Fixed(Live);

#[async_trait]
impl Figures for Fixed {
    fn live(&self) -> Live {
        self.0
    }

    async fn report(&self, _: u32) -> Result<Report, StoreError> {
        unreachable!("a scrape asks no store")
    }
}

#[test]
fn every_counter_and_every_gauge_is_exported_once() {
    let counters: Vec<Counter> = FAMILIES.iter().flat_map(|family| family.counters).map(|(counter, _)| *counter).collect();
    let is_once = |counter: &Counter| counters.iter().filter(|exported| *exported == counter).count() == 1;
    let wrong: Vec<Counter> = Counter::ALL.into_iter().filter(|counter| !is_once(counter)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let gauges: Vec<Gauge> = GAUGES.iter().flat_map(|exported| exported.gauges).map(|(gauge, _)| *gauge).collect();
    for gauge in Gauge::ALL {
        assert_eq!(gauges.iter().filter(|exported| **exported == gauge).count(), 1, "{gauge:?}");
    }
}

#[test]
fn a_scrape_has_every_family_and_no_unmeasured_gauge() {
    let counts: Snapshot = [(Counter::RefreshesReused, 7)].into_iter().collect();
    let readings: Readings = [(Gauge::Sessions, 3), (Gauge::RevocationLagP99, 1500)].into_iter().collect();
    let address = |state| AddressReport {
        address: None,
        state,
        takes_requests: true,
        last_probe: None,
        requests: 2,
        connections: 3,
        idle: 1,
        waiting: 0,
    };
    let addresses = vec![address(AddressState::Healthy), address(AddressState::Unhealthy), address(AddressState::Unhealthy)];
    let target = TargetReport { key: "url".into(), place: "api.example:80".to_owned(), weight: 1, addresses };
    let upstreams = vec![UpstreamReport { name: "api".into(), targets: vec![target], meters: Arc::default() }];
    let text =
        Metrics::new(Arc::new(Fixed(Live { counts, readings })), &Meters::of_workers(2), Arc::new(upstreams)).text().unwrap();
    for line in [
        "# TYPE tokengate_refreshes_total counter",
        "tokengate_refreshes_total{outcome=\"reused\"} 7",
        "tokengate_refreshes_total{outcome=\"rotated\"} 0",
        "tokengate_panics_total 0",
        "# TYPE tokengate_sessions gauge",
        "tokengate_sessions 3.0",
        "tokengate_revocation_lag_seconds{quantile=\"0.99\"} 0.0015",
        "tokengate_upstream_targets{upstream=\"api\",state=\"healthy\"} 1",
        "tokengate_upstream_targets{upstream=\"api\",state=\"ejected\"} 0",
        "tokengate_upstream_targets{upstream=\"api\",state=\"unhealthy\"} 2",
    ] {
        assert!(text.lines().any(|there| there == line), "{line}\n{text}");
    }
    assert!(!text.contains("tokengate_subjects") && !text.contains("quantile=\"0.5\""), "{text}");
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(names.len(), names.iter().collect::<HashSet<_>>().len());
}

/// What is exported where everything was measured.
fn exported() -> BTreeSet<String> {
    let readings: Readings = Gauge::ALL.into_iter().map(|gauge| (gauge, 1)).collect();
    let live = Live { counts: Snapshot::ZERO, readings };
    let text = Metrics::new(Arc::new(Fixed(live)), &Meters::of_workers(1), Arc::new(Vec::new())).text().unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE tokengate_")?.split(' ').next());
    names.map(str::to_owned).collect()
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_is_there() {
    let operations = include_str!("../../../docs/operations.md");
    let (_, section) = operations.split_once("\n## Metrics\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let first_cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let documented: BTreeSet<String> = first_cells.flat_map(|cell| cell.split('`').step_by(2)).map(str::to_owned).collect();
    let exported = exported();
    let undocumented: Vec<_> = exported.difference(&documented).collect();
    let missing: Vec<_> = documented.difference(&exported).collect();
    assert!(undocumented.is_empty() && missing.is_empty(), "undocumented: {undocumented:?}, not there: {missing:?}");
}

#[test]
fn every_value_of_a_label_is_documented() {
    fn names<L: Label>() -> impl Iterator<Item = &'static str> {
        L::all().iter().map(|value| value.name())
    }
    let operations = include_str!("../../../docs/operations.md");
    let (_, section) = operations.split_once("\n## Metrics\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let words: BTreeSet<&str> = section.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let values = names::<MethodClass>()
        .chain(names::<Outcome>())
        .chain(names::<EndpointName>())
        .chain(names::<StreamKind>())
        .chain(names::<Limit>())
        .chain(names::<TlsFailure>())
        .chain(names::<ResetBy>())
        .chain(names::<AccessLogLine>());
    let unknown: Vec<&str> = values.filter(|value| !words.contains(value)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn requests_are_exported_with_their_labels_and_in_seconds() {
    let meters = Meters::of_workers(1);
    let rows = meters.worker(0).rows([&Arc::from("a \"quoted\" name")].into_iter()).map(|(_, requests)| requests);
    let spans = Spans { total: 3_000_000, gateway: 20_000, upstream: Some(2_000_000_000) };
    let (method, status, outcome) = (MethodClass::Read, StatusClass::Success, Outcome::Forwarded);
    rows.route(0).begin();
    rows.route(0).end(&Ended { method, status, outcome, request_bytes: 0, response_bytes: 7, spans });
    rows.endpoint(EndpointName::Refresh).begin();
    let live = Live { counts: Snapshot::ZERO, readings: Readings::default() };
    let text = Metrics::new(Arc::new(Fixed(live)), &meters, Arc::new(Vec::new())).text().unwrap();
    for line in [
        r#"tokengate_requests_total{route="a \"quoted\" name",endpoint="",method="read",status="2xx",outcome="forwarded"} 1"#,
        r#"tokengate_requests_in_flight{route="",endpoint="refresh"} 1"#,
        r#"tokengate_response_bytes_total{route="a \"quoted\" name",endpoint=""} 7"#,
        r#"tokengate_gateway_duration_seconds_bucket{route="a \"quoted\" name",endpoint="",le="2.5e-05"} 1"#,
        r#"tokengate_upstream_duration_seconds_bucket{route="a \"quoted\" name",endpoint="",le="1"} 0"#,
        r#"tokengate_upstream_duration_seconds_bucket{route="a \"quoted\" name",endpoint="",le="+Inf"} 1"#,
        r#"tokengate_upstream_duration_seconds_sum{route="a \"quoted\" name",endpoint=""} 2.0"#,
        "tokengate_token_cache_entries 0",
        r#"tokengate_worker_busy_seconds_total{worker="0"} 0.0"#,
    ] {
        assert!(text.lines().any(|there| there == line), "{line}\n{text}");
    }
    assert!(!text.contains("endpoint=\"login\""), "what has not come yet is left out");
}
