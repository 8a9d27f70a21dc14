//! Workers: one thread each, with a runtime, a listener of its own on the shared port, and everything that a request needs.
//!
//! A panic costs as little as can be: in a request that request (see `gateway`), elsewhere in a connection's task the connection,
//! and outside of both the worker's connections. The worker is then built anew; one that fails time and again gives up, and the
//! process with it.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt as _;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio_util::sync::CancellationToken;

use super::connection::{self, ClientConnection};
use super::gateway::{Gateway, Shared};
use super::keepalive;
use super::linger::Lingerers;
use super::seats::{NoSeat, Notice, Seat, Seats};
use super::watch::{TICK, Watchers};
use crate::domain::stats::{Counter, Counters};

/// Connections that the kernel holds for a worker before it takes them.
const BACKLOG: i32 = 4096;

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
    /// Over all workers.
    pub connections_max: usize,
    /// Of one address; `None`: as many as there are seats.
    pub connections_per_address_max: Option<usize>,
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
        let write_timeout = shared.options.client.write_timeout;
        let (first, address, claim) = claim(options, write_timeout)?;
        let mut listeners = vec![first];
        for _ in 1..count {
            listeners.push(listen(address, Neighbours::Others, write_timeout)?);
        }
        let given_up = CancellationToken::new();
        let claim = Arc::new(claim);
        let seats = Seats::new(options.connections_max, options.connections_per_address_max);
        let place = || Place {
            address,
            claim: Arc::clone(&claim),
            seats: Arc::clone(&seats),
            connections_share: options.connections_max / count,
            shared: Arc::clone(shared),
            counters: shared.tally.new_set(),
            shutdown: shutdown.clone(),
            given_up: given_up.clone(),
        };
        let threads = listeners
            .into_iter()
            .enumerate()
            .map(|(index, listener)| {
                let place = place();
                std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || place.hold(listener))
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
    address: SocketAddr,
    claim: Arc<Claim>,
    seats: Arc<Seats>,
    /// Of the connections of all workers, those that one has on average.
    connections_share: usize,
    shared: Arc<Shared>,
    /// No other thread adds to these.
    counters: Arc<Counters>,
    shutdown: Shutdown,
    given_up: CancellationToken,
}

