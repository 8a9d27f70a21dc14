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
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt as _;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio_util::sync::CancellationToken;

use super::connection::{self, ClientConnection};
use super::gateway::{Gateway, Shared};
use super::linger::Lingerers;
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

/// How the data plane listens.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    pub address: SocketAddr,
    pub workers: usize,
    /// Over all workers; each takes an equal share.
    pub connections_max: usize,
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
        let mut address = options.address;
        let mut listeners = Vec::with_capacity(count);
        for _ in 0..count {
            let listener = bind(address)?;
            // With port 0 the first socket chooses; the others share its choice.
            address = listener.local_addr()?;
            listeners.push(listener);
        }
        let given_up = CancellationToken::new();
        let place = || Place {
            address,
            connections_max: (options.connections_max / count).max(1),
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
    connections_max: usize,
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
            listener = bind(self.address);
            self.counters.add(Counter::TasksRestarted, 1);
        }
    }

    fn work(&self, listener: io::Result<std::net::TcpListener>) -> io::Result<()> {
        let listener = listener?;
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        runtime.block_on(async {
            Worker::new(self).run(TcpListener::from_std(listener)?, &self.shutdown).await;
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

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

struct Worker {
    gateway: Rc<Gateway>,
    watchers: Rc<Watchers>,
    connections: Rc<Cell<usize>>,
    connections_max: usize,
    lingerers: Rc<Lingerers>,
}

impl Worker {
    fn new(place: &Place) -> Self {
        let watchers = Rc::new(Watchers::default());
        let gateway = Gateway::new(Arc::clone(&place.shared), Rc::clone(&watchers), Arc::clone(&place.counters));
        let connections_max = place.connections_max;
        let lingerers = Lingerers::among(connections_max);
        Self { gateway: Rc::new(gateway), watchers, connections: Rc::default(), connections_max, lingerers }
    }

    async fn run(self, listener: TcpListener, shutdown: &Shutdown) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let has_room = self.connections.get() < self.connections_max;
            tokio::select! {
                accepted = listener.accept(), if has_room => self.accepted(accepted).await,
                _ = ticks.tick() => self.gateway.tick(),
                () = shutdown.drain.cancelled() => break,
            }
        }
        for _ in 0..LAST_ACCEPTS_MAX {
            let waiting = std::future::poll_fn(|cx| match listener.poll_accept(cx) {
                std::task::Poll::Ready(accepted) => std::task::Poll::Ready(Some(accepted)),
                std::task::Poll::Pending => std::task::Poll::Ready(None),
            });
            let Some(accepted) = waiting.await else { break };
            self.accepted(accepted).await;
        }
        drop(listener);
        self.watchers.drain();
        while self.connections.get() > 0 && !shutdown.abort.is_cancelled() {
            tokio::select! {
                _ = ticks.tick() => self.gateway.tick(),
                () = shutdown.abort.cancelled() => {}
            }
        }
    }

    async fn accepted(&self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((stream, peer)) => self.serve(stream, peer),
            Err(error) => {
                let passing = matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset);
                if !passing {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "client gone before it was served");
            return;
        }
        let open = Open::count(&self.connections);
        self.gateway.count(Counter::Connections);
        let lingerers = Rc::clone(&self.lingerers);
        let client = ClientConnection::new(peer, self.watchers.watch(), self.gateway.client_limits(), lingerers);
        let gateway = Rc::clone(&self.gateway);
        let service = Gateway::service(&gateway, &client);
        tokio::task::spawn_local(async move {
            let _open = open;
            let served = AssertUnwindSafe(connection::serve(stream, client, service)).catch_unwind().await;
            let noteworthy = served.unwrap_or_else(|_panic| {
                tracing::error!(%peer, "a connection's task panicked");
                Some(Counter::Panics)
            });
            if let Some(counter) = noteworthy {
                gateway.count(counter);
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
