//! A connection after it switched protocols: bytes both ways, until either side ends, the session does, or the gateway; or until
//! nothing moves any more.

mod farewell;
mod flow;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub(in crate::proxy) mod handshake;
mod renewal;

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use self::farewell::Farewell;
use self::flow::{Flow, Progress, When};
use self::renewal::{Answers, Screen};
use super::connection::ClientConnection;
use crate::domain::meters::Outcome;
use crate::domain::renewal_prefix::RenewalPrefix;
use crate::proxy::access_log::TunnelLine;
use crate::proxy::bond::{Bond, Renewal};
use crate::proxy::meter::Open;
use crate::proxy::seats::{Doing, Notice};
use crate::proxy::upstream::{Lease, SwitchedStream};
use crate::proxy::watch::{ConnectionWait, ConnectionWatch, ExchangeWait, ExchangeWatch};

/// What a connection turns into after a 101.
#[derive(Debug)]
pub struct Upgrade {
    upstream: SwitchedStream,
    /// What the upstream sent already, behind its head.
    early: BytesMut,
    /// Until the tunnel ends, its server has a request.
    lease: Lease,
    /// Whose session ends the tunnel; nobody's on a public route.
    bond: Option<Bond>,
    terms: TunnelTerms,
    watched: Watched,
}

/// Who takes notice of a tunnel.
#[derive(Debug)]
pub(in crate::proxy) struct Watched {
    /// That it is open.
    pub(in crate::proxy) open: Open,
    /// For the access log, where it is on.
    pub(in crate::proxy) line: Option<TunnelLine>,
}

impl Watched {
    fn passed(&self, to_client: u64, to_upstream: u64) {
        self.open.passed(to_client, to_upstream);
        if let Some(line) = &self.line {
            line.passed(to_client, to_upstream);
        }
    }

    /// `told`: what both sides were told of its end, or were to be.
    fn ends(&self, told: Option<Farewell>) {
        if let Some(line) = &self.line {
            line.ends(match told {
                Some(Farewell::Ended(_)) => Outcome::SessionEnded,
                Some(Farewell::Idle | Farewell::GoingAway | Farewell::NotRenewed) | None => Outcome::Switched,
            });
        }
    }
}

/// What the route says of a tunnel.
#[derive(Clone, Debug)]
pub struct TunnelTerms {
    /// How long no byte may move, in either direction.
    pub idle_timeout: Duration,
    /// How long the upstream may take none of the bytes that the gateway has for it.
    pub upstream_write_timeout: Duration,
    /// How the client begins a message that renews the stream; `None`: by none.
    pub renewal: Option<RenewalPrefix>,
}

impl Upgrade {
    pub(in crate::proxy) fn new(
        (upstream, early, lease): (SwitchedStream, BytesMut, Lease),
        bond: Option<Bond>,
        terms: TunnelTerms,
        watched: Watched,
    ) -> Self {
        Self { upstream, early, lease, bond, terms, watched }
    }
}

/// From the moment when both sides are told goodbye: how long they may take to hear it and to close.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Copies until either side closes, or has to. `from_client` was read already, behind the head.
pub async fn run(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    from_client: Bytes,
    upgrade: Upgrade,
    connection: &ClientConnection,
    exchange: &ExchangeWatch,
) {
    let Upgrade { mut upstream, early, lease: _lease, bond, terms, watched } = upgrade;
    connection.watch.disarm(ConnectionWait::NextRequest);
    connection.watch.does(Doing::Response);
    exchange.tunnel_for(bond);
    let write_timeouts = [connection.limits.write_timeout, terms.upstream_write_timeout];
    let to_upstream = match &terms.renewal {
        // A token is no longer than a head in which it could come.
        Some(prefix) => Flow::through(Screen::new(prefix.clone(), connection.limits.header_bytes_max, from_client.into())),
        None => Flow::starting_with(from_client.into()),
    };
    let mut tunnel = Tunnel {
        to_client: Flow::starting_with(early),
        to_upstream,
        answers: terms.renewal.map(Answers::new),
        farewell: None,
        write_timeouts,
        watched,
    };
    exchange.stream_waits(terms.idle_timeout);
    let watches = Watches { connection: &connection.watch, exchange };
    let end = poll_fn(|cx| {
        exchange.woken_by(cx.waker());
        tunnel.poll(&mut client, &mut upstream, watches, cx)
    })
    .await;
    tunnel.watched.ends(tunnel.farewell);
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

/// What a tunnel waits for.
#[derive(Clone, Copy)]
struct Watches<'a> {
    connection: &'a ConnectionWatch,
    exchange: &'a ExchangeWatch,
}

