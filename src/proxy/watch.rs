//! Deadlines of connections, kept by one slow tick per worker instead of timers per request.
//!
//! A request arms and disarms by writing a cell; the worker's tick looks at every connection and wakes those whose time is up.
//! A deadline therefore fires up to one [`TICK`] late, and costs the request path nothing but the write.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::seats::{Doing, Notice, Seat};
use crate::domain::claims::{Ending, Principal};
use crate::domain::time::Timestamp;

/// How often deadlines are looked at, and so the most by which one can be late.
pub const TICK: Duration = Duration::from_millis(50);

/// Ticks since the worker began; at 50 ms each a `u32` lasts for six years.
type Tick = u32;

const NEVER: Tick = Tick::MAX;

/// What a connection may be waiting for too long. Several can run at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// The first byte of the next request.
    NextRequest,
    /// The rest of a request's head.
    RequestHead,
    /// More of a request's body.
    RequestBody,
    /// A connection to the upstream.
    Connect,
    /// The upstream to take more of a request.
    UpstreamWrite,
    /// The head of the upstream's answer.
    ResponseHead,
    /// Once a response has begun: any byte, in either direction.
    Stream,
    /// Room to write to the client.
    ClientWrite,
    /// A response for a client that has ended its side: it may have left.
    HalfClosed,
    /// More of what nobody wants, after the last response.
    LingerPause,
    /// The end of that.
    LingerEnd,
    /// The end of what is under way on a connection that was asked to close.
    Farewell,
}

const WAITS: [Wait; 12] = [
    Wait::NextRequest,
    Wait::RequestHead,
    Wait::RequestBody,
    Wait::Connect,
    Wait::UpstreamWrite,
    Wait::ResponseHead,
    Wait::Stream,
    Wait::ClientWrite,
    Wait::HalfClosed,
    Wait::LingerPause,
    Wait::LingerEnd,
    Wait::Farewell,
];

/// How long a connection that was asked to give up its seat may take to finish what it has just begun.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// One client connection as the tick sees it.
#[derive(Debug)]
pub struct Watch {
    clock: Rc<TickClock>,
    deadlines: [Cell<Tick>; WAITS.len()],
    expired: Cell<u16>,
    ended: Cell<Option<Ending>>,
    phase: Cell<Phase>,
    drain: Cell<bool>,
    /// How long nothing may move in a stream, in ticks.
    stream_ticks: Cell<Tick>,
    seat: Seat,
    /// The last that was told.
    notice: Cell<Notice>,
    task: RefCell<Option<Waker>>,
    /// Who the exchange in flight speaks for.
    principal: RefCell<Option<Arc<Principal>>>,
}

/// How far the exchange in flight has come, and so what its caller's end means for it. A revocation ends it in any case.
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

impl Watch {
    /// Begins anew. A deadline that has passed unnoticed is forgotten.
    pub fn arm(&self, wait: Wait, span: Duration) {
        self.forget(wait);
        self.deadlines[wait as usize].set(self.clock.after(span));
    }

    pub fn disarm(&self, wait: Wait) {
        self.forget(wait);
        self.deadlines[wait as usize].set(NEVER);
    }

    fn forget(&self, wait: Wait) {
        self.expired.set(self.expired.get() & !(1 << wait as u16));
    }

    /// Arms [`Wait::Stream`], unless it is.
    pub fn stream_waits(&self, idle_timeout: Duration) {
        if !self.is_armed(Wait::Stream) {
            self.stream_ticks.set(TickClock::ticks(idle_timeout));
            self.arm(Wait::Stream, idle_timeout);
        }
    }

    /// A byte moved: if the stream is waited for, then anew.
    pub fn stream_moves(&self) {
        if self.is_armed(Wait::Stream) {
            self.forget(Wait::Stream);
            self.deadlines[Wait::Stream as usize].set(self.clock.now.get().saturating_add(self.stream_ticks.get()));
        }
    }

    /// Until it is disarmed or its end is taken notice of.
    pub fn is_armed(&self, wait: Wait) -> bool {
        self.deadlines[wait as usize].get() != NEVER || self.expired.get() & (1 << wait as u16) != 0
    }

    /// Whether the deadline has passed since it was asked last.
    pub fn take_expired(&self, wait: Wait) -> bool {
        let bit = 1 << wait as u16;
        let was = self.expired.get();
        self.expired.set(was & !bit);
        was & bit != 0
    }

    /// Binds the exchange in flight, whose answer is awaited from now on, to its caller; or releases it.
    pub fn speak_for(&self, principal: Option<Arc<Principal>>) {
        self.ended.set(None);
        self.phase.set(Phase::Awaited);
        *self.principal.borrow_mut() = principal;
    }

