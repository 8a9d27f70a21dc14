//! Connections that wait for their next request.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;
use std::time::Duration;

use super::connection::Connection;
use crate::proxy::watch::Watchers;

/// One worker's unused connections to one backend.
#[derive(Debug)]
pub(in crate::proxy::upstream) struct Pool {
    watchers: Rc<Watchers>,
    limits: Cell<PoolLimits>,
    /// Used last, taken first: the oldest may then idle away.
    idle: RefCell<Vec<Idle>>,
    /// Requests of this worker that wait for a connection.
    waiting: RefCell<VecDeque<Waker>>,
    /// Those of all workers.
    waiting_everywhere: Arc<AtomicU32>,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::proxy::upstream) struct PoolLimits {
    /// How long a connection is kept without use.
    pub(in crate::proxy::upstream) idle_timeout: Duration,
    /// How many are kept.
    pub(in crate::proxy::upstream) idle_max: usize,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since: u32,
}

impl Pool {
    pub(in crate::proxy::upstream) fn new(
        watchers: Rc<Watchers>,
        limits: PoolLimits,
        waiting_everywhere: &Arc<AtomicU32>,
    ) -> Rc<Self> {
        Rc::new(Self {
            watchers,
            limits: Cell::new(limits),
            idle: RefCell::default(),
            waiting: RefCell::default(),
            waiting_everywhere: Arc::clone(waiting_everywhere),
        })
    }

    /// From now on, other limits.
    pub(in crate::proxy::upstream) fn limit(&self, limits: PoolLimits) {
        self.limits.set(limits);
    }

    /// One that is still good.
    pub(super) fn take(&self) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut last) = idle.pop() {
            if self.is_young(&last) && last.connection.is_quiet() {
                return Some(last.connection);
            }
        }
        None
    }

    pub(super) fn give_back(&self, connection: Box<Connection>) {
        let next = self.waiting.borrow_mut().pop_front();
        if next.is_none() && self.others_wait() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.limits.get().idle_max || next.is_some() {
            idle.push(Idle { connection, since: self.watchers.now() });
        }
        drop(idle);
        if let Some(next) = next {
            next.wake();
        }
    }

    /// Passes one tick: closes connections that idled too long, and one that other workers wait for; lets whoever waits look again.
    pub(in crate::proxy::upstream) fn tick(&self) {
        let mut idle = self.idle.borrow_mut();
        // They are ordered by age, the oldest first.
        let old = idle.iter().position(|one| self.is_young(one)).unwrap_or(idle.len());
        idle.drain(..old);
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() && !idle.is_empty() && self.others_wait() {
            idle.remove(0);
        }
        waiting.drain(..).for_each(Waker::wake);
    }

    /// Whether requests of other workers wait for a connection, which only one that is closed here makes room for.
    fn others_wait(&self) -> bool {
        self.waiting_everywhere.load(Ordering::Relaxed) > 0
    }

    /// Has `waker` woken when a connection may have become free.
    pub(super) fn wait(&self, waker: &Waker) {
        self.waiting.borrow_mut().push_back(waker.clone());
    }

    /// One more request waits, until what is returned is dropped.
    pub(super) fn waits(&self) -> Waiting<'_> {
        self.waiting_everywhere.fetch_add(1, Ordering::Relaxed);
        Waiting(&self.waiting_everywhere)
    }

    fn is_young(&self, idle: &Idle) -> bool {
        self.watchers.age_since(idle.since) < self.limits.get().idle_timeout
    }

    pub(in crate::proxy::upstream) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }

    #[cfg(test)]
    pub(in crate::proxy::upstream) fn len(&self) -> usize {
        self.idle.borrow().len()
    }
}

/// A request that waits for a connection.
pub(super) struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
