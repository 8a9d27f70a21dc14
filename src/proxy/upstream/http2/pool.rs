//! One worker's connections to one backend.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::task::JoinSet;

use super::connection::{Connection, Driver, Permit, builder};
use super::io::Http2Io;
use super::limits::PoolLimits;
use super::openings::{Awaiting, Opening, Openings};
use super::signs::Signs;
use crate::proxy::http2::intake::Intakes;
use crate::proxy::http2::sifted::Sifted;
use crate::proxy::upstream::backends::Backend;
use crate::proxy::upstream::connect::Slot;
use crate::proxy::upstream::queue::Demand;
use crate::proxy::watch::Watchers;

/// One worker's connections to one backend, each of which carries many requests.
#[derive(Debug)]
pub(in crate::proxy::upstream) struct Pool {
    watchers: Rc<Watchers>,
    limits: Cell<PoolLimits>,
    connections: RefCell<Vec<Rc<Connection>>>,
    openings: Rc<Openings>,
    /// Of the connections. They end with this.
    tasks: RefCell<JoinSet<()>>,
}

/// A connection that was opened, and belongs to no pool yet.
pub(super) struct Opened {
    sender: SendRequest<Bytes>,
    h2: h2::client::Connection<Sifted<Http2Io>, Bytes>,
    signs: Rc<Signs>,
    intakes: Rc<Intakes>,
}

impl Pool {
    pub(in crate::proxy::upstream) fn new(watchers: Rc<Watchers>, limits: PoolLimits, demand: &Arc<Demand>) -> Self {
        Self {
            watchers,
            limits: Cell::new(limits),
            connections: RefCell::default(),
            openings: Rc::new(Openings::new(demand)),
            tasks: RefCell::default(),
        }
    }

    /// From now on, other limits. Windows are those of connections that come after it.
    pub(in crate::proxy::upstream) fn limit(&self, limits: PoolLimits) {
        self.limits.set(limits);
    }

    /// From now on none is kept without a request.
    pub(in crate::proxy::upstream) fn retire(&self) {
        self.limit(PoolLimits { idle_max: 0, ..self.limits.get() });
    }

    /// Leave for one request on a connection that is open. The first with room is taken: those behind it may then idle away.
    pub(super) fn permit(&self) -> Option<Permit> {
        let streams_max = self.limits.get().http2.streams_max;
        self.connections.borrow().iter().find_map(|connection| connection.permit(streams_max))
    }

    pub(in crate::proxy::upstream) fn has_room(&self) -> bool {
        let streams_max = self.limits.get().http2.streams_max;
        self.connections.borrow().iter().any(|connection| connection.has_room(streams_max))
    }

    /// One more request waits.
    pub(super) fn join(&self) -> Awaiting<'_> {
        self.openings.join()
    }

    /// Has `waker` woken when there may be room.
    pub(super) fn wait(&self, waker: &std::task::Waker) {
        self.openings.queue.wait(waker);
    }

    /// Whether more requests wait than the connections that are coming will take.
    pub(super) fn wants_more(&self) -> bool {
        let connections = self.connections.borrow();
        let coming = connections.iter().filter(|connection| connection.is_coming()).count();
        let coming = u32::try_from(coming).unwrap_or(u32::MAX).saturating_add(self.openings.begun());
        // The next one will probably take as many as the last one does.
        let allowed = connections.iter().rev().find_map(|connection| connection.streams_allowed()).unwrap_or(u32::MAX);
        let each = allowed.min(self.limits.get().http2.streams_max).max(1);
        self.openings.queue.len() > coming.saturating_mul(each)
    }

    /// That a connection is being opened, until what is returned is dropped.
    pub(super) fn opening(&self) -> Opening<'_> {
        self.openings.begin()
    }

    /// Opens a connection. Takes as long as the network does.
    pub(super) async fn open(&self, backend: &Backend, slot: Slot) -> io::Result<Opened> {
        let stream = backend.connect().await?.in_slot(slot);
        let signs = Signs::new(&self.watchers, &self.openings);
        let intakes = Rc::<Intakes>::default();
        let io = Http2Io::new(stream, Rc::clone(&signs), Rc::clone(&intakes));
        let shaking = builder(&self.limits.get()).handshake(Sifted::of_server(io));
        let (sender, h2) = shaking.await.map_err(io::Error::other)?;
        Ok(Opened { sender, h2, signs, intakes })
    }

    /// Tells those who wait that one could not be opened.
    pub(super) fn failed(&self, error: &io::Error) {
        self.openings.failed(error.kind(), error.to_string());
    }

    /// Takes a new connection in, whose peer has yet to say that it speaks HTTP/2.
    pub(super) fn add(&self, opened: Opened) {
        let Opened { sender, mut h2, signs, intakes } = opened;
        let pings = h2.ping_pong();
        let task = self.tasks.borrow_mut().spawn_local(Driver::new(h2, Rc::clone(&signs), Rc::clone(&intakes)));
        self.connections.borrow_mut().push(Connection::new((sender, pings), signs, intakes, task));
    }

    /// Passes one tick: gives up on peers that are gone, closes connections that idled too long, or are too many, or that other workers
    /// wait for; lets whoever waits look again.
    pub(in crate::proxy::upstream) fn tick(&self) {
        while let Some(ended) = self.tasks.borrow_mut().try_join_next() {
            if ended.is_err_and(|error| error.is_panic()) {
                tracing::error!("the task of a connection to an upstream panicked");
            }
        }
        let limits = self.limits.get();
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| connection.look(&limits));
        connections.iter().filter(|connection| connection.is_idle()).skip(limits.idle_max).for_each(|one| one.leave());
        if self.openings.queue.is_for_others()
            && let Some(least) = connections.iter().filter(|one| !one.is_coming()).min_by_key(|one| one.streams())
        {
            least.leave();
        }
        drop(connections);
        self.openings.queue.wake_all();
    }

    /// Connections without a request.
    pub(in crate::proxy::upstream) fn idle(&self) -> usize {
        self.connections.borrow().iter().filter(|connection| connection.is_idle()).count()
    }
}
