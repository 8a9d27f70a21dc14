//! What one worker measures.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cells::{Count, Counts};
use super::histogram::Histogram;
use super::labels::{EndpointName, Http2Reset, Label, Limit, ResetBy, StreamKind, TlsFailure, TlsHandshake};
use super::requests::{Requests, RowName};

/// One worker's set. It alone writes it; the lists are locked when settings change and when somebody reads, never for a request.
#[derive(Debug, Default)]
pub struct WorkerSet {
    routes: Mutex<Vec<(Arc<str>, Arc<Requests>)>>,
    endpoints: Mutex<Vec<Arc<Requests>>>,
    /// What is open now.
    pub open: Counts<StreamKind>,
    pub tunnel_bytes: TunnelBytes,
    pub handshakes: Counts<TlsHandshake>,
    pub handshakes_failed: Counts<TlsFailure>,
    pub limited: Counts<Limit>,
    pub client_resets: Counts<Http2Reset>,
    pub gateway_resets: Counts<Http2Reset>,
    /// For how long it was at work, as of the last tick.
    pub busy_nanos: Count,
    /// By how much each tick came late.
    pub lag: Histogram,
    /// Tokens that it remembers, as of the last tick.
    pub tokens: Count,
    /// Tokens that it forgot to make room, as of the last tick.
    pub tokens_evicted: Count,
}

/// Bytes that passed through tunnels.
#[derive(Debug, Default)]
pub struct TunnelBytes {
    pub to_client: Count,
    pub to_upstream: Count,
}

impl WorkerSet {
    /// The places for the requests of these routes, in their order, and of all endpoints. A route that stayed counts on; those that are
    /// not among these are forgotten.
    #[must_use]
    pub fn rows<'a>(&self, routes: impl Iterator<Item = &'a Arc<str>>) -> Rows<(RowName, Arc<Requests>)> {
        let mut known = lock(&self.routes);
        let of_name = |name: &Arc<str>| {
            let stayed = known.iter().find(|(of, _)| of == name).map(|(_, requests)| Arc::clone(requests));
            (Arc::clone(name), stayed.unwrap_or_default())
        };
        let next: Vec<_> = routes.map(of_name).collect();
        known.clone_from(&next);
        drop(known);
        Rows {
            routes: next.into_iter().map(|(name, requests)| (RowName::Route(name), requests)).collect(),
            endpoints: EndpointName::ALL.into_iter().map(RowName::Endpoint).zip(self.endpoints()).collect(),
        }
    }

    /// The place for requests that meet nothing: the same whatever the settings say.
    #[must_use]
    pub fn nothing(&self) -> (RowName, Arc<Requests>) {
        let name = EndpointName::Nothing;
        (RowName::Endpoint(name), Arc::clone(&self.endpoints()[name.index()]))
    }

    fn endpoints(&self) -> Vec<Arc<Requests>> {
        let mut endpoints = lock(&self.endpoints);
        endpoints.resize_with(EndpointName::ALL.len(), Arc::default);
        endpoints.clone()
    }

    /// What was measured of requests, by what they met.
    pub(super) fn requests(&self) -> Vec<(RowName, Arc<Requests>)> {
        let routes = lock(&self.routes).clone().into_iter().map(|(name, requests)| (RowName::Route(name), requests));
        routes.chain(EndpointName::ALL.into_iter().map(RowName::Endpoint).zip(self.endpoints())).collect()
    }

    /// Streams of HTTP/2 that ended before their time.
    #[must_use]
    pub const fn resets(&self, by: ResetBy) -> &Counts<Http2Reset> {
        match by {
            ResetBy::Client => &self.client_resets,
            ResetBy::Gateway => &self.gateway_resets,
        }
    }
}

fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One place for each route, and for each endpoint.
#[derive(Debug)]
pub struct Rows<R> {
    routes: Vec<R>,
    endpoints: Vec<R>,
}

impl<R> Rows<R> {
    /// By the route's number, in the order in which they were asked for.
    #[must_use]
    pub fn route(&self, number: usize) -> &R {
        &self.routes[number]
    }

    #[must_use]
    pub fn endpoint(&self, name: EndpointName) -> &R {
        &self.endpoints[name.index()]
    }

    /// The same, with something else at each place.
    pub fn map<S>(self, mut each: impl FnMut(R) -> S) -> Rows<S> {
        Rows {
            routes: self.routes.into_iter().map(&mut each).collect(),
            endpoints: self.endpoints.into_iter().map(&mut each).collect(),
        }
    }
}
