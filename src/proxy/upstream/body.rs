//! The body of a request for an upstream, and how a client's comes in.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;

use crate::domain::headers::TrailerRules;
use crate::domain::pace::Pace;
use crate::proxy::incoming::Incoming;
use crate::proxy::seats::Doing;
use crate::proxy::watch::{ExchangeWait, ExchangeWatch};

/// The body of a request. How it is framed follows from it.
#[derive(Debug, Default)]
pub enum RequestBody {
    #[default]
    Empty,
    Whole(Bytes),
    /// Straight from the client. In a box: most requests have none, and each is passed on from step to step.
    Client(Box<ClientBody>),
}

impl RequestBody {
    /// `None`: nobody knows before its end.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Client(body) => body.length,
        }
    }

    /// Reads on where the upstream takes no more of it, so that the client, which may read nothing before it has sent everything,
    /// comes to the response. Ends where the body does, or its bounds. Adds to `bytes` what was read.
    pub(in crate::proxy::upstream) fn poll_discard(&mut self, bytes: &mut u64, cx: &mut Context<'_>) -> Poll<()> {
        while let Self::Client(body) = self {
            match ready!(body.poll_part(cx)) {
                Some(Ok(Part::Data(data))) => *bytes += data.len() as u64,
                Some(Ok(Part::Trailers(_))) => {}
                Some(Err(_)) | None => *self = Self::Empty,
            }
        }
        Poll::Ready(())
    }

    /// The response has begun: see [`ClientBody::is_paced_no_more`].
    pub(in crate::proxy::upstream) fn is_paced_no_more(&mut self) {
        if let Self::Client(body) = self {
            body.is_paced_no_more();
        }
    }
}

/// A client's body with its bounds.
#[derive(Debug)]
pub struct ClientBody {
    pub incoming: Incoming,
    /// Of all of it, as announced. `None`: nobody knows before its end.
    pub length: Option<u64>,
    /// What may still come, in bytes.
    pub bytes_left: u64,
    pub pace: Pacing,
    pub watch: Rc<ExchangeWatch>,
    /// For a body that may have trailers.
    pub trailers: Option<TrailerRules>,
    /// Read already, by an attempt that came to nothing: comes before the rest. Boxed: rare.
    pub again: Option<Box<Bytes>>,
}

/// Holds a client to its pace while it is waited for. While the gateway does not read, because the upstream does not, nothing counts.
#[derive(Debug)]
pub struct Pacing {
    /// `None`: as slowly as it likes.
    pace: Option<Pace>,
    waiting_since: Option<u32>,
    has_waited: bool,
}

impl Pacing {
    pub const fn new(pace: Pace) -> Self {
        Self { pace: Some(pace), waiting_since: None, has_waited: false }
    }

    const fn none() -> Self {
        Self { pace: None, waiting_since: None, has_waited: false }
    }

    fn waits(&mut self, watch: &ExchangeWatch) {
        let Some(pace) = &self.pace else { return };
        if self.waiting_since.is_none() {
            self.waiting_since = Some(watch.now());
            watch.arm(ExchangeWait::RequestBody, pace.patience());
        }
        if !self.has_waited {
            self.has_waited = true;
            watch.does(Doing::Body);
        }
    }

    fn came(&mut self, bytes: usize, is_end: bool, watch: &ExchangeWatch) {
        let Some(pace) = &mut self.pace else { return };
        watch.disarm(ExchangeWait::RequestBody);
        let waited = self.waiting_since.take().map_or(Duration::ZERO, |since| watch.age_since(since));
        pace.came(bytes, waited);
        if is_end && self.has_waited {
            watch.does(Doing::Response);
        }
    }
}

/// Why a request's body could not be read whole. The client's fault, each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyFault {
    #[error("request body larger than the route allows")]
    TooLarge,
    #[error("request body stalled")]
    TimedOut,
    /// Broken off, or not the framing that was announced.
    #[error("request body broken off or malformed")]
    Broken,
}

/// A part of a body.
#[derive(Debug)]
pub(in crate::proxy) enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl ClientBody {
    pub(in crate::proxy) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Part, BodyFault>>> {
        if let Some(again) = self.again.take() {
            return Poll::Ready(Some(Ok(Part::Data(*again))));
        }
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                if self.watch.take_expired(ExchangeWait::RequestBody) {
                    return Poll::Ready(Some(Err(BodyFault::TimedOut)));
                }
                self.pace.waits(&self.watch);
                Poll::Pending
            }
            Poll::Ready(next) => {
                let bytes = next.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
                self.pace.came(bytes, next.is_none(), &self.watch);
                Poll::Ready(next.map(|frame| self.part(frame.map_err(|_| BodyFault::Broken)?)))
            }
        }
    }

    /// From now on it may come as it likes: the response has begun, and what both are together has a limit of its own.
    pub(in crate::proxy::upstream) fn is_paced_no_more(&mut self) {
        self.pace = Pacing::none();
        self.watch.disarm(ExchangeWait::RequestBody);
        self.watch.does(Doing::Response);
    }

    fn part(&mut self, frame: http_body::Frame<Bytes>) -> Result<Part, BodyFault> {
        match frame.into_data() {
            Ok(data) => {
                self.watch.body_comes(data.len());
                self.bytes_left = self.bytes_left.checked_sub(data.len() as u64).ok_or(BodyFault::TooLarge)?;
                Ok(Part::Data(data))
            }
            Err(frame) => {
                let mut trailers = frame.into_trailers().unwrap_or_default();
                match &self.trailers {
                    Some(rules) => rules.rewrite(&mut trailers),
                    None => trailers.clear(),
                }
                Ok(Part::Trailers(trailers))
            }
        }
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        self.watch.disarm(ExchangeWait::RequestBody);
    }
}