impl Place {
    /// Keeps a worker at work until a shutdown. While there is none, nothing listens here: new connections go to the others.
    fn hold(&self, listener: std::net::TcpListener) {
        let mut listener = Ok(listener);
        let mut failures = 0;
        loop {
            let began_at = self.shared.clock.monotonic();
            let cause = match catch_unwind(AssertUnwindSafe(|| self.work(listener))) {
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
            listener = listen(self.address, Neighbours::Others, self.shared.options.client.write_timeout);
            self.counters.add(Counter::TasksRestarted, 1);
        }
    }

    fn work(&self, listener: io::Result<std::net::TcpListener>) -> io::Result<()> {
        let listener = listener?;
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        runtime.block_on(async {
            Worker::new(self).run(TcpListener::from_std(listener)?, self).await;
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

/// Beside whom a listener listens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Neighbours {
    /// Nobody: an address where anyone listens is an error.
    None,
    /// Whoever else is willing to share.
    Others,
}

/// Keeps the address for this process while it has workers without a listener: to whoever wants it alone it is taken.
struct Claim(Mutex<Option<Socket>>);

impl Claim {
    fn give_up(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The first listener, and the address that all share. Listening alone is one step for the kernel: of two processes that begin at
/// once, no more than one succeeds. Only then may further listeners of ours join.
fn claim(options: &ListenerOptions, write_timeout: Duration) -> io::Result<(std::net::TcpListener, SocketAddr, Claim)> {
    let neighbours = if options.share_port { Neighbours::Others } else { Neighbours::None };
    let first = listen(options.address, neighbours, write_timeout)?;
    // With port 0 the first socket chooses; the others share its choice.
    let address = first.local_addr()?;
    SockRef::from(&first).set_reuse_port(true)?;
    let claim = bind(address, Neighbours::Others)?;
    // What is bound so is in the way of listeners that want to be alone, though it does not listen itself.
    claim.set_reuse_address(false)?;
    Ok((first, address, Claim(Mutex::new(Some(claim)))))
}

fn listen(address: SocketAddr, neighbours: Neighbours, write_timeout: Duration) -> io::Result<std::net::TcpListener> {
    let socket = bind(address, neighbours)?;
    // Accepted sockets inherit what is set here.
    socket.set_tcp_nodelay(true)?;
    keepalive::watch_for_death(&SockRef::from(&socket), write_timeout)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind(address: SocketAddr, neighbours: Neighbours) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // For connections of a process before this one, which the kernel has not forgotten.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(neighbours == Neighbours::Others)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

struct Worker {
    gateway: Rc<Gateway>,
    watchers: Rc<Watchers>,
    seats: Arc<Seats>,
    connections: Rc<Cell<usize>>,
    lingerers: Rc<Lingerers>,
}

/// A connection that was accepted, and has no seat yet.
type Newcomer = (TcpStream, SocketAddr);

impl Worker {
    fn new(place: &Place) -> Self {
        let ticks = place.shared.clock.monotonic().as_millis() / TICK.as_millis();
        let watchers = Rc::new(Watchers::from_tick(u32::try_from(ticks).unwrap_or_default()));
        let gateway = Gateway::new(Arc::clone(&place.shared), Rc::clone(&watchers), Arc::clone(&place.counters));
        Self {
            gateway: Rc::new(gateway),
            watchers,
            seats: Arc::clone(&place.seats),
            connections: Rc::default(),
            lingerers: Lingerers::among(place.connections_share),
        }
    }

    async fn run(self, listener: TcpListener, place: &Place) {
        let shutdown = &place.shutdown;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // While one waits for a seat, the others wait in the kernel's queue.
        let mut waiting: Option<Newcomer> = None;
        loop {
            tokio::select! {
                accepted = listener.accept(), if waiting.is_none() => {
                    waiting = self.accepted(accepted).await.and_then(|newcomer| self.seat(newcomer));
                }
                _ = ticks.tick() => {
                    self.gateway.tick();
                    waiting = waiting.and_then(|newcomer| self.seat(newcomer));
                }
                () = shutdown.drain.cancelled() => break,
            }
        }
        if let Some(last) = waiting {
            self.squeeze_in(last);
        }
        for _ in 0..LAST_ACCEPTS_MAX {
            let accepted = std::future::poll_fn(|cx| match listener.poll_accept(cx) {
                std::task::Poll::Ready(accepted) => std::task::Poll::Ready(Some(accepted)),
                std::task::Poll::Pending => std::task::Poll::Ready(None),
            });
            let Some(accepted) = accepted.await else { break };
            if let Some(last) = self.accepted(accepted).await {
                self.squeeze_in(last);
            }
        }
        drop(listener);
        place.claim.give_up();
        self.watchers.drain();
        while self.connections.get() > 0 && !shutdown.abort.is_cancelled() {
            tokio::select! {
                _ = ticks.tick() => self.gateway.tick(),
                () = shutdown.abort.cancelled() => {}
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
        let open = Open::count(&self.connections);
        self.gateway.count(Counter::Connections);
        let lingerers = Rc::clone(&self.lingerers);
        let client = ClientConnection::new(peer, self.watchers.watch(seat), self.gateway.client_limits(), lingerers);
        let gateway = Rc::clone(&self.gateway);
        let service = Gateway::service(&gateway, &client);
        tokio::task::spawn_local(async move {
            let _open = open;
            let watch = Rc::clone(&client.watch);
            let served = AssertUnwindSafe(connection::serve(stream, client, service)).catch_unwind().await;
            let noteworthy = served.unwrap_or_else(|_panic| {
                tracing::error!(%peer, "a connection's task panicked");
                Some(Counter::Panics)
            });
            if let Some(counter) = noteworthy {
                gateway.count(counter);
            }
            if watch.notice() != Notice::Stay {
                gateway.count(Counter::ConnectionsGivenUp);
            }
        });
    }
}

/// Counts a connection for as long as it lives, whatever ends it.
struct Open(Rc<Cell<usize>>);

impl Open {
    fn count(connections: &Rc<Cell<usize>>) -> Self {
        connections.set(connections.get() + 1);
        Self(Rc::clone(connections))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
