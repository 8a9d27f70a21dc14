//! Questions of other proxies: whether a request that came to them may pass, and on whose behalf.
//!
//! The answer is the verdict on the request in question, as it would be at the gateway's own door. Yes is 200 alone, or its like in a
//! call of gRPC: whatever the gateway would have answered itself is no.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Body as _;

use super::admit::Caller;
use super::verdict::{Forwarded, Verdict};
use super::{Gateway, Local, told, whole};
use crate::domain::claims::Denial;
use crate::domain::cookies::{self, NewCookies};
use crate::domain::headers::X_REQUEST_ID;
use crate::domain::headers::trace::RequestIdFrom;
use crate::domain::meters::{EndpointName, Outcome};
use crate::domain::question::Dialect;
use crate::domain::stats::Counter;
use crate::domain::ticket_parameter::TicketsSent;
use crate::proxy::client::tunnel::handshake;
use crate::proxy::control::Renewed;
use crate::proxy::incoming::Incoming;
use crate::proxy::reply::Reply;
use crate::proxy::request::body::GatewayBody;
use crate::proxy::request::context::{Ids, IncomingBody, RequestContext, check_framing};
use crate::proxy::request::ext_authz;
use crate::proxy::request::record::Record;
use crate::proxy::request::refusal::Refusal;

/// For how many seconds the caller's token counts yet; empty where nobody is known.
const X_AUTH_EXPIRES_IN: HeaderName = HeaderName::from_static("x-auth-expires-in");

/// The cookies that the client is to get, one a field: many proxies read only one field of a name.
const X_AUTH_SET_COOKIE_ACCESS: HeaderName = HeaderName::from_static("x-auth-set-cookie-access");
const X_AUTH_SET_COOKIE_REFRESH: HeaderName = HeaderName::from_static("x-auth-set-cookie-refresh");

/// What comes of a question.
enum Answer {
    Yes {
        /// Every field that tells who calls, and the cookies of others.
        identity: HeaderMap,
        /// In seconds.
        life: Option<u64>,
        /// What the response to the client is to bring it.
        cookies: Option<Arc<Renewed>>,
    },
    /// What the client is to be told.
    No(Reply),
}

impl Gateway {
    /// Answers one question, whatever happens.
    pub(super) async fn serve_question(&self, request: Request<Incoming>, record: Record) -> Response<GatewayBody> {
        let (mut head, body) = request.into_parts();
        let local = Rc::clone(&self.local.borrow());
        record.enter(local.rows.endpoint(EndpointName::Decision));
        let policy = local.policy();
        let believed = policy.request_id_from != RequestIdFrom::Nobody;
        let ids = Ids::of(&head, believed, self.entropy.borrow_mut().draw());
        let is_call = policy.questions.takes_calls() && ext_authz::is_call(&head);
        record.note(|line| line.begins(&ids.request, &head));
        let has_body = !body.is_end_stream();
        let body = IncomingBody::of(body, record.exchange(), policy);
        let answering = self.answer(&local, &ids, &mut head, (body, is_call), &record);
        let mut answer = match AssertUnwindSafe(answering).catch_unwind().await.unwrap_or(Err(Refusal::Panicked)) {
            Ok(answer) => {
                record.ends(Outcome::Answered);
                answer
            }
            Err(refusal) => {
                self.note(&refusal, &head, &ids, record.exchange().client());
                record.ends(refusal.outcome());
                record.note(|line| line.is_refused(&head));
                Answer::No(told(refusal, policy, &head, |refusal| refusal.into_decision(&policy.problem_types)))
            }
        };
        if let Answer::No(reply) = &mut answer {
            record.note(|line| line.is_told(reply.extensions().get().copied()));
            policy.share(reply.headers_mut(), &head);
        }
        if is_call {
            return answer.into_call(&ids, record);
        }
        let mut reply = answer.into_reply();
        if has_body {
            // Nobody reads it.
            record.exchange().reads_no_more(reply.headers_mut());
        }
        record.responds(reply.status(), record.outcome());
        whole(reply, &ids, record)
    }

