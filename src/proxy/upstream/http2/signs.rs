//! What a connection shows of its peer: written by its task and its socket, read by the pool.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::openings::Openings;
use crate::domain::meters::Http2Reset;
use crate::proxy::watch::Watchers;

/// Signs of life of one connection.
#[derive(Debug)]
pub(super) struct Signs {
    watchers: Rc<Watchers>,
    openings: Rc<Openings>,
    /// When bytes came last.
    heard_at: Cell<u32>,
    /// Since when the peer takes none of the bytes that there are for it.
    blocked_since: Cell<Option<u32>>,
    /// When the peer was asked whether it is there, if nothing was heard since.
    asked_at: Cell<Option<u32>>,
    /// A request has waited in vain, and nothing was heard since.
    is_doubted: Cell<bool>,
    /// How many requests the peer takes at once. 0: it has not said so yet, or takes none.
    streams_allowed: Cell<u32>,
    /// Whether it has ever taken any.
    is_settled: Cell<bool>,
    /// The peer has sent much that had to be answered by resets.
    is_to_be_left: Cell<bool>,
    /// Why the gateway has given the connection up.
    given_up: Cell<Option<&'static str>>,
    has_ended: Cell<bool>,
    /// What h2 says of the end.
    fault: RefCell<Option<h2::Error>>,
}

impl Signs {
    pub(super) fn new(watchers: &Rc<Watchers>, openings: &Rc<Openings>) -> Rc<Self> {
        Rc::new(Self {
            heard_at: Cell::new(watchers.now()),
            watchers: Rc::clone(watchers),
            openings: Rc::clone(openings),
            blocked_since: Cell::new(None),
            asked_at: Cell::new(None),
            is_doubted: Cell::new(false),
            streams_allowed: Cell::new(0),
            is_settled: Cell::new(false),
            is_to_be_left: Cell::new(false),
            given_up: Cell::new(None),
            has_ended: Cell::new(false),
            fault: RefCell::new(None),
        })
    }

    pub(super) fn now(&self) -> u32 {
        self.watchers.now()
    }

    pub(super) fn age_since(&self, then: u32) -> Duration {
        self.watchers.age_since(then)
    }

    /// A stream has failed by this: counted, if its peer has reset it.
    pub(super) fn note_reset(&self, error: &h2::Error) {
        if let Some(reason) = error.reason().filter(|_| error.is_reset() && error.is_remote()) {
            self.openings.queue.demand().meters().resets.of(Http2Reset::of(reason.into())).add_shared(1);
        }
    }

    /// Bytes have come.
    pub(super) fn hear(&self) {
        self.heard_at.set(self.now());
        self.asked_at.set(None);
        if self.is_doubted.take() {
            self.openings.queue.wake_all();
        }
    }

    pub(super) fn silence(&self) -> Duration {
        self.age_since(self.heard_at.get())
    }

    /// Whether the peer takes what there is for it.
    pub(super) fn is_blocked(&self, is_blocked: bool) {
        if !is_blocked {
            self.blocked_since.set(None);
        } else if self.blocked_since.get().is_none() {
            self.blocked_since.set(Some(self.now()));
        }
    }

    /// For how long it has taken nothing.
    pub(super) fn blocked_for(&self) -> Duration {
        self.blocked_since.get().map_or(Duration::ZERO, |since| self.age_since(since))
    }

    pub(super) fn is_asked(&self) {
        if self.asked_at.get().is_none() {
            self.asked_at.set(Some(self.now()));
        }
    }

    /// For how long the peer owes a sign of life.
    pub(super) fn unanswered_for(&self) -> Duration {
        self.asked_at.get().map_or(Duration::ZERO, |since| self.age_since(since))
    }

    pub(super) fn doubt(&self) {
        self.is_doubted.set(true);
    }

    pub(super) const fn is_doubted(&self) -> bool {
        self.is_doubted.get()
    }

    /// The peer takes so many requests at once.
    pub(super) fn allows(&self, streams: usize) {
        let streams = u32::try_from(streams).unwrap_or(u32::MAX);
        let has_grown = streams > self.streams_allowed.replace(streams);
        if has_grown {
            self.is_settled.set(true);
            self.openings.queue.wake_all();
        }
    }

    /// A request has ended: there may be room for another one.
    pub(super) fn let_next_look(&self) {
        self.openings.queue.wake_one();
    }

    pub(super) const fn streams_allowed(&self) -> u32 {
        self.streams_allowed.get()
    }

    pub(super) const fn is_settled(&self) -> bool {
        self.is_settled.get()
    }

    /// The peer gets no further requests on this connection.
    pub(super) fn leave(&self) {
        self.is_to_be_left.set(true);
    }

    pub(super) const fn is_to_be_left(&self) -> bool {
        self.is_to_be_left.get()
    }

    /// The gateway ends the connection.
    pub(super) fn give_up(&self, why: &'static str) {
        self.given_up.set(Some(why));
    }

    /// The connection is no more.
    pub(super) fn end(&self, fault: Option<h2::Error>) {
        if self.has_ended.replace(true) {
            return;
        }
        if !self.is_settled() {
            let kind = if self.given_up.get().is_some() { io::ErrorKind::TimedOut } else { io::ErrorKind::Unsupported };
            self.openings.failed(kind, self.why_unsettled(fault.as_ref()));
        }
        *self.fault.borrow_mut() = fault;
        self.openings.queue.wake_all();
    }

    fn why_unsettled(&self, fault: Option<&h2::Error>) -> String {
        match (self.given_up.get(), fault) {
            (Some(why), _) => why.to_owned(),
            (None, Some(error)) => format!("the server does not speak HTTP/2: {error}"),
            (None, None) => "the server closed the connection before it spoke HTTP/2".to_owned(),
        }
    }

    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// Why a stream was lost, which says itself little: the connection may know more.
    pub(super) fn cause(&self, error: h2::Error) -> io::Error {
        if let Some(why) = self.given_up.get() {
            return io::Error::new(io::ErrorKind::TimedOut, why);
        }
        match &*self.fault.borrow() {
            Some(fault) => io::Error::other(fault.to_string()),
            None => io::Error::other(error),
        }
    }
}
