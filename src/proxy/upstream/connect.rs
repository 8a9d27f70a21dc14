//! Opening connections to upstreams: TCP, and TLS where the URL says so.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::domain::network::KEEPALIVE_TIMEOUT;
use crate::proxy::keepalive;

/// Where an upstream listens, and how to speak to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
    /// Set for `https`.
    pub tls: Option<Tls>,
}

/// TLS towards one upstream: whom to trust, and whose certificate to expect.
#[derive(Clone)]
pub struct Tls {
    config: Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
    trusted: Trusted,
}

/// Whose certificates are believed.
#[derive(Clone, PartialEq, Eq)]
enum Trusted {
    Web,
    /// PEM.
    Listed(Arc<[u8]>),
}

impl PartialEq for Tls {
    /// What is made of the rest says nothing more.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.trusted == other.trusted
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
        Self::trusting(host, rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }, Trusted::Web)
    }

    /// Trusts the certificates in `pem`, and no others.
    ///
    /// # Errors
    /// No certificate in it, or one that is none; `host` is neither a DNS name nor an address.
    pub fn of_authorities(host: &str, pem: &[u8]) -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        }
        if roots.is_empty() {
            return Err("holds no certificate".to_owned());
        }
        Self::trusting(host, roots, Trusted::Listed(pem.into()))
    }

    fn trusting(host: &str, roots: rustls::RootCertStore, trusted: Trusted) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        Ok(Self { config: Arc::new(config), name, trusted })
    }
}

impl Target {
    /// Connects, TLS included, and closes the connection again. Takes as long as the network does.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn reach(&self) -> io::Result<()> {
        Stream::open(self).await.map(drop)
    }
}

/// A connection to an upstream.
#[derive(Debug)]
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Connects, TLS included. Takes as long as the network does.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn open(target: &Target) -> io::Result<Self> {
        let tcp = TcpStream::connect((target.host.as_str(), target.port)).await?;
        tcp.set_nodelay(true)?;
        keepalive::watch_for_death(&SockRef::from(&tcp), KEEPALIVE_TIMEOUT)?;
        match &target.tls {
            None => Ok(Self::Plain(tcp)),
            Some(tls) => {
                let stream = TlsConnector::from(Arc::clone(&tls.config)).connect(tls.name.clone(), tcp).await?;
                Ok(Self::Tls(Box::new(stream)))
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
