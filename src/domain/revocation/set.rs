//! The exact set of live revocations.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::Equivalent;

use super::ledger::{Entry, Ledger};
use super::{Cutoff, Revocation, Target};
use crate::domain::claims::{Principal, RevokedBy};
use crate::domain::ids::{SessionId, Subject, TokenId};
use crate::domain::time::Timestamp;

/// Every revocation that still matters, each whole, so that a store that lost some can be given them back.
///
/// Merging is commutative, associative and idempotent: of two revocations of one target the earliest `revoked_at`, the latest
/// `forget_at` and the latest `issued_before` remain. Exact: covers nothing that was not revoked. About 60 bytes a session.
pub struct RevocationSet {
    hasher: RandomState,
    sessions: Ledger<SessionId, ()>,
    /// The value is `issued_before`.
    subjects: Ledger<Subject, Cutoff>,
    tokens: Ledger<TokenKey, ()>,
    /// One entry at most; the value is `issued_before`.
    everyone: Ledger<(), Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct TokenKey {
    issuer: Arc<str>,
    token: TokenId,
}

/// How many entries of each kind there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KindCounts {
    pub sessions: usize,
    pub subjects: usize,
    pub tokens: usize,
    /// At most one.
    pub everyone: usize,
}

impl KindCounts {
    #[must_use]
    pub const fn total(self) -> usize {
        self.sessions + self.subjects + self.tokens + self.everyone
    }
}

impl RevocationSet {
    #[must_use]
    pub fn new() -> Self {
        Self::with_hasher(RandomState::default())
    }

    /// Subjects and token ids come from outside, hence the keyed hash; nothing that can be observed depends on its key.
    pub(in crate::domain) fn with_hasher(hasher: RandomState) -> Self {
        Self {
            sessions: Ledger::new(hasher.clone()),
            subjects: Ledger::new(hasher.clone()),
            tokens: Ledger::new(hasher.clone()),
            everyone: Ledger::new(hasher.clone()),
            hasher,
        }
    }

    /// Adds the revocation, merging it with what is known of the same target. Returns whether it changed anything.
    pub fn insert(&mut self, revocation: &Revocation) -> bool {
        self.insert_hashed(target_hash(&self.hasher, &revocation.target), revocation)
    }

    pub(in crate::domain) fn insert_hashed(&mut self, hash: u64, revocation: &Revocation) -> bool {
        let Revocation { target, revoked_at, forget_at } = revocation;
        let (revoked_at, forget_at) = (*revoked_at, *forget_at);
        match target {
            Target::Session { session } => self.sessions.insert(hash, Entry { key: *session, value: (), revoked_at, forget_at }),
            Target::Subject { subject, issued_before } => {
                self.subjects.insert(hash, Entry { key: subject.clone(), value: *issued_before, revoked_at, forget_at })
            }
            Target::Token { issuer, token } => {
                let key = TokenKey { issuer: issuer.clone(), token: token.clone() };
                self.tokens.insert(hash, Entry { key, value: (), revoked_at, forget_at })
            }
            Target::Everyone { issued_before } => {
                self.everyone.insert(hash, Entry { key: (), value: *issued_before, revoked_at, forget_at })
            }
        }
    }

    /// Adds every revocation of `other`.
    pub fn merge(&mut self, other: &Self) {
        for revocation in other.iter() {
            self.insert(&revocation);
        }
    }

    /// Whether the token that the principal was made from is revoked, and by what.
    #[must_use]
    pub fn covers(&self, principal: &Principal) -> Option<RevokedBy> {
        let by_session = || {
            let session = principal.session?;
            self.covers_session(session_hash(&self.hasher, session), session).then_some(RevokedBy::Session)
        };
        let by_subject = || {
            let hash = subject_hash(&self.hasher, &principal.subject);
            self.covers_subject(hash, principal).then_some(RevokedBy::Subject)
        };
        let by_token = || {
            let token = principal.token.as_ref()?;
            let hash = token_hash(&self.hasher, &principal.issuer, token);
            self.covers_token(hash, &principal.issuer, token).then_some(RevokedBy::Token)
        };
        let by_everyone = || {
            let before = self.everyone_issued_before()?;
            Cutoff::named(before).covers(principal).then_some(RevokedBy::Everyone)
        };
        by_session().or_else(by_everyone).or_else(by_subject).or_else(by_token)
    }

    pub(in crate::domain) fn covers_session(&self, hash: u64, session: SessionId) -> bool {
        self.sessions.find(hash, &session).is_some()
    }

    pub(in crate::domain) fn covers_subject(&self, hash: u64, principal: &Principal) -> bool {
        self.subject_issued_before(hash, &principal.subject).is_some_and(|before| before.covers(principal))
    }

    pub(in crate::domain) fn subject_issued_before(&self, hash: u64, subject: &Subject) -> Option<Cutoff> {
        self.subjects.find(hash, subject).map(|entry| entry.value)
    }

    pub(in crate::domain) fn everyone_issued_before(&self) -> Option<Timestamp> {
        self.everyone.iter().next().map(|entry| entry.value)
    }

