//! Certificates of the listeners, from their files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StartError;
use super::certificate_files::{authorities, next_pair, pair};
use super::watched_certificates::{Holder, Shown};
use crate::config::{self, CertificateFiles, ClientDemand, ListenerProtocol, ListenerTls, Settings, TlsVersion};
use crate::crypto::certificates::{CertificatePair, Certificates, names_of};
use crate::crypto::tls_server::{ClientCertificates, MinimumVersion, TlsMaterial, TlsServer};
use crate::domain::time::Timestamp;
use crate::proxy::client::arrival;

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
pub(super) fn prepared(settings: &Settings, former: &[TlsListener], now: Timestamp) -> Result<Vec<Prepared>, StartError> {
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    for (position, listener) in settings.listeners.iter().enumerate() {
        match protocol(position, listener, former, now) {
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

impl Holder for Vec<TlsListener> {
    fn files(&self) -> Vec<PathBuf> {
        self.iter().flat_map(|listener| listener.tls.files()).map(Path::to_owned).collect()
    }

    fn renew(&self, now: Timestamp) -> Vec<String> {
        self.iter().flat_map(|listener| listener.renew(now)).collect()
    }

    fn shown(&self) -> Vec<Shown> {
        let of_one = |listener: &TlsListener| shown(listener.position, listener.server.material().certificates.pairs());
        self.iter().flat_map(of_one).collect()
    }
}

impl TlsListener {
    fn renew(&self, now: Timestamp) -> Vec<String> {
        let Self { position, tls, server } = self;
        let former = server.material();
        let (read, mut faults) = renewed(*position, tls, &former, now);
        if read.is_same(&former) {
            return faults;
        }
        let names = names_of(read.certificates.pairs());
        match server.show(read) {
            Ok(()) => tracing::info!(listener = position, names, "certificates changed"),
            Err(error) => faults.push(format!("listeners[{position}].tls: {error}")),
        }
        faults
    }
}

fn shown(listener: usize, pairs: &[CertificatePair]) -> Vec<Shown> {
    let named = |(index, pair): (usize, &CertificatePair)| {
        let names = names_of(std::slice::from_ref(pair));
        Shown { place: format!("listeners[{listener}].tls.certificates[{index}] ({names})"), pair: pair.clone() }
    };
    pairs.iter().enumerate().map(named).collect()
}

/// What the files of a listener hold now, and all that is wrong with them. What cannot be used stays as in `former`, which was read from
/// the same files.
fn renewed(position: usize, tls: &ListenerTls, former: &TlsMaterial, now: Timestamp) -> (TlsMaterial, Vec<String>) {
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
    named.map(move |(index, (files, shown))| {
        let read = shown.map_or_else(|| pair(files), |shown| next_pair(files, shown, now));
        read.map_err(|problem| problem.under(&format!("listeners[{position}].tls.certificates[{index}]")))
    })
}

fn clients(position: usize, tls: &ListenerTls) -> Result<ClientCertificates, String> {
    let Some(clients) = &tls.clients else { return Ok(ClientCertificates::Off) };
    let authorities = authorities(&clients.ca_file)
        .map_err(|error| format!("listeners[{position}].tls.client_ca_file = \"{}\": {error}", clients.ca_file.display()))?;
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
    let all = materials.flat_map(|(position, material)| shown(position, material.certificates.pairs()));
    all.filter_map(|shown| shown.told(now)).map(|(_, text)| text).collect()
}

fn tls_of(settings: &Settings) -> impl Iterator<Item = (usize, &ListenerTls)> {
    settings.listeners.iter().enumerate().filter_map(|(position, listener)| match &listener.protocol {
        ListenerProtocol::Tls(tls) => Some((position, tls)),
        ListenerProtocol::Plain | ListenerProtocol::Redirect { .. } | ListenerProtocol::Decisions { .. } => None,
    })
}
