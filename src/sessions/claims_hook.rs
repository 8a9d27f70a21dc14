//! On refresh, someone else may be asked what the subject's claims are by now, and whether there still is such a subject.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::audit::audit;
use super::{DeadToken, RefreshError, Sessions};
use crate::domain::session::{Grant, Session};
use crate::domain::session_policy::WithoutClaims;
use crate::domain::stats::Counter;
use crate::domain::time::Timestamp;

/// Whoever knows the subjects.
#[async_trait]
pub trait ClaimsSource: Send + Sync + 'static {
    /// Responds within a bounded time.
    async fn ask(&self, session: &Session) -> Present;
}

/// What is known of the subject of a session now.
#[derive(Clone, PartialEq, Debug)]
pub enum Present {
    Known(PresentClaims),
    /// There is no such subject any more.
    Gone,
    /// For the log.
    NoResponse(String),
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct PresentClaims {
    /// `None`: nothing was said of them.
    pub scopes: Option<Vec<String>>,
    /// All that there are.
    pub claims: Map<String, Value>,
}

/// A source, and how much depends on it.
#[derive(Clone)]
pub struct ClaimsHook {
    pub source: Arc<dyn ClaimsSource>,
    pub without_claims: WithoutClaims,
}

impl Sessions {
    /// What the session's tokens are to say from now on. Asked when the session moves on, not when a response is repeated.
    pub(super) async fn present_grant(&self, session: &Session, now: Timestamp) -> Result<Grant, RefreshError> {
        let Some(hook) = &self.rules.claims_hook else { return Ok(session.grant.clone()) };
        match hook.source.ask(session).await {
            Present::Known(present) => Ok(narrowed(&session.grant, present)),
            Present::Gone => {
                self.revoke_session(session.id, now).await?;
                let (subject, session) = (&session.subject, session.id);
                audit!(info, "session_ended_by_claims_hook", subject = subject, session = session);
                Err(RefreshError::Dead(DeadToken::Disowned))
            }
            Present::NoResponse(cause) => {
                self.counters.add(Counter::ClaimsHookFailures, 1);
                tracing::warn!(cause, session = %session.id, "the claims hook gave no response");
                match hook.without_claims {
                    WithoutClaims::Keep => Ok(session.grant.clone()),
                    WithoutClaims::Refuse => Err(RefreshError::ClaimsUnknown),
                }
            }
        }
    }
}

/// Claims change either way, scopes only ever become fewer.
fn narrowed(grant: &Grant, present: PresentClaims) -> Grant {
    let mut scopes = grant.scopes.clone();
    if let Some(present) = &present.scopes {
        scopes.retain(|scope| present.contains(scope));
    }
    Grant { scopes, claims: present.claims, logged_in_at: grant.logged_in_at }
}

impl std::fmt::Debug for ClaimsHook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClaimsHook").field("without_claims", &self.without_claims).finish_non_exhaustive()
    }
}
