//! Upkeep: leases, the sweep and what it counts, measurements, statistics.

use std::sync::Arc;
use std::time::Duration;

use tokengate::domain::node::{Asks, Canary, NodeId};
use tokengate::domain::session::{Lifetime, Session};
use tokengate::domain::stats::{Counter, Day, Gauge, Readings, Snapshot};
use tokengate::domain::time::Timestamp;
use tokengate::store::{
    DayRow, DayTotals, Duty, Fence, Fenced, Lease, Measurement, Store, Swap, SweepRecord, SweepStep, Swept, Upkeep,
};
use tokio::task::JoinSet;

use super::log::by_text;
use crate::store::rig::{HOUR, MINUTE, PATIENCE, by_session, by_token, id_of, now, read_log, session, subject, sweep};

const A: NodeId = NodeId::new([1; 8]);
const B: NodeId = NodeId::new([2; 8]);

/// Long enough for any test, and short enough to be waited for.
const LONG: Duration = MINUTE;
const SHORT: Duration = Duration::from_millis(50);

async fn lease(store: &dyn Upkeep, duty: Duty, holder: NodeId, span: Duration) -> Option<Fence> {
    match store.lease(duty, holder, span, now()).await.unwrap() {
        Lease::Ours(fence) => Some(fence),
        Lease::Others { left } => {
            assert!(left <= LONG);
            None
        }
    }
}

