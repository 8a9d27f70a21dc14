//! How long the revocation log takes to reach this node: measured by canaries that it writes and reads itself.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Measurements older than this say nothing any more.
pub const WINDOW: Duration = Duration::from_secs(300);

/// The most measurements that are kept, and the most canaries that may be on their way.
const SAMPLES_MAX: usize = 1024;

/// The lag over the last [`WINDOW`], in microseconds; all zero as long as nothing was measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LagFigures {
    /// How many canaries came back.
    pub samples: u64,
    pub p50_micros: u64,
    pub p99_micros: u64,
    /// At least the age of the oldest canary that is still on its way.
    pub max_micros: u64,
}

/// One for the process. Times are of the monotonic clock of this node alone: what other clocks say does not enter.
#[derive(Debug, Default)]
pub struct Lag(Mutex<Measurements>);

#[derive(Debug, Default)]
struct Measurements {
    /// By the time of their return.
    back: VecDeque<(Duration, Duration)>,
    /// Canaries on their way, and when each was sent.
    away: VecDeque<(u64, Duration)>,
}

impl Lag {
    /// A canary is about to be written.
    pub fn sent(&self, number: u64, at: Duration) {
        self.change(|all| {
            if all.away.len() == SAMPLES_MAX {
                all.away.pop_front();
            }
            all.away.push_back((number, at));
        });
    }

    /// The store did not take it.
    pub fn not_sent(&self, number: u64) {
        self.change(|all| all.away.retain(|(other, _)| *other != number));
    }

    /// It came by in the log. Counts once.
    pub fn came_back(&self, number: u64, at: Duration) {
        self.change(|all| {
            let Some(place) = all.away.iter().position(|(other, _)| *other == number) else { return };
            let Some((_, sent_at)) = all.away.remove(place) else { return };
            if all.back.len() == SAMPLES_MAX {
                all.back.pop_front();
            }
            all.back.push_back((at, at.saturating_sub(sent_at)));
        });
    }

    #[must_use]
    pub fn figures(&self, now: Duration) -> LagFigures {
        self.change(|all| {
            let is_old = |at: Duration| now.saturating_sub(at) > WINDOW;
            all.back.retain(|(at, _)| !is_old(*at));
            // One that is gone for so long was lost with the log, and put back is none.
            all.away.retain(|(_, sent_at)| !is_old(*sent_at));
            let mut lags: Vec<Duration> = all.back.iter().map(|(_, lag)| *lag).collect();
            lags.sort_unstable();
            let oldest = all.away.iter().map(|(_, sent_at)| now.saturating_sub(*sent_at)).max().unwrap_or_default();
            LagFigures {
                samples: lags.len() as u64,
                p50_micros: micros(share(&lags, 50)),
                p99_micros: micros(share(&lags, 99)),
                max_micros: micros(share(&lags, 100).max(oldest)),
            }
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Measurements) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The smallest lag that `percent` of all do not exceed.
fn share(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    rank.checked_sub(1).and_then(|place| sorted.get(place)).copied().unwrap_or_default()
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn figures_are_of_what_came_back_lately() {
        let lag = Lag::default();
        assert_eq!(lag.figures(Duration::ZERO), LagFigures::default());
        for number in 1..=100_u32 {
            let sent_at = Duration::from_secs(u64::from(number));
            lag.sent(number.into(), sent_at);
            lag.came_back(number.into(), sent_at + number * MILLISECOND);
            lag.came_back(number.into(), sent_at + 500 * MILLISECOND);
        }
        let figures = lag.figures(Duration::from_secs(101));
        assert_eq!(figures, LagFigures { samples: 100, p50_micros: 50_000, p99_micros: 99_000, max_micros: 100_000 });
        assert_eq!(lag.figures(WINDOW + Duration::from_millis(50_500)).samples, 50);
        assert_eq!(lag.figures(2 * WINDOW), LagFigures::default());
    }

    #[test]
    fn one_that_does_not_come_back_shows_in_the_maximum() {
        let lag = Lag::default();
        lag.sent(1, Duration::ZERO);
        lag.came_back(1, MILLISECOND);
        lag.sent(2, Duration::from_secs(1));
        lag.sent(3, Duration::from_secs(2));
        lag.not_sent(3);
        assert_eq!(lag.figures(Duration::from_secs(5)).max_micros, 4_000_000);
        lag.came_back(2, Duration::from_secs(6));
        let figures = lag.figures(Duration::from_secs(60));
        assert_eq!((figures.samples, figures.p50_micros, figures.max_micros), (2, 1000, 5_000_000));
        lag.came_back(7, Duration::from_secs(61));
        assert_eq!(lag.figures(Duration::from_secs(61)).samples, 2, "a canary that is none of ours, or of an earlier reading");
    }

    #[test]
    fn nothing_grows_without_end() {
        let lag = Lag::default();
        for number in 0..5000 {
            lag.sent(number, Duration::ZERO);
            if number % 2 == 0 {
                lag.came_back(number, MILLISECOND);
            }
        }
        let all = lag.0.lock().unwrap();
        assert!(all.back.len() <= SAMPLES_MAX && all.away.len() <= SAMPLES_MAX);
    }
}
