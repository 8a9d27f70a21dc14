//! Tells the store which generations were seen in use, in batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::backoff::Backoff;
use super::rules::LiveRules;
use crate::crypto::entropy::Entropy;
use crate::domain::ids::{Generation, SessionId};
use crate::domain::stats::{Counter, Counters};
use crate::store::{Acknowledgement, SessionStore};

/// How many may wait for the task; more are dropped.
const QUEUE_MAX: usize = 16_384;

/// How many are written at once.
const BATCH_MAX: usize = 512;

/// How often a batch is tried. What is dropped after that is told again by a later cache miss of any node.
const ATTEMPTS_MAX: u32 = 5;

const RETRY_PAUSE: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// The two ends of the queue: one for whoever sees tokens, one for the task.
#[must_use]
pub fn queue(counters: Arc<Counters>) -> (AcknowledgementSender, AcknowledgementQueue) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    (AcknowledgementSender { sender, counters }, AcknowledgementQueue(Mutex::new(receiver)))
}

/// Notes generations from any thread, without ever waiting.
#[derive(Clone, Debug)]
pub struct AcknowledgementSender {
    sender: mpsc::Sender<Acknowledgement>,
    counters: Arc<Counters>,
}

impl AcknowledgementSender {
    /// Dropped and counted when the queue is full: the next cache miss of the token tells it again.
    pub fn note(&self, session: SessionId, generation: Generation) {
        if self.sender.try_send(Acknowledgement { session, generation }).is_err() {
            self.counters.add(Counter::AcknowledgementsDropped, 1);
        }
    }
}

/// What the task reads. Outlives the task, should it panic.
#[derive(Debug)]
pub struct AcknowledgementQueue(Mutex<mpsc::Receiver<Acknowledgement>>);

/// Gathers acknowledgements for a short while, drops repetitions, and writes them to the store.
pub struct Acknowledgements {
    pub queue: AcknowledgementQueue,
    pub store: Arc<dyn SessionStore>,
    pub entropy: Arc<dyn Entropy>,
    pub counters: Arc<Counters>,
    pub rules: LiveRules,
}

/// The latest generation of each session: earlier ones would change nothing any more.
type Batch = HashMap<SessionId, Generation>;

impl Acknowledgements {
    /// Returns when all senders are gone, or when `stop` is cancelled and what was queued is written.
    pub async fn run(&self, stop: CancellationToken) {
        let mut queue = self.queue.0.lock().await;
        loop {
            let Some(first) = stop.run_until_cancelled(queue.recv()).await else { break };
            let Some(first) = first else { return };
            let mut batch = Batch::new();
            add(&mut batch, first);
            let gathering = async {
                while batch.len() < BATCH_MAX
                    && let Some(next) = queue.recv().await
                {
                    add(&mut batch, next);
                }
            };
            // Either end is fine: time is up, the batch is full, or the process stops.
            let _ = tokio::time::timeout(self.rules.now().acknowledge_interval, stop.run_until_cancelled(gathering)).await;
            self.write(&batch, &stop).await;
        }
        queue.close();
        loop {
            let mut batch = Batch::new();
            while batch.len() < BATCH_MAX
                && let Ok(next) = queue.try_recv()
            {
                add(&mut batch, next);
            }
            if batch.is_empty() || !self.write(&batch, &stop).await {
                break;
            }
        }
    }

    /// Whether the store took the batch. Once the process stops, it is tried once.
    async fn write(&self, batch: &Batch, stop: &CancellationToken) -> bool {
        let seen: Vec<Acknowledgement> =
            batch.iter().map(|(session, generation)| Acknowledgement { session: *session, generation: *generation }).collect();
        let count = u64::try_from(seen.len()).unwrap_or(u64::MAX);
        let mut backoff = Backoff::new(RETRY_PAUSE, RETRY_PAUSE_MAX);
        for attempt in 1..=ATTEMPTS_MAX {
            let Err(error) = self.store.acknowledge(&seen).await else {
                self.counters.add(Counter::AcknowledgementsWritten, count);
                return true;
            };
            self.counters.add(Counter::StoreErrors, 1);
            let is_last = attempt == ATTEMPTS_MAX || stop.is_cancelled();
            if is_last {
                self.counters.add(Counter::AcknowledgementsDropped, count);
                warn!(%error, count, "acknowledgements dropped");
                return false;
            }
            // When the process stops meanwhile, the next attempt is the last.
            let _ = stop.run_until_cancelled(tokio::time::sleep(backoff.next(&*self.entropy))).await;
        }
        false
    }
}

