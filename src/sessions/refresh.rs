//! A refresh token is exchanged for what comes next.

use super::audit::audit;
use super::token_text::Opened;
use super::{Sessions, TokenPair, TokenText};
use crate::crypto::access_token::MintError;
use crate::crypto::refresh_token::RefreshToken;
use crate::domain::claims::Ending;
use crate::domain::ids::SessionId;
use crate::domain::rotation::{self, Outcome, Rotation};
use crate::domain::session::{Client, Session};
use crate::domain::session_policy::{ReusePolicy, SessionPolicy};
use crate::domain::stats::Counter;
use crate::domain::time::Timestamp;
use crate::store::{StoreError, Stored, Swap};

/// How often a lost race is decided anew. Within the leeway a loser finds the winner's rotation and reissues it, so one more
/// attempt is the rule; the others are for an acknowledgement or an adoption that comes between.
pub(super) const SWAP_ATTEMPTS_MAX: u32 = 5;

/// Why no tokens were given.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The token is dead for good. Everything else is trouble of ours, and the client keeps what it has.
    #[error(transparent)]
    Dead(#[from] DeadToken),
    /// Others kept changing the record. Nothing was decided: try again.
    #[error("too many lost races")]
    Contended,
    /// The claims hook gave no response, and by the operator's choice there are no tokens without one.
    #[error("the claims hook gave no response")]
    ClaimsUnknown,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Mint(#[from] MintError),
}

/// Why a token will never be exchanged again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeadToken {
    #[error("not a refresh token of ours")]
    Malformed,
    #[error("no such session")]
    Unknown,
    #[error("session expired")]
    Expired,
    #[error("every generation is spent")]
    Exhausted,
    #[error("session revoked")]
    Revoked,
    #[error("refresh token spent")]
    Reused,
    /// The claims hook no longer knows the subject, and the session has ended; or the subject is kept for others by now.
    #[error("the subject is gone")]
    Disowned,
}

impl RefreshError {
    /// Whether the token is dead for good.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Dead(_))
    }

    pub(super) const fn counter(&self) -> Option<Counter> {
        match self {
            Self::Dead(dead) => Some(dead.counter()),
            Self::Contended => Some(Counter::RefreshesContended),
            // Counted where it was asked.
            Self::ClaimsUnknown | Self::Store(_) | Self::Mint(_) => None,
        }
    }
}

impl DeadToken {
    const fn counter(self) -> Counter {
        match self {
            Self::Malformed => Counter::RefreshesMalformed,
            Self::Unknown => Counter::RefreshesUnknown,
            Self::Expired => Counter::RefreshesExpired,
            Self::Exhausted => Counter::RefreshesExhausted,
            Self::Revoked => Counter::RefreshesRevoked,
            Self::Reused => Counter::RefreshesReused,
            Self::Disowned => Counter::RefreshesDisowned,
        }
    }
}

/// An audit line that sets the client which rotated last beside the one that asks.
macro_rules! audit_clients {
    ($level:ident, $event:literal, $session:expr, $client:expr $(, $field:ident = $value:expr)* $(,)?) => {
        audit!(
            $level,
            $event,
            subject = $session.subject,
            session = $session.id,
            rotated_by_address = $session.client.address,
            rotated_by_agent = $session.client.user_agent,
            asked_by_address = $client.address,
            asked_by_agent = $client.user_agent
            $(, $field = $value)*
        )
    };
}

/// What one reading of the record led to.
pub(super) enum Attempt {
    Answered(TokenPair),
    LostRace,
}

impl Sessions {
    /// Exchanges `token` by the rules of [`rotation::present`]. The same token in the same state of its session yields the same
    /// refresh token, so whoever lost a response repeats the call.
    pub async fn refresh(&self, token: &TokenText, client: &Client) -> Result<TokenPair, RefreshError> {
        let result = self.decide_until_settled(token, client).await;
        if let Some(counter) = result.as_ref().err().and_then(RefreshError::counter) {
            self.counters.add(counter, 1);
        }
        result
    }

    async fn decide_until_settled(&self, token: &TokenText, client: &Client) -> Result<TokenPair, RefreshError> {
        let Opened { token, is_imported } = self.open(token).await?.ok_or(RefreshError::Dead(DeadToken::Malformed))?;
        let policy = &self.rules.policy;
        for _ in 0..SWAP_ATTEMPTS_MAX {
            let now = self.clock.now();
            let stored = self.load_live(token.session, now).await?;
            let attempt = if policy.rotation {
                self.rotate(stored, token, client, policy, now).await?
            } else {
                self.refresh_in_place(stored, token, client, policy, now).await?
            };
            match attempt {
                Attempt::Answered(mut pair) => {
                    if is_imported && pair.refresh_token.is_none() {
                        // Rotation is off. Its maker's word on how long it lives would end the session, and a look-up goes with it.
                        pair.refresh_token = Some(self.rules.minting.refresh_tokens.seal(token.session, token.presented));
                    }
                    return Ok(pair);
                }
                Attempt::LostRace => {}
            }
        }
        Err(RefreshError::Contended)
    }

