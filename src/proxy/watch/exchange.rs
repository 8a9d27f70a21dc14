//! What one exchange waits for, and for whom it runs.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use super::connection::{ConnectionWatch, note_waker, wake};
use super::deadlines::{Deadlines, NEVER, Tick, TickClock, Wait};
use crate::domain::claims::Ending;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::proxy::bond::{Bond, CallerEnd, NotRenewed, Renewal, Verdict};
use crate::proxy::seats::Doing;

/// What an exchange may be waiting for too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExchangeWait {
    /// More of the request's body.
    RequestBody,
    /// A connection to the upstream.
    Connect,
    /// The upstream to take more of the request.
    UpstreamWrite,
    /// The head of the upstream's response.
    ResponseHead,
    /// Once a response has begun: any byte, in either direction.
    Stream,
    /// The client to take more of it, where its connection carries others too.
    ClientWrite,
    /// The end of a tunnel whose sides were told goodbye.
    Farewell,
}

const WAITS: usize = ExchangeWait::Farewell as usize + 1;

impl Wait for ExchangeWait {
    fn index(self) -> usize {
        self as usize
    }
}

/// One exchange as the tick sees it. Several may run on one connection.
#[derive(Debug)]
pub struct ExchangeWatch {
    deadlines: Deadlines<ExchangeWait, WAITS>,
    connection: Rc<ConnectionWatch>,
    /// Of how many of the connection's calls to close the task was woken.
    calls_heard: Cell<u32>,
    ended: Cell<Option<CallerEnd>>,
    phase: Cell<Phase>,
    /// How long nothing may move in a stream, in ticks.
    stream_ticks: Cell<Tick>,
    /// Whom the exchange speaks for.
    bond: RefCell<Option<Bond>>,
    task: RefCell<Option<Waker>>,
    /// What has come of the request's body.
    body_bytes: Cell<u64>,
}

impl Deref for ExchangeWatch {
    type Target = Deadlines<ExchangeWait, WAITS>;

    fn deref(&self) -> &Self::Target {
        &self.deadlines
    }
}

/// How far an exchange has come, and so what its caller's end means for it. A revocation, or the removal of the token's key, ends it in any
/// case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The response is awaited. Whoever was admitted in time is answered.
    Awaited,
    /// The response is under way, or there is a tunnel: it ends when the token expires.
    Stream,
    /// The response began after the token had expired, and has until this tick.
    LateResponse(Tick),
}

impl Phase {
    const fn is_ended_by(self, end: CallerEnd, now: Tick) -> bool {
        match (end, self) {
            (CallerEnd::Over(Ending::Revoked(_)) | CallerEnd::KeyRemoved, _)
            | (CallerEnd::Over(Ending::Expired), Self::Stream) => true,
            (CallerEnd::Over(Ending::Expired), Self::Awaited) => false,
            (CallerEnd::Over(Ending::Expired), Self::LateResponse(until)) => until <= now,
        }
    }

    /// With a newer token the response is no longer late.
    const fn renewed(self) -> Self {
        match self {
            Self::Awaited => Self::Awaited,
            Self::Stream | Self::LateResponse(_) => Self::Stream,
        }
    }
}

impl ExchangeWatch {
    pub(super) fn new(clock: &Rc<TickClock>, connection: &Rc<ConnectionWatch>) -> Rc<Self> {
        Rc::new(Self {
            deadlines: Deadlines::new(clock),
            connection: Rc::clone(connection),
            calls_heard: Cell::new(connection.calls_to_close()),
            ended: Cell::new(None),
            phase: Cell::new(Phase::Awaited),
            stream_ticks: Cell::new(NEVER),
            bond: RefCell::new(None),
            task: RefCell::new(None),
            body_bytes: Cell::new(0),
        })
    }

    /// Arms [`ExchangeWait::Stream`], unless it is.
    pub fn stream_waits(&self, idle_timeout: Duration) {
        if !self.is_armed(ExchangeWait::Stream) {
            self.stream_ticks.set(TickClock::ticks(idle_timeout));
            self.arm(ExchangeWait::Stream, idle_timeout);
        }
    }

