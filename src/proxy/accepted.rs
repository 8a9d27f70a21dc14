//! A client's connection from its seat to its end.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures_util::FutureExt as _;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::client::arrival::{Protocol, Spoken, Unarrived, in_time, read_proxy_header, shake_hands, shown_certificate};
use super::client::connection::{ClientConnection, Purpose, ShownCertificate};
use super::client::handler::Handler as _;
use super::client::http1::linger::Lingerers;
use super::client::serve::serve;
use super::client::stream::ClientStream;
use super::client::unread::Unread;
use super::reply::Problem;
use super::request::gateway::Gateway;
use super::seats::{Holder, Notice};
use super::watch::{ConnectionWait, ConnectionWatch, Watchers};
use crate::domain::peer::Peer;
use crate::domain::problem_code::ProblemCode;
use crate::domain::stats::Counter;

/// To a connection beyond what one address may have.
fn too_many_connections() -> Problem {
    Problem::new(ProblemCode::TooManyConnections, "This address has too many connections.")
}

/// A connection that has a seat.
pub(super) struct Accepted {
    /// Who has made it.
    pub(super) maker: SocketAddr,
    pub(super) spoken: Spoken,
    pub(super) watch: Rc<ConnectionWatch>,
    pub(super) watchers: Rc<Watchers>,
    pub(super) gateway: Rc<Gateway>,
    pub(super) lingerers: Rc<Lingerers>,
}

/// A connection on which the first request may come.
struct Arrival {
    stream: ClientStream,
    peer: Peer,
    purpose: Purpose,
    certificate: Option<ShownCertificate>,
}

impl Arrival {
    const fn of(stream: ClientStream, peer: Peer) -> Self {
        Self { stream, peer, purpose: Purpose::Requests, certificate: None }
    }
}

impl Accepted {
    /// Serves the connection to its end. A panic costs the connection alone.
    pub(super) async fn run(self, stream: TcpStream) {
        let (gateway, watch, peer) = (Rc::clone(&self.gateway), Rc::clone(&self.watch), self.maker);
        if AssertUnwindSafe(self.serve(stream)).catch_unwind().await.is_err() {
            tracing::error!(%peer, "a connection's task panicked");
            gateway.count(Counter::Panics);
        }
        if watch.notice() != Notice::Stay {
            gateway.count(Counter::ConnectionsGivenUp);
        }
    }

    async fn serve(self, stream: TcpStream) {
        let arrival = match (&self.spoken.protocol, self.spoken.proxy_protocol) {
            (Protocol::Http, false) => Some(Arrival::of(stream.into(), Peer::Known(self.maker))),
            (Protocol::Http | Protocol::Https(_) | Protocol::Redirect(_) | Protocol::Decisions(_), _) => {
                Box::pin(self.arrive(stream)).await
            }
        };
        let Some(Arrival { stream, peer, purpose, certificate }) = arrival else { return };
        let limits = self.gateway.client_limits();
        let client = ClientConnection::new(peer, stream.scheme(), self.watch, limits);
        let client = Rc::new(ClientConnection { purpose, certificate, ..client });
        serve(stream, &client, &self.watchers, &self.gateway, self.lingerers).await;
    }

    /// What comes before the first request. `None`: the connection is at its end, and counted.
    async fn arrive(&self, mut stream: TcpStream) -> Option<Arrival> {
        self.watch.arm(ConnectionWait::Handshake, self.gateway.client_limits().handshake_timeout);
        let peer = if self.spoken.proxy_protocol { self.identified(&mut stream).await? } else { Peer::Known(self.maker) };
        let arrival = match &self.spoken.protocol {
            Protocol::Http => Arrival::of(stream.into(), peer),
            Protocol::Redirect(port) => Arrival { purpose: Purpose::Redirect(*port), ..Arrival::of(stream.into(), peer) },
            Protocol::Decisions(_) => Arrival { purpose: Purpose::Questions, ..Arrival::of(stream.into(), peer) },
            Protocol::Https(server) => {
                let config = server.config(self.gateway.client_limits().http2.is_some());
                let secured = in_time(&self.watch, shake_hands(stream, config, &self.gateway.problem_types())).await;
                let now = self.gateway.now();
                let secured = secured.and_then(|stream| Ok((shown_certificate(&stream, now)?, stream)));
                let secured = secured.map_err(|unarrived| {
                    self.gateway.meters().handshakes_failed.of(unarrived.of_handshake()).add(1);
                    match unarrived {
                        // It was told so.
                        Unarrived::ClearText => self.gateway.rejects(peer, &Unread::clear_text()),
                        unarrived => self.refuse(peer, &unarrived, Counter::TlsHandshakesFailed),
                    }
                });
                let (certificate, stream) = secured.ok()?;
                if let Some(shown) = &certificate {
                    self.watch.drain_after(shown.not_after.since(now));
                }
                if let Some(handshake) = stream.handshake() {
                    self.gateway.meters().handshakes.of(handshake).add(1);
                }
                self.gateway.count(if stream.is_resumed() { Counter::TlsHandshakesResumed } else { Counter::TlsHandshakes });
                Arrival { certificate, ..Arrival::of(stream, peer) }
            }
        };
        self.watch.disarm(ConnectionWait::Handshake);
        Some(arrival)
    }

    /// Whose the connection is, by its PROXY header. It counts as that one's from then on.
    async fn identified(&self, stream: &mut TcpStream) -> Option<Peer> {
        let header = async {
            match self.gateway.holder(Peer::Known(self.maker)) {
                Holder::Trusted => read_proxy_header(stream, self.maker).await,
                Holder::Address(_) | Holder::Unidentified(_) => Err(Unarrived::Untrusted),
            }
        };
        let read = in_time(&self.watch, header).await;
        let peer =
            read.map_err(|unarrived| self.refuse(Peer::Known(self.maker), &unarrived, Counter::ProxyHeadersRefused)).ok()?;
        if self.watch.pass_to(self.gateway.holder(peer)).is_err() {
            refuse_for_its_address(&self.gateway, stream, peer, &self.spoken);
            return None;
        }
        Some(peer)
    }

    fn refuse(&self, peer: Peer, unarrived: &Unarrived, counter: Counter) {
        tracing::debug!(%peer, cause = %unarrived, "connection ended before its first request");
        self.gateway.count(counter);
    }
}

/// Refuses one connection more than an address may have.
pub(super) fn refuse_for_its_address(gateway: &Gateway, stream: &TcpStream, peer: Peer, spoken: &Spoken) {
    tracing::debug!(%peer, "connection refused: its address has as many as one may have");
    gateway.count(Counter::ConnectionsRefused);
    match &spoken.protocol {
        // Best effort: a client that reads learns why. Nothing is waited for: many of them are what is to be kept out.
        Protocol::Http | Protocol::Redirect(_) => {
            let farewell = too_many_connections().into_farewell(&gateway.problem_types());
            drop(SockRef::from(stream).send(&farewell));
        }
        // It would have to be told in TLS, and a handshake is what costs most. Whoever may ask for decisions is counted nowhere.
        Protocol::Https(_) | Protocol::Decisions(_) => {}
    }
}

/// Ends a connection of a peer that may not speak where it came. It is told nothing: whoever is not meant need not know what is here.
pub(super) fn turn_away(gateway: &Gateway, peer: SocketAddr) {
    tracing::debug!(%peer, "connection refused: its peer is none of decision.peers");
    gateway.count(Counter::ConnectionsRefused);
}
