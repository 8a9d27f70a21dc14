//! Opening connections to upstreams: TCP, and TLS where the URL says so.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::{fmt, io};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::crypto::authorities::Authorities;
use crate::crypto::client_identity::ClientIdentity;
use crate::crypto::server_authorities::ServerAuthorities;
use crate::domain::network::KEEPALIVE_TIMEOUT;
use crate::proxy::keepalive;
use crate::proxy::tls_socket::Socket;

/// Where an upstream listens, and how to speak to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    location: Location,
    /// Set for `https`.
    tls: Option<Tls>,
    protocol: Protocol,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 and nothing else: chosen by ALPN under TLS, known beforehand without it.
    Http2,
}

impl Protocol {
    /// As ALPN calls it.
    const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Location {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// TLS towards one upstream: whom to trust, and whose certificate to expect.
#[derive(Clone)]
pub struct Tls {
    config: Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
    trusted: Trusted,
    /// What the server is shown that asks for it.
    identity: Option<Arc<ClientIdentity>>,
}

/// Whose certificates are believed.
#[derive(Clone)]
enum Trusted {
    Web,
    Listed(Authorities),
    /// Those of a file, whatever it holds.
    Renewed(Arc<ServerAuthorities>),
}

impl PartialEq for Trusted {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Web, Self::Web) => true,
            (Self::Listed(one), Self::Listed(other)) => one == other,
            (Self::Renewed(one), Self::Renewed(other)) => Arc::ptr_eq(one, other),
            (Self::Web | Self::Listed(_) | Self::Renewed(_), _) => false,
        }
    }
}

impl PartialEq for Tls {
    /// What is made of the rest says nothing more. An identity is one and the same as long as its files are.
    fn eq(&self, other: &Self) -> bool {
        let identities = (self.identity.as_ref().map(Arc::as_ptr), other.identity.as_ref().map(Arc::as_ptr));
        self.name == other.name && self.trusted == other.trusted && identities.0 == identities.1
    }
}

impl Eq for Tls {}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.name).finish()
    }
}

impl Tls {
    /// Trusts the certificate authorities of the web.
    ///
    /// # Errors
    /// `host` is neither a DNS name nor an address.
    pub fn of_web(host: &str) -> Result<Self, String> {
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self::trusting(host, Arc::new(roots), Trusted::Web)
    }

    /// Trusts these, and no others.
    ///
    /// # Errors
    /// `host` is neither a DNS name nor an address.
    pub fn of_authorities(host: &str, authorities: &Authorities) -> Result<Self, String> {
        Self::trusting(host, Arc::clone(authorities.roots()), Trusted::Listed(authorities.clone()))
    }

    /// Trusts the certificates of a file, and no others: those that it holds at each handshake.
    ///
    /// # Errors
    /// `host` is neither a DNS name nor an address.
    pub fn vouched_by(host: &str, authorities: Arc<ServerAuthorities>) -> Result<Self, String> {
        let builder = builder()?.dangerous().with_custom_certificate_verifier(Arc::clone(&authorities) as _);
        let mut config = builder.with_no_client_auth();
        // In a session that is resumed, nobody asks who vouches for the server.
        config.resumption = Resumption::disabled();
        Self::of(host, config, Trusted::Renewed(authorities))
    }

    fn trusting(host: &str, roots: Arc<rustls::RootCertStore>, trusted: Trusted) -> Result<Self, String> {
        Self::of(host, builder()?.with_root_certificates(roots).with_no_client_auth(), trusted)
    }

    fn of(host: &str, mut config: rustls::ClientConfig, trusted: Trusted) -> Result<Self, String> {
        config.alpn_protocols = vec![Protocol::Http1.alpn().to_vec()];
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        Ok(Self { config: Arc::new(config), name, trusted, identity: None })
    }

    /// Shows the server this certificate, if it asks for one.
    #[must_use]
    pub fn showing(mut self, identity: Arc<ClientIdentity>) -> Self {
        let config = Arc::make_mut(&mut self.config);
        config.client_auth_cert_resolver = Arc::clone(&identity) as _;
        // Whoever resumes a session is not asked again: a server would go on seeing a certificate that was renewed since.
        config.resumption = Resumption::disabled();
        self.identity = Some(identity);
        self
    }

