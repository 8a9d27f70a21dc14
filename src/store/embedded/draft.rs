//! Changes under preparation: each is decided against the state and what the batch did before it, and nothing is touched yet.

mod books;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::state::{Changes, ImportedToken, Sequence, State};
use crate::domain::ids::{Partition, SessionId, Subject};
use crate::domain::imported::{Import, ImportedDigest};
use crate::domain::revocation::{Revocation, Target};
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::upkeep::{SweepPlace, SweepStage};
use crate::store::{Acknowledgement, Duty, Fence, Fenced, SessionLimit, Stored, Swap, SweepStep, Swept, Version};

/// How much one step of a sweep removes of each kind.
pub(in crate::store) const SWEEP_STEP_MAX: usize = 1000;

/// How many forgotten log entries go with each new one. More than one, so that the log shrinks without a sweep.
const FORGET_STEP_MAX: usize = 16;

/// A batch of changes against a state that stays as it is until they are applied.
pub(in crate::store) struct Draft<'a> {
    pub(super) base: &'a State,
    pub(super) changes: Changes,
    /// Ids that the batch created. Some of them may be gone again.
    created: HashMap<Subject, Vec<SessionId>>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(base: &'a State) -> Self {
        Self { base, changes: Changes::default(), created: HashMap::new() }
    }

    pub(super) fn into_changes(self) -> Changes {
        self.changes
    }

    /// The place of the next log entry.
    pub(super) fn next_sequence(&self) -> Sequence {
        self.base.next_sequence() + self.changes.logged.len() as Sequence
    }

    pub(in crate::store) fn create(&mut self, session: &Session, limit: Option<SessionLimit>, now: Timestamp) -> Vec<SessionId> {
        if self.record(session.id).is_some() {
            return Vec::new();
        }
        let ended = limit.map_or_else(Vec::new, |limit| self.end_beyond(limit, &session.subject, now));
        self.add(session);
        ended
    }

    /// Returns how many were not known.
    pub(in crate::store) fn import(&mut self, batch: &[Import], now: Timestamp) -> u64 {
        let mut new = 0;
        for import in batch {
            if self.knows_imported(&import.digest, now) {
                continue;
            }
            let token = ImportedToken { session: import.session.id, forget_at: import.forget_at };
            self.changes.imported.insert(import.digest, Some(token));
            if self.record(import.session.id).is_none() {
                self.add(&import.session);
            }
            new += 1;
        }
        new
    }

    pub(in crate::store) fn swap(&mut self, expected: Version, next: &Session) -> Swap {
        let Some(record) = self.record(next.id) else { return Swap::Missing };
        if record.version != expected {
            return Swap::Lost;
        }
        let version = record.version.next();
        self.put(next.clone(), version);
        Swap::Done(version)
    }

    pub(in crate::store) fn acknowledge(&mut self, seen: &[Acknowledgement]) {
        for seen in seen {
            let Some(record) = self.record(seen.session) else { continue };
            let mut rotation = record.session.rotation;
            if rotation.acknowledge(seen.generation) {
                let version = record.version.next();
                let session = Session { rotation, ..record.session.clone() };
                self.put(session, version);
            }
        }
    }

    pub(in crate::store) fn revoke(&mut self, revocation: &Revocation) -> Vec<SessionId> {
        let ended = match &revocation.target {
            Target::Session { session } => self.record(*session).map(|_| *session).into_iter().collect(),
            Target::Subject { subject, issued_before } => {
                let mut ids = self.sessions_of(subject);
                ids.retain(|id| id.created_at() < issued_before.sessions());
                ids
            }
            Target::Token { .. } | Target::Everyone { .. } => Vec::new(),
        };
        for &id in &ended {
            self.changes.sessions.insert(id, None);
        }
        self.forget(revocation.revoked_at, FORGET_STEP_MAX);
        self.log(revocation.clone());
        ended
    }

    /// Deletes the records; returns how many were there.
    pub(in crate::store) fn end(&mut self, ids: &[SessionId]) -> u64 {
        let there: Vec<SessionId> = ids.iter().copied().filter(|&id| self.record(id).is_some()).collect();
        self.changes.sessions.extend(there.iter().map(|&id| (id, None)));
        there.len() as u64
    }

    /// Removes at most [`SWEEP_STEP_MAX`] sessions, as many revocations, and as many imported tokens. Records and their indexes are
    /// one here, so nothing is ever orphaned.
    pub(in crate::store) fn sweep(&mut self, fence: Fence, now: Timestamp) -> Fenced<SweepStep> {
        if self.is_overtaken(Duty::Sweep, fence) {
            return Fenced::Overtaken;
        }
        let candidates: Vec<SessionId> = self.base.ended(now).take(SWEEP_STEP_MAX).collect();
        let mut sessions = 0;
        for &id in &candidates {
            let has_ended = self.record(id).is_some_and(|record| !record.session.is_live(now));
            if has_ended {
                self.changes.sessions.insert(id, None);
                sessions += 1;
            }
        }
        self.count_expired(sessions, now);
        let revocations = self.forget(now, SWEEP_STEP_MAX);
        let imports = self.forget_imports(now);
        let has_more = [candidates.len(), revocations, imports].contains(&SWEEP_STEP_MAX);
        // What is left is what the next step finds first.
        let again = SweepPlace { partition: Partition(0), stage: SweepStage::Ended };
        let swept = Swept { sessions, orphans: 0, revocations: revocations as u64 };
        Fenced::Done(SweepStep { swept, next: has_more.then_some(again) })
    }

    /// Ends the oldest live sessions, so that one more is within the limit.
    fn end_beyond(&mut self, limit: SessionLimit, subject: &Subject, now: Timestamp) -> Vec<SessionId> {
        let mut live = self.sessions_of(subject);
        live.retain(|&id| self.record(id).is_some_and(|record| record.session.is_live(now)));
        let sessions_max = usize::try_from(limit.sessions_max).unwrap_or(usize::MAX);
        let too_many = (live.len() + 1).saturating_sub(sessions_max);
        live.truncate(too_many);
        for &session in &live {
            self.revoke(&Revocation { target: Target::Session { session }, revoked_at: now, forget_at: limit.forget_at });
        }
        live
    }

    fn record(&self, id: SessionId) -> Option<&Arc<Stored>> {
        self.changes.sessions.get(&id).map_or_else(|| self.base.session(id), Option::as_ref)
    }

    /// The subject's sessions, expired ones among them, oldest first.
    fn sessions_of(&self, subject: &Subject) -> Vec<SessionId> {
        let before = self.base.sessions_of(subject).map(|record| record.session.id);
        let created = self.created.get(subject).into_iter().flatten().copied();
        let ids: BTreeSet<SessionId> = before.chain(created).collect();
        ids.into_iter().filter(|&id| self.record(id).is_some()).collect()
    }

    fn add(&mut self, session: &Session) {
        self.put(session.clone(), Version(1));
        self.created.entry(session.subject.clone()).or_default().push(session.id);
    }

    fn put(&mut self, session: Session, version: Version) {
        self.changes.sessions.insert(session.id, Some(Arc::new(Stored { session, version })));
    }

    fn log(&mut self, revocation: Revocation) {
        self.changes.logged.push((self.next_sequence(), revocation));
    }

    fn knows_imported(&self, digest: &ImportedDigest, now: Timestamp) -> bool {
        let token = self.changes.imported.get(digest).map_or_else(|| self.base.imported(digest), Option::as_ref);
        token.is_some_and(|token| now < token.forget_at)
    }

    fn forget_imports(&mut self, now: Timestamp) -> usize {
        let changed = &mut self.changes.imported;
        let old: Vec<ImportedDigest> =
            self.base.forgettable_imports(now).filter(|digest| !changed.contains_key(digest)).take(SWEEP_STEP_MAX).collect();
        changed.extend(old.iter().map(|&digest| (digest, None)));
        old.len()
    }

    /// Drops at most `most` log entries that may be forgotten; returns how many.
    fn forget(&mut self, now: Timestamp, most: usize) -> usize {
        let forgotten = &mut self.changes.forgotten;
        let old: Vec<Sequence> = self.base.forgettable(now).filter(|place| !forgotten.contains(place)).take(most).collect();
        forgotten.extend(&old);
        old.len()
    }
}
