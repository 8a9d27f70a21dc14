//! Connections that wait for their next request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use crate::proxy::upstream::queue::{Demand, Queue};
use crate::proxy::watch::Watchers;

/// One worker's unused connections to one backend.
#[derive(Debug)]
pub(in crate::proxy::upstream) struct Pool {
    watchers: Rc<Watchers>,
    limits: Cell<PoolLimits>,
    /// Used last, taken first: the oldest may then idle away.
    idle: RefCell<Vec<Idle>>,
    pub(super) queue: Queue,
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
    pub(in crate::proxy::upstream) fn new(watchers: Rc<Watchers>, limits: PoolLimits, demand: &Arc<Demand>) -> Rc<Self> {
        Rc::new(Self { watchers, limits: Cell::new(limits), idle: RefCell::default(), queue: Queue::new(demand) })
    }

    /// From now on, other limits.
    pub(in crate::proxy::upstream) fn limit(&self, limits: PoolLimits) {
        self.limits.set(limits);
    }

    /// From now on none is kept.
    pub(in crate::proxy::upstream) fn retire(&self) {
        self.limit(PoolLimits { idle_max: 0, ..self.limits.get() });
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
        if self.queue.is_for_others() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.limits.get().idle_max || self.queue.len() > 0 {
            idle.push(Idle { connection, since: self.watchers.now() });
        }
        drop(idle);
        self.queue.wake_one();
    }

    /// Passes one tick: closes connections that idled too long, or are too many, and one that other workers wait for; lets whoever waits look again.
    pub(in crate::proxy::upstream) fn tick(&self) {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|one| self.is_young(one));
        // They are ordered by age, the oldest first.
        let too_many = idle.len().saturating_sub(self.limits.get().idle_max);
        idle.drain(..too_many);
        if !idle.is_empty() && self.queue.is_for_others() {
            idle.remove(0);
        }
        drop(idle);
        self.queue.wake_all();
    }

    fn is_young(&self, idle: &Idle) -> bool {
        self.watchers.age_since(idle.since) < self.limits.get().idle_timeout.min(idle.connection.kept_for)
    }

    pub(in crate::proxy::upstream) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }

    pub(in crate::proxy::upstream) fn len(&self) -> usize {
        self.idle.borrow().len()
    }
}
