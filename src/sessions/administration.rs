//! What an administrator ends: a session, a subject's, a token, everything that is older than a moment.

use std::sync::Arc;

use super::Sessions;
use crate::domain::ids::{SessionId, Subject, TokenId};
use crate::domain::machine;
use crate::domain::revocation::{Cutoff, Target};
use crate::domain::time::{CLOCK_SKEW_MAX, Timestamp};
use crate::store::StoreError;

/// What is to end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    Session(SessionId),
    /// Without a moment, every session and foreign token that the subject has now.
    Subject {
        subject: Subject,
        issued_before: Option<Timestamp>,
    },
    /// The tokens that an OAuth client has now, whether its entry is still there or not.
    Client(String),
    /// Without an issuer, a token of ours.
    Token {
        issuer: Option<Arc<str>>,
        token: TokenId,
    },
    Everyone {
        issued_before: Timestamp,
    },
}

/// What was ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// As it was logged; where there were several revocations, they share its place.
    pub target: Target,
    pub sessions: u64,
}

/// Why an order is not known to be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Whoever logs in until then would be refused.
    #[error("the moment lies ahead")]
    MomentAhead,
    #[error("no subject has so long a name")]
    ClientTooLong,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sessions {
    /// Carries the order out: when this returns, the store has it and this node refuses what it covers. Idempotent.
    pub async fn carry_out(&self, order: Order) -> Result<Ended, OrderError> {
        let now = self.clock.now();
        let checked = |moment: Timestamp| {
            let is_believable = moment <= now.saturating_add(CLOCK_SKEW_MAX);
            if is_believable { Ok(moment) } else { Err(OrderError::MomentAhead) }
        };
        let (target, forget_at) = match order {
            Order::Subject { subject, issued_before: None } => {
                let (target, sessions) = self.end_subject(&subject, Vec::new(), now).await?;
                return Ok(Ended { target, sessions });
            }
            Order::Client(id) => {
                let subject = machine::subject(&self.rules.policy.machine_prefix, &id).ok_or(OrderError::ClientTooLong)?;
                let (target, sessions) = self.end_subject(&subject, Vec::new(), now).await?;
                return Ok(Ended { target, sessions });
            }
            Order::Everyone { issued_before } => {
                return Ok(self.end_everyone(checked(issued_before)?, now).await?);
            }
            Order::Session(session) => (Target::Session { session }, self.forget_at(now)),
            Order::Subject { subject, issued_before: Some(moment) } => {
                let moment = checked(moment)?;
                (Target::Subject { subject, issued_before: Cutoff::named(moment) }, self.forget_at(now.max(moment)))
            }
            Order::Token { issuer, token } => {
                let issuer = issuer.unwrap_or_else(|| self.rules.minting.issuer.as_str().into());
                (Target::Token { issuer, token }, self.forget_at(now))
            }
        };
        let sessions = self.revoke(target.clone(), now, forget_at).await?.len() as u64;
        Ok(Ended { target, sessions })
    }

    /// The revocation takes effect at once; the records go after it, in steps. It is remembered for as long as any of them could
    /// live: one that is left behind, should the store fail in between, stays refused.
    async fn end_everyone(&self, issued_before: Timestamp, now: Timestamp) -> Result<Ended, StoreError> {
        let target = Target::Everyone { issued_before };
        let longest_life = self.rules.policy.absolute_lifetime.saturating_add(CLOCK_SKEW_MAX);
        let forget_at = self.forget_at(now).max(now.saturating_add(longest_life));
        self.revoke(target.clone(), now, forget_at).await?;
        let sessions = self.store.end_created_before(issued_before).await?;
        Ok(Ended { target, sessions })
    }
}
