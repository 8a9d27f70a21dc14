//! Resolves the names of upstreams time and again, so that they may move.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::proxy::upstream::backends::Backends;

/// How often is looked whether names are due.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long one name is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Resolves what `upstreams` returns as the system does, each as often as it says and at once when it is new, until `stop`.
pub async fn run(upstreams: impl Fn() -> Vec<Arc<Backends>>, stop: CancellationToken) {
    follow(upstreams, lookup, stop).await;
}

/// Resolves the names of one upstream, once.
pub async fn resolve_once(backends: &Backends) {
    resolve(backends, &lookup, &Failing::default()).await;
}

async fn lookup(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

/// The names that did not resolve at the last attempt, of whichever upstream, each with the cause that was told: it is told once, and
/// not with each attempt.
#[derive(Default)]
struct Failing(Mutex<BTreeMap<String, String>>);

impl Failing {
    fn names(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether that is news.
    fn fails(&self, host: &str, cause: &str) -> bool {
        self.names().insert(host.to_owned(), cause.to_owned()).is_none_or(|told| told != cause)
    }

    /// Whether that is news.
    fn resolves(&self, host: &str) -> bool {
        self.names().remove(host).is_some()
    }

    /// Forgets all others.
    fn keep(&self, is_kept: impl Fn(&str) -> bool) {
        self.names().retain(|host, _| is_kept(host));
    }
}

async fn follow<F>(upstreams: impl Fn() -> Vec<Arc<Backends>>, lookup: impl Fn(String, u16) -> F, stop: CancellationToken)
where
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut resolved: Vec<(Arc<Backends>, Instant)> = Vec::new();
    let failing = Failing::default();
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        let now = Instant::now();
        let is_fresh = |backends: &Arc<Backends>| {
            let last = resolved.iter().find(|(known, _)| Arc::ptr_eq(known, backends));
            last.is_some_and(|(_, at)| now.duration_since(*at) < backends.resolve_interval())
        };
        let present = upstreams();
        failing.keep(|host| present.iter().flat_map(|backends| backends.names()).any(|(_, name, _)| name == host));
        let (fresh, due): (Vec<_>, Vec<_>) = present.into_iter().partition(is_fresh);
        let resolving = join_all(due.iter().map(|backends| resolve(backends, &lookup, &failing)));
        if stop.run_until_cancelled(resolving).await.is_none() {
            return;
        }
        resolved.retain(|(known, _)| fresh.iter().any(|backends| Arc::ptr_eq(known, backends)));
        resolved.extend(due.into_iter().map(|backends| (backends, now)));
    }
}

async fn resolve<F>(backends: &Backends, lookup: &impl Fn(String, u16) -> F, failing: &Failing)
where
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let one = async |(index, host, port): (usize, &str, u16)| {
        let found = tokio::time::timeout(PATIENCE, lookup(host.to_owned(), port)).await;
        match found
            .map_err(|_| format!("no response within {PATIENCE:?}"))
            .and_then(|found| found.map_err(|error| error.to_string()))
        {
            Ok(addresses) => {
                if failing.resolves(host) {
                    tracing::info!(host, "the name of an upstream resolves again");
                }
                if backends.resolved(index, addresses) {
                    tracing::info!(host, "the addresses of an upstream have changed");
                }
            }
            Err(cause) if failing.fails(host, &cause) => {
                tracing::warn!(host, cause, "the name of an upstream does not resolve: its former addresses are used");
            }
            Err(_) => {}
        }
    };
    join_all(backends.names().map(one)).await;
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use http::HeaderValue;

    use super::*;
    use crate::domain::ejection::EjectionRules;
    use crate::domain::time::standing_clock;
    use crate::proxy::upstream::backends::{BackendRules, Place};
    use crate::proxy::upstream::connect::Target;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 80))
    }

    #[test]
    fn a_name_that_does_not_resolve_is_told_of_once_for_each_cause_until_it_resolves() {
        let failing = Failing::default();
        let fails = |cause| failing.fails("api.example", cause);
        assert_eq!(["no such name", "no such name", "no response"].map(fails), [true, false, true]);
        assert!(failing.fails("other.example", "no response"));
        assert!(failing.resolves("api.example") && !failing.resolves("api.example"));
        assert!(failing.fails("api.example", "no response"));
        failing.keep(|host| host == "api.example");
        assert!(failing.names().contains_key("api.example") && !failing.names().contains_key("other.example"));
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_resolved_at_once_and_then_as_often_as_is_said_and_failures_change_nothing() {
        const INTERVAL: Duration = Duration::from_secs(30);
        let ejection = EjectionRules { failures: 0, pause: Duration::ZERO, slow_start: Duration::ZERO, slow_factor: None };
        let rules = BackendRules { resolve_interval: INTERVAL, ejection, probing: None };
        let target = |host: &str| Target::tcp(host.to_owned(), 80, None);
        let place = |host| Place { key: "url".into(), target: target(host), own_host: HeaderValue::from_static("h"), weight: 1 };
        let backends = Backends::new(vec![place("api.example"), place("192.0.2.9")], rules, standing_clock(), None);
        let (asked, known) = (Cell::new(0), RefCell::new(Ok(vec![address(1), address(2)])));
        let lookup = |host: String, port| {
            assert_eq!((host.as_str(), port), ("api.example", 80), "an address needs no resolving");
            asked.set(asked.get() + 1);
            let known = known.borrow().clone().map_err(io::Error::other);
            async move { known }
        };
        let stop = CancellationToken::new();
        let count = || backends.count();
        let watch = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!((asked.get(), count()), (1, 3));
            *known.borrow_mut() = Err("no such name");
            tokio::time::sleep(INTERVAL).await;
            assert_eq!((asked.get(), count()), (2, 3));
            *known.borrow_mut() = Ok(vec![address(3)]);
            tokio::time::sleep(INTERVAL).await;
            assert_eq!((asked.get(), count()), (3, 2));
            stop.cancel();
        };
        tokio::join!(follow(|| vec![Arc::clone(&backends)], lookup, stop.clone()), watch);
    }
}
