//! What can be done with sessions: issue, refresh, log out, list. No HTTP.
//!
//! Decisions are the domain's; here they are carried out against the store. Whatever ends a session is written to the store
//! first, then into the node's replica, and only then reported to the caller.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::crypto::access_token::{self, Holder, MintError, NewAccessToken};
use crate::crypto::entropy::{self, Entropy};
use crate::crypto::keyring::KeyRing;
use crate::crypto::refresh_token::RefreshTokens;
use crate::crypto::verifier::Verifier;
use crate::domain::ids::{Generation, SessionId};
use crate::domain::replica::Replica;
use crate::domain::revocation::{Revocation, Target};
use crate::domain::rotation::Presented;
use crate::domain::secret::Secret;
use crate::domain::session::Session;
use crate::domain::session_policy::SessionPolicy;
use crate::domain::stats::{Counter, Counters};
use crate::domain::time::{CLOCK_SKEW_MAX, Clock, Timestamp};
use crate::domain::vouching::Vouching;
use crate::store::{RevocationLog, SessionStore, StoreError, TicketStore};

mod administration;
pub mod audit;
pub mod caretaker;
pub mod claims_hook;
mod devices;
mod exchange;
pub mod health;
pub mod import;
mod issue;
mod log_out;
mod machines;
pub mod nodes;
mod refresh;
pub mod statistics;
#[cfg(test)]
pub(crate) mod tests;
mod tickets;
mod token_text;
mod tokens;
mod withdrawals;

pub use administration::{Ended, Order, OrderError};
use claims_hook::ClaimsHook;
pub use devices::{EndError, ListError};
pub use issue::{IssueError, Login, OldToken};
pub use log_out::{Credentials, LogoutError, LogoutScope};
pub use machines::{MachineError, MachineToken};
pub use refresh::{DeadToken, RefreshError};
pub use tickets::{IssuedTicket, TicketError};
pub use token_text::TokenText;
pub use tokens::{Introspected, RevokeError, Undecided};
use withdrawals::Withdrawals;

/// What tokens are made of.
#[derive(Debug)]
pub struct Minting {
    pub keys: Arc<KeyRing>,
    pub refresh_tokens: RefreshTokens,
    pub issuer: String,
    pub audiences: Vec<String>,
}

/// What a client gets: how to call now, and how to go on later.
#[derive(Debug)]
pub struct TokenPair {
    pub access_token: Secret<String>,
    /// `None` when the client keeps the one that it has.
    pub refresh_token: Option<Secret<String>>,
    /// Of the access token, in whole seconds.
    pub expires_in: Duration,
    /// Until the session ends, should it never be refreshed again.
    pub session_ends_in: Duration,
    /// For how long the client can have no later refresh token than this.
    pub newest_for: Duration,
    pub generation: Generation,
    pub session: SessionId,
    pub scopes: Vec<String>,
}

/// What the settings say about sessions.
#[derive(Clone, Debug)]
pub struct SessionRules {
    pub minting: Arc<Minting>,
    /// Who knows access tokens and legacy tokens.
    pub verifier: Arc<ArcSwap<Verifier>>,
    pub policy: SessionPolicy,
    /// Asked on refresh for the claims of now.
    pub claims_hook: Option<ClaimsHook>,
}

/// The use cases, by one set of settings: a reload makes others, which share everything but the rules. Every method may run any number of
/// times at once.
pub struct Sessions {
    rules: SessionRules,
    store: Arc<dyn SessionStore>,
    log: Arc<dyn RevocationLog>,
    ticket_store: Arc<dyn TicketStore>,
    replica: Arc<Replica>,
    withdrawals: Arc<Withdrawals>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    counters: Arc<Counters>,
}

/// What [`Sessions`] is made of, beside the rules.
pub struct SessionParts {
    pub store: Arc<dyn SessionStore>,
    pub log: Arc<dyn RevocationLog>,
    pub tickets: Arc<dyn TicketStore>,
    pub replica: Arc<Replica>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub counters: Arc<Counters>,
}

impl Sessions {
    #[must_use]
    pub fn new(parts: SessionParts, rules: SessionRules) -> Self {
        let SessionParts { store, log, tickets: ticket_store, replica, clock, entropy, counters } = parts;
        Self { rules, store, log, ticket_store, replica, withdrawals: Arc::default(), clock, entropy, counters }
    }

