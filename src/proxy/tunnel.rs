//! A connection after it switched protocols: bytes both ways, until either side ends or the session does.

mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzz;

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy_bidirectional};
use tokio::net::TcpStream;

use self::frames::{Frames, closing};
use super::connection::ClientConnection;
use super::linger::farewell;
use super::upstream::Stream;
use super::watch::Wait;
use crate::domain::claims::Principal;
use crate::domain::headers::write_field;

/// What a connection turns into after a 101.
#[derive(Debug)]
pub struct Upgrade {
    pub upstream: Stream,
    /// What the upstream sent already, behind its head.
    pub early: BytesMut,
    /// Whose session ends the tunnel; nobody's on a public route.
    pub principal: Option<Arc<Principal>>,
}

/// Copies until either side closes, or the token or its session ends: the client is then told why, unless it is in the midst of a message.
/// `from_client` was read already, behind the head.
pub async fn run(mut client: TcpStream, from_client: Bytes, upgrade: Upgrade, connection: &ClientConnection) {
    let Upgrade { mut upstream, early, principal } = upgrade;
    let watch = &connection.watch;
    watch.disarm(Wait::NextRequest);
    watch.tunnel_for(principal);
    let mut frames = Frames::default();
    let ended = {
        let mut client = ClientSide { stream: &mut client, to_client: &mut frames };
        let mut copy = pin!(async {
            client.write_all(&early).await?;
            upstream.write_all(&from_client).await?;
            copy_bidirectional(&mut client, &mut upstream).await
        });
        poll_fn(|cx| {
            watch.woken_by(cx.waker());
            if let Some(ending) = watch.ended() {
                return Poll::Ready(Some(ending));
            }
            copy.as_mut().poll(cx).map(|_| None)
        })
        .await
    };
    if let Some(ending) = ended {
        tracing::debug!(peer = %connection.peer, cause = %ending, "tunnel closed");
        if frames.is_between() && client.try_write(closing(ending)).is_ok() {
            farewell(&mut client, connection).await;
        }
    }
}

/// The client's socket, and how far the upstream's messages have gone into it.
struct ClientSide<'a> {
    stream: &'a mut TcpStream,
    to_client: &'a mut Frames,
}

impl AsyncRead for ClientSide<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientSide<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut *this.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = polled {
            this.to_client.pass(&buf[..written]);
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Whether a request asks for a WebSocket (RFC 6455, section 4.2.1). Other protocols are not switched to: an HTTP/2 upgrade, for one,
/// would carry requests past every check.
pub(super) fn wants_websocket(head: &Parts) -> bool {
    let has_token = |name: HeaderName, token: &str| {
        head.headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|one| one.trim().eq_ignore_ascii_case(token))
    };
    head.version == Version::HTTP_11
        && head.method == Method::GET
        && head.headers.contains_key(UPGRADE)
        && has_token(CONNECTION, "upgrade")
        && has_token(UPGRADE, "websocket")
}

/// Says on one hop what the rewriting took away: that the protocol is to change.
pub(super) fn announce_websocket(headers: &mut HeaderMap) {
    for (name, value) in WEBSOCKET {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The same, to the upstream.
pub(super) fn write_websocket(out: &mut Vec<u8>) {
    for (name, value) in WEBSOCKET {
        write_field(out, name.as_str(), value.as_bytes());
    }
}

const WEBSOCKET: [(HeaderName, &str); 2] = [(CONNECTION, "upgrade"), (UPGRADE, "websocket")];
