//! What becomes of a request that a route matches.

use bytes::Bytes;
use http::header::LOCATION;
use http::request::Parts;

use super::admit::Caller;
use super::{Gateway, Local, Served};
use crate::domain::meters::Limit;
use crate::domain::network::network;
use crate::domain::route::{FixedResponse, LimitBy, Redirect, Route};
use crate::domain::stats::Counter;
use crate::proxy::client::tunnel::handshake;
use crate::proxy::reply::Reply;
use crate::proxy::request::context::RequestContext;
use crate::proxy::request::refusal::Refusal;
use crate::proxy::route_limits::LimitKey;

impl Gateway {
    /// Lets the caller through where the route does.
    pub(super) async fn pass(
        &self,
        context: &RequestContext<'_>,
        local: &Local,
        route: &Route,
        head: &Parts,
    ) -> Result<Caller, Refusal> {
        if !route.addresses.admits(context.address) {
            return Err(Refusal::AddressRefused);
        }
        // Before a token costs anything.
        limit_by_address(context, route)?;
        let caller = self.admit(context, local, route, head).await?;
        if let Some(admitted) = caller.admitted() {
            context.record.note(|line| line.speaks_for(&admitted.token.principal));
        }
        limit_by_subject(context, route, &caller)?;
        Ok(caller)
    }

    /// The reply that a route gives instead of an upstream.
    pub(super) fn of_route(&self, head: &Parts, reply: Reply) -> Result<Served, Refusal> {
        if handshake::is_mistaken_for_consent(head, reply.status()) {
            return Err(Refusal::NoRoute);
        }
        self.kept.counters.add(Counter::RequestsAnsweredByRoute, 1);
        Ok(Served::OfRoute(reply))
    }
}

fn limit_by_address(context: &RequestContext<'_>, route: &Route) -> Result<(), Refusal> {
    match route.limit.map(|limit| limit.by) {
        Some(LimitBy::Address) => limit(context, route, None, Limit::RouteByAddress),
        Some(LimitBy::Subject) | None => Ok(()),
    }
}

fn limit_by_subject(context: &RequestContext<'_>, route: &Route, caller: &Caller) -> Result<(), Refusal> {
    match route.limit.map(|limit| limit.by) {
        Some(LimitBy::Subject) => limit(context, route, Some(caller), Limit::RouteBySubject),
        Some(LimitBy::Address) | None => Ok(()),
    }
}

/// Counts for the caller's subject, or for the address where none is known.
fn limit(context: &RequestContext<'_>, route: &Route, caller: Option<&Caller>, limit: Limit) -> Result<(), Refusal> {
    let policy = context.policy;
    let admitted = caller.and_then(Caller::admitted);
    let key = match admitted {
        Some(admitted) => LimitKey::Subject(&admitted.token.principal.subject),
        None => LimitKey::Network(network(context.address, policy.ipv6_prefix)),
    };
    policy.limits.check(&route.name, key).map_err(|wait| {
        context.record.meter().set().limited.of(limit).add(1);
        Refusal::RateLimited(wait)
    })
}

/// To another place.
pub(super) fn redirected(context: &RequestContext<'_>, route: &Route, redirect: &Redirect) -> Result<Reply, Refusal> {
    let mut reply = Reply::new(Bytes::new());
    *reply.status_mut() = redirect.status;
    reply.headers_mut().insert(LOCATION, route.location(redirect, &context.target)?);
    Ok(reply)
}

/// The same for everybody.
pub(super) fn fixed(response: &FixedResponse) -> Reply {
    let mut reply = Reply::new(response.body.clone());
    *reply.status_mut() = response.status;
    *reply.headers_mut() = response.fields.clone();
    reply
}
