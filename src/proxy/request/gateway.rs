//! The path of a request, top to bottom.

mod admit;
mod by_ticket;
mod forward;
mod in_flight;
mod own;
mod question;
mod route;
mod sign_in;
mod streams;
mod verdict;

use std::cell::{Cell, RefCell};

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::header::{HeaderValue, LOCATION};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;

use crate::crypto::entropy::Entropy;
use crate::domain::claims::Denial;
use crate::domain::client_limits::ClientLimits;
use crate::domain::headers::trace::{self, RequestIdFrom};
use crate::domain::ids::{Generation, SessionId};
use crate::domain::meters::{EndpointName, Meters, Outcome, WorkerSet};
use crate::domain::network::network;
use crate::domain::peer::Peer;
use crate::domain::problem_code::ProblemTypes;
use crate::domain::replica::Replica;
use crate::domain::routing::Routing;
use crate::domain::stats::{Counter, Counters, Tally};
use crate::domain::time::{Clock, Timestamp};
use crate::domain::tokens_in_text::without_tokens;
use crate::proxy::access_log::WorkerLog;
use crate::proxy::auth::admission::Admission;
use crate::proxy::auth::renewals::Renewals;
use crate::proxy::bound::BoundListener;
use crate::proxy::client::connection::{ClientConnection, Purpose};
use crate::proxy::client::exchange::Exchange;
use crate::proxy::client::handler::Handler;
use crate::proxy::client::unread::Unread;
use crate::proxy::entropy::EntropyPool;
use crate::proxy::incoming::Incoming;
use crate::proxy::meter::{LocalRows, Meter};
use crate::proxy::open_streams::OpenStreams;
use crate::proxy::policy::Policy;
use crate::proxy::reply::Reply;
use crate::proxy::request::body::GatewayBody;
use crate::proxy::request::context::{Ids, RequestContext};
use crate::proxy::request::observation::{Observations, TELL_INTERVAL};
use crate::proxy::request::record::Record;
use crate::proxy::request::refusal::Refusal;
use crate::proxy::seats::{Holder, SeatLimits};
use crate::proxy::snapshot::{DataPlaneView, Latest};
use crate::proxy::upstream::{AllLinks, Upstream, UpstreamBody, UpstreamOptions};
use crate::proxy::watch::Watchers;
use verdict::Verdict;

/// What all workers share.
pub struct Shared {
    pub latest: Latest,
    pub replica: Arc<Replica>,
    /// Told when a worker verifies a token of ours for the first time: its client has the reply that carried it. Must not wait.
    pub token_seen: Box<dyn Fn(SessionId, Generation) + Send + Sync>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub tally: Arc<Tally>,
    pub meters: Arc<Meters>,
    pub observations: Observations,
    pub open_streams: Arc<OpenStreams>,
}

/// One worker's gateway.
pub struct Gateway {
    shared: Arc<Shared>,
    /// What is in force as of the last tick: requests take it without touching what other cores touch.
    local: RefCell<Rc<Local>>,
    kept: Kept,
    entropy: RefCell<EntropyPool>,
    /// When this worker told the log last of what it observed, in ticks.
    told_at: Cell<u32>,
}

/// A worker's hold on the shared view: one count that all cores touch, taken once per reload and not once per request. With it what the
/// worker makes of it: its connections to the upstreams, and the tokens that it has verified. A request that began with it ends with it.
struct Local {
    view: Arc<DataPlaneView>,
    routing: Routing<Rc<Upstream>>,
    admission: Admission,
    rows: LocalRows,
}

/// What a worker keeps while views come and go.
struct Kept {
    watchers: Rc<Watchers>,
    /// No other thread adds to these.
    counters: Arc<Counters>,
    meter: Rc<Meter>,
    log: Rc<WorkerLog>,
    renewals: Rc<Renewals>,
    links: Rc<AllLinks>,
}

impl Local {
    fn new(view: Arc<DataPlaneView>, shared: &Shared, kept: &Kept) -> Self {
        Self::with(view, shared, kept, |options| kept.open(options))
    }

