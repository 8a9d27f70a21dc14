//! What is known of a client's connection, whatever is spoken on it.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::domain::client_limits::ClientLimits;
use crate::domain::headers::forwarded::Hop;
use crate::domain::scheme::Scheme;
use crate::proxy::watch::ConnectionWatch;

/// A client's connection.
#[derive(Debug)]
pub struct ClientConnection {
    pub peer: SocketAddr,
    pub hop: Hop,
    pub watch: Rc<ConnectionWatch>,
    pub limits: ClientLimits,
}

impl ClientConnection {
    pub fn new(peer: SocketAddr, scheme: Scheme, watch: Rc<ConnectionWatch>, limits: ClientLimits) -> Rc<Self> {
        Rc::new(Self { peer, hop: Hop::new(peer.ip(), scheme), watch, limits })
    }
}
