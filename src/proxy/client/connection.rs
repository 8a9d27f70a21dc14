//! What is known of a client's connection, whatever is spoken on it.

use std::rc::Rc;

use crate::domain::client_limits::ClientLimits;
use crate::domain::headers::CertificateFields;
use crate::domain::headers::forwarded::Hop;
use crate::domain::host::LastHost;
use crate::domain::peer::Peer;
use crate::domain::scheme::Scheme;
use crate::domain::time::Timestamp;
use crate::proxy::watch::ConnectionWatch;

/// A client's connection.
#[derive(Debug)]
pub struct ClientConnection {
    /// Whose the connection is: who has made it, or of whom a PROXY header tells.
    pub peer: Peer,
    pub hop: Hop,
    pub watch: Rc<ConnectionWatch>,
    pub limits: ClientLimits,
    pub purpose: Purpose,
    /// Its certificate, if it showed one.
    pub certificate: Option<ShownCertificate>,
    pub last_host: LastHost,
}

/// What becomes of the requests of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    Requests,
    /// Each is redirected to https at this port.
    Redirect(u16),
    /// Each is a proxy's question about another one.
    Questions,
}

/// A client's certificate, for as long as the connection is there by which it was shown.
#[derive(Clone, Debug)]
pub struct ShownCertificate {
    /// What upstreams are told of it.
    pub fields: CertificateFields,
    pub not_after: Timestamp,
}

impl ShownCertificate {
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.not_after < now
    }
}

impl ClientConnection {
    pub fn new(peer: Peer, scheme: Scheme, watch: Rc<ConnectionWatch>, limits: ClientLimits) -> Self {
        Self {
            peer,
            hop: Hop::new(peer, scheme),
            watch,
            limits,
            purpose: Purpose::Requests,
            certificate: None,
            last_host: LastHost::default(),
        }
    }
}