impl std::fmt::Debug for Acknowledgements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acknowledgements").field("store", &self.store).field("rules", &self.rules).finish_non_exhaustive()
    }
}

fn add(batch: &mut Batch, seen: Acknowledgement) {
    let latest = batch.entry(seen.session).or_insert(seen.generation);
    *latest = seen.generation.max(*latest);
}

#[cfg(test)]
mod tests {
    use super::super::fake_log::session;
    use super::super::rules::tests::rules;
    use super::*;
    use crate::crypto::entropy::SystemEntropy;
    use crate::domain::ids::Partitions;
    use crate::sessions::tests::{Fault, TestStore};

    fn task(store: &Arc<TestStore>) -> (AcknowledgementSender, Arc<Acknowledgements>, Arc<Counters>) {
        let counters = Arc::new(Counters::new());
        let (sender, queue) = queue(Arc::clone(&counters));
        let task = Acknowledgements {
            queue,
            store: Arc::<TestStore>::clone(store),
            entropy: Arc::new(SystemEntropy::new()),
            counters: Arc::clone(&counters),
            rules: LiveRules::fixed(rules()),
        };
        (sender, Arc::new(task), counters)
    }

    fn start(task: &Arc<Acknowledgements>, stop: &CancellationToken) -> tokio::task::JoinHandle<()> {
        let (task, stop) = (Arc::clone(task), stop.clone());
        tokio::runtime::Handle::current().spawn(async move { task.run(stop).await })
    }

    #[tokio::test(start_paused = true)]
    async fn repetitions_are_written_once_and_the_latest_generation_wins() {
        let store = Arc::new(TestStore::new(Partitions::ONE));
        let (sender, task, counters) = task(&store);
        let running = start(&task, &CancellationToken::new());
        for generation in [1, 3, 2, 3] {
            sender.note(session(1), Generation(generation));
        }
        sender.note(session(2), Generation(7));
        tokio::time::sleep(Duration::from_millis(150)).await;
        let mut written = store.acknowledged();
        written.sort_by_key(|seen| seen.session);
        let seen = |n, generation| Acknowledgement { session: session(n), generation: Generation(generation) };
        assert_eq!(written, [seen(1, 3), seen(2, 7)]);
        assert_eq!(counters.snapshot().value(Counter::AcknowledgementsWritten), 2);
        drop(sender);
        running.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_for_a_moment_gets_them_later() {
        let store = Arc::new(TestStore::new(Partitions::ONE));
        let (sender, task, counters) = task(&store);
        let running = start(&task, &CancellationToken::new());
        store.fail(Fault::Refuses);
        sender.note(session(1), Generation(1));
        tokio::time::sleep(Duration::from_millis(250)).await;
        store.fail(None);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(store.acknowledged().len(), 1);
        assert_eq!(counters.snapshot().value(Counter::AcknowledgementsDropped), 0);
        drop(sender);
        running.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_is_dropped_and_counted() {
        let store = Arc::new(TestStore::new(Partitions::ONE));
        let (sender, task, counters) = task(&store);
        store.fail(Fault::Refuses);
        for n in 0..QUEUE_MAX + 5 {
            sender.note(session(u64::try_from(n).unwrap()), Generation(1));
        }
        assert_eq!(counters.snapshot().value(Counter::AcknowledgementsDropped), 5);
        let running = start(&task, &CancellationToken::new());
        drop(sender);
        running.await.unwrap();
        let dropped = u64::try_from(QUEUE_MAX + 5).unwrap();
        assert_eq!(counters.snapshot().value(Counter::AcknowledgementsDropped), dropped, "given up after a bounded time");
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_writes_what_is_queued() {
        let store = Arc::new(TestStore::new(Partitions::ONE));
        let (sender, task, _) = task(&store);
        for n in 0..2000 {
            sender.note(session(n), Generation(1));
        }
        let stop = CancellationToken::new();
        stop.cancel();
        start(&task, &stop).await.unwrap();
        assert_eq!(store.acknowledged().len(), 2000);
    }
}
