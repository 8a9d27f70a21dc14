//! Deadlines of connections and exchanges, kept by one slow tick per worker instead of timers per request.
//!
//! A request arms and disarms by writing a cell; the worker's tick looks at all of them and wakes those whose time is up.
//! A deadline therefore fires up to one [`TICK`] late, and costs the request path nothing but the write.
//!
//! A connection has a watch of its own, and each exchange on it has: what one exchange waits for is none of the other's business.

mod connection;
mod deadlines;
mod exchange;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

pub use self::connection::{ConnectionWait, ConnectionWatch};
pub use self::deadlines::{Deadlines, TICK, Wait};
use self::deadlines::{NEVER, TickClock};
pub use self::exchange::{ExchangeWait, ExchangeWatch};
use super::bond::{Bond, Verdict};
use super::port::PortId;
use super::seats::Seat;

/// Every connection of one worker, and every exchange.
#[derive(Debug, Default)]
pub struct Watchers {
    clock: Rc<TickClock>,
    connections: RefCell<Vec<Weak<ConnectionWatch>>>,
    exchanges: RefCell<Vec<Weak<ExchangeWatch>>>,
}

impl Watchers {
    /// Whose ticks go on from `tick`, so that what workers note can be compared.
    pub fn from_tick(tick: u32) -> Self {
        let clock = TickClock { now: Cell::new(tick) };
        Self { clock: Rc::new(clock), connections: RefCell::default(), exchanges: RefCell::default() }
    }

    pub fn connection(&self, seat: Seat) -> Rc<ConnectionWatch> {
        let watch = ConnectionWatch::new(&self.clock, seat);
        self.connections.borrow_mut().push(Rc::downgrade(&watch));
        watch
    }

    /// For one exchange after the other on this connection, or for one of several at once.
    pub fn exchange(&self, connection: &Rc<ConnectionWatch>) -> Rc<ExchangeWatch> {
        let watch = ExchangeWatch::new(&self.clock, connection);
        self.exchanges.borrow_mut().push(Rc::downgrade(&watch));
        watch
    }

    /// Passes one tick: fires deadlines, ends what runs for callers whose time is over, forgets what is gone.
    pub fn tick(&self, judge: impl Fn(&mut Bond) -> Verdict) {
        let now = self.clock.now.get().saturating_add(1).min(NEVER - 1);
        self.clock.now.set(now);
        for_each(&self.connections, |watch| watch.look(now));
        for_each(&self.exchanges, |watch| watch.look(now, &judge));
    }

    /// Asks every connection to finish what it is doing and close.
    pub fn drain(&self) {
        for_each(&self.connections, ConnectionWatch::drain);
    }

    /// The same of those that came to `port`; what is left of them after `deadline` is dropped.
    pub fn close(&self, port: PortId, deadline: Duration) {
        for_each(&self.connections, |watch| watch.close(port, deadline));
    }

    /// The present tick, for what ages slowly, such as idle upstream connections.
    pub fn age_since(&self, then: u32) -> Duration {
        TICK * self.clock.now.get().saturating_sub(then)
    }

    pub fn now(&self) -> u32 {
        self.clock.now.get()
    }
}

/// Those that are there; the others are forgotten.
fn for_each<W>(watches: &RefCell<Vec<Weak<W>>>, look: impl Fn(&W)) {
    watches.borrow_mut().retain(|watch| {
        let watch = watch.upgrade();
        watch.as_deref().inspect(|watch| look(watch)).is_some()
    });
}

#[cfg(test)]
mod tests {
    use super::super::seats::{Holder, Notice, SeatLimits, Seats};
    use super::connection::LEAVE_TIMEOUT;
    use super::*;

    fn ticks(watchers: &Watchers, span: Duration) {
        for _ in 0..span.as_millis().div_ceil(TICK.as_millis()) {
            watchers.tick(|_| Verdict::Holds);
        }
    }

    #[test]
    fn a_deadline_fires_once_and_never_early() {
        let watchers = Watchers::default();
        let watch = watchers.connection(Seat::of_test());
        watch.arm(ConnectionWait::RequestHead, Duration::from_millis(500));
        ticks(&watchers, Duration::from_millis(500));
        assert!(!watch.take_expired(ConnectionWait::RequestHead), "the tick that was under way when it was armed does not count");
        ticks(&watchers, TICK);
        assert!(watch.take_expired(ConnectionWait::RequestHead));
        ticks(&watchers, Duration::from_secs(5));
        assert!(!watch.take_expired(ConnectionWait::RequestHead));
    }

