//! How often each caller may use a route. All workers count together; each node counts by itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::limiter::Limiter;
use crate::domain::ids::Subject;
use crate::domain::rate::Rate;
use crate::domain::route::Route;
use crate::domain::time::Clock;

/// The limiters of the routes that have a limit, by the names of the routes.
#[derive(Debug, Default)]
pub struct RouteLimits(HashMap<Arc<str>, Kept>);

/// What a limiter was made by.
#[derive(Clone, Debug)]
struct Kept {
    rate: Rate,
    entries_max: usize,
    /// `None`: the rate is too high to be measured.
    limiter: Option<Arc<Limiter>>,
}

/// Whom a request counts for.
#[derive(Clone, Copy, Hash, Debug)]
pub(in crate::proxy) enum LimitKey<'a> {
    Subject(&'a Subject),
    /// An IPv4 address, or an IPv6 network.
    Network(IpAddr),
}

impl RouteLimits {
    /// A limit that stayed as it was goes on counting where `former` was: whoever has spent an allowance gets no new one by a reload.
    #[must_use]
    pub fn new(routes: &[Route], entries_max: usize, clock: &Arc<dyn Clock>, former: Option<&Self>) -> Self {
        let limited = routes.iter().filter_map(|route| Some((Arc::clone(&route.name), route.limit?.rate)));
        let kept = |(name, rate): (Arc<str>, Rate)| {
            let stayed = former
                .and_then(|former| former.0.get(&name))
                .filter(|kept| kept.rate == rate && kept.entries_max == entries_max)
                .cloned();
            let made = || Kept { rate, entries_max, limiter: Limiter::new(rate, entries_max, clock).map(Arc::new) };
            (name, stayed.unwrap_or_else(made))
        };
        Self(limited.map(kept).collect())
    }

    /// Counts one request to a route that has a limit.
    ///
    /// # Errors
    /// How long to wait.
    pub(in crate::proxy) fn check(&self, route: &str, key: LimitKey<'_>) -> Result<(), Duration> {
        let kept = self.0.get(route).expect("every route with a limit has a limiter");
        kept.limiter.as_ref().map_or(Ok(()), |limiter| limiter.check(&key))
    }
}
