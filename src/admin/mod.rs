//! The admin listener: what operators and their probes ask. On loopback unless set otherwise; never on the traffic's port.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::access::DynAccess;
use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Method, Request, StatusCode};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::domain::ids::SessionId;
use crate::domain::meters::Meters;
use crate::domain::replica::Replica;
use crate::domain::secret::Secret;
use crate::domain::time::Clock;
use crate::domain::upstream_report::UpstreamStates;
use crate::sessions::Sessions;
use crate::sessions::caretaker::Sweeps;
use crate::sessions::health::{Dependency, Readiness};
use crate::sessions::nodes::Nodes;
use crate::sessions::statistics::Figures;
use crate::store::StoreError;

mod dashboard;
mod description;
mod figures;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod guard;
mod lanes;
mod metrics;
mod query;
pub mod reload;
pub mod response;
mod revocations;
pub mod server;
mod sessions;
mod upstreams;

pub use description::description;

use guard::Guard;
use lanes::Lanes;
use metrics::Metrics;
use reload::ReloadSender;
use response::{BoxedResponse, json, problem, retry_later, text};
use server::Limits;

/// What the admin listener responds from, by one set of settings.
pub struct Admin {
    readiness: Arc<dyn Readiness>,
    guard: Guard,
    sessions: Arc<Sessions>,
    nodes: Arc<Nodes>,
    replica: Arc<Replica>,
    clock: Arc<dyn Clock>,
    figures: Arc<dyn Figures>,
    meters: Arc<Meters>,
    metrics: Metrics,
    upstreams: Arc<dyn UpstreamStates>,
    own_endpoints: Bytes,
    sweeps: Arc<dyn Sweeps>,
    reload: ReloadSender,
}

/// What the admin listener goes by: all of one set of settings.
pub struct AdminRules {
    pub readiness: Arc<dyn Readiness>,
    /// The bearer token that everything but the probes asks for; without one, only a loopback address may listen.
    pub token: Option<Secret<String>>,
    pub sessions: Arc<Sessions>,
    pub upstreams: Arc<dyn UpstreamStates>,
    /// JSON: the own endpoints as OpenAPI.
    pub own_endpoints: Bytes,
}

/// Leads to what is in force.
pub type Latest = Box<dyn DynAccess<Arc<Admin>> + Send + Sync>;

/// What [`Admin`] is made of, beside the rules.
pub struct AdminParts {
    pub nodes: Arc<Nodes>,
    pub replica: Arc<Replica>,
    pub clock: Arc<dyn Clock>,
    pub figures: Arc<dyn Figures>,
    pub meters: Arc<Meters>,
    pub sweeps: Arc<dyn Sweeps>,
    pub reload: ReloadSender,
}

impl Admin {
    #[must_use]
    pub fn new(parts: AdminParts, rules: AdminRules) -> Self {
        let AdminParts { nodes, replica, clock, figures, meters, sweeps, reload } = parts;
        let AdminRules { readiness, token, sessions, upstreams, own_endpoints } = rules;
        let metrics = Metrics::new(Arc::clone(&figures), &meters, Arc::clone(&upstreams));
        Self {
            readiness,
            guard: Guard::new(token),
            sessions,
            nodes,
            replica,
            clock,
            figures,
            meters,
            metrics,
            upstreams,
            own_endpoints,
            sweeps,
            reload,
        }
    }

    /// The same by other rules.
    #[must_use]
    pub fn ruled_by(&self, rules: AdminRules) -> Self {
        let AdminRules { readiness, token, sessions, upstreams, own_endpoints } = rules;
        Self {
            readiness,
            guard: Guard::new(token),
            sessions,
            nodes: Arc::clone(&self.nodes),
            replica: Arc::clone(&self.replica),
            clock: Arc::clone(&self.clock),
            figures: Arc::clone(&self.figures),
            meters: Arc::clone(&self.meters),
            metrics: Metrics::new(Arc::clone(&self.figures), &self.meters, Arc::clone(&upstreams)),
            upstreams,
            own_endpoints,
            sweeps: Arc::clone(&self.sweeps),
            reload: self.reload.clone(),
        }
    }

