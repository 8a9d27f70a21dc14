//! Tells at once when a revocation log has grown, so that its reader need not ask for ever.
//!
//! A waker says that there is something, never what, and its silence says nothing: the reader asks the logs themselves, at every
//! heartbeat too. So all that a broken waker costs is time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fred::types::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::codec;
use super::fleet::{Fleet, Node};
use super::keys::Keys;
use super::link::{Command, Link};
use super::supervise::supervise;
use crate::domain::ids::Partition;
use crate::store::{LogPosition, StoreError};

/// How long a server holds back its response while the logs do not grow.
const BLOCK: Duration = Duration::from_millis(500);
/// After a failure, before the next try.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a waker waits for the reader to read what it woke it for, before it wakes it again.
const TAKEN_WITHIN: Duration = Duration::from_millis(250);

/// What wakers and the reader share.
#[derive(Debug)]
pub(super) struct Wakers {
    /// By partition.
    logs: Vec<Log>,
    /// How often there was something.
    wakes: watch::Sender<u64>,
    taken: Notify,
}

#[derive(Debug, Default)]
struct Log {
    /// What the reader has read.
    read: Mutex<LogPosition>,
    /// Whether a server was asked to tell.
    is_listened_to: AtomicBool,
}

impl Wakers {
    pub(super) fn new(keys: &Keys) -> Arc<Self> {
        let logs = keys.partitions().iter().map(|_| Log::default()).collect();
        Arc::new(Self { logs, wakes: watch::Sender::new(0), taken: Notify::new() })
    }

    /// Starts to listen. One server tells of all its logs over one connection; but a Cluster takes only keys of one slot in a
    /// blocking read, so there each log has its own.
    pub(super) fn start(self: &Arc<Self>, fleet: &Arc<Fleet>, keys: &Keys, stop: &CancellationToken, tasks: &TaskTracker) {
        let all: Vec<Partition> = keys.partitions().iter().collect();
        let group_size = if fleet.is_cluster() { 1 } else { all.len() };
        for group in all.chunks(group_size) {
            let waker = Waker { wakers: Arc::clone(self), fleet: Arc::clone(fleet), keys: keys.clone(), group: group.to_vec() };
            let stop = stop.clone();
            tasks.spawn(async move { stop.run_until_cancelled(supervise("redis waker", || waker.run())).await });
        }
    }

    /// Told of every wake from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.wakes.subscribe()
    }

    /// Whether every log is listened to.
    pub(super) fn are_heard(&self) -> bool {
        self.logs.iter().all(|log| log.is_listened_to.load(Ordering::Acquire))
    }

    /// The reader has read this log so far.
    pub(super) fn was_read(&self, log: Partition, to: LogPosition) {
        if let Some(log) = self.logs.get(usize::from(log.0)) {
            let mut read = log.read.lock().unwrap_or_else(PoisonError::into_inner);
            *read = to.max(*read);
        }
        self.taken.notify_waiters();
    }

    /// The reader starts over: the log may have lost what was read.
    pub(super) fn reset(&self) {
        for log in &self.logs {
            *log.read.lock().unwrap_or_else(PoisonError::into_inner) = LogPosition::default();
        }
    }
}

/// Listens to some logs that lie on one server.
struct Waker {
    wakers: Arc<Wakers>,
    fleet: Arc<Fleet>,
    keys: Keys,
    group: Vec<Partition>,
}

impl Waker {
    async fn run(&self) {
        let mut heard: Option<(Arc<Node>, Link)> = None;
        loop {
            let owner = self.group.first().and_then(|&log| self.fleet.owner(log).ok()).filter(|owner| owner.link.is_well());
            let Some(owner) = owner else {
                self.set_listening(false);
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (_, link) = match heard.take() {
                Some((node, link)) if Arc::ptr_eq(&node, &owner) => heard.insert((node, link)),
                Some(_) | None => {
                    let link = self.fleet.another_link(&owner);
                    link.settled().await;
                    heard.insert((owner, link))
                }
            };
            match self.wait_for_growth(link).await {
                Ok(grown) if grown.is_empty() => {}
                Ok(grown) => self.tell(&grown).await,
                Err(_) => {
                    // Also while the slot is being moved: the reader asks more often then, and is sent to the right place.
                    self.set_listening(false);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// One blocking read. Returns the logs that have grown, and where they end by now, or begin to.
    async fn wait_for_growth(&self, link: &Link) -> Result<Vec<(Partition, LogPosition)>, StoreError> {
        let names: HashMap<String, Partition> = self.group.iter().map(|&log| (self.keys.revocations(log), log)).collect();
        let block = i64::try_from(BLOCK.as_millis()).unwrap_or(i64::MAX);
        let mut args: Vec<Value> = vec!["COUNT".into(), 1.into(), "BLOCK".into(), block.into(), "STREAMS".into()];
        args.extend(names.keys().map(|name| Value::from(name.as_str())));
        args.extend(names.values().map(|&log| Value::from(codec::stream_id(self.read_to(log)))));
        let deadline = Instant::now() + BLOCK + self.fleet.call_timeout();
        link.admit()?;
        self.set_listening(true);
        let command = Command { name: "XREAD", args, blocking: true };
        let reply = link.send(command, deadline).await.map_err(|failure| link.store_error(&failure))?;
        let mut grown = Vec::new();
        for stream in codec::array(&reply)? {
            let [name, entries] = codec::array(stream)? else { continue };
            let log = codec::text(name).and_then(|name| names.get(name)).copied();
            let last = codec::logged(entries)?.last().map(|entry| entry.position);
            grown.extend(log.zip(last));
        }
        Ok(grown)
    }

    /// Wakes the reader, and waits until it has read what it was woken for.
    async fn tell(&self, grown: &[(Partition, LogPosition)]) {
        let taken = self.wakers.taken.notified();
        tokio::pin!(taken);
        taken.as_mut().enable();
        self.wakers.wakes.send_modify(|wakes| *wakes = wakes.wrapping_add(1));
        let until = Instant::now() + TAKEN_WITHIN;
        while grown.iter().any(|&(log, to)| self.read_to(log) < to) {
            if tokio::time::timeout_at(until, taken.as_mut()).await.is_err() {
                return;
            }
            taken.set(self.wakers.taken.notified());
            taken.as_mut().enable();
        }
    }

    fn read_to(&self, log: Partition) -> LogPosition {
        let log = self.wakers.logs.get(usize::from(log.0));
        log.map(|log| *log.read.lock().unwrap_or_else(PoisonError::into_inner)).unwrap_or_default()
    }

    fn set_listening(&self, listening: bool) {
        for log in &self.group {
            if let Some(log) = self.wakers.logs.get(usize::from(log.0)) {
                log.is_listened_to.store(listening, Ordering::Release);
            }
        }
    }
}