/// Asks until the lease that another had has run out.
async fn take_over(store: &dyn Upkeep, duty: Duty, holder: NodeId) -> Fence {
    let asking = async {
        loop {
            if let Some(fence) = lease(store, duty, holder, LONG).await {
                return fence;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap()
}

pub(crate) async fn a_lease_has_one_holder_at_a_time(store: Arc<dyn Store>) {
    let first = lease(&*store, Duty::Sweep, A, LONG).await.unwrap();
    assert_eq!(lease(&*store, Duty::Sweep, B, LONG).await, None);
    assert_eq!(lease(&*store, Duty::Sweep, A, LONG).await, Some(first), "prolonged under the same number");
    assert!(lease(&*store, Duty::Measure, B, LONG).await.is_some(), "another duty has a lease of its own");
    store.release(Duty::Sweep, B).await.unwrap();
    assert_eq!(lease(&*store, Duty::Sweep, B, LONG).await, None, "only the holder gives it back");
    store.release(Duty::Sweep, A).await.unwrap();
    store.release(Duty::Sweep, A).await.unwrap();
    assert!(lease(&*store, Duty::Sweep, B, LONG).await.unwrap() > first);
    assert_eq!(lease(&*store, Duty::Sweep, A, LONG).await, None);
}

pub(crate) async fn many_ask_for_a_lease_and_one_gets_it(store: Arc<dyn Store>) {
    let mut asking = JoinSet::new();
    for node in 0..32 {
        let store = Arc::clone(&store);
        asking.spawn(async move { lease(&*store, Duty::Sweep, NodeId::new([node; 8]), LONG).await });
    }
    assert_eq!(asking.join_all().await.into_iter().flatten().count(), 1);
}

pub(crate) async fn a_lease_that_ran_out_is_taken_over_under_a_higher_number(store: Arc<dyn Store>) {
    let first = lease(&*store, Duty::Sweep, A, SHORT).await.unwrap();
    let second = take_over(&*store, Duty::Sweep, B).await;
    assert!(second > first);
    assert_eq!(lease(&*store, Duty::Sweep, A, LONG).await, None);
}

pub(crate) async fn who_was_overtaken_writes_nothing_any_more(store: Arc<dyn Store>) {
    let now = now();
    let ended = session(store.partitions(), "ann", now.saturating_sub(2 * HOUR), 1);
    let stale = lease(&*store, Duty::Sweep, A, SHORT).await.unwrap();
    let fresh = take_over(&*store, Duty::Sweep, B).await;
    sweep_all(&*store, fresh, now).await;
    store.create(&ended, None, now).await.unwrap();
    assert_eq!(store.sweep(None, stale, now).await.unwrap(), Fenced::Overtaken);
    assert!(store.load(ended.id).await.unwrap().is_some());

    let of = |sessions| SweepRecord { began_at: now, took: MINUTE, swept: Swept { sessions, ..Swept::default() } };
    assert_eq!(store.record_sweep(&of(1), fresh).await.unwrap(), Fenced::Done(()));
    assert_eq!(store.record_sweep(&of(2), stale).await.unwrap(), Fenced::Overtaken);
    let today = Day::of(now);
    assert_eq!(store.statistics(today..=today).await.unwrap().last_sweep, Some(of(1)));

    let stale = lease(&*store, Duty::Measure, A, SHORT).await.unwrap();
    let fresh = take_over(&*store, Duty::Measure, B).await;
    let of = |sessions| Measurement { taken_at: now, readings: [(Gauge::Sessions, sessions)].into_iter().collect() };
    assert_eq!(store.record_measurement(&of(1), fresh).await.unwrap(), Fenced::Done(()));
    assert_eq!(store.record_measurement(&of(2), stale).await.unwrap(), Fenced::Overtaken);
    let statistics = store.statistics(today..=today).await.unwrap();
    assert_eq!(statistics.last_measurement, Some(of(1)));
    assert_eq!(statistics.rows.last().unwrap().measured, Some(of(1)));
}

async fn sweep_all(store: &dyn Upkeep, fence: Fence, now: Timestamp) -> Swept {
    let (mut swept, mut place) = (Swept::default(), None);
    loop {
        let Fenced::Done(SweepStep { swept: step, next }) = store.sweep(place, fence, now).await.unwrap() else {
            panic!("nobody took over")
        };
        swept.add(step);
        place = next;
        if place.is_none() {
            return swept;
        }
    }
}

pub(crate) async fn a_sweep_removes_what_has_ended(store: Arc<dyn Store>) {
    let now = now();
    let then = now.saturating_sub(2 * HOUR);
    let ended = session(store.partitions(), "ann", then, 1);
    let alone = session(store.partitions(), "bob", then, 2);
    let living = Session {
        lifetime: Lifetime { absolute_ends_at: now.saturating_add(HOUR), idle_ends_at: now.saturating_add(HOUR) },
        ..session(store.partitions(), "ann", then, 3)
    };
    for session in [&ended, &living, &alone] {
        store.create(session, None, then).await.unwrap();
    }
    let end = ended.lifetime.ends_at();
    assert_eq!(sweep(&*store, end.saturating_sub(Duration::from_millis(1))).await.sessions, 0);
    assert!(store.load(ended.id).await.unwrap().is_some());

    assert_eq!(sweep(&*store, end).await.sessions, 2);
    assert_eq!(store.load(ended.id).await.unwrap(), None);
    assert_eq!(store.load(alone.id).await.unwrap(), None);
    assert_eq!(store.load(living.id).await.unwrap().unwrap().session, living);
    assert_eq!(store.sessions_of(&subject("ann"), now).await.unwrap(), [living]);
    assert_eq!(store.sessions_of(&subject("bob"), now).await.unwrap(), []);
    assert_eq!(sweep(&*store, end).await, Swept::default());
    assert_eq!(read_log(&*store, None).await.revocations, [], "an end by itself is no revocation");
}

pub(crate) async fn a_sweep_spares_what_was_extended(store: Arc<dyn Store>) {
    let now = now();
    let then = now.saturating_sub(3 * HOUR);
    let session = session(store.partitions(), "ann", then, 1);
    store.create(&session, None, then).await.unwrap();
    let version = store.load(session.id).await.unwrap().unwrap().version;
    let lifetime = Lifetime { absolute_ends_at: now, idle_ends_at: now.saturating_sub(HOUR) };
    let extended = Session { lifetime, ..session.clone() };
    assert!(matches!(store.swap(version, &extended).await.unwrap(), Swap::Done(_)));
    assert_eq!(sweep(&*store, session.lifetime.ends_at()).await.sessions, 0);
    assert_eq!(store.load(session.id).await.unwrap().unwrap().session, extended);
    assert_eq!(sweep(&*store, lifetime.ends_at()).await.sessions, 1);
}

pub(crate) async fn a_sweep_of_many_sessions_removes_and_counts_them_all(store: Arc<dyn Store>) {
    const SESSIONS: u64 = 2500;
    let now = now();
    let then = now.saturating_sub(HOUR);
    let mut logins = JoinSet::new();
    for n in 0..SESSIONS {
        let store = Arc::clone(&store);
        let session = session(store.partitions(), &format!("user-{}", n % 700), then, n);
        logins.spawn(async move { store.create(&session, None, then).await.unwrap() });
    }
    logins.join_all().await;
    assert_eq!(sweep(&*store, now).await.sessions, SESSIONS);
    for n in 0..700 {
        assert_eq!(store.sessions_of(&subject(&format!("user-{n}")), then).await.unwrap(), []);
    }
    assert_eq!(expired(&*store, now).await, SESSIONS);
}

pub(crate) async fn sweepers_that_compete_count_each_end_once(store: Arc<dyn Store>) {
    const SESSIONS: u64 = 1500;
    let now = now();
    let then = now.saturating_sub(HOUR);
    for n in 0..SESSIONS {
        store.create(&session(store.partitions(), &format!("user-{}", n % 99), then, n), None, then).await.unwrap();
    }
    let living = session(store.partitions(), "ann", now, 1);
    store.create(&living, None, now).await.unwrap();
    let mut sweepers = JoinSet::new();
    for _ in 0..4 {
        let store = Arc::clone(&store);
        // Under one number: as if no lease kept them apart.
        sweepers.spawn(async move { sweep_all(&*store, Fence(7), now).await.sessions });
    }
    assert_eq!(sweepers.join_all().await.iter().sum::<u64>(), SESSIONS);
    assert_eq!(expired(&*store, now).await, SESSIONS);
    assert!(store.load(living.id).await.unwrap().is_some());
}

async fn expired(store: &dyn Upkeep, now: Timestamp) -> u64 {
    let today = Day::of(now);
    store.statistics(today..=today).await.unwrap().rows.first().map_or(0, |row| row.expired)
}

pub(crate) async fn a_sweep_forgets_what_may_be_forgotten(store: Arc<dyn Store>) {
    let now = now();
    let then = now.saturating_sub(2 * HOUR);
    for n in 0..300 {
        // Forgotten an hour ago. Put back by a node that still knew it, say.
        store.revoke(&by_token("i", &format!("old {n}"), then)).await.unwrap();
    }
    let young = now.saturating_sub(HOUR / 2);
    let kept: Vec<_> = (0..3).map(|n| by_token("i", &format!("new {n}"), young)).collect();
    for revocation in &kept {
        store.revoke(revocation).await.unwrap();
    }
    assert!(sweep(&*store, now).await.revocations <= 300);
    assert_eq!(by_text(read_log(&*store, None).await.revocations), by_text(kept));
    assert_eq!(sweep(&*store, now).await.revocations, 0);
}

pub(crate) async fn totals_are_counted_once_however_often_they_are_told(store: Arc<dyn Store>) {
    let day = Day(20_000);
    let told = |node, logins, rotated| DayTotals {
        node,
        day,
        counts: [(Counter::Logins, logins), (Counter::RefreshesRotated, rotated)].into_iter().collect(),
    };
    for totals in [
        told(A, 3, 0),
        told(A, 3, 0),
        told(A, 5, 2),
        // Late, and overtaken by the next.
        told(A, 4, 1),
        told(B, 10, 0),
        told(A, 5, 2),
        told(B, 10, 1 << 40),
    ] {
        store.count(&totals).await.unwrap();
    }
    let rows = store.statistics(day..=day).await.unwrap().rows;
    let counts = [(Counter::Logins, 15), (Counter::RefreshesRotated, (1 << 40) + 2)].into_iter().collect();
    assert_eq!(rows, [DayRow { counts, ..DayRow::of(day) }]);
}

pub(crate) async fn totals_told_at_the_same_time_are_counted_once(store: Arc<dyn Store>) {
    let day = Day(20_000);
    let mut telling = JoinSet::new();
    for n in 1..=50_u64 {
        for node in [A, B] {
            let store = Arc::clone(&store);
            let counts = [(Counter::Logouts, n)].into_iter().collect();
            telling.spawn(async move { store.count(&DayTotals { node, day, counts }).await.unwrap() });
        }
    }
    telling.join_all().await;
    let rows = store.statistics(day..=day).await.unwrap().rows;
    assert_eq!(rows[0].counts.value(Counter::Logouts), 100);
}

pub(crate) async fn days_are_told_in_their_order_and_only_those_asked_for(store: Arc<dyn Store>) {
    for day in [20_005, 20_001, 20_003] {
        let counts = [(Counter::Logins, u64::try_from(day).unwrap())].into_iter().collect();
        store.count(&DayTotals { node: A, day: Day(day), counts }).await.unwrap();
    }
    let days = |rows: Vec<DayRow>| rows.into_iter().map(|row| row.day.0).collect::<Vec<_>>();
    assert_eq!(days(store.statistics(Day(20_005).last(400)).await.unwrap().rows), [20_001, 20_003, 20_005]);
    assert_eq!(days(store.statistics(Day(20_002)..=Day(20_004)).await.unwrap().rows), [20_003]);
    assert_eq!(store.statistics(Day(1)..=Day(9)).await.unwrap().rows, []);
    store.count(&DayTotals { node: A, day: Day(20_009), counts: Snapshot::ZERO }).await.unwrap();
    assert_eq!(store.statistics(Day(20_009)..=Day(20_009)).await.unwrap().rows, [], "nothing to tell");
}

pub(crate) async fn a_measurement_counts_what_lives(store: Arc<dyn Store>) {
    let now = now();
    let then = now.saturating_sub(2 * HOUR);
    let partitions = store.partitions();
    for n in 0..700 {
        store.create(&session(partitions, &format!("user-{}", n % 300), now, n), None, now).await.unwrap();
    }
    // Ended, and not swept; one of a subject that has a live one too.
    for (n, owner) in [(1000, "user-1"), (1001, "gone")] {
        store.create(&session(partitions, owner, then, n), None, then).await.unwrap();
    }
    // More of one subject than one look at the log takes.
    for n in 0..300 {
        let ended = id_of(partitions, &subject("user-1"), now, 10_000 + n);
        store.revoke(&by_session(ended, now)).await.unwrap();
    }
    // Marks that time the log are no revocations.
    for (number, partition) in (1..).zip(partitions.iter()) {
        store.mark(partition, Canary { node: A, number, asks: Asks::Everyone }).await.unwrap();
    }
    let measured = store.measure(now).await.unwrap();
    let values = [Gauge::Sessions, Gauge::Subjects, Gauge::LogEntries].map(|gauge| measured.value(gauge));
    assert_eq!(values, [Some(700), Some(300), Some(300)]);
    let later = store.measure(now.saturating_add(HOUR)).await.unwrap();
    assert_eq!((later.value(Gauge::Sessions), later.value(Gauge::Subjects)), (Some(0), Some(0)));
}

pub(crate) async fn the_last_sweep_and_measurement_are_remembered(store: Arc<dyn Store>) {
    let now = now();
    let today = Day::of(now);
    let empty = store.statistics(today..=today).await.unwrap();
    assert_eq!((empty.last_sweep, empty.last_measurement), (None, None));
    let fence = lease(&*store, Duty::Sweep, A, LONG).await.unwrap();
    let swept = Swept { sessions: 3, orphans: 2, revocations: 1 };
    let sweep = SweepRecord { began_at: now, took: Duration::from_millis(1234), swept };
    store.record_sweep(&sweep, fence).await.unwrap();
    let fence = lease(&*store, Duty::Measure, A, LONG).await.unwrap();
    let readings: Readings = Gauge::ALL.into_iter().map(|gauge| (gauge, gauge as u64)).collect();
    let yesterday = Measurement { taken_at: now.saturating_sub(24 * HOUR), readings };
    let measurement = Measurement { taken_at: now, readings: Readings::default() };
    store.record_measurement(&yesterday, fence).await.unwrap();
    store.record_measurement(&measurement, fence).await.unwrap();
    let told = store.statistics(today.last(2)).await.unwrap();
    assert_eq!((told.last_sweep, told.last_measurement), (Some(sweep), Some(measurement)));
    assert_eq!(told.rows.iter().map(|row| row.measured).collect::<Vec<_>>(), [Some(yesterday), Some(measurement)]);
}
