//! One worker's way to one backend.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::backends::{Backend, Load, Weighted};
use super::http1::pool::{Pool, PoolLimits};
use crate::domain::balance::Candidate;
use crate::proxy::watch::Watchers;

/// A backend with what this worker has of it: unused connections, and requests under way.
#[derive(Debug)]
pub struct Link {
    pub(super) backend: Arc<Backend>,
    pub(super) pool: Rc<Pool>,
    weight: Cell<u32>,
    load: Arc<Load>,
}

impl Link {
    /// For each of these one: of the former where it stayed.
    pub(super) fn all(list: &[Weighted], former: &[Rc<Self>], watchers: &Rc<Watchers>, limits: PoolLimits) -> Vec<Rc<Self>> {
        let link = |weighted: &Weighted| {
            let stayed = former.iter().find(|link| Arc::ptr_eq(&link.backend, &weighted.backend));
            let link = stayed.map_or_else(|| Self::new(weighted, watchers, limits), Rc::clone);
            link.weight.set(weighted.weight);
            link.pool.limit(limits);
            link
        };
        list.iter().map(link).collect()
    }

    fn new(weighted: &Weighted, watchers: &Rc<Watchers>, limits: PoolLimits) -> Rc<Self> {
        Rc::new(Self {
            backend: Arc::clone(&weighted.backend),
            pool: Pool::new(Rc::clone(watchers), limits, weighted.backend.waiting()),
            weight: Cell::new(weighted.weight),
            load: weighted.backend.new_load(),
        })
    }

    pub(super) fn candidate(&self) -> Candidate {
        Candidate { weight: self.weight.get(), load: self.load.now() }
    }

    /// Whether a request would have to wait for a connection.
    pub(super) fn is_busy(&self, connections_max: Option<u32>) -> bool {
        self.backend.is_full(connections_max) && self.pool.is_empty()
    }
}

/// A request that its backend has: from the moment when it is chosen to the end of its response, or of the tunnel that it became.
#[derive(Debug)]
pub struct Lease {
    link: Rc<Link>,
    /// Whether the backend does what is asked of it, as far as is known.
    is_served: Cell<bool>,
    /// The tick in which it began.
    since: u32,
}

impl Lease {
    /// `now` is the present tick.
    pub(super) fn new(link: &Rc<Link>, now: u32) -> Self {
        link.load.begin_one();
        Self { link: Rc::clone(link), is_served: Cell::new(false), since: now }
    }

    /// Its response has come.
    pub(super) fn is_answered(&self, now: u32) {
        self.link.load.note_response(now.saturating_sub(self.since));
    }

    pub(super) fn is_of(&self, link: &Rc<Link>) -> bool {
        Rc::ptr_eq(&self.link, link)
    }

    /// If nothing else comes to be known, its end is a success.
    pub(super) fn is_served(&self, is_served: bool) {
        self.is_served.set(is_served);
    }
}

impl Deref for Lease {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.link.load.end_one();
        if self.is_served.get() {
            self.link.backend.succeeded();
        }
    }
}
