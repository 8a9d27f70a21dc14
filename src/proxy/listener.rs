//! Workers: one thread each, with a runtime, an entrance of its own to the port, and everything that a request needs.
//!
//! A panic costs as little as can be: in a request that request (see `gateway`), elsewhere in a connection's task the connection,
//! and outside of both the worker's connections. The worker is then built anew; one that fails time and again gives up, and the
//! process with it.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt as _;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio_util::sync::CancellationToken;

use super::client::connection::ClientConnection;
use super::client::http1::connection::Http1Connection;
use super::client::http1::linger::Lingerers;
use super::client::http1::serve::serve;
use super::client::stream::ClientStream;
use super::port::{Acceptor, Entrance, Part, Port};
use super::request::gateway::{Gateway, Shared};
use super::seats::{NoSeat, Notice, Seat, Seats};
use super::watch::{TICK, Watchers};
use crate::domain::stats::{Counter, Counters};

/// Pause after an accept failed for want of descriptors or memory: retrying at once would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections still in the kernel's queue that a draining worker serves before it closes its listener.
const LAST_ACCEPTS_MAX: usize = 1024;

/// The pause before a worker that failed is built anew; doubled with each failure in a row.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// Failures in a row after which a worker gives up.
const FAILURES_MAX: u32 = 5;

/// A failure after more work than this is none in a row.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// To a connection beyond what one address may have.
const TOO_MANY_CONNECTIONS: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\n\
    content-length: 143\r\nconnection: close\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Too Many Requests\",\"status\":429,\"code\":\"too_many_connections\",\
    \"detail\":\"This address has too many connections.\"}";

/// How the data plane listens.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    pub address: SocketAddr,
    pub workers: usize,
    /// Whether other processes may listen there too.
    pub share_port: bool,
}

/// Tells workers to stop, in two steps.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// No new connections; what is under way is finished.
    pub drain: CancellationToken,
    /// What is still there is dropped.
    pub abort: CancellationToken,
}

/// The running data plane.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    address: SocketAddr,
    given_up: CancellationToken,
}

impl Workers {
    /// Binds every listener before any worker starts, so that a taken port is an error here and not a worker less.
    pub fn start(options: &ListenerOptions, shared: &Arc<Shared>, shutdown: &Shutdown) -> io::Result<Self> {
        let count = options.workers.max(1);
        let policy = shared.policy.load();
        let port = Arc::new(Port::bind(options.address, options.share_port, policy.client.write_timeout)?);
        let entrances = (0..count).map(|_| port.open(policy.client.write_timeout)).collect::<io::Result<Vec<_>>>()?;
        let address = port.address();
        let given_up = CancellationToken::new();
        let seats = Seats::new(policy.seats);
        let place = || Place {
            port: Arc::clone(&port),
            seats: Arc::clone(&seats),
            workers: count,
            shared: Arc::clone(shared),
            counters: shared.tally.new_set(),
            shutdown: shutdown.clone(),
            given_up: given_up.clone(),
        };
        let threads = entrances
            .into_iter()
            .enumerate()
            .map(|(index, entrance)| {
                let place = place();
                std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || place.hold(entrance))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { threads, address, given_up })
    }

    /// Where the workers listen.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cancelled once a worker has failed too often: a process with a part of its workers would look healthy.
    pub const fn given_up(&self) -> &CancellationToken {
        &self.given_up
    }

    /// Waits for every worker. Blocks: call it off the runtimes, after a shutdown was asked for.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }
}

/// What outlives the worker in it.
struct Place {
    port: Arc<Port>,
    seats: Arc<Seats>,
    /// How many there are.
    workers: usize,
    shared: Arc<Shared>,
    /// No other thread adds to these.
    counters: Arc<Counters>,
    shutdown: Shutdown,
    given_up: CancellationToken,
}

impl Place {
    /// Keeps a worker at work until a shutdown. While there is none, new connections go to the others.
    fn hold(&self, entrance: Entrance) {
        let mut entrance = Ok(entrance);
        let mut failures = 0;
        loop {
            let began_at = self.shared.clock.monotonic();
            let cause = match catch_unwind(AssertUnwindSafe(|| self.work(entrance))) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_panic) => {
                    self.counters.add(Counter::Panics, 1);
                    "it panicked".to_owned()
                }
            };
            if self.shared.clock.monotonic().saturating_sub(began_at) > GOOD_RUN {
                failures = 0;
            }
            failures += 1;
            tracing::error!(cause, failures, "a worker failed; its connections are lost");
            if failures == FAILURES_MAX {
                return self.given_up.cancel();
            }
            if !self.pause(RESTART_PAUSE * 2_u32.pow(failures - 1)) {
                return;
            }
            entrance = self.port.open(self.shared.policy.load().client.write_timeout);
            self.counters.add(Counter::TasksRestarted, 1);
        }
    }

    fn work(&self, entrance: io::Result<Entrance>) -> io::Result<()> {
        let entrance = entrance?;
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        runtime.block_on(async {
            let acceptor = entrance.enter()?;
            Worker::new(self, Rc::clone(acceptor.part())).run(acceptor, self).await;
            Ok(())
        })
    }

    /// False if a shutdown cuts it short.
    fn pause(&self, span: Duration) -> bool {
        let ticks = span.as_millis() / TICK.as_millis();
        (0..ticks).all(|_| {
            std::thread::sleep(TICK);
            !self.shutdown.drain.is_cancelled()
        })
    }
}