    fn speaking(mut self, protocol: Protocol) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = vec![protocol.alpn().to_vec()];
        self
    }

    async fn over(&self, tcp: TcpStream) -> io::Result<TlsStream<Socket>> {
        let shaken = TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), Socket::from(tcp)).await;
        let stream = shaken.map_err(|error| if refuses_all_protocols(&error) { NotHttp2.into() } else { error })?;
        // Whoever knows no ALPN may speak HTTP/1.1, and nothing else.
        let is_http2_offered = self.config.alpn_protocols.iter().any(|name| name == Protocol::Http2.alpn());
        let is_http2_chosen = stream.get_ref().1.alpn_protocol() == Some(Protocol::Http2.alpn());
        if is_http2_offered && !is_http2_chosen { Err(NotHttp2.into()) } else { Ok(stream) }
    }
}

fn builder() -> Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.map_err(|error| error.to_string())
}

/// The one protocol that was offered is not spoken there.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the server does not speak HTTP/2: it was offered by ALPN and not chosen")]
struct NotHttp2;

impl From<NotHttp2> for io::Error {
    fn from(fault: NotHttp2) -> Self {
        Self::new(io::ErrorKind::Unsupported, fault)
    }
}

fn refuses_all_protocols(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)))
}

impl Target {
    /// `host` is a name or an address, without brackets.
    pub const fn tcp(host: String, port: u16, tls: Option<Tls>) -> Self {
        Self { location: Location::Tcp { host, port }, tls, protocol: Protocol::Http1 }
    }

    /// A socket of this machine.
    pub const fn unix(path: PathBuf) -> Self {
        Self { location: Location::Unix(path), tls: None, protocol: Protocol::Http1 }
    }

    /// The same with what is spoken there.
    #[must_use]
    pub fn speaking(self, protocol: Protocol) -> Self {
        Self { tls: self.tls.map(|tls| tls.speaking(protocol)), protocol, ..self }
    }

    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether whoever listens at one address is spoken to in the same way by both.
    pub(super) fn speaks_as(&self, other: &Self) -> bool {
        self.tls == other.tls && self.protocol == other.protocol
    }

    pub(super) const fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// The address, where the host is one.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match &self.location {
            Location::Tcp { host, port } => host.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, *port)),
            Location::Unix(_) => None,
        }
    }

    /// Host and port, where the host is a name.
    pub(super) fn name(&self) -> Option<(&str, u16)> {
        match &self.location {
            Location::Tcp { host, port } => self.address().is_none().then_some((host.as_str(), *port)),
            Location::Unix(_) => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Location::Tcp { host, port } => write!(f, "{host}:{port}"),
            Location::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A connection to an upstream.
#[derive(Debug)]
pub struct Stream {
    io: Io,
    /// Given back with the connection.
    _slot: Option<Slot>,
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<Socket>>),
}

/// One of the connections that a backend may have.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicU32>);

impl Slot {
    /// `None`: all `max` are taken.
    pub(super) fn of(taken: &Arc<AtomicU32>, max: Option<u32>) -> Option<Self> {
        let one_more = |taken: u32| max.is_none_or(|max| taken < max).then(|| taken.saturating_add(1));
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stream {
    /// Connects, TLS included. Takes as long as the network does.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn open(target: &Target) -> io::Result<Self> {
        match &target.location {
            Location::Tcp { host, port } => Self::over(TcpStream::connect((host.as_str(), *port)).await?, target.tls()).await,
            Location::Unix(path) => Ok(Self { io: Io::Unix(UnixStream::connect(path).await?), _slot: None }),
        }
    }

    /// [`Stream::open`] to one of the addresses of a name.
    pub(super) async fn open_at(address: SocketAddr, tls: Option<&Tls>) -> io::Result<Self> {
        Self::over(TcpStream::connect(address).await?, tls).await
    }

    async fn over(tcp: TcpStream, tls: Option<&Tls>) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        keepalive::watch_for_death(&SockRef::from(&tcp), KEEPALIVE_TIMEOUT)?;
        let io = match tls {
            None => Io::Plain(tcp),
            Some(tls) => Io::Tls(Box::new(tls.over(tcp).await?)),
        };
        Ok(Self { io, _slot: None })
    }

    /// Whether bytes that were written may wait here for the upstream to take them.
    pub(super) const fn buffers(&self) -> bool {
        match self.io {
            Io::Plain(_) | Io::Unix(_) => false,
            Io::Tls(_) => true,
        }
    }

    /// Whether the upstream took bytes that waited here, since this was asked last.
    pub(super) fn has_taken(&mut self) -> bool {
        match &mut self.io {
            Io::Plain(_) | Io::Unix(_) => false,
            Io::Tls(stream) => stream.get_mut().0.has_taken(),
        }
    }

    /// Holds a slot until it is closed.
    pub(super) fn in_slot(self, slot: Slot) -> Self {
        Self { _slot: Some(slot), ..self }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
