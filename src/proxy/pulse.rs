//! Signs of life of the workers: each counts its ticks where others can read them.

use std::sync::atomic::{AtomicU64, Ordering};

/// The count of a worker that has ended.
const ENDED: u64 = u64::MAX;

/// How many ticks each worker has passed.
#[derive(Debug)]
pub struct Pulses(Box<[AtomicU64]>);

impl Pulses {
    pub fn of_workers(count: usize) -> Self {
        Self((0..count).map(|_| AtomicU64::new(0)).collect())
    }

    /// The worker has passed a tick.
    pub fn beat(&self, worker: usize) {
        self.0[worker].fetch_add(1, Ordering::Relaxed);
    }

    /// The worker has ended, as it was told to.
    pub(super) fn end(&self, worker: usize) {
        self.0[worker].store(ENDED, Ordering::Relaxed);
    }

    pub fn read(&self) -> Beats {
        Beats(self.0.iter().map(|beats| beats.load(Ordering::Relaxed)).collect())
    }
}

/// What was read at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Beats(Vec<u64>);

impl Beats {
    /// A worker that has passed no tick since `before`, and has not ended.
    pub fn silent_since(&self, before: &Self) -> Option<usize> {
        self.0.iter().zip(&before.0).position(|(now, before)| now == before && *now != ENDED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_passes_no_tick_is_found_and_one_that_has_ended_is_not_waited_for() {
        let pulses = Pulses::of_workers(3);
        let before = pulses.read();
        pulses.beat(0);
        pulses.beat(1);
        assert_eq!(pulses.read().silent_since(&before), Some(2));
        pulses.beat(2);
        assert_eq!(pulses.read().silent_since(&before), None);
        let before = pulses.read();
        pulses.end(0);
        pulses.end(1);
        pulses.end(2);
        assert_eq!(pulses.read().silent_since(&before), None);
        assert_eq!(pulses.read().silent_since(&pulses.read()), None);
    }
}
