//! TLS as a listener speaks it: versions, certificates, tickets.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};

use super::authorities::Authorities;
use super::certificates::Certificates;

/// The protocols that are served over TLS, the one that is preferred first (RFC 7301). A client that names others alone is refused.
const ALPN: [&[u8]; 3] = [b"h2", b"http/1.1", b"http/1.0"];

/// The same where HTTP/2 is off.
const ALPN_OF_HTTP1: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// The oldest version that is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MinimumVersion {
    Tls12,
    Tls13,
}

/// What the files of a listener hold.
#[derive(Debug)]
pub struct TlsMaterial {
    pub certificates: Arc<Certificates>,
    pub clients: ClientCertificates,
}

impl TlsMaterial {
    pub fn is_same(&self, other: &Self) -> bool {
        self.certificates.is_same(&other.certificates) && self.clients.is_same(&other.clients)
    }
}

/// Whether clients are asked for a certificate, and who vouches for it.
#[derive(Clone, Debug)]
pub enum ClientCertificates {
    Off,
    /// Whoever shows none is served too.
    Optional(Authorities),
    Required(Authorities),
}

impl ClientCertificates {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Off, Self::Off) => true,
            (Self::Optional(one), Self::Optional(other)) | (Self::Required(one), Self::Required(other)) => one == other,
            (Self::Off | Self::Optional(_) | Self::Required(_), _) => false,
        }
    }

    fn verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, rustls::Error> {
        let builder = |authorities: &Authorities| {
            WebPkiClientVerifier::builder_with_provider(Arc::clone(authorities.roots()), Arc::new(ring::default_provider()))
        };
        let built = match self {
            Self::Off => return Ok(None),
            Self::Optional(authorities) => builder(authorities).allow_unauthenticated().build(),
            Self::Required(authorities) => builder(authorities).build(),
        };
        built.map(Some).map_err(|error| rustls::Error::General(error.to_string()))
    }
}

/// What a listener offers. All workers share it, and so the keys of the tickets: a session is resumed wherever its client comes back.
pub struct TlsServer {
    minimum_version: MinimumVersion,
    present: ArcSwap<Present>,
}

struct Present {
    material: Arc<TlsMaterial>,
    /// Its keys change by themselves, every six hours. No other listener takes them: who was let in there need not be let in here.
    tickets: Arc<dyn ProducesTickets>,
    config: Arc<ServerConfig>,
    config_of_http1: Arc<ServerConfig>,
}

impl TlsServer {
    /// `former` is what was offered at the same address. It stays where nothing changes, and its tickets stay good as after
    /// [`TlsServer::show`].
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn following(
        former: Option<&Arc<Self>>,
        minimum_version: MinimumVersion,
        material: TlsMaterial,
    ) -> Result<Arc<Self>, rustls::Error> {
        let former = former.map(|former| (former, former.present.load()));
        let tickets = match &former {
            Some((former, present)) if former.minimum_version == minimum_version && present.material.is_same(&material) => {
                return Ok(Arc::clone(former));
            }
            Some((_, present)) => present.tickets_for(&material)?,
            None => ring::Ticketer::new()?,
        };
        let present = Present::new(minimum_version, material, tickets)?;
        Ok(Arc::new(Self { minimum_version, present: ArcSwap::from_pointee(present) }))
    }

    /// For the next handshake. Those under way, and connections, go on with what they have.
    pub fn config(&self, speaks_http2: bool) -> Arc<ServerConfig> {
        let present = self.present.load();
        Arc::clone(if speaks_http2 { &present.config } else { &present.config_of_http1 })
    }

    pub fn material(&self) -> Arc<TlsMaterial> {
        Arc::clone(&self.present.load().material)
    }

    /// Takes other material from the next handshake on. Tickets that were given stay good, unless others decide on clients now: a
    /// session that is resumed is not asked for its certificate again.
    ///
    /// # Errors
    /// As [`TlsServer::following`].
    pub fn show(&self, material: TlsMaterial) -> Result<(), rustls::Error> {
        let tickets = self.present.load().tickets_for(&material)?;
        self.present.store(Arc::new(Present::new(self.minimum_version, material, tickets)?));
        Ok(())
    }
}

impl Present {
    fn new(
        minimum_version: MinimumVersion,
        material: TlsMaterial,
        tickets: Arc<dyn ProducesTickets>,
    ) -> Result<Self, rustls::Error> {
        let versions: &[_] = match minimum_version {
            MinimumVersion::Tls12 => &[&TLS13, &TLS12],
            MinimumVersion::Tls13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_protocol_versions(versions)?;
        let builder = match material.clients.verifier()? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&material.certificates) as _);
        config.ticketer = Arc::clone(&tickets);
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
        let mut config_of_http1 = config.clone();
        config_of_http1.alpn_protocols = ALPN_OF_HTTP1.map(<[u8]>::to_vec).into();
        let (config, config_of_http1) = (Arc::new(config), Arc::new(config_of_http1));
        Ok(Self { material: Arc::new(material), tickets, config, config_of_http1 })
    }

    /// The same, unless others decide on clients then.
    fn tickets_for(&self, material: &TlsMaterial) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
        let is_kept = self.material.clients.is_same(&material.clients);
        if is_kept { Ok(Arc::clone(&self.tickets)) } else { ring::Ticketer::new() }
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").field("minimum_version", &self.minimum_version).finish_non_exhaustive()
    }
}
