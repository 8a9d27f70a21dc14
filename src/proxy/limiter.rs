//! How often each of many callers may do something, within bounded memory.

use std::fmt;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore};
use governor::{Quota, RateLimiter};

use crate::domain::rate::Rate;
use crate::domain::time::Clock;

/// One limit, for all threads. Keys are hashes with a seed of the process: of constant size, and telling nothing of the account.
pub struct Limiter {
    hasher: RandomState,
    states: RateLimiter<u64, States, Monotonic, NoOpMiddleware<Duration>>,
    clock: Monotonic,
    entries_max: usize,
    /// Milliseconds of the monotonic clock.
    pruned_at: AtomicU64,
}

/// How often states that are as good as new are dropped.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// … and when there are too many.
const PRUNE_INTERVAL_WHEN_FULL: Duration = Duration::from_secs(1);

/// When there are too many even so, newcomers share this many states: stricter, but never unlimited.
const SHARED_STATES: u64 = 4096;

/// A state for each of the first `entries_max` keys. Who has one keeps it however many others come: what was spent stays spent, and
/// what was not is not lost.
struct States {
    own: DashMapStateStore<u64>,
    entries_max: usize,
}

impl StateStore for States {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let has_room = self.own.contains_key(key) || self.own.len() < self.entries_max;
        let key = if has_room { *key } else { key % SHARED_STATES };
        self.own.measure_and_replace(&key, measure)
    }
}

impl ShrinkableKeyedStateStore<u64> for States {
    fn retain_recent(&self, drop_below: Nanos) {
        ShrinkableKeyedStateStore::retain_recent(&self.own, drop_below);
    }

    fn len(&self) -> usize {
        self.own.len()
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty()
    }
}

impl Limiter {
    /// `None` when the rate is too high to be measured.
    pub fn new(rate: Rate, entries_max: usize, clock: &Arc<dyn Clock>) -> Option<Self> {
        let quota = Quota::with_period(rate.period / rate.permits.get())?.allow_burst(rate.burst);
        let clock = Monotonic(Arc::clone(clock));
        let states = RateLimiter::new(quota, States { own: DashMapStateStore::default(), entries_max }, clock.clone());
        Some(Self { hasher: RandomState::new(), states, clock, entries_max, pruned_at: AtomicU64::new(0) })
    }

    /// Uses one permit of the caller that `key` names.
    ///
    /// # Errors
    /// There is none: how long to wait for one.
    pub fn check(&self, key: &impl Hash) -> Result<(), Duration> {
        let is_full = self.states.len() >= self.entries_max;
        self.prune(if is_full { PRUNE_INTERVAL_WHEN_FULL } else { PRUNE_INTERVAL });
        self.states.check_key(&self.hasher.hash_one(key)).map_err(|refused| refused.wait_time_from(self.clock.now()))
    }

    fn prune(&self, interval: Duration) {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let now = millis(self.clock.now());
        let last = self.pruned_at.load(Ordering::Relaxed);
        let is_due = now.saturating_sub(last) >= millis(interval);
        // Whoever wins the exchange prunes; the others go on.
        if is_due && self.pruned_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.states.retain_recent();
        }
    }
}

/// The process's clock, as governor reads one.
#[derive(Clone)]
struct Monotonic(Arc<dyn Clock>);

impl GovernorClock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("states", &self.states.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::domain::time::Timestamp;

    #[derive(Debug, Default)]
    struct ManualClock(AtomicU64);

    impl ManualClock {
        fn advance(&self, span: Duration) {
            self.0.fetch_add(u64::try_from(span.as_nanos()).unwrap(), Ordering::SeqCst);
        }
    }

    impl Clock for ManualClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(0).saturating_add(self.monotonic())
        }

        fn monotonic(&self) -> Duration {
            Duration::from_nanos(self.0.load(Ordering::SeqCst))
        }
    }

    fn limiter(permits: u32, entries_max: usize, clock: &Arc<ManualClock>) -> Limiter {
        let permits = NonZeroU32::new(permits).unwrap();
        let rate = Rate { permits, period: Duration::from_secs(60), burst: permits };
        let clock: Arc<dyn Clock> = clock.clone();
        Limiter::new(rate, entries_max, &clock).unwrap()
    }

    #[test]
    fn a_spent_allowance_comes_back_with_time() {
        let clock = Arc::new(ManualClock::default());
        let limiter = limiter(2, 100, &clock);
        assert!(limiter.check(&"a").is_ok() && limiter.check(&"a").is_ok());
        let wait = limiter.check(&"a").unwrap_err();
        assert!(wait > Duration::from_secs(29) && wait <= Duration::from_secs(30), "{wait:?}");
        assert!(limiter.check(&"b").is_ok(), "another key is not concerned");
        clock.advance(wait);
        assert!(limiter.check(&"a").is_ok());
    }

    #[test]
    fn who_has_a_state_keeps_it_however_many_others_come() {
        let clock = Arc::new(ManualClock::default());
        let limiter = limiter(2, 100, &clock);
        assert!(limiter.check(&"spent").is_ok() && limiter.check(&"spent").is_ok() && limiter.check(&"half").is_ok());
        for key in 0..50_000 {
            let _ = limiter.check(&key);
        }
        assert!(limiter.check(&"spent").is_err(), "many others buy nothing");
        assert!(limiter.check(&"half").is_ok(), "and take nothing away");
        assert!(limiter.check(&"half").is_err());
    }

    #[test]
    fn states_are_bounded_whatever_keys_come() {
        let clock = Arc::new(ManualClock::default());
        let limiter = limiter(1, 100, &clock);
        let admitted = (0..100_000).filter(|key| limiter.check(key).is_ok()).count();
        let states_max = 100 + usize::try_from(SHARED_STATES).unwrap();
        assert!(limiter.states.len() <= states_max && admitted <= states_max, "{admitted}");
        clock.advance(Duration::from_secs(120));
        assert!(limiter.check(&0).is_ok() && limiter.states.len() < 100, "forgotten once they are as good as new");
    }
}
