//! `/stats`, and the sweep on demand: what operators ask of the store's books.

use std::collections::BTreeMap;

use http::{StatusCode, Uri};
use serde::Serialize;

use super::query::Query;
use super::response::{BoxedResponse, json, problem};
use super::store_problem;
use crate::domain::stats::{DAYS_KEPT, Day, Readings, Snapshot};
use crate::domain::time::Timestamp;
use crate::sessions::caretaker::{SweepOutcome, Sweeps};
use crate::sessions::statistics::{Figures, Live, Report};
use crate::store::{DayRow, Measurement, SweepRecord};

/// Days in a response that says nothing of them.
const DAYS_DEFAULT: u32 = 30;

pub(super) async fn stats(figures: &dyn Figures, uri: &Uri) -> BoxedResponse {
    let days = match days_of(uri) {
        Ok(days) => days,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, "invalid_request", &detail),
    };
    match figures.report(days).await {
        Ok(report) => json(StatusCode::OK, &Stats::of(&report, &figures.live())),
        Err(error) => store_problem(&error),
    }
}

fn days_of(uri: &Uri) -> Result<u32, String> {
    let query = Query::parse(uri, &["days"])?;
    let days = query.value("days").map_or(Some(DAYS_DEFAULT), |text| text.parse().ok());
    days.filter(|days| (1..=DAYS_KEPT).contains(days))
        .ok_or_else(|| format!("days: allowed is a whole number from 1 to {DAYS_KEPT}."))
}

pub(super) async fn sweep(sweeps: &dyn Sweeps) -> BoxedResponse {
    match sweeps.sweep_now().await {
        Ok(SweepOutcome::Swept(record) | SweepOutcome::Done(record)) => json(StatusCode::OK, &Swept::of(&record)),
        Ok(SweepOutcome::Busy { .. }) => {
            problem(StatusCode::CONFLICT, "sweep_under_way", "A sweep is under way; /stats tells of it when it is done.")
        }
        Ok(SweepOutcome::Overtaken) => {
            problem(StatusCode::CONFLICT, "sweep_overtaken", "This node stalled, and another goes on with the sweep.")
        }
        Err(error) => store_problem(&error),
    }
}

/// The response of `/stats`. Counts that are zero are left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    /// Of UTC, as all days here.
    today: String,
    /// Days of which there is something to tell, the latest last.
    days: Vec<DayFigures>,
    last_measurement: Option<Measured>,
    last_sweep: Option<Swept>,
    /// Of the process that responds, since its start.
    node: NodeFigures,
}

#[derive(Serialize)]
struct DayFigures {
    day: String,
    counts: BTreeMap<&'static str, u64>,
    expired: u64,
    measured: Option<Measured>,
}

#[derive(Serialize)]
struct Measured {
    at: String,
    #[serde(flatten)]
    readings: Readings,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Swept {
    began_at: String,
    took_millis: u64,
    sessions: u64,
    orphans: u64,
    revocations: u64,
}

#[derive(Serialize)]
struct NodeFigures {
    counts: BTreeMap<&'static str, u64>,
    measured: Readings,
}

impl Stats {
    fn of(report: &Report, live: &Live) -> Self {
        let statistics = &report.statistics;
        Self {
            today: date(report.today),
            days: statistics.rows.iter().map(DayFigures::of).collect(),
            last_measurement: statistics.last_measurement.as_ref().map(Measured::of),
            last_sweep: statistics.last_sweep.as_ref().map(Swept::of),
            node: NodeFigures { counts: named(&live.counts), measured: live.readings },
        }
    }
}

impl DayFigures {
    fn of(row: &DayRow) -> Self {
        Self {
            day: date(row.day),
            counts: named(&row.counts),
            expired: row.expired,
            measured: row.measured.as_ref().map(Measured::of),
        }
    }
}

impl Measured {
    fn of(measurement: &Measurement) -> Self {
        Self { at: rfc3339(measurement.taken_at), readings: measurement.readings }
    }
}

impl Swept {
    fn of(record: &SweepRecord) -> Self {
        Self {
            began_at: rfc3339(record.began_at),
            took_millis: u64::try_from(record.took.as_millis()).unwrap_or(u64::MAX),
            sessions: record.swept.sessions,
            orphans: record.swept.orphans,
            revocations: record.swept.revocations,
        }
    }
}

fn named(counts: &Snapshot) -> BTreeMap<&'static str, u64> {
    counts.counted().map(|(counter, value)| (counter.name(), value)).collect()
}

fn date(day: Day) -> String {
    rfc3339(day.starts_at()).chars().take("2026-11-24".len()).collect()
}

fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default().to_string()
}
