//! What a token is worth, and its end, for those who hold nothing but its text (RFC 7662, RFC 7009).

use std::sync::Arc;

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

impl Sessions {
    /// Looks at a token of whatever kind; changes nothing.
    ///
    /// # Errors
    /// When it cannot be known: the store does not answer, or the revocations were not confirmed lately.
    pub async fn worth(&self, token: &str) -> Result<Worth, StoreError> {
        let now = self.clock.now();
        let policy = self.policy.load_full();
        let verified = verify_when_known(&self.verifier, token, &*self.clock).await;
        if let Err(Denial::IssuerKeysUnavailable(_)) = verified {
            return Err(keys_not_at_hand());
        }
        if let Ok(verified) = verified {
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
        let (principal, expired) = (self.living(token).await?, self.verifier.load().expired(token, now));
        let refresh_token = Some(token).filter(|_| principal.is_none());
        let credentials = Credentials { refresh_token, principal: principal.as_deref(), expired: expired.as_deref() };
        self.log_out(credentials, LogoutScope::Session).await.map(|_| ())
    }

    /// Whom an access token speaks for that is not known to be revoked.
    async fn living(&self, token: &str) -> Result<Option<Arc<Principal>>, StoreError> {
        match verify_when_known(&self.verifier, token, &*self.clock).await {
            Ok(verified) => Ok(Some(verified.principal).filter(|principal| self.replica.covers(principal).is_none())),
            Err(Denial::IssuerKeysUnavailable(_)) => Err(keys_not_at_hand()),
            Err(_) => Ok(None),
        }
    }

    /// The `iss` of our own tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.minting.load().issuer.clone()
    }
}

/// What the token is worth cannot be known now: to those who ask, the same as a store that does not answer.
fn keys_not_at_hand() -> StoreError {
    StoreError::Unavailable("the keys of the token's issuer are not at hand".to_owned())
}
