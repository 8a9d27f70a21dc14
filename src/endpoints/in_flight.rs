//! Cookies that are refreshed on the way of a request: the call of `/refresh` that the browser did not make itself.
//!
//! A page makes its browser send many requests at once, and a browser that has lost a response asks again. So all that come with one
//! cookie from one client share one call, while it is under way and for a while after it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use quick_cache::sync::Cache;

use super::refusal::Refusal;
use super::{Endpoints, Inner, cookies, login, refresh};
use crate::bounded::CallError;
use crate::crypto::access_token::MintError;
use crate::crypto::refresh_token::RefreshToken;
use crate::domain::claims::{Denial, Undecided};
use crate::domain::imported::ImportedDigest;
use crate::domain::in_flight::{Due, shared_for};
use crate::domain::rotation;
use crate::domain::session::Client;
use crate::domain::stats::Counter;
use crate::proxy::control::joint_answer::JointAnswer;
use crate::proxy::control::{Renewal, Renewed};
use crate::sessions::{RefreshError, TokenText};

/// Calls that are remembered at once, on one node. Beyond that, the least used are forgotten: their next request costs a call.
const CALLS_MAX: usize = 10_000;

/// How long it is remembered that a token is worth nothing. That does not change.
const FINAL_FOR: Duration = Duration::from_secs(60);

/// How long it is remembered that there was trouble: as long as clients are told to wait.
const TROUBLE_FOR: Duration = Duration::from_secs(1);

/// From the beginning of a call, how long requests wait for it that can do without: most calls take a few milliseconds.
const SPARE_PATIENCE: Duration = Duration::from_millis(250);

/// How often, at most, all results are looked through for those that count no more.
const SWEEP_PAUSE: Duration = Duration::from_secs(10);

/// The calls under way, and what came of those before.
pub(super) struct Calls {
    of: Cache<(Shown, Client), Call>,
    swept_at: Mutex<Duration>,
}

#[derive(Clone)]
struct Call {
    /// By the monotonic clock.
    began_at: Duration,
    outcome: Shared<BoxFuture<'static, Outcome>>,
}

/// A browser's token, read.
pub(super) struct Attempt {
    renewal: Renewal,
    text: TokenText,
}

/// Which token a browser shows. Nobody can make one up that is another's.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Shown {
    Ours(RefreshToken),
    Imported(ImportedDigest),
}

#[derive(Clone)]
struct Outcome {
    result: Result<Arc<Renewed>, Denial>,
    /// By the monotonic clock: until when it is the result for others too.
    holds_until: Duration,
}

impl Default for Calls {
    fn default() -> Self {
        Self { of: Cache::new(CALLS_MAX), swept_at: Mutex::default() }
    }
}

impl Calls {
    /// Forgets what counts no more: it holds tokens.
    fn sweep(&self, now: Duration) {
        let Ok(mut swept_at) = self.swept_at.try_lock() else { return };
        if now.saturating_sub(*swept_at) >= SWEEP_PAUSE {
            *swept_at = now;
            self.of.retain(|_, call| !call.is_over(now));
        }
    }
}

#[cfg(test)]
impl Calls {
    pub(super) fn count(&self) -> usize {
        self.of.len()
    }

    /// Whether none is under way.
    pub(super) fn are_done(&self) -> bool {
        self.of.iter().all(|(_, call)| call.outcome.peek().is_some())
    }
}

impl Call {
    fn is_over(&self, now: Duration) -> bool {
        self.outcome.peek().is_some_and(|outcome| outcome.holds_until <= now)
    }
}

impl Endpoints {
    /// The next tokens for a browser whose refresh cookie this is: what comes, or came, of the call for this token and client.
    pub(super) async fn result_of(&self, renewal: Renewal) -> Result<Arc<Renewed>, Denial> {
        let (text, shown) = self.inner.read(&renewal)?;
        let due = renewal.due;
        let key = (shown, login::client_of(&renewal.head, renewal.address));
        let (calls, now) = (&self.inner.renewals.of, self.inner.clock.monotonic());
        calls.remove_if(&key, |call| call.is_over(now));
        let Ok(call) = calls.get_or_insert_with(&key, || Ok::<_, Infallible>(self.begin(Attempt { renewal, text }, now)));
        let patience = match due {
            Due::Soon => SPARE_PATIENCE.saturating_sub(now.saturating_sub(call.began_at)),
            Due::Now => self.inner.options.bounds.timeout,
        };
        match (tokio::time::timeout(patience, call.outcome).await, due) {
            (Ok(outcome), _) => outcome.result,
            (Err(_), Due::Now) => Err(self.inner.undecided(CallError::TimedOut)),
            // Nobody is refused for it.
            (Err(_), Due::Soon) => Err(Denial::Undecided(Undecided::TimedOut)),
        }
    }

