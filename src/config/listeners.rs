//! `[[listeners]]`: where clients connect, and what is spoken there.

use std::fmt;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::address::ListenAddress;
use super::decision::DecisionListener;
use super::parse;
use super::reading::Reading;
use super::section::Section;
use super::setting::open_settings;

/// One address where clients connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    pub address: ListenAddress,
    /// Whether connections begin with a PROXY header, by which a trusted peer says whose they are.
    pub proxy_protocol: bool,
    pub protocol: ListenerProtocol,
}

impl Listener {
    /// Whether a request that comes as it is, in clear text and without a header before it, gets its response here.
    pub fn takes_plain_http(&self) -> bool {
        !self.proxy_protocol && self.protocol == ListenerProtocol::Plain
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match &self.protocol {
            ListenerProtocol::Plain => {}
            ListenerProtocol::Tls(tls) => {
                f.write_str(", TLS")?;
                match tls.clients.as_ref().map(|clients| clients.demand) {
                    None => {}
                    Some(ClientDemand::Optional) => f.write_str(", client certificates are optional")?,
                    Some(ClientDemand::Required) => f.write_str(", client certificates are required")?,
                }
            }
            ListenerProtocol::Redirect { port } => write!(f, ", redirects to https at port {port}")?,
            ListenerProtocol::Decisions { .. } => f.write_str(", decides for other proxies")?,
        }
        if self.proxy_protocol { f.write_str(", behind a PROXY header") } else { Ok(()) }
    }
}

/// What is spoken at a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListenerProtocol {
    Plain,
    Tls(ListenerTls),
    /// Every request is sent to the same host and path under https, at this port.
    Redirect {
        port: u16,
    },
    /// Questions of proxies in these networks.
    Decisions {
        peers: Vec<IpNet>,
    },
}

/// How a listener speaks TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerTls {
    /// Never empty; the first is shown to whoever asks for no name that another has.
    pub certificates: Vec<CertificateFiles>,
    pub minimum_version: TlsVersion,
    /// `None`: clients are not asked for theirs.
    pub clients: Option<ClientAuthentication>,
}

/// Whose certificates of clients are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientAuthentication {
    /// PEM: the authorities that vouch for them.
    pub ca_file: PathBuf,
    pub demand: ClientDemand,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientDemand {
    /// Whoever shows none is served too.
    Optional,
    Required,
}

impl ListenerTls {
    /// All files that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.certificates.iter().flat_map(|files| [files.certificate.as_path(), files.key.as_path()]);
        pairs.chain(self.clients.iter().map(|clients| clients.ca_file.as_path()))
    }
}

/// A certificate and its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// PEM: the certificate, then those of the authorities between it and the root.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// What the word of a redirect stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RedirectTo {
    Https,
}

open_settings!(TlsVersion, ClientDemand, RedirectTo);

/// All listeners, in their order. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listeners {
    all: Vec<Listener>,
    /// Whether `listen.address` names the first.
    is_short: bool,
}

/// The port of https.
const HTTPS: u16 = 443;

impl Listeners {
    /// One that speaks HTTP in clear text: `listen.address`.
    pub fn plain(address: ListenAddress) -> Self {
        let listener = Listener { address, proxy_protocol: false, protocol: ListenerProtocol::Plain };
        Self { all: vec![listener], is_short: true }
    }

    /// And that for other proxies, if there is one.
    pub(super) fn with(mut self, decision: Option<DecisionListener>) -> Self {
        self.all.extend(decision.map(|DecisionListener { address, peers }| Listener {
            address,
            proxy_protocol: false,
            protocol: ListenerProtocol::Decisions { peers },
        }));
        self
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Listener> {
        self.all.iter()
    }

    /// The key that says where one of them is, by its position.
    pub fn address_key(&self, position: usize) -> String {
        match self.all.get(position).map(|listener| &listener.protocol) {
            Some(ListenerProtocol::Decisions { .. }) => "decision.address".to_owned(),
            Some(_) | None if self.is_short => "listen.address".to_owned(),
            Some(_) | None => format!("listeners[{position}].address"),
        }
    }

    /// Whether any of them shows certificates.
    pub fn speak_tls(&self) -> bool {
        self.iter().any(|listener| matches!(listener.protocol, ListenerProtocol::Tls(_)))
    }

    /// The first: its port is part of the node's name.
    pub fn first(&self) -> &Listener {
        &self.all[0]
    }
}

impl<'a> IntoIterator for &'a Listeners {
    type Item = &'a Listener;
    type IntoIter = std::slice::Iter<'a, Listener>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Listeners as they were read, while the rest of the settings is.
pub(super) struct NamedListeners(Vec<Option<Entry>>);

/// A listener whose redirect may not say to which port.
struct Entry {
    address: ListenAddress,
    proxy_protocol: bool,
    spoken: Named,
}

enum Named {
    Plain,
    Tls(ListenerTls),
    Redirect(Option<u16>),
}

impl NamedListeners {
    pub(super) fn read(root: &mut Section<'_>) -> Self {
        Self(root.list("listeners", Entry::read))
    }

