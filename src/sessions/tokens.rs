//! What a token is worth, and its end, for those who hold nothing but its text (RFC 7662, RFC 7009).

use std::sync::Arc;
use std::time::Duration;

use super::{Credentials, LogoutError, LogoutScope, Opened, RefreshError, Sessions};
use crate::crypto::verifier::verify_when_known;
use crate::domain::claims::{Denial, Principal};
use crate::domain::rotation::{self, Outcome};
use crate::domain::session::Session;
use crate::store::StoreError;

/// What a token is worth now.
#[derive(Debug)]
pub enum Worth {
    /// Not a token, or one that has expired, was revoked or is spent.
    Nothing,
    Access(Arc<Principal>),
    Refresh(Box<Session>),
}

/// Why it cannot be known now what a token is worth. It may be worth something: to say "nothing" would be untrue, and to say that it has
/// ended too.
#[derive(Debug, thiserror::Error)]
pub enum Undecided {
    /// They may be in so long.
    #[error("the keys of the token's issuer are not at hand")]
    IssuerKeysUnavailable(Duration),
    #[error("the revocations were not confirmed lately")]
    RevocationsStale,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a token is not known to have ended.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// A foreign token without a `jti` cannot be ended alone.
    #[error("the token has no id to revoke it by")]
    NoTokenId,
    #[error(transparent)]
    Undecided(#[from] Undecided),
}

impl Sessions {
    /// Looks at a token of whatever kind; changes nothing.
    pub async fn worth(&self, token: &str) -> Result<Worth, Undecided> {
        let now = self.clock.now();
        let policy = self.policy.load_full();
        if let Some(principal) = self.access(token).await? {
            if self.replica.is_stale(self.clock.monotonic(), policy.max_staleness) {
                return Err(Undecided::RevocationsStale);
            }
            let is_revoked = self.replica.covers(&principal).is_some();
            return Ok(if is_revoked { Worth::Nothing } else { Worth::Access(principal) });
        }
        let Some(Opened { token, .. }) = self.open(token).await? else { return Ok(Worth::Nothing) };
        let stored = match self.load_live(token.session, now).await {
            Ok(stored) => stored,
            Err(RefreshError::Store(error)) => return Err(error.into()),
            Err(_) => return Ok(Worth::Nothing),
        };
        Ok(match rotation::present(&stored.session.rotation, token.presented, policy.rotation_leeway, now) {
            Outcome::Adopt(_) | Outcome::Reissue | Outcome::Extend(_) | Outcome::Rotate(_) | Outcome::Supersede(_) => {
                Worth::Refresh(Box::new(stored.session))
            }
            Outcome::Reuse | Outcome::Exhausted => Worth::Nothing,
        })
    }

    /// Ends what the token belongs to: its session, or the token alone where someone else made it. What is no token, or has ended
    /// already, is no error.
    pub async fn revoke_token(&self, token: &str) -> Result<(), RevokeError> {
        let now = self.clock.now();
        let living = self.access(token).await?.filter(|principal| self.replica.covers(principal).is_none());
        let expired = self.verifier.load().expired(token, now);
        let refresh_token = Some(token).filter(|_| living.is_none());
        let credentials = Credentials { refresh_token, principal: living.as_deref(), expired: expired.as_deref() };
        match self.log_out(credentials, LogoutScope::Session).await {
            // Its own session is all that it was to end.
            Ok(_) | Err(LogoutError::TokenExpired) => Ok(()),
            Err(LogoutError::NoTokenId) => Err(RevokeError::NoTokenId),
            Err(LogoutError::Store(error)) => Err(Undecided::Store(error).into()),
        }
    }

    /// Whom an access token speaks for, revoked or not; `None`: it is none that is good.
    async fn access(&self, token: &str) -> Result<Option<Arc<Principal>>, Undecided> {
        match verify_when_known(&self.verifier, token, &*self.clock).await {
            Ok(verified) => Ok(Some(verified.principal)),
            Err(Denial::IssuerKeysUnavailable(due_in)) => Err(Undecided::IssuerKeysUnavailable(due_in)),
            Err(_) => Ok(None),
        }
    }

    /// The `iss` of our own tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.minting.load().issuer.clone()
    }
}
