//! What routes under observation would have refused: counted by route and cause, told once in a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::domain::claims::Denial;
use crate::domain::stats::Counter;

/// How often each worker tells the log.
pub(in crate::proxy) const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// The counts that were not told yet. Bounded by the routes there are, times the causes there are.
#[derive(Debug, Default)]
pub struct Observations(Mutex<HashMap<(Arc<str>, Counter), Tally>>);

#[derive(Debug)]
struct Tally {
    count: u64,
    /// The last one, to be found in other logs.
    request: String,
    cause: String,
}

impl Observations {
    /// Notes one request that was let through all the same. `request` is its id.
    pub(in crate::proxy) fn note(&self, route: &Arc<str>, denial: &Denial, request: &str) {
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Arc::clone(route), Counter::of_observed(denial));
        let tally = untold.entry(key).or_insert_with(|| Tally { count: 0, request: String::new(), cause: String::new() });
        tally.count += 1;
        tally.request.clear();
        tally.request.push_str(request);
        tally.cause = denial.to_string();
    }

    /// Tells what there is to tell: from time to time, when the rules are about to change, and at the end.
    pub(in crate::proxy) fn tell(&self) {
        let untold = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for ((route, counter), Tally { count, request, cause }) in untold {
            let observed = counter.name();
            tracing::info!(%route, observed, count, last_request = request, last_cause = cause, "would have been refused");
        }
    }
}

impl Drop for Observations {
    fn drop(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(observations: &Observations) -> Vec<u64> {
        let untold = observations.0.lock().unwrap();
        let mut counts: Vec<u64> = untold.values().map(|tally| tally.count).collect();
        counts.sort_unstable();
        counts
    }

    #[test]
    fn counts_are_kept_by_route_and_cause_until_they_are_told() {
        let observations = Observations::default();
        let (api, admin) = (Arc::from("api"), Arc::from("admin"));
        for _ in 0..3 {
            observations.note(&api, &Denial::NoToken, "r1");
        }
        observations.note(&api, &Denial::Invalid("one"), "r2");
        observations.note(&api, &Denial::Invalid("another"), "r3");
        observations.note(&admin, &Denial::NoToken, "r4");
        assert_eq!(counts(&observations), [1, 2, 3], "the text of a cause makes no entry of its own");
        observations.tell();
        assert!(counts(&observations).is_empty());
    }
}
