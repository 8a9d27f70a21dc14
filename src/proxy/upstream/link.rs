//! One worker's way to one backend.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;
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
            Protocol::Http1 => Self::Http1(Http1Pool::new(watchers, http1_limits(options), backend.waiting())),
            Protocol::Http2 => Self::Http2(Http2Pool::new(watchers, options.into(), backend.waiting())),
        }
    }

    fn limit(&self, options: &UpstreamOptions) {
        match self {
            Self::Http1(pool) => pool.limit(http1_limits(options)),
            Self::Http2(pool) => pool.limit(options.into()),
        }
    }

    pub(super) fn tick(&self) {
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
    #[cfg(test)]
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
        watchers: &Rc<Watchers>,
        options: &UpstreamOptions,
    ) -> Vec<Rc<Self>> {
        let link = |weighted: &Weighted| {
            let stayed = former.iter().find(|link| Arc::ptr_eq(&link.backend, &weighted.backend));
            let link = stayed.map_or_else(|| Self::new(weighted, watchers, options), Rc::clone);
            link.weight.set(weighted.weight);
            link.pool.limit(options);
            link
        };
        list.iter().map(link).collect()
    }

    fn new(weighted: &Weighted, watchers: &Rc<Watchers>, options: &UpstreamOptions) -> Rc<Self> {
        Rc::new(Self {
            backend: Arc::clone(&weighted.backend),
            pool: Pool::new(&weighted.backend, watchers, options),
            weight: Cell::new(weighted.weight),
            load: weighted.backend.new_load(),
        })
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
