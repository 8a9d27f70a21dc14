//! Requests that wait for a connection.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;

use crate::domain::meters::UpstreamSet;

/// What requests of all workers want of one backend.
#[derive(Debug, Default)]
pub(super) struct Demand {
    /// Those that wait for a connection.
    waiting: AtomicU32,
    /// Of its upstream.
    meters: Arc<UpstreamSet>,
}

impl Demand {
    pub(super) fn new(meters: &Arc<UpstreamSet>) -> Arc<Self> {
        Arc::new(Self { waiting: AtomicU32::new(0), meters: Arc::clone(meters) })
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn meters(&self) -> &UpstreamSet {
        &self.meters
    }
}

/// Those of one worker for one backend.
#[derive(Debug)]
pub(super) struct Queue {
    wakers: RefCell<VecDeque<Waker>>,
    here: Cell<u32>,
    /// That of all workers.
    everywhere: Arc<Demand>,
}

/// A request that waits.
pub(super) struct Waiting<'a>(&'a Queue);

impl Queue {
    pub(super) fn new(everywhere: &Arc<Demand>) -> Self {
        Self { wakers: RefCell::default(), here: Cell::new(0), everywhere: Arc::clone(everywhere) }
    }

    /// One more request waits, until what is returned is dropped.
    pub(super) fn join(&self) -> Waiting<'_> {
        self.here.set(self.here.get() + 1);
        self.everywhere.waiting.fetch_add(1, Ordering::Relaxed);
        self.everywhere.meters.waited.add_shared(1);
        Waiting(self)
    }

    pub(super) fn demand(&self) -> &Demand {
        &self.everywhere
    }

    /// How many wait on this worker.
    pub(super) const fn len(&self) -> u32 {
        self.here.get()
    }

    /// Whether requests of other workers wait and none of this one does: only a connection that is closed here makes room for them.
    pub(super) fn is_for_others(&self) -> bool {
        self.here.get() == 0 && self.everywhere.waiting() > 0
    }

    /// Has `waker` woken when a connection may have become free.
    pub(super) fn wait(&self, waker: &Waker) {
        self.wakers.borrow_mut().push_back(waker.clone());
    }

    /// Lets one look again. Whether there was one.
    pub(super) fn wake_one(&self) -> bool {
        let next = self.wakers.borrow_mut().pop_front();
        next.inspect(Waker::wake_by_ref).is_some()
    }

    /// Lets all look again.
    pub(super) fn wake_all(&self) {
        self.wakers.take().into_iter().for_each(Waker::wake);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.here.set(self.0.here.get() - 1);
        self.0.everywhere.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
