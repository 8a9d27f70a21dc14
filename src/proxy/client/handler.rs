//! Who responds to requests, whatever protocol they come by.

use std::future::Future;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use super::exchange::Exchange;
use super::unread::Unread;
use crate::domain::meters::WorkerSet;
use crate::domain::peer::Peer;
use crate::domain::stats::Counter;
use crate::domain::time::Timestamp;
use crate::proxy::incoming::Incoming;
use crate::proxy::upstream::ExchangeEnd;

pub trait Handler: 'static {
    type Body: Body<Data = Bytes, Error = ExchangeEnd> + Unpin + 'static;

    /// Responds to one request, whatever happens.
    fn respond(&self, request: Request<Incoming>, exchange: Exchange) -> impl Future<Output = Response<Self::Body>>;

    /// Counts what happens outside of requests.
    fn count(&self, counter: Counter);

    /// Takes notice of what was refused before it came to be a request of this handler.
    fn rejects(&self, peer: Peer, unread: &Unread<'_>);

    /// What the worker measures with.
    fn meters(&self) -> &WorkerSet;

    fn now(&self) -> Timestamp;

    /// Random bytes that are no secret.
    fn nonce(&self) -> [u8; 16];
}
