//! Whose tokens are accepted: the keys of other issuers, read from files or fetched in the background, and the verifier that is made of
//! them and our own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::watched_keys::WatchedKeys;
use super::{Ambient, StartError, certificate_files};
use crate::config::{self, JwksSource, Settings};
use crate::crypto::authorities::Authorities;
use crate::crypto::issuers::{JwksCache, JwksSettings, Refreshed};
use crate::crypto::jwks::ForeignKeys;
use crate::crypto::keyring::KeyRing;
use crate::crypto::legacy_key::LegacyKey;
use crate::crypto::verifier::Verifier;
use crate::domain::algorithm::Algorithm;
use crate::domain::claim_policy::ClaimPolicy;
use crate::domain::legacy::LegacyPolicy;
use crate::domain::secret::Secret;
use crate::outbound::jwks_client::JwksClient;
use crate::sessions::health::FetchedKeys;
use crate::tasks::supervisor::Supervisor;

/// How long an issuer's last keys are trusted while it cannot be reached.
const STALE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Everyone whose tokens are accepted by one set of settings, and the verifier of their tokens.
pub(super) struct Issuers {
    foreign: Vec<Foreign>,
    own: Own,
    verifier: Arc<ArcSwap<Verifier>>,
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
    keys: Arc<KeySource>,
    required: bool,
}

impl Issuers {
    /// What `former` knows of the keys of issuers that stayed is kept.
    pub(super) fn new(settings: &Settings, own: Own, ambient: &Ambient, former: Option<&Self>) -> Result<Arc<Self>, StartError> {
        let reserved = settings.reserved_prefixes();
        let source = |issuer: &config::Issuer| {
            let former = former.and_then(|former| former.source_of(&issuer.issuer));
            KeySource::of(issuer, ambient, former)
        };
        let foreign = |issuer: &config::Issuer| {
            Ok(Foreign { policy: issuer.policy(&reserved), keys: source(issuer)?, required: issuer.required })
        };
        let foreign = settings.issuers.iter().map(foreign).collect::<Result<_, StartError>>()?;
        let verifier = Arc::new(ArcSwap::from_pointee(Verifier::new()));
        let issuers = Arc::new(Self { foreign, own, verifier, placing: Mutex::new(()) });
        for foreign in &issuers.foreign {
            foreign.keys.users.add(&issuers);
        }
        // Keys that come from now on come here too.
        issuers.put_in_place();
        Ok(issuers)
    }

    /// Always the verifier of the keys that are known.
    pub(super) const fn verifier(&self) -> &Arc<ArcSwap<Verifier>> {
        &self.verifier
    }

    /// The keys that are fetched.
    pub(super) fn fetched(&self) -> Vec<FetchedKeys> {
        let fetched = |foreign: &Foreign| match &foreign.keys.keys {
            Keys::File(_) => None,
            Keys::Fetched(cache) => Some(FetchedKeys { keys: Arc::clone(cache), required: foreign.required }),
        };
        self.foreign.iter().filter_map(fetched).collect()
    }

    /// Sees to it that the keys of all other issuers are kept fresh, each for as long as settings are in use that name it.
    pub(super) fn keep_fresh(&self, supervisor: &Supervisor) {
        for foreign in &self.foreign {
            foreign.keys.keep_fresh(&foreign.policy.issuer, supervisor);
        }
    }

    fn source_of(&self, issuer: &str) -> Option<&Arc<KeySource>> {
        self.foreign.iter().find(|foreign| &*foreign.policy.issuer == issuer).map(|foreign| &foreign.keys)
    }

    fn put_in_place(&self) {
        let _placing = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        self.verifier.store(Arc::new(self.present_verifier()));
    }

