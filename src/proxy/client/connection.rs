//! What is known of a client's connection, whatever is spoken on it.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::domain::client_limits::ClientLimits;
use crate::domain::headers::CertificateFields;
use crate::domain::headers::forwarded::Hop;
use crate::domain::scheme::Scheme;
use crate::proxy::watch::ConnectionWatch;

/// A client's connection.
#[derive(Debug)]
pub struct ClientConnection {
    /// Whose the connection is: who has made it, or whom a PROXY header names.
    pub peer: SocketAddr,
    pub hop: Hop,
    pub watch: Rc<ConnectionWatch>,
    pub limits: ClientLimits,
    /// The port of https, where every request is redirected to it.
    pub redirect_port: Option<u16>,
    /// What upstreams are told of its certificate, if it showed one.
    pub certificate: Option<CertificateFields>,
}

impl ClientConnection {
    pub fn new(peer: SocketAddr, scheme: Scheme, watch: Rc<ConnectionWatch>, limits: ClientLimits) -> Self {
        Self { peer, hop: Hop::new(peer.ip(), scheme), watch, limits, redirect_port: None, certificate: None }
    }
}
