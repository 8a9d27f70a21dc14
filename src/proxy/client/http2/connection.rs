//! What is known of a connection on which HTTP/2 is spoken, beside what h2 knows.

use std::cell::Cell;
use std::rc::Rc;

use crate::domain::client_limits::Http2Limits;
use crate::domain::frame_meter::{Allowance, FrameMeter};
use crate::proxy::client::connection::{ClientConnection, Purpose};
use crate::proxy::http2::intake::Intakes;
use crate::proxy::watch::{ConnectionWait, TICK};

/// A client's connection on which HTTP/2 is spoken: many exchanges at once.
#[derive(Debug)]
pub struct Http2Connection {
    pub client: Rc<ClientConnection>,
    pub(super) limits: Http2Limits,
    pub(super) meter: FrameMeter,
    pub(super) intakes: Rc<Intakes>,
    resets: Allowance,
    flood: Cell<Option<Flood>>,
    /// The client was not told of it.
    is_flood_news: Cell<bool>,
    is_to_be_left: Cell<bool>,
}

/// Of what a client sent more than anybody needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Flood {
    #[error("too many requests taken back")]
    Resets,
    #[error("too many frames that carry nothing")]
    ControlFrames,
}

impl Http2Connection {
    pub(super) fn new(client: &Rc<ClientConnection>, limits: Http2Limits) -> Rc<Self> {
        let watch = &client.watch;
        // Of the preface, which HTTP/1 took for a head.
        watch.disarm(ConnectionWait::RequestHead);
        watch.arm(ConnectionWait::NextRequest, client.limits.header_timeout);
        Rc::new(Self {
            client: Rc::clone(client),
            limits,
            meter: FrameMeter::of_client(limits.control_frames_max),
            intakes: Rc::default(),
            resets: Allowance::new(limits.resets_max),
            flood: Cell::new(None),
            is_flood_news: Cell::new(false),
            is_to_be_left: Cell::new(false),
        })
    }

    /// The client has taken a request back. A proxy takes its questions back when its own clients leave.
    pub(super) fn was_reset(&self) {
        if self.client.purpose != Purpose::Questions && self.resets.is_exceeded_by_one_more(TICK * self.client.watch.now()) {
            self.floods(Flood::Resets);
        }
    }

    /// These bytes have come of the client.
    pub(super) fn has_sent(&self, bytes: &[u8]) {
        if self.meter.is_exceeded_by(bytes, TICK * self.client.watch.now()) {
            self.floods(Flood::ControlFrames);
        }
    }

    pub(super) fn floods(&self, flood: Flood) {
        if self.flood.replace(Some(flood)).is_none() {
            self.is_flood_news.set(true);
            self.client.watch.wake();
        }
    }

    pub(super) fn flood(&self) -> Option<Flood> {
        self.flood.get()
    }

    /// Whether there is a flood of which the client was not told; it is from now on.
    pub(super) fn tells_of_flood(&self) -> bool {
        self.is_flood_news.replace(false)
    }

    /// The client has sent much that had to be answered by resets: it gets a new connection for further requests.
    pub(super) fn leave(&self) {
        if !self.is_to_be_left.replace(true) {
            self.client.watch.wake();
        }
    }

    pub(super) const fn is_to_be_left(&self) -> bool {
        self.is_to_be_left.get()
    }

    /// No request is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.client.watch.exchanges() == 0
    }

    /// Something was heard of the client.
    pub(super) fn has_come(&self) {
        if let Some(interval) = self.limits.ping_interval {
            self.client.watch.arm(ConnectionWait::Silence, interval);
        }
    }

    /// From now on a request is owed.
    pub(super) fn awaits_request(&self) {
        self.client.watch.arm(ConnectionWait::NextRequest, self.client.limits.idle_timeout);
    }
}

/// That one exchange is under way on a connection.
#[derive(Debug)]
pub(super) struct UnderWay(Rc<Http2Connection>);

impl UnderWay {
    pub(super) fn on(connection: &Rc<Http2Connection>) -> Self {
        connection.client.watch.exchange_begins();
        connection.client.watch.disarm(ConnectionWait::NextRequest);
        Self(Rc::clone(connection))
    }

    pub(super) fn connection(&self) -> &Rc<Http2Connection> {
        &self.0
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.client.watch.exchange_ends();
        if self.0.is_idle() {
            self.0.awaits_request();
        }
    }
}
