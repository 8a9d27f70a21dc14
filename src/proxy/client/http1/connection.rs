//! What HTTP/1 knows of its connection: where in a request and a response it is.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, StatusCode, Version};

use super::heads::{RawHeads, Told, Unread};
use super::interim::InterimResponses;
use crate::domain::client_limits::ClientLimits;
use crate::proxy::client::connection::ClientConnection;
use crate::proxy::client::tunnel::Upgrade;
use crate::proxy::http1::framing::Framing;
use crate::proxy::seats::Doing;
use crate::proxy::watch::{ConnectionWait, ExchangeWatch};

/// The smallest read buffer that hyper accepts.
pub(super) const READ_BUFFER_MIN: usize = 8 * 1024;

/// So many bytes of a head may stay where the parser keeps them.
const MUCH_HELD: usize = 4 * 1024;

/// What the parser may keep of a client's bytes.
pub(super) fn read_buffer_bytes_max(limits: &ClientLimits) -> usize {
    limits.header_bytes_max.max(READ_BUFFER_MIN)
}

/// A client's connection on which HTTP/1 is spoken: one exchange at a time.
#[derive(Debug)]
pub struct Http1Connection {
    pub client: Rc<ClientConnection>,
    /// Of the present exchange. The next one has the same.
    pub exchange: Rc<ExchangeWatch>,
    pub(super) interim: InterimResponses,
    heads: RefCell<RawHeads>,
    /// What the connection turns into, once a response switched protocols.
    upgrade: RefCell<Option<Upgrade>>,
    pub(super) in_exchange: Cell<bool>,
    /// Something of the response has been written.
    has_responded: Cell<bool>,
    /// A request was made.
    pub(super) is_used: Cell<bool>,
    /// Of the present request, or the last.
    version: Cell<Version>,
    /// Closing normally would make a response that broke off look complete, so whatever ends the connection now resets it, also the
    /// end of the worker.
    pub(super) ends_by_reset: Cell<bool>,
}

impl Http1Connection {
    /// `exchange` is that of `client`'s watch.
    pub fn new(client: &Rc<ClientConnection>, exchange: Rc<ExchangeWatch>) -> Rc<Self> {
        client.watch.arm(ConnectionWait::NextRequest, client.limits.header_timeout);
        Rc::new(Self {
            client: Rc::clone(client),
            exchange,
            interim: InterimResponses::default(),
            heads: RefCell::new(RawHeads::new(2 * read_buffer_bytes_max(&client.limits))),
            upgrade: RefCell::new(None),
            in_exchange: Cell::new(false),
            has_responded: Cell::new(false),
            is_used: Cell::new(false),
            version: Cell::new(Version::HTTP_11),
            ends_by_reset: Cell::new(false),
        })
    }

    /// A request's head is complete.
    pub(in crate::proxy::client) fn exchange_begins(&self, version: Version) {
        self.in_exchange.set(true);
        self.has_responded.set(false);
        self.is_used.set(true);
        self.version.set(version);
        self.client.watch.disarm(ConnectionWait::NextRequest);
        self.client.watch.disarm(ConnectionWait::RequestHead);
        self.client.watch.does(Doing::Response);
    }

    /// The response is complete or given up.
    pub(in crate::proxy::client) fn exchange_ends(&self) {
        self.in_exchange.set(false);
        self.exchange.speak_for(None);
        if self.heads.borrow().is_within_a_head() {
            // It came with the request before it.
            self.head_begins();
        } else {
            self.client.watch.arm(ConnectionWait::NextRequest, self.client.limits.idle_timeout);
            self.client.watch.does(Doing::Nothing);
        }
    }

    fn head_begins(&self) {
        self.client.watch.arm(ConnectionWait::RequestHead, self.client.limits.header_timeout);
        self.client.watch.does(Doing::Head);
    }

    /// Whether a request has come whole whose response has not left whole. A client that ends its side then may still read.
    pub(super) fn owes_a_response(&self) -> bool {
        let heads = self.heads.borrow();
        heads.is_behind_a_head() || self.in_exchange.get() && heads.unread() == Unread::Nothing || self.is_writing()
    }