struct Worker {
    gateway: Rc<Gateway>,
    watchers: Rc<Watchers>,
    seats: Arc<Seats>,
    part: Rc<Part>,
    workers: usize,
    lingerers: Rc<Lingerers>,
}

/// A connection that was accepted, and has no seat yet.
type Newcomer = (TcpStream, SocketAddr);

impl Worker {
    fn new(place: &Place, part: Rc<Part>) -> Self {
        let ticks = place.shared.clock.monotonic().as_millis() / TICK.as_millis();
        let watchers = Rc::new(Watchers::from_tick(u32::try_from(ticks).unwrap_or_default()));
        let gateway = Gateway::new(Arc::clone(&place.shared), Rc::clone(&watchers), Arc::clone(&place.counters));
        Self {
            watchers,
            seats: Arc::clone(&place.seats),
            part,
            workers: place.workers,
            lingerers: Lingerers::among(gateway.seat_limits().connections_max / place.workers),
            gateway: Rc::new(gateway),
        }
    }

    async fn run(self, acceptor: Acceptor, place: &Place) {
        let shutdown = &place.shutdown;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // While one waits for a seat, the others wait in the kernel's queue.
        let mut waiting: Option<Newcomer> = None;
        loop {
            tokio::select! {
                accepted = acceptor.accept(), if waiting.is_none() => {
                    waiting = self.accepted(accepted).await.and_then(|newcomer| self.seat(newcomer));
                }
                _ = ticks.tick() => {
                    self.tick(&acceptor);
                    waiting = waiting.and_then(|newcomer| self.seat(newcomer));
                }
                () = shutdown.drain.cancelled() => break,
            }
        }
        if let Some(last) = waiting {
            self.squeeze_in(last);
        }
        for _ in 0..LAST_ACCEPTS_MAX {
            let Some(accepted) = acceptor.accept_at_once().await else { break };
            if let Some(last) = self.accepted(accepted).await {
                self.squeeze_in(last);
            }
        }
        drop(acceptor);
        place.port.give_up();
        self.watchers.drain();
        while self.part.open() > 0 && !shutdown.abort.is_cancelled() {
            tokio::select! {
                _ = ticks.tick() => {
                    self.gateway.tick();
                }
                () = shutdown.abort.cancelled() => {}
            }
        }
    }

    fn tick(&self, acceptor: &Acceptor) {
        if self.gateway.tick() {
            let limits = self.gateway.seat_limits();
            self.seats.limit(limits);
            self.lingerers.limit(limits.connections_max / self.workers);
            if let Err(error) = acceptor.expect_death_within(self.gateway.client_limits().write_timeout) {
                tracing::warn!(%error, "connections that are gone without a word are looked for as before");
            }
        }
    }

    async fn accepted(&self, accepted: io::Result<Newcomer>) -> Option<Newcomer> {
        let error = match accepted {
            Ok(newcomer) => return Some(newcomer),
            Err(error) => error,
        };
        let passing = matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset);
        if !passing {
            tracing::warn!(%error, "cannot accept connections");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        None
    }

    /// Serves a newcomer, or refuses it; gives it back while there is no seat.
    fn seat(&self, (stream, peer): Newcomer) -> Option<Newcomer> {
        match self.seats.take(self.gateway.holder(peer.ip()), self.watchers.now()) {
            Ok(seat) => self.serve(stream, peer, seat),
            Err(NoSeat::Full) => return Some((stream, peer)),
            Err(NoSeat::AddressFull) => {
                tracing::debug!(%peer, "connection refused: its address has as many as one may have");
                self.gateway.count(Counter::ConnectionsRefused);
                // Best effort: a client that reads learns why. Nothing is waited for: many of them are what is to be kept out.
                let _ = SockRef::from(&stream).send(TOO_MANY_CONNECTIONS);
            }
        }
        None
    }

    fn squeeze_in(&self, (stream, peer): Newcomer) {
        let seat = self.seats.squeeze_in(self.gateway.holder(peer.ip()), self.watchers.now());
        self.serve(stream, peer, seat);
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, seat: Seat) {
        let stream = ClientStream::from(stream);
        let open = self.part.count();
        self.gateway.count(Counter::Connections);
        let lingerers = Rc::clone(&self.lingerers);
        let client = ClientConnection::new(peer, stream.scheme(), self.watchers.connection(seat), self.gateway.client_limits());
        let connection = Http1Connection::new(&client, self.watchers.exchange(&client.watch));
        let gateway = Rc::clone(&self.gateway);
        let service = Gateway::service(&gateway, &connection);
        tokio::task::spawn_local(async move {
            let _open = open;
            let served = AssertUnwindSafe(serve(stream, connection, service, lingerers)).catch_unwind().await;
            let noteworthy = served.unwrap_or_else(|_panic| {
                tracing::error!(%peer, "a connection's task panicked");
                Some(Counter::Panics)
            });
            if let Some(counter) = noteworthy {
                gateway.count(counter);
            }
            if client.watch.notice() != Notice::Stay {
                gateway.count(Counter::ConnectionsGivenUp);
            }
        });
    }
}