    /// A call is one of those in its lane, however many wait for it, and is finished though nobody does.
    fn begin(&self, attempt: Attempt, began_at: Duration) -> Call {
        let inner = Arc::clone(&self.inner);
        let call = self.lanes.renewals.call_untimed((Arc::clone(&inner), attempt));
        let ending = Arc::clone(&inner);
        let outcome = async move {
            let result = call.await.unwrap_or_else(|error| Err(inner.undecided(error)));
            let ended_at = inner.clock.monotonic();
            let holds_until = match &result {
                Ok(renewed) => renewed.shared_until,
                Err(Denial::SessionOver) => ended_at + FINAL_FOR,
                Err(_) => ended_at + TROUBLE_FOR,
            };
            Outcome { result, holds_until }
        };
        let outcome = outcome.boxed().shared();
        let driven = outcome.clone();
        self.runtime.spawn(async move {
            driven.await;
            ending.renewals.sweep(ending.clock.monotonic());
        });
        Call { began_at, outcome }
    }
}

impl Inner {
    /// What the browser shows, if that can be refreshed.
    fn read(&self, renewal: &Renewal) -> Result<(TokenText, Shown), Denial> {
        let text = self.sessions.read(renewal.refresh_token.expose());
        if refresh::exchangeable(&text).is_some() {
            // An exchange is a login, which a page asks for itself.
            return Err(Denial::NoToken);
        }
        let shown = match &text {
            TokenText::Ours(token) => Shown::Ours(*token),
            TokenText::PerhapsImported(digest) | TokenText::Legacy { imported: Some(digest), .. } => Shown::Imported(*digest),
            TokenText::Legacy { imported: None, .. } | TokenText::Unknown => {
                // Neither remembered nor counted against anybody: it costs no call of the store, and whoever sends it gets nothing.
                self.counters.add(Counter::RefreshesMalformed, 1);
                return Err(Denial::SessionOver);
            }
        };
        Ok((text, shown))
    }

    /// As `/refresh` does it.
    pub(super) async fn renew(&self, Attempt { renewal, text }: &Attempt) -> Result<Arc<Renewed>, Denial> {
        let Some(cookies) = &self.options.cookies else { return Err(Denial::NoToken) };
        let began_at = self.clock.monotonic();
        let admitted = self.limits.admit_refresh_from(renewal.address).and_then(|()| self.admit_token(text, renewal.address));
        // Counted with each request that it befalls.
        admitted.map_err(Denial::RefreshLimited)?;
        let client = login::client_of(&renewal.head, renewal.address);
        let pair = self.sessions.refresh(text, &client).await.map_err(|error| self.denial_of(error))?;
        let Some(cookies) = cookies::new(&cookies.own, &pair, Some(&renewal.refresh_token)) else {
            Refusal::CookieTooLarge.note(&self.counters);
            return Err(Denial::Undecided(Undecided::TooLarge));
        };
        let kept_for = rotation::attempt_max(self.sessions.rules().policy.rotation_leeway).min(pair.newest_for);
        let shared_for = kept_for.min(shared_for(pair.expires_in));
        let (kept_until, shared_until) = (began_at + kept_for, began_at + shared_for);
        let is_known = JointAnswer::default();
        Ok(Arc::new(Renewed { access_token: pair.access_token, cookies, kept_until, shared_until, is_known }))
    }

    fn denial_of(&self, error: RefreshError) -> Denial {
        let denial = match &error {
            RefreshError::Dead(_) => Denial::SessionOver,
            RefreshError::Contended => Denial::Undecided(Undecided::Contended),
            RefreshError::ClaimsUnknown => Denial::Undecided(Undecided::ClaimsUnknown),
            RefreshError::Store(_) => Denial::StoreUnavailable,
            RefreshError::Mint(MintError::NoSigningKey | MintError::Signing) => Denial::Undecided(Undecided::Unsigned),
            RefreshError::Mint(MintError::TooLarge(_)) => Denial::Undecided(Undecided::TooLarge),
            RefreshError::Mint(MintError::Unusable(_)) => Denial::Undecided(Undecided::Unusable),
        };
        Refusal::from(error).note(&self.counters);
        denial
    }
}
