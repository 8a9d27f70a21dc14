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

use tokio::runtime::{Builder, LocalOptions};
use tokio_util::sync::CancellationToken;

use super::accepted::{Accepted, refuse_for_its_address};
use super::acceptors::{Acceptors, Newcomer};
use super::client::arrival::Spoken;
use super::client::handler::Handler as _;
use super::client::http1::linger::Lingerers;
use super::port::{Entrance, Part, Port};
use super::request::gateway::{Gateway, Shared};
use super::seats::{NoSeat, Seat, Seats};
use super::watch::{TICK, Watchers};
use crate::domain::peer::Peer;
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

/// How the data plane listens.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// Never empty.
    pub listeners: Vec<Listener>,
    pub workers: usize,
    /// Whether other processes may listen there too.
    pub share_port: bool,
}

/// One address, and what is spoken there.
#[derive(Clone, Debug)]
pub struct Listener {
    pub address: SocketAddr,
    pub spoken: Spoken,
}

/// Why the workers did not start.
#[derive(Debug)]
pub struct NotListening {
    /// Where it lies with one of the listeners, its position.
    pub listener: Option<usize>,
    pub error: io::Error,
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
    addresses: Vec<SocketAddr>,
    given_up: CancellationToken,
}

impl Workers {
    /// Binds every listener before any worker starts, so that a taken port is an error here and not a worker less.
    pub fn start(options: &ListenerOptions, shared: &Arc<Shared>, shutdown: &Shutdown) -> Result<Self, NotListening> {
        let count = options.workers.max(1);
        let view = Arc::clone(&shared.latest.load());
        let policy = &view.policy;
        let write_timeout = policy.client.write_timeout;
        let bind = |(index, listener): (usize, &Listener)| {
            let port = Port::bind(listener.address, options.share_port, write_timeout);
            let refused = |error| NotListening { listener: Some(index), error };
            Ok(Door { port: Arc::new(port.map_err(refused)?), spoken: listener.spoken.clone() })
        };
        let doors: Arc<[Door]> = options.listeners.iter().enumerate().map(bind).collect::<Result<_, _>>()?;
        let of_none = |error| NotListening { listener: None, error };
        let entrances = (0..count).map(|_| open(&doors, write_timeout)).collect::<io::Result<Vec<_>>>().map_err(of_none)?;
        let addresses = doors.iter().map(|door| door.port.address()).collect();
        let given_up = CancellationToken::new();
        let seats = Seats::new(policy.seats);
        let place = || Place {
            doors: Arc::clone(&doors),
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
            .map(|(index, entrances)| {
                let place = place();
                std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || place.hold(entrances))
            })
            .collect::<io::Result<_>>()
            .map_err(of_none)?;
        Ok(Self { threads, addresses, given_up })
    }

