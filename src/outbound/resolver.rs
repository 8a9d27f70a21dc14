//! Resolves the names of upstreams time and again, so that they may move.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
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
    let failing = Failing::default();
    join_all(backends.names().map(|name| resolve(backends, name, &lookup, &failing))).await;
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

/// One name of an upstream.
struct Name {
    backends: Arc<Backends>,
    index: usize,
    /// When it began to be resolved last.
    began_at: Instant,
    is_under_way: bool,
}

impl Name {
    fn is(&self, backends: &Arc<Backends>, index: usize) -> bool {
        Arc::ptr_eq(&self.backends, backends) && self.index == index
    }

    fn is_due(&self, now: Instant) -> bool {
        !self.is_under_way && now.duration_since(self.began_at) >= self.backends.resolve_interval()
    }
}

/// Each name for itself: one that takes its time holds up no other.
async fn follow<F>(upstreams: impl Fn() -> Vec<Arc<Backends>>, lookup: impl Fn(String, u16) -> F, stop: CancellationToken)
where
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (lookup, failing) = (&lookup, &Failing::default());
    let (mut names, mut resolving): (Vec<Name>, _) = (Vec::new(), FuturesUnordered::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some((backends, index)) = resolving.next() => {
                if let Some(name) = names.iter_mut().find(|name| name.is(&backends, index)) {
                    name.is_under_way = false;
                }
            }
            _ = look.tick() => {
                let (now, present) = (Instant::now(), upstreams());
                failing.keep(|host| present.iter().flat_map(|backends| backends.names()).any(|(_, name, _)| name == host));
                names.retain(|name| present.iter().any(|backends| Arc::ptr_eq(backends, &name.backends)));
                for backends in &present {
                    for (index, host, port) in backends.names() {
                        match names.iter_mut().find(|name| name.is(backends, index)) {
                            Some(name) if !name.is_due(now) => continue,
                            Some(name) => (name.began_at, name.is_under_way) = (now, true),
                            None => {
                                names.push(Name { backends: Arc::clone(backends), index, began_at: now, is_under_way: true });
                            }
                        }
                        let (backends, host) = (Arc::clone(backends), host.to_owned());
                        resolving.push(async move {
                            resolve(&backends, (index, &host, port), lookup, failing).await;
                            (backends, index)
                        });
                    }
                }
            }
        }
    }
}

async fn resolve<F>(
    backends: &Backends,
    (index, host, port): (usize, &str, u16),
    lookup: &impl Fn(String, u16) -> F,
    failing: &Failing,
) where
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let found = tokio::time::timeout(PATIENCE, lookup(host.to_owned(), port)).await;
    let found =
        found.map_err(|_| format!("no response within {PATIENCE:?}")).and_then(|found| found.map_err(|error| error.to_string()));
    match found {
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
        let rules = BackendRules { resolve_interval: INTERVAL, tells_host: false, ejection, probing: None };
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

    #[tokio::test(start_paused = true)]
    async fn a_name_that_takes_its_time_holds_up_no_other() {
        const INTERVAL: Duration = Duration::from_secs(2);
        let ejection = EjectionRules { failures: 0, pause: Duration::ZERO, slow_start: Duration::ZERO, slow_factor: None };
        let rules = BackendRules { resolve_interval: INTERVAL, tells_host: false, ejection, probing: None };
        let place = |host: &str| Place {
            key: "url".into(),
            target: Target::tcp(host.to_owned(), 80, None),
            own_host: HeaderValue::from_static("h"),
            weight: 1,
        };
        let backends = |hosts: &[&str]| {
            let places = hosts.iter().map(|host| place(host)).collect();
            Backends::new(places, rules.clone(), standing_clock(), None)
        };
        let upstreams = [backends(&["slow.example", "beside.example"]), backends(&["other.example"])];
        let asked = RefCell::new(BTreeMap::<String, usize>::new());
        let lookup = |host: String, _| {
            let is_slow = host == "slow.example";
            *asked.borrow_mut().entry(host).or_default() += 1;
            async move {
                if is_slow {
                    std::future::pending::<()>().await;
                }
                Ok(vec![address(1)])
            }
        };
        let stop = CancellationToken::new();
        let watch = async {
            tokio::time::sleep(PATIENCE.saturating_sub(Duration::from_secs(1))).await;
            let times = |host: &str| asked.borrow()[host];
            assert_eq!((times("slow.example"), times("beside.example"), times("other.example")), (1, 5, 5));
            tokio::time::sleep(PATIENCE).await;
            assert_eq!(times("slow.example"), 2, "it is given up and tried again");
            stop.cancel();
        };
        tokio::join!(follow(|| upstreams.to_vec(), lookup, stop.clone()), watch);
    }
}
