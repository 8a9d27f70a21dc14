//! Certificates of the listeners, from their files.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::StartError;
use crate::config::{self, CertificateFiles, ClientDemand, ListenerProtocol, ListenerTls, Settings, TlsVersion};
use crate::crypto::certificates::{CHAIN_FILE_BYTES_MAX, CertificatePair, Certificates, names_of};
use crate::crypto::tls_server::{Authorities, ClientCertificates, MinimumVersion, TlsMaterial, TlsServer};
use crate::domain::time::Timestamp;
use crate::files;
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

/// What a listener is to speak, with what its files hold.
pub(super) struct Prepared {
    proxy_protocol: bool,
    protocol: PreparedProtocol,
}

enum PreparedProtocol {
    Http,
    Redirect { port: u16 },
    Https { minimum_version: MinimumVersion, material: TlsMaterial },
    Decisions(arrival::Askers),
}

/// What the listeners are to speak, in their order. `former` are those that these settings follow.
///
/// # Errors
/// Everything for which certificates cannot be used.
pub(super) fn prepared(settings: &Settings, former: Option<&[TlsListener]>, now: Timestamp) -> Result<Vec<Prepared>, StartError> {
    let shown = former.unwrap_or_default();
    prepared_once(settings, shown, now).or_else(|faults| match former {
        // The second file of a pair may be on its way.
        Some(_) => {
            thread::sleep(SECOND_LOOK);
            prepared_once(settings, shown, now)
        }
        None => Err(faults),
    })
}

fn prepared_once(settings: &Settings, shown: &[TlsListener], now: Timestamp) -> Result<Vec<Prepared>, StartError> {
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    for (position, listener) in settings.listeners.iter().enumerate() {
        match protocol(position, listener, shown, now) {
            Ok(protocol) => all.push(Prepared { proxy_protocol: listener.proxy_protocol, protocol }),
            Err(unusable) => faults.extend(unusable),
        }
    }
    if faults.is_empty() { Ok(all) } else { Err(StartError::Certificates(faults.join("\n"))) }
}

fn protocol(
    position: usize,
    listener: &config::Listener,
    shown: &[TlsListener],
    now: Timestamp,
) -> Result<PreparedProtocol, Vec<String>> {
    Ok(match &listener.protocol {
        ListenerProtocol::Plain => PreparedProtocol::Http,
        ListenerProtocol::Redirect { port } => PreparedProtocol::Redirect { port: *port },
        ListenerProtocol::Decisions { peers } => PreparedProtocol::Decisions(arrival::Askers::new(peers)),
        ListenerProtocol::Tls(tls) => PreparedProtocol::Https {
            minimum_version: match tls.minimum_version {
                TlsVersion::Tls12 => MinimumVersion::Tls12,
                TlsVersion::Tls13 => MinimumVersion::Tls13,
            },
            material: material(position, tls, shown, now)?,
        },
    })
}

impl Prepared {
    /// `former` is what was spoken at the same address, where that was TLS.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(super) fn spoken(self, former: Option<&Arc<TlsServer>>) -> Result<arrival::Spoken, rustls::Error> {
        let protocol = match self.protocol {
            PreparedProtocol::Http => arrival::Protocol::Http,
            PreparedProtocol::Redirect { port } => arrival::Protocol::Redirect(port),
            PreparedProtocol::Decisions(askers) => arrival::Protocol::Decisions(askers),
            PreparedProtocol::Https { minimum_version, material } => {
                arrival::Protocol::Https(TlsServer::following(former, minimum_version, material)?)
            }
        };
        Ok(arrival::Spoken { proxy_protocol: self.proxy_protocol, protocol })
    }
}

/// What is shown of these files.
fn shown_of(listeners: &[TlsListener], files: &CertificateFiles) -> Option<CertificatePair> {
    let mut shown = listeners.iter().filter_map(|listener| {
        let index = listener.tls.certificates.iter().position(|named| named == files)?;
        listener.server.material().certificates.pairs().get(index).cloned()
    });
    shown.next()
}

/// What the files of a listener hold.
///
/// # Errors
/// Everything that is wrong with them.
fn material(position: usize, tls: &ListenerTls, shown: &[TlsListener], now: Timestamp) -> Result<TlsMaterial, Vec<String>> {
    let (mut pairs, mut faults) = (Vec::new(), Vec::new());
    let shown: Vec<_> = tls.certificates.iter().map(|files| shown_of(shown, files)).collect();
    for read in read_pairs(position, tls, shown.iter().map(Option::as_ref), now) {
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
pub(super) fn renewed(position: usize, tls: &ListenerTls, former: &TlsMaterial, now: Timestamp) -> (TlsMaterial, Vec<String>) {
    let mut faults = Vec::new();
    let former_pairs = former.certificates.pairs();
    let read = read_pairs(position, tls, former_pairs.iter().map(Some), now);
    let pairs = read.zip(former_pairs).map(|(read, former)| {
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

/// Each with what is shown in its place.
fn read_pairs<'a>(
    position: usize,
    tls: &'a ListenerTls,
    shown: impl Iterator<Item = Option<&'a CertificatePair>>,
    now: Timestamp,
) -> impl Iterator<Item = Result<CertificatePair, String>> {
    let named = tls.certificates.iter().zip(shown).enumerate();
    named.map(move |(index, (files, shown))| pair(files, shown, now).map_err(|problem| problem.named(position, index)))
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
    // Nothing is shown yet, so the moment says nothing.
    let materials = tls_of(settings).map(|(position, tls)| material(position, tls, &[], Timestamp::from_secs(0)));
    materials.filter_map(Result::err).flatten().collect()
}

/// A warning for each certificate that clients will not take, or not for long.
pub(super) fn warnings(settings: &Settings, now: Timestamp) -> Vec<String> {
    let materials = tls_of(settings).filter_map(|(position, tls)| Some((position, material(position, tls, &[], now).ok()?)));
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

/// What the files hold, to be shown in the place of `shown`.
///
/// # Errors
/// They hold no pair, or one that is worth less than what is shown.
pub(super) fn pair<'a>(
    files: &'a CertificateFiles,
    shown: Option<&CertificatePair>,
    now: Timestamp,
) -> Result<CertificatePair, PairProblem<'a>> {
    let of_certificate = |error: String| PairProblem { key: "certificate_file", path: &files.certificate, error };
    let of_key = |error: String| PairProblem { key: "key_file", path: &files.key, error };
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let certificates =
        files::read(&files.certificate, CHAIN_FILE_BYTES_MAX).map_err(|error| of_certificate(unreadable(error)))?;
    let key = files::read(&files.key, KEY_BYTES_MAX).map_err(|error| of_key(unreadable(error)))?;
    let pair = CertificatePair::of_pem(&certificates, &key).map_err(|fault| {
        let text = fault.to_string();
        if fault.is_of_certificate() { of_certificate(text) } else { of_key(text) }
    })?;
    match shown.map(|shown| pair.succeeds(shown, now)) {
        Some(Err(refused)) => Err(of_certificate(refused.to_string())),
        Some(Ok(())) | None => Ok(pair),
    }
}

/// The most that is read of a file with a key, in bytes.
const KEY_BYTES_MAX: usize = 64 * 1024;
