//! How long to wait before the next attempt.

use std::time::Duration;

use crate::crypto::entropy::{Entropy, draw};

/// Spans that double up to a cap, each shortened by up to half at random, so that nodes do not return in step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, next: first }
    }

    pub(super) fn next(&mut self, entropy: &dyn Entropy) -> Duration {
        let span = self.next;
        self.next = (span * 2).min(self.cap);
        let [random] = draw::<1>(entropy);
        span / 2 + span / 2 * u32::from(random) / u32::from(u8::MAX)
    }

    pub(super) const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::entropy::SystemEntropy;

    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn spans_double_up_to_the_cap_and_begin_again_after_success() {
        let mut backoff = Backoff::new(SECOND, 5 * SECOND);
        let longest = Fixed(u8::MAX);
        assert_eq!([0; 5].map(|_| backoff.next(&longest).as_secs()), [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.next(&longest), SECOND);
    }

    #[test]
    fn chance_takes_no_more_than_half() {
        assert_eq!(Backoff::new(SECOND, SECOND).next(&Fixed(0)), SECOND / 2);
        let mut backoff = Backoff::new(SECOND, SECOND);
        let entropy = SystemEntropy::new();
        assert!((0..100).map(|_| backoff.next(&entropy)).all(|span| (SECOND / 2..=SECOND).contains(&span)));
    }
}
