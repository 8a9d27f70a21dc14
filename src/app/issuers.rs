//! Other issuers' keys: read from files, or fetched in the background; and the verifier that is made of them and our own.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::watched_keys::WatchedKeys;
use super::{Ambient, StartError, files};
use crate::config::{self, JwksSource, Settings};
use crate::crypto::issuers::{JwksCache, JwksSettings, Refreshed};
use crate::crypto::jwks::ForeignKeys;
use crate::crypto::keyring::KeyRing;
use crate::crypto::legacy_key::LegacyKey;
use crate::crypto::verifier::Verifier;
use crate::domain::claim_policy::ClaimPolicy;
use crate::domain::legacy::LegacyPolicy;
use crate::domain::secret::Secret;
use crate::domain::subjects::ReservedPrefixes;
use crate::outbound::jwks_client::JwksClient;
use crate::sessions::health::FetchedKeys;
use crate::tasks::supervisor::Supervisor;

/// How long an issuer's last keys are trusted while it cannot be reached.
const STALE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Everyone whose tokens are accepted.
pub(super) struct Issuers {
    foreign: Vec<Foreign>,
    own: RwLock<Own>,
    /// Held while a verifier is made and put in place: one that was made of older keys must not come last.
    placing: Mutex<()>,
}

/// Our own keys and what our tokens must say, and the same for legacy tokens.
pub(super) struct Own {
    pub(super) keys: Arc<KeyRing>,
    pub(super) policy: ClaimPolicy,
    /// The largest token that is looked at, whoever made it.
    pub(super) token_bytes_max: usize,
    pub(super) legacy: Vec<(LegacyKey, LegacyPolicy)>,
}

struct Foreign {
    policy: ClaimPolicy,
    keys: Keys,
    required: bool,
}

enum Keys {
    File(Arc<WatchedKeys>),
    Fetched(Arc<JwksCache>),
}

impl Issuers {
    pub(super) fn new(settings: &Settings, own: Own, ambient: &Ambient) -> Result<Self, StartError> {
        let reserved = settings.reserved_prefixes();
        let foreign = settings.issuers.iter().map(|issuer| Foreign::of(issuer, &reserved, ambient)).collect::<Result<_, _>>()?;
        Ok(Self { foreign, own: RwLock::new(own), placing: Mutex::new(()) })
    }

    pub(super) fn set_own(&self, own: Own) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = own;
    }

    /// The keys that are fetched.
    pub(super) fn fetched(&self) -> Vec<FetchedKeys> {
        let fetched = |foreign: &Foreign| match &foreign.keys {
            Keys::File(_) => None,
            Keys::Fetched(cache) => Some(FetchedKeys { keys: Arc::clone(cache), required: foreign.required }),
        };
        self.foreign.iter().filter_map(fetched).collect()
    }

    /// Replaces the verifier by one of the keys that are known now.
    pub(super) fn put_in_place(&self, verifier: &ArcSwap<Verifier>) {
        let _placing = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        verifier.store(Arc::new(self.verifier()));
    }

    /// A verifier of the keys that are known now.
    pub(super) fn verifier(&self) -> Verifier {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        let verifier = Verifier::new().with_token_bytes_max(own.token_bytes_max).with_own(&own.keys, own.policy.clone());
        let verifier = own.legacy.iter().fold(verifier, |verifier, (key, policy)| verifier.with_legacy(key, policy.clone()));
        self.foreign.iter().fold(verifier, |verifier, foreign| match &foreign.keys {
            Keys::File(watched) => verifier.with_foreign(&watched.keys(), foreign.policy.clone(), None),
            Keys::Fetched(cache) => {
                let known = cache.keys();
                let none = ForeignKeys::default();
                let keys = known.as_deref().unwrap_or(&none);
                verifier.with_foreign(keys, foreign.policy.clone(), Some(cache.wishes()))
            }
        })
    }
}

