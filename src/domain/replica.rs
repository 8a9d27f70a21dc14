//! The node's copy of the revocation log: written by the control plane, read by every data-plane thread on every request.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use foldhash::quality::RandomState;

use super::claims::{Principal, RevokedBy};
use super::ids::{SessionId, Subject};
use super::revocation::{Cutoff, KindCounts, Revocation, RevocationSet, session_hash, subject_hash, target_hash, token_hash};
use super::time::Timestamp;

/// The live revocations, shared by all threads of the process.
///
/// Revocations are spread over locks by the hash of their target, so that a reader waits for no one but a writer of the same
/// shard, and for that one no longer than a small change takes. A kind of which there is none costs one load.
pub struct Replica {
    hasher: RandomState,
    shards: Box<[Shard; SHARDS]>,
    sessions: AtomicUsize,
    subjects: AtomicUsize,
    tokens: AtomicUsize,
    /// Tokens issued before it are dead, whosever they are; [`NO_CUT_OFF`] when there is no such revocation.
    everyone_issued_before: AtomicI64,
    /// Nanoseconds of the monotonic clock plus one; 0 before the whole log was read.
    confirmed_at: AtomicU64,
}

/// As many as a byte can tell apart: with ten million revocations, growing the index of one takes well below a millisecond.
const SHARDS: usize = 256;

/// Nothing was issued before the beginning of time.
const NO_CUT_OFF: i64 = Timestamp::MIN.millis();

/// How many entries are dropped before readers of the shard get their turn.
const FORGET_STEP_MAX: usize = 1024;

/// On cache lines of its own, so that readers of neighbours do not slow each other down.
#[repr(align(128))]
struct Shard(RwLock<RevocationSet>);

impl Replica {
    /// Empty, and not loaded: [`Self::is_stale`] until the whole log was read.
    #[must_use]
    pub fn new() -> Self {
        let hasher = RandomState::default();
        let shard = |_| Shard(RwLock::new(RevocationSet::with_hasher(hasher.clone())));
        Self {
            shards: Box::new(std::array::from_fn(shard)),
            hasher,
            sessions: AtomicUsize::new(0),
            subjects: AtomicUsize::new(0),
            tokens: AtomicUsize::new(0),
            everyone_issued_before: AtomicI64::new(NO_CUT_OFF),
            confirmed_at: AtomicU64::new(0),
        }
    }

    /// Whether the token that the principal was made from is revoked, and by what.
    #[must_use]
    pub fn covers(&self, principal: &Principal) -> Option<RevokedBy> {
        if principal.session.is_some_and(|session| self.covers_session(session)) {
            return Some(RevokedBy::Session);
        }
        if self.everyone_issued_before().is_some_and(|before| Cutoff::named(before).covers(principal)) {
            return Some(RevokedBy::Everyone);
        }
        if self.subjects.load(Ordering::Relaxed) > 0 {
            let hash = subject_hash(&self.hasher, &principal.subject);
            if self.read(hash).covers_subject(hash, principal) {
                return Some(RevokedBy::Subject);
            }
        }
        if let Some(token) = &principal.token
            && self.tokens.load(Ordering::Relaxed) > 0
        {
            let hash = token_hash(&self.hasher, &principal.issuer, token);
            if self.read(hash).covers_token(hash, &principal.issuer, token) {
                return Some(RevokedBy::Token);
            }
        }
        None
    }

    /// Whether the session was revoked by itself; [`Self::subject_revoked_before`] tells the rest.
    #[must_use]
    pub fn covers_session(&self, session: SessionId) -> bool {
        if self.sessions.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let hash = session_hash(&self.hasher, session);
        self.read(hash).covers_session(hash, session)
    }

    /// By what a session of this subject is revoked. For its access tokens [`Self::covers`] says the same.
    #[must_use]
    pub fn covers_session_of(&self, subject: &Subject, session: SessionId) -> Option<RevokedBy> {
        if self.covers_session(session) {
            return Some(RevokedBy::Session);
        }
        if self.everyone_issued_before().is_some_and(|before| Cutoff::named(before).covers_session(session)) {
            return Some(RevokedBy::Everyone);
        }
        self.cutoff_of(subject).is_some_and(|cutoff| cutoff.covers_session(session)).then_some(RevokedBy::Subject)
    }