    pub(in crate::domain) fn covers_token(&self, hash: u64, issuer: &str, token: &TokenId) -> bool {
        self.tokens.find(hash, &TokenKeyRef { issuer, token }).is_some()
    }

    /// Whether this set ends everything that `revocation` ends, and for as long.
    #[must_use]
    pub fn includes(&self, revocation: &Revocation) -> bool {
        let hash = target_hash(&self.hasher, &revocation.target);
        let forget_at = match &revocation.target {
            Target::Session { session } => self.sessions.find(hash, session).map(|entry| entry.forget_at),
            Target::Subject { subject, issued_before } => self
                .subjects
                .find(hash, subject)
                .filter(|entry| entry.value.includes(*issued_before))
                .map(|entry| entry.forget_at),
            Target::Token { issuer, token } => {
                self.tokens.find(hash, &TokenKeyRef { issuer, token }).map(|entry| entry.forget_at)
            }
            Target::Everyone { issued_before } => {
                self.everyone.find(hash, &()).filter(|entry| entry.value >= *issued_before).map(|entry| entry.forget_at)
            }
        };
        forget_at.is_some_and(|at| at >= revocation.forget_at)
    }

    /// Drops what may be forgotten at `now`, give or take some seconds: never anything earlier than it may. Returns how many.
    /// Costs in proportion to that number, not to the size of the set.
    pub fn forget(&mut self, now: Timestamp) -> usize {
        self.forget_at_most(now, usize::MAX)
    }

    pub(in crate::domain) fn forget_at_most(&mut self, now: Timestamp, at_most: usize) -> usize {
        let sessions = self.sessions.forget(now, at_most);
        let subjects = self.subjects.forget(now, at_most - sessions);
        let tokens = self.tokens.forget(now, at_most - sessions - subjects);
        let everyone = self.everyone.forget(now, at_most - sessions - subjects - tokens);
        sessions + subjects + tokens + everyone
    }

    #[must_use]
    pub fn counts(&self) -> KindCounts {
        KindCounts {
            sessions: self.sessions.len(),
            subjects: self.subjects.len(),
            tokens: self.tokens.len(),
            everyone: self.everyone.len(),
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

    /// Every revocation, one for each target, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Revocation> {
        fn whole<K, V>(entry: &Entry<K, V>, target: Target) -> Revocation {
            Revocation { target, revoked_at: entry.revoked_at, forget_at: entry.forget_at }
        }
        let sessions = self.sessions.iter().map(|entry| whole(entry, Target::Session { session: entry.key }));
        let subjects = self
            .subjects
            .iter()
            .map(|entry| whole(entry, Target::Subject { subject: entry.key.clone(), issued_before: entry.value }));
        let tokens = self
            .tokens
            .iter()
            .map(|entry| whole(entry, Target::Token { issuer: entry.key.issuer.clone(), token: entry.key.token.clone() }));
        let everyone = self.everyone.iter().map(|entry| whole(entry, Target::Everyone { issued_before: entry.value }));
        sessions.chain(subjects).chain(tokens).chain(everyone)
    }
}

impl Default for RevocationSet {
    fn default() -> Self {
        Self::new()
    }
}

impl Extend<Revocation> for RevocationSet {
    fn extend<I: IntoIterator<Item = Revocation>>(&mut self, revocations: I) {
        for revocation in revocations {
            self.insert(&revocation);
        }
    }
}

impl FromIterator<Revocation> for RevocationSet {
    fn from_iter<I: IntoIterator<Item = Revocation>>(revocations: I) -> Self {
        let mut set = Self::new();
        set.extend(revocations);
        set
    }
}

/// Figures alone: a set may hold millions.
impl fmt::Debug for RevocationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationSet").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// Hashes as its owned form does.
#[derive(Hash)]
struct TokenKeyRef<'a> {
    issuer: &'a str,
    token: &'a TokenId,
}

impl Equivalent<TokenKey> for TokenKeyRef<'_> {
    fn equivalent(&self, key: &TokenKey) -> bool {
        *self.issuer == *key.issuer && *self.token == key.token
    }
}

pub(in crate::domain) fn target_hash(hasher: &RandomState, target: &Target) -> u64 {
    match target {
        Target::Session { session } => session_hash(hasher, *session),
        Target::Subject { subject, .. } => subject_hash(hasher, subject),
        Target::Token { issuer, token } => token_hash(hasher, issuer, token),
        Target::Everyone { .. } => hasher.hash_one(()),
    }
}

pub(in crate::domain) fn session_hash(hasher: &RandomState, session: SessionId) -> u64 {
    hasher.hash_one(session)
}

pub(in crate::domain) fn subject_hash(hasher: &RandomState, subject: &Subject) -> u64 {
    hasher.hash_one(subject)
}

pub(in crate::domain) fn token_hash(hasher: &RandomState, issuer: &str, token: &TokenId) -> u64 {
    hasher.hash_one(TokenKeyRef { issuer, token })
}
