//! Other issuers' keys: read from files, or fetched in the background; and the verifier that is made of them and our own.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::{Ambient, StartError};
use crate::config::{self, IssuerSubjects, JwksSource, Settings};
use crate::crypto::issuers::{JwksCache, JwksSettings, Refreshed};
use crate::crypto::jwks::{ForeignKeys, JwksOrigin};
use crate::crypto::keyring::KeyRing;
use crate::crypto::legacy_key::LegacyKey;
use crate::crypto::verifier::Verifier;
use crate::domain::claim_policy::{AudienceRule, ClaimPath, ClaimPolicy, TrustedClaims, TypeRule};
use crate::domain::legacy::LegacyPolicy;
use crate::domain::subjects::{ReservedPrefixes, SubjectRule};
use crate::proxy::jwks_client::JwksClient;
use crate::tasks::supervisor::Supervisor;

/// How long an issuer's last keys are trusted while it cannot be reached.
const STALE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Everyone whose tokens are accepted.
pub(super) struct Issuers {
    foreign: Vec<Foreign>,
    own: RwLock<Own>,
}

/// Our own keys and what our tokens must say, and the same for old tokens.
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
}

enum Keys {
    File(ForeignKeys),
    Fetched(Arc<JwksCache>),
}

impl Issuers {
    pub(super) fn new(settings: &Settings, own: Own, ambient: &Ambient) -> Result<Self, StartError> {
        let reserved = settings.reserved_prefixes();
        let foreign = settings.issuers.iter().map(|issuer| Foreign::of(issuer, &reserved, ambient)).collect::<Result<_, _>>()?;
        Ok(Self { foreign, own: RwLock::new(own) })
    }

    pub(super) fn set_own(&self, own: Own) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = own;
    }

    /// A verifier of the keys that are known now.
    pub(super) fn verifier(&self) -> Verifier {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        let verifier = Verifier::new().with_token_bytes_max(own.token_bytes_max).with_own(&own.keys, own.policy.clone());
        let verifier = own.legacy.iter().fold(verifier, |verifier, (key, policy)| verifier.with_legacy(key, policy.clone()));
        self.foreign.iter().fold(verifier, |verifier, foreign| match &foreign.keys {
            Keys::File(keys) => verifier.with_foreign(keys, foreign.policy.clone(), None),
            Keys::Fetched(cache) => {
                let known = cache.keys();
                let none = ForeignKeys::default();
                let keys = known.as_deref().unwrap_or(&none);
                verifier.with_foreign(keys, foreign.policy.clone(), Some(cache.nudge()))
            }
        })
    }
}

impl Foreign {
    fn of(issuer: &config::Issuer, reserved: &ReservedPrefixes, ambient: &Ambient) -> Result<Self, StartError> {
        let audiences = AudienceRule::AnyOf(issuer.audiences.clone().into());
        let subjects = match &issuer.subjects {
            IssuerSubjects::Prefixed(prefix) => SubjectRule::Prefixed(prefix.clone()),
            IssuerSubjects::Shared => SubjectRule::Ours(reserved.clone()),
        };
        let policy = ClaimPolicy {
            token_type: if issuer.types.is_empty() { TypeRule::Unchecked } else { TypeRule::AnyOf(issuer.types.clone().into()) },
            leeway: issuer.leeway,
            subject_claim: ClaimPath::new(&issuer.subject_claim),
            scope_claims: issuer.scope_claims.iter().map(|claim| ClaimPath::new(claim)).collect(),
            trusted_claims: TrustedClaims::Listed(issuer.trusted_claims.clone().into()),
            ..ClaimPolicy::foreign(&issuer.issuer, audiences, issuer.lifetime_max, subjects)
        };
        let fault = |error: String| StartError::Issuer { issuer: issuer.issuer.clone(), error };
        let keys = match &issuer.jwks {
            JwksSource::File(path) => {
                let document = std::fs::read(path).map_err(|error| fault(format!("jwks_file {}: {error}", path.display())))?;
                let keys = ForeignKeys::parse(&document, &issuer.algorithms, JwksOrigin::File);
                Keys::File(keys.map_err(|error| fault(format!("jwks_file {}: {error}", path.display())))?)
            }
            JwksSource::Url(url) => Keys::Fetched(Arc::new(cache(issuer, url, ambient)?)),
        };
        Ok(Self { policy, keys })
    }
}

/// Fetches the key set of an issuer.
#[expect(clippy::unnecessary_wraps, reason = "what it is made of can be wrong")]
pub(super) fn cache(issuer: &config::Issuer, url: &http::Uri, ambient: &Ambient) -> Result<JwksCache, StartError> {
    Ok(JwksCache::new(jwks_settings(issuer, url), Arc::new(JwksClient), Arc::clone(&ambient.clock)))
}

fn jwks_settings(issuer: &config::Issuer, url: &http::Uri) -> JwksSettings {
    JwksSettings {
        url: url.to_string(),
        algorithms: issuer.algorithms.clone(),
        refresh_interval: issuer.refresh_interval,
        minimum_interval: issuer.minimum_interval,
        fetch_timeout: issuer.fetch_timeout,
        stale_max: STALE_MAX,
    }
}

/// Starts one task for each issuer whose keys are fetched: it keeps them fresh, and puts a new verifier in place when they change.
pub(super) fn spawn(supervisor: &Supervisor, issuers: &Arc<Issuers>, verifier: &Arc<ArcSwap<Verifier>>) {
    for foreign in &issuers.foreign {
        let Keys::Fetched(cache) = &foreign.keys else { continue };
        let (cache, issuers, verifier) = (Arc::clone(cache), Arc::clone(issuers), Arc::clone(verifier));
        let issuer = Arc::clone(&foreign.policy.issuer);
        supervisor.spawn("issuer keys", move |stop| {
            let (cache, issuers, verifier) = (Arc::clone(&cache), Arc::clone(&issuers), Arc::clone(&verifier));
            let issuer = Arc::clone(&issuer);
            async move {
                while let Some(refreshed) = stop.run_until_cancelled(cache.turn()).await {
                    match refreshed {
                        Refreshed::Unchanged => {}
                        Refreshed::Changed(_) => {
                            tracing::info!(%issuer, "issuer's keys changed");
                            verifier.store(Arc::new(issuers.verifier()));
                        }
                        Refreshed::Failed(error) => tracing::warn!(%issuer, %error, "issuer's keys cannot be fetched"),
                        Refreshed::Dropped(error) => {
                            tracing::error!(%issuer, %error, "issuer's keys are too old to be trusted");
                            verifier.store(Arc::new(issuers.verifier()));
                        }
                    }
                }
            }
        });
    }
}
