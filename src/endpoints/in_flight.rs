//! Cookies that are refreshed on the way of a request: the call of `/refresh` that the browser did not make itself.
//!
//! A page makes its browser send many requests at once, and a browser that has lost a response asks again. So all that come with one
//! cookie from one client share one call, while it is under way and for a while after it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use quick_cache::sync::Cache;

use super::refusal::Refusal;
use super::{Inner, cookies, login, refresh};
use crate::crypto::access_token::MintError;
use crate::crypto::refresh_token::RefreshToken;
use crate::domain::claims::{Denial, Undecided};
use crate::domain::imported::ImportedDigest;
use crate::domain::in_flight::shared_for;
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

/// What part of the rotation leeway there is for the cookies to reach the browser: what the rotation rules leave to every attempt.
const LEEWAY_PARTS: u32 = 3;

/// The calls under way, and what came of those before.
pub(super) struct Calls(Cache<(Shown, Client), Call>);

type Call = Shared<BoxFuture<'static, Outcome>>;

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
        Self(Cache::new(CALLS_MAX))
    }
}

impl Inner {
    /// The next tokens for a browser whose refresh cookie this is.
    pub(super) async fn renew(self: Arc<Self>, renewal: Renewal) -> Result<Arc<Renewed>, Denial> {
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
        let client = login::client_of(&renewal.head, renewal.address);
        self.result_of((shown, client), || Arc::clone(&self).begin(renewal, text)).await
    }

    /// What comes, or came, of the call for this token and client.
    async fn result_of(&self, key: (Shown, Client), begin: impl FnOnce() -> Call) -> Result<Arc<Renewed>, Denial> {
        let calls = &self.renewals.0;
        let now = self.clock.monotonic();
        calls.remove_if(&key, |call| call.peek().is_some_and(|outcome| outcome.holds_until <= now));
        let call = calls.get_or_insert_with(&key, || Ok::<_, Denial>(begin()))?;
        call.await.result
    }

    /// Nothing happens before it is awaited.
    fn begin(self: Arc<Self>, renewal: Renewal, text: TokenText) -> Call {
        let call = async move {
            let began_at = self.clock.monotonic();
            let call = AssertUnwindSafe(self.call(&renewal, &text, began_at)).catch_unwind().await;
            let result = call.unwrap_or_else(|_| {
                self.counters.add(Counter::Panics, 1);
                Err(Denial::Undecided(Undecided::Panicked))
            });
            let holds_until = match &result {
                Ok(renewed) => renewed.shared_until,
                Err(Denial::SessionOver) => began_at + FINAL_FOR,
                Err(_) => began_at + TROUBLE_FOR,
            };
            Outcome { result, holds_until }
        };
        call.boxed().shared()
    }

    /// As `/refresh` does it.
    async fn call(&self, renewal: &Renewal, text: &TokenText, began_at: Duration) -> Result<Arc<Renewed>, Denial> {
        let renewed = async {
            self.limits.admit_refresh_from(renewal.address).map_err(Refusal::RateLimited)?;
            let pair = self.pair_for(text, &renewal.head, renewal.address, &self.options).await?;
            let cookies = self.options.cookies.as_ref().ok_or(Refusal::RefreshCookieMissing)?;
            let cookies = cookies::new(&cookies.own, &pair, Some(&renewal.refresh_token))?;
            let leeway = self.sessions.rules().policy.rotation_leeway;
            let kept_for = (leeway / LEEWAY_PARTS).min(pair.newest_for);
            let shared_for = kept_for.min(shared_for(pair.expires_in));
            let (kept_until, shared_until) = (began_at + kept_for, began_at + shared_for);
            Ok::<_, Refusal>(Arc::new(Renewed {
                access_token: pair.access_token,
                cookies,
                kept_until,
                shared_until,
                is_known: JointAnswer::default(),
            }))
        };
        renewed.await.map_err(|refusal| self.denial_of(&refusal))
    }

    fn denial_of(&self, refusal: &Refusal) -> Denial {
        let denial = match refusal {
            // Counted with each request that it befalls.
            Refusal::RateLimited(wait) => return Denial::RefreshLimited(*wait),
            Refusal::Denied(denial) => return denial.clone(),
            refusal if refusal.ends_the_session() => Denial::SessionOver,
            Refusal::Refresh(RefreshError::Contended) => Denial::Undecided(Undecided::Contended),
            Refusal::Refresh(RefreshError::ClaimsUnknown) => Denial::Undecided(Undecided::ClaimsUnknown),
            Refusal::Refresh(RefreshError::Mint(MintError::NoSigningKey | MintError::Signing)) => {
                Denial::Undecided(Undecided::Unsigned)
            }
            Refusal::CookieTooLarge | Refusal::Refresh(RefreshError::Mint(MintError::TooLarge(_))) => {
                Denial::Undecided(Undecided::TooLarge)
            }
            Refusal::Refresh(RefreshError::Mint(MintError::Unusable(_))) => Denial::Undecided(Undecided::Unusable),
            Refusal::Refresh(_)
            | Refusal::Store(_)
            | Refusal::UnsupportedMediaType
            | Refusal::Malformed(_)
            | Refusal::EncodingUnsupported
            | Refusal::FormExpected
            | Refusal::ClientInvalid
            | Refusal::ClientUnauthorized
            | Refusal::TargetInvalid
            | Refusal::Machine(_)
            | Refusal::TokenTypeUnsupported
            | Refusal::MetadataMissing
            | Refusal::UnsupportedGrantType
            | Refusal::ScopeNotGranted
            | Refusal::RefreshTokenMissing
            | Refusal::RefreshCookieMissing
            | Refusal::OriginRefused
            | Refusal::Issue(_)
            | Refusal::Logout(_)
            | Refusal::End(_)
            | Refusal::TooManyScopes(_)
            | Refusal::Call(_) => Denial::StoreUnavailable,
        };
        refusal.note(&self.counters);
        denial
    }
}
