//! Connections that are being opened, and the requests that wait for them.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;

use crate::proxy::upstream::end::UpstreamFault;
use crate::proxy::upstream::queue::{Demand, Queue, Waiting};

/// Those of one worker to one backend.
#[derive(Debug)]
pub(super) struct Openings {
    pub(super) queue: Queue,
    /// That requests have begun to open.
    begun: Cell<u32>,
    /// How often it came to nothing.
    failures: Cell<u64>,
    last_failure: RefCell<(io::ErrorKind, String)>,
}

impl Openings {
    pub(super) fn new(demand: &Arc<Demand>) -> Self {
        Self {
            queue: Queue::new(demand),
            begun: Cell::new(0),
            failures: Cell::new(0),
            last_failure: RefCell::new((io::ErrorKind::Other, String::new())),
        }
    }

    pub(super) fn begin(&self) -> Opening<'_> {
        self.begun.set(self.begun.get() + 1);
        Opening(self)
    }

    pub(super) const fn begun(&self) -> u32 {
        self.begun.get()
    }

    /// One came to nothing: whoever waits has waited for nothing else.
    pub(super) fn failed(&self, kind: io::ErrorKind, cause: String) {
        self.failures.set(self.failures.get() + 1);
        *self.last_failure.borrow_mut() = (kind, cause);
        self.queue.wake_all();
    }

    pub(super) fn join(&self) -> Awaiting<'_> {
        Awaiting { openings: self, failures: self.failures.get(), _waiting: self.queue.join() }
    }
}

/// That a connection is being opened. Whoever waits for it looks for itself when it is given up.
pub(super) struct Opening<'a>(&'a Openings);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.begun.set(self.0.begun.get() - 1);
        self.0.queue.wake_all();
    }
}

/// A request that waits.
pub(super) struct Awaiting<'a> {
    openings: &'a Openings,
    /// Before it came.
    failures: u64,
    _waiting: Waiting<'a>,
}

impl Awaiting<'_> {
    /// Why no connection was opened since, if one was to be.
    pub(super) fn failure(&self) -> Option<UpstreamFault> {
        (self.openings.failures.get() != self.failures).then(|| match &*self.openings.last_failure.borrow() {
            (io::ErrorKind::TimedOut, _) => UpstreamFault::ConnectTimedOut,
            (kind, cause) => UpstreamFault::Connect(io::Error::new(*kind, cause.clone())),
        })
    }
}
