//! One worker's hold on its set of meters.

use std::rc::Rc;
use std::sync::Arc;

use crate::domain::meters::{Requests, RowName, Rows, StreamKind, WorkerSet};
use crate::domain::time::Clock;

/// Places for requests, as a worker hands them out: without a count that an atomic would have to keep.
pub(in crate::proxy) type LocalRows = Rows<Rc<Row>>;

/// The place for the requests of a route or an endpoint.
#[derive(Debug)]
pub(in crate::proxy) struct Row {
    pub(in crate::proxy) name: RowName,
    pub(in crate::proxy) requests: Arc<Requests>,
}

/// What one worker measures with. No other thread writes its set.
pub(in crate::proxy) struct Meter {
    set: Arc<WorkerSet>,
    clock: Arc<dyn Clock>,
    /// For requests that meet nothing. The same whatever the settings say.
    nothing: Rc<Row>,
}

impl Meter {
    pub(in crate::proxy) fn new(set: Arc<WorkerSet>, clock: Arc<dyn Clock>) -> Rc<Self> {
        let nothing = row(set.nothing());
        Rc::new(Self { set, clock, nothing })
    }

    pub(in crate::proxy) fn set(&self) -> &WorkerSet {
        &self.set
    }

    /// Places for the requests of these routes, in their order, and of all endpoints.
    pub(in crate::proxy) fn rows(&self, routes: &[&Arc<str>]) -> LocalRows {
        self.set.rows(routes.iter().copied()).map(row)
    }

    pub(in crate::proxy) const fn nothing(&self) -> &Rc<Row> {
        &self.nothing
    }

    /// Nanoseconds since an arbitrary start.
    pub(in crate::proxy) fn now(&self) -> u64 {
        self.clock.nanos()
    }

    /// Something of this kind is open until what is returned is dropped.
    pub(in crate::proxy) fn opens(self: &Rc<Self>, kind: StreamKind) -> Open {
        self.set.open.of(kind).add(1);
        Open { meter: Rc::clone(self), kind }
    }
}

fn row((name, requests): (RowName, Arc<Requests>)) -> Rc<Row> {
    Rc::new(Row { name, requests })
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

/// Something that stays open for long.
#[derive(Debug)]
pub(in crate::proxy) struct Open {
    meter: Rc<Meter>,
    kind: StreamKind,
}

impl Open {
    /// Bytes have passed through a tunnel.
    pub(in crate::proxy) fn passed(&self, to_client: u64, to_upstream: u64) {
        let bytes = &self.meter.set.tunnel_bytes;
        bytes.to_client.add(to_client);
        bytes.to_upstream.add(to_upstream);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.meter.set.open.of(self.kind).sub(1);
    }
}
