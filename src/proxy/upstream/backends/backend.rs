//! One address of one upstream.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use std::{fmt, io};

use http::HeaderValue;

use super::place::Place;
use super::rules::ProbeRules;
use crate::domain::affinity::BackendPoint;
use crate::domain::ejection::Standing;
use crate::domain::meters::UpstreamSet;
use crate::domain::probing::ProbeRecord;
use crate::domain::slowness::Responses;
use crate::domain::upstream_report::LastProbe;
use crate::proxy::upstream::connect::{Slot, Stream, Target};
use crate::proxy::upstream::queue::Demand;
use crate::proxy::watch::TICK;

/// One address of one upstream. It is the same for all workers, and for settings that follow each other.
pub struct Backend {
    id: u64,
    target: Target,
    own_host: HeaderValue,
    /// `None`: a socket of this machine, or a name that has not been resolved yet, which is done with each connection.
    pub(super) address: Option<SocketAddr>,
    point: BackendPoint,
    condition: Mutex<Condition>,
    /// Whether its standing may hold failures, which a success ends.
    pub(super) has_failed: AtomicBool,
    /// The requests of each worker that it has.
    loads: Mutex<Vec<Weak<Load>>>,
    /// Those of all workers.
    connections: Arc<AtomicU32>,
    /// Requests that wait for one of them.
    demand: Arc<Demand>,
}

/// The number of the next one.
static IDS: AtomicU64 = AtomicU64::new(0);

/// How a backend is.
#[derive(Default)]
pub(super) struct Condition {
    pub(super) standing: Standing,
    pub(super) probed: Probed,
    /// What had come when the present window began; `None`: there was none yet.
    pub(super) answered: Option<Answered>,
}

/// What probes have found. Those by settings that ask something else say nothing about what these ask.
#[derive(Default)]
pub(super) struct Probed {
    /// `None`: nobody has asked.
    rules: Option<Arc<ProbeRules>>,
    pub(super) record: ProbeRecord,
    /// When the last probe began, since the start of the clock.
    pub(super) began_at: Option<Duration>,
    pub(super) last: Option<LastProbe>,
}

impl Probed {
    pub(super) fn is_by(&self, rules: Option<&Arc<ProbeRules>>) -> bool {
        match (&self.rules, rules) {
            (Some(own), Some(rules)) => own.asks_as(rules),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// From now on these rules count. Whether something was known by others, which is forgotten.
    pub(super) fn turn_to(&mut self, rules: Option<&Arc<ProbeRules>>) -> bool {
        if self.is_by(rules) {
            return false;
        }
        let former = std::mem::replace(self, Self { rules: rules.cloned(), ..Self::default() });
        former.last.is_some()
    }
}

/// The responses that a backend has given so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Answered {
    responses: u64,
    /// How long they took all together.
    ticks: u64,
}

impl Answered {
    /// Those of a window that began with `former`. What a worker counted that is no more is gone.
    pub(super) fn since(self, former: Self) -> Responses {
        let ticks = u32::try_from(self.ticks.saturating_sub(former.ticks)).unwrap_or(u32::MAX);
        Responses { count: self.responses.saturating_sub(former.responses), time: TICK.saturating_mul(ticks) }
    }
}

/// What one worker has at one backend. That worker alone writes it, so that none waits for another; apart from what other cores write.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(in crate::proxy::upstream) struct Load {
    requests: AtomicU32,
    /// How many responses came so far, and how long they took all together, in ticks.
    responses: AtomicU64,
    ticks: AtomicU64,
    /// Connections without a request, as of the last tick.
    idle: AtomicU32,
}

