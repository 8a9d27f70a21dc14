//! Reads the revocation logs: whole, or from a cursor on, without a gap.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fred::types::Value;
use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::Code;
use super::fleet::{Fleet, Lineage};
use super::keys::Keys;
use super::waker::Wakers;
use super::{StoreError, codec};
use crate::domain::ids::{Partition, Partitions};
use crate::store::{LogBatch, LogCursor, LogPosition};

/// The longest wait; a longer one ends sooner with a heartbeat.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often the logs are asked while no waker would tell.
const UNHEARD_INTERVAL: Duration = Duration::from_millis(50);
/// Entries of one log in one reply.
const PAGE: usize = 500;
/// Pages of one log in a whole read: fifty million revocations.
const PAGES_MAX: u32 = 100_000;
/// A whole read begins anew so often because a primary or a connection was replaced meanwhile: slots move one after the other.
const WHOLE_ATTEMPTS_MAX: u32 = 8;
/// Further pages of one log in a read of news.
const NEWS_PAGES_MAX: u32 = 200;
/// Logs asked together.
const LOGS_AT_ONCE: usize = 16;

/// The reader of the logs.
#[derive(Debug)]
pub(super) struct Feed {
    fleet: Arc<Fleet>,
    keys: Keys,
    wakers: Arc<Wakers>,
    is_started: AtomicBool,
    epoch: Mutex<Epoch>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Counts the moments after which entries may be missing that a reader has seen. Cursors carry the count behind the positions:
/// one of an earlier epoch has to be given up for a whole read.
#[derive(Debug)]
struct Epoch {
    count: u64,
    lineages: Vec<Option<Lineage>>,
}

/// What one log has after a position.
struct Page {
    log: Partition,
    entries: Vec<codec::Logged>,
    to: LogPosition,
    is_full: bool,
}

/// Why a log could not be read on.
enum Unread {
    /// It was not reached. It may have more.
    Silent(StoreError),
    /// It has less than was read before.
    Lost(StoreError),
}

impl Feed {
    pub(super) fn new(fleet: Arc<Fleet>, keys: Keys) -> Self {
        let wakers = Wakers::new(&keys);
        let epoch = Mutex::new(Epoch { count: 1, lineages: Vec::new() });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        Self { fleet, keys, wakers, is_started: AtomicBool::new(false), epoch, stop, tasks }
    }

    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// See [`crate::store::RevocationLog::follow`]. From a cursor on, it fails once a connection or a primary was replaced, or a log went
    /// back: the primary may be another that never had the last entries. Only a whole read goes on from there.
    pub(super) async fn follow(&self, cursor: Option<&LogCursor>, wait: Duration) -> Result<LogBatch, StoreError> {
        let until = Instant::now() + wait.min(WAIT_MAX);
        if let Some(cursor) = cursor {
            return self.tail(cursor, until).await;
        }
        let whole = self.whole().await?;
        let waits = whole.revocations.is_empty() && whole.canaries.is_empty() && whole.unread.is_none() && !wait.is_zero();
        if waits { self.tail(&whole.cursor, until).await } else { Ok(whole) }
    }

    /// What was known of a primary's data holds no more: cursors of before are void.
    pub(super) fn begin_epoch(&self) {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner).count += 1;
        self.wakers.reset();
    }

    async fn whole(&self) -> Result<LogBatch, StoreError> {
        for _ in 0..WHOLE_ATTEMPTS_MAX {
            let epoch = self.present_epoch();
            let batch = self.read_through(epoch).await?;
            if self.present_epoch() == epoch {
                return Ok(batch);
            }
        }
        Err(replaced())
    }

    async fn read_through(&self, epoch: u64) -> Result<LogBatch, StoreError> {
        let mut batch = self.batch_at(&LogCursor::default(), epoch);
        let mut unread = Unheard::default();
        let mut logs: Vec<Partition> = self.keys.partitions().iter().collect();
        for _ in 0..PAGES_MAX {
            logs = self.read(&logs, &mut batch, &mut unread).await?;
            if logs.is_empty() {
                batch.unread = unread.into_cause(usize::from(self.keys.partitions().count()))?;
                return Ok(batch);
            }
        }
        Err(StoreError::Unavailable("the revocation log is too long to be read".into()))
    }

    async fn tail(&self, cursor: &LogCursor, until: Instant) -> Result<LogBatch, StoreError> {
        let epoch = self.present_epoch();
        if epoch_of(cursor, self.keys.partitions()).is_some_and(|of_cursor| of_cursor != epoch) {
            return Err(replaced());
        }
        let mut batch = self.batch_at(cursor, epoch);
        loop {
            let mut wakes = self.wakers.subscribe();
            let logs: Vec<Partition> = self.keys.partitions().iter().collect();
            let mut unread = Unheard::default();
            let mut more = self.read(&logs, &mut batch, &mut unread).await?;
            for _ in 0..NEWS_PAGES_MAX {
                if more.is_empty() {
                    break;
                }
                more = self.read(&more, &mut batch, &mut unread).await?;
            }
            let all_reached = unread.is_empty();
            batch.unread = unread.into_cause(logs.len())?;
            if !more.is_empty() {
                batch.unread = Some("there is more than is read at one time".to_owned());
            }
            if self.present_epoch() != epoch {
                return Err(replaced());
            }
            let has_news = !batch.revocations.is_empty() || !batch.canaries.is_empty();
            if has_news || Instant::now() >= until {
                return Ok(batch);
            }
            self.start_wakers();
            let is_heard = all_reached && self.wakers.are_heard();
            let ask_again_at = if is_heard { until } else { until.min(Instant::now() + UNHEARD_INTERVAL) };
            let woken = tokio::time::timeout_at(ask_again_at, wakes.changed()).await;
            if woken.is_err() && Instant::now() >= until {
                // All was asked when the wait began, which is what a heartbeat says.
                return Ok(batch);
            }
        }
    }

