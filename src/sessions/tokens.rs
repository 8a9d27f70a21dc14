//! Introspects and revokes tokens given as text (RFC 7662, RFC 7009).

use std::sync::Arc;
use std::time::Duration;

use super::audit::audit;
use super::token_text::Opened;
use super::{Credentials, LogoutError, LogoutScope, RefreshError, Sessions};
use crate::crypto::verifier::verify_when_known;
use crate::domain::claims::{Denial, Principal};
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::ids::TokenMaker;
use crate::domain::revocation::Target;
use crate::domain::rotation::{self, Outcome};
use crate::domain::session::Session;
use crate::domain::subject_token::SubjectTokenType;
use crate::domain::time::{CLOCK_SKEW_MAX, Timestamp};
use crate::domain::vouching::Standing;
use crate::store::StoreError;

/// What introspection finds.
#[derive(Debug)]
pub enum Introspected {
    /// Not a token, or one that has expired, was revoked or is spent.
    Inactive,
    Access(Arc<Principal>),
    Refresh(Box<Session>),
}

/// Why it cannot be known now whether a token counts. Neither "inactive" nor "revoked" would be true.
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
    /// Introspects a token of any kind; changes nothing.
    pub async fn introspect(&self, token: &str) -> Result<Introspected, Undecided> {
        if let Some(principal) = self.access(token).await? {
            return match self.vouching().token(&principal) {
                Standing::Good => Ok(Introspected::Access(principal)),
                Standing::Unconfirmed => Err(Undecided::RevocationsStale),
                Standing::Early | Standing::Over(_) => Ok(Introspected::Inactive),
            };
        }
        let (now, policy) = (self.clock.now(), &self.rules.policy);
        let Some(Opened { token, .. }) = self.open(&self.read(token)).await? else { return Ok(Introspected::Inactive) };
        let stored = match self.load_live(token.session, now).await {
            Ok(stored) => stored,
            Err(RefreshError::Store(error)) => return Err(error.into()),
            Err(_) => return Ok(Introspected::Inactive),
        };
        Ok(match rotation::present(&stored.session.rotation, token.presented, policy.rotation_leeway, now) {
            Outcome::Adopt(_) | Outcome::Reissue | Outcome::Extend(_) | Outcome::Rotate(_) | Outcome::Supersede(_) => {
                Introspected::Refresh(Box::new(stored.session))
            }
            Outcome::Reuse | Outcome::Exhausted => Introspected::Inactive,
        })
    }

    /// Revokes a token with its session; a token of another issuer with the session that was made of it once. From then on it cannot be
    /// exchanged. A text that is not a token, or has ended, is no error.
    pub async fn revoke_token(&self, token: &str) -> Result<(), RevokeError> {
        let now = self.clock.now();
        let access = self.access(token).await?;
        let is_of_a_session = access.as_ref().is_some_and(|principal| principal.session.is_some());
        let exchanged = !is_of_a_session && self.end_subject_token(token, now).await?;
        let living = access.filter(|principal| match self.vouching().token(principal) {
            // What another node may have ended is ended once more.
            Standing::Good | Standing::Unconfirmed => true,
            Standing::Early | Standing::Over(_) => false,
        });
        if living.is_none() && exchanged {
            return Ok(());
        }
        let expired = self.rules.verifier.load().expired(token, now);
        let refresh_token = living.is_none().then(|| self.read(token));
        let credentials =
            Credentials { refresh_token: refresh_token.as_ref(), principal: living.as_deref(), expired: expired.as_deref() };
        match self.log_out(credentials, LogoutScope::Session).await {
            // Its own session is all that it was to end.
            Ok(_) | Err(LogoutError::TokenExpired) => Ok(()),
            Err(LogoutError::NoTokenId) => Err(RevokeError::NoTokenId),
            Err(LogoutError::Store(error)) => Err(Undecided::Store(error).into()),
        }
    }

    /// Whether the text is a token of another issuer that could be exchanged, which it cannot be any more.
    async fn end_subject_token(&self, text: &str, now: Timestamp) -> Result<bool, RevokeError> {
        let token = match self.read_subject_token(text, SubjectTokenType::Jwt).await {
            Ok(token) if token.maker == TokenMaker::Issuer => token,
            Err(Denial::IssuerKeysUnavailable(due_in)) => return Err(Undecided::IssuerKeysUnavailable(due_in).into()),
            Ok(_) | Err(_) => return Ok(false),
        };
        self.revoke_session(token.session, now).await.map_err(Undecided::Store)?;
        let principal = token.principal;
        match principal.token {
            Some(id) => {
                let target = Target::Token { issuer: principal.issuer, token: id };
                let forget_at = principal.window.closes_at.saturating_add(CLOCK_SKEW_MAX);
                self.revoke(target, now, forget_at).await.map_err(Undecided::Store)?;
            }
            // It would make another session.
            None if token.exchange == ExchangeRule::Many => return Err(RevokeError::NoTokenId),
            None => {}
        }
        audit!(info, "subject_token_revoked", subject = principal.subject, session = token.session);
        Ok(true)
    }

    /// The principal of an access token, revoked or not; `None`: it is not a valid one.
    async fn access(&self, token: &str) -> Result<Option<Arc<Principal>>, Undecided> {
        match verify_when_known(&self.rules.verifier, token, &*self.clock).await {
            Ok(verified) => Ok(Some(verified.principal)),
            Err(Denial::IssuerKeysUnavailable(due_in)) => Err(Undecided::IssuerKeysUnavailable(due_in)),
            Err(_) => Ok(None),
        }
    }

    /// Whether tokens of sessions are for exactly these audiences, in any order. They are for all of theirs or none: nothing is asked for
    /// by an empty list.
    #[must_use]
    pub fn are_audiences(&self, asked: &[&str]) -> bool {
        let ours = &self.rules.minting.audiences;
        asked.is_empty()
            || asked.iter().all(|one| ours.iter().any(|our| our == one)) && ours.iter().all(|our| asked.contains(&&**our))
    }

    /// The `iss` of our own tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.rules.minting.issuer.clone()
    }
}
