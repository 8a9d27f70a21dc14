//! Keeps the replica of the revocations up to date, and gives the store back what it lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::clock_watch::ClockWatch;
use super::rules::LiveRules;
use crate::crypto::entropy::Entropy;
use crate::domain::replica::Replica;
use crate::domain::revocation::{Revocation, RevocationSet};
use crate::domain::stats::{Counter, Counters};
use crate::domain::time::Clock;
use crate::sessions::nodes::Nodes;
use crate::store::{LogBatch, LogCursor, RevocationLog, StoreError};

const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Short: it is added to the time in which a store that is back is followed again, and an attempt in vain costs next to nothing,
/// for the store's own client fails fast and paces its connections.
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);

/// How much longer than asked a read of news may take before it counts as failed. Stores have deadlines of their own; this
/// one is for a store that breaks them.
const READ_GRACE: Duration = Duration::from_secs(15);

/// The same for the whole log, which may hold millions and comes in many steps.
const READ_WHOLE_GRACE: Duration = Duration::from_secs(300);

/// How long the node may take to make itself known before it reads the log all the same.
const ANNOUNCE_MAX: Duration = Duration::from_secs(2);

/// How often revocations that may be forgotten are dropped.
const FORGET_INTERVAL: Duration = Duration::from_secs(5);

/// How often the whole log is read again although nothing failed: a store may lose writes without this node noticing.
const REREAD_INTERVAL: Duration = Duration::from_secs(300);

/// How many lost revocations are put back between two reads of the log, so that the replica stays confirmed meanwhile.
const PUT_BACK_MAX: usize = 64;

/// What may be forgotten so soon is not put back: by a faster clock it was trimmed, not lost.
const PUT_BACK_MARGIN: Duration = Duration::from_secs(5);

/// Follows the revocation log: reads it whole, which makes the replica loaded, then waits for news; each read that succeeds
/// confirms the replica up to the moment when it began, unless it left some of the log out. After a failure the log is read whole again, and what the replica knows
/// and the log lacks is written again, record deletion included.
pub struct RevocationFeed {
    pub log: Arc<dyn RevocationLog>,
    pub replica: Arc<Replica>,
    /// Sees the canaries of the log.
    pub nodes: Arc<Nodes>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub counters: Arc<Counters>,
    pub rules: LiveRules,
}

/// Whether a read that finds nothing waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    No,
    ForNews,
}

/// Why following ended without a failure.
struct RereadDue;

