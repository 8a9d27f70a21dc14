//! What is remembered of so many keys and no more: for a new one, the one that came first is forgotten.

use std::collections::{HashMap, VecDeque};

/// Keys are hashes with a seed of the process: of constant size, and telling nothing.
pub(super) struct Remembered<V> {
    entries: HashMap<u64, V>,
    /// In the order in which they came.
    order: VecDeque<u64>,
}

impl<V> Default for Remembered<V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<V: Default> Remembered<V> {
    pub(super) fn get(&self, key: u64) -> Option<&V> {
        self.entries.get(&key)
    }

    /// Makes the entry where there is none; at least one is remembered.
    pub(super) fn entry(&mut self, key: u64, entries_max: usize) -> &mut V {
        if !self.entries.contains_key(&key) {
            while self.order.len() >= entries_max.max(1) {
                if let Some(oldest) = self.order.pop_front() {
                    self.entries.remove(&oldest);
                }
            }
            self.order.push_back(key);
        }
        self.entries.entry(key).or_default()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.order.len());
        self.entries.len()
    }

    #[cfg(test)]
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values()
    }
}
