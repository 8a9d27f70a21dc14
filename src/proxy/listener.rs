//! Workers: one thread each, with a runtime, an entrance of its own to each port, and everything that a request needs.
//!
//! A panic costs as little as can be: in a request that request (see `gateway`), elsewhere in a connection's task the connection,
//! and outside of both the worker's connections. The worker is then built anew; one that fails time and again gives up, and the
//! process with it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, LocalOptions, RuntimeMetrics};
use tokio_util::sync::CancellationToken;

use super::accepted::{Accepted, refuse_for_its_address, turn_away};
use super::acceptors::{Acceptors, Entered, Newcomer};
use super::client::arrival::Protocol;
use super::client::handler::Handler as _;
use super::client::http1::linger::Lingerers;
use super::pulse::Pulses;
use super::request::gateway::{Gateway, Shared};
use super::seats::{Holder, NoSeat, Seat, Seats};
use super::watch::{TICK, Watchers};
use crate::domain::meters::WorkerSet;
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
    pulses: Arc<Pulses>,
    given_up: CancellationToken,
}

impl Workers {
    /// They accept at the listeners of the view that is in force, and follow it.
    pub fn start(count: usize, shared: &Arc<Shared>, shutdown: &Shutdown) -> io::Result<Self> {
        let given_up = CancellationToken::new();
        let pulses = Arc::new(Pulses::of_workers(count));
        let seats = Seats::new(shared.latest.load().policy.seats);
        let place = |index| Place {
            index,
            pulses: Arc::clone(&pulses),
            seats: Arc::clone(&seats),
            workers: count,
            shared: Arc::clone(shared),
            counters: shared.tally.new_set(),
            set: Arc::clone(shared.meters.worker(index)),
            shutdown: shutdown.clone(),
            given_up: given_up.clone(),
        };
        let threads = (0..count)
            .map(|index| {
                let place = place(index);
                std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                    place.hold();
                    place.pulses.end(place.index);
                })
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { threads, pulses, given_up })
    }

    /// Cancelled once a worker has failed too often: a process with a part of its workers would look healthy.
    pub const fn given_up(&self) -> &CancellationToken {
        &self.given_up
    }

    /// Signs of life of each.
    pub const fn pulses(&self) -> &Arc<Pulses> {
        &self.pulses
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
    /// Its number among the workers.
    index: usize,
    pulses: Arc<Pulses>,
    seats: Arc<Seats>,
    /// How many there are.
    workers: usize,
    shared: Arc<Shared>,
    /// No other thread adds to these.
    counters: Arc<Counters>,
    /// Nor measures with this.
    set: Arc<WorkerSet>,
    shutdown: Shutdown,
    given_up: CancellationToken,
}

