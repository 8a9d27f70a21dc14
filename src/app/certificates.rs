//! Certificates of the listeners, from their files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{StartError, files};
use crate::config::{self, CertificateFiles, ClientDemand, ListenerProtocol, ListenerTls, Settings, TlsVersion};
use crate::crypto::certificates::{CHAIN_FILE_BYTES_MAX, CertificatePair, Certificates, names_of};
use crate::crypto::tls_server::{Authorities, ClientCertificates, MinimumVersion, TlsMaterial, TlsServer};
use crate::domain::time::Timestamp;
use crate::proxy::client::arrival;

/// A pair that does not fit is looked at again after this, before anybody is told: the second file may be on its way.
pub(super) const SECOND_LOOK: Duration = Duration::from_secs(1);

/// A listener that speaks TLS.
pub(super) struct TlsListener {
    /// Its position among the listeners.
    pub(super) position: usize,
    pub(super) tls: ListenerTls,
    pub(super) server: Arc<TlsServer>,
}

/// What each listener speaks, in their order. `former` is what was spoken at the same address, where that was TLS.
///
/// # Errors
/// Everything for which certificates cannot be used.
pub(super) fn spoken(settings: &Settings, former: &[Option<&Arc<TlsServer>>]) -> Result<Vec<arrival::Spoken>, StartError> {
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    for (position, (listener, former)) in settings.listeners.iter().zip(former).enumerate() {
        match spoken_at(position, listener, *former) {
            Ok(spoken) => all.push(spoken),
            Err(unusable) => faults.extend(unusable),
        }
    }
    if faults.is_empty() { Ok(all) } else { Err(StartError::Certificates(faults.join("\n"))) }
}

fn spoken_at(
    position: usize,
    listener: &config::Listener,
    former: Option<&Arc<TlsServer>>,
) -> Result<arrival::Spoken, Vec<String>> {
    let protocol = match &listener.protocol {
        ListenerProtocol::Plain => arrival::Protocol::Http,
        ListenerProtocol::Redirect { port } => arrival::Protocol::Redirect(*port),
        ListenerProtocol::Tls(tls) => arrival::Protocol::Https(server(position, tls, former)?),
        ListenerProtocol::Decisions { peers } => arrival::Protocol::Decisions(arrival::Askers::new(peers)),
    };
    Ok(arrival::Spoken { proxy_protocol: listener.proxy_protocol, protocol })
}

fn server(position: usize, tls: &ListenerTls, former: Option<&Arc<TlsServer>>) -> Result<Arc<TlsServer>, Vec<String>> {
    let material = material(position, tls)?;
    let minimum_version = match tls.minimum_version {
        TlsVersion::Tls12 => MinimumVersion::Tls12,
        TlsVersion::Tls13 => MinimumVersion::Tls13,
    };
    let unusable = |error| vec![format!("listeners[{position}].tls: {error}")];
    TlsServer::following(former, minimum_version, material).map_err(unusable)
}

/// What the files of a listener hold.
///
/// # Errors
/// Everything that is wrong with them.
pub(super) fn material(position: usize, tls: &ListenerTls) -> Result<TlsMaterial, Vec<String>> {
    let (mut pairs, mut faults) = (Vec::new(), Vec::new());
    for read in read_pairs(position, tls) {
        read.map_or_else(|fault| faults.push(fault), |pair| pairs.push(pair));
    }
    let clients = clients(position, tls).map_err(|fault| faults.push(fault)).ok();
    match (Certificates::new(pairs), clients) {
        (Some(certificates), Some(clients)) if faults.is_empty() => {
            Ok(TlsMaterial { certificates: Arc::new(certificates), clients })
        }
        (_, _) => Err(faults),
    }
}

/// What the files of a listener hold now, and all that is wrong with them. What cannot be used stays as in `former`, which was read from
/// the same files.
pub(super) fn renewed(position: usize, tls: &ListenerTls, former: &TlsMaterial) -> (TlsMaterial, Vec<String>) {
    let mut faults = Vec::new();
    let pairs = read_pairs(position, tls).zip(former.certificates.pairs()).map(|(read, former)| {
        read.unwrap_or_else(|fault| {
            faults.push(fault);
            former.clone()
        })
    });
    let certificates = Certificates::new(pairs.collect()).map_or_else(|| Arc::clone(&former.certificates), Arc::new);
    let clients = clients(position, tls).unwrap_or_else(|fault| {
        faults.push(fault);
        former.clients.clone()
    });
    (TlsMaterial { certificates, clients }, faults)
}

