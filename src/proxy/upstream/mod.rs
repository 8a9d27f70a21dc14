//! Upstreams as one worker sees them. Each is asked in one way, whatever protocol it speaks: a request in, a response out.
//!
//! An exchange runs inside the task of the request that it serves. By HTTP/1.1 there is no task per connection and nothing to hand over;
//! a connection of HTTP/2, which carries many exchanges, is a task of its worker.

pub mod backends;
mod body;
mod carried;
pub mod connect;
mod end;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http1;
mod http2;
mod link;
mod options;
mod outgoing;
mod queue;
mod request;
mod response;
mod switched;
mod terms;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use tower::retry::budget::{Budget as _, TpsBudget};

pub(in crate::proxy) use body::Part;
pub use body::{BodyFault, ClientBody, Pacing, RequestBody};
pub use connect::{Protocol, Stream, Target, Tls};
use end::{Again, Failed};
pub use end::{ExchangeEnd, UpstreamFault};
use http1::Http1Exchange;
use http2::Http2Exchange;
pub use link::{AllLinks, Lease};
use link::{Link, Pool};
pub use options::{Http2Options, UpstreamOptions};
pub use request::{RequestFields, UpstreamRequest};
pub use response::UpstreamBody;
pub use switched::SwitchedStream;
pub use terms::{ExchangeTerms, ExchangeTimeouts, LastWord, Unasked};

use super::watch::{ExchangeWait, Watchers};
use crate::domain::affinity::{self, AffinityKey};
use crate::domain::balance::{self, Candidate};
use crate::domain::share::Share;
use crate::domain::stats::{Counter, Counters};

/// How long a request earns repeats for others.
const BUDGET_MEMORY: Duration = Duration::from_secs(10);

/// The most backends that one request tries.
const BACKENDS_TRIED_MAX: usize = 3;

/// One worker's access to one upstream.
#[derive(Debug)]
pub struct Upstream {
    options: UpstreamOptions,
    watchers: Rc<Watchers>,
    counters: Arc<Counters>,
    all_links: Rc<AllLinks>,
    links: RefCell<Links>,
    /// What requests have earned for repeats of others.
    budget: TpsBudget,
}

/// The ways to the backends, as they were at one version of the list. Never empty.
#[derive(Debug)]
struct Links {
    version: u64,
    list: Vec<Rc<Link>>,
}

impl Upstream {
    pub fn new(options: UpstreamOptions, watchers: Rc<Watchers>, counters: Arc<Counters>, all_links: Rc<AllLinks>) -> Rc<Self> {
        let links = RefCell::new(Links::of(&options, &[], (&watchers, &all_links)));
        Rc::new(Self { budget: budget(options.retries), options, watchers, counters, all_links, links })
    }

    /// By other options, with the same connections to the backends that stayed.
    #[must_use]
    pub fn with(&self, options: UpstreamOptions) -> Rc<Self> {
        let links = RefCell::new(Links::of(&options, &self.links.borrow().list, (&self.watchers, &self.all_links)));
        let (watchers, counters, all_links) = (Rc::clone(&self.watchers), Arc::clone(&self.counters), Rc::clone(&self.all_links));
        Rc::new(Self { budget: budget(options.retries), options, watchers, counters, all_links, links })
    }

    pub const fn options(&self) -> &UpstreamOptions {
        &self.options
    }

    /// Sends a request and waits for the head of the response; the rest of both bodies moves while the returned body is read.
    ///
    /// A backend that cannot be reached has got nothing of the request: others are tried. One that may have got it and is lost is
    /// given up on for another if the request is idempotent and has no body, and while few requests need that.
    ///
    /// # Errors
    /// Why there is no response, or none that can be used.
    pub async fn exchange<F: RequestFields>(
        self: &Rc<Self>,
        request: &UpstreamRequest<'_, F>,
        mut body: RequestBody,
        terms: ExchangeTerms<'_>,
    ) -> Result<Response<UpstreamBody>, ExchangeEnd> {
        let mut tried = Vec::new();
        // An upload takes as long as its client does.
        let is_timed = body.length() == Some(0);
        let mut lease = self.any(request.affinity);
        let outcome = loop {
            let (options, link, counters) = (&self.options, &*lease, &*self.counters);
            (terms.asks)(&link.backend);
            let failed = match &link.pool {
                Pool::Http1(pool) => {
                    match (Http1Exchange { options, link, pool, counters, request, terms }).run(&mut body).await {
                        Ok(response) => {
                            self.answered(&lease, response.status(), is_timed);
                            break Ok(response.map(|body| UpstreamBody::of_http1(Rc::clone(self), lease, body)));
                        }
                        Err(failed) => failed,
                    }
                }
                // Boxed: an exchange by HTTP/1 need not have room for it.
                Pool::Http2(pool) => {
                    match Box::pin(Http2Exchange { options, link, pool, counters, request, terms }.run(&mut body)).await {
                        Ok(response) => {
                            self.answered(&lease, response.status(), is_timed);
                            break Ok(response.map(|body| UpstreamBody::of_http2(Rc::clone(self), lease, body)));
                        }
                        Err(failed) => failed,
                    }
                }
            };
            let (fault, again) = match failed {
                Failed { end: ExchangeEnd::Upstream(fault), again } => (fault, again),
                failed => break Err(failed.end),
            };
            if fault.counts_against() {
                self.failed(&lease);
            }
            tried.push(lease);
            let may_repeat = || match again {
                Again::Unsent => fault.is_of_the_connecting() || self.budget.withdraw(),
                Again::Harmless => self.budget.withdraw(),
                Again::Never => false,
            };
            match self.other_than(&tried, request.affinity) {
                Some(other) if may_repeat() => lease = other,
                _ => break Err(fault.into()),
            }
            self.counters.add(Counter::UpstreamRetries, 1);
        };
        terms.watch.disarm(ExchangeWait::ResponseHead);
        outcome
    }

