//! Reads the revocation logs: whole, or from a cursor on, without a gap.

use std::collections::HashMap;
use std::time::Duration;

use fred::types::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::{Call, Link, Replacements};
use super::keys::Keys;
use super::options::{RedisOptions, RedisOptionsError};
use super::{StoreError, codec};
use crate::domain::ids::{Partition, Partitions};
use crate::store::{LogBatch, LogCursor, LogPosition};

/// The longest blocking read; a longer wait ends sooner with a heartbeat.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Entries of one log in one reply.
const PAGE: usize = 500;
/// Pages of one log in a whole read: fifty million revocations.
const PAGES_MAX: u32 = 100_000;
/// Logs asked together.
const LOGS_AT_ONCE: usize = 16;
/// How much longer than its own wait a reader stands in line behind another.
const LOCK_GRACE: Duration = Duration::from_secs(1);
/// How long a busy log may go without a look at whether it lost entries; a quiet one is looked at with every heartbeat.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The reader of the logs, on a connection of its own: its blocking reads hold up no one else.
#[derive(Debug)]
pub(super) struct Feed {
    link: Link,
    keys: Keys,
    /// One reader at a time: a connection can wait for one thing only.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    replacements: Replacements,
    /// Counts the moments after which entries may be missing that a reader has seen. Cursors carry it behind the positions:
    /// one of an earlier epoch has to be given up for a whole read.
    epoch: u64,
    /// A reader that was dropped while waiting leaves the connection busy until then.
    busy_until: Option<Instant>,
    looked_at: Option<Instant>,
}

impl Feed {
    pub(super) fn open(options: &RedisOptions, keys: Keys) -> Result<Self, RedisOptionsError> {
        let link = Link::open(options)?;
        let replacements = link.replacements();
        let state = State { replacements, epoch: 1, busy_until: None, looked_at: None };
        Ok(Self { link, keys, state: Mutex::new(state) })
    }

    pub(super) async fn connected_within(&self, patience: Duration) {
        if self.link.connected_within(patience).await {
            // The first connection replaced nothing.
            self.state.lock().await.replacements.any();
        }
    }

    pub(super) async fn close(&self) {
        self.link.close().await;
    }

    /// See [`crate::store::Store::follow`]. Fails once the connection was replaced or a log went back: the primary may be
    /// another that never had the last entries. Only a whole read goes on from there.
    pub(super) async fn follow(&self, cursor: Option<&LogCursor>, wait: Duration) -> Result<LogBatch, StoreError> {
        let until = Instant::now() + wait.min(WAIT_MAX);
        let mut state = tokio::time::timeout_at(until + LOCK_GRACE, self.state.lock())
            .await
            .map_err(|_| StoreError::Unavailable("another reader follows the log".into()))?;
        let wait = until.saturating_duration_since(Instant::now());
        if let Some(cursor) = cursor {
            return self.tail(&mut state, cursor, wait).await;
        }
        let whole = self.whole(&mut state).await?;
        let waits = whole.revocations.is_empty() && whole.canaries.is_empty() && !wait.is_zero();
        if waits { self.tail(&mut state, &whole.cursor, wait).await } else { Ok(whole) }
    }

    async fn whole(&self, state: &mut State) -> Result<LogBatch, StoreError> {
        let epoch = state.present_epoch();
        let partitions: Vec<Partition> = self.keys.partitions().iter().collect();
        let mut batch = self.batch_at(&LogCursor::default(), epoch);
        for partitions in partitions.chunks(LOGS_AT_ONCE) {
            let mut unread = partitions.to_vec();
            for _ in 0..PAGES_MAX {
                unread = self.pages(state, unread, &mut batch).await?;
                if unread.is_empty() {
                    break;
                }
            }
            if !unread.is_empty() {
                return Err(StoreError::Unavailable("the revocation log is too long to be read".into()));
            }
        }
        if state.present_epoch() == epoch { Ok(batch) } else { Err(replaced()) }
    }

    /// Reads the next page of each log; returns those that may have more.
    async fn pages(&self, state: &mut State, logs: Vec<Partition>, batch: &mut LogBatch) -> Result<Vec<Partition>, StoreError> {
        let call = self.begin(state, Duration::ZERO).await?;
        let ranges = logs.iter().map(|&log| {
            let key = self.keys.revocations(log);
            let from = format!("({}", codec::stream_id(position(&batch.cursor, log)));
            let args = vec![key.as_str().into(), from.into(), "+".into(), "COUNT".into(), super::count(PAGE)];
            ("XRANGE", key, args)
        });
        let pages = call.together(ranges.collect()).await?;
        let mut unread = Vec::new();
        for (log, page) in logs.into_iter().zip(&pages) {
            if append(batch, log, page)? == PAGE {
                unread.push(log);
            }
        }
        Ok(unread)
    }

