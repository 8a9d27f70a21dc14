//! What is counted reaches the store once, whatever happens on the way; and the store is swept by one node at a time.

use std::sync::Arc;

use super::store::Fault;
use super::world::{DAY, MINUTE, SECOND, World};
use crate::domain::node::NodeId;
use crate::domain::replica::Replica;
use crate::domain::stats::{Counter, Counters, Day, Gauge, Gauges, Tally};
use crate::sessions::caretaker::{Caretaker, CaretakerParts, SweepOutcome, Sweeps};
use crate::sessions::nodes::{NodeParts, Nodes};
use crate::sessions::statistics::{Figures, Statistics as Counting, StatisticsParts};
use crate::store::{DayRow, Duty, Fence, Fenced, Lease, SessionStore as _, SweepStep, Upkeep as _};

/// The upkeep of a world's store by another node.
pub(crate) struct Upkept {
    pub(crate) figures: Arc<dyn Figures>,
    pub(crate) sweeps: Arc<dyn Sweeps>,
}

impl World {
    /// What the admin listener asks.
    pub(crate) fn upkeep(&self) -> Upkept {
        let Bookkeeper { counting, caretaker, .. } = bookkeeper(self, 0);
        Upkept { figures: Arc::new(counting), sweeps: Arc::new(caretaker) }
    }

    /// What has ended goes.
    pub(crate) async fn sweep(&self) {
        let mut place = None;
        loop {
            match self.store.inner.sweep(place, Fence(1), self.now()).await.unwrap() {
                Fenced::Done(SweepStep { next: None, .. }) => return,
                Fenced::Done(step) => place = step.next,
                Fenced::Overtaken => panic!("there is no other"),
            }
        }
    }
}

/// What a node has beside its sessions.
struct Bookkeeper {
    tally: Arc<Tally>,
    counters: Arc<Counters>,
    gauges: Arc<Gauges>,
    counting: Counting,
    caretaker: Caretaker,
}

fn bookkeeper(world: &World, number: u8) -> Bookkeeper {
    let (tally, gauges, replica) = (Arc::new(Tally::new()), Arc::new(Gauges::new()), Arc::new(Replica::new()));
    let nodes = Arc::new(Nodes::new(NodeParts {
        registry: world.store.clone(),
        partitions: world.store.partitions(),
        clock: world.clock.clone(),
        id: NodeId::new([number; 8]),
    }));
    let counting = Counting::new(StatisticsParts {
        nodes: Arc::clone(&nodes),
        store: world.store.clone(),
        tally: Arc::clone(&tally),
        gauges: Arc::clone(&gauges),
        replica: Arc::clone(&replica),
        clock: world.clock.clone(),
    });
    let counters = tally.new_set();
    let caretaker = Caretaker::new(CaretakerParts {
        nodes,
        store: world.store.clone(),
        replica,
        gauges: Arc::clone(&gauges),
        counters: Arc::clone(&counters),
        clock: world.clock.clone(),
    });
    Bookkeeper { tally, counters, gauges, counting, caretaker }
}

async fn row(world: &World, day: Day) -> DayRow {
    let statistics = world.store.inner.statistics(day..=day).await.unwrap();
    statistics.rows.first().copied().unwrap_or(DayRow::of(day))
}

#[tokio::test]
async fn a_flush_whose_response_was_lost_counts_once() {
    let (world, day) = (World::new(), Day::of(World::new().now()));
    let node = bookkeeper(&world, 1);
    node.counters.add(Counter::Logins, 3);
    world.store.fail(Fault::LosesResponses);
    for _ in 0..5 {
        assert!(node.counting.flush().await.is_err());
        node.counters.add(Counter::Logins, 1);
    }
    world.store.fail(None);
    node.counting.flush().await.unwrap();
    node.counting.flush().await.unwrap();
    assert_eq!(row(&world, day).await.counts.value(Counter::Logins), 8);
}

#[tokio::test]
async fn what_a_failover_took_back_is_told_again_though_nothing_more_is_counted() {
    let (world, day) = (World::new(), Day::of(World::new().now()));
    let node = bookkeeper(&world, 1);
    node.counters.add(Counter::Logins, 3);
    world.store.fail(Fault::ForgetsCounts);
    node.counting.flush().await.unwrap();
    world.store.fail(None);
    node.counting.flush().await.unwrap();
    assert_eq!(row(&world, day).await.counts.value(Counter::Logins), 0, "it was confirmed just now");
    world.clock.advance(MINUTE);
    node.counting.flush().await.unwrap();
    assert_eq!(row(&world, day).await.counts.value(Counter::Logins), 3);
    // Not for ever: by then the store may have forgotten what it was told.
    world.clock.advance(2 * DAY);
    let calls = world.store.calls();
    node.counting.flush().await.unwrap();
    assert_eq!(world.store.calls(), calls);
}

#[tokio::test]
async fn nodes_add_up_and_a_restarted_one_begins_anew() {
    let world = World::new();
    let day = Day::of(world.now());
    for number in 1..=3 {
        let node = bookkeeper(&world, number);
        node.counters.add(Counter::RefreshesRotated, 10);
        node.tally.new_set().add(Counter::RefreshesRotated, 1);
        node.counting.flush().await.unwrap();
    }
    assert_eq!(row(&world, day).await.counts.value(Counter::RefreshesRotated), 33);
}

