//! The body of an upstream's answer, read while the client takes it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::codec::{Chunk, Chunks, Framing};
use super::request::Outgoing;
use super::{Connection, ResponseHead, Stream, Upstream};
use crate::proxy::watch::{Wait, Watch};

/// Why an answer was broken off. The client's connection is then closed, so that nobody takes the part for the whole.
#[derive(Debug, thiserror::Error)]
pub enum StreamFault {
    #[error("upstream connection lost within the answer: {0}")]
    Lost(std::io::Error),
    #[error("malformed answer: {0}")]
    Malformed(&'static str),
    #[error("upstream paused too long within the answer")]
    TimedOut,
    #[error("session ended")]
    SessionEnded,
}

#[derive(Debug)]
enum Rest {
    Length(u64),
    Chunked(Chunks),
    Close,
    Done,
}

/// An answer's body. Gives the connection back to the pool when all of it was read.
#[derive(Debug)]
pub struct ResponseBody {
    upstream: Rc<Upstream>,
    connection: Option<Connection>,
    /// What is left to send of the request when the answer came early.
    outgoing: Option<Outgoing>,
    rest: Rest,
    keep_alive: bool,
    watch: Rc<Watch>,
}

impl ResponseBody {
    pub(super) fn new(
        upstream: Rc<Upstream>,
        connection: Connection,
        outgoing: Outgoing,
        head: &ResponseHead,
        watch: Rc<Watch>,
    ) -> Self {
        let rest = match head.framing {
            Framing::Empty => Rest::Done,
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked => Rest::Chunked(Chunks::Size),
            Framing::Close => Rest::Close,
        };
        let keep_alive = head.keep_alive && !head.status.is_informational();
        let mut body = Self { upstream, connection: Some(connection), outgoing: Some(outgoing), rest, keep_alive, watch };
        if keep_alive {
            body.give_back_when_done();
        }
        body
    }

    /// The bare connection after a 101, with what the upstream sent already.
    pub fn into_stream(mut self) -> Option<(Stream, BytesMut)> {
        self.connection.take().map(|connection| (connection.io, connection.read))
    }

    fn give_back_when_done(&mut self) {
        if !matches!(self.rest, Rest::Done) {
            return;
        }
        self.watch.disarm(Wait::ResponseBody);
        let request_is_out = self.outgoing.as_ref().is_some_and(Outgoing::is_finished);
        let (Some(mut connection), Some(outgoing)) = (self.connection.take(), self.outgoing.take()) else { return };
        if self.keep_alive && request_is_out && connection.read.is_empty() {
            connection.head = outgoing.into_buffer();
            self.upstream.give_back(connection);
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamFault>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        if let Some(outgoing) = &mut self.outgoing
            && !outgoing.is_finished()
            && let Poll::Ready(Err(_)) = outgoing.poll_send(&mut connection.io, cx)
        {
            // The answer may stand all the same; the connection is not used again because the request never finished.
            self.outgoing = None;
        }
        loop {
            match self.rest.take(&mut connection.read).map_err(StreamFault::Malformed) {
                Err(fault) => return Poll::Ready(Some(Err(fault))),
                Ok(Taken::Frame(frame)) => {
                    self.give_back_when_done();
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(Taken::End) => {
                    self.give_back_when_done();
                    return Poll::Ready(None);
                }
                Ok(Taken::Nothing) => {}
            }
            match connection.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    let whole = matches!(self.rest, Rest::Close);
                    self.rest = Rest::Done;
                    self.connection = None;
                    return Poll::Ready((!whole).then(|| Err(StreamFault::Lost(std::io::ErrorKind::UnexpectedEof.into()))));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(StreamFault::Lost(error)))),
                Poll::Ready(Ok(_)) => self.watch.disarm(Wait::ResponseBody),
                Poll::Pending => {
                    if self.watch.take_expired(Wait::ResponseBody) {
                        return Poll::Ready(Some(Err(StreamFault::TimedOut)));
                    }
                    if !self.watch.is_armed(Wait::ResponseBody) {
                        self.watch.arm(Wait::ResponseBody, self.upstream.options.body_idle_timeout);
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

enum Taken {
    Frame(Frame<Bytes>),
    Nothing,
    End,
}

impl Rest {
    fn take(&mut self, read: &mut BytesMut) -> Result<Taken, &'static str> {
        match self {
            Self::Done => Ok(Taken::End),
            Self::Length(_) | Self::Close if read.is_empty() => Ok(Taken::Nothing),
            Self::Close => Ok(Taken::Frame(Frame::data(read.split().freeze()))),
            Self::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= take as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Taken::Frame(Frame::data(read.split_to(take).freeze())))
            }
            Self::Chunked(chunks) => Ok(match chunks.next(read).map_err(|malformed| malformed.0)? {
                Chunk::Data(data) => Taken::Frame(Frame::data(data)),
                Chunk::Trailers(trailers) => Taken::Frame(Frame::trailers(trailers)),
                Chunk::NeedMore => Taken::Nothing,
                Chunk::Done => {
                    *self = Self::Done;
                    Taken::End
                }
            }),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = StreamFault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamFault>>> {
        let body = self.get_mut();
        if body.watch.session_ended() {
            body.connection = None;
            return Poll::Ready(Some(Err(StreamFault::SessionEnded)));
        }
        let polled = body.poll_data(cx);
        if let Poll::Ready(Some(Err(_))) = polled {
            body.connection = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.rest, Rest::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest {
            Rest::Length(left) => SizeHint::with_exact(left),
            Rest::Done => SizeHint::with_exact(0),
            Rest::Chunked(_) | Rest::Close => SizeHint::default(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.watch.disarm(Wait::ResponseBody);
    }
}
