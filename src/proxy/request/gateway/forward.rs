//! Requests that an upstream answers.

use std::cell::Cell;
use std::fmt::Display;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::header::TE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, response};

use super::by_ticket::UnspentTicket;
use super::verdict::Forwarded;
use super::{Gateway, Local, Served};
use crate::domain::affinity::AffinityKey;
use crate::domain::claims::Denial;
use crate::domain::field_list;
use crate::domain::headers::{AuthorizationRule, FieldEdits, FieldSink, PreparedFields, RewriteContext, RewriteRules, Withheld};
use crate::domain::host::Host;
use crate::domain::stats::Counter;
use crate::proxy::client::tunnel::{TunnelTerms, Upgrade, Watched, handshake};
use crate::proxy::reply::Reply;
use crate::proxy::request::context::RequestContext;
use crate::proxy::request::grpc;
use crate::proxy::request::refusal::Refusal;
use crate::proxy::upstream::{ExchangeTerms, ExchangeTimeouts, LastWord, RequestFields, Upstream, UpstreamBody, UpstreamRequest};

/// Tokens in the Authorization fields of one request that are looked at where none of them is judged.
const TOKENS_LOOKED_AT_MAX: u32 = 8;

impl Gateway {
    /// An admitted request for an upstream: rewritten, sent; the response streams back.
    pub(super) async fn forward(
        &self,
        context: &mut RequestContext<'_>,
        local: &Local,
        Forwarded { route, forward, upstream, mut caller, target }: Forwarded<'_>,
        head: &Parts,
    ) -> Result<Served, Refusal> {
        if let Some(target) = target {
            context.target = target;
        }
        context.body.limit(forward.body_bytes_max, forward.body_rate_min)?;
        if let Some(edits) = &forward.request_fields {
            context.body.rewrite_trailers(context.policy.rewrite.trailers(Some(edits)));
        }
        context.exchange.watch().speak_for(caller.bond(route));
        let wants_upgrade = handshake::wants_websocket(head);
        let ticket = Cell::new(caller.ticket.take());
        let admitted = caller.admitted();
        let identity = admitted.map(|admitted| &admitted.identity);
        let affinity = upstream.options().balance.key(admitted.map(|admitted| &*admitted.token.principal));
        let is_ours = local.recognizer();
        let authorization = match forward.authorization {
            AuthorizationRule::Pass => Withheld::None,
            AuthorizationRule::Remove => Withheld::All,
            AuthorizationRule::RemoveOurs if caller.is_in_authorization() => Withheld::All,
            AuthorizationRule::RemoveOurs => Withheld::Tokens(&is_ours),
        };
        let spending = Spending { gateway: self, local, ticket };
        let call = UpstreamCall {
            method: &head.method,
            headers: &head.headers,
            identity,
            authorization,
            edits: forward.request_fields.as_deref(),
            stripped: forward.prefix.stripped(),
            affinity,
            wants_upgrade,
            last_word: &spending,
        };
        let response = grpc::timeout(head).map_or(forward.response_timeout, |asked| asked.min(forward.response_timeout));
        let timeouts = ExchangeTimeouts { response, idle: forward.idle_timeout };
        let mut response = exchange(upstream, context, call, timeouts).await?;
        self.kept.counters.add(Counter::RequestsForwarded, 1);
        context.policy.rewrite.response(response.headers_mut(), &context.ids.request);
        context.exchange.watch().response_begins(|| self.shared.clock.now(), forward.response_timeout);
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let (mut response, body) = response.into_parts();
            self.hand_out_to(local, &caller, &mut response.headers).await;
            let renewal = forward.websocket_renewal.clone();
            // Extensions were not asked for where the gateway reads messages.
            let is_readable = renewal.is_none() || !handshake::is_extended(&response.headers);
            let is_consent = is_readable && handshake::is_consent(head, &response.headers);
            let switched = body.into_stream().filter(|_| is_consent).ok_or(Refusal::UnaskedUpgrade)?;
            let upstream_write_timeout = upstream.options().write_timeout;
            let terms = TunnelTerms { idle_timeout: forward.idle_timeout, upstream_write_timeout, renewal };
            let open = context.record.meter().opens(context.exchange.tunnel_kind());
            // With what was seen of newer tokens while the consent was awaited.
            let bond = context.exchange.watch().take_bond();
            let upgrade = Upgrade::new(switched, bond, terms, Watched { open, line: context.record.line_of_tunnel() });
            return Ok(switch(context, upgrade, response));
        }
        if handshake::is_mistaken_for_consent(head, response.status()) {
            return Err(Refusal::IgnoredUpgrade);
        }
        if let Some(edits) = &forward.response_fields {
            edits.apply(response.headers_mut());
        }
        self.hand_out_to(local, &caller, response.headers_mut()).await;
        Ok(Served::Streamed(response))
    }
}

