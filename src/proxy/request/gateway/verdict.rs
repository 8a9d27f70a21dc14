//! What becomes of a request. Every door by which requests come, or questions about them, is told it here.

use std::rc::Rc;

use http::HeaderMap;
use http::request::Parts;

use super::admit::Caller;
use super::route::{fixed, redirected};
use super::{Gateway, Local, sign_in};
use crate::domain::host::Host;
use crate::domain::meters::EndpointName;
use crate::domain::path::CanonicalTarget;
use crate::domain::route::{Asked, Endpoint, Forward, Match, Route};
use crate::domain::routing::{Lead, LeadsTo};
use crate::proxy::client::tunnel::handshake;
use crate::proxy::reply::Reply;
use crate::proxy::request::context::RequestContext;
use crate::proxy::request::refusal::Refusal;
use crate::proxy::upstream::Upstream;

/// What is to be done with a request that is not refused.
pub(super) enum Verdict<'v> {
    /// An own endpoint is called.
    Endpoint(Endpoint),
    /// A browser asks whether a page may call: it is told these fields.
    Preflight(HeaderMap),
    /// An upstream gets it.
    Forward(Forwarded<'v>),
    /// Its route responds.
    Respond(Reply),
}

/// To which upstream a request goes, how, and on whose behalf.
pub(super) struct Forwarded<'v> {
    pub(super) route: &'v Route,
    pub(super) forward: &'v Forward,
    pub(super) upstream: &'v Rc<Upstream>,
    pub(super) caller: Caller,
    /// Where the route changes it.
    pub(super) target: Option<CanonicalTarget<'static>>,
}

impl Gateway {
    /// Judges a request by its head.
    pub(super) async fn decide<'v>(
        &self,
        context: &RequestContext<'_>,
        local: &'v Local,
        head: &Parts,
    ) -> Result<Verdict<'v>, Refusal> {
        let record = context.record;
        let asked = Asked {
            method: &head.method,
            host: context.host.as_ref().map(Host::name),
            told_host: context.origin.told_host().map(Host::name),
            target: &context.target,
            headers: &head.headers,
        };
        if let Some(fields) = context.policy.preflight(head) {
            record.enter(local.rows.endpoint(EndpointName::Preflight));
            return Ok(Verdict::Preflight(fields));
        }
        if let Some(query) = local.routing.mended_query(&asked) {
            return sign_in::without_detour(&query, context, head).map(Verdict::Respond);
        }
        match local.routing.find(&asked) {
            // By HTTP/2 a response of ours with 200 would be consent.
            Match::Endpoint(_) if handshake::is_by_http2(head) => Err(Refusal::NoRoute),
            Match::Endpoint(endpoint) => {
                record.enter(local.rows.endpoint(endpoint.into()));
                Ok(Verdict::Endpoint(endpoint))
            }
            // Of a page that may not.
            Match::Preflight => {
                record.enter(local.rows.endpoint(EndpointName::Preflight));
                Ok(Verdict::Preflight(HeaderMap::new()))
            }
            Match::Route(Lead { route, number, to }) => {
                record.enter(local.rows.route(number));
                let passed = self.pass(context, local, route, head).await;
                let caller = passed.map_err(|refusal| sign_in::or_sign_in(refusal, context, route, head))?;
                match to {
                    LeadsTo::Upstream(forward, upstream) => {
                        let target = route.target(&forward.prefix, &context.target)?;
                        Ok(Verdict::Forward(Forwarded { route, forward, upstream, caller, target }))
                    }
                    LeadsTo::Redirect(redirect) => {
                        let reply = redirected(context, route, redirect)?;
                        Ok(self.respond_to(local, &caller, reply).await)
                    }
                    LeadsTo::Response(response) => Ok(self.respond_to(local, &caller, fixed(response)).await),
                }
            }
            Match::MethodNotAllowed { allow } => Err(Refusal::MethodNotAllowed(allow)),
            Match::Ambiguous => Err(Refusal::Malformed("The path can be read in more than one way.")),
            Match::AmbiguousHost => Err(Refusal::Malformed("The host and X-Forwarded-Host have different rules.")),
            Match::NotFound => Err(Refusal::NoRoute),
        }
    }

    async fn respond_to(&self, local: &Local, caller: &Caller, mut reply: Reply) -> Verdict<'static> {
        self.hand_out_to(local, caller, reply.headers_mut()).await;
        Verdict::Respond(reply)
    }
}
