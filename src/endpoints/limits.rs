//! How often logins and refreshes may be tried, by address and by account. Each node counts by itself.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::owners::Owner;
use crate::config::{Limits, Rate};
use crate::domain::ids::SessionId;
use crate::domain::network::network;
use crate::domain::time::Clock;

/// The limits of one set of settings. A reload makes a new one, and everyone starts afresh.
pub(super) struct RateLimits {
    login_by_address: Option<Limiter>,
    login_by_account: Option<Limiter>,
    /// Of accounts, from where they have logged in before.
    login_by_owner: Option<Limiter>,
    unreadable_login_by_address: Option<Limiter>,
    refresh_by_address: Option<Limiter>,
    refresh_by_session: Option<Limiter>,
    lookup_by_address: Option<Limiter>,
    ipv6_prefix: u8,
}

impl RateLimits {
    pub(super) fn new(limits: &Limits, clock: &Arc<dyn Clock>) -> Self {
        let limiter = |rate: Option<Rate>| rate.and_then(|rate| Limiter::new(rate, limits.entries_max, clock));
        Self {
            login_by_address: limiter(limits.login.per_address),
            login_by_account: limiter(limits.login.per_account),
            login_by_owner: limiter(limits.login.per_account),
            unreadable_login_by_address: limiter(limits.login.unreadable),
            refresh_by_address: limiter(limits.refresh.per_address),
            refresh_by_session: limiter(limits.refresh.per_account),
            lookup_by_address: limiter(limits.refresh.imported_per_address),
            ipv6_prefix: limits.ipv6_prefix,
        }
    }

    /// `Err`: how long to wait.
    pub(super) fn admit_login_from(&self, address: IpAddr) -> Result<(), Duration> {
        check(self.login_by_address.as_ref(), &self.network(address))
    }

    /// A login in which something stands that was not understood.
    pub(super) fn admit_unreadable_login_from(&self, address: IpAddr) -> Result<(), Duration> {
        check(self.unreadable_login_by_address.as_ref(), &self.network(address))
    }

    /// `owner`: who logged in from there before.
    pub(super) fn admit_login_of(&self, account: &str, owner: Option<Owner>) -> Result<(), Duration> {
        match owner {
            Some(owner) => check(self.login_by_owner.as_ref(), &(account, owner)),
            None => check(self.login_by_account.as_ref(), &account),
        }
    }

    /// Whether accounts are to be told at all.
    pub(super) const fn counts_accounts(&self) -> bool {
        self.login_by_account.is_some()
    }

    /// What counts as one caller.
    pub(super) fn network(&self, address: IpAddr) -> IpAddr {
        network(address, self.ipv6_prefix)
    }

    pub(super) fn admit_refresh_from(&self, address: IpAddr) -> Result<(), Duration> {
        check(self.refresh_by_address.as_ref(), &self.network(address))
    }

    /// A token that has to be looked up: whoever tries some costs the store a call each time.
    pub(super) fn admit_lookup_from(&self, address: IpAddr) -> Result<(), Duration> {
        check(self.lookup_by_address.as_ref(), &self.network(address))
    }

    pub(super) fn admit_refresh_of(&self, session: SessionId) -> Result<(), Duration> {
        check(self.refresh_by_session.as_ref(), &session)
    }
}

fn check(limiter: Option<&Limiter>, key: &impl Hash) -> Result<(), Duration> {
    limiter.map_or(Ok(()), |limiter| limiter.check(key))
}

/// One limit. Keys are hashes with a seed of the process: of constant size, and telling nothing of the account.
struct Limiter {
    hasher: RandomState,
    states: RateLimiter<u64, DashMapStateStore<u64>, Monotonic, NoOpMiddleware<Duration>>,
    clock: Monotonic,
    entries_max: usize,
    /// Milliseconds of the monotonic clock.
    pruned_at: AtomicU64,
}

/// How often states that are as good as new are dropped.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// … and when there are too many.
const PRUNE_INTERVAL_WHEN_FULL: Duration = Duration::from_secs(1);

/// When there are too many even so, all keys share this many states: stricter, but never unlimited.
const SHARED_STATES: u64 = 4096;

impl Limiter {
    /// `None` when the rate is too high to be measured.
    fn new(rate: Rate, entries_max: usize, clock: &Arc<dyn Clock>) -> Option<Self> {
        let quota = Quota::with_period(rate.period / rate.permits.get())?.allow_burst(rate.burst);
        let clock = Monotonic(Arc::clone(clock));
        let states = RateLimiter::new(quota, DashMapStateStore::default(), clock.clone());
        Some(Self { hasher: RandomState::new(), states, clock, entries_max, pruned_at: AtomicU64::new(0) })
    }

    fn check(&self, key: &impl Hash) -> Result<(), Duration> {
        let mut key = self.hasher.hash_one(key);
        self.prune(PRUNE_INTERVAL);
        if self.states.len() >= self.entries_max {
            self.prune(PRUNE_INTERVAL_WHEN_FULL);
            if self.states.len() >= self.entries_max {
                key %= SHARED_STATES;
            }
        }
        self.states.check_key(&key).map_err(|refused| refused.wait_time_from(self.clock.now()))
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::sessions::tests::ManualClock;

    fn limiter(permits: u32, entries_max: usize, clock: &Arc<ManualClock>) -> Limiter {
        let permits = NonZeroU32::new(permits).unwrap();
        let rate = Rate { permits, period: Duration::from_secs(60), burst: permits };
        let clock: Arc<dyn Clock> = clock.clone();
        Limiter::new(rate, entries_max, &clock).unwrap()
    }

    #[test]
    fn a_spent_allowance_comes_back_with_time() {
        let clock = Arc::new(ManualClock::new());
        let limiter = limiter(2, 100, &clock);
        assert!(limiter.check(&"a").is_ok() && limiter.check(&"a").is_ok());
        let wait = limiter.check(&"a").unwrap_err();
        assert!(wait > Duration::from_secs(29) && wait <= Duration::from_secs(30), "{wait:?}");
        assert!(limiter.check(&"b").is_ok(), "another key is not concerned");
        clock.advance(wait);
        assert!(limiter.check(&"a").is_ok());
    }

    #[test]
    fn states_are_bounded_whatever_keys_come() {
        let clock = Arc::new(ManualClock::new());
        let limiter = limiter(1, 100, &clock);
        let admitted = (0..100_000).filter(|key| limiter.check(key).is_ok()).count();
        let states_max = 100 + usize::try_from(SHARED_STATES).unwrap();
        assert!(limiter.states.len() <= states_max && admitted <= states_max, "{admitted}");
        clock.advance(Duration::from_secs(120));
        assert!(limiter.check(&0).is_ok() && limiter.states.len() < 100, "forgotten once they are as good as new");
    }
}
