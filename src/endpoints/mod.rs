//! The gateway's own endpoints: HTTP in, a use case of [`crate::sessions`], HTTP out.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;
use tokio::runtime::Handle;

use crate::bounded::CallError;
use crate::domain::claims::{Denial, Principal, Undecided};
use crate::domain::meters::ControlSet;
use crate::domain::route::OwnEndpoint;
use crate::domain::secret::Secret;
use crate::domain::stats::Counters;
use crate::domain::time::Clock;
use crate::proxy::control::{ControlPlane, LoginRequest, OwnRequest, Renewal, Renewed, UpstreamResponse};
use crate::proxy::reply::{self, Reply};
use crate::sessions::Sessions;
use crate::sessions::health::Readiness;

mod accounts;
mod clients;
mod common_values;
mod cookies;
mod credentials;
mod current_session;
mod devices;
mod form;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod grant;
mod grant_types;
mod in_flight;
mod json_object;
mod lanes;
mod limits;
mod login;
mod logout;
mod oauth;
mod options;
mod origin;
mod owners;
mod refresh;
mod refusal;
mod remembered;
#[cfg(test)]
mod tests;
mod ticket;
mod token;
mod token_exchange;
mod tokens;

pub use grant::present_claims;
pub use options::EndpointOptions;

use common_values::CommonValues;
use lanes::{Lanes, TicketCall, TicketOutcome};
use limits::RateLimits;
use owners::Owners;
use refusal::{Dialect, Refusal};

/// How long clients and proxies may keep the key set: a new key is published for longer than that before it signs.
const JWKS_CACHE_CONTROL: &str = "public, max-age=300";

/// Serves the data plane, by one set of settings; the work is done on the runtime of the control plane.
pub struct Endpoints {
    inner: Arc<Inner>,
    /// Calls by the former settings that are under way have places here too.
    lanes: Arc<Lanes>,
    runtime: Handle,
}

struct Inner {
    sessions: Arc<Sessions>,
    health: Arc<dyn Readiness>,
    options: EndpointOptions,
    limits: Arc<RateLimits>,
    learned: Arc<Learned>,
    /// By these settings.
    renewals: in_flight::Calls,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    meters: Arc<ControlSet>,
}

/// What was learned of logins. Settings change nothing in it.
#[derive(Default)]
struct Learned {
    owners: Owners,
    common_values: CommonValues,
}

/// What the endpoints go by: all of one set of settings.
pub struct EndpointRules {
    pub sessions: Arc<Sessions>,
    pub health: Arc<dyn Readiness>,
    pub options: EndpointOptions,
}

/// What [`Endpoints`] is made of, beside the rules.
pub struct EndpointParts {
    pub clock: Arc<dyn Clock>,
    pub counters: Arc<Counters>,
    pub meters: Arc<ControlSet>,
    /// Where the work is done.
    pub runtime: Handle,
}

impl Endpoints {
    #[must_use]
    pub fn new(parts: EndpointParts, rules: EndpointRules) -> Self {
        let EndpointParts { clock, counters, meters, runtime } = parts;
        let EndpointRules { sessions, health, options } = rules;
        let limits = Arc::new(RateLimits::new(&options.limits, &clock, &meters));
        let lanes = Arc::new(Lanes::new(options.bounds, &runtime));
        let inner = Inner {
            sessions,
            health,
            options,
            limits,
            learned: Arc::default(),
            renewals: in_flight::Calls::default(),
            clock,
            counters,
            meters,
        };
        Self { inner: Arc::new(inner), lanes, runtime }
    }