    fn present_verifier(&self) -> Verifier {
        let own = &self.own;
        let verifier = Verifier::new().with_token_bytes_max(own.token_bytes_max).with_own(&own.keys, own.policy.clone());
        let verifier = own.legacy.iter().fold(verifier, |verifier, (key, policy)| verifier.with_legacy(key, policy.clone()));
        self.foreign.iter().fold(verifier, |verifier, foreign| match &foreign.keys.keys {
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

/// The keys of one issuer, which outlive a reload that changes nothing in where they come from.
struct KeySource {
    origin: Origin,
    keys: Keys,
    users: Arc<Users>,
    is_kept_fresh: AtomicBool,
    /// Ends the task that keeps them fresh.
    ended: CancellationToken,
}

/// Where keys come from, and how often.
#[derive(PartialEq, Eq)]
struct Origin {
    place: JwksSource,
    algorithms: Vec<Algorithm>,
    refresh_interval: Duration,
    minimum_interval: Duration,
    fetch_timeout: Duration,
    /// Of `ca_file`.
    authorities: Option<Authorities>,
}

enum Keys {
    File(Arc<WatchedKeys>),
    Fetched(Arc<JwksCache>),
}

impl KeySource {
    /// `former`: what there is of the same issuer. If it is of the same origin, it goes on.
    fn of(issuer: &config::Issuer, ambient: &Ambient, former: Option<&Arc<Self>>) -> Result<Arc<Self>, StartError> {
        let origin = Origin::of(issuer)?;
        if let Some(former) = former.filter(|former| former.origin == origin) {
            return Ok(Arc::clone(former));
        }
        let keys = match &issuer.jwks {
            JwksSource::File(path) => {
                let watched = WatchedKeys::read(path, &issuer.algorithms);
                Keys::File(Arc::new(watched.map_err(|error| fault(issuer, format!("jwks_file {}: {error}", path.display())))?))
            }
            JwksSource::Url(url) => {
                let cache = cache_by(issuer, url, origin.authorities.as_ref(), ambient)?;
                let same_set = former.filter(|former| former.origin.is_of_the_set_of(&origin));
                Keys::Fetched(Arc::new(match same_set.map(|former| &former.keys) {
                    Some(Keys::Fetched(former)) => cache.with_keys_of(former),
                    Some(Keys::File(_)) | None => cache,
                }))
            }
        };
        let (is_kept_fresh, ended) = (AtomicBool::new(false), CancellationToken::new());
        Ok(Arc::new(Self { origin, keys, users: Arc::default(), is_kept_fresh, ended }))
    }

    /// Starts the task that does it, unless it runs already.
    fn keep_fresh(&self, issuer: &Arc<str>, supervisor: &Supervisor) {
        if self.is_kept_fresh.swap(true, Ordering::Relaxed) {
            return;
        }
        let (ended, users, issuer) = (self.ended.clone(), Arc::clone(&self.users), Arc::clone(issuer));
        match &self.keys {
            Keys::File(watched) => {
                let watched = Arc::clone(watched);
                supervisor.supervise("issuer key file", move |stop| {
                    let (watched, users, issuer, ended) =
                        (Arc::clone(&watched), Arc::clone(&users), Arc::clone(&issuer), ended.clone());
                    async move {
                        let following = Box::pin(watched.follow(&issuer, || users.put_in_place()));
                        let _ = ended.run_until_cancelled(stop.run_until_cancelled(following)).await;
                    }
                });
            }
            Keys::Fetched(cache) => {
                let cache = Arc::clone(cache);
                supervisor.supervise("issuer keys", move |stop| {
                    let (cache, users, issuer, ended) =
                        (Arc::clone(&cache), Arc::clone(&users), Arc::clone(&issuer), ended.clone());
                    async move {
                        let fetching = fetch_for_ever(&cache, &issuer, &users);
                        let _ = ended.run_until_cancelled(stop.run_until_cancelled(fetching)).await;
                    }
                });
            }
        }
    }
}

/// No settings are in use any more that name it.
impl Drop for KeySource {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// Fetches whenever it is due, and puts new verifiers in place when the keys change.
async fn fetch_for_ever(cache: &JwksCache, issuer: &str, users: &Users) {
    loop {
        let refreshed = cache.turn().await;
        match &refreshed {
            Refreshed::Unchanged => {}
            Refreshed::Changed(_) => {
                tracing::info!(issuer, "issuer's keys changed");
                users.put_in_place();
            }
            Refreshed::Failed(error) => tracing::warn!(issuer, %error, "issuer's keys cannot be fetched"),
            Refreshed::Dropped(error) => {
                tracing::error!(issuer, %error, "issuer's keys are too old to be trusted");
                users.put_in_place();
            }
        }
        cache.announce(&refreshed);
    }
}

impl Origin {
    fn of(issuer: &config::Issuer) -> Result<Self, StartError> {
        Ok(Self {
            place: issuer.jwks.clone(),
            algorithms: issuer.algorithms.clone(),
            refresh_interval: issuer.refresh_interval,
            minimum_interval: issuer.minimum_interval,
            fetch_timeout: issuer.fetch_timeout,
            authorities: authorities(issuer)?,
        })
    }

    /// Whether both lead to the same key set, read in the same way.
    fn is_of_the_set_of(&self, other: &Self) -> bool {
        self.place == other.place && self.algorithms == other.algorithms
    }
}

/// Those whose verifiers are made of the keys of one source: usually one, and for a moment after a reload the former one too, by which
/// requests go that began before.
#[derive(Default)]
struct Users(Mutex<Vec<Weak<Issuers>>>);

impl Users {
    fn add(&self, issuers: &Arc<Issuers>) {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|user| user.strong_count() > 0);
        users.push(Arc::downgrade(issuers));
    }

    fn put_in_place(&self) {
        let users: Vec<Arc<Issuers>> =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
        for issuers in users {
            issuers.put_in_place();
        }
    }
}

fn fault(issuer: &config::Issuer, error: String) -> StartError {
    StartError::Issuer { issuer: issuer.issuer.clone(), error }
}

/// Fetches the key set of an issuer.
pub(super) fn cache(issuer: &config::Issuer, url: &http::Uri, ambient: &Ambient) -> Result<JwksCache, StartError> {
    cache_by(issuer, url, authorities(issuer)?.as_ref(), ambient)
}

fn cache_by(
    issuer: &config::Issuer,
    url: &http::Uri,
    authorities: Option<&Authorities>,
    ambient: &Ambient,
) -> Result<JwksCache, StartError> {
    let client = key_client_by(issuer, url, authorities)?;
    Ok(JwksCache::new(jwks_settings(issuer, url), Arc::new(client), Arc::clone(&ambient.clock)))
}

/// What fetches the keys of an issuer.
///
/// # Errors
/// `ca_file` cannot be read, or holds no certificate.
pub(super) fn key_client(issuer: &config::Issuer, url: &http::Uri) -> Result<JwksClient, StartError> {
    key_client_by(issuer, url, authorities(issuer)?.as_ref())
}

fn key_client_by(issuer: &config::Issuer, url: &http::Uri, authorities: Option<&Authorities>) -> Result<JwksClient, StartError> {
    JwksClient::new(url, authorities).map_err(|error| fault(issuer, format!("jwks_url: {error}")))
}

fn authorities(issuer: &config::Issuer) -> Result<Option<Authorities>, StartError> {
    let Some(path) = &issuer.ca_file else { return Ok(None) };
    let read = certificate_files::authorities(path);
    read.map(Some).map_err(|error| fault(issuer, format!("ca_file {}: {error}", path.display())))
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
