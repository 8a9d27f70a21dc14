//! Whether the wall clock was set, as told by the monotonic one.

use std::time::Duration;

use crate::domain::time::Timestamp;

/// Less than this is a clock that is steered, not set.
const STEP_MIN: Duration = Duration::from_secs(1);

/// Holds the wall clock against the time that has passed. What must not be undone when a clock was wrong for a while, such as
/// forgetting, goes by [`Self::cautious`].
#[derive(Debug)]
pub(super) struct ClockWatch {
    began: Reading,
    last: Reading,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: Timestamp,
    monotonic: Duration,
}

impl Reading {
    /// What the wall clock says later, unless it is set meanwhile.
    fn later(&self, monotonic: Duration) -> Timestamp {
        self.wall.saturating_add(monotonic.saturating_sub(self.monotonic))
    }
}

impl ClockWatch {
    pub(super) const fn started(wall: Timestamp, monotonic: Duration) -> Self {
        let began = Reading { wall, monotonic };
        Self { began, last: began }
    }

    /// The time by the wall clock, or what it would be had nobody set the clock since the start, whichever is earlier.
    pub(super) fn cautious(&self, wall: Timestamp, monotonic: Duration) -> Timestamp {
        wall.min(self.began.later(monotonic))
    }

    /// Whether the clock was set back since the last time that this was asked.
    pub(super) fn was_set_back(&mut self, wall: Timestamp, monotonic: Duration) -> bool {
        let expected = self.last.later(monotonic);
        self.last = Reading { wall, monotonic };
        wall.saturating_add(STEP_MIN) < expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn a_clock_that_is_set_ahead_hurries_nothing() {
        let watch = ClockWatch::started(at(100), Duration::ZERO);
        assert_eq!(watch.cautious(at(110), Duration::from_secs(10)), at(110));
        assert_eq!(watch.cautious(at(3_710), Duration::from_secs(10)), at(110));
        assert_eq!(watch.cautious(at(50), Duration::from_secs(10)), at(50));
        assert_eq!(watch.cautious(Timestamp::MAX, HOUR), at(3_700));
    }

    #[test]
    fn a_step_back_is_noticed_once_and_steering_is_none() {
        let mut watch = ClockWatch::started(at(10_000), Duration::ZERO);
        assert!(!watch.was_set_back(at(13_600), HOUR));
        assert!(!watch.was_set_back(Timestamp::from_millis(17_199_100), 2 * HOUR), "900 ms slow");
        assert!(!watch.was_set_back(at(99_999), 2 * HOUR), "set ahead");
        assert!(watch.was_set_back(at(17_200), 2 * HOUR), "and back again");
        assert!(!watch.was_set_back(at(17_200), 2 * HOUR));
    }
}
