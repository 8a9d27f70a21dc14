//! The path of a request, top to bottom.

mod admit;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{ACCEPT_ENCODING, CONNECTION, HeaderValue, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, response};
use hyper::body::{Body as _, Incoming};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};

use super::admission::{Admission, AdmissionOptions};
use super::body::{Exchange, GatewayBody};
use super::call::{Call, Ids};
use super::connection::ClientConnection;
use super::control::{ControlPlane, LoginRequest, OwnRequest, UpstreamAnswer};
use super::entropy::EntropyPool;
use super::login_answer;
use super::observation::{Observations, TELL_INTERVAL};
use super::refusal::Refusal;
use super::reply::Reply;
use super::seats::Holder;
use super::tunnel::{self, TunnelLimits, Upgrade};
use super::upstream::{ExchangeTimeouts, RequestHead, ResponseBody, ResponseHead, Upstream, UpstreamOptions};
use super::watch::Watchers;
use crate::crypto::entropy::Entropy;
use crate::crypto::verifier::Verifier;
use crate::domain::claims::Denial;
use crate::domain::client_limits::ClientLimits;
use crate::domain::cookies::OwnCookies;
use crate::domain::cors::Cors;
use crate::domain::headers::forwarded::Origin;
use crate::domain::headers::trace::RequestIdFrom;
use crate::domain::headers::{AuthorizationRule, PreparedFields, RequestContext, RewriteRules, Withheld, trace};
use crate::domain::host::Host;
use crate::domain::ids::{Generation, SessionId};
use crate::domain::network::network;
use crate::domain::origin::CookieOrigins;
use crate::domain::pace::ByteRate;
use crate::domain::replica::Replica;
use crate::domain::route::{Asked, Endpoint, Match, Route, RouteTable, UpstreamIndex};
use crate::domain::stats::{Counter, Counters, Tally};
use crate::domain::time::Clock;

/// Tokens in the Authorization fields of one request that are looked at where none of them is judged.
const TOKENS_LOOKED_AT_MAX: u32 = 8;

/// What a reload may change, swapped as one.
#[derive(Debug)]
pub struct Policy {
    pub routes: RouteTable,
    pub rewrite: RewriteRules,
    /// Where cookie mode is on.
    pub access_cookie: Option<AccessCookie>,
    /// Where pages of other origins may call.
    pub cors: Option<Cors>,
    pub request_id_from: RequestIdFrom,
    /// Whether the log was told of a proxy in front that the settings do not name.
    pub unnamed_proxy_told: AtomicBool,
    /// IPv6 addresses with so many leading bits in common count as one.
    pub ipv6_prefix: u8,
    /// How slowly the body of a call to an own endpoint may come.
    pub own_body_rate_min: Option<ByteRate>,
}

impl Policy {
    /// Whoever forgets to name a proxy sees all users share its address, and its limits. Said once: anybody can send such a field.
    fn notice_unnamed_proxy(&self, origin: &Origin<'_>, head: &Parts, peer: IpAddr) {
        let is_told = self.unnamed_proxy_told.load(Ordering::Relaxed);
        if !is_told && origin.is_disbelieved(&head.headers) && !self.unnamed_proxy_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %peer,
                "a peer that listen.trusted_peers does not name says for whom it calls (X-Forwarded-For, Forwarded) and is not believed: \
                 if it is a proxy of yours, all its users share one address and its rate limits until it is named there"
            );
        }
    }

    /// Makes the browser forget cookies of which nobody can say whose they are, unless another site made it call.
    fn take_repeated_cookies(&self, answer: &mut HeaderMap, head: &Parts) {
        if let Some(cookie) = self.access_cookie.as_ref().filter(|cookie| cookie.origins.may_mend(&head.uri, &head.headers)) {
            for field in cookie.own.all_emptied() {
                answer.append(SET_COOKIE, field.clone());
            }
        }
    }

    fn cookie_name(&self) -> Option<&str> {
        self.access_cookie.as_ref().map(|cookie| cookie.own.access_name())
    }

    /// A browser's question before a call of another origin's page carries no token: it is answered whatever the route demands.
    fn preflight(&self, head: &Parts) -> Option<HeaderMap> {
        self.cors.as_ref()?.preflight(&head.method, &head.headers)
    }

    /// Refusals too: else a page could not tell one from a broken network.
    fn share(&self, answer: &mut HeaderMap, head: &Parts) {
        if let Some(cors) = &self.cors {
            cors.share(answer, &head.headers);
        }
    }
}