    async fn respond(&self, request: &Request<Bytes>, peer: SocketAddr) -> BoxedResponse {
        let reading = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/healthz" | "/readyz" if !reading => method_not_allowed("GET, HEAD"),
            "/healthz" => json(StatusCode::OK, &Health { status: "alive" }),
            "/readyz" => readiness_response(self.readiness.dependencies().await),
            path if dashboard::is_part(path) && !reading => method_not_allowed("GET, HEAD"),
            path => match dashboard::part(path).or_else(|| self.guard.refuse(request)) {
                Some(refusal) => refusal,
                None => self.respond_guarded(path, request, peer).await,
            },
        }
    }

    async fn respond_guarded(&self, path: &str, request: &Request<Bytes>, peer: SocketAddr) -> BoxedResponse {
        let (method, session) = (request.method(), path.strip_prefix("/sessions/").and_then(SessionId::parse));
        match (path, session) {
            ("/sessions", _) if *method == Method::GET => self.sessions_of(request).await,
            ("/sessions", _) => method_not_allowed("GET"),
            (_, Some(id)) if *method == Method::DELETE => self.revoke_session(id, request, peer).await,
            (_, Some(_)) => method_not_allowed("DELETE"),
            ("/revocations", _) if *method == Method::POST => self.revoke(request, peer).await,
            ("/revocations", _) if *method == Method::GET => self.revocations(),
            ("/revocations", _) => method_not_allowed("GET, POST"),
            ("/nodes", _) if *method == Method::GET => self.all_nodes().await,
            ("/stats", _) if *method == Method::GET => figures::stats(&*self.figures, request.uri()).await,
            ("/metrics", _) if *method == Method::GET => self.metrics.respond(),
            ("/upstreams", _) if *method == Method::GET => upstreams::respond(&*self.upstreams, &*self.clock),
            ("/openapi.json", _) if *method == Method::GET => {
                text(StatusCode::OK, "application/json", self.own_endpoints.clone())
            }
            ("/openapi-admin.json", _) if *method == Method::GET => description::respond(),
            ("/nodes" | "/stats" | "/metrics" | "/upstreams" | "/openapi.json" | "/openapi-admin.json", _) => {
                method_not_allowed("GET")
            }
            ("/sweep", _) if *method == Method::POST => figures::sweep(&*self.sweeps).await,
            ("/reload", _) if *method == Method::POST => self.reload.reload().await,
            ("/sweep" | "/reload", _) => method_not_allowed("POST"),
            (_, None) => problem(StatusCode::NOT_FOUND, "not_found", "There is nothing here."),
        }
    }
}

/// Serves until `stop`, each request by what is in force when it comes.
pub async fn serve(latest: &Arc<Latest>, listener: &TcpListener, stop: CancellationToken) {
    let (latest, lanes) = (Arc::clone(latest), Lanes::new(&Handle::current()));
    let handler = move |request: Request<Bytes>, peer| {
        let admin = Arc::clone(&latest.load());
        lanes.of(request.uri().path()).call((admin, request, peer))
    };
    server::serve(listener, Limits::default(), handler, stop).await;
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// 200 when all are ready; otherwise 503, and those that are not are named first.
fn readiness_response(mut dependencies: Vec<Dependency>) -> BoxedResponse {
    #[derive(Serialize)]
    struct Body {
        status: &'static str,
        dependencies: Vec<Dependency>,
    }
    dependencies.sort_by_key(|dependency| dependency.ready);
    let ready = dependencies.iter().all(|dependency| dependency.ready);
    let (code, status) = if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "unready") };
    json(code, &Body { status, dependencies })
}

fn method_not_allowed(allowed: &'static str) -> BoxedResponse {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This resource has no such method.");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn store_problem(error: &StoreError) -> BoxedResponse {
    tracing::warn!(%error, "an administrator's call could not be done");
    let (code, detail) = match error {
        StoreError::Unavailable(_) | StoreError::Unconfirmed(_) | StoreError::Unreadable(_) => {
            ("store_unavailable", "The store did not do it, or not in time; ask again.")
        }
        StoreError::Full(_) => ("store_full", "The store has no room."),
    };
    retry_later(problem(StatusCode::SERVICE_UNAVAILABLE, code, detail))
}

#[cfg(test)]
mod tests;
