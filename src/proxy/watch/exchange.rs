//! What one exchange waits for, and for whom it runs.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::connection::{ConnectionWatch, note_waker, wake};
use super::deadlines::{Deadlines, NEVER, Tick, TickClock, Wait};
use crate::domain::claims::{Ending, Principal};
use crate::domain::time::Timestamp;
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
    ended: Cell<Option<Ending>>,
    phase: Cell<Phase>,
    /// How long nothing may move in a stream, in ticks.
    stream_ticks: Cell<Tick>,
    /// Whom the exchange speaks for.
    principal: RefCell<Option<Arc<Principal>>>,
    task: RefCell<Option<Waker>>,
}

impl Deref for ExchangeWatch {
    type Target = Deadlines<ExchangeWait, WAITS>;

    fn deref(&self) -> &Self::Target {
        &self.deadlines
    }
}

/// How far an exchange has come, and so what its caller's end means for it. A revocation ends it in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The answer is awaited. Whoever was admitted in time is answered.
    Awaited,
    /// The answer is under way, or there is a tunnel: it ends when the token expires.
    Stream,
    /// The answer began after the token had expired, and has until this tick.
    LateAnswer(Tick),
}

impl Phase {
    const fn is_ended_by(self, ending: Ending, now: Tick) -> bool {
        match (ending, self) {
            (Ending::Revoked(_), _) | (Ending::Expired, Self::Stream) => true,
            (Ending::Expired, Self::Awaited) => false,
            (Ending::Expired, Self::LateAnswer(until)) => until <= now,
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
            principal: RefCell::new(None),
            task: RefCell::new(None),
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
    pub fn speak_for(&self, principal: Option<Arc<Principal>>) {
        self.ended.set(None);
        self.phase.set(Phase::Awaited);
        *self.principal.borrow_mut() = principal;
    }

    /// The head of the response is there. It was asked for in time: should the token have expired meanwhile, the rest of the response
    /// is given `late_for` to come.
    pub fn answer_begins(&self, now: impl FnOnce() -> Timestamp, late_for: Duration) {
        if let Some(principal) = &*self.principal.borrow() {
            let is_late = principal.window.is_over(now());
            self.phase.set(if is_late { Phase::LateAnswer(self.clock().after(late_for)) } else { Phase::Stream });
        }
    }

    /// Binds a tunnel to its caller.
    pub fn tunnel_for(&self, principal: Option<Arc<Principal>>) {
        self.speak_for(principal);
        self.phase.set(Phase::Stream);
    }

    /// Why the exchange must end, if its caller's time is over.
    pub fn ended(&self) -> Option<Ending> {
        self.ended.get()
    }

    /// Notes what the connection does from now on, unless other exchanges on it say that too.
    pub fn does(&self, doing: Doing) {
        if self.connection.exchanges() <= 1 {
            self.connection.does(doing);
        }
    }

    /// The task to wake when something has expired.
    pub fn woken_by(&self, waker: &Waker) {
        note_waker(&self.task, waker);
    }

    pub(super) fn look(&self, now: Tick, ending: &impl Fn(&Principal) -> Option<Ending>) {
        let has_passed = self.pass(now);
        let ending = if self.ended.get().is_none() { self.principal.borrow().as_deref().and_then(ending) } else { None };
        let ended = ending.filter(|ending| self.phase.get().is_ended_by(*ending, now));
        if ended.is_some() {
            self.ended.set(ended);
        }
        let calls = self.connection.calls_to_close();
        let is_called = calls != self.calls_heard.replace(calls);
        if has_passed || ended.is_some() || is_called {
            wake(&self.task);
        }
    }
}