    /// The same endpoints by other rules; calls under way finish by the old ones. Where the limits stayed, what was counted counts on.
    #[must_use]
    pub fn ruled_by(&self, rules: EndpointRules) -> Self {
        let EndpointRules { sessions, health, options } = rules;
        let former = &*self.inner;
        let limits = if options.limits == former.options.limits {
            Arc::clone(&former.limits)
        } else {
            Arc::new(RateLimits::new(&options.limits, &former.clock, &former.meters))
        };
        let lanes = if options.bounds == former.options.bounds {
            Arc::clone(&self.lanes)
        } else {
            Arc::new(Lanes::new(options.bounds, &self.runtime))
        };
        let (learned, clock, counters) = (Arc::clone(&former.learned), Arc::clone(&former.clock), Arc::clone(&former.counters));
        let (renewals, meters) = (in_flight::Calls::default(), Arc::clone(&former.meters));
        let inner = Inner { sessions, health, options, limits, learned, renewals, clock, counters, meters };
        Self { inner: Arc::new(inner), lanes, runtime: self.runtime.clone() }
    }

    fn refuse(&self, error: CallError, dialect: Dialect) -> Reply {
        Refusal::Call(error).into_reply(dialect, &self.inner.counters, &self.inner.options.problem_types)
    }
}

/// A call that was begun is finished, whether or not its client still waits for it: nobody is logged out by half.
#[async_trait]
impl ControlPlane for Endpoints {
    async fn respond(&self, request: OwnRequest) -> Reply {
        let dialect = dialect_of(&request);
        let call = self.lanes.of(request.endpoint).call((Arc::clone(&self.inner), request));
        call.await.unwrap_or_else(|error| self.refuse(error, dialect))
    }

    fn admit_login(&self, request: &LoginRequest) -> Result<(), Reply> {
        self.inner.admit_login(request)
    }

    async fn complete_login(&self, request: LoginRequest, response: UpstreamResponse) -> Reply {
        let call = self.lanes.logins.call((Arc::clone(&self.inner), request, response));
        call.await.unwrap_or_else(|error| self.refuse(error, Dialect::Json))
    }

    async fn read_ticket(&self, ticket: Secret<String>, path: &str) -> Result<Option<Secret<String>>, Denial> {
        match self.ask_of_ticket(TicketCall { ticket, path: path.to_owned(), spends: false }).await? {
            TicketOutcome::Read(token) => Ok(Some(token)),
            TicketOutcome::Spent | TicketOutcome::Invalid => Ok(None),
        }
    }

    async fn spend_ticket(&self, ticket: Secret<String>, path: &str) -> Result<bool, Denial> {
        let outcome = self.ask_of_ticket(TicketCall { ticket, path: path.to_owned(), spends: true }).await?;
        Ok(matches!(outcome, TicketOutcome::Spent))
    }

    async fn renew(&self, renewal: Renewal) -> Result<Arc<Renewed>, Denial> {
        self.result_of(renewal).await
    }

    async fn confirm(&self, principal: &Principal) -> Result<(), Denial> {
        let call = self.lanes.confirmations.call((Arc::clone(&self.inner), principal.clone()));
        call.await.unwrap_or_else(|error| Err(self.inner.undecided(error)))
    }
}

impl Endpoints {
    async fn ask_of_ticket(&self, call: TicketCall) -> Result<TicketOutcome, Denial> {
        let call = self.lanes.tickets.call((Arc::clone(&self.inner), call));
        call.await.unwrap_or_else(|error| Err(self.inner.undecided(error)))
    }
}

/// The form of the response, whatever comes of the call.
fn dialect_of(request: &OwnRequest) -> Dialect {
    match request.endpoint {
        OwnEndpoint::Token | OwnEndpoint::Revoke | OwnEndpoint::Introspect => Dialect::OAuth,
        OwnEndpoint::Refresh
        | OwnEndpoint::Logout
        | OwnEndpoint::Sessions
        | OwnEndpoint::Session(_)
        | OwnEndpoint::CurrentSession
        | OwnEndpoint::Ticket
        | OwnEndpoint::Jwks
        | OwnEndpoint::Metadata
        | OwnEndpoint::Health
        | OwnEndpoint::Ready => credentials::dialect(&request.head.headers),
    }
}

