//! Sessions and the revocation log in memory, with their indexes: what every node of a store without a server reads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

use super::books::{BookChanges, Books};
use crate::domain::ids::{SessionId, Subject};
use crate::domain::imported::ImportedDigest;
use crate::domain::revocation::Revocation;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::Stored;

/// A place in the log. The first entry has 1; numbers are never used again.
pub(in crate::store) type Sequence = u64;

/// A session's place in the order of their ends.
pub(super) type EndKey = (Timestamp, SessionId);

/// An imported token: the session that it opened, and when the store may forget that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) struct ImportedToken {
    pub(in crate::store) session: SessionId,
    pub(in crate::store) forget_at: Timestamp,
}

/// Everything that the store holds. Changed by [`State::apply`] alone, one batch of [`Changes`] at a time.
///
/// Session ids of one subject are ordered by creation, because they begin with their partition and their moment of creation.
#[derive(Debug)]
pub(in crate::store) struct State {
    sessions: HashMap<SessionId, Arc<Stored>>,
    by_subject: HashMap<Subject, BTreeSet<SessionId>>,
    by_end: BTreeSet<(Timestamp, SessionId)>,
    log: BTreeMap<Sequence, Revocation>,
    by_forgetting: BTreeSet<(Timestamp, Sequence)>,
    next_sequence: Sequence,
    imported: HashMap<ImportedDigest, ImportedToken>,
    imported_by_forgetting: BTreeSet<(Timestamp, ImportedDigest)>,
    pub(super) books: Books,
}

/// What a batch does to the state, and to the file behind it. Later writes to the same key have replaced earlier ones.
#[derive(Debug, Default)]
pub(in crate::store) struct Changes {
    /// `None`: the record goes.
    pub(super) sessions: HashMap<SessionId, Option<Arc<Stored>>>,
    /// In the order of their sequence, without gaps, beginning with the state's next.
    pub(super) logged: Vec<(Sequence, Revocation)>,
    pub(super) forgotten: BTreeSet<Sequence>,
    /// `None`: it is forgotten.
    pub(super) imported: HashMap<ImportedDigest, Option<ImportedToken>>,
    pub(super) books: BookChanges,
}

impl Changes {
    /// Whether the file stays as it is.
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
            && self.logged.is_empty()
            && self.forgotten.is_empty()
            && self.imported.is_empty()
            && self.books.is_empty()
    }
}

impl State {
    pub(in crate::store) fn new() -> Self {
        Self {
            sessions: HashMap::new(),
            by_subject: HashMap::new(),
            by_end: BTreeSet::new(),
            log: BTreeMap::new(),
            by_forgetting: BTreeSet::new(),
            next_sequence: 1,
            imported: HashMap::new(),
            imported_by_forgetting: BTreeSet::new(),
            books: Books::default(),
        }
    }

    pub(super) fn session(&self, id: SessionId) -> Option<&Arc<Stored>> {
        self.sessions.get(&id)
    }

    /// The subject's sessions, expired ones among them, oldest first.
    pub(super) fn sessions_of(&self, subject: &Subject) -> impl Iterator<Item = &Arc<Stored>> {
        self.by_subject.get(subject).into_iter().flatten().filter_map(|id| self.sessions.get(id))
    }

    /// Those of them that were created before `after`, expired ones among them, newest first.
    pub(super) fn sessions_before(&self, subject: &Subject, after: Option<SessionId>) -> impl Iterator<Item = &Arc<Stored>> {
        let end = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = self.by_subject.get(subject).into_iter().flat_map(move |ids| ids.range((Bound::Unbounded, end)).rev());
        ids.filter_map(|id| self.sessions.get(id))
    }

