//! The days that statistics are kept by.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::super::time::Timestamp;

const MILLIS: i64 = 86_400_000;

/// How many days are kept, the present one included.
pub const DAYS_KEPT: u32 = 400;

/// A day of UTC, counted from 1970-01-01: the same day on every node, wherever it stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub i32);

impl Day {
    /// The day that a moment belongs to.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(i32::try_from(at.millis().div_euclid(MILLIS)).unwrap_or(if at.millis() < 0 { i32::MIN } else { i32::MAX }))
    }

    /// Its first moment.
    #[must_use]
    pub const fn starts_at(self) -> Timestamp {
        Timestamp::from_millis(self.0 as i64 * MILLIS)
    }

    /// Itself and the days before it, `count` in all.
    #[must_use]
    pub fn last(self, count: u32) -> RangeInclusive<Self> {
        self.before(count.saturating_sub(1))..=self
    }

    /// The first of the days that are kept when this is the present one.
    #[must_use]
    pub fn oldest_kept(self) -> Self {
        self.before(DAYS_KEPT - 1)
    }

    fn before(self, days: u32) -> Self {
        Self(self.0.saturating_sub_unsigned(days))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_utc() {
        let midnight = Timestamp::from_secs(1_790_035_200);
        let day = Day::of(midnight);
        assert_eq!(day.starts_at(), midnight);
        assert_eq!(Day::of(Timestamp::from_millis(midnight.millis() - 1)), day.before(1));
        assert_eq!(Day::of(Timestamp::from_millis(-1)), Day(-1));
        assert_eq!((Day::of(Timestamp::MAX), Day::of(Timestamp::MIN)), (Day(i32::MAX), Day(i32::MIN)));
    }

    #[test]
    fn the_last_days_end_with_this_one() {
        assert_eq!(Day(10).last(3), Day(8)..=Day(10));
        assert_eq!(Day(10).last(1), Day(10)..=Day(10));
        assert_eq!(Day(1000).oldest_kept(), Day(601));
    }
}