    /// With the connections to all backends that stayed.
    fn followed_by(&self, view: Arc<DataPlaneView>, shared: &Shared, kept: &Kept) -> Self {
        let former = self.routing.upstreams();
        Self::with(view, shared, kept, |options| {
            let same = former.iter().find(|former| former.options().name == options.name);
            same.map_or_else(|| kept.open(options), |same| same.with(options.clone()))
        })
    }

    fn with(view: Arc<DataPlaneView>, shared: &Shared, kept: &Kept, open: impl Fn(&UpstreamOptions) -> Rc<Upstream>) -> Self {
        let routing = view.policy.routing.map(open);
        let (replica, clock) = (Arc::clone(&shared.replica), Arc::clone(&shared.clock));
        let (counters, renewals) = (Arc::clone(&kept.counters), Rc::clone(&kept.renewals));
        let admission = Admission::new(view.policy.admission, replica, clock, counters, renewals, &*shared.entropy);
        let rows = kept.meter.rows(&routing.names());
        Self { view, routing, admission, rows }
    }

    fn policy(&self) -> &Policy {
        &self.view.policy
    }
}

impl Kept {
    fn open(&self, options: &UpstreamOptions) -> Rc<Upstream> {
        Upstream::new(options.clone(), Rc::clone(&self.watchers), Arc::clone(&self.counters), Rc::clone(&self.links))
    }
}

enum Served {
    Whole(Reply),
    /// The upstream's consent to a tunnel.
    Switched(Reply),
    /// Given by a route instead of an upstream.
    OfRoute(Reply),
    Streamed(Response<UpstreamBody>),
}

impl Gateway {
    pub fn new(shared: Arc<Shared>, watchers: Rc<Watchers>, counters: Arc<Counters>, set: Arc<WorkerSet>) -> Self {
        let meter = Meter::new(set, Arc::clone(&shared.clock));
        let renewals = Rc::new(Renewals::new(Arc::clone(&shared.open_streams)));
        let view = Arc::clone(&shared.latest.load());
        let log = WorkerLog::new(view.policy.access_log.as_ref(), Arc::clone(&shared.clock));
        let kept = Kept { watchers, counters, meter, log, renewals, links: Rc::default() };
        let local = Local::new(view, &shared, &kept);
        let entropy = RefCell::new(EntropyPool::new(Arc::clone(&shared.entropy)));
        Self { shared, local: RefCell::new(Rc::new(local)), kept, entropy, told_at: Cell::new(0) }
    }

    pub fn client_limits(&self) -> ClientLimits {
        self.local.borrow().policy().client
    }

    /// For what is refused before there is a request.
    pub fn problem_types(&self) -> ProblemTypes {
        self.local.borrow().policy().problem_types.clone()
    }

    /// Where connections come.
    pub fn listeners(&self) -> Arc<[BoundListener]> {
        Arc::clone(&self.local.borrow().view.listeners)
    }

    /// How long connections of a listener that is gone may take to finish.
    pub fn drain_deadline(&self) -> Duration {
        self.local.borrow().policy().drain_deadline
    }

    pub fn seat_limits(&self) -> SeatLimits {
        self.local.borrow().policy().seats
    }

    /// In whose name a peer's connection sits.
    pub fn holder(&self, peer: Peer) -> Holder {
        let local = self.local.borrow();
        let policy = local.policy();
        if policy.rewrite.forwarding().believes(peer) {
            Holder::Trusted
        } else {
            Holder::Address(network(peer.address().ip(), policy.ipv6_prefix))
        }
    }

    /// Passes one tick: new settings, deadlines, ended sessions, idle connections. Whether there were new settings.
    pub fn tick(&self) -> bool {
        let is_new = self.follow();
        let (local, now) = (Rc::clone(&self.local.borrow()), self.shared.clock.now());
        self.kept.renewals.tick();
        let verifier = local.view.verifier.load();
        self.kept.watchers.tick(|bond| self.judge_bond(&local, &verifier, bond, now));
        for upstream in local.routing.upstreams() {
            upstream.tick();
        }
        self.kept.links.tick();
        self.kept.log.flush();
        local.admission.report(self.kept.meter.set());
        if self.kept.watchers.age_since(self.told_at.get()) >= TELL_INTERVAL {
            self.told_at.set(self.kept.watchers.now());
            self.shared.observations.tell();
        }
        is_new
    }

