//! Files of TLS towards upstreams: the certificates that these are shown, and the authorities by which theirs are believed. They are read
//! at start and by a reload, and again whenever they change.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::certificates::{PairProblem, SECOND_LOOK, pair};
use super::file_work::FileWork;
use super::watched_files::WatchedFiles;
use crate::config::{self, CertificateFiles, Settings};
use crate::crypto::certificates::CertificatePair;
use crate::crypto::client_identity::ClientIdentity;
use crate::crypto::server_authorities::ServerAuthorities;
use crate::domain::stats::{Gauge, Gauges};
use crate::domain::time::{Clock, Timestamp};
use crate::files;
use crate::sessions::health::Alarms;

/// What is wrong with the files of an upstream.
pub(super) struct Fault {
    /// Within the upstream.
    pub(super) key: String,
    pub(super) error: String,
}

impl From<PairProblem<'_>> for Fault {
    fn from(problem: PairProblem<'_>) -> Self {
        Self { key: format!("client_{}", problem.key), error: format!("{}: {}", problem.path.display(), problem.error) }
    }
}

/// What the settings name of an upstream, as far as its files say what it is.
#[derive(Clone, Debug)]
pub(super) struct InUse {
    pub(super) upstream: Arc<str>,
    pub(super) identity: Option<Arc<ClientIdentity>>,
    pub(super) authorities: Option<Arc<ServerAuthorities>>,
}

/// What an upstream is shown; `None`: nothing. Where the former settings named the same files, it is the same identity, with what they
/// hold now: connections go on.
pub(super) fn identity(
    upstream: &config::Upstream,
    former: Option<&Arc<ClientIdentity>>,
    now: Timestamp,
) -> Result<Option<Arc<ClientIdentity>>, Fault> {
    let Some(files) = &upstream.client_certificate else { return Ok(None) };
    let is_same =
        |former: &&Arc<ClientIdentity>| former.certificate_file() == files.certificate && former.key_file() == files.key;
    let former = former.filter(is_same);
    let shown = former.map(|former| former.pair());
    let pair = pair(files, shown.as_deref(), now)?;
    Ok(Some(match former {
        Some(former) => {
            former.show(pair);
            Arc::clone(former)
        }
        None => Arc::new(ClientIdentity::new(files.certificate.clone(), files.key.clone(), pair)),
    }))
}

/// Who vouches for the servers of an upstream; `None`: the authorities of the web. The same as before where the file is the same.
pub(super) fn authorities(
    upstream: &config::Upstream,
    former: Option<&Arc<ServerAuthorities>>,
) -> Result<Option<Arc<ServerAuthorities>>, Fault> {
    let Some(file) = &upstream.ca_file else { return Ok(None) };
    let fault = |error: String| of_authorities(file, &error);
    let pem = read_authorities(file)?;
    Ok(Some(match former.filter(|former| former.file() == file) {
        Some(former) => {
            former.trust(&pem).map_err(fault)?;
            Arc::clone(former)
        }
        None => Arc::new(ServerAuthorities::of_pem(file.clone(), &pem).map_err(fault)?),
    }))
}

fn read_authorities(file: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, Fault> {
    let read = files::read(file, files::PEM_BYTES_MAX);
    read.map_err(|error| of_authorities(file, &format!("cannot be read: {error}")))
}

fn of_authorities(file: &Path, error: &str) -> Fault {
    Fault { key: "ca_file".to_owned(), error: format!("{}: {error}", file.display()) }
}

/// A warning for each certificate that upstreams will not take, or not for long.
pub(super) fn warnings(settings: &Settings, now: Timestamp) -> Vec<String> {
    let told = |upstream: &config::Upstream| {
        let pair = pair(upstream.client_certificate.as_ref()?, None, now).ok()?;
        told(&upstream.name, &pair, now).map(|(_, text)| text)
    };
    settings.upstreams.iter().filter_map(told).collect()
}

/// The alarm of a certificate, and how it is told to people.
fn told(upstream: &str, pair: &CertificatePair, now: Timestamp) -> Option<(&'static str, String)> {
    let (alarm, text) = pair.standing(now).told()?;
    Some((alarm, format!("upstreams.{upstream}.client_certificate_file {text}")))
}

/// The files of all upstreams.
pub(super) struct WatchedUpstreams {
    /// By the settings in force.
    pub(super) in_use: Box<dyn Fn() -> Vec<InUse> + Send + Sync>,
    /// Told when the settings are others.
    pub(super) changed: watch::Receiver<()>,
    pub(super) alarms: Arc<Alarms>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) clock: Arc<dyn Clock>,
}

