//! The store that the settings name.

use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use super::Ambient;
use super::certificate_files::{authorities, pair};
use crate::config::{self, Settings};
use crate::domain::ids::Partitions;
use crate::store::embedded::{Embedded, EmbeddedError};
use crate::store::memory::Memory;
use crate::store::redis::{Deployment, RedisOptions, RedisOptionsError, RedisStore, Replication, TlsOptions};
use crate::store::{Finding, SessionStore as _, Severity, Store, StoreError};

/// The file of the embedded store, in its folder.
const EMBEDDED_FILE: &str = "tokengate.redb";

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum StoreStartError {
    #[error("store.embedded: {0}")]
    Embedded(#[from] EmbeddedError),
    #[error("store.redis: {0}")]
    Redis(#[from] RedisOptionsError),
    #[error("{0}")]
    File(String),
    #[error("{0}")]
    Unavailable(#[from] StoreError),
    #[error("{0}")]
    Unfit(String),
}

/// What no start is allowed with: it would not pass by itself, and goes unnoticed until sessions are lost.
const UNFIT: [&str; 4] = ["eviction", "version", "scripts", "cluster"];

/// Opens the store. A Redis that is away is no error: calls fail until it is there. One that is there and unfit is.
pub(super) async fn open(settings: &Settings, ambient: &Ambient) -> Result<Arc<dyn Store>, StoreStartError> {
    match &settings.store {
        config::Store::Memory => Ok(Arc::new(Memory::new(Partitions::new(NonZeroU16::MIN)))),
        config::Store::Embedded(embedded) => {
            let path = embedded.directory.join(EMBEDDED_FILE);
            let opened = tokio::task::spawn_blocking(move || Embedded::open(path)).await;
            Ok(Arc::new(opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?))
        }
        config::Store::Redis(redis) => {
            let store = connect(redis).await?;
            let findings = store.verify(ambient.clock.as_ref()).await;
            let unfit = |finding: &&Finding| finding.severity == Severity::Error && UNFIT.contains(&finding.subject);
            match texts(findings.iter().filter(unfit)) {
                unfit if unfit.is_empty() => Ok(Arc::new(store)),
                unfit => Err(StoreStartError::Unfit(unfit.join("; "))),
            }
        }
    }
}

fn texts<'a>(findings: impl Iterator<Item = &'a Finding>) -> Vec<String> {
    findings.map(|finding| format!("{}: {}", finding.subject, finding.text)).collect()
}

/// Whether the store is there and fit, and what there is to be said about it.
pub(super) async fn probe(settings: &Settings, ambient: &Ambient) -> Result<Vec<String>, StoreStartError> {
    match &settings.store {
        // Opening the file would take it from a gateway that runs.
        config::Store::Memory | config::Store::Embedded(_) => Ok(Vec::new()),
        config::Store::Redis(redis) => {
            let store = connect(redis).await?;
            store.probe().await?;
            let findings = store.verify(ambient.clock.as_ref()).await;
            store.close().await;
            let (errors, warnings): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding.severity == Severity::Error);
            if errors.is_empty() {
                return Ok(texts(warnings.into_iter()));
            }
            Err(StoreStartError::Unfit(texts(errors.into_iter()).join("; ")))
        }
    }
}

/// Why no store could be opened, as far as that can be told from its files. Nothing is opened: that would take it from a gateway that
/// runs.
pub(super) fn fault(settings: &Settings) -> Option<StoreStartError> {
    match &settings.store {
        config::Store::Memory => None,
        config::Store::Embedded(embedded) => {
            let path = embedded.directory.clone();
            let is_other = path.exists() && !path.is_dir();
            is_other.then(|| StoreStartError::File(format!("store.embedded.directory = \"{}\": no folder", path.display())))
        }
        config::Store::Redis(redis) => {
            let checked = options(redis).and_then(|options| Ok(RedisStore::check(&options)?));
            checked.err()
        }
    }
}

async fn connect(redis: &config::Redis) -> Result<RedisStore, StoreStartError> {
    Ok(RedisStore::connect(&options(redis)?).await?)
}

fn options(redis: &config::Redis) -> Result<RedisOptions, StoreStartError> {
    let mut options = RedisOptions::at(redis.place.clone(), redis.partitions);
    if let Deployment::Sentinel(sentinel) = &mut options.deployment {
        sentinel.username.clone_from(&redis.sentinel_username);
        sentinel.password = redis.sentinel_password.as_ref().map(|password| password.value.clone());
        sentinel.password_file = redis.sentinel_password.as_ref().and_then(|password| password.file.clone());
    }
    options.replication =
        (redis.wait_replicas > 0).then_some(Replication { replicas: redis.wait_replicas, timeout: redis.wait_timeout });
    if redis.username.is_some() {
        options.username.clone_from(&redis.username);
    }
    if let Some(password) = &redis.password {
        options.password = Some(password.value.clone());
        options.password_file.clone_from(&password.file);
    }
    options.key_prefix.clone_from(&redis.key_prefix);
    options.call_timeout = redis.deadline;
    options.connect_timeout = redis.connect_timeout;
    if options.tls.is_some() {
        let unusable = |file: &Path, error| format!("store.redis.ca_file = \"{}\": {error}", file.display());
        let of_file = |file: &Path| authorities(file).map_err(|error| StoreStartError::File(unusable(file, error)));
        let authorities = redis.ca_file.as_deref().map(of_file).transpose()?;
        let pair = redis.certificate_files.as_ref().map(pair).transpose();
        let pair = pair.map_err(|problem| StoreStartError::File(problem.under("store.redis")))?;
        options.tls = Some(TlsOptions {
            authorities: authorities.map(|authorities| Arc::clone(authorities.roots())),
            identity: pair.map(|pair| Arc::clone(pair.certified_key())),
        });
    }
    Ok(options)
}
