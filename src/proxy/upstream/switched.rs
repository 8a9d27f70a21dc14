//! What a WebSocket's bytes go over to the upstream, once it has consented.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connect::Stream;
use super::http2::socket::Http2Socket;

/// Bytes both ways. Dropped before both sides have ended, it breaks off.
#[derive(Debug)]
pub struct SwitchedStream(Carrier);

#[derive(Debug)]
enum Carrier {
    /// The bare connection.
    Http1(Stream),
    /// One stream of a connection that carries others too. Boxed: most are of the other kind.
    Http2(Box<Http2Socket>),
}

impl From<Stream> for SwitchedStream {
    fn from(stream: Stream) -> Self {
        Self(Carrier::Http1(stream))
    }
}

impl From<Http2Socket> for SwitchedStream {
    fn from(socket: Http2Socket) -> Self {
        Self(Carrier::Http2(Box::new(socket)))
    }
}

impl AsyncRead for SwitchedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Carrier::Http1(stream) => Pin::new(stream).poll_read(cx, buf),
            Carrier::Http2(socket) => Pin::new(&mut **socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for SwitchedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Carrier::Http1(stream) => Pin::new(stream).poll_write(cx, buf),
            Carrier::Http2(socket) => Pin::new(&mut **socket).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Carrier::Http1(stream) => Pin::new(stream).poll_flush(cx),
            Carrier::Http2(socket) => Pin::new(&mut **socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Carrier::Http1(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Http2(socket) => Pin::new(&mut **socket).poll_shutdown(cx),
        }
    }
}