    fn answered(&self, lease: &Lease, status: StatusCode, is_timed: bool) {
        self.served(lease, status);
        // To refuse is quick: a broken server is no measure for the others.
        if is_timed && !status.is_server_error() {
            lease.is_answered(self.watchers.now());
        }
    }

    /// A backend that passes on that others fail, or that has too much to do, is better left alone.
    fn served(&self, lease: &Lease, status: StatusCode) {
        if [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT].contains(&status) {
            self.failed(lease);
        } else {
            lease.is_served(true);
        }
    }

    fn failed(&self, lease: &Lease) {
        lease.is_served(false);
        if self.options.backends.failed(&lease.backend) {
            self.counters.add(Counter::UpstreamEjections, 1);
            let (upstream, backend) = (&*self.options.name, &lease.backend);
            tracing::warn!(upstream, %backend, "a server of an upstream fails time and again: it gets no requests for a while");
            // Other workers do so with their next tick.
            self.follow();
        }
    }

    fn any(&self, key: Option<AffinityKey>) -> Lease {
        let links = &self.links.borrow().list;
        if let [only] = links.as_slice() {
            return Lease::new(only, self.watchers.now());
        }
        self.budget.deposit();
        // Where all are ejected, because the others are gone from the name, any will do.
        let chosen = self.choose(links, &[], key).unwrap_or_else(|| fastrand::usize(..links.len()));
        Lease::new(&links[chosen], self.watchers.now())
    }

    /// One that was not tried yet, while there have not been many.
    fn other_than(&self, tried: &[Lease], key: Option<AffinityKey>) -> Option<Lease> {
        let links = &self.links.borrow().list;
        let chosen = (tried.len() < BACKENDS_TRIED_MAX).then(|| self.choose(links, tried, key))??;
        Some(Lease::new(&links[chosen], self.watchers.now()))
    }

    /// One that was not tried; if there is one, such that the request need not wait for a connection.
    fn choose(&self, links: &[Rc<Link>], tried: &[Lease], key: Option<AffinityKey>) -> Option<usize> {
        let candidate = |index: usize| {
            let is_tried = tried.iter().any(|lease| lease.is_of(&links[index]));
            if is_tried { Candidate { weight: 0, load: 0 } } else { links[index].candidate() }
        };
        let at_once = |index: usize| {
            let is_busy = links[index].is_busy(self.options.connections_max);
            if is_busy { Candidate { weight: 0, load: 0 } } else { candidate(index) }
        };
        let count = links.len();
        if let Some(key) = key {
            let point = |index: usize| links[index].backend.point();
            return affinity::of_key(count, at_once, point, key).or_else(|| affinity::of_key(count, candidate, point, key));
        }
        let draws = [fastrand::u64(..), fastrand::u64(..)];
        balance::least_of_two(count, at_once, draws).or_else(|| balance::least_of_two(count, candidate, draws))
    }

    /// Passes one tick: follows the list of backends. What their connections have to do in it is [`AllLinks::tick`]'s.
    pub fn tick(&self) {
        self.options.backends.look();
        self.follow();
        self.links.borrow().list.iter().for_each(|link| link.is_listed());
    }

    fn follow(&self) {
        let mut links = self.links.borrow_mut();
        if links.version != self.options.backends.version() {
            *links = Links::of(&self.options, &links.list, (&self.watchers, &self.all_links));
        }
    }
}

impl Links {
    fn of(options: &UpstreamOptions, former: &[Rc<Link>], worker: (&Rc<Watchers>, &AllLinks)) -> Self {
        // Read before the list: a change in between is seen with the next tick.
        let version = options.backends.version();
        Self { version, list: Link::all(&options.backends.list(), former, worker, options) }
    }
}

/// Of `retries` in a hundred requests, and of one in each second whatever happens.
fn budget(retries: Share) -> TpsBudget {
    let reserve = u32::from(retries != Share::NONE);
    TpsBudget::new(BUDGET_MEMORY, reserve, f32::from(retries.percent()) / 100.0)
}

#[cfg(test)]
mod tests;
