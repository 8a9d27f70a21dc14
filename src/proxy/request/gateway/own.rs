//! Requests to the own endpoints.

use std::sync::Arc;

use http::Response;
use http::header::ACCEPT_ENCODING;
use http::request::Parts;

use super::forward::{UpstreamCall, exchange};
use super::{Gateway, Local, Served};
use crate::domain::claims::{Denial, Undecided};
use crate::domain::headers::Withheld;
use crate::domain::login_kind::LoginKind;
use crate::domain::route::{Endpoint, OwnEndpoint};
use crate::domain::secret::Secret;
use crate::domain::stats::Counter;
use crate::proxy::auth::admission::bearer_token;
use crate::proxy::control::{LoginRequest, OwnRequest, UpstreamResponse};
use crate::proxy::request::context::RequestContext;
use crate::proxy::request::login_response;
use crate::proxy::request::refusal::Refusal;
use crate::proxy::upstream::Unasked;

impl Gateway {
    pub(super) async fn own(
        &self,
        context: &mut RequestContext<'_>,
        local: &Local,
        endpoint: Endpoint,
        head: &Parts,
    ) -> Result<Served, Refusal> {
        context.body.limit(context.policy.own_body_bytes_max, context.policy.own_body_rate_min)?;
        match endpoint {
            Endpoint::Login(kind) => self.login(context, local, kind, head).await,
            Endpoint::Own(endpoint) => self.call(context, local, endpoint, head).await,
        }
    }

    async fn call(
        &self,
        context: &mut RequestContext<'_>,
        local: &Local,
        endpoint: OwnEndpoint,
        head: &Parts,
    ) -> Result<Served, Refusal> {
        let found = if endpoint.is_of_the_caller() {
            self.caller_or_renewed(context, local, head).await
        } else {
            self.caller(local, head).await
        };
        let caller = found.as_ref().map(|found| Arc::clone(found.principal())).map_err(Clone::clone);
        let is_expired = endpoint == OwnEndpoint::Logout && caller == Err(Denial::Expired);
        let expired = is_expired.then(|| self.expired(local, head)).flatten();
        if let Some(principal) = caller.as_ref().ok().or(expired.as_ref()) {
            context.record.note(|line| line.speaks_for(principal));
        }
        let is_for_ticket = endpoint == OwnEndpoint::Ticket && caller.is_ok();
        let renewed = found.as_ref().ok().and_then(|found| found.renewed.as_ref());
        let text = || renewed.map(|renewed| renewed.access_token.clone()).or_else(|| token_text(local, head));
        let token = is_for_ticket.then(text).flatten();
        let body = context.body.collect().await?;
        let request = OwnRequest { endpoint, head: head.clone(), body, address: context.address, caller, expired, token };
        let mut reply = local.view.control.respond(request).await;
        if let Ok(found) = &found
            && !self.hand_out(local, found, reply.headers_mut()).await
            && is_for_ticket
        {
            // Its use would tell that the browser has the token for which it stands.
            return Err(Refusal::Denied(Denial::Undecided(Undecided::TimedOut)));
        }
        Ok(Served::Whole(reply))
    }

    /// The upstream judges the credentials, and what it grants becomes a session.
    async fn login(
        &self,
        context: &mut RequestContext<'_>,
        local: &Local,
        kind: LoginKind,
        head: &Parts,
    ) -> Result<Served, Refusal> {
        let body = context.body.collect().await?;
        let request = LoginRequest { kind, head: Arc::new(head.clone()), body: body.clone(), address: context.address };
        local.view.control.admit_login(&request).map_err(|reply| Refusal::Reply(Box::new(reply)))?;
        let mut headers = head.headers.clone();
        // A compressed answer could not be read.
        headers.remove(ACCEPT_ENCODING);
        let is_ours = local.recognizer();
        let authorization = Withheld::Tokens(&is_ours);
        let call = UpstreamCall {
            method: &head.method,
            headers: &headers,
            identity: None,
            authorization,
            edits: None,
            stripped: None,
            affinity: None,
            wants_upgrade: false,
            last_word: &Unasked,
        };
        context.body.replace(body);
        let (rules, upstream) = (local.policy().login, local.routing.login());
        let (mut head, body) = exchange(upstream, context, call, rules.timeouts).await?.into_parts();
        context.policy.rewrite.response(&mut head.headers, &context.ids.request);
        if !login_response::may_grant(&head) {
            self.kept.counters.add(Counter::LoginsRefused, 1);
            return Ok(Served::Streamed(Response::from_parts(head, body)));
        }
        let body = login_response::collect(body, rules.response_bytes_max, &upstream.options().name).await?;
        Ok(Served::Whole(local.view.control.complete_login(request, UpstreamResponse { head, body }).await))
    }
}

/// The token of the caller, who was found by it.
fn token_text(local: &Local, head: &Parts) -> Option<Secret<String>> {
    let presented = bearer_token(&head.headers, local.policy().cookie_name()).ok()??;
    Some(Secret::new(presented.token.to_owned()))
}
