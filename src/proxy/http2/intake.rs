//! What comes on the streams of a connection, taken out of h2 as it comes.
//!
//! h2 keeps every DATA frame that nobody has read by itself, with some 300 bytes beside its content, and ends the connection with all of
//! its streams once these are too many: a reader that waits would cost all others their streams. So the task of the connection takes
//! out what has come, whether or not it is read, and [`Waiting`] joins it. It then takes up as much memory as it has bytes, and how many
//! those are the windows say: a reader gives room for more only as it takes some.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::RecvStream;
use http::HeaderMap;
use http_body::Frame;

use super::waiting::Waiting;

/// So many DATA frames are given to h2 before those are taken out that it has: what it keeps of them stays with the connection.
const FRAMES_MAX: u32 = 256;

/// h2 is to count none of them. Its count ends connections, and does not forget what came for streams that are no more.
pub(in crate::proxy) const H2_FRAME_BUDGET: usize = usize::MAX;

/// Those of one connection.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Intakes {
    taking: RefCell<FuturesUnordered<Taking>>,
    /// Given to h2 since the last look.
    frames: Cell<u32>,
}

impl Intakes {
    /// Takes in what comes on a stream for as long as whoever reads it wants it.
    pub(in crate::proxy) fn begin(&self, stream: RecvStream) -> Intake {
        let state = Rc::new(RefCell::new(State {
            stream,
            waiting: Waiting::default(),
            data_is_over: false,
            end: None,
            reader: None,
            taking: None,
        }));
        // Much of what is small has come with its head.
        if state.borrow_mut().poll_take(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.taking.borrow().push(Taking(Rc::downgrade(&state)));
        }
        Intake(state)
    }

    /// DATA frames go to h2.
    pub(in crate::proxy) fn note(&self, frames: u32) {
        self.frames.set(self.frames.get().saturating_add(frames));
    }

    /// Whether h2 is to get no more of them before [`Self::take`].
    pub(in crate::proxy) const fn is_due(&self) -> bool {
        self.frames.get() >= FRAMES_MAX
    }

    /// Takes what there is. To be called whenever h2 has read, or has ended. Nothing else is woken for it: while h2 does not read,
    /// nothing comes.
    pub(in crate::proxy) fn take(&self) {
        self.frames.set(0);
        let mut taking = self.taking.borrow_mut();
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(())) = taking.poll_next_unpin(&mut cx) {}
    }
}

/// The intakes as the task of the connection has them. Dropped behind h2, it tells all readers of the end.
#[derive(Debug)]
pub(in crate::proxy) struct LastLook(pub(in crate::proxy) Rc<Intakes>);

impl Drop for LastLook {
    fn drop(&mut self) {
        self.0.take();
    }
}

/// One stream, until it has ended or nobody wants it.
#[derive(Debug)]
struct Taking(Weak<RefCell<State>>);

impl Future for Taking {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(state) = self.0.upgrade() else { return Poll::Ready(()) };
        let mut state = state.borrow_mut();
        let taken = state.poll_take(cx);
        state.taking = taken.is_pending().then(|| cx.waker().clone());
        taken
    }
}

/// By what a stream is received. Shared by those who read the other side's body and who reads on when that is over.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Intake(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    stream: RecvStream,
    waiting: Waiting,
    data_is_over: bool,
    end: Option<End>,
    reader: Option<Waker>,
    taking: Option<Waker>,
}

/// How the other side ended.
#[derive(Debug)]
enum End {
    /// With these trailers, which were not read yet.
    Whole(Option<HeaderMap>),
    /// Before that. h2 says why as often as it is asked.
    Broken,
}

impl Intake {
    /// Data, then trailers.
    pub(in crate::proxy) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(data) = ready!(self.poll_data(cx)) {
            return Poll::Ready(Some(data.map(Frame::data)));
        }
        Poll::Ready(match &mut self.0.borrow_mut().end {
            Some(End::Whole(trailers)) => trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
            Some(End::Broken) | None => None,
        })
    }

    /// What is taken makes room for as much: whoever takes it asks for more only once it has passed it on.
    pub(in crate::proxy) fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let state = &mut *self.0.borrow_mut();
        if let Some(data) = state.waiting.next() {
            let released = state.stream.flow_control().release_capacity(data.len());
            return Poll::Ready(Some(released.map(|()| data)));
        }
        match state.end {
            Some(End::Whole(_)) => Poll::Ready(None),
            Some(End::Broken) => state.stream.poll_data(cx),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether all data has come and was read; trailers may be left.
    pub(in crate::proxy) fn data_is_over(&self) -> bool {
        let state = self.0.borrow();
        state.waiting.is_empty() && matches!(state.end, Some(End::Whole(_)))
    }

    /// Whether everything has come and was read.
    pub(in crate::proxy) fn is_end_stream(&self) -> bool {
        let state = self.0.borrow();
        state.waiting.is_empty() && matches!(state.end, Some(End::Whole(None)))
    }
}

impl State {
    /// Until nothing more will come.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.end.is_none() {
            let polled = if self.data_is_over {
                self.stream.poll_trailers(cx).map(|trailers| self.end = Some(trailers.map_or(End::Broken, End::Whole)))
            } else {
                self.stream.poll_data(cx).map(|data| match data {
                    Some(Ok(data)) => self.waiting.push(data),
                    Some(Err(_)) => self.end = Some(End::Broken),
                    None => self.data_is_over = true,
                })
            };
            ready!(polled);
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // h2 gives the connection back what it has itself, and the rest only once nothing of the stream is held any more.
        let _ = self.stream.flow_control().release_capacity(self.waiting.bytes());
        if let Some(taking) = self.taking.take() {
            taking.wake();
        }
    }
}
