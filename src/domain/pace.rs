//! How slowly a body may come.

use std::num::NonZeroU64;
use std::time::Duration;

/// Bytes in a second; never none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ByteRate(NonZeroU64);

impl ByteRate {
    /// `None` for 0.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Option<Self> {
        NonZeroU64::new(bytes_per_second).map(Self)
    }

    /// How long so many bytes may take.
    fn span_of(self, bytes: usize) -> Duration {
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / self.0;
        Duration::from_nanos(nanos)
    }
}

/// How long a sender may take for as little as it likes: the rate is an average over more than that.
pub const PACE_GRACE: Duration = Duration::from_secs(10);

/// How much longer a sender may be waited for. Waiting uses it up and what comes adds to it; but no more is saved up than the longest
/// pause that is allowed, so that nobody buys hours by a fast beginning.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    rate: Option<ByteRate>,
    pause_max: Duration,
    left: Duration,
}

impl Pace {
    /// `pause_max`: the longest pause between two pieces, whatever the rate.
    #[must_use]
    pub fn new(rate: Option<ByteRate>, pause_max: Duration) -> Self {
        Self { rate, pause_max, left: PACE_GRACE }
    }

    /// How long the next piece may take.
    #[must_use]
    pub fn patience(&self) -> Duration {
        if self.rate.is_some() { self.left.min(self.pause_max) } else { self.pause_max }
    }

    /// Notes a piece for which the sender was waited for so long. Time in which nobody read does not count.
    pub fn came(&mut self, bytes: usize, waited: Duration) {
        let Some(rate) = self.rate else { return };
        let saved_max = self.pause_max.max(PACE_GRACE);
        self.left = self.left.saturating_sub(waited).saturating_add(rate.span_of(bytes)).min(saved_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE_MAX: Duration = Duration::from_secs(30);
    const SECOND: Duration = Duration::from_secs(1);

    /// When a sender of so many bytes each so often is given up; `None`: not within an hour.
    fn given_up_after(pace: &mut Pace, bytes: usize, every: Duration) -> Option<Duration> {
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(3600) {
            if pace.patience() < every {
                return Some(now + pace.patience());
            }
            now += every;
            pace.came(bytes, every);
        }
        None
    }

    fn pace(rate: u64) -> Pace {
        Pace::new(ByteRate::new(rate), PAUSE_MAX)
    }

    #[test]
    fn a_trickle_ends_after_the_grace_however_regular() {
        assert_eq!(given_up_after(&mut pace(256), 1, 20 * SECOND), Some(PACE_GRACE));
        let each_second = given_up_after(&mut pace(256), 1, SECOND).unwrap();
        assert!(each_second < PACE_GRACE + SECOND, "{each_second:?}");
        let nearly = given_up_after(&mut pace(256), 200, SECOND).unwrap();
        assert!(nearly < 60 * SECOND, "{nearly:?}");
    }

    #[test]
    fn whoever_keeps_the_rate_goes_on_in_pieces_of_any_size() {
        assert_eq!(given_up_after(&mut pace(256), 256, SECOND), None);
        assert_eq!(given_up_after(&mut pace(256), 26, SECOND / 10), None);
        assert_eq!(given_up_after(&mut pace(256), 9 * 256, 9 * SECOND), None);
        let mut in_bursts = pace(256);
        in_bursts.came(1 << 20, SECOND);
        assert_eq!(given_up_after(&mut in_bursts, 29 * 256, 29 * SECOND), None);
    }

    #[test]
    fn a_fast_beginning_buys_no_more_than_the_longest_pause() {
        let mut fast = pace(256);
        fast.came(100 << 20, SECOND);
        let given_up = given_up_after(&mut fast, 1, 20 * SECOND).unwrap();
        assert!(given_up <= PAUSE_MAX + SECOND, "{given_up:?}");
    }

    #[test]
    fn without_a_rate_only_a_pause_ends_it_and_the_pause_does_so_in_any_case() {
        assert_eq!(given_up_after(&mut pace(0), 1, 30 * SECOND), None);
        assert_eq!(given_up_after(&mut pace(0), 1, 31 * SECOND), Some(PAUSE_MAX));
        let mut brief = Pace::new(ByteRate::new(256), SECOND / 2);
        brief.came(1 << 20, Duration::ZERO);
        assert_eq!(brief.patience(), SECOND / 2);
    }
}