    /// Takes new settings over.
    fn follow(&self) -> bool {
        let view = Arc::clone(&self.shared.latest.load());
        let former = Rc::clone(&self.local.borrow());
        if Arc::ptr_eq(&view, &former.view) {
            return false;
        }
        self.shared.observations.tell();
        self.kept.log.follow(view.policy.access_log.as_ref());
        let next = former.followed_by(view, &self.shared, &self.kept);
        *self.local.borrow_mut() = Rc::new(next);
        true
    }

    /// Responds to one request, whatever happens: a panic costs this request alone.
    async fn serve(&self, request: Request<Incoming>, exchange: Exchange) -> Response<GatewayBody> {
        let record = Record::begin(&self.kept.meter, &self.kept.log, exchange, request.method());
        if record.exchange().client().purpose == Purpose::Questions {
            // Boxed: else every request would have to carry room for it.
            return Box::pin(self.serve_question(request, record)).await;
        }
        let (head, body) = request.into_parts();
        let local = Rc::clone(&self.local.borrow());
        let policy = local.policy();
        let believed = match policy.request_id_from {
            RequestIdFrom::Nobody => false,
            RequestIdFrom::TrustedPeers => policy.rewrite.forwarding().believes(record.exchange().client().peer),
            RequestIdFrom::Anyone => true,
        };
        let ids = Ids::of(&head, believed, self.entropy.borrow_mut().draw());
        record.note(|line| line.begins(&ids.request, &head));
        let has_body = !body.is_end_stream();
        let answering = self.respond(&local, &ids, &head, body, &record);
        // What follows moves no response more often than it must: each is some hundred bytes.
        match AssertUnwindSafe(answering).catch_unwind().await.unwrap_or(Err(Refusal::Panicked)) {
            Ok(Served::Streamed(response)) => {
                let (mut response, body) = response.into_parts();
                record.streams(response.status, &response.headers, body.size_hint().exact());
                if body.ends_the_request() {
                    record.exchange().reads_no_more(&mut response.headers);
                }
                policy.share(&mut response.headers, &head);
                let trailers = record.exchange().carries_trailers().then(|| policy.rewrite.trailers(None));
                Response::from_parts(response, GatewayBody::upstream(body, record, ids.request, trailers))
            }
            Ok(Served::Whole(mut reply)) => {
                record.responds(reply.status(), Outcome::of_own(reply.status()));
                policy.share(reply.headers_mut(), &head);
                whole(reply, &ids, record)
            }
            Ok(Served::Switched(mut reply)) => {
                record.responds(StatusCode::SWITCHING_PROTOCOLS, Outcome::Switched);
                policy.share(reply.headers_mut(), &head);
                whole(reply, &ids, record)
            }
            Ok(Served::OfRoute(mut reply)) => {
                record.responds(reply.status(), Outcome::Answered);
                if has_body {
                    // Nobody reads the rest of it.
                    record.exchange().reads_no_more(reply.headers_mut());
                }
                policy.share(reply.headers_mut(), &head);
                whole(reply, &ids, record)
            }
            Err(refusal) => {
                self.note(&refusal, &head, &ids, record.exchange().client());
                let outcome = refusal.outcome();
                let ends_connection = refusal.ends_connection();
                let mut reply = told(refusal, policy, &head, |refusal| refusal.into_reply(&head.headers, &policy.problem_types));
                record.note(|line| line.is_refused(&head));
                record.responds(reply.status(), outcome);
                if has_body || ends_connection {
                    // Nobody reads the rest of it, or knows where it ends.
                    record.exchange().reads_no_more(reply.headers_mut());
                }
                policy.share(reply.headers_mut(), &head);
                whole(reply, &ids, record)
            }
        }
    }

