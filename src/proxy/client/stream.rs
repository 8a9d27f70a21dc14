//! A client's byte stream, with TLS or without, and how it ends.
//!
//! Under TLS an orderly end is a `close_notify`, and what ends without one was cut off (RFC 8446, section 6.1). So a response that
//! breaks off is never followed by one.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use rustls::pki_types::CertificateDer;
use rustls::{HandshakeKind, ProtocolVersion};
use socket2::SockRef;
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::domain::meters::TlsHandshake;
use crate::domain::scheme::Scheme;
use crate::proxy::tls_socket::Socket;

/// What a client's connection is read from and written to.
#[derive(Debug)]
pub enum ClientStream {
    Plain(TcpStream),
    Tls(Box<TlsClient>),
}

/// A client's connection behind a handshake.
#[derive(Debug)]
pub struct TlsClient {
    stream: TlsStream<Socket>,
    /// No `close_notify` is sent.
    breaks_off: bool,
}

impl From<TcpStream> for ClientStream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

impl From<TlsStream<Socket>> for ClientStream {
    fn from(stream: TlsStream<Socket>) -> Self {
        Self::Tls(Box::new(TlsClient { stream, breaks_off: false }))
    }
}

impl ClientStream {
    pub const fn scheme(&self) -> Scheme {
        match self {
            Self::Plain(_) => Scheme::Http,
            Self::Tls(_) => Scheme::Https,
        }
    }

    /// Whether the client went on with a session of before.
    pub fn is_resumed(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// How the handshake went, where there was one.
    pub fn handshake(&self) -> Option<TlsHandshake> {
        let Self::Tls(tls) = self else { return None };
        let is_1_2 = tls.stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_2);
        Some(match (is_1_2, self.is_resumed()) {
            (true, false) => TlsHandshake::Tls12Full,
            (true, true) => TlsHandshake::Tls12Resumed,
            (false, false) => TlsHandshake::Tls13Full,
            (false, true) => TlsHandshake::Tls13Resumed,
        })
    }

