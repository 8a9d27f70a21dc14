//! What is known of a client's connection, whatever is spoken on it.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::domain::client_limits::ClientLimits;
use crate::domain::headers::forwarded::Hop;
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
    pub fn new(peer: SocketAddr, watch: Rc<ConnectionWatch>, limits: ClientLimits) -> Rc<Self> {
        // TLS ends before us.
        Rc::new(Self { peer, hop: Hop::new(peer.ip(), "http"), watch, limits })
    }
}
