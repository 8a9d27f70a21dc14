//! A request on its way to an upstream: its head, and its body as the client sends it.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::io::AsyncWrite;

use super::RequestHead;
use super::codec::{self, Framing};
use super::connect::Stream;
use crate::domain::headers::TrailerRules;
use crate::domain::pace::Pace;
use crate::proxy::seats::Doing;
use crate::proxy::watch::{ExchangeWait, ExchangeWatch};

/// The body of a request to an upstream.
#[derive(Debug, Default)]
pub enum RequestBody {
    #[default]
    Empty,
    Whole(Bytes),
    /// Straight from the client.
    Client(ClientBody),
}

/// A client's body with its bounds.
#[derive(Debug)]
pub struct ClientBody {
    pub incoming: Incoming,
    /// What may still come, in bytes.
    pub bytes_left: u64,
    pub pace: Pacing,
    pub watch: Rc<ExchangeWatch>,
    /// For a body that may have trailers.
    pub trailers: Option<TrailerRules>,
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
    pub(super) fn is_paced_no_more(&mut self) {
        self.pace = Pacing::none();
        self.watch.disarm(ExchangeWait::RequestBody);
        self.watch.does(Doing::Response);
    }

    fn part(&mut self, frame: hyper::body::Frame<Bytes>) -> Result<Part, BodyFault> {
        match frame.into_data() {
            Ok(data) => {
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

/// Why sending stopped.
#[derive(Debug)]
pub(super) enum SendFault {
    Body(BodyFault),
    Upstream(io::Error),
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

/// A request that is being written. What is pending leaves in the order `head`, `chunk`, `tail`.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    head: Vec<u8>,
    head_sent: usize,
    chunk: Bytes,
    tail: &'static [u8],
    body: RequestBody,
    framing: Framing,
    finished: bool,
    /// What was written may still lie in a buffer of ours.
    is_flushing: bool,
    bytes_sent: u64,
    /// Read and thrown away: the upstream takes no more.
    bytes_discarded: u64,
    /// Of those sent, how many had been at the last look.
    bytes_noted: u64,
}

impl Outgoing {
    /// The connection's next request. Its buffer is that of the one before it.
    pub(super) fn begin(&mut self, request: &RequestHead<'_>, mut body: RequestBody) {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        codec::write_request_head(&mut head, request);
        let mut chunk = Bytes::new();
        if let RequestBody::Whole(bytes) = &mut body {
            chunk = std::mem::take(bytes);
            body = RequestBody::Empty;
        }
        *self = Self { head, chunk, body, framing: request.framing, ..Self::default() };
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    pub(super) fn progress(&mut self) -> Progress {
        if self.finished {
            return Progress::Finished;
        }
        if self.pending().is_empty() && !self.is_flushing {
            return Progress::AwaitsClient;
        }
        let noted = std::mem::replace(&mut self.bytes_noted, self.bytes_sent);
        if noted == self.bytes_sent { Progress::Blocked } else { Progress::Moved }
    }

    /// Sent, or read from the client for nothing.
    pub(super) fn bytes_passed(&self) -> u64 {
        self.bytes_sent + self.bytes_discarded
    }

    /// The response has begun: see [`ClientBody::is_paced_no_more`].
    pub(super) fn is_paced_no_more(&mut self) {
        if let RequestBody::Client(body) = &mut self.body {
            body.is_paced_no_more();
        }
    }

    /// Whether the kernel took any byte of it.
    pub(super) fn anything_sent(&self) -> bool {
        self.bytes_sent > 0
    }

    /// The body again. Meant for a request of which nothing was sent, or which has no body.
    pub(super) fn take_body(&mut self) -> RequestBody {
        let body = std::mem::take(&mut self.body);
        if self.chunk.is_empty() { body } else { RequestBody::Whole(std::mem::take(&mut self.chunk)) }
    }

    /// Writes as much as both sides allow. Ready once the request is out whole.
    pub(super) fn poll_send(&mut self, io: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), SendFault>> {
        while !self.finished {
            ready!(self.poll_write_pending(io, cx)).map_err(SendFault::Upstream)?;
            match &mut self.body {
                RequestBody::Empty | RequestBody::Whole(_) => self.finished = true,
                RequestBody::Client(body) => {
                    let part = ready!(body.poll_part(cx)).transpose().map_err(SendFault::Body)?;
                    self.take_part(part);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take_part(&mut self, part: Option<Part>) {
        let chunked = self.framing == Framing::Chunked;
        match part {
            Some(Part::Data(data)) if data.is_empty() => {}
            Some(Part::Data(data)) => {
                if chunked {
                    self.head.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                    self.tail = b"\r\n";
                }
                self.chunk = data;
            }
            Some(Part::Trailers(trailers)) => {
                if chunked {
                    self.head.extend_from_slice(b"0\r\n");
                    codec::write_trailers(&mut self.head, &trailers);
                }
                self.body = RequestBody::Empty;
            }
            None => {
                if chunked {
                    self.tail = b"0\r\n\r\n";
                }
                self.body = RequestBody::Empty;
            }
        }
    }

    fn pending(&self) -> &[u8] {
        if self.head_sent < self.head.len() {
            &self.head[self.head_sent..]
        } else if self.chunk.is_empty() {
            self.tail
        } else {
            &self.chunk
        }
    }

    fn poll_write_pending(&mut self, io: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let pending = self.pending();
            if pending.is_empty() {
                self.head.clear();
                self.head_sent = 0;
                let flushed = Pin::new(io).poll_flush(cx);
                self.is_flushing = flushed.is_pending();
                return flushed;
            }
            let sent = ready!(Pin::new(&mut *io).poll_write(cx, pending))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes_sent += sent as u64;
            if self.head_sent < self.head.len() {
                self.head_sent += sent;
            } else if self.chunk.is_empty() {
                self.tail = &self.tail[sent..];
            } else {
                self.chunk.advance(sent);
            }
        }
    }

    /// Reads on where the upstream takes no more of it, so that the client, which may read nothing before it has sent everything,
    /// comes to the response. Ends where the body does, or its bounds.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let RequestBody::Client(body) = &mut self.body {
            match ready!(body.poll_part(cx)) {
                Some(Ok(Part::Data(data))) => self.bytes_discarded += data.len() as u64,
                Some(Ok(Part::Trailers(_))) => {}
                Some(Err(_)) | None => self.body = RequestBody::Empty,
            }
        }
        Poll::Ready(())
    }
}