impl Place {
    /// Keeps a worker at work until a shutdown. While there is none, new connections go to the others; where it has a queue of its own, they
    /// wait for it there.
    fn hold(&self) {
        let mut failures = 0;
        loop {
            let began_at = self.shared.clock.monotonic();
            let cause = match catch_unwind(AssertUnwindSafe(|| self.work())) {
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
            self.counters.add(Counter::TasksRestarted, 1);
        }
    }

    fn work(&self) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        runtime.block_on(async {
            let worker = Worker::new(self);
            let acceptors = Acceptors::enter(&worker.gateway.listeners(), self.index)?;
            worker.run(acceptors, self).await;
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
    workers: usize,
    lingerers: Rc<Lingerers>,
    /// Held by the task of every connection.
    in_service: Rc<()>,
}

impl Worker {
    fn new(place: &Place) -> Self {
        let ticks = place.shared.clock.monotonic().as_millis() / TICK.as_millis();
        let watchers = Rc::new(Watchers::from_tick(u32::try_from(ticks).unwrap_or_default()));
        let gateway =
            Gateway::new(Arc::clone(&place.shared), Rc::clone(&watchers), Arc::clone(&place.counters), Arc::clone(&place.set));
        Self {
            watchers,
            seats: Arc::clone(&place.seats),
            workers: place.workers,
            lingerers: Lingerers::among(gateway.seat_limits().connections_max / place.workers),
            gateway: Rc::new(gateway),
            in_service: Rc::default(),
        }
    }

    async fn run(self, mut acceptors: Acceptors, place: &Place) {
        let shutdown = &place.shutdown;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // While one waits for a seat, the others wait in the kernel's queue.
        let mut waiting: Option<Newcomer> = None;
        let mut pace = Pace::new(place);
        loop {
            tokio::select! {
                accepted = acceptors.accept(), if waiting.is_none() => {
                    waiting = self.accepted(accepted).await.and_then(|newcomer| self.seat(newcomer));
                }
                _ = ticks.tick() => {
                    place.pulses.beat(place.index);
                    pace.notes_tick();
                    for closing in self.tick(&mut acceptors) {
                        self.close(closing, &mut waiting).await;
                    }
                    waiting = waiting.and_then(|newcomer| self.seat(newcomer));
                }
                () = shutdown.drain.cancelled() => break,
            }
        }
        for last in acceptors.leave() {
            self.accept_the_last(&last, &mut waiting).await;
        }
        self.watchers.drain();
        while Rc::strong_count(&self.in_service) > 1 && !shutdown.abort.is_cancelled() {
            tokio::select! {
                _ = ticks.tick() => {
                    place.pulses.beat(place.index);
                    pace.notes_tick();
                    self.gateway.tick();
                }
                () = shutdown.abort.cancelled() => {}
            }
        }
    }

    /// Returns the listeners that new settings do not name any more.
    fn tick(&self, acceptors: &mut Acceptors) -> Vec<Entered> {
        let is_new = self.gateway.tick();
        let gone = if is_new || acceptors.lacks_some() { acceptors.follow(&self.gateway.listeners()) } else { Vec::new() };
        if is_new {
            let limits = self.gateway.seat_limits();
            self.seats.limit(limits);
            self.lingerers.limit(limits.connections_max / self.workers);
            if let Err(error) = acceptors.expect_death_within(self.gateway.client_limits().write_timeout) {
                tracing::warn!(%error, "connections that are gone without a word are looked for as before");
            }
        }
        gone
    }

    /// Accepts no more at a listener. Its connections finish what they are doing, as when the process ends.
    async fn close(&self, closing: Entered, waiting: &mut Option<Newcomer>) {
        self.accept_the_last(&closing, waiting).await;
        self.watchers.close(closing.port(), self.gateway.drain_deadline());
    }

    /// What waits in the kernel's queue, or for a seat.
    async fn accept_the_last(&self, closing: &Entered, waiting: &mut Option<Newcomer>) {
        if let Some(last) = waiting.take_if(|newcomer| newcomer.origin.port == closing.port()) {
            self.squeeze_in(last);
        }
        for _ in 0..LAST_ACCEPTS_MAX {
            match closing.accept_at_once().await {
                Some(Ok(last)) => self.squeeze_in(last),
                Some(Err(error)) if has_left(&error) => {}
                Some(Err(error)) => return tracing::warn!(%error, "cannot accept the last connections of a listener"),
                None => return,
            }
        }
    }

    async fn accepted(&self, accepted: io::Result<Newcomer>) -> Option<Newcomer> {
        let error = match accepted {
            Ok(newcomer) => return Some(newcomer),
            Err(error) => error,
        };
        if !has_left(&error) {
            tracing::warn!(%error, "cannot accept connections");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        None
    }

    /// Serves a newcomer, or refuses it; gives it back while there is no seat.
    fn seat(&self, newcomer: Newcomer) -> Option<Newcomer> {
        if !newcomer.origin.spoken.admits(newcomer.peer) {
            turn_away(&self.gateway, newcomer.peer);
            return None;
        }
        match self.seats.take(self.holder(&newcomer), self.watchers.now()) {
            Ok(seat) => self.serve(newcomer, seat),
            Err(NoSeat::Full) => return Some(newcomer),
            Err(NoSeat::AddressFull) => {
                let Newcomer { stream, peer, origin } = newcomer;
                refuse_for_its_address(&self.gateway, &stream, Peer::Known(peer), &origin.spoken);
            }
        }
        None
    }

    fn squeeze_in(&self, newcomer: Newcomer) {
        if newcomer.origin.spoken.admits(newcomer.peer) {
            let seat = self.seats.squeeze_in(self.holder(&newcomer), self.watchers.now());
            self.serve(newcomer, seat);
        } else {
            turn_away(&self.gateway, newcomer.peer);
        }
    }

    fn holder(&self, newcomer: &Newcomer) -> Holder {
        if let Protocol::Decisions(_) = newcomer.origin.spoken.protocol {
            // Who may ask is a proxy.
            return Holder::Trusted;
        }
        match self.gateway.holder(Peer::Known(newcomer.peer)) {
            // Until its header has come.
            Holder::Trusted if newcomer.origin.spoken.proxy_protocol => Holder::Unidentified(newcomer.peer.ip()),
            holder => holder,
        }
    }

    fn serve(&self, Newcomer { stream, peer, origin }: Newcomer, seat: Seat) {
        let (open, in_service) = (origin.part.count(), Rc::clone(&self.in_service));
        self.gateway.count(Counter::Connections);
        let watch = self.watchers.connection(seat);
        let accepted = Accepted {
            maker: peer,
            spoken: origin.spoken.clone(),
            watch: Rc::clone(&watch),
            watchers: Rc::clone(&self.watchers),
            gateway: Rc::clone(&self.gateway),
            lingerers: Rc::clone(&self.lingerers),
        };
        let task = tokio::task::spawn_local(async move {
            let _held = (open, in_service);
            accepted.run(stream).await;
        });
        watch.is_served(origin.port, task.abort_handle());
    }
}

/// How much a worker has to do, and how late it comes to it.
struct Pace<'a> {
    place: &'a Place,
    runtime: RuntimeMetrics,
    /// When the last tick was passed, in nanoseconds of the clock.
    ticked_at: u64,
    /// Of the work that the runtime had done by then.
    busy: Duration,
}

impl<'a> Pace<'a> {
    fn new(place: &'a Place) -> Self {
        let runtime = Handle::current().metrics();
        Self { place, runtime, ticked_at: place.shared.clock.nanos(), busy: Duration::ZERO }
    }

    /// A tick has come, some time after it was due.
    fn notes_tick(&mut self) {
        let now = self.place.shared.clock.nanos();
        let since = now.saturating_sub(std::mem::replace(&mut self.ticked_at, now));
        self.place.set.lag.note(since.saturating_sub(nanos(TICK)));
        let busy = self.runtime.worker_total_busy_duration(0);
        let more = busy.saturating_sub(std::mem::replace(&mut self.busy, busy));
        self.place.set.busy_nanos.add(nanos(more));
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// A client that was gone before it was accepted.
fn has_left(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}