    /// A byte moved: if the stream is waited for, then anew.
    pub fn stream_moves(&self) {
        if self.is_armed(ExchangeWait::Stream) {
            self.arm_at(ExchangeWait::Stream, self.now().saturating_add(self.stream_ticks.get()));
        }
    }

    /// Binds the exchange, whose response is awaited from now on, to its caller; or releases it.
    pub fn speak_for(&self, bond: Option<Bond>) {
        self.ended.set(None);
        self.phase.set(Phase::Awaited);
        *self.bond.borrow_mut() = bond;
    }

    /// The head of the response is there. It was asked for in time: should the token have expired meanwhile, the rest of the response
    /// is given `late_for` to come.
    pub fn response_begins(&self, now: impl FnOnce() -> Timestamp, late_for: Duration) {
        if let Some(bond) = &*self.bond.borrow() {
            let is_late = bond.token.principal.window.is_over(now());
            self.phase.set(if is_late { Phase::LateResponse(self.clock().after(late_for)) } else { Phase::Stream });
        }
    }

    /// Releases the exchange from its caller, to whom the tunnel that it turns into will be bound.
    pub fn take_bond(&self) -> Option<Bond> {
        self.bond.take()
    }

    /// Binds a tunnel to its caller.
    pub fn tunnel_for(&self, bond: Option<Bond>) {
        self.speak_for(bond);
        self.phase.set(Phase::Stream);
    }

    /// Has the next tick judge a newer token of the caller's, in the place of one that was not judged yet.
    ///
    /// # Errors
    /// The exchange stands on no token.
    pub fn ask_for_renewal(&self, token: Secret<String>) -> Result<(), NotRenewed> {
        self.bond.borrow_mut().as_mut().map(|bond| bond.ask_for_renewal(token)).ok_or(NotRenewed::WITHOUT_SESSION)
    }

    /// What came of that, once.
    pub fn take_renewal(&self) -> Option<Renewal> {
        self.bond.borrow_mut().as_mut().and_then(Bond::take_renewal)
    }

    /// Why the exchange must end, if its caller's time is over.
    pub fn ended(&self) -> Option<CallerEnd> {
        self.ended.get()
    }

    /// Notes what the connection does from now on, unless other exchanges on it say that too.
    pub fn does(&self, doing: Doing) {
        if self.connection.exchanges() <= 1 {
            self.connection.does(doing);
        }
    }

    /// One more request begins, on a connection that has one after the other.
    pub fn body_begins(&self) {
        self.body_bytes.set(0);
    }

    /// A part of the request's body has come.
    pub fn body_comes(&self, bytes: usize) {
        self.body_bytes.set(self.body_bytes.get() + bytes as u64);
    }

    /// How many bytes of it have come.
    pub const fn body_bytes(&self) -> u64 {
        self.body_bytes.get()
    }

    /// The task to wake when something has expired.
    pub fn woken_by(&self, waker: &Waker) {
        note_waker(&self.task, waker);
    }

    pub(super) fn look(&self, now: Tick, judge: &impl Fn(&mut Bond) -> Verdict) {
        let has_passed = self.pass(now);
        let has_ended = self.ended.get().is_none() && self.is_ended_by_caller(now, judge);
        let calls = self.connection.calls_to_close();
        let is_called = calls != self.calls_heard.replace(calls);
        let is_answered = self.bond.borrow().as_ref().is_some_and(Bond::is_answered);
        if has_passed || has_ended || is_called || is_answered {
            wake(&self.task);
        }
    }

    fn is_ended_by_caller(&self, now: Tick, judge: impl Fn(&mut Bond) -> Verdict) -> bool {
        let phase = self.phase.get();
        match self.bond.borrow_mut().as_mut().map_or(Verdict::Holds, judge) {
            Verdict::Renewed => self.phase.set(phase.renewed()),
            Verdict::Ends(end) if phase.is_ended_by(end, now) => self.ended.set(Some(end)),
            Verdict::Holds | Verdict::Ends(_) => {}
        }
        self.ended.get().is_some()
    }
}