#[tokio::test]
async fn days_that_the_store_missed_are_told_later_each_under_its_own_date() {
    let world = World::new();
    let first = Day::of(world.now());
    let node = bookkeeper(&world, 1);
    world.store.fail(Fault::Refuses);
    for day in 0..9 {
        node.counters.add(Counter::Logins, 1 + day);
        assert!(node.counting.flush().await.is_err());
        world.clock.advance(DAY);
    }
    world.store.fail(None);
    node.counting.flush().await.unwrap();
    let mut counted = Vec::new();
    for day in 0..9 {
        counted.push(row(&world, Day(first.0 + day)).await.counts.value(Counter::Logins));
    }
    assert_eq!(counted, [0, 0, 3, 4, 5, 6, 7, 8, 9], "no more than a week is remembered");
}

#[tokio::test]
async fn a_report_has_the_counts_of_this_very_moment() {
    let world = World::new();
    let node = bookkeeper(&world, 1);
    node.counters.add(Counter::Logouts, 1);
    let report = node.counting.report(1).await.unwrap();
    assert_eq!(report.statistics.rows[0].counts.value(Counter::Logouts), 1);
    assert_eq!(report.today, Day::of(world.now()));
    assert_eq!(node.counting.live().counts.value(Counter::Logouts), 1);
}

#[tokio::test]
async fn what_ends_by_its_lifetimes_is_swept_and_counted_once() {
    let world = World::new();
    for _ in 0..3 {
        world.log_in("ada").await;
    }
    world.clock.advance(6 * DAY);
    let alive = world.log_in("ada").await;
    let (first, second) = (bookkeeper(&world, 1), bookkeeper(&world, 2));
    let swept = |outcome| match outcome {
        SweepOutcome::Swept(record) => record.swept.sessions,
        other => panic!("{other:?}"),
    };
    assert_eq!(swept(first.caretaker.sweep(None).await.unwrap()), 0);
    world.clock.advance(DAY);
    assert_eq!(swept(second.caretaker.sweep(None).await.unwrap()), 3);
    assert_eq!(swept(first.caretaker.sweep(None).await.unwrap()), 0);
    assert!(world.record(alive.session).await.is_some());
    assert_eq!(row(&world, Day::of(world.now())).await.expired, 3);
    assert_eq!(second.counters.snapshot().value(Counter::SessionsSwept), 3);
    second.counting.flush().await.unwrap();
    assert_eq!(row(&world, Day::of(world.now())).await.counts.value(Counter::SessionsSwept), 0, "told by nobody else");
}

#[tokio::test]
async fn a_sweep_is_not_made_twice_for_one_moment() {
    let world = World::new();
    let (first, second) = (bookkeeper(&world, 1), bookkeeper(&world, 2));
    let due = world.now();
    let SweepOutcome::Swept(record) = first.caretaker.sweep(Some(due)).await.unwrap() else { panic!("nobody else is there") };
    assert_eq!(second.caretaker.sweep(Some(due)).await.unwrap(), SweepOutcome::Done(record));
    world.clock.advance(SECOND);
    let later = world.now();
    assert!(matches!(second.caretaker.sweep(Some(later)).await.unwrap(), SweepOutcome::Swept(_)));
}

#[tokio::test]
async fn a_sweeper_that_was_killed_holds_others_up_for_seconds_and_leaves_no_false_figure() {
    let world = World::new();
    for _ in 0..2500 {
        world.log_in("ada").await;
    }
    world.clock.advance(8 * DAY);
    let (killed, other) = (NodeId::new([9; 8]), bookkeeper(&world, 1));
    let store = &world.store.inner;
    let Lease::Ours(fence) = store.lease(Duty::Sweep, killed, 10 * SECOND, world.now()).await.unwrap() else {
        panic!("nobody else is there")
    };
    // One step of several, and no more of it.
    let Fenced::Done(step) = store.sweep(None, fence, world.now()).await.unwrap() else { panic!("nobody took over") };
    assert!(step.next.is_some() && step.swept.sessions > 0);
    let busy = other.caretaker.sweep(None).await.unwrap();
    assert_eq!(busy, SweepOutcome::Busy { left: 10 * SECOND });
    world.clock.advance(10 * SECOND);
    assert!(matches!(other.caretaker.sweep(None).await.unwrap(), SweepOutcome::Swept(_)));
    assert_eq!(row(&world, Day::of(world.now())).await.expired, 2500);
    // It was only asleep: what it still wants to do comes too late.
    assert_eq!(store.sweep(step.next, fence, world.now()).await.unwrap(), Fenced::Overtaken);
}

#[tokio::test]
async fn one_node_measures_and_all_know() {
    let world = World::new();
    for name in ["ada", "ada", "bob"] {
        world.log_in(name).await;
    }
    let (first, second) = (bookkeeper(&world, 1), bookkeeper(&world, 2));
    first.caretaker.measure(MINUTE).await.unwrap();
    world.log_in("cid").await;
    second.caretaker.measure(MINUTE).await.unwrap();
    let known = |node: &Bookkeeper| {
        let readings = node.gauges.readings();
        (readings.value(Gauge::Sessions), readings.value(Gauge::Subjects), readings.value(Gauge::LogEntries))
    };
    assert_eq!(known(&first), (Some(3), Some(2), Some(0)));
    assert_eq!(known(&second), known(&first), "measured less than a minute ago");
    world.clock.advance(MINUTE);
    second.caretaker.measure(MINUTE).await.unwrap();
    assert_eq!(known(&second), (Some(4), Some(3), Some(0)));
    let measured = row(&world, Day::of(world.now())).await.measured.unwrap();
    assert_eq!(measured.readings.value(Gauge::Sessions), Some(4));
    assert_eq!(measured.readings.value(Gauge::ReplicaEntries), Some(0));
}
