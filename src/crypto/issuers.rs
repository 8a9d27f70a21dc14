//! The keys of an issuer that publishes them at a URL: fetched by us on our own schedule, never because of one token.
//!
//! A token whose `kid` nobody has, or whose signature its key did not make, only leaves a wish behind ([`KeyWishes`]); how soon the wish is granted is decided here, so that a flood
//! of made-up tokens causes no more than one fetch per minimum interval. While fetches fail, the keys that were there last go on.

mod schedule;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use schedule::{Schedule, Wish};

use super::jwks::{ForeignKeys, JwksError, JwksOrigin};
use super::key_wishes::KeyWishes;
use crate::domain::algorithm::Algorithm;
use crate::domain::secret::Secret;
use crate::domain::time::Clock;

/// Gets a key set over the network. Implementations stop reading past [`super::jwks::JWKS_BYTES_MAX`], take 200 alone, and follow no
/// redirect to another origin.
#[async_trait]
pub trait JwksSource: Send + Sync + 'static {
    /// # Errors
    /// What went wrong, for the log.
    async fn fetch(&self, url: &str) -> Result<Bytes, String>;
}

/// Where an issuer's keys are, and how often they may be asked for.
#[derive(Clone, Debug)]
pub struct JwksSettings {
    /// Its query may hold a key of the issuer's.
    pub url: Secret<String>,
    /// The algorithms that this issuer's keys may be fixed to.
    pub algorithms: Vec<Algorithm>,
    /// From one success to the next routine fetch.
    pub refresh_interval: Duration,
    /// From one fetch to the next, whatever asks for it.
    pub minimum_interval: Duration,
    pub fetch_timeout: Duration,
    /// How long the last keys go on when every fetch fails; after that the issuer's tokens are refused.
    pub stale_max: Duration,
}

/// The present keys of one issuer.
pub struct JwksCache {
    settings: JwksSettings,
    source: Arc<dyn JwksSource>,
    clock: Arc<dyn Clock>,
    wishes: Arc<KeyWishes>,
    state: Mutex<State>,
    /// Held during a fetch: there is never more than one.
    in_flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    keys: Option<Arc<ForeignKeys>>,
    schedule: Schedule,
}

/// How a fetch ended.
#[derive(Clone, Debug)]
pub enum Refreshed {
    /// Other keys than before, or the first: build a new verifier.
    Changed(Arc<ForeignKeys>),
    Unchanged,
    /// The old keys go on. Why, for the log.
    Failed(FetchError),
    /// The old keys are too old to go on and were dropped: build a new verifier without them.
    Dropped(FetchError),
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{0}")]
    Source(String),
    #[error("no response within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Document(#[from] JwksError),
}

impl JwksCache {
    #[must_use]
    pub fn new(settings: JwksSettings, source: Arc<dyn JwksSource>, clock: Arc<dyn Clock>) -> Self {
        let wishes = KeyWishes::new(Arc::clone(&clock), settings.fetch_timeout);
        Self { settings, source, clock, wishes, state: Mutex::default(), in_flight: tokio::sync::Mutex::new(()) }
    }

    /// With the keys that another cache holds of the same issuer, as old as they are there.
    #[must_use]
    pub fn with_keys_of(self, former: &Self) -> Self {
        let state = {
            let former = former.locked();
            State { keys: former.keys.clone(), schedule: former.schedule }
        };
        Self { state: Mutex::new(state), ..self }
    }

    /// The keys that verify now; `None` before the first success, and after [`JwksSettings::stale_max`] without one.
    #[must_use]
    pub fn keys(&self) -> Option<Arc<ForeignKeys>> {
        self.locked().keys.clone()
    }

    /// Where those wait who name a key that is not there; see [`super::verifier::Verifier::with_foreign`].
    #[must_use]
    pub fn wishes(&self) -> Arc<KeyWishes> {
        Arc::clone(&self.wishes)
    }

    /// Waits until the next fetch is due, by routine or because an unknown `kid` was seen, and carries it out. Call it in a loop;
    /// the first call fetches at once. Stopping in the middle loses nothing.
    pub async fn turn(&self) -> Refreshed {
        let routine = self.due_in(Wish::Routine);
        tokio::select! {
            () = tokio::time::sleep(routine) => {}
            () = self.wishes.asked() => tokio::time::sleep(self.due_in(Wish::UnknownKid).min(routine)).await,
        }
        self.refresh().await
    }

    /// Fetches now. Callers that arrive while a fetch is under way wait for it, then have one of their own: [`JwksCache::turn`] is
    /// the one that keeps to the schedule.
    pub async fn refresh(&self) -> Refreshed {
        let _alone = self.in_flight.lock().await;
        let due_at = {
            let mut state = self.locked();
            state.schedule.begun(self.clock.monotonic());
            state.schedule.due_at(Wish::UnknownKid, &self.settings)
        };
        self.wishes.fetch_begins(due_at.unwrap_or_default());
        let fetched = self.fetch().await;
        let now = self.clock.monotonic();
        let mut state = self.locked();
        match fetched {
            Ok(keys) => {
                state.schedule.succeeded(now);
                if state.keys.as_ref().is_some_and(|old| old.is_same(&keys)) {
                    return Refreshed::Unchanged;
                }
                let keys = Arc::new(keys);
                state.keys = Some(keys.clone());
                Refreshed::Changed(keys)
            }
            Err(error) => {
                state.schedule.failed();
                let is_too_old = state.schedule.age(now).is_some_and(|age| age >= self.settings.stale_max);
                match state.keys.take_if(|_| is_too_old) {
                    Some(_) => Refreshed::Dropped(error),
                    None => Refreshed::Failed(error),
                }
            }
        }
    }

    /// Lets those look again who wait for a key: call it when what [`JwksCache::turn`] gave is in place.
    pub fn announce(&self, refreshed: &Refreshed) {
        let succeeded = match refreshed {
            Refreshed::Changed(_) | Refreshed::Unchanged => true,
            Refreshed::Failed(_) | Refreshed::Dropped(_) => false,
        };
        let due_at = self.locked().schedule.due_at(Wish::UnknownKid, &self.settings);
        self.wishes.fetch_ended(succeeded, due_at.unwrap_or_default());
    }

    /// How long until the next fetch.
    #[must_use]
    fn due_in(&self, wish: Wish) -> Duration {
        let now = self.clock.monotonic();
        self.locked().schedule.due_at(wish, &self.settings).map_or(Duration::ZERO, |at| at.saturating_sub(now))
    }

    async fn fetch(&self) -> Result<ForeignKeys, FetchError> {
        let timeout = self.settings.fetch_timeout;
        let document = tokio::time::timeout(timeout, self.source.fetch(self.settings.url.expose())).await;
        let document = document.map_err(|_| FetchError::Timeout(timeout))?.map_err(FetchError::Source)?;
        Ok(ForeignKeys::parse(&document, &self.settings.algorithms, JwksOrigin::Url)?)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for JwksCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwksCache").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
