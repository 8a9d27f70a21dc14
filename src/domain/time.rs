//! Moments and the clock that tells them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most that two honest clocks differ: those of our nodes, of the store, and of whoever issues tokens. What is stamped further
/// ahead is not believed, and what was to be forgotten is kept for so long beyond that moment. NTP keeps clocks within a fraction of
/// a second. RFC 7519, section 4.1.4 has "usually no more than a few minutes"; one is short beside the life of a token.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);

/// A moment: milliseconds since the Unix epoch, UTC, leap seconds not counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const MIN: Self = Self(i64::MIN);
    pub const MAX: Self = Self(i64::MAX);

    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From a JWT `NumericDate` without a fraction (RFC 7519, section 2).
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span_millis(span)))
    }

    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span_millis(span)))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0).max(0);
        Duration::from_millis(millis.unsigned_abs())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

fn span_millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Tells the time. The process has one; tests bring their own and move it by hand.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock: may jump either way.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary start: never goes back. For measuring spans, such as the age of the last heartbeat.
    fn monotonic(&self) -> Duration;

    /// The same in nanoseconds, for measuring how long work takes: no decision depends on it.
    fn nanos(&self) -> u64 {
        u64::try_from(self.monotonic().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands still.
#[cfg(test)]
pub fn standing_clock() -> std::sync::Arc<dyn Clock> {
    struct Standing;

    impl Clock for Standing {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(1_700_000_000)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(1)
        }
    }

    std::sync::Arc::new(Standing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_that_lies_ahead_is_no_time_ago() {
        let now = Timestamp::from_secs(100);
        assert_eq!(now.since(Timestamp::from_secs(101)), Duration::ZERO);
        assert_eq!(now.since(Timestamp::from_secs(99)), Duration::from_secs(1));
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Timestamp::MAX.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.saturating_sub(Duration::MAX), Timestamp::MIN);
        assert_eq!(Timestamp::from_secs(i64::MAX), Timestamp::MAX);
    }

    #[test]
    fn seconds_round_down_before_the_epoch_too() {
        assert_eq!(Timestamp::from_millis(-1).secs(), -1);
        assert_eq!(Timestamp::from_millis(1999).secs(), 1);
    }
}
