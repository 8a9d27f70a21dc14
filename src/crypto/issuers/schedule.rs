//! When the keys of an issuer are fetched.

use std::time::Duration;

use super::JwksSettings;

/// Why a fetch might be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    Routine,
    UnknownKid,
}

/// When fetches began and ended; times are monotonic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Schedule {
    began_at: Option<Duration>,
    succeeded_at: Option<Duration>,
    failures: u32,
}

/// Failures double the wait, up to this many times.
const DOUBLINGS_MAX: u32 = 10;

impl Schedule {
    pub(super) const fn begun(&mut self, now: Duration) {
        self.began_at = Some(now);
    }

    pub(super) const fn succeeded(&mut self, now: Duration) {
        self.succeeded_at = Some(now);
        self.failures = 0;
    }

    pub(super) const fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    pub(super) fn age(&self, now: Duration) -> Option<Duration> {
        self.succeeded_at.map(|at| now.saturating_sub(at))
    }

    /// `None`: at once, there was no fetch yet.
    pub(super) fn due_at(&self, wish: Wish, settings: &JwksSettings) -> Option<Duration> {
        let began_at = self.began_at?;
        let least = settings.minimum_interval;
        let wait = match (self.failures, wish) {
            (0, Wish::Routine) => settings.refresh_interval.max(least),
            (0, Wish::UnknownKid) => least,
            // What fails is tried again sooner than routine asks, but ever less often, and not for the asking.
            (failures, Wish::Routine | Wish::UnknownKid) => {
                let doubled = least.saturating_mul(1 << (failures - 1).min(DOUBLINGS_MAX));
                doubled.min(settings.refresh_interval).max(least)
            }
        };
        Some(began_at.saturating_add(wait))
    }
}
