//! Upstreams as one worker sees them. Each is asked in one way, whatever protocol it speaks: a request in, a response out.
//!
//! An exchange runs inside the task of the request that it serves; there is no task per connection and nothing to hand over.

mod body;
pub mod connect;
mod end;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http1;
mod options;
mod request;
mod response;

use std::rc::Rc;
use std::sync::Arc;

use http::Response;

pub(in crate::proxy) use body::Part;
pub use body::{BodyFault, ClientBody, Pacing, RequestBody};
pub use connect::{Stream, Target, Tls};
pub use end::{ExchangeEnd, UpstreamFault};
use http1::Http1Exchange;
use http1::pool::{Pool, PoolLimits};
pub use options::UpstreamOptions;
pub use request::{ExchangeTerms, ExchangeTimeouts, RequestFields, UpstreamRequest};
pub use response::UpstreamBody;

use super::watch::{ExchangeWait, Watchers};
use crate::domain::stats::Counters;

/// One worker's access to one upstream.
#[derive(Debug)]
pub struct Upstream {
    options: UpstreamOptions,
    counters: Arc<Counters>,
    /// Shared with the same upstream by other options.
    pool: Rc<Pool>,
}

impl Upstream {
    pub fn new(options: UpstreamOptions, watchers: Rc<Watchers>, counters: Arc<Counters>) -> Rc<Self> {
        let pool = Pool::new(watchers, pool_limits(&options));
        Rc::new(Self { options, counters, pool })
    }

    /// The same connections to the same target, by other options.
    #[must_use]
    pub fn with(&self, options: UpstreamOptions) -> Rc<Self> {
        self.pool.limit(pool_limits(&options));
        Rc::new(Self { options, counters: Arc::clone(&self.counters), pool: Rc::clone(&self.pool) })
    }

    pub const fn options(&self) -> &UpstreamOptions {
        &self.options
    }

    /// Sends a request and waits for the head of the response; the rest of both bodies moves while the returned body is read.
    ///
    /// # Errors
    /// Why there is no response, or none that can be used.
    pub async fn exchange<F: RequestFields>(
        self: &Rc<Self>,
        request: &UpstreamRequest<'_, F>,
        body: RequestBody,
        terms: ExchangeTerms<'_>,
    ) -> Result<Response<UpstreamBody>, ExchangeEnd> {
        let exchange = Http1Exchange { options: &self.options, pool: &self.pool, counters: &self.counters, request, terms };
        let outcome = exchange.run(body).await;
        terms.watch.disarm(ExchangeWait::ResponseHead);
        outcome.map(|response| response.map(|body| UpstreamBody::of_http1(Rc::clone(self), body)))
    }

    /// Closes connections that idled too long.
    pub fn prune(&self) {
        self.pool.prune();
    }
}

const fn pool_limits(options: &UpstreamOptions) -> PoolLimits {
    PoolLimits { idle_timeout: options.idle_timeout, idle_max: options.idle_max }
}

#[cfg(test)]
mod tests;