    /// The head of the answer is there. It was asked for in time: should the token have expired meanwhile, the rest of the answer is
    /// given `late_for` to come.
    pub fn answer_begins(&self, now: impl FnOnce() -> Timestamp, late_for: Duration) {
        if let Some(principal) = &*self.principal.borrow() {
            let is_late = principal.window.is_over(now());
            self.phase.set(if is_late { Phase::LateAnswer(self.clock.after(late_for)) } else { Phase::Stream });
        }
    }

    /// Binds a tunnel to its caller.
    pub fn tunnel_for(&self, principal: Option<Arc<Principal>>) {
        self.speak_for(principal);
        self.phase.set(Phase::Stream);
    }

    /// Why the exchange in flight must end, if its caller's time is over.
    pub fn ended(&self) -> Option<Ending> {
        self.ended.get()
    }

    pub fn is_draining(&self) -> bool {
        self.drain.get()
    }

    /// Whether the seat is to be given up.
    pub fn notice(&self) -> Notice {
        self.notice.get()
    }

    /// The present tick.
    pub fn now(&self) -> u32 {
        self.clock.now.get()
    }

    pub fn age_since(&self, then: u32) -> Duration {
        TICK * self.now().saturating_sub(then)
    }

    /// Notes what the connection does from now on.
    pub fn does(&self, doing: Doing) {
        self.seat.does(doing, self.clock.now.get());
    }

    /// The task to wake when something has expired.
    pub fn woken_by(&self, waker: &Waker) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.task.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    fn look(&self, now: Tick, ending: &impl Fn(&Principal) -> Option<Ending>) {
        let mut fired = 0;
        for wait in WAITS {
            let deadline = &self.deadlines[wait as usize];
            if deadline.get() <= now {
                deadline.set(NEVER);
                fired |= 1 << wait as u16;
            }
        }
        if fired != 0 {
            self.expired.set(self.expired.get() | fired);
        }
        let ending = if self.ended.get().is_none() { self.principal.borrow().as_deref().and_then(ending) } else { None };
        let ended = ending.filter(|ending| self.phase.get().is_ended_by(*ending, now));
        if ended.is_some() {
            self.ended.set(ended);
        }
        let notice = self.seat.notice();
        let told = notice != self.notice.replace(notice);
        if told && notice == Notice::Leave {
            self.arm(Wait::Farewell, LEAVE_TIMEOUT);
        }
        if fired != 0 || ended.is_some() || told {
            self.wake();
        }
    }
}

/// The worker's slow clock.
#[derive(Debug, Default)]
struct TickClock {
    now: Cell<Tick>,
}

impl TickClock {
    /// The first tick by which at least `span` has passed.
    fn after(&self, span: Duration) -> Tick {
        self.now.get().saturating_add(Self::ticks(span))
    }

    fn ticks(span: Duration) -> Tick {
        Tick::try_from(span.as_millis().div_ceil(TICK.as_millis()) + 1).unwrap_or(NEVER)
    }
}

/// Every connection of one worker.
#[derive(Debug, Default)]
pub struct Watchers {
    clock: Rc<TickClock>,
    all: RefCell<Vec<Weak<Watch>>>,
}

impl Watchers {
    /// Whose ticks go on from `tick`, so that what workers note can be compared.
    pub fn from_tick(tick: u32) -> Self {
        let clock = TickClock { now: Cell::new(tick) };
        Self { clock: Rc::new(clock), all: RefCell::default() }
    }

    pub fn watch(&self, seat: Seat) -> Rc<Watch> {
        let watch = Rc::new(Watch {
            clock: Rc::clone(&self.clock),
            deadlines: [const { Cell::new(NEVER) }; WAITS.len()],
            expired: Cell::new(0),
            ended: Cell::new(None),
            phase: Cell::new(Phase::Awaited),
            drain: Cell::new(false),
            stream_ticks: Cell::new(NEVER),
            seat,
            notice: Cell::new(Notice::Stay),
            task: RefCell::new(None),
            principal: RefCell::new(None),
        });
        self.all.borrow_mut().push(Rc::downgrade(&watch));
        watch
    }

    /// Passes one tick: fires deadlines, ends what runs for callers whose time is over, forgets connections that are gone.
    pub fn tick(&self, ending: impl Fn(&Principal) -> Option<Ending>) {
        let now = self.clock.now.get().saturating_add(1).min(NEVER - 1);
        self.clock.now.set(now);
        self.all.borrow_mut().retain(|watch| match watch.upgrade() {
            Some(watch) => {
                watch.look(now, &ending);
                true
            }
            None => false,
        });
    }

