//! Who is at the other end of a client's connection.

use std::fmt;
use std::net::SocketAddr;

/// Whoever sends the requests of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// Somebody of this address, who is believed if the address is trusted.
    Known(SocketAddr),
    /// A client whose address the balancer at this one does not know. It counts as the balancer's address, and is never believed:
    /// the trust is the balancer's own.
    UnknownBehind(SocketAddr),
}

impl Peer {
    /// The nearest that is known.
    pub const fn address(self) -> SocketAddr {
        match self {
            Self::Known(address) | Self::UnknownBehind(address) => address,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(address) => write!(f, "{address}"),
            Self::UnknownBehind(address) => write!(f, "unknown behind {address}"),
        }
    }
}
