//! Refreshes that a browser did not ask for itself.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::Method;

use super::{Gate, cookies_of, head};
use crate::domain::claims::{Denial, Undecided};
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::in_flight::Due;
use crate::domain::secret::Secret;
use crate::domain::stats::Counter;
use crate::domain::time::Clock as _;
use crate::proxy::control::{ControlPlane as _, Renewal, Renewed};
use crate::sessions::tests::Fault;
use crate::sessions::tests::world::{MINUTE, SECOND};

const ON: &str = "cookies = { enabled = true, refresh_in_flight = true }";
const AGENT: &str = "Firefox";

/// A third of the leeway of 30 s.
const WHILE: Duration = Duration::from_secs(10);

fn renewal(token: &str, agent: &str, due: Due) -> Renewal {
    Renewal {
        head: head(Method::GET, &[("user-agent", agent)]),
        address: "192.0.2.1".parse().unwrap(),
        refresh_token: Secret::new(token.to_owned()),
        due,
    }
}

async fn renew_as(gate: &Gate, token: &str, agent: &str) -> Result<Arc<Renewed>, Denial> {
    gate.endpoints().renew(renewal(token, agent, Due::Now)).await
}

/// For a request whose access token is good for some seconds yet.
async fn renew_soon(gate: &Gate, token: &str) -> Result<Arc<Renewed>, Denial> {
    gate.endpoints().renew(renewal(token, AGENT, Due::Soon)).await
}

/// Lets the others work until it holds.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

async fn renew(gate: &Gate, token: &str) -> Result<Arc<Renewed>, Denial> {
    renew_as(gate, token, AGENT).await
}

async fn log_in(gate: &Gate) -> String {
    gate.world.log_in("42").await.refresh_token.unwrap().expose().clone()
}

/// The values of the cookies that are set, by name.
fn set(renewed: &Renewed) -> Vec<(String, String)> {
    let mut reply = crate::proxy::reply::Reply::default();
    for field in renewed.cookies.fields() {
        reply.headers_mut().append("set-cookie", field.clone());
    }
    let pairs =
        cookies_of(&reply).into_iter().filter_map(|(pair, _)| pair.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())));
    pairs.collect()
}

#[tokio::test]
async fn fifty_at_once_are_one_rotation_and_one_call_of_the_store() {
    let gate = Gate::new(&format!("{ON}\nlimits.refresh.per_account = '2/1m'\nlimits.refresh.per_address = '2/1m'"));
    let token = log_in(&gate).await;
    let calls = gate.world.store.calls();
    let all = join_all((0..50).map(|_| renew(&gate, &token))).await;
    let first = all[0].as_ref().unwrap();
    assert!(all.iter().all(|one| Arc::ptr_eq(one.as_ref().unwrap(), first)));
    assert_eq!((gate.world.count(Counter::RefreshesRotated), gate.world.count(Counter::RefreshesReissued)), (1, 0));
    assert_eq!(gate.world.store.calls(), calls + 2, "the record is read, and written");
    let names: Vec<String> = set(first).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["__Host-access", "__Host-refresh"]);
    assert_eq!(first.access_token.expose(), &set(first)[0].1);
}

#[tokio::test]
async fn whoever_comes_later_with_the_same_cookie_gets_the_same_and_whoever_has_the_next_keeps_it() {
    let gate = Gate::new(ON);
    let token = log_in(&gate).await;
    let first = renew(&gate, &token).await.unwrap();
    let calls = gate.world.store.calls();
    gate.world.clock.advance(9 * SECOND);
    assert!(Arc::ptr_eq(&renew(&gate, &token).await.unwrap(), &first), "a lost response costs nothing");
    assert_eq!(gate.world.store.calls(), calls);
    gate.world.clock.advance(SECOND);
    let again = renew(&gate, &token).await.unwrap();
    assert!(gate.world.store.calls() > calls && !Arc::ptr_eq(&again, &first));
    assert_eq!(set(&again)[1], set(&first)[1], "the same successor");
    assert_eq!(again.kept_until, gate.world.clock.monotonic() + WHILE);
    let successor = set(&first)[1].1.clone();
    let names: Vec<String> = set(&renew(&gate, &successor).await.unwrap()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["__Host-access"], "within the leeway it stays the same, and is not set again");
}

