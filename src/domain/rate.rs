//! How often something may happen.

use std::num::NonZeroU32;
use std::time::Duration;

/// `permits` per `period` in the long run, up to `burst` at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    pub permits: NonZeroU32,
    pub period: Duration,
    pub burst: NonZeroU32,
}

impl Rate {
    /// Whether nobody who keeps to this one exceeds `other`.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let per_period = |rate: &Self, period: Duration| u128::from(rate.permits.get()) * period.as_nanos();
        per_period(self, other.period) <= per_period(other, self.period) && self.burst <= other.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_within_another_that_allows_as_much_in_the_long_run_and_at_once() {
        let rate = |permits: u32, secs: u64, burst: u32| Rate {
            permits: NonZeroU32::new(permits).unwrap(),
            period: Duration::from_secs(secs),
            burst: NonZeroU32::new(burst).unwrap(),
        };
        assert!(rate(1, 1, 5).is_within(&rate(60, 60, 5)) && rate(60, 60, 5).is_within(&rate(1, 1, 5)));
        assert!(rate(59, 60, 5).is_within(&rate(1, 1, 5)) && !rate(61, 60, 5).is_within(&rate(1, 1, 5)));
        assert!(!rate(1, 1, 6).is_within(&rate(1, 1, 5)));
    }
}