    /// The moment before which every session of the subject is dead, by a revocation of it or of everyone. It may lie ahead, when the node that revoked has a faster
    /// clock: a session that is created now must not be created before it, or it is born revoked.
    #[must_use]
    pub fn subject_revoked_before(&self, subject: &Subject) -> Option<Timestamp> {
        self.cutoff_of(subject).map(Cutoff::sessions).max(self.everyone_issued_before())
    }

    /// The moment before which every token of the subject that belongs to no session is dead, by its `iat`.
    #[must_use]
    pub fn tokens_revoked_before(&self, subject: &Subject) -> Option<Timestamp> {
        self.cutoff_of(subject).map(Cutoff::tokens).max(self.everyone_issued_before())
    }

    fn cutoff_of(&self, subject: &Subject) -> Option<Cutoff> {
        if self.subjects.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let hash = subject_hash(&self.hasher, subject);
        self.read(hash).subject_issued_before(hash, subject)
    }

    fn everyone_issued_before(&self) -> Option<Timestamp> {
        let millis = self.everyone_issued_before.load(Ordering::Relaxed);
        (millis != NO_CUT_OFF).then_some(Timestamp::from_millis(millis))
    }

    /// Adds the revocation. When this returns, every thread refuses what it covers. Returns whether it changed anything.
    pub fn insert(&self, revocation: &Revocation) -> bool {
        let hash = target_hash(&self.hasher, &revocation.target);
        self.write(hash, |set| set.insert_hashed(hash, revocation))
    }

    /// Drops what may be forgotten; returns how many.
    pub fn forget(&self, now: Timestamp) -> usize {
        let mut dropped = 0;
        for shard in &*self.shards {
            loop {
                let step = self.change(shard, |set| set.forget_at_most(now, FORGET_STEP_MAX));
                dropped += step;
                if step < FORGET_STEP_MAX {
                    break;
                }
            }
        }
        dropped
    }

    /// What is known here and missing in `log`, as far as it may not be forgotten yet: in parts, none of them empty.
    pub fn missing_from<'a>(&'a self, log: &'a RevocationSet, now: Timestamp) -> impl Iterator<Item = Vec<Revocation>> + 'a {
        let is_missing = move |revocation: &Revocation| revocation.forget_at > now && !log.includes(revocation);
        let part = move |shard: &Shard| shard.read().iter().filter(is_missing).collect::<Vec<_>>();
        self.shards.iter().map(part).filter(|part| !part.is_empty())
    }

    /// Every revocation that was logged before `at`, a moment of the monotonic clock, is here. The first call says that the whole
    /// log was read. Older moments than the last are ignored.
    pub fn confirm(&self, at: Duration) {
        self.confirmed_at.fetch_max(nanos(at).saturating_add(1), Ordering::Release);
    }

    /// The moment of the monotonic clock up to which the replica is known to be complete; `None` before the log was read.
    #[must_use]
    pub fn confirmed_at(&self) -> Option<Duration> {
        self.confirmed_at.load(Ordering::Acquire).checked_sub(1).map(Duration::from_nanos)
    }

