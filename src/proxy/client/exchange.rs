//! One request and its response, as the request path sees them.

use std::rc::Rc;

use http::{HeaderMap, StatusCode, Version};

use super::connection::ClientConnection;
use super::http1::connection::Http1Connection;
use super::http1::heads::Told;
use super::tunnel::Upgrade;
use crate::proxy::http1::framing::Framing;
use crate::proxy::watch::ExchangeWatch;

/// From the head of a request to the last byte of its response. It ends when it is dropped.
#[derive(Debug)]
pub struct Exchange(Protocol);

/// By which protocol it came, and so what else its connection can do for it.
#[derive(Debug)]
enum Protocol {
    /// One exchange at a time.
    Http1(Rc<Http1Connection>),
}

impl Exchange {
    pub(in crate::proxy) fn of_http1(connection: &Rc<Http1Connection>, version: Version) -> Self {
        connection.exchange_begins(version);
        Self(Protocol::Http1(Rc::clone(connection)))
    }

    pub fn client(&self) -> &ClientConnection {
        match &self.0 {
            Protocol::Http1(connection) => &connection.client,
        }
    }

    pub fn watch(&self) -> &Rc<ExchangeWatch> {
        match &self.0 {
            Protocol::Http1(connection) => &connection.exchange,
        }
    }

    /// What the head said in the client's words; once. `None`: it was not seen whole.
    pub(in crate::proxy) fn take_raw_head(&self, framing: Framing) -> Option<Told> {
        match &self.0 {
            Protocol::Http1(connection) => connection.take_raw_head(framing),
        }
    }

    /// Sends an interim response on its way, where the client knows of such.
    pub(in crate::proxy) fn pass_interim(&self, status: StatusCode, headers: &HeaderMap) {
        match &self.0 {
            Protocol::Http1(connection) => connection.pass_interim(status, headers),
        }
    }

    /// What the exchange turns into once its response is out.
    pub(in crate::proxy) fn switch_to(&self, upgrade: Upgrade) {
        match &self.0 {
            Protocol::Http1(connection) => connection.switch_to(upgrade),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        match &self.0 {
            Protocol::Http1(connection) => connection.exchange_ends(),
        }
    }
}
