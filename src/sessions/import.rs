//! Refresh tokens that someone else made become sessions of ours.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::ids::Subject;
use crate::domain::imported::{Import, ImportedDigest};
use crate::domain::revocation::{Revocation, Target};
use crate::domain::rotation::Rotation;
use crate::domain::session::{Client, Grant, Lifetime, Session};
use crate::domain::session_policy::SessionPolicy;
use crate::domain::time::{Clock, Timestamp};
use crate::store::{RevocationLog, SessionStore, StoreError};

/// How long after its end an imported token is still known: as long as its client may repeat a refresh whose response was lost, and
/// as long as an export may wait to be imported again.
const REMEMBERED_AFTER: Duration = Duration::from_secs(86_400);

/// A refresh token as its maker's table has it.
#[derive(Clone, PartialEq, Debug)]
pub struct ForeignToken {
    pub digest: ImportedDigest,
    pub subject: Subject,
    pub grant: Grant,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
    pub revoked: bool,
}

/// What becomes of a foreign token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It opens a session.
    Lives,
    /// Its time is over; nothing is stored of it.
    Expired,
    /// Its maker revoked it; nothing is stored of it, and a session that it opened before ends.
    Revoked,
}

/// How many tokens met which fate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Sessions that are new.
    pub imported: u64,
    /// Live tokens that were imported before.
    pub present: u64,
    pub expired: u64,
    pub revoked: u64,
    /// Sessions that an earlier import had opened, and that ended because their token is revoked now.
    pub ended: u64,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.imported += other.imported;
        self.present += other.present;
        self.expired += other.expired;
        self.revoked += other.revoked;
        self.ended += other.ended;
    }
}

impl ForeignToken {
    #[must_use]
    pub fn fate(&self, now: Timestamp) -> Fate {
        if self.expires_at <= now {
            Fate::Expired
        } else if self.revoked {
            Fate::Revoked
        } else {
            Fate::Lives
        }
    }
}

/// Puts foreign tokens into a store. Any number of them may run at once, also twice on the same tokens.
pub struct Importer {
    store: Arc<dyn SessionStore>,
    log: Arc<dyn RevocationLog>,
    policy: SessionPolicy,
    clock: Arc<dyn Clock>,
}

impl Importer {
    #[must_use]
    pub fn new(store: Arc<dyn SessionStore>, log: Arc<dyn RevocationLog>, policy: SessionPolicy, clock: Arc<dyn Clock>) -> Self {
        Self { store, log, policy, clock }
    }

    /// Takes the tokens over. After an error the same tokens may be given again: nothing is done twice.
    pub async fn import(&self, tokens: &[ForeignToken]) -> Result<Tally, StoreError> {
        let now = self.clock.now();
        let mut tally = Tally::default();
        let (mut imports, mut revoked) = (Vec::new(), Vec::new());
        for token in tokens {
            match token.fate(now) {
                Fate::Lives => imports.push(self.session_of(token, now)),
                Fate::Expired => tally.expired += 1,
                Fate::Revoked => {
                    tally.revoked += 1;
                    revoked.push(token.digest);
                }
            }
        }
        if !imports.is_empty() {
            tally.imported = self.store.import(&imports, now).await?;
            tally.present = (imports.len() as u64).saturating_sub(tally.imported);
        }
        tally.ended = self.end(&revoked, now).await?;
        Ok(tally)
    }

    fn session_of(&self, token: &ForeignToken, now: Timestamp) -> Import {
        let policy = &self.policy;
        let partition = self.store.partitions().of(&token.subject);
        // Nobody is logged out by the move: the token lives as long as it was promised to, within what the operator allows at all.
        let idle_ends_at = token.expires_at.min(now.saturating_add(policy.absolute_lifetime));
        let absolute_ends_at = token.created_at.saturating_add(policy.absolute_lifetime).max(idle_ends_at);
        let session = Session {
            id: token.digest.session_id(partition, token.created_at),
            subject: token.subject.clone(),
            grant: token.grant.clone(),
            rotation: Rotation::first(),
            lifetime: Lifetime { idle_ends_at, absolute_ends_at },
            client: Client::default(),
            last_used_at: token.last_used_at.unwrap_or(token.created_at),
        };
        Import { digest: token.digest, session, forget_at: token.expires_at.saturating_add(REMEMBERED_AFTER) }
    }

    async fn end(&self, revoked: &[ImportedDigest], now: Timestamp) -> Result<u64, StoreError> {
        if revoked.is_empty() {
            return Ok(0);
        }
        let mut ended = 0;
        for session in self.store.imported(revoked).await?.into_iter().flatten() {
            // It may have ended long ago; the log need not hear of it with every repetition.
            if self.store.load(session).await?.is_some() {
                let target = Target::Session { session };
                let revocation = Revocation { target, revoked_at: now, forget_at: self.policy.retention.forget_at(now) };
                ended += self.log.revoke(&revocation).await?.len() as u64;
            }
        }
        Ok(ended)
    }
}
