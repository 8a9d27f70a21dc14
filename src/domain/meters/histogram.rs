//! How long things took.

use super::cells::Count;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
const SECOND: u64 = 1_000 * MILLISECOND;

/// The upper bounds of the buckets in nanoseconds, each included. One more bucket has what took longer.
pub const BOUNDS: [u64; 20] = [
    10 * MICROSECOND,
    25 * MICROSECOND,
    50 * MICROSECOND,
    100 * MICROSECOND,
    250 * MICROSECOND,
    500 * MICROSECOND,
    MILLISECOND,
    2_500 * MICROSECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
    25 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    250 * MILLISECOND,
    500 * MILLISECOND,
    SECOND,
    2_500 * MILLISECOND,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
];

const BUCKETS: usize = BOUNDS.len() + 1;

/// Spans, counted in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Count; BUCKETS],
    nanos: Count,
}

impl Histogram {
    /// By the one writer.
    pub fn note(&self, nanos: u64) {
        self.buckets[bucket_of(nanos)].add(1);
        self.nanos.add(nanos);
    }

    /// Where there are several writers.
    pub fn note_shared(&self, nanos: u64) {
        self.buckets[bucket_of(nanos)].add_shared(1);
        self.nanos.add_shared(nanos);
    }

    #[must_use]
    pub fn read(&self) -> Distribution {
        Distribution { buckets: std::array::from_fn(|i| self.buckets[i].get()), nanos: self.nanos.get() }
    }
}

/// Most spans are short: the first bounds are looked at first.
fn bucket_of(nanos: u64) -> usize {
    BOUNDS.iter().position(|bound| nanos <= *bound).unwrap_or(BOUNDS.len())
}

/// What a histogram held at one moment, or several of them together.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Distribution {
    /// By bucket, the bound of the last being none.
    pub buckets: [u64; BUCKETS],
    /// Of all together.
    pub nanos: u64,
}

impl Distribution {
    /// How many spans.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sum, count) in self.buckets.iter_mut().zip(other.buckets) {
            *sum = sum.wrapping_add(count);
        }
        self.nanos = self.nanos.wrapping_add(other.nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_longer_to_the_next() {
        assert!(BOUNDS.is_sorted());
        let histogram = Histogram::default();
        for bound in BOUNDS {
            histogram.note(bound);
            histogram.note_shared(bound + 1);
        }
        histogram.note(0);
        histogram.note(u64::MAX / 2);
        let read = histogram.read();
        assert_eq!(read.buckets[0], 2, "nothing, and the first bound");
        assert!(read.buckets[1..BOUNDS.len()].iter().all(|count| *count == 2), "{read:?}");
        assert_eq!((read.buckets[BOUNDS.len()], read.count()), (2, 2 + 2 * BOUNDS.len() as u64));
        assert_eq!(read.nanos, BOUNDS.iter().sum::<u64>() * 2 + BOUNDS.len() as u64 + u64::MAX / 2);
    }
}
