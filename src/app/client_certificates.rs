//! The certificates that upstreams are shown, from their files: read at start and by a reload, and again while the process runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::certificates::{PairProblem, pair};
use crate::config::{self, CertificateFiles, Settings};
use crate::crypto::certificates::CertificatePair;
use crate::crypto::client_identity::ClientIdentity;
use crate::domain::time::{Clock, Timestamp};

/// The files are read so often. A pair that does not fit is told of at the second time: the second file may be on its way.
const READ_INTERVAL: Duration = Duration::from_secs(5);

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

/// What an upstream is shown; `None`: nothing. Where the former settings named the same files, it is the same identity, with what they
/// hold now: connections go on.
pub(super) fn identity(
    upstream: &config::Upstream,
    former: Option<&Arc<ClientIdentity>>,
) -> Result<Option<Arc<ClientIdentity>>, Fault> {
    let Some(files) = &upstream.client_certificate else { return Ok(None) };
    let pair = pair(files)?;
    let is_same =
        |former: &&Arc<ClientIdentity>| former.certificate_file() == files.certificate && former.key_file() == files.key;
    Ok(Some(match former.filter(is_same) {
        Some(former) => {
            former.show(pair);
            Arc::clone(former)
        }
        None => Arc::new(ClientIdentity::new(files.certificate.clone(), files.key.clone(), pair)),
    }))
}

/// A warning for each certificate that upstreams will not take, or not for long.
pub(super) fn warnings(settings: &Settings, now: Timestamp) -> Vec<String> {
    let told = |upstream: &config::Upstream| {
        let pair = pair(upstream.client_certificate.as_ref()?).ok()?;
        told(&upstream.name, &pair, now)
    };
    settings.upstreams.iter().filter_map(told).collect()
}

fn told(upstream: &str, pair: &CertificatePair, now: Timestamp) -> Option<String> {
    pair.standing(now).told().map(|(_, text)| format!("upstreams.{upstream}.client_certificate_file {text}"))
}

/// The identities in use, each by the name of its upstream.
pub(super) type Shown = Vec<(Arc<str>, Arc<ClientIdentity>)>;

/// Follows the files for ever. While a pair cannot be used, the last one goes on.
pub(super) async fn follow(shown: impl Fn() -> Shown, clock: Arc<dyn Clock>) {
    let mut watch = Watch::default();
    loop {
        tokio::time::sleep(READ_INTERVAL).await;
        watch.look(&shown(), clock.now());
    }
}

/// What was seen of them at the last look, and told.
#[derive(Default)]
struct Watch {
    /// By upstream; whether it was told.
    faults: BTreeMap<Arc<str>, (String, bool)>,
    standings: BTreeMap<Arc<str>, String>,
}

impl Watch {
    fn look(&mut self, shown: &Shown, now: Timestamp) {
        let (mut faults, mut standings) = (BTreeMap::new(), BTreeMap::new());
        for (upstream, identity) in shown {
            match read(identity.certificate_file(), identity.key_file()) {
                Ok(pair) => {
                    if identity.show(pair) {
                        tracing::info!(%upstream, "the certificate that an upstream is shown has changed");
                    }
                }
                Err(Fault { key, error }) => {
                    let fault = format!("upstreams.{upstream}.{key}: {error}");
                    let (is_known, was_told) = match self.faults.get(upstream) {
                        Some((known, was_told)) if *known == fault => (true, *was_told),
                        Some(_) | None => (false, false),
                    };
                    if is_known && !was_told {
                        tracing::error!(fault, "a certificate cannot be used: the last one goes on");
                    }
                    faults.insert(Arc::clone(upstream), (fault, is_known));
                }
            }
            if let Some(standing) = told(upstream, &identity.pair(), now) {
                if self.standings.get(upstream) != Some(&standing) {
                    tracing::warn!(certificate = standing, "a certificate needs attention");
                }
                standings.insert(Arc::clone(upstream), standing);
            }
        }
        (self.faults, self.standings) = (faults, standings);
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertificatePair, Fault> {
    let files = CertificateFiles { certificate: certificate.to_owned(), key: key.to_owned() };
    Ok(pair(&files)?)
}
