//! What holds for an exchange, however often it is attempted: how long each step may take, and what ends it.

use std::fmt::Display;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, StatusCode};

use super::end::{Again, ExchangeEnd, Failed, UpstreamFault};
use crate::domain::claims::Denial;
use crate::proxy::watch::{ExchangeWait, ExchangeWatch};

/// How long one exchange may take for what.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeTimeouts {
    /// From the end of the request to the end of the response's head.
    pub response: Duration,
    /// From then on: how long no byte may move, in either direction.
    pub idle: Duration,
}

/// What is still to be asked before a request is sent, once it could be.
pub trait LastWord {
    /// `None`: nothing, or it was asked.
    fn ask(&self) -> Option<LocalBoxFuture<'_, Result<(), Denial>>>;
}

/// Nothing is to be asked.
pub struct Unasked;

impl LastWord for Unasked {
    fn ask(&self) -> Option<LocalBoxFuture<'_, Result<(), Denial>>> {
        None
    }
}

/// What holds for an exchange, however often it is attempted.
#[derive(Clone, Copy)]
pub struct ExchangeTerms<'a> {
    /// That of the response begins with the first attempt that sends the request whole.
    pub timeouts: ExchangeTimeouts,
    pub watch: &'a Rc<ExchangeWatch>,
    /// Told of interim responses (1xx), but not of 100: Expect is not sent on, so nobody waits for one.
    pub interim: &'a dyn Fn(StatusCode, HeaderMap),
    /// Nothing of the request is sent without it.
    pub last_word: &'a dyn LastWord,
    /// Told of each server that is tried.
    pub asks: &'a dyn Fn(&dyn Display),
}

/// Who keeps a request from being sent whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// Nobody: it is.
    Finished,
    /// The client, which owes more of the body.
    AwaitsClient,
    /// The upstream, which has taken nothing since the last look.
    Blocked,
    /// The upstream, which has taken something since.
    Moved,
}

impl ExchangeTerms<'_> {
    /// Asks the last word. Whoever is refused is not sent to another backend.
    pub(super) async fn cleared(&self) -> Result<(), Failed> {
        match self.last_word.ask() {
            None => Ok(()),
            Some(word) => word.await.map_err(|denial| Failed { end: ExchangeEnd::Refused(denial), again: Again::Never }),
        }
    }

    /// What `poll` becomes, if it does so before [`ExchangeWait::Connect`] has passed.
    pub(super) async fn connected<T>(
        &self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
        too_late: impl Fn() -> UpstreamFault,
    ) -> Result<T, ExchangeEnd> {
        let outcome = poll_fn(|cx| match poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending if self.watch.take_expired(ExchangeWait::Connect) => Poll::Ready(Err(too_late().into())),
            // A repeated attempt has what time the first one left.
            Poll::Pending => self.overdue().map_or(Poll::Pending, |end| Poll::Ready(Err(end))),
        })
        .await;
        self.watch.disarm(ExchangeWait::Connect);
        outcome
    }

    /// Why the head of the response is not waited for any longer, if that is so.
    pub(super) fn overdue(&self) -> Option<ExchangeEnd> {
        if self.watch.take_expired(ExchangeWait::ResponseHead) {
            return Some(UpstreamFault::ResponseTimedOut.into());
        }
        if self.watch.take_expired(ExchangeWait::UpstreamWrite) {
            return Some(UpstreamFault::WriteTimedOut.into());
        }
        self.watch.ended().map(ExchangeEnd::Session)
    }

    /// While the request is on its way, the upstream owes that it takes bytes; from then on, the response. While the client owes
    /// more of the body, the upstream owes nothing.
    pub(super) fn keep_time(&self, progress: Progress, write_timeout: Duration) {
        let watch = self.watch;
        match progress {
            Progress::Finished => {
                watch.disarm(ExchangeWait::UpstreamWrite);
                if !watch.is_armed(ExchangeWait::ResponseHead) {
                    watch.arm(ExchangeWait::ResponseHead, self.timeouts.response);
                }
            }
            Progress::AwaitsClient => watch.disarm(ExchangeWait::UpstreamWrite),
            Progress::Blocked if watch.is_armed(ExchangeWait::UpstreamWrite) => {}
            Progress::Blocked | Progress::Moved => watch.arm(ExchangeWait::UpstreamWrite, write_timeout),
        }
    }
}

/// Whether another response follows for the same request.
pub(super) fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Holds a stream to its limit. It counts for both directions alone: how slowly the client sends makes no difference any more.
#[derive(Debug)]
pub(super) struct StreamWatch {
    pub(super) watch: Rc<ExchangeWatch>,
    pub(super) idle_timeout: Duration,
}

impl Drop for StreamWatch {
    fn drop(&mut self) {
        self.watch.disarm(ExchangeWait::Stream);
    }
}

/// The largest body that is awaited whole before the response begins, and how far others are looked into.
pub(super) const WITHHELD_BYTES_MAX: usize = 16 * 1024;

/// How long a head waits for its body. An upstream that breaks off does so soon, and whoever sends a small body slowly may mean it.
pub(super) const WITHHELD_MAX: Duration = Duration::from_millis(500);