fn read_pairs(position: usize, tls: &ListenerTls) -> impl Iterator<Item = Result<CertificatePair, String>> {
    let read = move |(index, files)| pair(files).map_err(|problem| problem.named(position, index));
    tls.certificates.iter().enumerate().map(read)
}

fn clients(position: usize, tls: &ListenerTls) -> Result<ClientCertificates, String> {
    let Some(clients) = &tls.clients else { return Ok(ClientCertificates::Off) };
    let of_file =
        |error: String| format!("listeners[{position}].tls.client_ca_file = \"{}\": {error}", clients.ca_file.display());
    let pem = files::read(&clients.ca_file, files::PEM_BYTES_MAX).map_err(|error| of_file(format!("cannot be read: {error}")))?;
    let authorities = Authorities::of_pem(&pem).map_err(of_file)?;
    Ok(match clients.demand {
        ClientDemand::Optional => ClientCertificates::Optional(authorities),
        ClientDemand::Required => ClientCertificates::Required(authorities),
    })
}

/// Everything for which the certificates of the listeners would be refused.
pub(super) fn faults(settings: &Settings) -> Vec<String> {
    let materials = tls_of(settings).map(|(position, tls)| material(position, tls));
    materials.filter_map(Result::err).flatten().collect()
}

/// A warning for each certificate that clients will not take, or not for long.
pub(super) fn warnings(settings: &Settings, now: Timestamp) -> Vec<String> {
    let materials = tls_of(settings).filter_map(|(position, tls)| Some((position, material(position, tls).ok()?)));
    let mut warnings = Vec::new();
    for (position, material) in materials {
        for (index, pair) in material.certificates.pairs().iter().enumerate() {
            if let Some((_, text)) = pair.standing(now).told() {
                let names = names_of(std::slice::from_ref(pair));
                warnings.push(format!("listeners[{position}].tls.certificates[{index}] ({names}) {text}"));
            }
        }
    }
    warnings
}

fn tls_of(settings: &Settings) -> impl Iterator<Item = (usize, &ListenerTls)> {
    settings.listeners.iter().enumerate().filter_map(|(position, listener)| match &listener.protocol {
        ListenerProtocol::Tls(tls) => Some((position, tls)),
        ListenerProtocol::Plain | ListenerProtocol::Redirect { .. } | ListenerProtocol::Decisions { .. } => None,
    })
}

/// What is wrong with a pair, and in which of its files.
pub(super) struct PairProblem<'a> {
    pub(super) key: &'static str,
    pub(super) path: &'a Path,
    pub(super) error: String,
}

impl PairProblem<'_> {
    fn named(&self, listener: usize, index: usize) -> String {
        let Self { key, path, error } = self;
        format!("listeners[{listener}].tls.certificates[{index}].{key} = \"{}\": {error}", path.display())
    }
}

pub(super) fn pair(files: &CertificateFiles) -> Result<CertificatePair, PairProblem<'_>> {
    let of_certificate = |error: String| PairProblem { key: "certificate_file", path: &files.certificate, error };
    let of_key = |error: String| PairProblem { key: "key_file", path: &files.key, error };
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let certificates =
        files::read(&files.certificate, CHAIN_FILE_BYTES_MAX).map_err(|error| of_certificate(unreadable(error)))?;
    let key = files::read(&files.key, KEY_BYTES_MAX).map_err(|error| of_key(unreadable(error)))?;
    let key = zeroize::Zeroizing::new(key);
    CertificatePair::of_pem(&certificates, &key).map_err(|fault| {
        let text = fault.to_string();
        if fault.is_of_certificate() { of_certificate(text) } else { of_key(text) }
    })
}

/// The most that is read of a file with a key, in bytes.
const KEY_BYTES_MAX: usize = 64 * 1024;