    #[test]
    fn what_is_disarmed_never_fires_and_others_are_not_disturbed() {
        let watchers = Watchers::default();
        let watch = watchers.connection(Seat::of_test());
        watch.arm(ConnectionWait::RequestHead, TICK);
        watch.arm(ConnectionWait::ClientWrite, TICK);
        watch.disarm(ConnectionWait::RequestHead);
        ticks(&watchers, 3 * TICK);
        assert!(!watch.take_expired(ConnectionWait::RequestHead));
        assert!(watch.take_expired(ConnectionWait::ClientWrite));
    }

    #[test]
    fn what_passed_unnoticed_does_not_fire_for_the_next_exchange() {
        let watchers = Watchers::default();
        let watch = watchers.exchange(&watchers.connection(Seat::of_test()));
        watch.arm(ExchangeWait::ResponseHead, TICK);
        ticks(&watchers, 3 * TICK);
        assert!(watch.is_armed(ExchangeWait::ResponseHead), "nobody has taken notice");
        watch.disarm(ExchangeWait::ResponseHead);
        assert!(!watch.take_expired(ExchangeWait::ResponseHead));
        watch.arm(ExchangeWait::ResponseHead, TICK);
        ticks(&watchers, 3 * TICK);
        watch.arm(ExchangeWait::ResponseHead, TICK);
        assert!(!watch.take_expired(ExchangeWait::ResponseHead));
    }

    #[test]
    fn a_stream_in_which_something_moves_is_waited_for_anew() {
        let watchers = Watchers::default();
        let watch = watchers.exchange(&watchers.connection(Seat::of_test()));
        watch.stream_moves();
        assert!(!watch.is_armed(ExchangeWait::Stream), "nobody waits");
        watch.stream_waits(10 * TICK);
        for _ in 0..5 {
            ticks(&watchers, 10 * TICK);
            watch.stream_moves();
        }
        ticks(&watchers, 20 * TICK);
        watch.stream_moves();
        assert!(!watch.take_expired(ExchangeWait::Stream), "it moved before anybody took notice");
        ticks(&watchers, 20 * TICK);
        assert!(watch.take_expired(ExchangeWait::Stream));
    }

    #[test]
    fn whoever_was_asked_to_leave_hears_of_it_with_the_next_tick_and_has_little_time() {
        let seats = Seats::new(SeatLimits { connections_max: 1, per_address_max: None });
        let holder = Holder::Address([192, 0, 2, 1].into());
        let watchers = Watchers::default();
        let watch = watchers.connection(seats.take(holder, 0).unwrap());
        let _newcomer = seats.take(holder, 0).unwrap();
        assert_eq!(watch.notice(), Notice::Stay);
        watchers.tick(|_| Verdict::Holds);
        assert_eq!(watch.notice(), Notice::Leave);
        ticks(&watchers, LEAVE_TIMEOUT + TICK);
        assert!(watch.take_expired(ConnectionWait::Farewell));
    }

    #[test]
    fn connections_that_are_gone_are_forgotten() {
        let watchers = Watchers::default();
        let watch = watchers.connection(Seat::of_test());
        assert_eq!(watchers.connections.borrow().len(), 1);
        drop(watch);
        watchers.tick(|_| Verdict::Holds);
        assert_eq!(watchers.connections.borrow().len(), 0);
    }

    #[test]
    fn of_several_exchanges_on_a_connection_each_has_its_own_deadlines_and_its_own_end() {
        let watchers = Watchers::default();
        let connection = watchers.connection(Seat::of_test());
        let (one, other) = (watchers.exchange(&connection), watchers.exchange(&connection));
        one.arm(ExchangeWait::ResponseHead, TICK);
        other.arm(ExchangeWait::ResponseHead, 10 * TICK);
        one.disarm(ExchangeWait::RequestBody);
        ticks(&watchers, 3 * TICK);
        assert!(one.take_expired(ExchangeWait::ResponseHead));
        assert!(!other.take_expired(ExchangeWait::ResponseHead) && other.is_armed(ExchangeWait::ResponseHead));
        drop(one);
        ticks(&watchers, 10 * TICK);
        assert!(other.take_expired(ExchangeWait::ResponseHead));
        assert_eq!(watchers.exchanges.borrow().len(), 1, "the one that is gone is forgotten");
    }
}