/// Where a browser keeps an access token, and whose calls with it count that change something.
#[derive(Clone, Debug)]
pub struct AccessCookie {
    pub own: OwnCookies,
    pub origins: CookieOrigins,
}

/// Fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    pub client: ClientLimits,
    pub admission: AdmissionOptions,
    pub upstreams: Vec<UpstreamOptions>,
    /// Who judges credentials.
    pub login_upstream: UpstreamIndex,
    pub login_timeouts: ExchangeTimeouts,
    /// The largest answer of a login that is made into a session.
    pub login_answer_bytes_max: usize,
    /// The largest body of a call to an own endpoint, logins included.
    pub own_body_bytes_max: u64,
}

/// What all workers share.
pub struct Shared {
    pub options: GatewayOptions,
    pub policy: ArcSwap<Policy>,
    pub verifier: Arc<ArcSwap<Verifier>>,
    pub replica: Arc<Replica>,
    pub control: Arc<dyn ControlPlane>,
    /// Told when a worker verifies a token of ours for the first time: its client has the reply that carried it. Must not wait.
    pub token_seen: Box<dyn Fn(SessionId, Generation) + Send + Sync>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub tally: Arc<Tally>,
    pub observations: Observations,
}

/// One worker's gateway.
pub struct Gateway {
    shared: Arc<Shared>,
    /// The shared policy as of the last tick: requests take it without touching what other cores touch.
    policy: RefCell<Rc<LocalPolicy>>,
    admission: Admission,
    upstreams: Vec<Rc<Upstream>>,
    watchers: Rc<Watchers>,
    entropy: RefCell<EntropyPool>,
    /// No other thread adds to these.
    counters: Arc<Counters>,
    /// When this worker told the log last of what it observed, in ticks.
    told_at: Cell<u32>,
}

/// A worker's hold on the shared policy: one count that all cores touch, taken once per reload and not once per request.
struct LocalPolicy(Arc<Policy>);

enum Answer {
    Whole(Reply),
    Streamed(response::Parts, ResponseBody),
}

impl Gateway {
    pub fn new(shared: Arc<Shared>, watchers: Rc<Watchers>, counters: Arc<Counters>) -> Self {
        let admission = Admission::new(
            shared.options.admission,
            Arc::clone(&shared.replica),
            Arc::clone(&shared.clock),
            Arc::clone(&counters),
        );
        let upstream = |options: &UpstreamOptions| Upstream::new(options.clone(), Rc::clone(&watchers), Arc::clone(&counters));
        let upstreams = shared.options.upstreams.iter().map(upstream).collect();
        let entropy = RefCell::new(EntropyPool::new(Arc::clone(&shared.entropy)));
        let policy = RefCell::new(Rc::new(LocalPolicy(shared.policy.load_full())));
        Self { shared, policy, admission, upstreams, watchers, entropy, counters, told_at: Cell::new(0) }
    }

    /// Counts what happens outside of requests.
    pub fn count(&self, counter: Counter) {
        self.counters.add(counter, 1);
    }

    pub fn client_limits(&self) -> ClientLimits {
        self.shared.options.client
    }

    /// In whose name a peer's connection sits.
    pub fn holder(&self, peer: IpAddr) -> Holder {
        let policy = &self.policy.borrow().0;
        if policy.rewrite.forwarding().trusts(peer) {
            Holder::Trusted
        } else {
            Holder::Address(network(peer, policy.ipv6_prefix))
        }
    }

    /// Passes one tick: a new policy, deadlines, ended sessions, idle connections.
    pub fn tick(&self) {
        let policy = self.shared.policy.load();
        if !Arc::ptr_eq(&policy, &self.policy.borrow().0) {
            self.shared.observations.tell();
            *self.policy.borrow_mut() = Rc::new(LocalPolicy(Arc::clone(&policy)));
            self.admission.forget();
        }
        let now = self.shared.clock.now();
        self.watchers.tick(|principal| self.admission.ending(principal, now));
        for upstream in &self.upstreams {
            upstream.prune();
        }
        if self.watchers.age_since(self.told_at.get()) >= TELL_INTERVAL {
            self.told_at.set(self.watchers.now());
            self.shared.observations.tell();
        }
    }

