//! Numbers that one thread writes and others read.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use super::labels::Label;

/// A number that its one writer changes without waiting for anybody, and that others read. Whoever sees a change sees what was written
/// before it.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    /// By the one writer.
    pub fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    /// By the one writer. Never less than nothing.
    pub fn sub(&self, n: u64) {
        self.set(self.get().saturating_sub(n));
    }

    /// Where there are several writers.
    pub fn add_shared(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

/// A number for each value of a label.
#[derive(Debug)]
pub struct Counts<L> {
    cells: Box<[Count]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> Counts<L> {
    #[must_use]
    pub fn of(&self, value: L) -> &Count {
        &self.cells[value.index()]
    }
}

impl<L: Label> Default for Counts<L> {
    fn default() -> Self {
        Self { cells: L::all().iter().map(|_| Count::default()).collect(), label: PhantomData }
    }
}