    /// Asks every connection to finish what it is doing and close.
    pub fn drain(&self) {
        for watch in self.all.borrow().iter().filter_map(Weak::upgrade) {
            watch.drain.set(true);
            watch.wake();
        }
    }

    pub fn connections(&self) -> usize {
        self.all.borrow().iter().filter(|watch| watch.strong_count() > 0).count()
    }

    /// The present tick, for what ages slowly, such as idle upstream connections.
    pub fn age_since(&self, then: u32) -> Duration {
        TICK * self.clock.now.get().saturating_sub(then)
    }

    pub fn now(&self) -> u32 {
        self.clock.now.get()
    }
}

#[cfg(test)]
mod tests {
    use super::super::seats::{Holder, Seats};
    use super::*;

    fn ticks(watchers: &Watchers, span: Duration) {
        for _ in 0..span.as_millis().div_ceil(TICK.as_millis()) {
            watchers.tick(|_| None);
        }
    }

    #[test]
    fn a_deadline_fires_once_and_never_early() {
        let watchers = Watchers::default();
        let watch = watchers.watch(Seat::of_test());
        watch.arm(Wait::RequestHead, Duration::from_millis(500));
        ticks(&watchers, Duration::from_millis(500));
        assert!(!watch.take_expired(Wait::RequestHead), "the tick that was under way when it was armed does not count");
        ticks(&watchers, TICK);
        assert!(watch.take_expired(Wait::RequestHead));
        ticks(&watchers, Duration::from_secs(5));
        assert!(!watch.take_expired(Wait::RequestHead));
    }

    #[test]
    fn what_is_disarmed_never_fires_and_others_are_not_disturbed() {
        let watchers = Watchers::default();
        let watch = watchers.watch(Seat::of_test());
        watch.arm(Wait::RequestHead, TICK);
        watch.arm(Wait::ClientWrite, TICK);
        watch.disarm(Wait::RequestHead);
        ticks(&watchers, 3 * TICK);
        assert!(!watch.take_expired(Wait::RequestHead));
        assert!(watch.take_expired(Wait::ClientWrite));
    }

    #[test]
    fn what_passed_unnoticed_does_not_fire_for_the_next_exchange() {
        let watchers = Watchers::default();
        let watch = watchers.watch(Seat::of_test());
        watch.arm(Wait::ResponseHead, TICK);
        ticks(&watchers, 3 * TICK);
        assert!(watch.is_armed(Wait::ResponseHead), "nobody has taken notice");
        watch.disarm(Wait::ResponseHead);
        assert!(!watch.take_expired(Wait::ResponseHead));
        watch.arm(Wait::ResponseHead, TICK);
        ticks(&watchers, 3 * TICK);
        watch.arm(Wait::ResponseHead, TICK);
        assert!(!watch.take_expired(Wait::ResponseHead));
    }

    #[test]
    fn a_stream_in_which_something_moves_is_waited_for_anew() {
        let watchers = Watchers::default();
        let watch = watchers.watch(Seat::of_test());
        watch.stream_moves();
        assert!(!watch.is_armed(Wait::Stream), "nobody waits");
        watch.stream_waits(10 * TICK);
        for _ in 0..5 {
            ticks(&watchers, 10 * TICK);
            watch.stream_moves();
        }
        ticks(&watchers, 20 * TICK);
        watch.stream_moves();
        assert!(!watch.take_expired(Wait::Stream), "it moved before anybody took notice");
        ticks(&watchers, 20 * TICK);
        assert!(watch.take_expired(Wait::Stream));
    }

    #[test]
    fn whoever_was_asked_to_leave_hears_of_it_with_the_next_tick_and_has_little_time() {
        let seats = Seats::new(1, None);
        let holder = Holder::Address([192, 0, 2, 1].into());
        let watchers = Watchers::default();
        let watch = watchers.watch(seats.take(holder, 0).unwrap());
        let _newcomer = seats.take(holder, 0).unwrap();
        assert_eq!(watch.notice(), Notice::Stay);
        watchers.tick(|_| None);
        assert_eq!(watch.notice(), Notice::Leave);
        ticks(&watchers, LEAVE_TIMEOUT + TICK);
        assert!(watch.take_expired(Wait::Farewell));
    }

    #[test]
    fn connections_that_are_gone_are_forgotten() {
        let watchers = Watchers::default();
        let watch = watchers.watch(Seat::of_test());
        assert_eq!(watchers.connections(), 1);
        drop(watch);
        watchers.tick(|_| None);
        assert_eq!(watchers.all.borrow().len(), 0);
    }
}