    /// Makes `head` that of the request in question, and judges it. The body counts in a call of gRPC.
    async fn answer(
        &self,
        local: &Local,
        ids: &Ids,
        head: &mut Parts,
        (mut body, is_call): (IncomingBody, bool),
        record: &Record,
    ) -> Result<Answer, Refusal> {
        let (policy, exchange) = (local.policy(), record.exchange());
        check_framing(exchange, head, body.length())?;
        let question = if is_call {
            body.limit(ext_authz::bytes_max(policy.client.header_bytes_max), policy.own_body_rate_min)?;
            ext_authz::read(&body.collect().await?, head, policy.client.header_count_max)
        } else {
            policy.questions.read(head)
        };
        let question = question.map_err(Refusal::Malformed)?;
        let dialect = question.dialect;
        question.put_into(head)?;
        handshake::restore(&mut head.headers);
        if policy.rewrite.misspells_identity(&head.headers) {
            return Err(Refusal::Malformed("A field is spelt almost as one that tells who calls."));
        }
        record.note(|line| line.sees(head));
        let context = RequestContext::in_question(policy, record, ids, head)?;
        match self.decide(&context, local, head).await? {
            Verdict::Forward(Forwarded { mut caller, .. }) => {
                if caller.authenticated.is_none() && !matches!(context.tickets, TicketsSent::None) {
                    return Err(Refusal::Denied(Denial::TicketMisused(
                        "Nothing here asks for a ticket, which would go on to the API.",
                    )));
                }
                // The proxy sends the request from here on.
                if let Some(ticket) = caller.ticket.take() {
                    self.spend(local, ticket).await?;
                }
                self.kept.counters.add(Counter::DecisionsAllowed, 1);
                Ok(self.yes(local, head, &caller, dialect).await)
            }
            // The proxy would take it for yes, and pass on what no upstream is to see.
            Verdict::Respond(reply) if reply.status().is_success() => Err(Refusal::OwnToAnswer),
            Verdict::Respond(reply) => {
                self.kept.counters.add(Counter::RequestsAnsweredByRoute, 1);
                Ok(Answer::No(reply))
            }
            Verdict::Endpoint(_) | Verdict::Preflight(_) => Err(Refusal::OwnToAnswer),
        }
    }

    async fn yes(&self, local: &Local, head: &Parts, caller: &Caller, dialect: Dialect) -> Answer {
        let admitted = caller.admitted();
        let mut identity = local.policy().rewrite.identity_answer(admitted.map(|admitted| &admitted.identity));
        let own = local.policy().access_cookie.as_ref().map_or(&[][..], |cookie| cookie.own.names());
        // As the question has them, they need not be as they came: a proxy may ask in texts alone.
        if dialect.replaces_what_is_missing() || cookies::are_among(&head.headers, own) {
            identity.insert(COOKIE, cookies_of_others(&head.headers, own));
        }
        let life = admitted.map(|admitted| admitted.token.principal.expires_at.since(self.shared.clock.now()).as_secs());
        let cookies = match caller.authenticated.as_ref().and_then(|caller| Some((caller, caller.renewed.as_ref()?))) {
            // Boxed: once in the life of a token.
            Some((caller, renewed)) => {
                let may = Box::pin(self.may_hand_out(local, caller.principal(), renewed)).await;
                may.then(|| Arc::clone(renewed))
            }
            None => None,
        };
        Answer::Yes { identity, life, cookies }
    }
}

/// What is left for the API of the cookies that came along; empty where nothing is.
fn cookies_of_others(headers: &HeaderMap, own: &[String]) -> HeaderValue {
    let mut others = Vec::new();
    cookies::write_others(headers, own, &mut others);
    HeaderValue::from_bytes(&others).unwrap_or(HeaderValue::from_static(""))
}

impl Answer {
    fn into_reply(self) -> Reply {
        match self {
            Self::No(reply) => reply,
            Self::Yes { identity, life, cookies } => {
                let mut reply = Reply::default();
                let fields = reply.headers_mut();
                *fields = identity;
                let life = life.map_or(HeaderValue::from_static(""), HeaderValue::from);
                fields.entry(X_AUTH_EXPIRES_IN).or_insert(life);
                if let Some(renewed) = cookies {
                    let NewCookies { access, refresh, .. } = &renewed.cookies;
                    fields.insert(X_AUTH_SET_COOKIE_ACCESS, access.clone());
                    fields.extend(refresh.clone().map(|refresh| (X_AUTH_SET_COOKIE_REFRESH, refresh)));
                    fields.extend(renewed.cookies.fields().map(|field| (SET_COOKIE, field.clone())));
                }
                fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                reply
            }
        }
    }

    fn into_call(self, ids: &Ids, record: Record) -> Response<GatewayBody> {
        let (reply, trailers) = match self {
            Self::Yes { identity, cookies, .. } => {
                ext_authz::allowing(&identity, cookies.as_ref().map(|renewed| &renewed.cookies))
            }
            Self::No(mut reply) => {
                reply.headers_mut().insert(X_REQUEST_ID, ids.request.clone());
                ext_authz::denying(&reply)
            }
        };
        record.responds(reply.status(), record.outcome());
        reply.map(|bytes| GatewayBody::call(bytes, trailers, record))
    }
}