impl Foreign {
    fn of(issuer: &config::Issuer, reserved: &ReservedPrefixes, ambient: &Ambient) -> Result<Self, StartError> {
        let policy = issuer.policy(reserved);
        let fault = |error: String| StartError::Issuer { issuer: issuer.issuer.clone(), error };
        let keys = match &issuer.jwks {
            JwksSource::File(path) => {
                let watched = WatchedKeys::read(path, &issuer.algorithms);
                Keys::File(Arc::new(watched.map_err(|error| fault(format!("jwks_file {}: {error}", path.display())))?))
            }
            JwksSource::Url(url) => Keys::Fetched(Arc::new(cache(issuer, url, ambient)?)),
        };
        Ok(Self { policy, keys, required: issuer.required })
    }
}

/// Fetches the key set of an issuer.
pub(super) fn cache(issuer: &config::Issuer, url: &http::Uri, ambient: &Ambient) -> Result<JwksCache, StartError> {
    let client = key_client(issuer, url)?;
    Ok(JwksCache::new(jwks_settings(issuer, url), Arc::new(client), Arc::clone(&ambient.clock)))
}

/// What fetches the keys of an issuer.
///
/// # Errors
/// `ca_file` cannot be read, or holds no certificate.
pub(super) fn key_client(issuer: &config::Issuer, url: &http::Uri) -> Result<JwksClient, StartError> {
    let fault = |key: &str, error: String| StartError::Issuer { issuer: issuer.issuer.clone(), error: format!("{key}: {error}") };
    let Some(path) = &issuer.ca_file else { return JwksClient::new(url, None).map_err(|error| fault("jwks_url", error)) };
    let key = format!("ca_file {}", path.display());
    let authorities = files::read(path, files::PEM_BYTES_MAX).map_err(|error| fault(&key, format!("cannot be read: {error}")))?;
    JwksClient::new(url, Some(&authorities)).map_err(|error| fault(&key, error))
}

fn jwks_settings(issuer: &config::Issuer, url: &http::Uri) -> JwksSettings {
    JwksSettings {
        url: Secret::new(url.to_string()),
        algorithms: issuer.algorithms.clone(),
        refresh_interval: issuer.refresh_interval,
        minimum_interval: issuer.minimum_interval,
        fetch_timeout: issuer.fetch_timeout,
        stale_max: STALE_MAX,
    }
}

/// Starts one task for each issuer: it keeps the keys fresh, and puts a new verifier in place when they change.
pub(super) fn spawn(supervisor: &Supervisor, issuers: &Arc<Issuers>, verifier: &Arc<ArcSwap<Verifier>>) {
    for foreign in &issuers.foreign {
        let (issuers, verifier) = (Arc::clone(issuers), Arc::clone(verifier));
        let issuer = Arc::clone(&foreign.policy.issuer);
        match &foreign.keys {
            Keys::File(watched) => {
                let watched = Arc::clone(watched);
                supervisor.supervise("issuer key file", move |stop| {
                    let (watched, issuers, verifier) = (Arc::clone(&watched), Arc::clone(&issuers), Arc::clone(&verifier));
                    let issuer = Arc::clone(&issuer);
                    async move {
                        let following = watched.follow(&issuer, || issuers.put_in_place(&verifier));
                        let _ = stop.run_until_cancelled(following).await;
                    }
                });
            }
            Keys::Fetched(cache) => {
                let cache = Arc::clone(cache);
                supervisor.supervise("issuer keys", move |stop| {
                    let (cache, issuers, verifier) = (Arc::clone(&cache), Arc::clone(&issuers), Arc::clone(&verifier));
                    let issuer = Arc::clone(&issuer);
                    async move {
                        while let Some(refreshed) = stop.run_until_cancelled(cache.turn()).await {
                            match &refreshed {
                                Refreshed::Unchanged => {}
                                Refreshed::Changed(_) => {
                                    tracing::info!(%issuer, "issuer's keys changed");
                                    issuers.put_in_place(&verifier);
                                }
                                Refreshed::Failed(error) => tracing::warn!(%issuer, %error, "issuer's keys cannot be fetched"),
                                Refreshed::Dropped(error) => {
                                    tracing::error!(%issuer, %error, "issuer's keys are too old to be trusted");
                                    issuers.put_in_place(&verifier);
                                }
                            }
                            cache.announce(&refreshed);
                        }
                    }
                });
            }
        }
    }
}
