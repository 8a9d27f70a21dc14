//! One upstream's address and habits.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::backends::{Backend, Backends};
use crate::crypto::client_identity::ClientIdentity;
use crate::crypto::server_authorities::ServerAuthorities;
use crate::domain::affinity::Balance;
use crate::domain::share::Share;

/// One upstream's address and habits.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    pub name: Arc<str>,
    pub backends: Arc<Backends>,
    pub balance: Balance,
    /// What its servers are shown that ask for a certificate.
    pub identity: Option<Arc<ClientIdentity>>,
    /// Who vouches for its servers; `None`: the authorities of the web.
    pub authorities: Option<Arc<ServerAuthorities>>,
    /// Put before the path of each request. Canonical, without a slash at its end.
    pub base_path: Arc<str>,
    /// Whether host and port of its URL are sent as Host instead of the client's.
    pub replaces_host: bool,
    pub connect_timeout: Duration,
    /// How long the upstream may take none of the bytes that there are of a request.
    pub write_timeout: Duration,
    /// How long a connection is kept without use.
    pub idle_timeout: Duration,
    /// How many unused connections each worker keeps to each backend.
    pub idle_max: usize,
    /// How many connections all workers together have to each backend. `None`: as many as there are requests.
    pub connections_max: Option<u32>,
    /// How long a request waits for one of them.
    pub connections_wait: Duration,
    /// Of so many requests in a hundred, one may be sent to another backend after one of them may have got it.
    pub retries: Share,
    /// Of connections on which HTTP/2 is spoken.
    pub http2: Http2Options,
}

/// What one connection carries on which HTTP/2 is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Http2Options {
    /// Requests at once, if the upstream allows as many.
    pub streams_max: u32,
    /// How many bytes of one response's body may wait for its client.
    pub stream_window_bytes: u32,
}

impl UpstreamOptions {
    /// The Host field for a request to this backend whose client named this one, or none.
    pub(super) fn host<'a>(&self, named: Option<&'a HeaderValue>, backend: &'a Backend) -> &'a HeaderValue {
        named.filter(|_| !self.replaces_host).unwrap_or_else(|| backend.own_host())
    }
}
