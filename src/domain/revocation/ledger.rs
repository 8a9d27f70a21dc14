//! Revoked keys of one kind, grouped by when they may be forgotten.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash};

use foldhash::quality::RandomState;
use hashbrown::{Equivalent, HashTable};

use super::cutoff::Cutoff;
use crate::domain::time::Timestamp;

/// How finely moments of forgetting are told apart: an entry may stay this much longer than it has to.
const SPAN_MILLIS: i64 = 15_000;

/// Takes everything that lies too far ahead to be numbered. Never forgotten.
const SPAN_LAST: u32 = u32::MAX;

/// A key that is revoked, and what is known of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry<K, V> {
    pub(super) key: K,
    /// Merged by itself where two entries are merged.
    pub(super) value: V,
    pub(super) revoked_at: Timestamp,
    pub(super) forget_at: Timestamp,
}

/// What is known beside the key, of which two statements come together as one.
pub(super) trait Merged: Copy + Eq {
    fn merged(self, other: Self) -> Self;
}

impl Merged for () {
    fn merged(self, (): ()) -> Self {}
}

impl Merged for Timestamp {
    fn merged(self, other: Self) -> Self {
        self.max(other)
    }
}

impl Merged for Cutoff {
    fn merged(self, other: Self) -> Self {
        Self::merged(self, other)
    }
}

/// A map from `K` to [`Entry`] that forgets by time.
///
/// Entries lie in one plain vector for each span of forgetting, so that a span is dropped without looking at the others. A
/// hash index of twelve bytes a slot says where: a key that is not here, the case of nearly every request, costs one cache
/// line of the index and none of the entries.
pub(super) struct Ledger<K, V> {
    hasher: RandomState,
    index: HashTable<Place>,
    buckets: Vec<Vec<Entry<K, V>>>,
    /// Which of `buckets` holds the entries of each span of forgetting; none of those is empty.
    slots: BTreeMap<u32, u32>,
    /// Those of `buckets` that are empty.
    free_slots: Vec<u32>,
}

/// Where an entry lies. Carries enough of the hash that the index grows without reading a single entry: writers hold a lock
/// meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    hash: u32,
    slot: u32,
    position: u32,
}

impl<K: Hash + Eq, V: Merged> Ledger<K, V> {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self { hasher, index: HashTable::new(), buckets: Vec::new(), slots: BTreeMap::new(), free_slots: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// The entry of `key`, whose hash by this ledger's hasher is `hash`.
    pub(super) fn find<Q: Equivalent<K> + ?Sized>(&self, hash: u64, key: &Q) -> Option<&Entry<K, V>> {
        self.entry(self.place(narrow(hash), key)?)
    }

    /// Adds the entry, or merges it with the one that is there: the earliest `revoked_at`, the latest `forget_at`, the merged
    /// value. Returns whether that changed anything.
    pub(super) fn insert(&mut self, hash: u64, new: Entry<K, V>) -> bool {
        let hash = narrow(hash);
        let Some(place) = self.place(hash, &new.key) else {
            self.attach(hash, new);
            return true;
        };
        let Some(old) = self.entry_mut(place) else { return false };
        let value = old.value.merged(new.value);
        let revoked_at = old.revoked_at.min(new.revoked_at);
        let forget_at = old.forget_at.max(new.forget_at);
        let news = (value, revoked_at, forget_at) != (old.value, old.revoked_at, old.forget_at);
        let is_elsewhere = span_of(forget_at) != span_of(old.forget_at);
        (old.value, old.revoked_at) = (value, revoked_at);
        if !is_elsewhere {
            old.forget_at = forget_at;
        } else if let Some(moved) = self.detach(place) {
            self.attach(hash, Entry { forget_at, ..moved });
        }
        news
    }

