//! What the settings name on the network, asked once: does it answer?

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{Ambient, StartError, data_plane, issuers, stores};
use crate::config::{JwksSource, Settings};
use crate::crypto::issuers::Refreshed;
use crate::outbound::{probe, resolver};
use crate::proxy::upstream::UpstreamOptions;
use crate::proxy::upstream::backends::Backend;

/// What was asked, and what there is to say about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The key that names it: `upstreams.api.url`.
    pub key: String,
    /// `Err`: it is not fit for use now.
    pub outcome: Result<String, String>,
    /// What an operator should know all the same.
    pub warnings: Vec<String>,
}

/// Whatever its own limits say, nothing is waited for longer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks everything at once; changes nothing anywhere.
pub(super) async fn probe(settings: &Settings, ambient: &Ambient) -> Result<Vec<Finding>, StartError> {
    let upstreams = data_plane::upstreams(settings, &ambient.clock, None)?;
    let (upstreams, key_sets, store) = tokio::join!(
        join_all(upstreams.iter().map(of_upstream)),
        join_all(settings.issuers.iter().enumerate().map(|(index, issuer)| of_key_set(index, issuer, ambient))),
        stores::probe(settings, ambient),
    );
    let mut findings: Vec<Finding> = upstreams.into_iter().flatten().collect();
    findings.extend(key_sets.into_iter().flatten());
    let (outcome, warnings) = match store {
        Ok(warnings) => (Ok("answers".to_owned()), warnings),
        Err(error) => (Err(error.to_string()), Vec::new()),
    };
    // The others are in the process or belong to one alone, and were not asked.
    if settings.store.is_shared() {
        findings.push(Finding { key: "store".to_owned(), outcome, warnings });
    }
    Ok(findings)
}

/// Of each server, whether at least one of its addresses can be used; of the others, why not.
async fn of_upstream(options: &UpstreamOptions) -> Vec<Finding> {
    resolver::resolve_once(&options.backends).await;
    let of_place = async |(key, backends): (Arc<str>, Vec<Arc<Backend>>)| {
        let outcomes = join_all(backends.iter().map(|backend| of_backend(options, backend))).await;
        let (fit, unfit): (Vec<_>, Vec<_>) = outcomes.into_iter().zip(&backends).partition(|(outcome, _)| outcome.is_ok());
        let told = |(outcome, backend): (Result<_, String>, &Arc<Backend>)| {
            let cause = outcome.err()?;
            Some(if backends.len() == 1 { cause } else { format!("{backend}: {cause}") })
        };
        let causes: Vec<String> = unfit.into_iter().filter_map(told).collect();
        let (outcome, warnings) = match fit.into_iter().find_map(|(outcome, _)| outcome.ok()) {
            Some(outcome) => (Ok(outcome), causes),
            None => (Err(causes.join("; ")), Vec::new()),
        };
        Finding { key: format!("upstreams.{}.{key}", options.name), outcome, warnings }
    };
    join_all(options.backends.by_place().into_iter().map(of_place)).await
}

/// Whether it passes its probe, where the settings have one, or else whether a connection can be made, TLS included: nobody knows what
/// any other request would do.
async fn of_backend(options: &UpstreamOptions, backend: &Backend) -> Result<String, String> {
    if let Some(rules) = options.backends.probing() {
        return probe::ask(backend, rules).await.map(|()| format!("passes its probe {}", rules.path));
    }
    let limit = options.connect_timeout.min(PATIENCE);
    match tokio::time::timeout(limit, backend.connect()).await {
        Ok(Ok(_)) if backend.target().is_tls() => Ok("connects, with TLS".to_owned()),
        Ok(Ok(_)) => Ok("connects".to_owned()),
        Ok(Err(error)) => Err(format!("cannot connect: {error}")),
        Err(_) => Err(format!("no connection within {limit:?}")),
    }
}

/// Whether a key set that has to be fetched is there, and holds keys that can be used.
async fn of_key_set(index: usize, issuer: &crate::config::Issuer, ambient: &Ambient) -> Option<Finding> {
    let JwksSource::Url(url) = &issuer.jwks else { return None };
    let cache = match issuers::cache(issuer, url, ambient) {
        Ok(cache) => cache,
        Err(error) => {
            let key = format!("issuers[{index}].jwks_url");
            return Some(Finding { key, outcome: Err(error.to_string()), warnings: Vec::new() });
        }
    };
    let outcome = match tokio::time::timeout(PATIENCE, cache.refresh()).await {
        Ok(Refreshed::Changed(keys)) => Ok(format!("holds keys that can be used: {}", keys.keys().len())),
        Ok(Refreshed::Unchanged) => Ok("holds keys that can be used".to_owned()),
        Ok(Refreshed::Failed(error) | Refreshed::Dropped(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no response within {PATIENCE:?}")),
    };
    let skipped =
        cache.keys().map_or_else(Vec::new, |keys| keys.skipped().iter().map(|key| format!("not used: {key}")).collect());
    Some(Finding { key: format!("issuers[{index}].jwks_url"), outcome, warnings: skipped })
}