    /// What one connection's requests are answered by.
    pub fn service(
        self: &Rc<Self>,
        client: &Rc<ClientConnection>,
    ) -> impl Service<Request<Incoming>, Response = Response<GatewayBody>, Error = Infallible> + use<> {
        let (gateway, client) = (Rc::clone(self), Rc::clone(client));
        service_fn(move |request| {
            let (gateway, client) = (Rc::clone(&gateway), Rc::clone(&client));
            async move { Ok(gateway.serve(request, &client).await) }
        })
    }

    /// Answers one request, whatever happens: a panic costs this request alone.
    async fn serve(&self, request: Request<Incoming>, client: &Rc<ClientConnection>) -> Response<GatewayBody> {
        let exchange = Exchange::begin(client, request.version());
        let (head, body) = request.into_parts();
        let local = Rc::clone(&self.policy.borrow());
        let policy = &local.0;
        let believed = match policy.request_id_from {
            RequestIdFrom::Nobody => false,
            RequestIdFrom::TrustedPeers => policy.rewrite.forwarding().trusts(client.peer.ip()),
            RequestIdFrom::Anyone => true,
        };
        let ids = Ids::of(&head, believed, self.entropy.borrow_mut().draw());
        let has_body = !body.is_end_stream();
        let answering = self.respond(policy, &ids, &head, body, client);
        let answer = AssertUnwindSafe(answering).catch_unwind().await.unwrap_or(Err(Refusal::Panicked));
        match answer {
            Ok(Answer::Streamed(mut answer, body)) => {
                policy.share(&mut answer.headers, &head);
                if body.ends_the_request() {
                    answer.headers.insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Response::from_parts(answer, GatewayBody::upstream(body, exchange, ids.request))
            }
            Ok(Answer::Whole(reply)) => whole(reply, &ids, exchange),
            Err(refusal) => {
                self.note(&refusal, &head, &ids, client);
                let ends_connection = refusal.ends_connection();
                let is_of_repeated_cookie = matches!(refusal, Refusal::Denied(Denial::CookieRepeated));
                let mut reply = refusal.into_reply();
                if is_of_repeated_cookie {
                    policy.take_repeated_cookies(reply.headers_mut(), &head);
                }
                policy.share(reply.headers_mut(), &head);
                if has_body || ends_connection {
                    // Nobody reads the rest of it, or knows where it ends: no further request can follow on this connection.
                    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                whole(reply, &ids, exchange)
            }
        }
    }

    async fn respond(
        &self,
        policy: &Policy,
        ids: &Ids,
        head: &Parts,
        body: Incoming,
        client: &Rc<ClientConnection>,
    ) -> Result<Answer, Refusal> {
        let call = Call::of(policy, client, ids, head, body)?;
        policy.notice_unnamed_proxy(&call.origin, head, client.peer.ip());
        let found = policy.routes.find(&Asked {
            method: &head.method,
            host: call.host.as_ref().map(Host::name),
            told_host: call.origin.told_host().map(Host::name),
            target: &call.target,
            headers: &head.headers,
        });
        let is_own = matches!(found, Match::Own(_));
        if !is_own && let Some(fields) = policy.preflight(head) {
            return Ok(Answer::Whole(preflight_reply(fields)));
        }
        match found {
            // Boxed: rare, and as large as the rest of the path together, which every request would have to carry.
            Match::Own(endpoint) => Box::pin(self.own(call, endpoint, head)).await,
            Match::Route(route) => self.proxy(call, route, head).await,
            Match::MethodNotAllowed { allow } => Err(Refusal::MethodNotAllowed(allow)),
            Match::Ambiguous => Err(Refusal::Malformed("The path can be read in more than one way.")),
            Match::AmbiguousHost => Err(Refusal::Malformed("The host and X-Forwarded-Host have different rules.")),
            Match::NotFound => Err(Refusal::NoRoute),
        }
    }

    /// A request for an upstream: admitted, rewritten, sent; the answer streams back.
    async fn proxy(&self, mut call: Call<'_>, route: &Route, head: &Parts) -> Result<Answer, Refusal> {
        let caller = self.admit(&call, route, head).await?;
        call.body.limit(route.body_bytes_max, route.body_rate_min)?;
        call.client.watch.speak_for(caller.bound_to());
        let wants_upgrade = tunnel::wants_websocket(head);
        let identity = caller.admitted.as_ref().map(|admitted| &admitted.identity);
        let upstream = &self.upstreams[route.upstream.0];
        let is_ours = self.recognizer();
        let authorization = match route.authorization {
            AuthorizationRule::Pass => Withheld::None,
            AuthorizationRule::Remove => Withheld::All,
            AuthorizationRule::RemoveOurs if caller.is_in_authorization => Withheld::All,
            AuthorizationRule::RemoveOurs => Withheld::Tokens(&is_ours),
        };
        let outgoing = Outgoing { method: &head.method, headers: &head.headers, identity, authorization, wants_upgrade };
        let timeouts = ExchangeTimeouts { response: route.response_timeout, idle: route.idle_timeout };
        let (mut answer, body) = exchange(upstream, &mut call, outgoing, timeouts).await?;
        self.counters.add(Counter::RequestsForwarded, 1);
        call.policy.rewrite.response(&mut answer.headers, &call.ids.request);
        call.client.watch.answer_begins(|| self.shared.clock.now(), route.response_timeout);
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            let switched = body.into_stream().filter(|_| wants_upgrade).ok_or(Refusal::UnaskedUpgrade)?;
            let limits =
                TunnelLimits { idle_timeout: route.idle_timeout, upstream_write_timeout: upstream.options().write_timeout };
            return Ok(switch(&call, Upgrade::new(switched, caller.bound_to(), limits), answer));
        }
        Ok(streamed(answer, body))
    }

    /// A call of the gateway's own. Logins are judged by the upstream first.
    async fn own(&self, mut call: Call<'_>, endpoint: Endpoint, head: &Parts) -> Result<Answer, Refusal> {
        call.body.limit(self.shared.options.own_body_bytes_max, call.policy.own_body_rate_min)?;
        let is_preflight = head.method == Method::OPTIONS;
        match endpoint {
            Endpoint::Login | Endpoint::Register | Endpoint::QuickRegister if !is_preflight => {
                self.login(call, endpoint, head).await
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
                let caller = self.caller(call.policy, head).await;
                let is_expired = endpoint == Endpoint::Logout && caller == Err(Denial::Expired);
                let expired = is_expired.then(|| self.expired(call.policy, head)).flatten();
                let body = call.body.collect().await?;
                let request = OwnRequest { endpoint, head: head.clone(), body, address: call.address, caller, expired };
                Ok(Answer::Whole(self.shared.control.answer(request).await))
            }
        }
    }

    async fn login(&self, mut call: Call<'_>, endpoint: Endpoint, head: &Parts) -> Result<Answer, Refusal> {
        let body = call.body.collect().await?;
        let request = LoginRequest { endpoint, head: Arc::new(head.clone()), body: body.clone(), address: call.address };
        self.shared.control.admit_login(&request).await.map_err(|reply| Refusal::Reply(Box::new(reply)))?;
        let mut headers = head.headers.clone();
        // A compressed answer could not be read.
        headers.remove(ACCEPT_ENCODING);
        let is_ours = self.recognizer();
        let authorization = Withheld::Tokens(&is_ours);
        let outgoing = Outgoing { method: &head.method, headers: &headers, identity: None, authorization, wants_upgrade: false };
        call.body.replace(body);
        let options = &self.shared.options;
        let upstream = &self.upstreams[options.login_upstream.0];
        let (mut answer, body) = exchange(upstream, &mut call, outgoing, options.login_timeouts).await?;
        call.policy.rewrite.response(&mut answer.headers, &call.ids.request);
        if !login_answer::may_grant(&answer) {
            self.counters.add(Counter::LoginsRefused, 1);
            return Ok(streamed(answer, body));
        }
        let body = login_answer::collect(body, options.login_answer_bytes_max, &upstream.options().name).await?;
        let answer = UpstreamAnswer { head: response_parts(answer), body };
        Ok(Answer::Whole(self.shared.control.complete_login(request, answer).await))
    }

    /// Tells for one request which of the tokens in it are of issuers accepted here. To look at one may cost a signature: beyond so
    /// many as nobody needs, all are taken for such.
    fn recognizer(&self) -> impl Fn(&str) -> bool {
        let left = Cell::new(TOKENS_LOOKED_AT_MAX);
        move |token| {
            let may_look = left.get() > 0;
            left.set(left.get().saturating_sub(1));
            !may_look || self.shared.verifier.load().names_issuer(token)
        }
    }

    fn note(&self, refusal: &Refusal, head: &Parts, ids: &Ids, client: &ClientConnection) {
        if let Some(counter) = refusal.counter() {
            self.counters.add(counter, 1);
        }
        let request = ids.request.to_str().unwrap_or_default();
        let trace = trace::id(&head.headers);
        let (method, path, peer) = (&head.method, head.uri.path(), client.peer);
        if refusal.is_ours_to_mend() {
            tracing::warn!(request, trace, %method, path, %peer, cause = %refusal, "request failed");
        } else {
            tracing::debug!(request, trace, %method, path, %peer, cause = %refusal, "request refused");
        }
    }
}

/// What an upstream is asked, beside what the call says.
struct Outgoing<'a> {
    method: &'a Method,
    /// As they came.
    headers: &'a HeaderMap,
    /// Who calls.
    identity: Option<&'a PreparedFields>,
    authorization: Withheld<'a>,
    wants_upgrade: bool,
}