    /// Drops up to `at_most` entries that may be forgotten; returns how many. Costs in proportion to what is dropped.
    pub(super) fn forget(&mut self, now: Timestamp, at_most: usize) -> usize {
        let mut dropped = 0;
        while dropped < at_most
            && let Some((&span, &slot)) = self.slots.first_key_value()
            && is_past(span, now)
        {
            let entries = &mut self.buckets[slot as usize];
            let keep = entries.len().saturating_sub(at_most - dropped);
            for (position, entry) in (keep..).zip(entries.drain(keep..)) {
                let place = Place { hash: narrow(self.hasher.hash_one(&entry.key)), slot, position: number(position) };
                unindex(&mut self.index, place);
                dropped += 1;
            }
            self.release_if_empty(span, slot);
        }
        self.shrink();
        dropped
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<K, V>> {
        self.buckets.iter().flatten()
    }

    fn place<Q: Equivalent<K> + ?Sized>(&self, hash: u32, key: &Q) -> Option<Place> {
        let is_key = |place: &Place| place.hash == hash && self.entry(*place).is_some_and(|entry| key.equivalent(&entry.key));
        self.index.find(widen(hash), is_key).copied()
    }

    fn entry(&self, place: Place) -> Option<&Entry<K, V>> {
        self.buckets.get(place.slot as usize)?.get(place.position as usize)
    }

    fn entry_mut(&mut self, place: Place) -> Option<&mut Entry<K, V>> {
        self.buckets.get_mut(place.slot as usize)?.get_mut(place.position as usize)
    }

    fn attach(&mut self, hash: u32, entry: Entry<K, V>) {
        let (buckets, free_slots) = (&mut self.buckets, &mut self.free_slots);
        let slot = *self.slots.entry(span_of(entry.forget_at)).or_insert_with(|| {
            free_slots.pop().unwrap_or_else(|| {
                buckets.push(Vec::new());
                number(buckets.len() - 1)
            })
        });
        let entries = &mut self.buckets[slot as usize];
        if entries.len() == entries.capacity() {
            // Doubling would leave a quarter of the memory unused on average.
            entries.reserve_exact(entries.len() / 4 + 2);
        }
        let place = Place { hash, slot, position: number(entries.len()) };
        entries.push(entry);
        self.index.insert_unique(widen(hash), place, |place| widen(place.hash));
    }

    /// Takes the entry out; the last one of its bucket takes its place.
    fn detach(&mut self, place: Place) -> Option<Entry<K, V>> {
        let entries = self.buckets.get_mut(place.slot as usize)?;
        let position = place.position as usize;
        if position >= entries.len() {
            return None;
        }
        let entry = entries.swap_remove(position);
        unindex(&mut self.index, place);
        if let Some(moved) = entries.get(position) {
            let hash = narrow(self.hasher.hash_one(&moved.key));
            let from = Place { hash, slot: place.slot, position: number(entries.len()) };
            if let Some(found) = self.index.find_mut(widen(hash), |other| *other == from) {
                found.position = place.position;
            }
        }
        self.release_if_empty(span_of(entry.forget_at), place.slot);
        Some(entry)
    }

    fn release_if_empty(&mut self, span: u32, slot: u32) {
        let entries = &mut self.buckets[slot as usize];
        if entries.is_empty() {
            *entries = Vec::new();
            self.slots.remove(&span);
            self.free_slots.push(slot);
        }
    }

    /// Gives memory back once most of the index is unused: it grows with a burst of revocations, which then runs out.
    fn shrink(&mut self) {
        let is_sparse = self.index.capacity() > 64 && self.index.len() < self.index.capacity() / 4;
        if is_sparse {
            self.index.shrink_to(self.index.len() * 2, |place| widen(place.hash));
        }
    }
}

fn unindex(index: &mut HashTable<Place>, place: Place) {
    if let Ok(found) = index.find_entry(widen(place.hash), |other| *other == place) {
        found.remove();
    }
}

fn span_of(forget_at: Timestamp) -> u32 {
    u32::try_from(forget_at.millis().div_euclid(SPAN_MILLIS).max(0)).unwrap_or(SPAN_LAST)
}

/// Whether everything in the span may be forgotten.
fn is_past(span: u32, now: Timestamp) -> bool {
    span != SPAN_LAST && (i64::from(span) + 1) * SPAN_MILLIS <= now.millis()
}

fn number(position: usize) -> u32 {
    u32::try_from(position).expect("four billion entries in one shard exceed any machine's memory")
}

/// The low half; the upper one chooses a shard of the replica.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn narrow(hash: u64) -> u32 {
    hash as u32
}

/// The table takes slots from the low bits and tags from the top seven: both must come from what was kept.
fn widen(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}
