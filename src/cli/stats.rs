//! `tokengate stats` and `tokengate sweep`: get the figures of a running gateway, or make it sweep.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::admin_client::{AdminArgs, printable};
use super::output::{Failure, say};

/// A sweep of millions of sessions takes its time.
const SWEEP_PATIENCE: Duration = Duration::from_secs(3600);

/// Show what a running gateway and the nodes beside it have counted, by day.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate stats
  tokengate stats --days 30
  tokengate stats --days 400 --json

Days are UTC; today's figures are as of now. The figures come from the admin listener of the settings.")]
pub(super) struct StatsArgs {
    /// How many days, the present one included.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=400))]
    days: u32,
    /// Print the gateway's response as JSON: every counter and gauge by its name.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Have a running gateway remove now what has ended by itself, instead of at its hour.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Expired sessions, index entries without a record, revocations that may be forgotten. Live state is never touched, whatever runs
meanwhile. Exit code 0: done; 1: not done, as when a sweep is under way.")]
pub(super) struct SweepArgs {
    /// Print the gateway's response as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(args: &StatsArgs) -> Result<(), Failure> {
    let (_, response) = args.admin.client()?.get(&format!("/stats?days={}", args.days))?;
    say(&if args.json { response.to_string() } else { printed(&response) })
}

pub(super) fn sweep(args: &SweepArgs) -> Result<(), Failure> {
    let (_, response) = args.admin.client()?.call("POST", "/sweep", None, SWEEP_PATIENCE)?;
    say(&if args.json { response.to_string() } else { swept(&response) })
}

/// A column, and what it adds up.
struct Column {
    title: &'static str,
    sum: fn(&Value) -> Option<u64>,
}

const COLUMNS: [Column; 10] = [
    Column { title: "logins", sum: |day| Some(counted(day, &["logins", "registrations", "quick_registrations"])) },
    Column {
        title: "refreshes",
        sum: |day| Some(counted(day, &["refreshes_rotated", "refreshes_reissued", "refreshes_superseded", "refreshes_adopted"])),
    },
    Column { title: "reused", sum: |day| Some(counted(day, &["refreshes_reused"])) },
    Column { title: "logouts", sum: |day| Some(counted(day, &["logouts"])) },
    Column {
        title: "revocations",
        sum: |day| Some(counted_below(day, "revocations_by_") + counted(day, &["revocations_of_everyone"])),
    },
    Column { title: "expired", sum: |day| day["expired"].as_u64() },
    Column { title: "forwarded", sum: |day| Some(counted(day, &["requests_forwarded"])) },
    Column { title: "rejected", sum: |day| Some(counted_below(day, "rejected_") + counted(day, &["rate_limited"])) },
    Column { title: "sessions", sum: |day| day["measured"]["sessions"].as_u64() },
    Column { title: "subjects", sum: |day| day["measured"]["subjects"].as_u64() },
];

fn counted(day: &Value, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| day["counts"][name].as_u64()).sum()
}

fn counted_below(day: &Value, prefix: &str) -> u64 {
    let counts = day["counts"].as_object().into_iter().flatten();
    counts.filter(|(name, _)| name.starts_with(prefix)).filter_map(|(_, count)| count.as_u64()).sum()
}

fn printed(response: &Value) -> String {
    let mut rows =
        vec![std::iter::once("day").chain(COLUMNS.iter().map(|column| column.title)).map(str::to_owned).collect::<Vec<_>>()];
    for day in response["days"].as_array().into_iter().flatten() {
        let name = printable(day["day"].as_str().unwrap_or("?"));
        let figures = COLUMNS.iter().map(|column| (column.sum)(day).map_or_else(|| "-".to_owned(), |sum| sum.to_string()));
        rows.push(std::iter::once(name).chain(figures).collect());
    }
    let mut text = aligned(&rows);
    if rows.len() == 1 {
        text.push_str("nothing was counted in these days\n");
    }
    let now = &response["lastMeasurement"];
    if now.is_object() {
        let of = |name: &str| now[name].as_u64().unwrap_or_default();
        let at = printable(now["at"].as_str().unwrap_or("?"));
        let (sessions, subjects, log) = (of("sessions"), of("subjects"), of("log_entries"));
        let _ = writeln!(text, "\nat {at}: {sessions} sessions of {subjects} subjects, {log} entries in the revocation log");
    }
    let last = &response["lastSweep"];
    if last.is_object() {
        let _ = writeln!(text, "last sweep: {}", swept(last));
    }
    text
}

fn swept(sweep: &Value) -> String {
    let of = |name: &str| sweep[name].as_u64().unwrap_or_default();
    let at = printable(sweep["beganAt"].as_str().unwrap_or("?"));
    let (sessions, orphans, revocations, millis) = (of("sessions"), of("orphans"), of("revocations"), of("tookMillis"));
    format!("{sessions} sessions, {orphans} orphans and {revocations} revocations removed in {millis} ms, at {at}")
}

/// Columns flush right, but for the first.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate();
        let line =
            cells.map(|(column, (cell, width))| if column == 0 { format!("{cell:width$}") } else { format!("{cell:>width$}") });
        let _ = writeln!(text, "{}", line.collect::<Vec<_>>().join("  "));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_day_is_a_line_with_its_sums() {
        let response = json!({
            "today": "2026-11-24",
            "days": [
                { "day": "2026-11-23", "counts": {}, "expired": 0, "measured": null },
                {
                    "day": "2026-11-24",
                    "counts": { "logins": 2, "registrations": 1, "refreshes_rotated": 1000, "refreshes_reused": 4,
                        "rejected_scope": 5, "rejected_expired": 6, "rate_limited": 7, "revocations_by_token": 8 },
                    "expired": 9,
                    "measured": { "at": "2026-11-24T12:00:00Z", "sessions": 10, "subjects": 11 },
                },
            ],
            "lastMeasurement": { "at": "2026-11-24T12:00:00Z", "sessions": 10, "subjects": 11, "log_entries": 12 },
            "lastSweep": { "beganAt": "2026-11-24T02:00:00Z", "tookMillis": 1, "sessions": 2, "orphans": 3, "revocations": 4 },
        });
        assert_eq!(
            printed(&response),
            "day         logins  refreshes  reused  logouts  revocations  expired  forwarded  rejected  sessions  subjects\n\
             2026-11-23       0          0       0        0            0        0          0         0         -         -\n\
             2026-11-24       3       1000       4        0            8        9          0        18        10        11\n\
             \n\
             at 2026-11-24T12:00:00Z: 10 sessions of 11 subjects, 12 entries in the revocation log\n\
             last sweep: 2 sessions, 3 orphans and 4 revocations removed in 1 ms, at 2026-11-24T02:00:00Z\n"
        );
    }

    #[test]
    fn a_response_of_another_kind_is_no_panic() {
        for odd in [json!(null), json!([]), json!({ "days": [1, {}], "lastSweep": {}, "lastMeasurement": {} })] {
            printed(&odd);
        }
    }
}