    /// The session's record, if the session lives by the record *and* by what this node remembers.
    pub(super) async fn load_live(&self, id: SessionId, now: Timestamp) -> Result<Stored, RefreshError> {
        let Some(stored) = self.store.load(id).await? else {
            return Err(if self.replica.covers_session(id) {
                RefreshError::Dead(DeadToken::Revoked)
            } else {
                RefreshError::Dead(DeadToken::Unknown)
            });
        };
        let session = &stored.session;
        match self.vouching().session(session) {
            None => {}
            Some(Ending::Revoked(_)) => {
                // The store forgot a logout, or the session was stored while its subject was logged out everywhere. It must not
                // come back once the revocation is forgotten.
                self.revoke_session(id, now).await?;
                return Err(RefreshError::Dead(DeadToken::Revoked));
            }
            Some(Ending::Expired) => return Err(RefreshError::Dead(DeadToken::Expired)),
        }
        if let Some(prefix) = self.rules.policy.reserved.of_session(&session.subject, session.id) {
            let (subject, session) = (&session.subject, session.id);
            tracing::warn!(%subject, %session, prefix = prefix.as_str(), "a session's subject is by now kept for another issuer's users or for machines: not refreshed");
            return Err(RefreshError::Dead(DeadToken::Disowned));
        }
        Ok(stored)
    }

    pub(super) async fn rotate(
        &self,
        stored: Stored,
        token: RefreshToken,
        client: &Client,
        policy: &SessionPolicy,
        now: Timestamp,
    ) -> Result<Attempt, RefreshError> {
        let outcome = rotation::present(&stored.session.rotation, token.presented, policy.rotation_leeway, now);
        let next = match outcome {
            Outcome::Adopt(next) | Outcome::Rotate(next) | Outcome::Supersede(next) => {
                let grant = self.present_grant(&stored.session, now).await?;
                Some(Session { grant, ..used(&stored.session, next, client, policy, now) })
            }
            // The client stays the one that rotated: it is what later reissues are held against.
            Outcome::Extend(next) => Some(Session { rotation: next, ..stored.session.clone() }),
            Outcome::Reissue => None,
            Outcome::Reuse => return Err(self.reuse(&stored.session, token, client, policy, now).await),
            Outcome::Exhausted => return Err(RefreshError::Dead(DeadToken::Exhausted)),
        };
        let is_repetition = matches!(outcome, Outcome::Extend(_) | Outcome::Reissue);
        let session = next.as_ref().unwrap_or(&stored.session);
        // Before anything is stored: nothing is spent for a token that cannot be handed out.
        let pair = self.mint(session, session.rotation.current, Some(session.rotation.token()), now)?;
        if let Some(next) = &next {
            match self.store.swap(stored.version, next).await? {
                Swap::Done(_) => {}
                Swap::Lost | Swap::Missing => return Ok(Attempt::LostRace),
            }
        }
        if is_repetition {
            self.note_reissue(session, client);
        }
        self.counters.add(Counter::of_refresh(&outcome), 1);
        tracing::debug!(session = %session.id, ?outcome, "refreshed");
        Ok(Attempt::Answered(pair))
    }

    /// Rotation is off: the client keeps its refresh token, whichever place it has in the line.
    async fn refresh_in_place(
        &self,
        stored: Stored,
        token: RefreshToken,
        client: &Client,
        policy: &SessionPolicy,
        now: Timestamp,
    ) -> Result<Attempt, RefreshError> {
        let record = &stored.session;
        let (next, store_is_behind) = match rotation::present(&record.rotation, token.presented, policy.rotation_leeway, now) {
            Outcome::Adopt(next) => (next, true),
            Outcome::Reissue | Outcome::Extend(_) | Outcome::Rotate(_) | Outcome::Supersede(_) | Outcome::Exhausted => {
                (record.rotation, false)
            }
            Outcome::Reuse => return Err(self.reuse(record, token, client, policy, now).await),
        };
        // Not on every call: many at once would only stand in each other's way.
        let used_lately = now.since(record.last_used_at) < policy.rotation_leeway;
        let next = if store_is_behind || !used_lately {
            let grant = self.present_grant(record, now).await?;
            Some(Session { grant, ..used(record, next, client, policy, now) })
        } else {
            None
        };
        // The generation is the one that the client holds: naming a later one would acknowledge what it never received.
        let pair = self.mint(next.as_ref().unwrap_or(record), token.presented.generation, None, now)?;
        if let Some(next) = &next {
            match self.store.swap(stored.version, next).await? {
                Swap::Done(_) => {}
                Swap::Lost | Swap::Missing => return Ok(Attempt::LostRace),
            }
        }
        self.counters.add(Counter::RefreshesReissued, 1);
        Ok(Attempt::Answered(pair))
    }

    fn note_reissue(&self, session: &Session, client: &Client) {
        if session.client == *client {
            return;
        }
        self.counters.add(Counter::ReissuesToAnotherClient, 1);
        audit_clients!(info, "refresh_reissued_to_another_client", session, client);
    }

    async fn reuse(
        &self,
        session: &Session,
        token: RefreshToken,
        client: &Client,
        policy: &SessionPolicy,
        now: Timestamp,
    ) -> RefreshError {
        let revoked = match policy.reuse {
            ReusePolicy::Revoke => self.revoke_session(session.id, now).await.map(|_| true),
            ReusePolicy::Refuse => Ok(false),
        };
        audit_clients!(
            warn,
            "refresh_token_reused",
            session,
            client,
            presented = token.presented.generation,
            current = session.rotation.current,
            session_revoked = revoked.as_ref().ok(),
        );
        match revoked {
            Ok(_) => RefreshError::Dead(DeadToken::Reused),
            Err(error) => error.into(),
        }
    }
}

/// The record after a use that moved it on.
fn used(session: &Session, rotation: Rotation, client: &Client, policy: &SessionPolicy, now: Timestamp) -> Session {
    Session {
        rotation,
        lifetime: session.lifetime.extended(now, policy.idle_lifetime),
        client: client.clone(),
        last_used_at: now,
        ..session.clone()
    }
}
