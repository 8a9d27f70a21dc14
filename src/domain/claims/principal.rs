//! Who a request speaks for, and when its token counts.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::denial::Denial;
use crate::domain::claim_policy::names_any;
use crate::domain::demands::TokenDemands;
use crate::domain::ids::{Generation, SessionId, Subject, TokenId};
use crate::domain::time::{CLOCK_SKEW_MAX, Timestamp};

/// Who a request speaks for, after its token was verified. Immutable and shared: one per distinct token.
#[derive(Clone, PartialEq, Debug)]
pub struct Principal {
    pub subject: Subject,
    /// The `iss` of the token; for a legacy token, the name of the rules that it was accepted by.
    pub issuer: Arc<str>,
    /// Present in our own tokens, and for old ones: derived from the token, see [`SessionId::of_subject_token`].
    pub session: Option<SessionId>,
    /// Present in our own tokens alone.
    pub generation: Option<Generation>,
    pub token: Option<TokenId>,
    pub audiences: Vec<String>,
    pub scopes: Vec<String>,
    pub issued_at: Option<Timestamp>,
    /// When the user logged in, if the token says so.
    pub logged_in_at: Option<Timestamp>,
    /// As the token says; [`Principal::window`] is what counts.
    pub not_before: Option<Timestamp>,
    /// The same.
    pub expires_at: Timestamp,
    pub window: Window,
    /// The further claims that count, for those that the operator chose to pass on.
    pub claims: Map<String, Value>,
}

/// When a token counts. Decided once, when it is verified, by the rules of its issuer; whoever asks later asks this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// The first moment.
    pub opens_at: Timestamp,
    /// The first moment after it.
    pub closes_at: Timestamp,
}

impl Window {
    pub const ALWAYS: Self = Self { opens_at: Timestamp::MIN, closes_at: Timestamp::MAX };

    /// From `nbf` to `exp`, and as much longer at both ends as clocks may differ.
    #[must_use]
    pub fn new(not_before: Option<Timestamp>, expires_at: Timestamp, leeway: Duration) -> Self {
        let opens_at = not_before.map_or(Timestamp::MIN, |from| from.saturating_sub(leeway));
        Self { opens_at, closes_at: expires_at.saturating_add(leeway) }
    }

    /// Whether the token counts at `now`, by its times alone. Who asks later than the token was verified asks
    /// [`Vouching`](crate::domain::vouching::Vouching), which asks this.
    ///
    /// # Errors
    /// [`Denial::Expired`], or [`Denial::Invalid`] before the window opens.
    pub fn check(&self, now: Timestamp) -> Result<(), Denial> {
        if self.is_over(now) {
            return Err(Denial::Expired);
        }
        if self.is_ahead(now) { Err(Denial::EARLY) } else { Ok(()) }
    }

    #[must_use]
    pub fn is_ahead(&self, now: Timestamp) -> bool {
        now < self.opens_at
    }

    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.closes_at
    }
}

impl Principal {
    /// Whether it was made from a legacy token.
    #[must_use]
    pub const fn is_legacy(&self) -> bool {
        self.session.is_some() && self.generation.is_none()
    }

    /// Holds the token against what a route demands.
    ///
    /// # Errors
    /// What is missing. The age of the login comes last: a login anew gives no further rights.
    pub fn satisfies(&self, demands: &TokenDemands, now: Timestamp) -> Result<(), Denial> {
        if !demands.audiences.is_empty() && !names_any(&self.audiences, &demands.audiences) {
            return Err(Denial::Invalid("aud does not name the route"));
        }
        if !demands.scopes.iter().all(|scope| self.scopes.contains(scope)) {
            return Err(Denial::InsufficientScope(Arc::clone(&demands.scopes)));
        }
        if let Some(unmet) = demands.claims.iter().find(|demand| !demand.is_met_by(&self.claims)) {
            return Err(Denial::InsufficientClaims(unmet.path.clone()));
        }
        match demands.login_age_max {
            Some(age_max) if !self.has_logged_in_within(age_max, now) => Err(Denial::LoginTooOld(age_max)),
            Some(_) | None => Ok(()),
        }
    }

    /// A login that lies ahead by more than clocks differ is none.
    fn has_logged_in_within(&self, age_max: Duration, now: Timestamp) -> bool {
        self.logged_in_at.is_some_and(|at| at <= now.saturating_add(CLOCK_SKEW_MAX) && now.since(at) <= age_max)
    }
}
