//! One worker's way to one backend.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::backends::{Backend, Load, Weighted};
use super::connect::Protocol;
use super::http1::pool::{Pool as Http1Pool, PoolLimits};
use super::http2::pool::Pool as Http2Pool;
use super::options::UpstreamOptions;
use crate::domain::balance::Candidate;
use crate::proxy::watch::Watchers;

/// A backend with what this worker has of it: connections, and requests under way.
#[derive(Debug)]
pub struct Link {
    pub(super) backend: Arc<Backend>,
    pub(super) pool: Pool,
    weight: Cell<u32>,
    load: Arc<Load>,
    /// Whether new requests go this way, as far as is known in this tick.
    is_listed: Cell<bool>,
}

/// One worker's ways to all backends. Where no new request goes, those that were sent before may go on for long.
#[derive(Debug, Default)]
pub struct AllLinks(RefCell<Vec<Weak<Link>>>);

impl AllLinks {
    fn add(&self, link: &Rc<Link>) {
        self.0.borrow_mut().push(Rc::downgrade(link));
    }

    /// Passes one tick, once the upstreams have: closes connections that idled too long, or that nothing is sent on any more, gives up on
    /// peers that are gone, wakes whoever waits for a connection.
    pub fn tick(&self) {
        self.0.borrow_mut().retain(|link| link.strong_count() > 0);
        let links: Vec<Rc<Link>> = self.0.borrow().iter().filter_map(Weak::upgrade).collect();
        for link in links {
            if !link.is_listed.take() {
                link.pool.retire();
            }
            link.pool.tick();
            link.load.note_idle(link.pool.idle());
        }
    }
}

/// Connections, by what is spoken on them.
#[derive(Debug)]
pub(super) enum Pool {
    Http1(Rc<Http1Pool>),
    Http2(Http2Pool),
}

impl Pool {
    fn new(backend: &Backend, watchers: &Rc<Watchers>, options: &UpstreamOptions) -> Self {
        let watchers = Rc::clone(watchers);
        match backend.target().protocol() {
            Protocol::Http1 => Self::Http1(Http1Pool::new(watchers, http1_limits(options), backend.demand())),
            Protocol::Http2 => Self::Http2(Http2Pool::new(watchers, options.into(), backend.demand())),
        }
    }

    fn limit(&self, options: &UpstreamOptions) {
        match self {
            Self::Http1(pool) => pool.limit(http1_limits(options)),
            Self::Http2(pool) => pool.limit(options.into()),
        }
    }

    /// No request is sent over it any more: it keeps no connection.
    fn retire(&self) {
        match self {
            Self::Http1(pool) => pool.retire(),
            Self::Http2(pool) => pool.retire(),
        }
    }

    fn tick(&self) {
        match self {
            Self::Http1(pool) => pool.tick(),
            Self::Http2(pool) => pool.tick(),
        }
    }

    /// Whether a request finds room on a connection that is open.
    fn has_room(&self) -> bool {
        match self {
            Self::Http1(pool) => !pool.is_empty(),
            Self::Http2(pool) => pool.has_room(),
        }
    }

    /// Connections without a request.
    pub(super) fn idle(&self) -> usize {
        match self {
            Self::Http1(pool) => pool.len(),
            Self::Http2(pool) => pool.idle(),
        }
    }
}

const fn http1_limits(options: &UpstreamOptions) -> PoolLimits {
    PoolLimits { idle_timeout: options.idle_timeout, idle_max: options.idle_max }
}

impl Link {
    /// For each of these one: of the former where it stayed.
    pub(super) fn all(
        list: &[Weighted],
        former: &[Rc<Self>],
        (watchers, links): (&Rc<Watchers>, &AllLinks),
        options: &UpstreamOptions,
    ) -> Vec<Rc<Self>> {
        let link = |weighted: &Weighted| {
            let stayed = former.iter().find(|link| Arc::ptr_eq(&link.backend, &weighted.backend));
            let link = stayed.map_or_else(|| Self::new(weighted, (watchers, links), options), Rc::clone);
            link.weight.set(weighted.weight);
            link.pool.limit(options);
            link
        };
        list.iter().map(link).collect()
    }

    fn new(weighted: &Weighted, (watchers, links): (&Rc<Watchers>, &AllLinks), options: &UpstreamOptions) -> Rc<Self> {
        let link = Rc::new(Self {
            backend: Arc::clone(&weighted.backend),
            pool: Pool::new(&weighted.backend, watchers, options),
            weight: Cell::new(weighted.weight),
            load: weighted.backend.new_load(),
            is_listed: Cell::new(true),
        });
        links.add(&link);
        link
    }

    /// New requests may go this way, at least up to the next tick.
    pub(super) fn is_listed(&self) {
        self.is_listed.set(true);
    }

    pub(super) fn candidate(&self) -> Candidate {
        Candidate { weight: self.weight.get(), load: self.load.now() }
    }

    /// Whether a request would have to wait for a connection.
    pub(super) fn is_busy(&self, connections_max: Option<u32>) -> bool {
        self.backend.is_full(connections_max) && !self.pool.has_room()
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