/// A ticket is spent when nothing else keeps the request from being sent.
struct Spending<'a> {
    gateway: &'a Gateway,
    local: &'a Local,
    ticket: Cell<Option<UnspentTicket>>,
}

impl LastWord for Spending<'_> {
    fn ask(&self) -> Option<LocalBoxFuture<'_, Result<(), Denial>>> {
        self.ticket.take().map(|ticket| self.gateway.spend(self.local, ticket).boxed_local())
    }
}

impl Local {
    /// Tells for one request which of the tokens in it are of issuers accepted here. To look at one may cost a signature: beyond so
    /// many as nobody needs, all are taken for such.
    pub(super) fn recognizer(&self) -> impl Fn(&str) -> bool {
        let left = Cell::new(TOKENS_LOOKED_AT_MAX);
        move |token| {
            let may_look = left.get() > 0;
            left.set(left.get().saturating_sub(1));
            !may_look || self.view.verifier.load().names_issuer(token)
        }
    }
}

/// What a request is for its upstream, beside what the context says.
pub(super) struct UpstreamCall<'a> {
    pub(super) method: &'a Method,
    /// As they came.
    pub(super) headers: &'a HeaderMap,
    /// Who calls.
    pub(super) identity: Option<&'a PreparedFields>,
    pub(super) authorization: Withheld<'a>,
    /// What the route changes.
    pub(super) edits: Option<&'a FieldEdits>,
    /// What the route takes from the path.
    pub(super) stripped: Option<&'a HeaderValue>,
    /// Which requests of the same caller it goes with.
    pub(super) affinity: Option<AffinityKey>,
    pub(super) wants_upgrade: bool,
    pub(super) last_word: &'a dyn LastWord,
}

/// A client's fields, as they are rewritten for the upstream.
struct Rewritten<'a> {
    rules: &'a RewriteRules,
    headers: &'a HeaderMap,
    context: RewriteContext<'a>,
    /// Whether fields behind the body of the response reach the client.
    carries_trailers: bool,
}

impl RequestFields for Rewritten<'_> {
    fn write(&self, out: &mut impl FieldSink) {
        self.rules.write_request(self.headers, &self.context, out);
    }

    fn wants_trailers(&self) -> bool {
        self.carries_trailers && field_list::has(self.headers, &TE, "trailers")
    }
}

/// Sends the request, and waits for the head of the response.
pub(super) async fn exchange(
    upstream: &Rc<Upstream>,
    context: &mut RequestContext<'_>,
    call: UpstreamCall<'_>,
    timeouts: ExchangeTimeouts,
) -> Result<Response<UpstreamBody>, Refusal> {
    let body = context.body.take();
    let host = context.host.as_ref().map(Host::field);
    let rewriting = RewriteContext {
        origin: &context.origin,
        host,
        identity: call.identity,
        certificate: context.exchange.client().certificate.as_ref().map(|shown| &shown.fields),
        request_id: &context.ids.request,
        authorization: call.authorization,
        edits: call.edits,
        stripped: call.stripped,
    };
    let request = UpstreamRequest {
        method: call.method,
        target: context.target.path_and_query(),
        host,
        fields: Rewritten {
            rules: &context.policy.rewrite,
            headers: call.headers,
            context: rewriting,
            carries_trailers: context.exchange.carries_trailers(),
        },
        affinity: call.affinity,
        opens_websocket: call.wants_upgrade,
    };
    let pass_interim = |status, mut headers| {
        context.policy.rewrite.response(&mut headers, &context.ids.request);
        context.exchange.pass_interim(status, &headers);
    };
    context.record.asks_upstream();
    let asks = |target: &dyn Display| context.record.note(|line| line.asks(&upstream.options().name, target));
    let watch = context.exchange.watch();
    let terms = ExchangeTerms { timeouts, watch, interim: &pass_interim, last_word: call.last_word, asks: &asks };
    let outcome = upstream.exchange(&request, body, terms).await;
    context.record.has_asked();
    outcome.map_err(|end| Refusal::of_end(end, &upstream.options().name))
}

/// Turns the connection into a tunnel.
fn switch(context: &RequestContext<'_>, upgrade: Upgrade, response: response::Parts) -> Served {
    let mut consent = Reply::new(Bytes::new());
    *consent.status_mut() = response.status;
    *consent.headers_mut() = response.headers;
    context.exchange.switch_to(upgrade, &mut consent);
    Served::Switched(consent)
}