    async fn respond(&self, local: &Local, ids: &Ids, head: &Parts, body: Incoming, record: &Record) -> Result<Served, Refusal> {
        let (policy, exchange) = (local.policy(), record.exchange());
        if exchange.client().certificate.as_ref().is_some_and(|shown| shown.has_expired(self.now())) {
            return Err(Refusal::CertificateExpired);
        }
        let mut context = RequestContext::of(policy, record, ids, head, body)?;
        if let Purpose::Redirect(port) = exchange.client().purpose {
            record.enter(local.rows.endpoint(EndpointName::Redirect));
            return redirect(&context, port).map(Served::Whole);
        }
        policy.notice_unnamed_proxy(&context.origin, head, exchange.client().peer);
        match self.decide(&context, local, head).await? {
            Verdict::Forward(forwarded) => self.forward(&mut context, local, forwarded, head).await,
            // Boxed: rare, and as large as the rest of the path together, which every request would have to carry.
            Verdict::Endpoint(endpoint) => Box::pin(self.own(&mut context, local, endpoint, head)).await,
            Verdict::Preflight(fields) => Ok(Served::Whole(preflight_reply(fields))),
            Verdict::Respond(reply) => self.of_route(head, reply),
        }
    }

    fn note(&self, refusal: &Refusal, head: &Parts, ids: &Ids, client: &ClientConnection) {
        if let Some(counter) = refusal.counter() {
            self.kept.counters.add(counter, 1);
        }
        let request = ids.request.to_str().unwrap_or_default();
        let trace = trace::id(&head.headers);
        let (method, peer) = (&head.method, client.peer);
        // A search that only a line that is written needs.
        let path = || String::from_utf8_lossy(&without_tokens(head.uri.path().as_bytes())).into_owned();
        if refusal.is_ours_to_mend() {
            tracing::warn!(request, trace, %method, path = path(), %peer, cause = %refusal, "request failed");
        } else {
            tracing::debug!(request, trace, %method, path = path(), %peer, cause = %refusal, "request refused");
        }
    }
}

/// What the client is told of a refusal, in the form that `form` gives it.
fn told(refusal: Refusal, policy: &Policy, head: &Parts, form: impl FnOnce(Refusal) -> Reply) -> Reply {
    let is_of_repeated_cookie = matches!(refusal, Refusal::Denied(Denial::CookieRepeated));
    let mut reply = form(refusal);
    if is_of_repeated_cookie {
        policy.take_repeated_cookies(reply.headers_mut(), head);
    }
    reply
}

/// To the same place under https. Both host and path are in the one form that decides here too.
fn redirect(context: &RequestContext<'_>, port: u16) -> Result<Reply, Refusal> {
    let host = context.host.as_ref().ok_or(Refusal::Malformed("The Host field is missing."))?;
    let port = if port == HTTPS_PORT { String::new() } else { format!(":{port}") };
    let location = format!("https://{}{port}{}", host.name(), context.target.path_and_query());
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::PERMANENT_REDIRECT;
    let location = HeaderValue::try_from(location).map_err(|_| Refusal::Malformed("The target cannot be written."))?;
    reply.headers_mut().insert(LOCATION, location);
    Ok(reply)
}

/// Not named in URLs.
const HTTPS_PORT: u16 = 443;

impl Handler for Gateway {
    type Body = GatewayBody;

    fn respond(&self, request: Request<Incoming>, exchange: Exchange) -> impl Future<Output = Response<GatewayBody>> {
        self.serve(request, exchange)
    }

    fn count(&self, counter: Counter) {
        self.kept.counters.add(counter, 1);
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn rejects(&self, peer: Peer, unread: &Unread<'_>) {
        self.kept.counters.add(unread.counter, 1);
        self.kept.log.refused(peer, unread);
    }

    fn meters(&self) -> &WorkerSet {
        self.kept.meter.set()
    }

    fn nonce(&self) -> [u8; 16] {
        self.entropy.borrow_mut().draw()
    }
}

fn preflight_reply(fields: HeaderMap) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::NO_CONTENT;
    *reply.headers_mut() = fields;
    reply
}

fn whole(reply: Reply, ids: &Ids, record: Record) -> Response<GatewayBody> {
    record.note(|line| line.is_told(reply.extensions().get().copied()));
    let mut response = reply.map(|bytes| GatewayBody::whole(bytes, record));
    response.headers_mut().insert(crate::domain::headers::X_REQUEST_ID, ids.request.clone());
    response
}