    /// Reads a page of each log into the batch. Returns those that may have more.
    async fn read(&self, logs: &[Partition], batch: &mut LogBatch, unread: &mut Unheard) -> Result<Vec<Partition>, StoreError> {
        let mut more = Vec::new();
        for logs in logs.chunks(LOGS_AT_ONCE) {
            let positions: Vec<LogPosition> = logs.iter().map(|&log| position(&batch.cursor, log)).collect();
            let pages = logs.iter().zip(positions).map(|(&log, from)| self.page(log, from));
            for page in join_all(pages).await {
                match page {
                    Ok(page) => more.extend(append(batch, &page)?),
                    Err(Unread::Silent(error)) => unread.note(error),
                    Err(Unread::Lost(error)) => {
                        self.begin_epoch();
                        return Err(error);
                    }
                }
            }
        }
        Ok(more)
    }

    /// Asks one log what comes after a position, and whether it ever came so far: it may have been emptied, or a primary has
    /// taken over that never had the last entries.
    async fn page(&self, log: Partition, from: LogPosition) -> Result<Page, Unread> {
        let key = self.keys.revocations(log);
        let call = self.fleet.begin(log).await.map_err(Unread::Silent)?;
        let after = format!("({}", codec::stream_id(from));
        let range = vec![key.as_str().into(), after.into(), "+".into(), "COUNT".into(), super::count(PAGE)];
        let info = vec!["STREAM".into(), key.as_str().into()];
        let (range, info) = tokio::join!(call.command("XRANGE", range), call.try_command("XINFO", info));
        let entries = range.and_then(|range| codec::logged(&range)).map_err(Unread::Silent)?;
        let last = match info {
            Ok(info) => last_generated(&info).map_err(Unread::Silent)?,
            // An empty log is still a key: only one that was deleted, or never begun, is none.
            Err(undone) if undone.code() == Some(Code::NoSuchKey) => LogPosition::default(),
            Err(undone) => return Err(Unread::Silent(undone.into())),
        };
        if last < from {
            return Err(Unread::Lost(StoreError::Unavailable("a revocation log is gone, or went back".into())));
        }
        let is_full = entries.len() == PAGE;
        let to = entries.last().map_or(from, |entry| entry.position);
        self.wakers.was_read(log, to);
        Ok(Page { log, entries, to, is_full })
    }

    fn start_wakers(&self) {
        if !self.is_started.swap(true, Ordering::AcqRel) {
            self.wakers.start(&self.fleet, &self.keys, &self.stop, &self.tasks);
        }
    }

    /// An empty batch that begins where the cursor stands.
    fn batch_at(&self, cursor: &LogCursor, epoch: u64) -> LogBatch {
        let mut positions: Vec<LogPosition> = self.keys.partitions().iter().map(|log| position(cursor, log)).collect();
        positions.push(LogPosition { millis: epoch, sequence: 0 });
        LogBatch { revocations: Vec::new(), canaries: Vec::new(), cursor: LogCursor(positions), unread: None }
    }

    /// Begins another epoch if a partition lies elsewhere than when this was last asked, or is reached over another connection.
    fn present_epoch(&self) -> u64 {
        let lineages = self.fleet.lineages();
        let mut epoch = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        if epoch.lineages != lineages {
            epoch.lineages = lineages;
            epoch.count += 1;
            self.wakers.reset();
        }
        epoch.count
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The logs that were not reached, and why the last of them was not.
#[derive(Default)]
struct Unheard {
    count: usize,
    last: Option<StoreError>,
}

impl Unheard {
    fn note(&mut self, error: StoreError) {
        self.count += 1;
        self.last = Some(error);
    }

    const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What the batch says of them; nothing was read at all if it is an error.
    fn into_cause(self, logs: usize) -> Result<Option<String>, StoreError> {
        match self.last {
            Some(error) if self.count == logs => Err(error),
            Some(error) => Ok(Some(format!("{} of {logs} logs not read: {error}", self.count))),
            None => Ok(None),
        }
    }
}

/// Adds what was read of one log to the batch. Returns the log if it may have more.
fn append(batch: &mut LogBatch, page: &Page) -> Result<Option<Partition>, StoreError> {
    for entry in &page.entries {
        entry.read_into(batch)?;
    }
    if let Some(position) = batch.cursor.0.get_mut(usize::from(page.log.0)) {
        *position = page.to;
    }
    Ok(page.is_full.then_some(page.log))
}

fn position(cursor: &LogCursor, log: Partition) -> LogPosition {
    cursor.0.get(usize::from(log.0)).copied().unwrap_or_default()
}

/// The epoch of a cursor that this reader has given out.
fn epoch_of(cursor: &LogCursor, partitions: Partitions) -> Option<u64> {
    cursor.0.get(usize::from(partitions.count())).map(|epoch| epoch.millis)
}

/// Reads `last-generated-id` out of the name-value list of XINFO STREAM.
fn last_generated(info: &Value) -> Result<LogPosition, StoreError> {
    let pairs = codec::array(info)?.chunks_exact(2);
    pairs
        .filter(|pair| codec::text(&pair[0]) == Some("last-generated-id"))
        .find_map(|pair| codec::position(&pair[1]))
        .ok_or_else(|| StoreError::Unreadable("description of a revocation log".into()))
}

fn replaced() -> StoreError {
    StoreError::Unavailable("a connection or a primary was replaced: the revocation log has to be read whole".into())
}