    /// Whether the whole log was read at least once.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.confirmed_at().is_some()
    }

    /// Whether the replica is too old to vouch for anyone: never loaded, or not confirmed for longer than `max_staleness`.
    #[must_use]
    pub fn is_stale(&self, now_monotonic: Duration, max_staleness: Duration) -> bool {
        self.confirmed_at().is_none_or(|at| now_monotonic.saturating_sub(at) > max_staleness)
    }

    #[must_use]
    pub fn counts(&self) -> KindCounts {
        KindCounts {
            sessions: self.sessions.load(Ordering::Relaxed),
            subjects: self.subjects.load(Ordering::Relaxed),
            tokens: self.tokens.load(Ordering::Relaxed),
            everyone: usize::from(self.everyone_issued_before().is_some()),
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.counts().total()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, hash: u64) -> &Shard {
        let [top, ..] = hash.to_be_bytes();
        &self.shards[usize::from(top)]
    }

    fn read(&self, hash: u64) -> RwLockReadGuard<'_, RevocationSet> {
        self.shard(hash).read()
    }

    fn write<T>(&self, hash: u64, action: impl FnOnce(&mut RevocationSet) -> T) -> T {
        self.change(self.shard(hash), action)
    }

    /// Changes one shard and the counts with it, before the lock is given back: who sees none of a kind misses nothing that
    /// was inserted before.
    fn change<T>(&self, shard: &Shard, action: impl FnOnce(&mut RevocationSet) -> T) -> T {
        let mut set = shard.write();
        let (before, everyone_before) = (set.counts(), set.everyone_issued_before());
        let result = action(&mut set);
        let (after, everyone_after) = (set.counts(), set.everyone_issued_before());
        // It has one shard; in the others there was none before and is none now.
        if everyone_after != everyone_before {
            let millis = everyone_after.map_or(NO_CUT_OFF, Timestamp::millis);
            self.everyone_issued_before.store(millis, Ordering::Release);
        }
        adjust(&self.sessions, before.sessions, after.sessions);
        adjust(&self.subjects, before.subjects, after.subjects);
        adjust(&self.tokens, before.tokens, after.tokens);
        result
    }
}

impl Default for Replica {
    fn default() -> Self {
        Self::new()
    }
}

/// Figures alone: a replica may hold millions.
impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let confirmed_at = self.confirmed_at();
        f.debug_struct("Replica").field("counts", &self.counts()).field("confirmed_at", &confirmed_at).finish_non_exhaustive()
    }
}

impl Shard {
    // A lock is poisoned when a writer panicked. The set is then still whole but for the one revocation that was being
    // written: an entry that is missing or not found, never one that covers what it should not. The feed, restarted, reads
    // the log from its start and writes that one again. Refusing every request of the shard until then, or ending the
    // process, would be the larger damage.
    fn read(&self) -> RwLockReadGuard<'_, RevocationSet> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, RevocationSet> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn adjust(count: &AtomicUsize, before: usize, after: usize) {
    if after >= before {
        count.fetch_add(after - before, Ordering::Release);
    } else {
        count.fetch_sub(before - after, Ordering::Release);
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Partition;
    use crate::domain::revocation::Target;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_replica_is_stale_until_the_log_was_read_and_after_it_was_not_confirmed_for_too_long() {
        let replica = Replica::new();
        assert!(replica.is_stale(Duration::ZERO, Duration::MAX) && !replica.is_loaded());
        replica.confirm(Duration::ZERO);
        assert!(replica.is_loaded() && !replica.is_stale(30 * SECOND, 30 * SECOND));
        assert!(replica.is_stale(31 * SECOND, 30 * SECOND));
        replica.confirm(20 * SECOND);
        replica.confirm(10 * SECOND);
        assert_eq!(replica.confirmed_at(), Some(20 * SECOND), "an older confirmation takes nothing back");
        assert!(!replica.is_stale(19 * SECOND, Duration::ZERO), "a reader that looked at the clock before the confirmation");
    }

    #[test]
    fn a_writer_that_panics_takes_nobody_with_it() {
        let replica = Replica::new();
        let session = SessionId::new(Partition(0), Timestamp::from_secs(0), [1; 8]);
        let at = Timestamp::from_secs(0);
        let revocation = Revocation { target: Target::Session { session }, revoked_at: at, forget_at: at };
        let hash = session_hash(&replica.hasher, session);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            replica.write(hash, |_| panic!("in the midst of a change"));
        }));
        assert!(panicked.is_err() && replica.shard(hash).0.is_poisoned());
        assert!(replica.insert(&revocation));
        assert!(replica.read(hash).covers_session(hash, session));
    }
}
