//! How the servers of upstreams are, as operators are told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::meters::UpstreamSet;
use super::time::Timestamp;

/// One upstream.
#[derive(Clone, Debug)]
pub struct UpstreamReport {
    pub name: Arc<str>,
    /// In the order of the settings.
    pub targets: Vec<TargetReport>,
    /// What is counted for all of them together.
    pub meters: Arc<UpstreamSet>,
}

/// One server that the settings name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetReport {
    /// The key that names it, within its upstream: `urls[1]`.
    pub key: Arc<str>,
    /// What it names: host and port, or a socket.
    pub place: String,
    /// Of each of its addresses.
    pub weight: u32,
    /// Never empty.
    pub addresses: Vec<AddressReport>,
}

/// One address of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressReport {
    /// `None`: a socket of this machine, or a name that has not been resolved yet.
    pub address: Option<SocketAddr>,
    pub state: AddressState,
    /// Whether it gets requests: those that are not healthy do where there is nobody else.
    pub takes_requests: bool,
    /// `None`: it was not probed.
    pub last_probe: Option<LastProbe>,
    /// Under way, of all workers.
    pub requests: u32,
    /// Open to it, in use or not.
    pub connections: u32,
    /// Of these, without a request.
    pub idle: u32,
    /// Requests that wait for one.
    pub waiting: u32,
}

/// Whether an address is fit for requests. What its probes say comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressState {
    Healthy,
    /// It gets fewer requests than its share, which grows.
    Returning,
    Ejected {
        /// How much longer.
        remaining: Duration,
    },
    Unhealthy,
}

/// What the last probe came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LastProbe {
    pub ended_at: Timestamp,
    /// `Err`: why it failed, for people.
    pub outcome: Result<(), Arc<str>>,
}

impl AddressState {
    /// Of each, without its moment: for counting.
    pub const NAMES: [&'static str; 4] = ["healthy", "returning", "ejected", "unhealthy"];

    /// Stable, for programs: one of [`AddressState::NAMES`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        let [healthy, returning, ejected, unhealthy] = Self::NAMES;
        match self {
            Self::Healthy => healthy,
            Self::Returning => returning,
            Self::Ejected { .. } => ejected,
            Self::Unhealthy => unhealthy,
        }
    }

    /// Whether nothing is held against it.
    #[must_use]
    pub const fn is_fit(self) -> bool {
        matches!(self, Self::Healthy | Self::Returning)
    }
}

impl UpstreamReport {
    /// Of all its servers.
    pub fn addresses(&self) -> impl Iterator<Item = &AddressReport> {
        self.targets.iter().flat_map(|target| &target.addresses)
    }
}

/// Tells how the servers of all upstreams are now.
pub trait UpstreamStates: Send + Sync + 'static {
    fn reports(&self) -> Vec<UpstreamReport>;
}

/// Servers that stay as they are.
#[cfg(test)]
impl UpstreamStates for Vec<UpstreamReport> {
    fn reports(&self) -> Vec<UpstreamReport> {
        self.clone()
    }
}
