//! The state behind its lock, and the wait for news of the log.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::ops::RangeInclusive;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use foldhash::quality::RandomState;
use tokio::sync::watch;

use super::board::Board;
use super::draft::Draft;
use super::state::{Changes, Sequence, State, last_end};
use super::tickets::Tickets;
use crate::domain::ids::{Partitions, SessionId, Subject};
use crate::domain::imported::ImportedDigest;
use crate::domain::node::{Canary, Node, NodeId};
use crate::domain::page::Page;
use crate::domain::revocation::Revocation;
use crate::domain::session::Session;
use crate::domain::stats::{Day, Gauge, Readings};
use crate::domain::time::Timestamp;
use crate::store::{LogBatch, LogCursor, LogPosition, SessionPage, Statistics, StoreError, Stored};

/// How many log entries are copied under one hold of the lock.
const LOG_STEP_MAX: u64 = 4096;

/// How many sessions are looked at under one hold of the lock.
const MEASURE_STEP_MAX: usize = 4096;

/// The state for any number of readers and one writer at a time.
///
/// One log serves all partitions: a cursor says the same place for each of them. Canaries are counted beside it, in the place of
/// a position's milliseconds.
#[derive(Debug)]
pub(in crate::store) struct Shared {
    partitions: Partitions,
    state: RwLock<State>,
    head: watch::Sender<Head>,
    board: Board,
    tickets: Tickets,
}

/// What readers may see of the log.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// The place of the newest entry.
    newest: Sequence,
    /// How many canaries there have been.
    canaries: u64,
}

impl Shared {
    pub(in crate::store) fn new(partitions: Partitions, state: State) -> Self {
        let head = watch::Sender::new(Head { newest: state.head(), canaries: 0 });
        Self { partitions, state: RwLock::new(state), head, board: Board::default(), tickets: Tickets::default() }
    }

    pub(in crate::store) const fn partitions(&self) -> Partitions {
        self.partitions
    }

    pub(super) const fn tickets(&self) -> &Tickets {
        &self.tickets
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

    pub(in crate::store) fn page_of(&self, subject: &Subject, page: Page, now: Timestamp) -> SessionPage {
        self.read(|state| {
            let records = state.sessions_before(subject, page.after);
            let mut live = records.map(|record| &record.session).filter(|session| session.is_live(now));
            let sessions: Vec<Session> = live.by_ref().take(page.limit).cloned().collect();
            let next = sessions.last().map(|session| session.id).filter(|_| live.next().is_some());
            SessionPage { sessions, next }
        })
    }

    pub(in crate::store) fn imported(&self, digests: &[ImportedDigest]) -> Vec<Option<SessionId>> {
        self.read(|state| digests.iter().map(|digest| state.imported(digest).map(|token| token.session)).collect())
    }

    pub(in crate::store) async fn follow(&self, cursor: Option<&LogCursor>, wait: Duration) -> Result<LogBatch, StoreError> {
        let mut head = self.head.subscribe();
        let after = self.place(cursor);
        // A cursor beyond the end is of another log: this one was begun anew, and is read whole.
        let known = *head.borrow();
        let after = Head {
            newest: if after.newest > known.newest { 0 } else { after.newest },
            canaries: if after.canaries > known.canaries { 0 } else { after.canaries },
        };
        let has_news = |head: &Head| head.newest > after.newest || head.canaries > after.canaries;
        let waited = tokio::time::timeout(wait, head.wait_for(has_news)).await;
        let head = match waited {
            Ok(Ok(head)) => *head,
            Ok(Err(_)) => return Err(StoreError::Unavailable("the store is closed".to_owned())),
            Err(_elapsed) => after,
        };
        Ok(LogBatch {
            revocations: self.log(after.newest.saturating_add(1)..=head.newest),
            canaries: self.board.canaries(after.canaries, head.canaries),
            cursor: self.cursor(head),
            unread: None,
        })
    }

    /// Sessions created before the moment, in no particular order.
    pub(in crate::store) fn created_before(&self, moment: Timestamp) -> Vec<SessionId> {
        self.read(|state| state.ids().filter(|id| id.created_at() < moment).collect())
    }

    /// Behind every entry that readers may see by now.
    pub(in crate::store) fn mark(&self, canary: Canary) {
        self.head.send_modify(|head| {
            head.canaries += 1;
            self.board.mark(head.canaries, canary);
        });
    }

    pub(in crate::store) fn register(&self, node: &Node, silence_max: Duration) -> u64 {
        self.board.register(node, silence_max)
    }

    pub(in crate::store) fn unregister(&self, node: NodeId) {
        self.board.unregister(node);
    }

    pub(in crate::store) fn nodes(&self) -> Vec<Node> {
        self.board.nodes()
    }

    pub(in crate::store) fn give_receipt(&self, canary: Canary, node: NodeId) {
        self.board.give_receipt(canary, node);
    }

    pub(in crate::store) fn receipts(&self, canary: Canary) -> Vec<NodeId> {
        self.board.receipts(canary)
    }

    pub(in crate::store) fn statistics(&self, days: RangeInclusive<Day>) -> Statistics {
        self.read(|state| state.books.statistics(days))
    }

    /// Sessions and their subjects that live at `now`, and the log. In steps: writers get their turn in between.
    pub(in crate::store) async fn measure(&self, now: Timestamp) -> Readings {
        let hasher = RandomState::default();
        let (mut sessions, mut subjects) = (0, HashSet::<u64>::new());
        let mut place = last_end(now);
        loop {
            let looked_at = self.read(|state| {
                let step = state.ending_after(place).take(MEASURE_STEP_MAX);
                step.map(|(key, subject)| {
                    place = key;
                    subjects.insert(hasher.hash_one(subject));
                })
                .count()
            });
            sessions += looked_at;
            if looked_at < MEASURE_STEP_MAX {
                break;
            }
            tokio::task::yield_now().await;
        }
        let log_entries = self.read(State::log_len);
        let readings = [(Gauge::Sessions, sessions), (Gauge::Subjects, subjects.len()), (Gauge::LogEntries, log_entries)];
        readings.into_iter().map(|(gauge, value)| (gauge, value as u64)).collect()
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
        self.head.send_if_modified(|head| std::mem::replace(&mut head.newest, newest) != newest);
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

    fn cursor(&self, head: Head) -> LogCursor {
        let position = LogPosition { millis: head.canaries, sequence: head.newest };
        LogCursor(vec![position; usize::from(self.partitions.count())])
    }

    /// How far a reader is; 0 when it has read nothing or its cursor is not one of ours.
    fn place(&self, cursor: Option<&LogCursor>) -> Head {
        let positions = cursor.map(|cursor| cursor.0.as_slice()).unwrap_or_default();
        let is_ours = positions.len() == usize::from(self.partitions.count());
        let first = |part: fn(&LogPosition) -> u64| positions.iter().map(part).min().filter(|_| is_ours).unwrap_or(0);
        Head { newest: first(|position| position.sequence), canaries: first(|position| position.millis) }
    }
}
