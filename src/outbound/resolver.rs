//! Resolves the names of upstreams time and again, so that they may move.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
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
    let lookup = |host: String, port| async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) };
    follow(upstreams, lookup, stop).await;
}

async fn follow<F>(upstreams: impl Fn() -> Vec<Arc<Backends>>, lookup: impl Fn(String, u16) -> F, stop: CancellationToken)
where
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut resolved: Vec<(Arc<Backends>, Instant)> = Vec::new();
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        let now = Instant::now();
        let is_fresh = |backends: &Arc<Backends>| {
            let last = resolved.iter().find(|(known, _)| Arc::ptr_eq(known, backends));
            last.is_some_and(|(_, at)| now.duration_since(*at) < backends.resolve_interval())
        };
        let (fresh, due): (Vec<_>, Vec<_>) = upstreams().into_iter().partition(is_fresh);
        if stop.run_until_cancelled(join_all(due.iter().map(|backends| resolve(backends, &lookup)))).await.is_none() {
            return;
        }
        resolved.retain(|(known, _)| fresh.iter().any(|backends| Arc::ptr_eq(known, backends)));
        resolved.extend(due.into_iter().map(|backends| (backends, now)));
    }
}

async fn resolve<F>(backends: &Backends, lookup: &impl Fn(String, u16) -> F)
where
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let one = async |(index, host, port): (usize, &str, u16)| match tokio::time::timeout(PATIENCE, lookup(host.to_owned(), port))
        .await
    {
        Ok(Ok(addresses)) => {
            if backends.resolved(index, addresses) {
                tracing::info!(host, "the addresses of an upstream have changed");
            }
        }
        Ok(Err(error)) => tracing::warn!(host, %error, "the name of an upstream does not resolve: its former addresses are used"),
        Err(_) => tracing::warn!(host, "the name of an upstream does not resolve in time: its former addresses are used"),
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

    #[tokio::test(start_paused = true)]
    async fn names_are_resolved_at_once_and_then_as_often_as_is_said_and_failures_change_nothing() {
        const INTERVAL: Duration = Duration::from_secs(30);
        let ejection = EjectionRules { failures: 0, pause: Duration::ZERO, slow_start: Duration::ZERO };
        let rules = BackendRules { resolve_interval: INTERVAL, ejection, probing: None };
        let target = |host: &str| Target::tcp(host.to_owned(), 80, None);
        let place = |host| Place { target: target(host), own_host: HeaderValue::from_static("h"), weight: 1 };
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
