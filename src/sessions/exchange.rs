//! Exchanges a subject token for a session: a legacy token, or one of another issuer.

use super::audit::audit;
use super::refresh::{Attempt, SWAP_ATTEMPTS_MAX};
use super::{DeadToken, OldToken, RefreshError, Sessions, TokenPair};
use crate::crypto::entropy;
use crate::crypto::refresh_token::RefreshToken;
use crate::crypto::verifier::{Verifier, judge_when_known};
use crate::domain::claims::{Denial, Ending};
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::ids::{Generation, SessionId, TokenMaker};
use crate::domain::rotation::{Presented, Rotation};
use crate::domain::session::{Client, Lifetime, Session};
use crate::domain::session_policy::{ReusePolicy, SessionPolicy};
use crate::domain::stats::Counter;
use crate::domain::subject_token::{SubjectToken, SubjectTokenType};
use crate::domain::time::{CLOCK_SKEW_MAX, Timestamp};
use crate::domain::vouching::Standing;
use crate::store::StoreError;

/// The place of a subject token in the line of its session's refresh tokens: before the first.
const BEFORE_THE_FIRST: Presented = Presented { generation: Generation::NONE, parent: Generation::NONE };

impl Sessions {
    /// Verifies a text as a subject token; `kind` is what its client says that it is.
    ///
    /// # Errors
    /// [`Denial::IssuerKeysUnavailable`]: nobody can say for now. All others: it is none.
    pub async fn read_subject_token(&self, text: &str, kind: SubjectTokenType) -> Result<SubjectToken, Denial> {
        let partitions = self.store.partitions();
        let judge = |verifier: &Verifier| verifier.subject_token(text, kind, partitions, self.clock.now());
        judge_when_known(&self.rules.verifier, text, judge).await
    }

    /// Creates a session for a subject token, as often as its rules allow. The token stays valid until it ends or is revoked: other
    /// tabs and devices may still use it. The session of an old refresh token ends as at a login.
    ///
    /// # Errors
    /// As for a refresh token; [`DeadToken::Malformed`] where such tokens are not exchanged.
    pub async fn exchange(
        &self,
        token: &SubjectToken,
        client: &Client,
        old: Option<&OldToken>,
    ) -> Result<TokenPair, RefreshError> {
        let result = self.exchange_by(&self.rules.policy, token, client, old).await;
        if let Some(counter) = result.as_ref().err().and_then(RefreshError::counter) {
            self.counters.add(counter, 1);
        }
        result
    }

    async fn exchange_by(
        &self,
        policy: &SessionPolicy,
        token: &SubjectToken,
        client: &Client,
        old: Option<&OldToken>,
    ) -> Result<TokenPair, RefreshError> {
        match self.vouching().token(&token.principal) {
            Standing::Good => {}
            // The session may not exist yet, so a logout left nothing in the store to see: the replica must be complete.
            Standing::Unconfirmed => {
                return Err(StoreError::Unavailable("the revocations were not confirmed lately".to_owned()).into());
            }
            Standing::Early => return Err(RefreshError::Dead(DeadToken::Malformed)),
            Standing::Over(Ending::Revoked(_)) => return Err(RefreshError::Dead(DeadToken::Revoked)),
            Standing::Over(Ending::Expired) => return Err(RefreshError::Dead(DeadToken::Expired)),
        }
        match token.exchange {
            ExchangeRule::Never => Err(RefreshError::Dead(DeadToken::Malformed)),
            ExchangeRule::Once => self.exchange_once(policy, token, client, old).await,
            ExchangeRule::Many => {
                let now = self.clock.now();
                let first = self.first_of(policy, token, client, now).await?;
                // Created when the token was: what revokes the subject must not pass over what was made of its token.
                let created_at = Some(first.id.created_at());
                let mut drawn = [0; 32];
                drawn[..6].copy_from_slice(&entropy::draw::<6>(&*self.entropy));
                let id = SessionId::of_subject_token(token.maker, first.id.partition(), created_at, &drawn);
                let lifetime = Lifetime::starting(now, policy.idle_lifetime, policy.absolute_lifetime);
                let session = Session { id, rotation: Rotation::first(), lifetime, ..first };
                let pair = self.mint(&session, session.rotation.current, Some(session.rotation.token()), now)?;
                self.end_old(old, &session.subject, None, now).await?;
                self.create_drawn(&session, now).await?;
                self.note_exchange(token, &session);
                Ok(pair)
            }
        }
    }