async fn exchange(
    upstream: &Rc<Upstream>,
    call: &mut Call<'_>,
    outgoing: Outgoing<'_>,
    timeouts: ExchangeTimeouts,
) -> Result<(ResponseHead, ResponseBody), Refusal> {
    let (body, framing) = call.body.take();
    let named_host = call.host.as_ref().map(Host::field);
    let context = RequestContext {
        origin: &call.origin,
        host: named_host,
        identity: outgoing.identity,
        request_id: &call.ids.request,
        authorization: outgoing.authorization,
    };
    let write_fields = |out: &mut Vec<u8>| {
        call.policy.rewrite.write_request(outgoing.headers, &context, out);
        if outgoing.wants_upgrade {
            tunnel::write_websocket(out);
        }
    };
    let request = RequestHead {
        method: outgoing.method,
        base_path: &upstream.options().base_path,
        target: call.target.path_and_query(),
        host: upstream.options().host(named_host),
        write_fields: &write_fields,
        framing,
    };
    let pass_interim = |mut answer: ResponseHead| {
        call.policy.rewrite.response(&mut answer.headers, &call.ids.request);
        call.client.pass_interim(answer.status, &answer.headers);
    };
    upstream
        .exchange(request, body, timeouts, &call.client.watch, &pass_interim)
        .await
        .map_err(|end| Refusal::of_end(end, &upstream.options().name))
}

/// Turns the connection into a tunnel.
fn switch(call: &Call<'_>, upgrade: Upgrade, answer: ResponseHead) -> Answer {
    *call.client.upgrade.borrow_mut() = Some(upgrade);
    let mut reply = Reply::new(Bytes::new());
    *reply.status_mut() = answer.status;
    *reply.headers_mut() = answer.headers;
    tunnel::announce_websocket(reply.headers_mut());
    Answer::Whole(reply)
}

fn preflight_reply(fields: HeaderMap) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::NO_CONTENT;
    *reply.headers_mut() = fields;
    reply
}

fn streamed(answer: ResponseHead, body: ResponseBody) -> Answer {
    Answer::Streamed(response_parts(answer), body)
}

fn response_parts(answer: ResponseHead) -> response::Parts {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = answer.status;
    parts.headers = answer.headers;
    parts
}

fn whole(reply: Reply, ids: &Ids, exchange: Exchange) -> Response<GatewayBody> {
    let mut answer = reply.map(|bytes| GatewayBody::whole(bytes, exchange));
    answer.headers_mut().insert(crate::domain::headers::X_REQUEST_ID, ids.request.clone());
    answer
}
