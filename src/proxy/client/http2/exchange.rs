//! One stream of HTTP/2 as the request path sees it.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

use super::connection::UnderWay;
use crate::proxy::client::connection::ClientConnection;
use crate::proxy::client::tunnel::Upgrade;
use crate::proxy::client::tunnel::handshake::SEC_WEBSOCKET_ACCEPT;
use crate::proxy::incoming::Responder;
use crate::proxy::watch::ExchangeWatch;

/// One of several exchanges on a connection.
#[derive(Debug)]
pub struct Http2Exchange {
    pub(super) under_way: UnderWay,
    pub(in crate::proxy::client) watch: Rc<ExchangeWatch>,
    pub(super) responder: Responder,
    /// What the stream turns into, once the upstream switched protocols.
    upgrade: RefCell<Option<Upgrade>>,
}

impl Http2Exchange {
    pub(super) fn new(under_way: UnderWay, watch: Rc<ExchangeWatch>, responder: Responder) -> Rc<Self> {
        Rc::new(Self { under_way, watch, responder, upgrade: RefCell::new(None) })
    }

    pub(in crate::proxy::client) fn client(&self) -> &ClientConnection {
        &self.under_way.connection().client
    }

    /// Sends an interim response on its way.
    pub(in crate::proxy::client) fn pass_interim(&self, status: StatusCode, headers: &HeaderMap) {
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers.clone();
        // A stream that has ended needs none.
        let _ = self.responder.borrow_mut().send_informational(response);
    }

    /// Makes of the upstream's consent that of RFC 8441, section 5.
    pub(in crate::proxy::client) fn switch_to(&self, upgrade: Upgrade, consent: &mut Response<Bytes>) {
        *self.upgrade.borrow_mut() = Some(upgrade);
        *consent.status_mut() = StatusCode::OK;
        consent.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
    }

    pub(super) fn take_upgrade(&self) -> Option<Upgrade> {
        self.upgrade.borrow_mut().take()
    }
}