impl RevocationFeed {
    /// Returns when `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        let mut backoff = Backoff::new(RETRY_PAUSE, RETRY_PAUSE_MAX);
        let mut watch = ClockWatch::started(self.clock.now(), self.clock.monotonic());
        while let Some(ended) = stop.run_until_cancelled(self.follow(&mut backoff, &mut watch)).await {
            let Err(error) = ended else { continue };
            let pause = backoff.next(&*self.entropy);
            self.counters.add(Counter::StoreErrors, 1);
            warn!(%error, retry_in = ?pause, "revocation log cannot be read");
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
        }
    }

    async fn follow(&self, backoff: &mut Backoff, watch: &mut ClockWatch) -> Result<RereadDue, StoreError> {
        self.announce().await;
        let (mut cursor, mut lost) = self.read_whole().await?;
        let read_whole_at = self.clock.monotonic();
        let mut forgot_at = read_whole_at;
        loop {
            self.put_back(&mut lost).await?;
            let wait = if lost.is_empty() { Wait::ForNews } else { Wait::No };
            cursor = self.read(Some(&cursor), wait, |_| {}).await?;
            backoff.reset();
            let (wall, now) = (self.clock.now(), self.clock.monotonic());
            if now.saturating_sub(forgot_at) >= FORGET_INTERVAL {
                self.replica.forget(watch.cautious(wall, now));
                forgot_at = now;
            }
            // What was forgotten by a clock that was ahead counts again: the store may have it still.
            let forgot_too_early = watch.was_set_back(wall, now);
            if forgot_too_early || (lost.is_empty() && now.saturating_sub(read_whole_at) >= REREAD_INTERVAL) {
                return Ok(RereadDue);
            }
        }
    }

    /// Before the log is read: whoever asks whether all nodes know of a revocation either waits for this one or has logged it by
    /// then. A store that takes no writes takes no revocations either, and can be read.
    async fn announce(&self) {
        match tokio::time::timeout(ANNOUNCE_MAX, self.nodes.announce(&self.rules.now().node)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "node not announced"),
            Err(_elapsed) => debug!("node not announced in time"),
        }
    }

    /// Reads the log from its start. Returns where it ends, and what the replica knows beyond it.
    async fn read_whole(&self) -> Result<(LogCursor, VecDeque<Revocation>), StoreError> {
        let was_loaded = self.replica.is_loaded();
        let mut log = RevocationSet::new();
        let cursor = self.read(None, Wait::No, |revocation| _ = log.insert(revocation)).await?;
        if !was_loaded {
            info!(revocations = log.len(), "revocation log read");
        }
        let still_matters_at = self.clock.now().saturating_add(PUT_BACK_MARGIN);
        let lost: VecDeque<Revocation> = self.replica.missing_from(&log, still_matters_at).flatten().collect();
        if !lost.is_empty() {
            warn!(revocations = lost.len(), "the store lost revocations: putting them back");
        }
        Ok((cursor, lost))
    }

    /// Reads what follows `cursor` into the replica.
    async fn read(
        &self,
        cursor: Option<&LogCursor>,
        wait: Wait,
        mut see: impl FnMut(&Revocation),
    ) -> Result<LogCursor, StoreError> {
        let (began_at, LogBatch { revocations, canaries, cursor: read_to, unread }) = match wait {
            Wait::No => self.ask(cursor, Duration::ZERO).await?,
            Wait::ForNews => {
                let (change, heartbeat) = (self.rules.change(), self.rules.now().log_heartbeat);
                tokio::select! {
                    batch = self.ask(cursor, heartbeat) => batch?,
                    // It may be due for longer than the new rules let the replica go unconfirmed.
                    () = change => self.ask(cursor, Duration::ZERO).await?,
                }
            }
        };
        let mut news = 0;
        for revocation in &revocations {
            see(revocation);
            if self.replica.insert(revocation) {
                news += 1;
                debug!(session = revocation.target.session().map(tracing::field::display), "revocation taken over");
            }
        }
        self.counters.add(Counter::RevocationsApplied, news);
        match unread {
            None => self.replica.confirm(began_at),
            // What the log lacks can be told from a whole read alone.
            Some(cause) if cursor.is_none() => return Err(StoreError::Unavailable(cause)),
            Some(cause) => debug!(cause, "revocation log read in part"),
        }
        if let Err(error) = self.nodes.see(&canaries).await {
            debug!(%error, "receipt not given");
        }
        Ok(read_to)
    }

    /// What follows `cursor`, which is waited for so long, and when that was asked.
    async fn ask(&self, cursor: Option<&LogCursor>, wait: Duration) -> Result<(Duration, LogBatch), StoreError> {
        let began_at = self.clock.monotonic();
        let grace = if cursor.is_some() { READ_GRACE } else { READ_WHOLE_GRACE };
        let reading = tokio::time::timeout(wait + grace, self.log.follow(cursor, wait)).await;
        let too_long = |_| Err(StoreError::Unavailable("reading the revocation log takes too long".to_owned()));
        Ok((began_at, reading.unwrap_or_else(too_long)?))
    }

    async fn put_back(&self, lost: &mut VecDeque<Revocation>) -> Result<(), StoreError> {
        for _ in 0..PUT_BACK_MAX {
            let Some(revocation) = lost.front() else { break };
            if revocation.forget_at > self.clock.now() {
                self.log.revoke(revocation).await?;
                self.counters.add(Counter::RevocationsPutBack, 1);
            }
            lost.pop_front();
        }
        Ok(())
    }
}