#[tokio::test]
async fn a_token_that_soon_expires_is_given_to_nobody_else_however_long_the_leeway() {
    let gate = Gate::new(&format!("{ON}\ntokens.lifetime = '1m'\nrefresh.leeway = '10m'"));
    let token = log_in(&gate).await;
    let first = renew(&gate, &token).await.unwrap();
    gate.world.clock.advance(29 * SECOND);
    assert!(Arc::ptr_eq(&renew(&gate, &token).await.unwrap(), &first));
    gate.world.clock.advance(SECOND);
    let next = renew(&gate, &token).await.unwrap();
    assert_ne!(next.access_token.expose(), first.access_token.expose());
    assert_eq!(set(&next)[1], set(&first)[1], "the same successor");
    assert!(next.kept_until > gate.world.clock.monotonic() + MINUTE, "the browser has no newer ones");
}

#[tokio::test]
async fn another_client_has_a_call_of_its_own() {
    let gate = Gate::new(ON);
    let token = log_in(&gate).await;
    renew(&gate, &token).await.unwrap();
    renew_as(&gate, &token, "Thief/1.0").await.unwrap();
    assert_eq!(gate.world.count(Counter::ReissuesToAnotherClient), 1, "and the audit hears of it");
}

#[tokio::test]
async fn made_up_cookies_cost_no_call_of_the_store_and_no_place_in_a_limit() {
    let gate = Gate::new(&format!("{ON}\nlimits.refresh.per_address = '1/1m'"));
    let token = log_in(&gate).await;
    let calls = gate.world.store.calls();
    for junk in ["x", "tgr_", "tgr_AAAA", "null", &format!("{token}x")] {
        assert_eq!(renew(&gate, junk).await.unwrap_err(), Denial::SessionOver, "{junk}");
    }
    assert_eq!(gate.world.store.calls(), calls);
    assert!(renew(&gate, &token).await.is_ok());
}

#[tokio::test]
async fn what_is_over_is_remembered_as_that() {
    let gate = Gate::new(ON);
    let pair = gate.world.log_in("42").await;
    let token = pair.refresh_token.as_ref().unwrap().expose().clone();
    gate.world.node.sessions.end(&crate::sessions::tests::subject("42"), pair.session).await.unwrap();
    assert_eq!(renew(&gate, &token).await.unwrap_err(), Denial::SessionOver);
    let calls = gate.world.store.calls();
    gate.world.clock.advance(59 * SECOND);
    assert_eq!(renew(&gate, &token).await.unwrap_err(), Denial::SessionOver);
    assert_eq!(gate.world.store.calls(), calls, "a browser that keeps asking does not keep the store busy");
}

#[tokio::test]
async fn trouble_of_ours_ends_no_session_and_is_asked_about_once_in_a_second() {
    let gate = Gate::new(ON);
    let token = log_in(&gate).await;
    gate.world.store.fail(Fault::Refuses);
    assert_eq!(renew(&gate, &token).await.unwrap_err(), Denial::StoreUnavailable);
    let calls = gate.world.store.calls();
    assert!(join_all((0..50).map(|_| renew(&gate, &token))).await.iter().all(Result::is_err));
    assert_eq!(gate.world.store.calls(), calls);
    gate.world.store.fail(None);
    gate.world.clock.advance(SECOND);
    assert!(renew(&gate, &token).await.is_ok());
}

