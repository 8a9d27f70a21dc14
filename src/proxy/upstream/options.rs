//! One upstream's address and habits.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::connect::Target;

/// One upstream's address and habits.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    pub name: Arc<str>,
    pub target: Target,
    /// Put before the path of each request. Canonical, without a slash at its end.
    pub base_path: Arc<str>,
    /// Host and port of its URL.
    pub own_host: HeaderValue,
    /// Whether it is sent as Host instead of the client's.
    pub replaces_host: bool,
    pub connect_timeout: Duration,
    /// How long the upstream may take none of the bytes that there are of a request.
    pub write_timeout: Duration,
    /// How long a connection is kept without use.
    pub idle_timeout: Duration,
    /// How many unused connections each worker keeps.
    pub idle_max: usize,
}

impl UpstreamOptions {
    /// Whether both are one upstream: connections to the one are connections to the other.
    #[must_use]
    pub fn is_at_the_target_of(&self, other: &Self) -> bool {
        self.name == other.name && self.target == other.target
    }

    /// The Host field for a request whose client named this one, or none.
    pub(super) fn host<'a>(&'a self, named: Option<&'a HeaderValue>) -> &'a HeaderValue {
        named.filter(|_| !self.replaces_host).unwrap_or(&self.own_host)
    }
}
