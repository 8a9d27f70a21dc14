//! What a token is worth, and its end, for those who hold nothing but its text (RFC 7662, RFC 7009).

use std::sync::Arc;

use super::{Credentials, LogoutError, LogoutScope, Opened, RefreshError, Sessions};
use crate::domain::claims::Principal;
use crate::domain::rotation::{self, Outcome};
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// What a token is worth now.
#[derive(Debug)]
pub enum Worth {
    /// Not a token, or one that has expired, was revoked or is spent.
    Nothing,
    Access(Arc<Principal>),
    Refresh(Box<Session>),
}

impl Sessions {
    /// Looks at a token of whatever kind; changes nothing.
    ///
    /// # Errors
    /// When it cannot be known: the store does not answer, or the revocations were not confirmed lately.
    pub async fn worth(&self, token: &str) -> Result<Worth, StoreError> {
        let now = self.clock.now();
        let policy = self.policy.load_full();
        if let Ok(verified) = self.verifier.load().verify(token, now) {
            if self.replica.is_stale(self.clock.monotonic(), policy.max_staleness) {
                return Err(StoreError::Unavailable("the revocations were not confirmed lately".to_owned()));
            }
            let is_revoked = self.replica.covers(&verified.principal).is_some();
            return Ok(if is_revoked { Worth::Nothing } else { Worth::Access(verified.principal) });
        }
        let Some(Opened { token, .. }) = self.open(token).await? else { return Ok(Worth::Nothing) };
        let stored = match self.load_live(token.session, now).await {
            Ok(stored) => stored,
            Err(RefreshError::Store(error)) => return Err(error),
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
    pub async fn revoke_token(&self, token: &str) -> Result<(), LogoutError> {
        let now = self.clock.now();
        let (principal, expired) = (self.living(token, now), self.verifier.load().expired(token, now));
        let refresh_token = Some(token).filter(|_| principal.is_none());
        let credentials = Credentials { refresh_token, principal: principal.as_deref(), expired: expired.as_deref() };
        self.log_out(credentials, LogoutScope::Session).await.map(|_| ())
    }

    /// Whom an access token speaks for that is not known to be revoked.
    fn living(&self, token: &str, now: Timestamp) -> Option<Arc<Principal>> {
        let principal = self.verifier.load().verify(token, now).ok()?.principal;
        self.replica.covers(&principal).is_none().then_some(principal)
    }

    /// The `iss` of our own tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.minting.load().issuer.clone()
    }
}
