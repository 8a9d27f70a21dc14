//! What a client's connection waits for, whatever is under way on it.

use std::cell::{Cell, OnceCell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::deadlines::{Deadlines, Tick, TickClock, Wait};
use crate::proxy::port::PortId;
use crate::proxy::seats::{Doing, Holder, NoSeat, Notice, Seat};

/// What a connection may be waiting for too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionWait {
    /// The end of what comes before the first request.
    Handshake,
    /// The first byte of the next request.
    NextRequest,
    /// The rest of a request's head.
    RequestHead,
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
    /// Any sign of the client, before it is asked for one.
    Silence,
    /// That sign.
    Pong,
    /// The end of what the connection may be served for: of its client's certificate.
    Validity,
    /// A last request on a connection whose listener is gone.
    LastRequest,
    /// The end of what is under way on such a connection.
    Closing,
}

const WAITS: usize = ConnectionWait::Closing as usize + 1;

impl Wait for ConnectionWait {
    fn index(self) -> usize {
        self as usize
    }
}

/// How long a connection that was asked to give up its seat may take to finish what it has just begun.
pub(super) const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a connection was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Nothing,
    /// To close after what is under way, or else after one more request: its client may be sending it, and cannot be told.
    ToCloseAfterARequest,
    /// To close after what is under way.
    ToClose,
}

/// One client connection as the tick sees it.
#[derive(Debug)]
pub struct ConnectionWatch {
    deadlines: Deadlines<ConnectionWait, WAITS>,
    asked: Cell<Asked>,
    seat: Seat,
    /// The last that was told.
    notice: Cell<Notice>,
    /// How often it was asked to close, in one way or the other.
    calls_to_close: Cell<u32>,
    /// That are under way, where there may be several.
    exchanges: Cell<u32>,
    task: RefCell<Option<Waker>>,
    served: OnceCell<Served>,
}

/// Where a connection came in, and the task that serves it.
#[derive(Debug)]
struct Served {
    port: PortId,
    task: AbortHandle,
}

impl Deref for ConnectionWatch {
    type Target = Deadlines<ConnectionWait, WAITS>;

    fn deref(&self) -> &Self::Target {
        &self.deadlines
    }
}

impl ConnectionWatch {
    pub(super) fn new(clock: &Rc<TickClock>, seat: Seat) -> Rc<Self> {
        Rc::new(Self {
            deadlines: Deadlines::new(clock),
            asked: Cell::new(Asked::Nothing),
            seat,
            notice: Cell::new(Notice::Stay),
            calls_to_close: Cell::new(0),
            exchanges: Cell::new(0),
            task: RefCell::new(None),
            served: OnceCell::new(),
        })
    }

    /// Whether no request is to follow what is under way, or the next one.
    pub fn is_draining(&self) -> bool {
        self.asked.get() != Asked::Nothing
    }

    /// Whether an idle connection is to be closed, too.
    pub fn awaits_no_request(&self) -> bool {
        self.asked.get() == Asked::ToClose
    }

    /// Whether the seat is to be given up.
    pub fn notice(&self) -> Notice {
        self.notice.get()
    }

    /// Goes on in the name of another, as whose the connection has turned out.
    ///
    /// # Errors
    /// [`NoSeat::AddressFull`], for one who has as many as one may have.
    pub fn pass_to(&self, holder: Holder) -> Result<(), NoSeat> {
        self.seat.pass_to(holder)
    }

    /// Notes what the connection does from now on.
    pub fn does(&self, doing: Doing) {
        self.seat.does(doing, self.now());
    }

    /// One of several exchanges begins.
    pub fn exchange_begins(&self) {
        self.exchanges.set(self.exchanges.get() + 1);
        self.does(Doing::Response);
    }

    /// One of several exchanges is over.
    pub fn exchange_ends(&self) {
        self.exchanges.set(self.exchanges.get() - 1);
        if self.exchanges.get() == 0 {
            self.does(Doing::Nothing);
        }
    }

    /// How many there are, where there may be several.
    pub fn exchanges(&self) -> u32 {
        self.exchanges.get()
    }

    pub(super) fn calls_to_close(&self) -> u32 {
        self.calls_to_close.get()
    }

    /// The task to wake when something has expired.
    pub fn woken_by(&self, waker: &Waker) {
        note_waker(&self.task, waker);
    }

    /// Wakes that task.
    pub fn wake(&self) {
        wake(&self.task);
    }

    /// Asks the connection to finish what it is doing and close, once `span` has passed.
    pub fn drain_after(&self, span: Duration) {
        self.arm(ConnectionWait::Validity, span);
    }

    pub(super) fn drain(&self) {
        self.ask(Asked::ToClose);
    }

    fn ask(&self, asked: Asked) {
        self.asked.set(asked);
        self.is_called_to_close();
        self.wake();
    }

    /// Notes by which task, on a connection that came to `port`.
    pub fn is_served(&self, port: PortId, task: AbortHandle) {
        let _ = self.served.set(Served { port, task });
    }

    /// Where it came to `port`: asks it to finish what it is doing, or is about to do, and close. If nothing comes within half of
    /// `deadline`, it closes; what is left of it after `deadline` is dropped.
    pub(super) fn close(&self, port: PortId, deadline: Duration) {
        if self.served.get().is_some_and(|served| served.port == port) {
            self.arm(ConnectionWait::Closing, deadline);
            if !self.is_draining() {
                self.arm(ConnectionWait::LastRequest, deadline / 2);
                self.ask(Asked::ToCloseAfterARequest);
            }
        }
    }

    fn is_called_to_close(&self) {
        self.calls_to_close.set(self.calls_to_close.get() + 1);
    }

    pub(super) fn look(&self, now: Tick) {
        let has_passed = self.pass(now);
        let is_over = self.take_expired(ConnectionWait::Validity);
        if self.take_expired(ConnectionWait::LastRequest) || is_over {
            self.drain();
        }
        if self.take_expired(ConnectionWait::Closing)
            && let Some(Served { task, .. }) = self.served.get()
        {
            task.abort();
        }
        let notice = self.seat.notice();
        let is_told = notice != self.notice.replace(notice);
        if is_told {
            self.is_called_to_close();
        }
        if is_told && notice == Notice::Leave {
            self.arm(ConnectionWait::Farewell, LEAVE_TIMEOUT);
        }
        if has_passed || is_told {
            wake(&self.task);
        }
    }
}

pub(super) fn note_waker(task: &RefCell<Option<Waker>>, waker: &Waker) {
    let mut task = task.borrow_mut();
    if !task.as_ref().is_some_and(|known| known.will_wake(waker)) {
        *task = Some(waker.clone());
    }
}

pub(super) fn wake(task: &RefCell<Option<Waker>>) {
    if let Some(waker) = task.borrow().as_ref() {
        waker.wake_by_ref();
    }
}
