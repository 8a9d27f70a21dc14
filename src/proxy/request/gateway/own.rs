//! Requests to the own endpoints. Logins are judged by an upstream first.

use std::sync::Arc;

use http::header::ACCEPT_ENCODING;
use http::request::Parts;
use http::{Method, Response};

use super::forward::{UpstreamCall, exchange};
use super::{Answer, Gateway, LocalPolicy};
use crate::domain::claims::Denial;
use crate::domain::headers::Withheld;
use crate::domain::route::Endpoint;
use crate::domain::stats::Counter;
use crate::proxy::control::{LoginRequest, OwnRequest, UpstreamAnswer};
use crate::proxy::request::context::RequestContext;
use crate::proxy::request::login_answer;
use crate::proxy::request::refusal::Refusal;

impl Gateway {
    /// A call of the gateway's own. Logins are judged by the upstream first.
    pub(super) async fn own(
        &self,
        mut context: RequestContext<'_>,
        local: &LocalPolicy,
        endpoint: Endpoint,
        head: &Parts,
    ) -> Result<Answer, Refusal> {
        context.body.limit(context.policy.own_body_bytes_max, context.policy.own_body_rate_min)?;
        let is_preflight = head.method == Method::OPTIONS;
        match endpoint {
            Endpoint::Login | Endpoint::Register | Endpoint::QuickRegister if !is_preflight => {
                self.login(context, local, endpoint, head).await
            }
            Endpoint::Login
            | Endpoint::Register
            | Endpoint::QuickRegister
            | Endpoint::Refresh
            | Endpoint::Logout
            | Endpoint::Sessions
            | Endpoint::Session(_)
            | Endpoint::Revoke
            | Endpoint::Introspect
            | Endpoint::Jwks
            | Endpoint::Metadata
            | Endpoint::Health
            | Endpoint::Ready => {
                let caller = self.caller(context.policy, head).await;
                let is_expired = endpoint == Endpoint::Logout && caller == Err(Denial::Expired);
                let expired = is_expired.then(|| self.expired(context.policy, head)).flatten();
                let body = context.body.collect().await?;
                let request = OwnRequest { endpoint, head: head.clone(), body, address: context.address, caller, expired };
                Ok(Answer::Whole(self.shared.control.answer(request).await))
            }
        }
    }

    async fn login(
        &self,
        mut context: RequestContext<'_>,
        local: &LocalPolicy,
        endpoint: Endpoint,
        head: &Parts,
    ) -> Result<Answer, Refusal> {
        let body = context.body.collect().await?;
        let request = LoginRequest { endpoint, head: Arc::new(head.clone()), body: body.clone(), address: context.address };
        self.shared.control.admit_login(&request).await.map_err(|reply| Refusal::Reply(Box::new(reply)))?;
        let mut headers = head.headers.clone();
        // A compressed answer could not be read.
        headers.remove(ACCEPT_ENCODING);
        let is_ours = self.recognizer();
        let authorization = Withheld::Tokens(&is_ours);
        let call = UpstreamCall { method: &head.method, headers: &headers, identity: None, authorization, wants_upgrade: false };
        context.body.replace(body);
        let rules = local.policy.login;
        let upstream = local.upstreams.at(rules.upstream);
        let (mut head, body) = exchange(upstream, &mut context, call, rules.timeouts).await?.into_parts();
        context.policy.rewrite.response(&mut head.headers, &context.ids.request);
        if !login_answer::may_grant(&head) {
            self.counters.add(Counter::LoginsRefused, 1);
            return Ok(Answer::Streamed(Response::from_parts(head, body)));
        }
        let body = login_answer::collect(body, rules.answer_bytes_max, &upstream.options().name).await?;
        Ok(Answer::Whole(self.shared.control.complete_login(request, UpstreamAnswer { head, body }).await))
    }
}
