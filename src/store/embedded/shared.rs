//! The state behind its lock, and the wait for news of the log.

use std::ops::RangeInclusive;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use super::draft::Draft;
use super::state::{Changes, Sequence, State};
use crate::domain::ids::{Partitions, SessionId, Subject};
use crate::domain::revocation::Revocation;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::{LogBatch, LogCursor, LogPosition, StoreError, Stored};

/// How many log entries are copied under one hold of the lock.
const LOG_STEP_MAX: u64 = 4096;

/// The state for any number of readers and one writer at a time.
///
/// One log serves all partitions: a cursor says the same place for each of them.
#[derive(Debug)]
pub(in crate::store) struct Shared {
    partitions: Partitions,
    state: RwLock<State>,
    /// The place of the newest log entry that readers may see.
    head: watch::Sender<Sequence>,
}

impl Shared {
    pub(in crate::store) fn new(partitions: Partitions, state: State) -> Self {
        let head = watch::Sender::new(state.head());
        Self { partitions, state: RwLock::new(state), head }
    }

    pub(in crate::store) const fn partitions(&self) -> Partitions {
        self.partitions
    }

    /// Prepares and applies one change in memory alone.
    pub(in crate::store) fn change<R>(&self, plan: impl FnOnce(&mut Draft<'_>) -> R) -> R {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut draft = Draft::new(&state);
        let result = plan(&mut draft);
        let changes = draft.into_changes();
        state.apply(changes);
        self.announce(state.head());
        result
    }

    pub(in crate::store) fn load(&self, id: SessionId) -> Option<Stored> {
        self.read(|state| state.session(id).map(|record| Stored::clone(record)))
    }

    pub(in crate::store) fn sessions_of(&self, subject: &Subject, now: Timestamp) -> Vec<Session> {
        let is_live = |session: &&Session| session.is_live(now);
        self.read(|state| state.sessions_of(subject).map(|record| &record.session).filter(is_live).cloned().collect())
    }

    pub(in crate::store) async fn follow(&self, cursor: Option<&LogCursor>, wait: Duration) -> Result<LogBatch, StoreError> {
        let mut head = self.head.subscribe();
        let after = self.place(cursor);
        // A cursor beyond the end is of another log: this one was begun anew, and is read whole.
        let after = if after > *head.borrow() { 0 } else { after };
        let waited = tokio::time::timeout(wait, head.wait_for(|&head| head > after)).await;
        let head = match waited {
            Ok(Ok(head)) => *head,
            Ok(Err(_)) => return Err(StoreError::Unavailable("the store is closed".to_owned())),
            Err(_elapsed) => after,
        };
        Ok(LogBatch { revocations: self.log(after.saturating_add(1)..=head), cursor: self.cursor(head) })
    }

    pub(super) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes changes visible. They must have been drafted against the state as it is.
    pub(super) fn apply(&self, changes: Changes) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.apply(changes);
        self.announce(state.head());
    }

    /// Puts another state in place of this one.
    pub(super) fn replace(&self, new: State) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *state, new);
        self.announce(state.head());
        // Dropping a large state takes its time: not while readers wait.
        drop(state);
        drop(old);
    }

    fn announce(&self, newest: Sequence) {
        self.head.send_if_modified(|head| std::mem::replace(head, newest) != newest);
    }

    fn log(&self, span: RangeInclusive<Sequence>) -> Vec<Revocation> {
        let (mut from, to) = span.into_inner();
        let mut revocations = Vec::new();
        while from <= to {
            let step_end = to.min(from.saturating_add(LOG_STEP_MAX - 1));
            self.read(|state| revocations.extend(state.log(from..=step_end).map(|(_, revocation)| revocation.clone())));
            from = step_end + 1;
        }
        revocations
    }

    fn cursor(&self, head: Sequence) -> LogCursor {
        LogCursor(vec![LogPosition { millis: 0, sequence: head }; usize::from(self.partitions.count())])
    }

    /// How far a reader is; 0 when it has read nothing or its cursor is not one of ours.
    fn place(&self, cursor: Option<&LogCursor>) -> Sequence {
        cursor
            .filter(|cursor| cursor.0.len() == usize::from(self.partitions.count()))
            .and_then(|cursor| cursor.0.iter().map(|position| position.sequence).min())
            .unwrap_or(0)
    }
}
