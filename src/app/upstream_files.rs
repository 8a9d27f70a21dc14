//! Files of TLS towards upstreams: the certificates that these are shown, and the authorities by which theirs are believed. They are read
//! at start and by a reload, and again whenever they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::certificate_files::{self, PairProblem, next_pair, pair};
use super::watched_certificates::{Holder, Shown};
use crate::config::{self, CertificateFiles, Settings};
use crate::crypto::authorities::Authorities;
use crate::crypto::certificates::CertificatePair;
use crate::crypto::client_identity::ClientIdentity;
use crate::crypto::server_authorities::ServerAuthorities;
use crate::domain::time::Timestamp;

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
    Ok(Some(match former.filter(is_same) {
        Some(former) => {
            show(&upstream.name, former, now)?;
            Arc::clone(former)
        }
        None => Arc::new(ClientIdentity::new(files.certificate.clone(), files.key.clone(), pair(files)?)),
    }))
}

/// Who vouches for the servers of an upstream; `None`: the authorities of the web. The same as before where the file is the same.
pub(super) fn authorities(
    upstream: &config::Upstream,
    former: Option<&Arc<ServerAuthorities>>,
) -> Result<Option<Arc<ServerAuthorities>>, Fault> {
    let Some(file) = &upstream.ca_file else { return Ok(None) };
    Ok(Some(if let Some(former) = former.filter(|former| former.file() == file) {
        trust(&upstream.name, former)?;
        Arc::clone(former)
    } else {
        let authorities = ServerAuthorities::new(file.clone(), read_authorities(file)?);
        Arc::new(authorities.map_err(|error| of_authorities(file, &error))?)
    }))
}

fn read_authorities(file: &Path) -> Result<Authorities, Fault> {
    certificate_files::authorities(file).map_err(|error| of_authorities(file, &error))
}

fn of_authorities(file: &Path, error: &str) -> Fault {
    Fault { key: "ca_file".to_owned(), error: format!("{}: {error}", file.display()) }
}

/// A warning for each certificate that upstreams will not take, or not for long.
pub(super) fn warnings(settings: &Settings, now: Timestamp) -> Vec<String> {
    let told = |upstream: &config::Upstream| {
        let pair = pair(upstream.client_certificate.as_ref()?).ok()?;
        shown(&upstream.name, pair).told(now).map(|(_, text)| text)
    };
    settings.upstreams.iter().filter_map(told).collect()
}

fn shown(upstream: &str, pair: CertificatePair) -> Shown {
    Shown { place: format!("upstreams.{upstream}.client_certificate_file"), pair }
}

impl Holder for Vec<InUse> {
    fn files(&self) -> Vec<PathBuf> {
        let of_one = |one: &InUse| {
            let identity = one.identity.iter().flat_map(|identity| [identity.certificate_file(), identity.key_file()]);
            let paths = identity.chain(one.authorities.iter().map(|authorities| authorities.file()));
            paths.map(Path::to_owned).collect::<Vec<_>>()
        };
        self.iter().flat_map(of_one).collect()
    }

    fn renew(&self, now: Timestamp) -> Vec<String> {
        self.iter().flat_map(|one| take_over(one, now)).collect()
    }

    fn shown(&self) -> Vec<Shown> {
        let of_one = |one: &InUse| Some(shown(&one.upstream, CertificatePair::clone(&*one.identity.as_ref()?.pair())));
        self.iter().filter_map(of_one).collect()
    }
}

fn take_over(InUse { upstream, identity, authorities }: &InUse, now: Timestamp) -> Vec<String> {
    let identity = identity.iter().map(|identity| show(upstream, identity, now));
    let authorities = authorities.iter().map(|authorities| trust(upstream, authorities));
    let faults = identity.chain(authorities).filter_map(Result::err);
    faults.map(|Fault { key, error }| format!("upstreams.{upstream}.{key}: {error}")).collect()
}

fn show(upstream: &str, identity: &ClientIdentity, now: Timestamp) -> Result<(), Fault> {
    let files = CertificateFiles { certificate: identity.certificate_file().to_owned(), key: identity.key_file().to_owned() };
    if identity.show(next_pair(&files, &identity.pair(), now)?) {
        tracing::info!(%upstream, "the certificate that an upstream is shown has changed");
    }
    Ok(())
}

fn trust(upstream: &str, authorities: &ServerAuthorities) -> Result<(), Fault> {
    let read = read_authorities(authorities.file())?;
    if authorities.trust(read).map_err(|error| of_authorities(authorities.file(), &error))? {
        tracing::info!(%upstream, "the authorities that vouch for an upstream have changed");
    }
    Ok(())
}
