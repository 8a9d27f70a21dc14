//! Whether a verified token, or a session, counts at a moment. It is decided here for all who ask.
//!
//! Admission, introspection, logout, the exchange of legacy tokens, the list of sessions and the watch over open streams ask
//! [`Vouching`], so that none of them takes what another refuses.

use std::time::Duration;

use super::claims::{Ending, Principal};
use super::replica::Replica;
use super::session::Session;
use super::time::Timestamp;

/// What this node knows of tokens and sessions at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Vouching<'a> {
    replica: &'a Replica,
    now: Timestamp,
    is_confirmed: bool,
}

/// How a verified token stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It counts.
    Good,
    /// Nothing that is known ends it, but the revocations were not confirmed lately: another node may have ended it.
    Unconfirmed,
    /// Its time has not come.
    Early,
    /// It counts no more, whatever else may be unknown.
    Over(Ending),
}

impl<'a> Vouching<'a> {
    /// `now` and `monotonic` are one moment on two clocks; revocations that were not confirmed for longer than `max_staleness` are not
    /// known to be all.
    #[must_use]
    pub fn new(replica: &'a Replica, max_staleness: Duration, now: Timestamp, monotonic: Duration) -> Self {
        Self { replica, now, is_confirmed: !replica.is_stale(monotonic, max_staleness) }
    }

    /// How a token stands that was verified before, if only a moment ago. Its time is looked at first: what has expired is refused as
    /// expired, be it revoked or not, as a token is that is verified only now.
    #[must_use]
    pub fn token(&self, principal: &Principal) -> Standing {
        if principal.window.is_over(self.now) {
            return Standing::Over(Ending::Expired);
        }
        if principal.window.is_ahead(self.now) {
            return Standing::Early;
        }
        match self.replica.covers(principal) {
            Some(by) => Standing::Over(Ending::Revoked(by)),
            None if self.is_confirmed => Standing::Good,
            None => Standing::Unconfirmed,
        }
    }

    /// Why what was admitted must end, if it must. Revocation comes first: what merely expired may still be given its response.
    #[must_use]
    pub fn ending(&self, principal: &Principal) -> Option<Ending> {
        let revoked = self.replica.covers(principal).map(Ending::Revoked);
        revoked.or_else(|| principal.window.is_over(self.now).then_some(Ending::Expired))
    }

    /// Why a session counts no more of which the store has a record. The store may have forgotten a revocation that this node knows.
    #[must_use]
    pub fn session(&self, session: &Session) -> Option<Ending> {
        let revoked = self.replica.covers_session_of(&session.subject, session.id).map(Ending::Revoked);
        revoked.or_else(|| (!session.is_live(self.now)).then_some(Ending::Expired))
    }
}

#[cfg(test)]
mod tests;
