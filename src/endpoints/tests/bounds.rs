//! Calls beyond their bounds, and calls that take too long.

use std::time::Duration;

use futures_util::poll;

use super::*;
use crate::domain::claims::Undecided;
use crate::domain::stats::Counter;
use crate::domain::ticket::TicketTerms;
use crate::sessions::tests::Fault;
use crate::sessions::tests::world::refresh_token;

const COOKIES: &str = "cookies = { enabled = true }\n";
const TIMEOUT: Duration = Duration::from_secs(30);

fn refresh_json(token: &str) -> String {
    format!(r#"{{"refreshToken":"{token}"}}"#)
}

#[track_caller]
fn assert_keeps_the_session(reply: &Reply, code: &str) {
    assert_eq!((reply.status().as_u16(), text(&json(reply), "code")), (503, code));
    assert_eq!((field(reply, "retry-after"), field(reply, "cache-control")), ("1", "no-store"));
    assert_eq!(field(reply, "content-type"), "application/problem+json");
    assert_eq!(cookies_of(reply), [], "a client must not take it for a logout");
}

#[tokio::test]
async fn a_flood_of_one_kind_is_refused_at_once_and_starves_no_other() {
    let gate = Gate::new(&format!("endpoints.calls_max = 1\n{COOKIES}"));
    let pair = gate.world.log_in("ada").await;
    let body = refresh_json(&refresh_token(&pair));
    let principal = gate.world.principal("ada", &pair);
    let terms = TicketTerms { lifetime: TIMEOUT, per_owner_max: 1 };
    let ticket = gate.world.node.sessions.issue_ticket(&principal, "token", "/api", terms).await.unwrap().text;
    let endpoints = gate.endpoints();
    gate.world.store.fail(Fault::Hangs);
    let mut first = std::pin::pin!(gate.post(OwnEndpoint::Refresh, &[JSON], &body));
    assert!(poll!(first.as_mut()).is_pending());
    for endpoint in [OwnEndpoint::Refresh, OwnEndpoint::Logout] {
        assert_keeps_the_session(&gate.post(endpoint, &[JSON], &body).await, "overloaded");
    }
    let form = gate.post(OwnEndpoint::Refresh, &[FORM], "grant_type=refresh_token&refresh_token=x").await;
    assert_eq!((form.status().as_u16(), text(&json(&form), "error")), (503, "temporarily_unavailable"));
    let mut confirmation = std::pin::pin!(gate.confirm(&principal));
    assert!(poll!(confirmation.as_mut()).is_pending(), "it has a place of its own");
    assert_eq!(gate.confirm(&principal).await, Err(Denial::Undecided(Undecided::Overloaded)), "the store is not at fault");
    let mut read = std::pin::pin!(endpoints.read_ticket(ticket.clone(), "/api"));
    assert!(poll!(read.as_mut()).is_pending(), "so have tickets");
    assert_eq!(endpoints.spend_ticket(ticket, "/api").await, Err(Denial::Undecided(Undecided::Overloaded)));
    for endpoint in [OwnEndpoint::Health, OwnEndpoint::Jwks] {
        assert_eq!(gate.call(Method::GET, endpoint, &[], "").await.status(), 200, "{endpoint:?}");
    }
    let refused = gate.log_in(&[], "{}", Response::builder().status(401).body("no").unwrap()).await;
    assert_eq!(refused.status(), 401, "the upstream's own response to a login");
    gate.world.store.fail(None);
    assert_eq!((first.await.status().as_u16(), confirmation.await), (200, Ok(())));
    assert_eq!(gate.post(OwnEndpoint::Refresh, &[JSON], &body).await.status(), 200);
    assert_eq!(read.await.unwrap().unwrap().expose(), "token");
    assert_eq!(gate.world.count(Counter::CallsOverloaded), 5);
}

#[tokio::test(start_paused = true)]
async fn a_logout_that_takes_too_long_is_finished_and_says_that_it_may_be_repeated() {
    let gate = Gate::new(COOKIES);
    let body = refresh_json(&refresh_token(&gate.world.log_in("ada").await));
    gate.world.store.fail(Fault::Hangs);
    let began = tokio::time::Instant::now();
    assert_keeps_the_session(&gate.post(OwnEndpoint::Logout, &[JSON], &body).await, "timed_out");
    assert_eq!(began.elapsed().as_secs(), TIMEOUT.as_secs());
    assert_eq!(gate.world.count(Counter::CallsTimedOut), 1);
    gate.world.store.fail(None);
    while gate.world.count(Counter::RevocationsBySession) == 0 {
        tokio::task::yield_now().await;
    }
    let again = gate.post(OwnEndpoint::Logout, &[JSON], &body).await;
    assert_eq!((again.status().as_u16(), &json(&again)["ended"]), (200, &0.into()), "it was ended by the first");
}

#[tokio::test]
async fn a_refresh_whose_client_goes_away_is_finished() {
    let gate = Gate::new("");
    let body = refresh_json(&refresh_token(&gate.world.log_in("ada").await));
    gate.world.store.fail(Fault::Hangs);
    {
        let mut gone = std::pin::pin!(gate.post(OwnEndpoint::Refresh, &[JSON], &body));
        assert!(poll!(gone.as_mut()).is_pending());
    }
    gate.world.store.fail(None);
    while gate.world.count(Counter::RefreshesRotated) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(gate.post(OwnEndpoint::Refresh, &[JSON], &body).await.status(), 200, "the same successor again");
    assert_eq!(gate.world.count(Counter::RefreshesReissued), 1);
}

#[tokio::test]
async fn a_reload_brings_new_bounds_and_keeps_the_places_when_they_stay() {
    let gate = Gate::new("endpoints.calls_max = 1");
    let body = refresh_json(&refresh_token(&gate.world.log_in("ada").await));
    gate.world.store.fail(Fault::Hangs);
    let mut first = std::pin::pin!(gate.post(OwnEndpoint::Refresh, &[JSON], &body));
    assert!(poll!(first.as_mut()).is_pending());
    gate.reload("endpoints.calls_max = 1\ntokens.lifetime = '5m'");
    assert_keeps_the_session(&gate.post(OwnEndpoint::Refresh, &[JSON], &body).await, "overloaded");
    gate.reload("endpoints.calls_max = 2");
    let mut second = std::pin::pin!(gate.post(OwnEndpoint::Refresh, &[JSON], &body));
    assert!(poll!(second.as_mut()).is_pending());
    gate.world.store.fail(None);
    assert_eq!((first.await.status().as_u16(), second.await.status().as_u16()), (200, 200));
}