#[tokio::test]
async fn trouble_that_took_long_is_remembered_from_its_end_whatever_it_was() {
    let panicked = Denial::Undecided(Undecided::Panicked);
    for (fault, denial) in [
        (Fault::Refuses, Denial::StoreUnavailable),
        (Fault::Full, Denial::StoreUnavailable),
        (Fault::LosesResponses, Denial::StoreUnavailable),
        (Fault::Panics, panicked),
    ] {
        let gate = Gate::new(ON);
        let token = log_in(&gate).await;
        let before = gate.world.store.calls();
        gate.world.store.fail(Fault::Hangs);
        let mut slow = std::pin::pin!(renew(&gate, &token));
        assert!(futures_util::poll!(slow.as_mut()).is_pending());
        until(|| gate.world.store.calls() > before).await;
        gate.world.clock.advance(2 * SECOND);
        gate.world.store.fail(fault);
        assert_eq!(slow.await.unwrap_err(), denial, "{fault:?}");
        let calls = gate.world.store.calls();
        for result in
            join_all((0..10).flat_map(|_| [renew(&gate, &token).boxed_local(), renew_soon(&gate, &token).boxed_local()])).await
        {
            assert_eq!(result.unwrap_err(), denial, "{fault:?}");
        }
        assert_eq!(gate.world.store.calls(), calls, "{fault:?}");
        gate.world.store.fail(None);
        gate.world.clock.advance(SECOND);
        assert!(renew(&gate, &token).await.is_ok(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_can_do_without_waits_a_moment_for_a_slow_call_once_and_gets_what_came_of_it_later() {
    let gate = Gate::new(ON);
    let token = log_in(&gate).await;
    gate.world.store.fail(Fault::Hangs);
    let waited = async || {
        let began = tokio::time::Instant::now();
        assert_eq!(renew_soon(&gate, &token).await.unwrap_err(), Denial::Undecided(Undecided::TimedOut));
        began.elapsed()
    };
    let moment = Duration::from_millis(250);
    assert!((moment..2 * moment).contains(&waited().await));
    let calls = gate.world.store.calls();
    gate.world.clock.advance(moment);
    for _ in 0..10 {
        assert!(waited().await < moment / 10, "the page has waited for it already");
    }
    assert_eq!((gate.world.store.calls(), gate.world.count(Counter::CallsTimedOut)), (calls, 0), "nobody was refused");
    gate.world.store.fail(None);
    until(|| gate.world.count(Counter::RefreshesRotated) == 1).await;
    until(|| gate.endpoints().inner.renewals.are_done()).await;
    assert!(renew_soon(&gate, &token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_cannot_do_without_waits_as_long_as_for_any_call_and_meets_it_again() {
    let gate = Gate::new(ON);
    let token = log_in(&gate).await;
    gate.world.store.fail(Fault::Hangs);
    let began = tokio::time::Instant::now();
    assert_eq!(renew(&gate, &token).await.unwrap_err(), Denial::Undecided(Undecided::TimedOut));
    assert_eq!((began.elapsed().as_secs(), gate.world.count(Counter::CallsTimedOut)), (30, 1));
    let calls = gate.world.store.calls();
    let mut again = std::pin::pin!(renew(&gate, &token));
    assert!(futures_util::poll!(again.as_mut()).is_pending());
    gate.world.store.fail(None);
    assert!(again.await.is_ok());
    assert_eq!(gate.world.store.calls(), calls + 1, "the call that was begun is finished: it reads, and writes");
}

#[tokio::test]
async fn however_many_wait_for_a_call_it_takes_one_place() {
    let gate = Gate::new(&format!("{ON}\nendpoints.calls_max = 2"));
    let [one, other, third] = [log_in(&gate).await, log_in(&gate).await, log_in(&gate).await];
    gate.world.store.fail(Fault::Hangs);
    let mut waiting: Vec<_> = (0..50).map(|_| Box::pin(renew(&gate, &one))).collect();
    waiting.push(Box::pin(renew(&gate, &other)));
    for call in &mut waiting {
        assert!(futures_util::poll!(call.as_mut()).is_pending());
    }
    assert_eq!(renew(&gate, &third).await.unwrap_err(), Denial::Undecided(Undecided::Overloaded));
    // Whoever goes away ends nothing.
    waiting.truncate(10);
    gate.world.store.fail(None);
    assert!(join_all(waiting).await.iter().all(Result::is_ok));
    until(|| gate.world.count(Counter::RefreshesRotated) == 2).await;
    gate.world.clock.advance(SECOND);
    assert!(renew(&gate, &third).await.is_ok());
}

#[tokio::test]
async fn results_that_count_no_more_are_forgotten_with_their_tokens() {
    let gate = Gate::new(ON);
    for _ in 0..20 {
        renew(&gate, &log_in(&gate).await).await.unwrap();
    }
    let endpoints = gate.endpoints();
    let kept = || endpoints.inner.renewals.count();
    assert_eq!(kept(), 20);
    gate.world.clock.advance(WHILE);
    renew(&gate, &log_in(&gate).await).await.unwrap();
    until(|| kept() == 1).await;
}

#[tokio::test]
async fn the_limits_are_those_of_refreshes() {
    let gate = Gate::new(&format!("{ON}\nlimits.refresh.per_account = '2/1m'"));
    let token = log_in(&gate).await;
    for agent in ["a", "b"] {
        renew_as(&gate, &token, agent).await.unwrap();
    }
    assert!(matches!(renew_as(&gate, &token, "c").await.unwrap_err(), Denial::RefreshLimited(_)));
}

#[tokio::test]
async fn a_legacy_token_is_exchanged_for_a_page_that_asks_and_not_in_flight() {
    let gate = Gate::new(ON);
    gate.world.accept_legacy_tokens(ExchangeRule::Once, gate.world.now().saturating_add(60 * MINUTE));
    let legacy = gate.world.legacy_token("42", 10 * MINUTE);
    let calls = gate.world.store.calls();
    assert_eq!(renew(&gate, &legacy).await.unwrap_err(), Denial::NoToken);
    assert_eq!(gate.world.store.calls(), calls);
}
