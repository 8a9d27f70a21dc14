//! What one worker measures of the requests that meet one route, or one endpoint.

use std::sync::Arc;

use super::cells::Count;
use super::histogram::{Distribution, Histogram};
use super::labels::{EndpointName, Label as _, MethodClass, Outcome, StatusClass};

const STATUSES: usize = StatusClass::ALL.len();
const OUTCOMES: usize = Outcome::ALL.len();
const COUNTS: usize = MethodClass::ALL.len() * STATUSES * OUTCOMES;

/// What requests met.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RowName {
    /// By its name in the settings.
    Route(Arc<str>),
    Endpoint(EndpointName),
}

/// The requests of one worker to one route or endpoint. Apart from what other cores write.
#[derive(Debug)]
#[repr(align(128))]
pub struct Requests {
    in_flight: Count,
    request_bytes: Count,
    response_bytes: Count,
    total: Histogram,
    gateway: Histogram,
    upstream: Histogram,
    counts: [Count; COUNTS],
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            in_flight: Count::default(),
            request_bytes: Count::default(),
            response_bytes: Count::default(),
            total: Histogram::default(),
            gateway: Histogram::default(),
            upstream: Histogram::default(),
            counts: std::array::from_fn(|_| Count::default()),
        }
    }
}

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub method: MethodClass,
    pub status: StatusClass,
    pub outcome: Outcome,
    /// Of the body, as far as it came.
    pub request_bytes: u64,
    /// Of the body, as far as the connection took it.
    pub response_bytes: u64,
    pub spans: Spans,
}

/// How long a request took, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spans {
    /// From the head of the request to the end of the response.
    pub total: u64,
    /// Until an upstream was asked, or until the end where none was.
    pub gateway: u64,
    /// From there until the head of its response was there, or until it was given up.
    pub upstream: Option<u64>,
}

impl Requests {
    /// A request was found to belong here.
    pub fn begin(&self) {
        self.in_flight.add(1);
    }

    /// One that has begun here has ended.
    pub fn end(&self, ended: &Ended) {
        let Spans { total, gateway, upstream } = ended.spans;
        self.counts[place(ended.method, ended.status, ended.outcome)].add(1);
        self.total.note(total);
        self.gateway.note(gateway);
        if let Some(upstream) = upstream {
            self.upstream.note(upstream);
        }
        if ended.request_bytes > 0 {
            self.request_bytes.add(ended.request_bytes);
        }
        self.response_bytes.add(ended.response_bytes);
        // Last, and read first: what is not in flight any more has been counted.
        self.in_flight.sub(1);
    }
}

fn place(method: MethodClass, status: StatusClass, outcome: Outcome) -> usize {
    (method.index() * STATUSES + status.index()) * OUTCOMES + outcome.index()
}

/// What several workers have measured together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Totals {
    pub in_flight: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub total: Distribution,
    pub gateway: Distribution,
    pub upstream: Distribution,
    counts: [u64; COUNTS],
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            in_flight: 0,
            request_bytes: 0,
            response_bytes: 0,
            total: Distribution::default(),
            gateway: Distribution::default(),
            upstream: Distribution::default(),
            counts: [0; COUNTS],
        }
    }
}

impl Totals {
    pub(super) fn add(&mut self, requests: &Requests) {
        self.in_flight = self.in_flight.wrapping_add(requests.in_flight.get());
        self.request_bytes = self.request_bytes.wrapping_add(requests.request_bytes.get());
        self.response_bytes = self.response_bytes.wrapping_add(requests.response_bytes.get());
        self.total.add(&requests.total.read());
        self.gateway.add(&requests.gateway.read());
        self.upstream.add(&requests.upstream.read());
        for (sum, count) in self.counts.iter_mut().zip(&requests.counts) {
            *sum = sum.wrapping_add(count.get());
        }
    }

    #[must_use]
    pub fn count(&self, method: MethodClass, status: StatusClass, outcome: Outcome) -> u64 {
        self.counts[place(method, status, outcome)]
    }

    /// Those that are not zero.
    pub fn counted(&self) -> impl Iterator<Item = ((MethodClass, StatusClass, Outcome), u64)> {
        let labels = MethodClass::ALL.into_iter().flat_map(|method| {
            let with_status = move |status| Outcome::ALL.into_iter().map(move |outcome| (method, status, outcome));
            StatusClass::ALL.into_iter().flat_map(with_status)
        });
        labels.zip(self.counts).filter(|(_, count)| *count > 0)
    }
}
