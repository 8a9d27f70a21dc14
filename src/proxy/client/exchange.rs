//! One request and its response, as the request path sees them.

use std::rc::Rc;

use bytes::Bytes;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};

use super::connection::ClientConnection;
use super::http1::connection::Http1Connection;
use super::http2::exchange::Http2Exchange;
use super::http2::head;
use super::tunnel::{Upgrade, handshake};
use crate::domain::meters::StreamKind;
use crate::proxy::watch::ExchangeWatch;

/// From the head of a request to the last byte of its response. It ends when it is dropped.
#[derive(Debug)]
pub struct Exchange(Protocol);

/// By which protocol it came, and so what else its connection can do for it.
#[derive(Debug)]
enum Protocol {
    /// One exchange at a time.
    Http1(Rc<Http1Connection>),
    /// One of several.
    Http2(Rc<Http2Exchange>),
}

impl Exchange {
    pub(in crate::proxy) fn of_http1(connection: &Rc<Http1Connection>, version: Version) -> Self {
        connection.exchange_begins(version);
        Self(Protocol::Http1(Rc::clone(connection)))
    }

    pub(in crate::proxy::client) fn of_http2(exchange: &Rc<Http2Exchange>) -> Self {
        Self(Protocol::Http2(Rc::clone(exchange)))
    }

    pub fn client(&self) -> &ClientConnection {
        match &self.0 {
            Protocol::Http1(connection) => &connection.client,
            Protocol::Http2(exchange) => exchange.client(),
        }
    }

    pub fn watch(&self) -> &Rc<ExchangeWatch> {
        match &self.0 {
            Protocol::Http1(connection) => &connection.exchange,
            Protocol::Http2(exchange) => &exchange.watch,
        }
    }

    /// Refuses a head that its protocol leaves room to read in two ways; once. `length` is that of the body, where it is known.
    ///
    /// # Errors
    /// Fixed text for the client.
    pub(in crate::proxy) fn check_head(&self, head: &Parts, length: Option<u64>) -> Result<(), &'static str> {
        match &self.0 {
            Protocol::Http1(connection) => connection.check_head(&head.headers, length),
            Protocol::Http2(_) => head::check(head),
        }
    }

    /// Sends an interim response on its way, where the client knows of such.
    pub(in crate::proxy) fn pass_interim(&self, status: StatusCode, headers: &HeaderMap) {
        match &self.0 {
            Protocol::Http1(connection) => connection.pass_interim(status, headers),
            Protocol::Http2(exchange) => exchange.pass_interim(status, headers),
        }
    }

    /// Whether fields behind a response's body reach the client.
    pub(in crate::proxy) const fn carries_trailers(&self) -> bool {
        match &self.0 {
            // hyper would want each of them announced.
            Protocol::Http1(_) => false,
            Protocol::Http2(_) => true,
        }
    }

    /// As what a tunnel counts that it turns into.
    pub(in crate::proxy) const fn tunnel_kind(&self) -> StreamKind {
        match &self.0 {
            Protocol::Http1(_) => StreamKind::WebSocketHttp1,
            Protocol::Http2(_) => StreamKind::WebSocketHttp2,
        }
    }

    /// What the exchange turns into once its response is out, which is the upstream's consent.
    pub(in crate::proxy) fn switch_to(&self, upgrade: Upgrade, consent: &mut Response<Bytes>) {
        match &self.0 {
            Protocol::Http1(connection) => {
                connection.switch_to(upgrade);
                handshake::announce(consent.headers_mut());
            }
            Protocol::Http2(exchange) => exchange.switch_to(upgrade, consent),
        }
    }

    /// Marks the response as one behind which nothing of the client is read any more.
    pub(in crate::proxy) fn reads_no_more(&self, response: &mut HeaderMap) {
        match &self.0 {
            Protocol::Http1(_) => {
                response.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            // The rest of this stream alone: h2 resets it behind the response, with NO_ERROR (RFC 9113, section 8.1).
            Protocol::Http2(_) => {}
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        match &self.0 {
            Protocol::Http1(connection) => connection.exchange_ends(),
            // It ends with its stream.
            Protocol::Http2(_) => {}
        }
    }
}