    /// The id of the session is derived from the token: all nodes make the same, and the store keeps the first. From then on the token
    /// is a refresh token of generation 0. Within the leeway, and until a response is known to have arrived, it yields the current
    /// pair; after that it is spent.
    async fn exchange_once(
        &self,
        policy: &SessionPolicy,
        token: &SubjectToken,
        client: &Client,
        old: Option<&OldToken>,
    ) -> Result<TokenPair, RefreshError> {
        // A spent subject token is far more often a kept copy than a theft, so the session does not end.
        let policy = SessionPolicy { reuse: ReusePolicy::Refuse, ..policy.clone() };
        let presented = RefreshToken { session: token.session, presented: BEFORE_THE_FIRST };
        for _ in 0..SWAP_ATTEMPTS_MAX {
            let now = self.clock.now();
            let stored = match self.load_live(token.session, now).await {
                Err(RefreshError::Dead(DeadToken::Unknown)) => {
                    let session = self.first_of(&policy, token, client, now).await?;
                    let pair = self.mint(&session, session.rotation.current, Some(session.rotation.token()), now)?;
                    // First, so that it does not count against the limit.
                    self.end_old(old, &session.subject, Some(session.id), now).await?;
                    self.create(&session, now).await?;
                    let stored = self.load_live(token.session, now).await?;
                    if stored.session == session {
                        self.note_exchange(token, &session);
                        return Ok(pair);
                    }
                    // Another call came first, and its record counts.
                    stored
                }
                found => found?,
            };
            if stored.session.subject != token.principal.subject {
                return Err(RefreshError::Dead(DeadToken::Malformed));
            }
            match self.rotate(stored, presented, client, &policy, now).await? {
                Attempt::Answered(pair) => {
                    // Should it fail, the exchange is repeated.
                    self.end_old(old, &token.principal.subject, Some(pair.session), now).await?;
                    return Ok(pair);
                }
                Attempt::LostRace => {}
            }
        }
        Err(RefreshError::Contended)
    }

    /// The one session of a subject token. It lives at least as long as the token would have: nobody is to be logged out by the exchange,
    /// and while its record is there the token cannot be exchanged again. What the token grants may be old: the claims hook is asked,
    /// and where the subject is gone, the token ends.
    async fn first_of(
        &self,
        policy: &SessionPolicy,
        token: &SubjectToken,
        client: &Client,
        now: Timestamp,
    ) -> Result<Session, RefreshError> {
        // By whatever clock: a record that has gone would let the token come again.
        let end = token.principal.window.closes_at.saturating_add(CLOCK_SKEW_MAX);
        let own = Lifetime::starting(now, policy.idle_lifetime, policy.absolute_lifetime);
        let session = Session {
            id: token.session,
            subject: token.principal.subject.clone(),
            grant: token.grant.clone(),
            // As if it had just been rotated: whoever asks again within the leeway gets the same response.
            rotation: Rotation { rotated_at: Some(now), ..Rotation::first() },
            lifetime: Lifetime { idle_ends_at: own.idle_ends_at.max(end), absolute_ends_at: own.absolute_ends_at.max(end) },
            client: client.clone(),
            last_used_at: now,
        };
        let grant = self.present_grant(&session, now).await?;
        Ok(Session { grant, ..session })
    }

    fn note_exchange(&self, token: &SubjectToken, session: &Session) {
        let (subject, id, address) = (&session.subject, session.id, session.client.address);
        match token.maker {
            TokenMaker::Api => {
                self.counters.add(Counter::LegacyExchanges, 1);
                audit!(info, "legacy_token_exchanged", subject = subject, session = id, address = address);
            }
            TokenMaker::Issuer => {
                self.counters.add(Counter::TokenExchanges, 1);
                let issuer = &token.principal.issuer;
                audit!(info, "subject_token_exchanged", issuer = issuer, subject = subject, session = id, address = address);
            }
        }
    }
}