    /// Whether there is none at all: then `listen.address` is the only one.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// With `listen.address` where there is none. `None` after a fault was noted.
    pub(super) fn complete(self, short: Option<ListenAddress>) -> Option<Listeners> {
        if self.is_empty() {
            return short.map(Listeners::plain);
        }
        let entries = self.0.into_iter().collect::<Option<Vec<_>>>()?;
        let mut tls = entries.iter().filter(|entry| matches!(entry.spoken, Named::Tls(_)));
        // 0: the kernel chooses it when the listener starts.
        let first_tls = tls.next().map(|entry| entry.address.port()).filter(|port| *port != 0);
        let listener = |Entry { address, proxy_protocol, spoken }| {
            let protocol = match spoken {
                Named::Plain => ListenerProtocol::Plain,
                Named::Tls(tls) => ListenerProtocol::Tls(tls),
                Named::Redirect(port) => ListenerProtocol::Redirect { port: port.or(first_tls).unwrap_or(HTTPS) },
            };
            Listener { address, proxy_protocol, protocol }
        };
        Some(Listeners { all: entries.into_iter().map(listener).collect(), is_short: false })
    }
}

impl Entry {
    fn read(s: &mut Section<'_>) -> Option<Self> {
        let address = s.require("address", parse::address());
        let proxy_protocol = s.read("proxy_protocol", parse::flag());
        let redirect = s.read("redirect", parse::or_off(parse::choice(&[("https", RedirectTo::Https)])));
        let port = s.optional("redirect_port", port());
        let tls = s.has_any(&["tls"]).then(|| s.section("tls", ListenerTls::read));
        if redirect.is_some() && tls.is_some() {
            s.fault("redirect", "has no meaning with `tls`: what comes there has come by https");
        }
        if redirect.is_none() && port.is_some() {
            s.fault("redirect_port", "has no meaning without redirect = \"https\"");
        }
        let spoken = match (redirect, tls) {
            (_, Some(tls)) => Named::Tls(tls?),
            (Some(RedirectTo::Https), None) => Named::Redirect(port),
            (None, None) => Named::Plain,
        };
        Some(Self { address: address?, proxy_protocol, spoken })
    }
}

fn port() -> Reading<u16> {
    parse::number(1, u16::MAX.into()).then(|port| u16::try_from(port).map_err(|error| error.to_string()))
}

impl ListenerTls {
    fn read(s: &mut Section<'_>) -> Option<Self> {
        use TlsVersion::{Tls12, Tls13};
        let minimum_version = s.read("minimum_version", parse::choice(&[("1.2", Tls12), ("1.3", Tls13)]));
        let ca_file = s.optional("client_ca_file", parse::path());
        let clients = if let Some(ca_file) = ca_file {
            let demand = s.read("client_certificates", client_demand());
            Some(ClientAuthentication { ca_file, demand })
        } else {
            s.meaningless(
                "client_certificates",
                client_demand(),
                "has no meaning without client_ca_file, which says who vouches for them",
            );
            None
        };
        let certificates = s.list("certificates", CertificateFiles::read);
        if certificates.is_empty() {
            s.fault("certificates", "is missing: add [[listeners.tls.certificates]] with certificate_file and key_file");
        }
        let certificates = certificates.into_iter().collect::<Option<Vec<_>>>()?;
        (!certificates.is_empty()).then_some(Self { certificates, minimum_version, clients })
    }
}

fn client_demand() -> Reading<ClientDemand> {
    parse::choice(&[("optional", ClientDemand::Optional), ("required", ClientDemand::Required)])
}

impl CertificateFiles {
    fn read(s: &mut Section<'_>) -> Option<Self> {
        let certificate = s.require("certificate_file", parse::path());
        let key = s.require_key_file("key_file");
        Some(Self { certificate: certificate?, key: key? })
    }
}