impl std::fmt::Debug for RevocationFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RevocationFeed").field("log", &self.log).field("replica", &self.replica).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake_log::{FakeLog, TestClock, revocation};
    use super::super::rules::TaskRules;
    use super::super::rules::tests::{Reloads, rules};
    use super::*;
    use crate::crypto::entropy::SystemEntropy;
    use crate::domain::ids::Partitions;
    use crate::domain::node::NodeId;
    use crate::domain::time::Timestamp;
    use crate::sessions::nodes::NodeParts;
    use crate::store::memory::Memory;

    struct Node {
        log: Arc<FakeLog>,
        replica: Arc<Replica>,
        clock: Arc<TestClock>,
        counters: Arc<Counters>,
        stop: CancellationToken,
        feed: tokio::task::JoinHandle<()>,
    }

    impl Node {
        fn start(log: FakeLog) -> Self {
            Self::start_by(log, LiveRules::fixed(rules()))
        }

        fn start_by(log: FakeLog, rules: LiveRules) -> Self {
            let (log, replica, clock) = (Arc::new(log), Arc::new(Replica::new()), Arc::new(TestClock::default()));
            let (counters, stop) = (Arc::new(Counters::new()), CancellationToken::new());
            let nodes = Arc::new(Nodes::new(NodeParts {
                registry: Arc::new(Memory::new(Partitions::ONE)),
                partitions: Partitions::ONE,
                clock: Arc::<TestClock>::clone(&clock),
                id: NodeId::new([1; 8]),
            }));
            let feed = RevocationFeed {
                log: Arc::<FakeLog>::clone(&log),
                replica: Arc::clone(&replica),
                nodes,
                clock: Arc::<TestClock>::clone(&clock),
                entropy: Arc::new(SystemEntropy::new()),
                counters: Arc::clone(&counters),
                rules,
            };
            let stopped = stop.clone();
            let feed = tokio::runtime::Handle::current().spawn(async move { feed.run(stopped).await });
            Self { log, replica, clock, counters, stop, feed }
        }

        fn is_stale(&self) -> bool {
            self.replica.is_stale(self.clock.monotonic(), Duration::from_secs(3))
        }

        async fn end(self) {
            self.stop.cancel();
            self.feed.await.unwrap();
        }
    }

    /// Time is tokio's, paused: it moves when everything waits.
    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_loaded_once_it_has_the_whole_log_and_then_hears_of_each_revocation() {
        let node = Node::start(FakeLog::with_log((0..100).map(revocation)));
        assert!(!node.replica.is_loaded());
        pass(1).await;
        assert!(node.replica.is_loaded() && node.replica.len() == 100);
        node.log.revoke(&revocation(100)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(node.replica.len(), 101);
        assert_eq!(node.counters.snapshot().value(Counter::RevocationsApplied), 101);
        node.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeats_confirm_the_replica_and_a_silent_store_makes_it_stale() {
        let node = Node::start(FakeLog::default());
        pass(60).await;
        assert!(!node.is_stale());
        node.log.fail(true);
        pass(5).await;
        assert!(node.is_stale() && node.replica.is_loaded());
        node.log.fail(false);
        pass(4).await;
        assert!(!node.is_stale());
        node.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_that_is_shortened_is_due_at_once() {
        let (reloads, live) = Reloads::start();
        reloads.reload(TaskRules { log_heartbeat: Duration::from_secs(60), ..rules() });
        let node = Node::start_by(FakeLog::default(), live);
        pass(30).await;
        assert!(node.is_stale(), "by a shorter bound than the heartbeat is for");
        reloads.reload(TaskRules { log_heartbeat: Duration::from_secs(1), ..rules() });
        tokio::time::sleep(Duration::from_millis(1)).await;
        for _ in 0..10 {
            assert!(!node.is_stale());
            pass(1).await;
        }
        node.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_without_end_makes_the_replica_stale_and_is_read_again() {
        let node = Node::start(FakeLog::default());
        pass(2).await;
        node.log.hang(true);
        pass(10).await;
        assert!(node.is_stale());
        node.log.hang(false);
        pass(20).await;
        assert!(!node.is_stale());
        node.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_in_part_counts_and_confirms_nothing() {
        let node = Node::start(FakeLog::default());
        pass(2).await;
        node.log.read_in_part(true);
        pass(2).await;
        node.log.revoke(&revocation(1)).await.unwrap();
        pass(5).await;
        assert!(node.is_stale() && node.replica.len() == 1);
        node.log.read_in_part(false);
        pass(2).await;
        assert!(!node.is_stale());
        node.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_cannot_read_the_whole_log_is_not_loaded() {
        let log = FakeLog::with_log((0..10).map(revocation));
        log.read_in_part(true);
        let node = Node::start(log);
        pass(5).await;
        assert!(!node.replica.is_loaded());
        node.log.read_in_part(false);
        pass(5).await;
        assert!(node.replica.is_loaded());
        node.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_store_lost_is_put_back_after_a_failure() {
        let node = Node::start(FakeLog::with_log((0..1000).map(revocation)));
        pass(2).await;
        node.log.fail(true);
        node.log.lose_log(900);
        pass(5).await;
        node.log.fail(false);
        pass(10).await;
        assert_eq!(node.log.logged(), 1000);
        assert_eq!(node.counters.snapshot().value(Counter::RevocationsPutBack), 900);
        assert!(!node.is_stale());
        node.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_store_lost_in_silence_is_put_back_within_minutes() {
        let node = Node::start(FakeLog::with_log((0..10).map(revocation)));
        pass(2).await;
        node.log.lose_log(10);
        pass(REREAD_INTERVAL.as_secs() + 5).await;
        assert_eq!(node.log.logged(), 10);
        node.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn putting_back_survives_a_store_that_fails_in_the_midst_of_it() {
        let node = Node::start(FakeLog::with_log((0..500).map(revocation)));
        pass(2).await;
        node.log.fail(true);
        node.log.lose_log(500);
        pass(5).await;
        node.log.fail_after_revocations(100);
        pass(5).await;
        assert!(node.log.logged() < 500);
        node.log.fail(false);
        pass(10).await;
        assert_eq!(node.log.logged(), 500);
        node.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_be_forgotten_is_dropped_and_never_put_back() {
        let node = Node::start(FakeLog::with_log((0..10).map(revocation)));
        pass(2).await;
        assert_eq!(node.replica.len(), 10);
        node.log.lose_log(10);
        // Until the revocations may be forgotten. In steps, for the feed is to notice.
        for _ in 0..100 {
            pass(1_000).await;
        }
        node.log.lose_log(node.log.logged());
        pass(REREAD_INTERVAL.as_secs() + 5).await;
        assert_eq!((node.log.logged(), node.replica.len()), (0, 0));
        node.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_ahead_and_back_makes_nothing_forgotten() {
        let node = Node::start(FakeLog::with_log((0..10).map(revocation)));
        pass(2).await;
        node.clock.set(Timestamp::MAX);
        pass(60).await;
        assert_eq!(node.replica.len(), 10);
        node.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_forgotten_by_a_clock_ahead_is_read_again_when_that_is_put_right() {
        let node = Node::start(FakeLog::with_log((0..10).map(revocation)));
        node.clock.set(Timestamp::from_secs(200_000));
        pass(60).await;
        assert_eq!((node.log.logged(), node.replica.len()), (10, 0));
        node.clock.set(Timestamp::from_secs(1_000));
        pass(2).await;
        assert_eq!(node.replica.len(), 10);
        node.end().await;
    }
}