    async fn tail(&self, state: &mut State, cursor: &LogCursor, wait: Duration) -> Result<LogBatch, StoreError> {
        let epoch = state.present_epoch();
        if epoch_of(cursor, self.keys.partitions()).is_some_and(|of_cursor| of_cursor != epoch) {
            return Err(replaced());
        }
        let mut batch = self.batch_at(cursor, epoch);
        self.wait_for_entries(state, &mut batch, wait).await?;
        let quiet = batch.revocations.is_empty() && batch.canaries.is_empty();
        let overdue = state.looked_at.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL);
        if quiet || overdue {
            self.look_for_losses(state, &batch.cursor).await?;
        }
        if state.present_epoch() == epoch { Ok(batch) } else { Err(replaced()) }
    }

    /// An empty batch that begins where the cursor stands.
    fn batch_at(&self, cursor: &LogCursor, epoch: u64) -> LogBatch {
        let mut positions: Vec<LogPosition> = self.keys.partitions().iter().map(|log| position(cursor, log)).collect();
        positions.push(LogPosition { millis: epoch, sequence: 0 });
        LogBatch { revocations: Vec::new(), canaries: Vec::new(), cursor: LogCursor(positions) }
    }

    /// One blocking read over all logs. They lie on one server here; where they do not, each slot needs a read of its own.
    async fn wait_for_entries(&self, state: &mut State, batch: &mut LogBatch, wait: Duration) -> Result<(), StoreError> {
        let logs: HashMap<String, Partition> =
            self.keys.partitions().iter().map(|log| (self.keys.revocations(log), log)).collect();
        let mut args: Vec<Value> = vec!["COUNT".into(), super::count(PAGE)];
        let block = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        if block > 0 {
            args.extend(["BLOCK".into(), block.into()]);
        }
        args.push("STREAMS".into());
        args.extend(logs.keys().map(|key| Value::from(key.as_str())));
        args.extend(logs.values().map(|&log| Value::from(codec::stream_id(position(&batch.cursor, log)))));

        let call = self.begin(state, wait).await?;
        state.busy_until = Some(Instant::now() + wait);
        let some_key = logs.keys().next().map(String::as_str).unwrap_or_default();
        let reply = call.blocking("XREAD", some_key, args).await;
        state.busy_until = None;
        for stream in codec::array(&reply?)? {
            let [key, entries] = codec::array(stream)? else {
                return Err(StoreError::Unreadable("reply of a log read".into()));
            };
            let log = codec::text(key).and_then(|key| logs.get(key)).copied();
            append(batch, log.ok_or_else(|| StoreError::Unreadable("reply of a log read".into()))?, entries)?;
        }
        Ok(())
    }

    /// A log whose last entry lies before the cursor has lost what the cursor's reader has seen: it was emptied, or a
    /// primary took over that never had it.
    async fn look_for_losses(&self, state: &mut State, cursor: &LogCursor) -> Result<(), StoreError> {
        let begun: Vec<Partition> =
            self.keys.partitions().iter().filter(|&log| position(cursor, log) != LogPosition::default()).collect();
        for logs in begun.chunks(LOGS_AT_ONCE) {
            let call = self.begin(state, Duration::ZERO).await?;
            let looks = logs.iter().map(|&log| {
                let key = self.keys.revocations(log);
                let args = vec!["STREAM".into(), key.as_str().into()];
                ("XINFO", key, args)
            });
            let infos = match call.together(looks.collect()).await {
                Ok(infos) => infos,
                // An empty log is still a key: only one that was deleted is none.
                Err(StoreError::Unavailable(cause)) if cause.contains("no such key") => {
                    state.epoch += 1;
                    return Err(StoreError::Unavailable("a revocation log is gone".into()));
                }
                Err(error) => return Err(error),
            };
            for (&log, info) in logs.iter().zip(&infos) {
                if last_generated(info)? < position(cursor, log) {
                    state.epoch += 1;
                    return Err(StoreError::Unavailable("a revocation log went back".into()));
                }
            }
        }
        state.looked_at = Some(Instant::now());
        Ok(())
    }

    /// Begins a call, allowing for what a dropped reader has left on the connection.
    async fn begin(&self, state: &State, wait: Duration) -> Result<Call<'_>, StoreError> {
        let busy = state.busy_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        self.link.begin_within(wait + busy).await
    }
}

impl State {
    fn present_epoch(&mut self) -> u64 {
        self.epoch += u64::from(self.replacements.any());
        self.epoch
    }
}

/// Adds what was read of one log to the batch. Returns how much it was.
fn append(batch: &mut LogBatch, log: Partition, entries: &Value) -> Result<usize, StoreError> {
    let entries = codec::logged(entries)?;
    for entry in &entries {
        entry.read_into(batch)?;
    }
    if let (Some(last), Some(position)) = (entries.last(), batch.cursor.0.get_mut(usize::from(log.0))) {
        *position = last.position;
    }
    Ok(entries.len())
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
    StoreError::Unavailable("the connection was replaced: the revocation log has to be read whole".into())
}