    /// The same sessions by other rules. Calls under way finish by the old ones.
    #[must_use]
    pub fn ruled_by(&self, rules: SessionRules) -> Self {
        Self {
            rules,
            store: Arc::clone(&self.store),
            log: Arc::clone(&self.log),
            ticket_store: Arc::clone(&self.ticket_store),
            replica: Arc::clone(&self.replica),
            withdrawals: Arc::clone(&self.withdrawals),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            counters: Arc::clone(&self.counters),
        }
    }

    #[must_use]
    pub const fn rules(&self) -> &SessionRules {
        &self.rules
    }

    /// The public keys as a JWK Set.
    #[must_use]
    pub fn jwks(&self) -> String {
        self.rules.minting.keys.jwks().to_owned()
    }

    /// What this node knows now of tokens and sessions.
    fn vouching(&self) -> Vouching<'_> {
        Vouching::new(&self.replica, self.rules.policy.max_staleness, self.clock.now(), self.clock.monotonic())
    }

    /// One cheap round trip to the store.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.store.probe().await
    }

    /// Makes the response of a session. `refresh` is the place of the refresh token that goes with it, if one does.
    fn mint(
        &self,
        session: &Session,
        generation: Generation,
        refresh: Option<Presented>,
        now: Timestamp,
    ) -> Result<TokenPair, MintError> {
        let SessionRules { minting, policy, .. } = &self.rules;
        let issued_at = Timestamp::from_secs(now.secs());
        let expires_at = issued_at.saturating_add(policy.access_lifetime).min(session.lifetime.ends_at());
        let token_id = entropy::token_id(&*self.entropy);
        let access_token = access_token::mint(
            &minting.keys,
            &NewAccessToken {
                issuer: &minting.issuer,
                subject: &session.subject,
                audiences: &minting.audiences,
                holder: Holder::Session { id: session.id, generation },
                token_id: &token_id,
                issued_at,
                expires_at,
                grant: &session.grant,
                bytes_max: policy.access_token_bytes_max,
            },
        )?;
        // One that is never rotated stays the newest.
        let newest_for = refresh.map_or(Duration::MAX, |_| session.rotation.newest_for(policy.rotation_leeway, now));
        Ok(TokenPair {
            access_token,
            newest_for,
            refresh_token: refresh.map(|place| minting.refresh_tokens.seal(session.id, place)),
            expires_in: Duration::from_secs(expires_at.since(issued_at).as_secs()),
            session_ends_in: session.lifetime.ends_at().since(now),
            generation,
            session: session.id,
            scopes: session.grant.scopes.clone(),
        })
    }

    /// Ends what `target` names: in the store, then here. Returns the sessions whose records were deleted. Where subject tokens may be
    /// covered, it is remembered for as long as those live.
    async fn revoke(&self, target: Target, now: Timestamp, forget_at: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        let forget_at = match &target {
            Target::Session { session } if session.token_maker().is_none() => forget_at,
            Target::Token { .. } => forget_at,
            Target::Session { .. } => forget_at.max(self.subject_token_forget_at(now)),
            Target::Subject { issued_before, .. } => forget_at.max(self.subject_token_forget_at(now.max(issued_before.latest()))),
            Target::Everyone { issued_before } => forget_at.max(self.subject_token_forget_at(now.max(*issued_before))),
        };
        let revocation = Revocation { target, revoked_at: now, forget_at };
        let ended = self.log.revoke(&revocation).await?;
        self.replica.insert(&revocation);
        self.counters.add(Counter::of_revocation(&revocation.target), 1);
        Ok(ended)
    }

    async fn revoke_session(&self, session: SessionId, now: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        self.revoke(Target::Session { session }, now, self.forget_at(now)).await
    }

    /// When a revocation of subject tokens that were made until `now` may be forgotten: once they have ended, and so has what a node that
    /// had not heard of it made of one. Such a session is dated by its token, and so covered; it cannot be refreshed, and ends by idling.
    fn subject_token_forget_at(&self, now: Timestamp) -> Timestamp {
        let policy = &self.rules.policy;
        let Some(end) = policy.subject_tokens.end_by(now) else { return now };
        let made_late_ends_at = now.saturating_add(policy.max_staleness).saturating_add(policy.idle_lifetime);
        end.max(made_late_ends_at).saturating_add(CLOCK_SKEW_MAX)
    }

    /// When a revocation of something that lives now may be forgotten.
    fn forget_at(&self, now: Timestamp) -> Timestamp {
        self.rules.policy.retention.forget_at(now)
    }
}