struct Tunnel {
    to_client: Flow,
    to_upstream: Flow,
    /// To tokens that the client sends, where the route lets it.
    answers: Option<Answers>,
    /// What both sides were told, or are about to be.
    farewell: Option<Farewell>,
    /// Of the client and of the upstream.
    write_timeouts: [Duration; 2],
    watched: Watched,
}

impl Tunnel {
    fn poll(
        &mut self,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
        upstream: &mut SwitchedStream,
        watches: Watches<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<TunnelEnd> {
        let Watches { connection, exchange } = watches;
        match connection.notice() {
            Notice::Stay | Notice::Gone => {}
            Notice::Leave | Notice::LeaveNow => return Poll::Ready(TunnelEnd::GivenUp),
        }
        if exchange.take_expired(ExchangeWait::ClientWrite) || exchange.take_expired(ExchangeWait::UpstreamWrite) {
            return Poll::Ready(TunnelEnd::Blocked);
        }
        let farewell = if let Some(ending) = exchange.ended() {
            Some((Farewell::Ended(ending), When::AtOnce))
        } else if exchange.take_expired(ExchangeWait::Stream) {
            Some((Farewell::Idle, When::AtOnce))
        } else {
            connection.is_draining().then_some((Farewell::GoingAway, When::BetweenFrames))
        };
        if let Some((farewell, when)) = farewell {
            self.say(farewell, when, watches);
        }
        if let Some(farewell) = self.farewell
            && exchange.take_expired(ExchangeWait::Farewell)
        {
            return Poll::Ready(TunnelEnd::NotHeard(farewell));
        }
        // What the upstream has said may let its side close: it is read first.
        let to_client = self.to_client.poll(upstream, client, cx);
        let to_upstream = self.to_upstream.poll(client, upstream, cx);
        if self.renew(watches) {
            cx.waker().wake_by_ref();
        }
        self.arm(watches);
        match (to_client, to_upstream) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(error.into()),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
                Poll::Ready(self.farewell.map_or(TunnelEnd::Finished, TunnelEnd::Parted))
            }
            (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
        }
    }

    /// Has tokens of the client judged, and prepares what it is told of them. Whether there is anything to say.
    fn renew(&mut self, watches: Watches<'_>) -> bool {
        let asked = self.to_upstream.take_token().map(|token| {
            if let Some(answers) = &mut self.answers {
                answers.are_about(&token);
            }
            watches.exchange.ask_for_renewal(token)
        });
        let renewal = match asked {
            Some(Err(refused)) => Some(Err(refused)),
            // The next tick judges it.
            Some(Ok(())) | None => watches.exchange.take_renewal(),
        };
        if let Some(renewal) = &renewal {
            self.answer(renewal, watches);
        }
        renewal.is_some()
    }

    fn answer(&mut self, renewal: &Renewal, watches: Watches<'_>) {
        let Some(answers) = &mut self.answers else { return };
        match answers.to(renewal) {
            Some(message) => self.to_client.interject(message),
            None => self.say(Farewell::NotRenewed, When::BetweenFrames, watches),
        }
    }

    /// The first farewell counts, but the end of a token or session does not wait for frames under way.
    fn say(&mut self, farewell: Farewell, when: When, watches: Watches<'_>) {
        let is_ending = |farewell| matches!(farewell, Farewell::Ended(_));
        let is_news = self.farewell.is_none_or(|said| is_ending(farewell) && !is_ending(said));
        if !is_news {
            return;
        }
        if self.farewell.replace(farewell).is_none() {
            watches.exchange.disarm(ExchangeWait::Stream);
            watches.exchange.arm(ExchangeWait::Farewell, FAREWELL_TIMEOUT);
        }
        self.to_client.end_with(farewell.to_client(), when);
        self.to_upstream.end_with(farewell.to_upstream(), when);
    }

    fn arm(&mut self, watches: Watches<'_>) {
        let [client_timeout, upstream_timeout] = self.write_timeouts;
        let (to_client, to_upstream) = (self.to_client.take_progress(), self.to_upstream.take_progress());
        keep_time(watches.exchange, ExchangeWait::ClientWrite, to_client, client_timeout);
        keep_time(watches.exchange, ExchangeWait::UpstreamWrite, to_upstream, upstream_timeout);
        if to_client.moved || to_upstream.moved {
            self.watched.passed(to_client.bytes, to_upstream.bytes);
            watches.exchange.stream_moves();
        }
    }
}

fn keep_time(deadlines: &ExchangeWatch, wait: ExchangeWait, progress: Progress, timeout: Duration) {
    if !progress.is_blocked {
        deadlines.disarm(wait);
    } else if progress.moved || !deadlines.is_armed(wait) {
        deadlines.arm(wait, timeout);
    }
}
