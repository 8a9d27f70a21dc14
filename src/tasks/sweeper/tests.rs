use std::io;
use std::sync::Mutex;

use tracing_subscriber::fmt::MakeWriter;

use super::super::fake_log::{TestClock, session_of};
use super::super::rules::TaskRules;
use super::super::rules::tests::rules;
use super::*;
use crate::config::Settings;
use crate::crypto::entropy::SystemEntropy;
use crate::domain::ids::Partitions;
use crate::domain::node::NodeId;
use crate::domain::replica::Replica;
use crate::domain::stats::Gauges;
use crate::sessions::caretaker::CaretakerParts;
use crate::sessions::nodes::{NodeParts, Nodes};
use crate::sessions::tests::{Fault, TestStore};
use crate::store::SessionStore as _;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

struct Night {
    store: Arc<TestStore>,
    clock: Arc<TestClock>,
    counters: Arc<Counters>,
}

impl Night {
    /// Begins at this moment (RFC 3339).
    fn begins_at(moment: &str) -> Self {
        let clock = TestClock::default();
        clock.begin_at(at(moment));
        Self { store: Arc::new(TestStore::new(Partitions::ONE)), clock: Arc::new(clock), counters: Arc::new(Counters::new()) }
    }

    /// With settings as they come, but for these.
    fn sweeper(&self, node: u8, set: &str) -> Sweeper {
        let settings = Settings::from_toml(&format!("[upstreams.a]\nurl = \"http://h\"\n[sweeper]\n{set}")).unwrap();
        let caretaker = Caretaker::new(CaretakerParts {
            nodes: Arc::new(Nodes::new(NodeParts {
                registry: self.store.clone(),
                partitions: Partitions::ONE,
                clock: self.clock.clone(),
                id: NodeId::new([node; 8]),
            })),
            store: self.store.clone(),
            replica: Arc::new(Replica::new()),
            gauges: Arc::new(Gauges::new()),
            counters: Arc::clone(&self.counters),
            clock: self.clock.clone(),
        });
        Sweeper {
            caretaker: Arc::new(caretaker),
            clock: self.clock.clone(),
            entropy: Arc::new(SystemEntropy::new()),
            counters: Arc::clone(&self.counters),
            rules: LiveRules::fixed(TaskRules { sweeps: settings.sweeper.schedule, ..rules() }),
        }
    }

    async fn log_in(&self, number: u64, ends_at: &str) {
        let session = session_of(number, at(ends_at));
        self.store.create(&session, None, self.clock.now()).await.unwrap();
    }

    fn swept(&self) -> u64 {
        self.counters.snapshot().value(Counter::SessionsSwept)
    }
}

fn at(moment: &str) -> Timestamp {
    Timestamp::from_millis(moment.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn start(sweeper: Sweeper, stop: &CancellationToken) -> tokio::task::JoinHandle<()> {
    let stop = stop.clone();
    tokio::runtime::Handle::current().spawn(async move { sweeper.run(stop).await })
}

/// What is logged while it is there, on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn expired_sessions_are_cleaned_daily_at_two_and_the_clean_up_logs_its_figures() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let night = Night::begins_at("2026-11-23T18:00:00Z");
    night.log_in(1, "2026-11-23T19:00:00Z").await;
    night.log_in(2, "2026-11-24T01:59:00Z").await;
    night.log_in(3, "2026-11-24T02:01:00Z").await;
    night.log_in(4, "2026-12-24T00:00:00Z").await;
    let stop = CancellationToken::new();
    let running = start(night.sweeper(1, ""), &stop);

    tokio::time::sleep(7 * HOUR + 3599 * SECOND).await;
    assert_eq!(night.swept(), 0, "not before its time");
    assert!(log.lines().is_empty());
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(night.swept(), 2, "at 02:00");
    tokio::time::sleep(23 * HOUR).await;
    assert_eq!(night.swept(), 2, "once a day");
    tokio::time::sleep(HOUR).await;
    assert_eq!(night.swept(), 3, "at 02:00 of the next day");

    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("swept sessions=2 orphans=0 revocations=0 took="), "{}", lines[0]);
    assert!(lines[1].contains("swept sessions=1 orphans=0 revocations=0 took="), "{}", lines[1]);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_schedule_and_its_clock_are_the_operators() {
    let night = Night::begins_at("2026-11-24T00:00:00Z");
    night.log_in(1, "2026-11-24T00:00:01Z").await;
    let stop = CancellationToken::new();
    // 04:30 in Berlin is 03:30 UTC.
    let running = start(night.sweeper(1, "schedule = \"30 4 * * *\"\ntime_zone = \"Europe/Berlin\"\n"), &stop);
    tokio::time::sleep(3 * HOUR + 1799 * SECOND).await;
    assert_eq!(night.swept(), 0);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(night.swept(), 1);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_several_nodes_one_sweeps() {
    let night = Night::begins_at("2026-11-24T01:00:00Z");
    for number in 0..10 {
        night.log_in(number, "2026-11-24T01:30:00Z").await;
    }
    let stop = CancellationToken::new();
    let running: Vec<_> = (1..=4).map(|node| start(night.sweeper(node, ""), &stop)).collect();
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(night.swept(), 10);
    let last = night.sweeper(9, "").caretaker.last_sweep().await.unwrap().unwrap();
    assert_eq!(last.swept.sessions, 10, "no later sweep took the place of the one");
    assert_eq!(last.began_at, at("2026-11-24T02:00:00Z"));
    stop.cancel();
    for node in running {
        node.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_made_up_for() {
    let night = Night::begins_at("2026-11-24T01:00:00Z");
    let stop = CancellationToken::new();
    let running = start(night.sweeper(1, ""), &stop);
    tokio::time::sleep(2 * HOUR).await;
    stop.cancel();
    running.await.unwrap();
    night.log_in(1, "2026-11-24T04:00:00Z").await;

    // Away at the next 02:00, back later that day; and then the store fails.
    tokio::time::sleep(30 * HOUR).await;
    night.store.fail(Fault::Refuses);
    let stop = CancellationToken::new();
    let running = start(night.sweeper(2, ""), &stop);
    tokio::time::sleep(HOUR).await;
    assert_eq!(night.swept(), 0);
    night.store.fail(None);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(night.swept(), 1, "as soon as the store is back");
    stop.cancel();
    running.await.unwrap();
}
