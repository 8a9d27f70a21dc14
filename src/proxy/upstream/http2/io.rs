//! The socket of an upstream as h2 sees it: what it shows of the peer is noted, and its frames are counted.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::signs::Signs;
use crate::domain::frame_meter::FrameMeter;
use crate::domain::reset_meter::ResetMeter;
use crate::proxy::http2::intake::Intakes;
use crate::proxy::upstream::connect::Stream;
use crate::proxy::watch::TICK;

/// Heads and frames that carry nothing, beside those that answer what was sent: as many as a client may send by default.
const FRAMES_MAX: u32 = 10_000;

/// The upstream's socket.
#[derive(Debug)]
pub(super) struct Http2Io {
    stream: Stream,
    signs: Rc<Signs>,
    meter: FrameMeter,
    resets: ResetMeter,
    intakes: Rc<Intakes>,
}

impl Http2Io {
    pub(super) const fn new(stream: Stream, signs: Rc<Signs>, intakes: Rc<Intakes>) -> Self {
        Self { stream, signs, meter: FrameMeter::of_server(FRAMES_MAX), resets: ResetMeter::of_client(), intakes }
    }

    /// Under TLS, what was written has left once it is flushed, or as far as the socket says.
    fn note(&mut self, is_blocked: bool, has_left: bool) {
        if self.stream.has_taken() || has_left {
            self.signs.is_blocked(false);
        }
        if is_blocked {
            self.signs.is_blocked(true);
        }
    }
}

impl AsyncRead for Http2Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.intakes.is_due() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        let come = &buf.filled()[before..];
        if !come.is_empty() {
            this.signs.hear();
            if this.meter.is_exceeded_by(come, TICK * this.signs.now()) {
                return Poll::Ready(Err(io::Error::other("the server sends too many frames that carry nothing")));
            }
            this.intakes.note(this.meter.take_data_frames());
        }
        polled
    }
}

impl AsyncWrite for Http2Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = polled {
            this.meter.sent(bytes);
            this.resets.pass(&buf[..bytes]);
            if this.resets.is_time_to_leave() {
                this.signs.leave();
            }
        }
        this.note(polled.is_pending(), polled.is_ready() && !this.stream.buffers());
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        this.note(polled.is_pending(), polled.is_ready());
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.note(polled.is_pending(), polled.is_ready());
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use rustls::ServerConfig;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::server::TlsStream;

    use super::super::openings::Openings;
    use super::*;
    use crate::crypto::authorities::Authorities;
    use crate::proxy::bond::Verdict;
    use crate::proxy::upstream::connect::{Target, Tls};
    use crate::proxy::watch::Watchers;

    /// A connection by TLS, and its other end.
    async fn pair() -> (Stream, TlsStream<TcpStream>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let tls = Tls::of_authorities("localhost", &Authorities::of_pem(made.cert.pem().as_bytes()).unwrap()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![CertificateDer::from(made.cert)], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Target::tcp(address.ip().to_string(), address.port(), Some(tls));
        let accepting = async { TlsAcceptor::from(Arc::new(config)).accept(listener.accept().await.unwrap().0).await };
        let (stream, server) = tokio::join!(Stream::open(&target), accepting);
        (stream.unwrap(), server.unwrap())
    }

    /// What a session of TLS takes has not left: the peer is blocked from the moment on when its socket takes nothing.
    #[tokio::test]
    async fn a_peer_is_blocked_while_its_socket_takes_nothing_and_not_while_it_takes_little() {
        let (stream, mut server) = pair().await;
        let watchers = Rc::new(Watchers::default());
        let signs = Signs::new(&watchers, &Rc::new(Openings::new(&Arc::default())));
        let mut io = Http2Io::new(stream, Rc::clone(&signs), Rc::default());
        let mut cx = Context::from_waker(Waker::noop());
        // Piece by piece until the socket is full, and then the session.
        while Pin::new(&mut io).poll_write(&mut cx, &[0; 1024]).is_ready() {
            let _ = Pin::new(&mut io).poll_flush(&mut cx);
            watchers.tick(|_| Verdict::Holds);
        }
        let blocked_for = signs.blocked_for();
        assert!(blocked_for >= TICK * 20, "for {blocked_for:?}, in which the session took more and the peer nothing");
        // It takes some, and all that waits here has not left yet.
        let mut some = vec![0; 8 << 20];
        let mut has_moved = false;
        while !has_moved && Pin::new(&mut io).poll_flush(&mut cx).is_pending() {
            let _ = server.read(&mut some).await.unwrap();
            has_moved = signs.blocked_for() < blocked_for;
        }
        assert!(signs.blocked_for() < blocked_for, "it moves");
        let taking = async { while server.read(&mut some).await.is_ok_and(|read| read > 0) {} };
        let leaving = std::future::poll_fn(|cx| Pin::new(&mut io).poll_flush(cx));
        tokio::select! { () = taking => panic!("it ends"), left = leaving => left.unwrap() }
        assert_eq!(signs.blocked_for(), std::time::Duration::ZERO);
    }
}