    /// Whether a request has come whole, so that the parser reads nothing before the response is out.
    pub(super) fn reads_nothing(&self) -> bool {
        (self.in_exchange.get() || self.is_writing()) && self.heads.borrow().unread() == Unread::Nothing
    }

    /// Whether a response has begun to leave, and is not out whole.
    pub(super) fn is_responding(&self) -> bool {
        self.in_exchange.get() && self.has_responded.get() || self.is_writing()
    }

    fn is_writing(&self) -> bool {
        !self.interim.is_response_flushed()
    }

    /// No byte of a request has come since the last response left, or at all.
    pub(super) fn is_idle(&self) -> bool {
        !self.in_exchange.get()
            && self.client.watch.is_armed(ConnectionWait::NextRequest)
            && !self.client.watch.is_armed(ConnectionWait::ClientWrite)
    }

    pub(in crate::proxy::client) fn switch_to(&self, upgrade: Upgrade) {
        *self.upgrade.borrow_mut() = Some(upgrade);
    }

    pub(super) fn take_upgrade(&self) -> Option<Upgrade> {
        self.upgrade.borrow_mut().take()
    }

    /// Bytes of a response are about to be written: whether the connection has to be told how it ends, if it does now.
    pub(super) fn response_moves(&self) -> bool {
        self.has_responded.set(true);
        self.interim.response_moves();
        self.ends_responses() && !self.ends_by_reset.replace(true)
    }

    /// Whether the end of the connection may be the end of a response.
    fn ends_responses(&self) -> bool {
        self.version.get() < Version::HTTP_11
    }

    /// Sends an interim response to the present request on its way, where the client knows of such.
    pub(in crate::proxy::client) fn pass_interim(&self, status: StatusCode, headers: &HeaderMap) {
        if self.version.get() >= Version::HTTP_11 {
            self.interim.add(status, headers);
        }
    }

    /// Refuses what the parser amends in silence in the head of the present request; once for each request.
    pub(in crate::proxy::client) fn check_head(&self, headers: &HeaderMap, length: Option<u64>) -> Result<(), &'static str> {
        match self.heads.borrow_mut().take(Framing::of(length)) {
            Some(Told { length_beside_chunks: true }) => Err("Content-Length and Transfer-Encoding together."),
            None if headers.contains_key(TRANSFER_ENCODING) => Err("The request cannot be told from what came before it."),
            Some(_) | None => Ok(()),
        }
    }

    /// What the client may still send of the last request.
    pub(super) fn unread(&self) -> Unread {
        self.heads.borrow().unread()
    }

    /// Takes notice of bytes that are thrown away: whether the last request is over.
    pub(super) fn passes_over(&self, bytes: &[u8]) -> bool {
        let mut heads = self.heads.borrow_mut();
        heads.came(bytes);
        heads.is_between()
    }

    pub(super) fn bytes_came(&self, bytes: &[u8]) {
        self.heads.borrow_mut().came(bytes);
        if self.in_exchange.get() {
            return;
        }
        if self.client.watch.is_armed(ConnectionWait::NextRequest) && !self.heads.borrow().is_before_a_head() {
            self.client.watch.disarm(ConnectionWait::NextRequest);
            self.head_begins();
        }
    }

    /// The bytes of a head that is to be held until it has come whole, or is larger than it may be.
    pub(super) fn partial_head_bytes(&self) -> Option<usize> {
        let is_held = |bytes: &usize| (1..read_buffer_bytes_max(&self.client.limits)).contains(bytes);
        self.heads.borrow().partial_head_bytes().filter(is_held)
    }

    /// Whether nothing is under way but a head, of which much is held: it may be long in coming.
    pub(super) fn holds_much(&self) -> bool {
        !self.in_exchange.get()
            && !self.client.watch.is_armed(ConnectionWait::ClientWrite)
            && self.partial_head_bytes().is_some_and(|bytes| bytes >= MUCH_HELD)
    }
}