/// What was told already.
#[derive(Default)]
struct Told {
    faults: Vec<String>,
    standings: Vec<String>,
}

impl WatchedUpstreams {
    /// Follows the files for ever. While they cannot be used, the last ones go on.
    pub(super) async fn follow(&self) {
        let (mut told, work, mut changed) = (Told::default(), FileWork::default(), self.changed.clone());
        loop {
            changed.mark_unchanged();
            let in_use = Arc::new((self.in_use)());
            let mut files = WatchedFiles::watch(paths(&in_use)).await;
            loop {
                told = self.look(&in_use, told, &work).await;
                tokio::select! {
                    outcome = changed.changed() => match outcome {
                        Ok(()) => break,
                        // Nothing is in force any more.
                        Err(_) => return,
                    },
                    _ = files.next() => {}
                }
            }
        }
    }

    async fn look(&self, in_use: &Arc<Vec<InUse>>, told: Told, work: &FileWork) -> Told {
        let mut faults = self.read(in_use, work).await;
        if !faults.is_empty() && faults != told.faults {
            tokio::time::sleep(SECOND_LOOK).await;
            faults = self.read(in_use, work).await;
        }
        for fault in faults.iter().filter(|fault| !told.faults.contains(fault)) {
            tracing::error!(fault, "a certificate cannot be used: the last one goes on");
        }
        let standings = self.judge(in_use, !faults.is_empty());
        for standing in standings.iter().filter(|standing| !told.standings.contains(standing)) {
            tracing::warn!(certificate = standing, "a certificate needs attention");
        }
        Told { faults, standings }
    }

    async fn read(&self, in_use: &Arc<Vec<InUse>>, work: &FileWork) -> Vec<String> {
        let (in_use, now) = (Arc::clone(in_use), self.clock.now());
        let faults = work.run(move || in_use.iter().flat_map(|one| take_over(one, now)).collect()).await;
        faults.unwrap_or_else(|error| vec![format!("upstreams: their files: {error}")])
    }

    /// Measures and raises alarms. Returns what is to be told.
    fn judge(&self, in_use: &[InUse], is_stuck: bool) -> Vec<String> {
        let now = self.clock.now();
        let shown = || in_use.iter().filter_map(|one| Some((&*one.upstream, one.identity.as_ref()?.pair())));
        let (mut alarms, standings): (BTreeSet<_>, Vec<_>) =
            shown().filter_map(|(upstream, pair)| told(upstream, &pair, now)).unzip();
        if is_stuck {
            alarms.insert("unusable");
        }
        self.alarms.set(alarms.into_iter().collect());
        if let Some(first) = shown().map(|(_, pair)| pair.not_after).min() {
            self.gauges.set(Gauge::UpstreamCertificateExpiry, u64::try_from(first.secs()).unwrap_or_default());
        }
        standings
    }
}

fn paths(in_use: &[InUse]) -> Vec<std::path::PathBuf> {
    let of_one = |one: &InUse| {
        let identity = one.identity.iter().flat_map(|identity| [identity.certificate_file(), identity.key_file()]);
        let paths = identity.chain(one.authorities.iter().map(|authorities| authorities.file()));
        paths.map(Path::to_owned).collect::<Vec<_>>()
    };
    in_use.iter().flat_map(of_one).collect()
}

/// Takes over what the files hold where that is something else. Returns what is wrong with those that cannot be used.
fn take_over(InUse { upstream, identity, authorities }: &InUse, now: Timestamp) -> Vec<String> {
    let identity = identity.iter().map(|identity| show(upstream, identity, now));
    let authorities = authorities.iter().map(|authorities| trust(upstream, authorities));
    let faults = identity.chain(authorities).filter_map(Result::err);
    faults.map(|Fault { key, error }| format!("upstreams.{upstream}.{key}: {error}")).collect()
}

fn show(upstream: &str, identity: &ClientIdentity, now: Timestamp) -> Result<(), Fault> {
    let files = CertificateFiles { certificate: identity.certificate_file().to_owned(), key: identity.key_file().to_owned() };
    if identity.show(pair(&files, Some(&identity.pair()), now)?) {
        tracing::info!(%upstream, "the certificate that an upstream is shown has changed");
    }
    Ok(())
}

fn trust(upstream: &str, authorities: &ServerAuthorities) -> Result<(), Fault> {
    let pem = read_authorities(authorities.file())?;
    if authorities.trust(&pem).map_err(|error| of_authorities(authorities.file(), &error))? {
        tracing::info!(%upstream, "the authorities that vouch for an upstream have changed");
    }
    Ok(())
}