    /// Where the workers listen, in the order of the options.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
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

/// A listener that is bound.
struct Door {
    port: Arc<Port>,
    spoken: Spoken,
}

/// Where one worker accepts: at all doors.
fn open(doors: &[Door], write_timeout: Duration) -> io::Result<Vec<Entrance>> {
    doors.iter().map(|door| door.port.open(write_timeout)).collect()
}

/// What outlives the worker in it.
struct Place {
    doors: Arc<[Door]>,
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
    fn hold(&self, entrances: Vec<Entrance>) {
        let mut entrances = Ok(entrances);
        let mut failures = 0;
        loop {
            let began_at = self.shared.clock.monotonic();
            let cause = match catch_unwind(AssertUnwindSafe(|| self.work(entrances))) {
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
            entrances = open(&self.doors, self.shared.latest.load().policy.client.write_timeout);
            self.counters.add(Counter::TasksRestarted, 1);
        }
    }

    fn work(&self, entrances: io::Result<Vec<Entrance>>) -> io::Result<()> {
        let entrances = entrances?;
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        runtime.block_on(async {
            let acceptors = Acceptors::enter(entrances)?;
            Worker::new(self, acceptors.parts()).run(acceptors, self).await;
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
    doors: Arc<[Door]>,
    /// Of each door.
    parts: Vec<Rc<Part>>,
    workers: usize,
    lingerers: Rc<Lingerers>,
}

impl Worker {
    fn new(place: &Place, parts: Vec<Rc<Part>>) -> Self {
        let ticks = place.shared.clock.monotonic().as_millis() / TICK.as_millis();
        let watchers = Rc::new(Watchers::from_tick(u32::try_from(ticks).unwrap_or_default()));
        let gateway = Gateway::new(Arc::clone(&place.shared), Rc::clone(&watchers), Arc::clone(&place.counters));
        Self {
            watchers,
            seats: Arc::clone(&place.seats),
            doors: Arc::clone(&place.doors),
            parts,
            workers: place.workers,
            lingerers: Lingerers::among(gateway.seat_limits().connections_max / place.workers),
            gateway: Rc::new(gateway),
        }
    }

    async fn run(self, acceptors: Acceptors, place: &Place) {
        let shutdown = &place.shutdown;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // While one waits for a seat, the others wait in the kernel's queue.
        let mut waiting: Option<Newcomer> = None;
        loop {
            tokio::select! {
                accepted = acceptors.accept(), if waiting.is_none() => {
                    waiting = self.accepted(accepted).await.and_then(|newcomer| self.seat(newcomer));
                }
                _ = ticks.tick() => {
                    self.tick(&acceptors);
                    waiting = waiting.and_then(|newcomer| self.seat(newcomer));
                }
                () = shutdown.drain.cancelled() => break,
            }
        }
        if let Some(last) = waiting {
            self.squeeze_in(last);
        }
        for _ in 0..LAST_ACCEPTS_MAX {
            let Some(accepted) = acceptors.accept_at_once().await else { break };
            if let Some(last) = self.accepted(accepted).await {
                self.squeeze_in(last);
            }
        }
        drop(acceptors);
        for door in &*self.doors {
            door.port.give_up();
        }
        self.watchers.drain();
        while self.parts.iter().any(|part| part.open() > 0) && !shutdown.abort.is_cancelled() {
            tokio::select! {
                _ = ticks.tick() => {
                    self.gateway.tick();
                }
                () = shutdown.abort.cancelled() => {}
            }
        }
    }

    fn tick(&self, acceptors: &Acceptors) {
        if self.gateway.tick() {
            let limits = self.gateway.seat_limits();
            self.seats.limit(limits);
            self.lingerers.limit(limits.connections_max / self.workers);
            if let Err(error) = acceptors.expect_death_within(self.gateway.client_limits().write_timeout) {
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
    fn seat(&self, newcomer: Newcomer) -> Option<Newcomer> {
        match self.seats.take(self.gateway.holder(Peer::Known(newcomer.peer)), self.watchers.now()) {
            Ok(seat) => self.serve(newcomer, seat),
            Err(NoSeat::Full) => return Some(newcomer),
            Err(NoSeat::AddressFull) => {
                let Newcomer { stream, peer, listener } = newcomer;
                refuse_for_its_address(&self.gateway, &stream, Peer::Known(peer), &self.doors[listener].spoken);
            }
        }
        None
    }

    fn squeeze_in(&self, newcomer: Newcomer) {
        let seat = self.seats.squeeze_in(self.gateway.holder(Peer::Known(newcomer.peer)), self.watchers.now());
        self.serve(newcomer, seat);
    }

    fn serve(&self, Newcomer { stream, peer, listener }: Newcomer, seat: Seat) {
        let open = self.parts[listener].count();
        self.gateway.count(Counter::Connections);
        let accepted = Accepted {
            maker: peer,
            spoken: self.doors[listener].spoken.clone(),
            watch: self.watchers.connection(seat),
            watchers: Rc::clone(&self.watchers),
            gateway: Rc::clone(&self.gateway),
            lingerers: Rc::clone(&self.lingerers),
        };
        tokio::task::spawn_local(async move {
            let _open = open;
            accepted.run(stream).await;
        });
    }
}