impl Inner {
    async fn respond(&self, request: OwnRequest) -> Reply {
        let options = &self.options;
        let dialect = dialect_of(&request);
        let result = self.dispatch(&request, options).await;
        result.unwrap_or_else(|refusal| {
            let (ends_the_session, is_of_repeated_cookie) = (refusal.ends_the_session(), refusal.is_of_repeated_cookie());
            let mut reply = refusal.into_reply(dialect, &self.counters, &options.problem_types);
            if ends_the_session {
                take_cookies(&mut reply, &request.head, options);
            } else if is_of_repeated_cookie {
                take_repeated_cookies(&mut reply, &request.head, options);
            }
            reply
        })
    }

    async fn dispatch(&self, request: &OwnRequest, options: &EndpointOptions) -> Result<Reply, Refusal> {
        match request.endpoint {
            OwnEndpoint::Refresh => self.refresh(request, options).await,
            OwnEndpoint::Logout => self.log_out(request, options).await,
            OwnEndpoint::Sessions => self.list(request).await,
            OwnEndpoint::Session(id) => self.end(request, id, options).await,
            OwnEndpoint::CurrentSession => current_session::reply(request),
            OwnEndpoint::Ticket => self.ticket(request, options).await,
            OwnEndpoint::Token => self.token(request, options).await,
            OwnEndpoint::Revoke => self.revoke(request, options).await,
            OwnEndpoint::Introspect => self.introspect(request, options).await,
            OwnEndpoint::Jwks => Ok(self.jwks()),
            OwnEndpoint::Metadata => options.metadata.as_ref().map(oauth::metadata).ok_or(Refusal::MetadataMissing),
            OwnEndpoint::Health => Ok(reply::json(StatusCode::OK, &json!({"status": "ok"}))),
            OwnEndpoint::Ready => Ok(self.readiness().await),
        }
    }

    async fn look_at_ticket(&self, TicketCall { ticket, path, spends }: TicketCall) -> Result<TicketOutcome, Denial> {
        let ticket = ticket.expose();
        let outcome = if spends {
            self.sessions.spend_ticket(ticket, &path).await.map(|is_spent| is_spent.then_some(TicketOutcome::Spent))
        } else {
            self.sessions.read_ticket(ticket, &path).await.map(|token| token.map(TicketOutcome::Read))
        };
        let outcome = outcome.map_err(|error| {
            Refusal::Store(error).note(&self.counters);
            Denial::StoreUnavailable
        })?;
        Ok(outcome.unwrap_or(TicketOutcome::Invalid))
    }

    /// What becomes of a caller about whom the data plane asked in vain.
    fn undecided(&self, error: CallError) -> Denial {
        Refusal::Call(error).note(&self.counters);
        Denial::Undecided(match error {
            CallError::Overloaded => Undecided::Overloaded,
            CallError::TimedOut => Undecided::TimedOut,
            CallError::ShuttingDown => Undecided::ShuttingDown,
            CallError::Panicked => Undecided::Panicked,
        })
    }

    fn jwks(&self) -> Reply {
        let mut reply = Response::new(Bytes::from(self.sessions.jwks()));
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(JWKS_CACHE_CONTROL));
        reply
    }

    async fn readiness(&self) -> Reply {
        let mut dependencies = self.health.dependencies().await;
        // What stands behind the gateway is no business of its clients.
        for dependency in &mut dependencies {
            dependency.unfit.clear();
        }
        let is_ready = dependencies.iter().all(|dependency| dependency.ready);
        let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        reply::json(status, &json!({"status": if is_ready { "ready" } else { "unready" }, "dependencies": dependencies}))
    }
}

/// Clears the cookies, unless another site may have made the browser call: it could log people out.
fn take_cookies(reply: &mut Reply, head: &Parts, options: &EndpointOptions) {
    if let Some(cookies) = &options.cookies
        && origin::believe_cookie(head, &cookies.origins).is_ok()
    {
        cookies::clear(reply.headers_mut(), &cookies.own);
    }
}

/// Clears cookies of which nobody can say whose they are: as long as they are there, no call of this browser can succeed.
fn take_repeated_cookies(reply: &mut Reply, head: &Parts, options: &EndpointOptions) {
    if let Some(cookies) = &options.cookies
        && cookies.origins.may_mend(&head.uri, &head.headers)
    {
        cookies::clear(reply.headers_mut(), &cookies.own);
    }
}