    /// The certificate that the client showed, without those that vouch for it.
    pub fn client_certificate(&self) -> Option<&CertificateDer<'static>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.stream.get_ref().1.peer_certificates()?.first(),
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.stream.get_ref().0.tcp(),
        }
    }

    /// Makes the connection end with a reset, or in order again.
    pub(super) fn end_by_reset(&self, resets: bool) {
        if let Err(error) = SockRef::from(self.tcp()).set_linger(resets.then_some(Duration::ZERO)) {
            tracing::debug!(%error, "cannot say how a client connection is to end");
        }
    }

    /// A response has broken off: under TLS the end of the stream says so.
    pub(super) fn break_off(&mut self) {
        match self {
            Self::Plain(_) => {}
            Self::Tls(tls) => tls.breaks_off = true,
        }
    }

    /// What went wrong with the socket since this was asked last.
    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.tcp().take_error()
    }

    /// Whether bytes that were written may wait here for the client to take them.
    pub(super) const fn buffers(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(_) => true,
        }
    }

    /// Whether the client took bytes that waited here, since this was asked last.
    pub(super) fn has_taken(&mut self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.stream.get_mut().0.has_taken(),
        }
    }

    /// Whether there is more to read, which stays where it is. `false`: the client has ended its side.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        match self {
            Self::Plain(tcp) => {
                let mut byte = [MaybeUninit::uninit()];
                tcp.poll_peek(cx, &mut ReadBuf::uninit(&mut byte)).map_ok(|bytes| bytes > 0)
            }
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_fill_buf(cx).map_ok(|bytes| !bytes.is_empty()),
        }
    }

    /// Writes a last word if the client takes it at once.
    pub(super) fn try_say(&mut self, word: &[u8]) -> bool {
        let saying = async {
            self.write_all(word).await?;
            self.flush().await
        };
        matches!(saying.now_or_never(), Some(Ok(())))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_flush(cx),
        }
    }

    /// Waits, under TLS, until the client has taken what was written.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) if tls.breaks_off => Pin::new(&mut tls.stream.get_mut().0).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio_rustls::{TlsAcceptor, TlsConnector, client};

    use super::*;

    fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = CertificateDer::from(made.cert);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let server = server.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        (Arc::new(server), Arc::new(client.with_root_certificates(roots).with_no_client_auth()))
    }

    async fn pair() -> (ClientStream, client::TlsStream<TcpStream>) {
        let (server, client) = configs();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let accepting = TlsAcceptor::from(server).accept(Socket::from(accepted));
        let connecting = TlsConnector::from(client).connect("localhost".try_into().unwrap(), connected);
        let (accepted, connected) = tokio::join!(accepting, connecting);
        (accepted.unwrap().into(), connected.unwrap())
    }

    async fn heard(client: &mut client::TlsStream<TcpStream>) -> (Vec<u8>, io::Result<()>) {
        let mut heard = Vec::new();
        let end = client.read_to_end(&mut heard).await;
        (heard, end.map(drop))
    }

    #[tokio::test]
    async fn an_orderly_end_says_so() {
        let (mut stream, mut client) = pair().await;
        assert_eq!(stream.scheme(), Scheme::Https);
        stream.write_all(b"all of it").await.unwrap();
        stream.shutdown().await.unwrap();
        let (bytes, end) = heard(&mut client).await;
        assert_eq!(bytes, b"all of it");
        end.unwrap();
        client.write_all(b"a last word").await.unwrap();
        client.shutdown().await.unwrap();
        let mut last = String::new();
        stream.read_to_string(&mut last).await.unwrap();
        assert_eq!(last, "a last word", "the other direction is open still");
    }

    #[tokio::test]
    async fn what_there_is_to_read_is_seen_and_stays_and_so_is_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let plain = (ClientStream::from(listener.accept().await.unwrap().0), client);
        check_more(plain.0, plain.1).await;
        let (tls, client) = pair().await;
        check_more(tls, client).await;
    }

    async fn check_more(mut stream: ClientStream, mut client: impl AsyncWrite + Unpin) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(stream.poll_more(&mut cx).is_pending());
        client.write_all(b"more").await.unwrap();
        client.flush().await.unwrap();
        for _ in 0..2 {
            assert!(poll_fn(|cx| stream.poll_more(cx)).await.unwrap());
        }
        let mut taken = [0; 4];
        stream.read_exact(&mut taken).await.unwrap();
        assert_eq!(&taken, b"more");
        assert!(stream.poll_more(&mut cx).is_pending());
        client.shutdown().await.unwrap();
        for _ in 0..2 {
            assert!(!poll_fn(|cx| stream.poll_more(cx)).await.unwrap());
        }
    }

    #[tokio::test]
    async fn what_breaks_off_never_looks_complete() {
        let (mut stream, mut client) = pair().await;
        stream.write_all(b"half").await.unwrap();
        stream.flush().await.unwrap();
        stream.break_off();
        stream.shutdown().await.unwrap();
        let (bytes, end) = heard(&mut client).await;
        assert_eq!((bytes.as_slice(), end.unwrap_err().kind()), (&b"half"[..], io::ErrorKind::UnexpectedEof));
    }

    #[tokio::test]
    async fn what_is_dropped_never_looks_complete() {
        for resets in [false, true] {
            let (stream, mut client) = pair().await;
            stream.end_by_reset(resets);
            drop(stream);
            let kind = heard(&mut client).await.1.unwrap_err().kind();
            assert_eq!(kind, if resets { io::ErrorKind::ConnectionReset } else { io::ErrorKind::UnexpectedEof });
        }
    }

    #[tokio::test]
    async fn a_word_is_said_if_it_leaves_at_once_and_what_leaves_is_noted() {
        let (mut stream, mut client) = pair().await;
        stream.has_taken();
        assert!(stream.try_say(b"goodbye") && stream.has_taken());
        assert!(!stream.has_taken(), "since then nothing was taken");
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let much = vec![0; 64 * 1024];
        while Pin::new(&mut stream).poll_write(&mut cx, &much).is_ready() {}
        assert!(stream.has_taken() && !stream.try_say(b"nobody listens") && !stream.has_taken());
        let mut first = [0; 7];
        client.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"goodbye");
    }
}