    /// Of every session, in no particular order.
    pub(super) fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }

    /// Sessions that ended at `now` or before, in the order of their ends.
    pub(super) fn ended(&self, now: Timestamp) -> impl Iterator<Item = SessionId> {
        self.by_end.range(..=last_end(now)).map(|&(_, id)| id)
    }

    /// The next sessions that end after `after`, in the order of their ends: with the place of each, and its subject.
    pub(super) fn ending_after(&self, after: EndKey) -> impl Iterator<Item = (EndKey, &Subject)> {
        let later = self.by_end.range((Bound::Excluded(after), Bound::Unbounded));
        later.filter_map(|key| Some((*key, &self.sessions.get(&key.1)?.session.subject)))
    }

    pub(super) fn log_len(&self) -> usize {
        self.log.len()
    }

    /// Places in the log that may be forgotten.
    pub(super) fn forgettable(&self, now: Timestamp) -> impl Iterator<Item = Sequence> {
        self.by_forgetting.range(..=(now, Sequence::MAX)).map(|&(_, sequence)| sequence)
    }

    pub(super) fn log(&self, span: RangeInclusive<Sequence>) -> impl Iterator<Item = (Sequence, &Revocation)> {
        self.log.range(span).map(|(&sequence, revocation)| (sequence, revocation))
    }

    pub(super) fn imported(&self, digest: &ImportedDigest) -> Option<&ImportedToken> {
        self.imported.get(digest)
    }

    /// Imported tokens that may be forgotten.
    pub(super) fn forgettable_imports(&self, now: Timestamp) -> impl Iterator<Item = ImportedDigest> {
        self.imported_by_forgetting.range(..=(now, ImportedDigest::from_bytes([u8::MAX; 32]))).map(|&(_, digest)| digest)
    }

    pub(super) const fn next_sequence(&self) -> Sequence {
        self.next_sequence
    }

    /// The place of the newest entry that was ever logged; 0 when there was none.
    pub(super) const fn head(&self) -> Sequence {
        self.next_sequence - 1
    }

    /// Leaves room for entries that were logged and forgotten before the state was read from a file.
    pub(super) fn skip_to(&mut self, next_sequence: Sequence) {
        self.next_sequence = self.next_sequence.max(next_sequence).max(1);
    }

    /// Takes a session as the file has it.
    pub(super) fn restore_session(&mut self, record: Stored) {
        self.add_session(Arc::new(record));
    }

    /// Takes a log entry as the file has it.
    pub(super) fn restore_revocation(&mut self, sequence: Sequence, revocation: Revocation) {
        self.by_forgetting.insert((revocation.forget_at, sequence));
        self.log.insert(sequence, revocation);
        self.skip_to(sequence.saturating_add(1));
    }

    /// Takes an imported token as the file has it.
    pub(super) fn restore_imported(&mut self, digest: ImportedDigest, token: ImportedToken) {
        self.imported_by_forgetting.insert((token.forget_at, digest));
        self.imported.insert(digest, token);
    }

    pub(super) fn apply(&mut self, changes: Changes) {
        for (id, record) in changes.sessions {
            self.remove_session(id);
            if let Some(record) = record {
                self.add_session(record);
            }
        }
        for (sequence, revocation) in changes.logged {
            self.restore_revocation(sequence, revocation);
        }
        for sequence in changes.forgotten {
            if let Some(revocation) = self.log.remove(&sequence) {
                self.by_forgetting.remove(&(revocation.forget_at, sequence));
            }
        }
        for (digest, token) in changes.imported {
            if let Some(old) = self.imported.remove(&digest) {
                self.imported_by_forgetting.remove(&(old.forget_at, digest));
            }
            if let Some(token) = token {
                self.restore_imported(digest, token);
            }
        }
        self.books.apply(changes.books);
    }

    /// Whether nothing is left, in no index either.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
            && self.by_subject.is_empty()
            && self.by_end.is_empty()
            && self.log.is_empty()
            && self.by_forgetting.is_empty()
            && self.imported.is_empty()
            && self.imported_by_forgetting.is_empty()
    }

    fn add_session(&mut self, record: Arc<Stored>) {
        let session = &record.session;
        self.by_end.insert(end_key(session));
        if let Some(ids) = self.by_subject.get_mut(&session.subject) {
            ids.insert(session.id);
        } else {
            self.by_subject.insert(session.subject.clone(), BTreeSet::from([session.id]));
        }
        self.sessions.insert(session.id, record);
    }

    fn remove_session(&mut self, id: SessionId) {
        let Some(record) = self.sessions.remove(&id) else { return };
        let session = &record.session;
        self.by_end.remove(&end_key(session));
        if let Some(ids) = self.by_subject.get_mut(&session.subject) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_subject.remove(&session.subject);
            }
        }
    }
}

/// After every session that ends at this moment, before all that end later.
pub(super) const fn last_end(at: Timestamp) -> EndKey {
    (at, SessionId::from_bytes([u8::MAX; 16]))
}

fn end_key(session: &Session) -> EndKey {
    (session.lifetime.ends_at(), session.id)
}
