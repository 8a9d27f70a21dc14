//! A request's body on its way to an upstream, as its window gives room.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::SendStream;

use crate::proxy::http2::poll_room;
use crate::proxy::upstream::body::{Part, RequestBody};
use crate::proxy::upstream::outgoing::{Outgoing, SendFault};
use crate::proxy::upstream::terms::Progress;

/// So much of a client's body is kept until the response begins: an upstream may say that it has done nothing of the request, which
/// then goes elsewhere. gRPC sends every request with a body, and most are small.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// A request whose head is out.
#[derive(Debug)]
pub(super) struct Sending {
    stream: SendStream<Bytes>,
    /// What has not been read of it.
    body: RequestBody,
    /// Read, and not sent.
    waiting: Bytes,
    kept: Kept,
    finished: bool,
    bytes_sent: u64,
    /// Read and thrown away: the upstream takes no more.
    bytes_discarded: u64,
    /// Of those sent, how many had been at the last look.
    bytes_noted: u64,
}

/// What was read of the body, for as long as it may have to be sent again.
#[derive(Debug)]
enum Kept {
    /// Of a client's body.
    Copied(BytesMut),
    Whole(Bytes),
    /// It was too much, or had trailers, or the response has begun.
    Nothing,
}

impl Sending {
    /// A body of no bytes left with the head.
    pub(super) fn new(stream: SendStream<Bytes>, body: RequestBody) -> Self {
        let finished = body.length() == Some(0);
        let kept = match &body {
            RequestBody::Empty => Kept::Whole(Bytes::new()),
            RequestBody::Whole(bytes) => Kept::Whole(bytes.clone()),
            RequestBody::Client(_) => Kept::Copied(BytesMut::new()),
        };
        Self { stream, body, waiting: Bytes::new(), kept, finished, bytes_sent: 0, bytes_discarded: 0, bytes_noted: 0 }
    }

    pub(super) fn progress(&mut self) -> Progress {
        if self.finished {
            return Progress::Finished;
        }
        if self.waiting.is_empty() {
            return Progress::AwaitsClient;
        }
        let noted = std::mem::replace(&mut self.bytes_noted, self.bytes_sent);
        if noted == self.bytes_sent { Progress::Blocked } else { Progress::Moved }
    }

    /// The response has begun: the request is not sent again, and its client may send as it likes.
    pub(super) fn is_answered(&mut self) {
        self.kept = Kept::Nothing;
        self.body.is_paced_no_more();
    }

    /// The body as it was, if that can be had.
    pub(super) fn into_body(self) -> Option<RequestBody> {
        match (self.kept, self.body) {
            (Kept::Nothing, _) => None,
            (Kept::Whole(bytes), _) => Some(whole(bytes)),
            (Kept::Copied(read), RequestBody::Client(mut body)) => {
                body.again = (!read.is_empty()).then(|| Box::new(read.freeze()));
                Some(RequestBody::Client(body))
            }
            (Kept::Copied(read), RequestBody::Empty | RequestBody::Whole(_)) => Some(whole(read.freeze())),
        }
    }

    fn poll_send_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while !self.waiting.is_empty() {
            let room = ready!(poll_room(&mut self.stream, self.waiting.len(), cx))?;
            let piece = self.waiting.split_to(room);
            self.bytes_sent += piece.len() as u64;
            self.finished = self.waiting.is_empty() && matches!(self.body, RequestBody::Empty);
            self.stream.send_data(piece, self.finished)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends a stream that was to stay open.
    pub(super) fn end_unasked(&mut self) {
        // One that has ended needs none.
        let _ = self.stream.send_data(Bytes::new(), true);
    }

    /// What is not sent of it goes nowhere.
    pub(super) fn into_stream(self) -> SendStream<Bytes> {
        self.stream
    }

    fn end(&mut self) -> Result<(), SendFault<()>> {
        if !self.finished {
            self.finished = true;
            self.stream.send_data(Bytes::new(), true).map_err(|_| SendFault::Upstream(()))?;
        }
        Ok(())
    }
}

impl Outgoing for Sending {
    /// Its stream says it.
    type Cause = ();

    fn is_finished(&self) -> bool {
        self.finished
    }

    fn bytes_passed(&self) -> u64 {
        self.bytes_sent + self.bytes_discarded
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendFault<()>>> {
        while !self.finished {
            ready!(self.poll_send_waiting(cx)).map_err(|_| SendFault::Upstream(()))?;
            match &mut self.body {
                RequestBody::Empty => self.end()?,
                RequestBody::Whole(bytes) => {
                    self.waiting = std::mem::take(bytes);
                    self.body = RequestBody::Empty;
                }
                RequestBody::Client(body) => match ready!(body.poll_part(cx)).transpose().map_err(SendFault::Body)? {
                    Some(Part::Data(data)) => {
                        self.kept.note(&data);
                        self.waiting = data;
                    }
                    Some(Part::Trailers(trailers)) if !trailers.is_empty() => {
                        self.kept = Kept::Nothing;
                        self.body = RequestBody::Empty;
                        self.finished = true;
                        self.stream.send_trailers(trailers).map_err(|_| SendFault::Upstream(()))?;
                    }
                    Some(Part::Trailers(_)) | None => self.body = RequestBody::Empty,
                },
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.body.poll_discard(&mut self.bytes_discarded, cx)
    }
}

impl Kept {
    fn note(&mut self, data: &[u8]) {
        match self {
            Self::Copied(read) if read.len() + data.len() <= KEPT_BYTES_MAX => read.extend_from_slice(data),
            Self::Copied(_) => *self = Self::Nothing,
            Self::Whole(_) | Self::Nothing => {}
        }
    }
}

fn whole(bytes: Bytes) -> RequestBody {
    if bytes.is_empty() { RequestBody::Empty } else { RequestBody::Whole(bytes) }
}
