//! Deadlines in cells.

use std::cell::Cell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

/// How often deadlines are looked at, and so the most by which one can be late.
pub const TICK: Duration = Duration::from_millis(50);

/// Ticks since the worker began; at 50 ms each a `u32` lasts for six years.
pub(super) type Tick = u32;

pub(super) const NEVER: Tick = Tick::MAX;

/// The worker's slow clock.
#[derive(Debug, Default)]
pub(super) struct TickClock {
    pub(super) now: Cell<Tick>,
}

impl TickClock {
    /// The first tick by which at least `span` has passed.
    pub(super) fn after(&self, span: Duration) -> Tick {
        self.now.get().saturating_add(Self::ticks(span))
    }

    pub(super) fn ticks(span: Duration) -> Tick {
        Tick::try_from(span.as_millis().div_ceil(TICK.as_millis()) + 1).unwrap_or(NEVER)
    }
}

/// One of the things that may be waited for too long.
pub trait Wait: Copy {
    /// Its number among those of its kind, from 0.
    fn index(self) -> usize;
}

/// A deadline for each of `N` kinds of waits, at most 16. Several can run at once.
#[derive(Debug)]
pub struct Deadlines<W, const N: usize> {
    clock: Rc<TickClock>,
    due: [Cell<Tick>; N],
    expired: Cell<u16>,
    kind: PhantomData<W>,
}

impl<W: Wait, const N: usize> Deadlines<W, N> {
    pub(super) fn new(clock: &Rc<TickClock>) -> Self {
        Self { clock: Rc::clone(clock), due: [const { Cell::new(NEVER) }; N], expired: Cell::new(0), kind: PhantomData }
    }

    /// Begins anew. A deadline that has passed unnoticed is forgotten.
    pub fn arm(&self, wait: W, span: Duration) {
        self.arm_at(wait, self.clock.after(span));
    }

    pub(super) fn arm_at(&self, wait: W, due: Tick) {
        self.forget(wait);
        self.due[wait.index()].set(due);
    }

    pub fn disarm(&self, wait: W) {
        self.arm_at(wait, NEVER);
    }

    fn forget(&self, wait: W) {
        self.expired.set(self.expired.get() & !Self::bit(wait));
    }

    /// Until it is disarmed or its end is taken notice of.
    pub fn is_armed(&self, wait: W) -> bool {
        self.due[wait.index()].get() != NEVER || self.expired.get() & Self::bit(wait) != 0
    }

    /// Whether the deadline has passed since it was asked last.
    pub fn take_expired(&self, wait: W) -> bool {
        let was = self.expired.get();
        self.expired.set(was & !Self::bit(wait));
        was & Self::bit(wait) != 0
    }

    /// The present tick.
    pub fn now(&self) -> u32 {
        self.clock.now.get()
    }

    pub fn age_since(&self, then: u32) -> Duration {
        TICK * self.now().saturating_sub(then)
    }

    pub(super) fn clock(&self) -> &TickClock {
        &self.clock
    }

    /// Whether any has passed since the last tick.
    pub(super) fn pass(&self, now: Tick) -> bool {
        let mut passed = 0;
        for (index, due) in self.due.iter().enumerate() {
            if due.get() <= now {
                due.set(NEVER);
                passed |= 1 << index;
            }
        }
        self.expired.set(self.expired.get() | passed);
        passed != 0
    }

    fn bit(wait: W) -> u16 {
        1 << wait.index()
    }
}