impl Load {
    pub(in crate::proxy::upstream) fn now(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(in crate::proxy::upstream) fn begin_one(&self) {
        self.requests.store(self.now().saturating_add(1), Ordering::Relaxed);
    }

    pub(in crate::proxy::upstream) fn end_one(&self) {
        self.requests.store(self.now().saturating_sub(1), Ordering::Relaxed);
    }

    pub(in crate::proxy::upstream) fn note_idle(&self, connections: usize) {
        self.idle.store(u32::try_from(connections).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// A response has come. Times are rounded to ticks, some up and some down: the mean of many is right.
    pub(in crate::proxy::upstream) fn note_response(&self, ticks: u32) {
        let add = |cell: &AtomicU64, more: u64| cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        add(&self.responses, 1);
        add(&self.ticks, ticks.into());
    }
}

impl Backend {
    pub(super) fn new(place: &Place, address: Option<SocketAddr>, meters: &Arc<UpstreamSet>) -> Arc<Self> {
        // Nodes know a backend by its address, whatever else is known of it; of a socket, by its path.
        let name = address.map_or_else(|| place.target.to_string(), |address| address.to_string());
        Arc::new(Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            point: BackendPoint::of(&name),
            target: place.target.clone(),
            own_host: place.own_host.clone(),
            address,
            condition: Mutex::default(),
            has_failed: AtomicBool::new(false),
            loads: Mutex::default(),
            connections: Arc::default(),
            demand: Demand::new(meters),
        })
    }

    /// Its place among those that callers are divided among.
    pub(in crate::proxy::upstream) const fn point(&self) -> BackendPoint {
        self.point
    }

    /// One more worker sends requests to it.
    pub(in crate::proxy::upstream) fn new_load(&self) -> Arc<Load> {
        let load = Arc::new(Load::default());
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads.retain(|load| load.strong_count() > 0);
        loads.push(Arc::downgrade(&load));
        load
    }

    /// The requests that it has, of all workers.
    pub(super) fn requests(&self) -> u32 {
        let loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads.iter().filter_map(Weak::upgrade).map(|load| load.now()).sum()
    }

    /// Connections without a request, of all workers.
    pub(super) fn idle(&self) -> u32 {
        let loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads.iter().filter_map(Weak::upgrade).map(|load| load.idle.load(Ordering::Relaxed)).sum()
    }

    /// The responses of all workers so far.
    pub(super) fn answered(&self) -> Answered {
        let loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads.iter().filter_map(Weak::upgrade).fold(Answered::default(), |all, load| Answered {
            responses: all.responses + load.responses.load(Ordering::Relaxed),
            ticks: all.ticks + load.ticks.load(Ordering::Relaxed),
        })
    }

    /// Open to it, of all workers.
    pub(super) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Leave to open one more connection, where there may be `max`.
    pub(in crate::proxy::upstream) fn slot(&self, max: Option<u32>) -> Option<Slot> {
        Slot::of(&self.connections, max)
    }

    /// Whether no more connections may be opened.
    pub(in crate::proxy::upstream) fn is_full(&self, max: Option<u32>) -> bool {
        max.is_some_and(|max| self.connections() >= max)
    }

    pub(in crate::proxy::upstream) const fn demand(&self) -> &Arc<Demand> {
        &self.demand
    }

    /// That of its upstream.
    pub(in crate::proxy::upstream) fn meters(&self) -> &UpstreamSet {
        self.demand.meters()
    }

    /// A request was served.
    pub(in crate::proxy::upstream) fn succeeded(&self) {
        // Almost always nothing is written, and no lock taken.
        if self.has_failed.load(Ordering::Relaxed) {
            self.has_failed.store(false, Ordering::Relaxed);
            self.condition().standing.succeeded();
        }
    }

    pub(super) fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its number, which no other of this process ever has.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Host and port of its URL.
    pub const fn own_host(&self) -> &HeaderValue {
        &self.own_host
    }

    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Opens a connection, TLS included. Takes as long as the network does.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(&self) -> io::Result<Stream> {
        match self.address {
            Some(address) => Stream::open_at(address, self.target.tls()).await,
            None => Stream::open(&self.target).await,
        }
    }

    pub(super) fn is_at(&self, place: &Place) -> bool {
        self.target == place.target && self.own_host == place.own_host
    }

    /// Whether what is sent to its address is the same as what the place would send there. `tells_host`: see [`BackendRules`].
    ///
    /// [`BackendRules`]: super::BackendRules
    pub(super) fn is_server_of(&self, place: &Place, tells_host: bool) -> bool {
        self.target.speaks_as(&place.target) && (!tells_host || self.own_host == place.own_host)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => self.target.fmt(f),
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({self})")
    }
}
