//! A connection after it switched protocols: bytes both ways, until either side ends, the session does, or the gateway; or until
//! nothing moves any more.

mod flow;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzz;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use tokio::net::TcpStream;

use self::flow::{Flow, When};
use self::frames::Farewell;
use super::connection::ClientConnection;
use super::seats::{Doing, Notice};
use super::upstream::Stream;
use super::watch::{Wait, Watch};
use crate::domain::claims::Principal;
use crate::domain::headers::write_field;

/// What a connection turns into after a 101.
#[derive(Debug)]
pub struct Upgrade {
    upstream: Stream,
    /// What the upstream sent already, behind its head.
    early: BytesMut,
    /// Whose session ends the tunnel; nobody's on a public route.
    principal: Option<Arc<Principal>>,
    limits: TunnelLimits,
}

#[derive(Clone, Copy, Debug)]
pub struct TunnelLimits {
    /// How long no byte may move, in either direction.
    pub idle_timeout: Duration,
    /// How long the upstream may take none of the bytes that the gateway has for it.
    pub upstream_write_timeout: Duration,
}

impl Upgrade {
    pub(super) fn new((upstream, early): (Stream, BytesMut), principal: Option<Arc<Principal>>, limits: TunnelLimits) -> Self {
        Self { upstream, early, principal, limits }
    }
}

/// From the moment when both sides are told goodbye: how long they may take to hear it and to close.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Copies until either side closes, or has to. `from_client` was read already, behind the head.
pub async fn run(mut client: TcpStream, from_client: Bytes, upgrade: Upgrade, connection: &ClientConnection) {
    let Upgrade { mut upstream, early, principal, limits } = upgrade;
    let watch = &connection.watch;
    watch.disarm(Wait::NextRequest);
    watch.does(Doing::Response);
    watch.tunnel_for(principal);
    let write_timeouts = [connection.limits.write_timeout, limits.upstream_write_timeout];
    let mut tunnel = Tunnel {
        to_client: Flow::starting_with(early),
        to_upstream: Flow::starting_with(from_client.into()),
        farewell: None,
        write_timeouts,
    };
    watch.stream_waits(limits.idle_timeout);
    let end = poll_fn(|cx| {
        watch.woken_by(cx.waker());
        tunnel.poll(&mut client, &mut upstream, watch, cx)
    })
    .await;
    tracing::debug!(peer = %connection.peer, %end, "tunnel closed");
}

/// Why a tunnel ended.
#[derive(Debug, thiserror::Error)]
enum TunnelEnd {
    #[error("both sides are through")]
    Finished,
    #[error("{0}: both sides were told")]
    Parted(Farewell),
    #[error("{0}: not both sides heard it in time")]
    NotHeard(Farewell),
    #[error("a side was lost: {0}")]
    Lost(#[from] io::Error),
    #[error("a side took no more bytes")]
    Blocked,
    #[error("others needed the seat")]
    GivenUp,
}

struct Tunnel {
    to_client: Flow,
    to_upstream: Flow,
    /// What both sides were told, or are about to be.
    farewell: Option<Farewell>,
    /// Of the client and of the upstream.
    write_timeouts: [Duration; 2],
}

impl Tunnel {
    fn poll(&mut self, client: &mut TcpStream, upstream: &mut Stream, watch: &Watch, cx: &mut Context<'_>) -> Poll<TunnelEnd> {
        match watch.notice() {
            Notice::Stay | Notice::Gone => {}
            Notice::Leave | Notice::LeaveNow => return Poll::Ready(TunnelEnd::GivenUp),
        }
        if watch.take_expired(Wait::ClientWrite) || watch.take_expired(Wait::UpstreamWrite) {
            return Poll::Ready(TunnelEnd::Blocked);
        }
        let farewell = if let Some(ending) = watch.ended() {
            Some((Farewell::Ended(ending), When::AtOnce))
        } else if watch.take_expired(Wait::Stream) {
            Some((Farewell::Idle, When::AtOnce))
        } else {
            watch.is_draining().then_some((Farewell::GoingAway, When::BetweenFrames))
        };
        if let Some((farewell, when)) = farewell {
            self.say(farewell, when, watch);
        }
        if let Some(farewell) = self.farewell
            && watch.take_expired(Wait::Farewell)
        {
            return Poll::Ready(TunnelEnd::NotHeard(farewell));
        }
        let to_client = self.to_client.poll(upstream, client, cx);
        let to_upstream = self.to_upstream.poll(client, upstream, cx);
        self.arm(watch);
        match (to_client, to_upstream) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(error.into()),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
                Poll::Ready(self.farewell.map_or(TunnelEnd::Finished, TunnelEnd::Parted))
            }
            (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
        }
    }

    /// The first farewell counts, but the end of a token or session does not wait for frames under way.
    fn say(&mut self, farewell: Farewell, when: When, watch: &Watch) {
        let is_ending = |farewell| matches!(farewell, Farewell::Ended(_));
        let is_news = self.farewell.is_none_or(|said| is_ending(farewell) && !is_ending(said));
        if !is_news {
            return;
        }
        if self.farewell.replace(farewell).is_none() {
            watch.disarm(Wait::Stream);
            watch.arm(Wait::Farewell, FAREWELL_TIMEOUT);
        }
        self.to_client.end_with(farewell.to_client(), when);
        self.to_upstream.end_with(farewell.to_upstream(), when);
    }

    fn arm(&mut self, watch: &Watch) {
        let mut moved = false;
        for ((flow, wait), timeout) in [(&mut self.to_client, Wait::ClientWrite), (&mut self.to_upstream, Wait::UpstreamWrite)]
            .into_iter()
            .zip(self.write_timeouts)
        {
            let progress = flow.take_progress();
            moved |= progress.moved;
            if !progress.is_blocked {
                watch.disarm(wait);
            } else if progress.moved || !watch.is_armed(wait) {
                watch.arm(wait, timeout);
            }
        }
        if moved {
            watch.stream_moves();
        }
    }
}

/// Whether a request asks for a WebSocket (RFC 6455, section 4.2.1). Other protocols are not switched to: an HTTP/2 upgrade, for one,
/// would carry requests past every check.
pub(super) fn wants_websocket(head: &Parts) -> bool {
    let has_token = |name: HeaderName, token: &str| {
        head.headers
            .get_all(name)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .any(|one| one.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
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
