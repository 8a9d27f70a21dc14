//! What is measured of requests, and of what they need: by each worker for itself, gathered when somebody asks.
//!
//! A worker alone writes its set, with plain loads and stores: no lock, and no cache line that another core writes. Every label has a
//! fixed set of values, or the names of the settings: nobody outside can add one.

mod cells;
mod control;
mod histogram;
mod labels;
mod requests;
mod upstream;
mod worker;

use std::sync::Arc;

pub use cells::{Count, Counts};
pub use control::ControlSet;
pub use histogram::{BOUNDS, Distribution, Histogram};
pub use labels::{
    AccessLogLine, EndpointName, Http2Reset, Label, Limit, MethodClass, Outcome, ResetBy, StatusClass, StoreCommand, StreamKind,
    TlsFailure, TlsHandshake,
};
pub use requests::{Ended, Requests, RowName, Spans, Totals};
pub use upstream::UpstreamSet;
pub use worker::{Rows, WorkerSet};

/// All sets of the process.
#[derive(Debug)]
pub struct Meters {
    workers: Box<[Arc<WorkerSet>]>,
    control: Arc<ControlSet>,
}

impl Meters {
    #[must_use]
    pub fn of_workers(count: usize) -> Arc<Self> {
        Arc::new(Self { workers: (0..count).map(|_| Arc::default()).collect(), control: Arc::default() })
    }

    /// That of one worker, which keeps it when it is built anew.
    #[must_use]
    pub fn worker(&self, index: usize) -> &Arc<WorkerSet> {
        &self.workers[index]
    }

    /// That of the control plane, where any thread may count.
    #[must_use]
    pub const fn control(&self) -> &Arc<ControlSet> {
        &self.control
    }

    /// Of each worker by itself, in their order.
    pub fn workers(&self) -> impl Iterator<Item = &WorkerSet> {
        self.workers.iter().map(|worker| &**worker)
    }

    /// What all workers have measured of requests, by what they met, in the order of its names.
    #[must_use]
    pub fn requests(&self) -> Vec<(RowName, Totals)> {
        let mut all: Vec<(RowName, Totals)> = Vec::new();
        for (name, requests) in self.workers().flat_map(WorkerSet::requests) {
            match all.binary_search_by(|(known, _)| known.cmp(&name)) {
                Ok(at) => all[at].1.add(&requests),
                Err(at) => {
                    let mut totals = Totals::default();
                    totals.add(&requests);
                    all.insert(at, (name, totals));
                }
            }
        }
        all
    }

    /// The sum over all workers.
    pub fn sum(&self, count: impl Fn(&WorkerSet) -> u64) -> u64 {
        self.workers().map(count).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(outcome: Outcome, total: u64) -> Ended {
        Ended {
            method: MethodClass::Read,
            status: StatusClass::Success,
            outcome,
            request_bytes: 3,
            response_bytes: 5,
            spans: Spans { total, gateway: total, upstream: None },
        }
    }

    #[test]
    fn what_workers_measured_is_added_up_by_route() {
        let meters = Meters::of_workers(2);
        let routes: [Arc<str>; 2] = ["b".into(), "a".into()];
        let first = meters.worker(0).rows(routes.iter()).map(|(_, requests)| requests);
        let second = meters.worker(1).rows(routes[..1].iter()).map(|(_, requests)| requests);
        first.route(0).end(&ended(Outcome::Forwarded, 2_000_000));
        second.route(0).end(&ended(Outcome::Forwarded, 3_000_000));
        first.route(1).begin();
        let all = meters.requests();
        let of = |name: &str| all.iter().find(|(row, _)| matches!(row, RowName::Route(route) if **route == *name)).unwrap();
        assert_eq!(of("b").1.count(MethodClass::Read, StatusClass::Success, Outcome::Forwarded), 2);
        assert_eq!((of("b").1.request_bytes, of("b").1.response_bytes, of("b").1.in_flight), (6, 10, 0));
        assert_eq!((of("b").1.total.count(), of("b").1.total.nanos, of("b").1.upstream.count()), (2, 5_000_000, 0));
        assert_eq!(of("a").1.in_flight, 1);
        let names: Vec<_> = all.iter().map(|(name, _)| name.clone()).collect();
        assert!(names.is_sorted() && names.len() == 2 + EndpointName::ALL.len(), "{names:?}");
    }

    #[test]
    fn a_route_that_stays_counts_on_and_one_that_is_gone_is_forgotten() {
        let meters = Meters::of_workers(1);
        let (stays, goes): (Arc<str>, Arc<str>) = ("stays".into(), "goes".into());
        let former = meters.worker(0).rows([&stays, &goes].into_iter()).map(|(_, requests)| requests);
        former.route(0).end(&ended(Outcome::Denied, 1));
        let next = meters.worker(0).rows([&stays].into_iter()).map(|(_, requests)| requests);
        next.route(0).end(&ended(Outcome::Denied, 1));
        former.route(0).end(&ended(Outcome::Denied, 1));
        former.route(1).end(&ended(Outcome::Denied, 1));
        let all = meters.requests();
        let routes: Vec<_> = all.iter().filter(|(name, _)| matches!(name, RowName::Route(_))).collect();
        let [(RowName::Route(name), totals)] = routes.as_slice() else { panic!("{routes:?}") };
        assert_eq!((&**name, totals.count(MethodClass::Read, StatusClass::Success, Outcome::Denied)), ("stays", 3));
    }
}
