//! What comes on a connection before its first request: a PROXY header, a TLS handshake.
//!
//! A connection that is still here counts as idle: when seats are short it is the first to go.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::connection::ShownCertificate;
use super::stream::ClientStream;
use crate::crypto::client_certificate::ClientCertificate;
use crate::crypto::tls_server::TlsServer;
use crate::domain::headers::CertificateFields;
use crate::domain::meters::TlsFailure;
use crate::domain::peer::Peer;
use crate::domain::problem_code::{ProblemCode, ProblemTypes};
use crate::domain::proxy_protocol::{Fed, HeaderFault, HeaderReader, Source};
use crate::domain::time::Timestamp;
use crate::proxy::reply::Problem;
use crate::proxy::seats::Notice;
use crate::proxy::tls_socket::Socket;
use crate::proxy::watch::{ConnectionWait, ConnectionWatch};

/// What is spoken where a listener accepts.
#[derive(Clone, Debug)]
pub struct Spoken {
    /// Whether a header comes first that says whose the connection is.
    pub proxy_protocol: bool,
    pub protocol: Protocol,
}

/// What comes behind that.
#[derive(Clone, Debug)]
pub enum Protocol {
    Http,
    Https(Arc<TlsServer>),
    /// Requests, each of which is sent to https at this port.
    Redirect(u16),
    /// Questions of other proxies.
    Decisions(Askers),
}

/// Who may ask for decisions.
#[derive(Clone, Debug)]
pub struct Askers(Arc<[IpNet]>);

impl Askers {
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    fn include(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl Spoken {
    /// Whether a peer may speak here at all.
    pub fn admits(&self, peer: SocketAddr) -> bool {
        match &self.protocol {
            Protocol::Http | Protocol::Https(_) | Protocol::Redirect(_) => true,
            Protocol::Decisions(askers) => askers.include(peer.ip()),
        }
    }
}

/// Why a connection ended before its first request.
#[derive(Debug, thiserror::Error)]
pub enum Unarrived {
    #[error("the handshake took too long")]
    Late,
    #[error("others needed the seat")]
    GivenUp,
    #[error("it spoke HTTP in clear text, where TLS is spoken")]
    ClearText,
    #[error("its certificate says more than is told to upstreams, or cannot be read")]
    Certificate,
    #[error("its certificate has expired")]
    ExpiredCertificate,
    #[error("it does not speak TLS")]
    NoTls,
    #[error("a PROXY header is due here, and its peer is none of listen.trusted_peers")]
    Untrusted,
    #[error("{0}")]
    Header(#[from] HeaderFault),
    #[error("{0}")]
    Lost(#[from] io::Error),
}

impl Unarrived {
    /// As what a handshake counts that failed by it.
    pub fn of_handshake(&self) -> TlsFailure {
        match self {
            Self::Late => TlsFailure::Late,
            Self::GivenUp => TlsFailure::GivenUp,
            Self::ClearText => TlsFailure::ClearText,
            Self::NoTls => TlsFailure::NoTls,
            Self::Certificate | Self::ExpiredCertificate => TlsFailure::Certificate,
            Self::Lost(error) => of_rustls(error),
            // What comes before a handshake.
            Self::Untrusted | Self::Header(_) => TlsFailure::Protocol,
        }
    }
}

fn of_rustls(error: &io::Error) -> TlsFailure {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
        None => TlsFailure::Lost,
        Some(rustls::Error::AlertReceived(_)) => TlsFailure::ByClient,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => TlsFailure::Certificate,
        Some(_) => TlsFailure::Protocol,
    }
}

/// Runs one step before the first request, within its time and for as long as the seat is not needed.
pub async fn in_time<T>(watch: &ConnectionWatch, step: impl Future<Output = Result<T, Unarrived>>) -> Result<T, Unarrived> {
    let mut step = pin!(step);
    poll_fn(|cx| {
        watch.woken_by(cx.waker());
        match watch.notice() {
            Notice::Stay | Notice::Gone => {}
            Notice::Leave | Notice::LeaveNow => return Poll::Ready(Err(Unarrived::GivenUp)),
        }
        let polled = step.as_mut().poll(cx);
        if polled.is_pending() && watch.take_expired(ConnectionWait::Handshake) {
            return Poll::Ready(Err(Unarrived::Late));
        }
        polled
    })
    .await
}

/// Reads the PROXY header, and not a byte more.
pub async fn read_proxy_header(stream: &mut TcpStream, balancer: SocketAddr) -> Result<Peer, Unarrived> {
    /// A header with few extensions fits.
    const PIECE_BYTES: usize = 256;
    let mut reader = HeaderReader::default();
    loop {
        let mut piece = [0; PIECE_BYTES];
        let came = stream.peek(&mut piece).await?;
        if came == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let fed = reader.feed(&piece[..came])?;
        let of_header = match fed {
            Fed::More => came,
            Fed::Done(length, _) => length,
        };
        stream.read_exact(&mut piece[..of_header]).await?;
        match fed {
            Fed::More => {}
            Fed::Done(_, Source::Balancer) => return Ok(Peer::Known(balancer)),
            Fed::Done(_, Source::Unknown) => return Ok(Peer::UnknownBehind(balancer)),
            Fed::Done(_, Source::Client(client)) => return Ok(Peer::Known(client)),
        }
    }
}

/// The first byte of a TLS record that begins a handshake.
const HANDSHAKE_RECORD: u8 = 22;

/// How long a client that was told so may take to read it.
const CLEAR_TEXT_FAREWELL: Duration = Duration::from_secs(1);

/// Speaks TLS from here on.
pub async fn shake_hands(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    types: &ProblemTypes,
) -> Result<ClientStream, Unarrived> {
    let mut first = [0];
    match (stream.peek(&mut first).await?, first) {
        (0, _) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        (_, [HANDSHAKE_RECORD]) => {}
        (_, [byte]) if byte.is_ascii_alphabetic() => {
            let farewell = tokio::time::timeout(CLEAR_TEXT_FAREWELL, refuse_clear_text(&mut stream, types));
            let _ = farewell.await;
            return Err(Unarrived::ClearText);
        }
        (_, [_]) => return Err(Unarrived::NoTls),
    }
    let accepting = TlsAcceptor::from(config).accept(Socket::from(stream));
    Ok(accepting.await?.into())
}

/// The certificate that came with the handshake, or with the session that it resumes; `None`: none did. The handshake looks at the
/// time of the former alone.
pub fn shown_certificate(stream: &ClientStream, now: Timestamp) -> Result<Option<ShownCertificate>, Unarrived> {
    let Some(der) = stream.client_certificate() else { return Ok(None) };
    let ClientCertificate { subject, names, not_after } = ClientCertificate::of_der(der).ok_or(Unarrived::Certificate)?;
    let shown = ShownCertificate { fields: CertificateFields::new(&subject, &names), not_after };
    if shown.has_expired(now) { Err(Unarrived::ExpiredCertificate) } else { Ok(Some(shown)) }
}

/// The client speaks HTTP where TLS is spoken, and would not understand TLS. Reads on, so that the response is not lost to a reset.
async fn refuse_clear_text(stream: &mut TcpStream, types: &ProblemTypes) -> io::Result<()> {
    let problem = Problem::new(ProblemCode::TlsRequired, "Use https here.");
    stream.write_all(&problem.into_farewell(types)).await?;
    stream.shutdown().await?;
    let mut scratch = [0; 1024];
    while stream.read(&mut scratch).await? > 0 {}
    Ok(())
}
