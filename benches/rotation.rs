//! What the decision about a refresh token costs, for each outcome: nothing beside the store.

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use tokengate::domain::ids::Generation;
use tokengate::domain::rotation::{Presented, Rotation, present};
use tokengate::domain::time::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const LEEWAY: Duration = Duration::from_secs(30);

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .configure_from_args();
    let record = |acknowledged, age_secs| Rotation {
        current: Generation(8),
        parent: Generation(7),
        acknowledged,
        rotated_at: Some(NOW.saturating_sub(Duration::from_secs(age_secs))),
    };
    let token = |generation| Presented { generation: Generation(generation), parent: Generation(generation - 1) };
    let cases = [
        ("adopt", record(true, 900), token(9)),
        ("reissue", record(true, 5), token(7)),
        ("extend", record(false, 20), token(7)),
        ("rotate", record(true, 900), token(8)),
        ("supersede", record(false, 900), token(7)),
        ("reuse", record(true, 900), token(7)),
    ];
    let mut group = criterion.benchmark_group("rotation");
    for (name, record, token) in cases {
        group.bench_function(name, |b| b.iter(|| present(black_box(&record), black_box(token), LEEWAY, black_box(NOW))));
    }
    group.finish();
    criterion.final_summary();
}
