//! The body of a response, in the framing of HTTP/1.1.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};

use super::connection::Connection;
use super::head::{ResponseFraming, ResponseHead};
use super::pool::Pool;
use crate::proxy::http1::chunked::{Chunk, Chunks};
use crate::proxy::upstream::carried::Carried;
use crate::proxy::upstream::connect::Stream;
use crate::proxy::upstream::end::{ExchangeEnd, UpstreamFault};
use crate::proxy::upstream::outgoing::send_on;
use crate::proxy::upstream::terms::{StreamWatch, WITHHELD_BYTES_MAX, WITHHELD_MAX};
use crate::proxy::watch::ExchangeWait;

#[derive(Debug)]
enum Rest {
    Length(u64),
    Chunked(Chunks),
    Close,
    Done,
}

/// Gives the connection back to the pool when all of it was read.
#[derive(Debug)]
pub(in crate::proxy::upstream) struct Http1Body {
    pool: Rc<Pool>,
    /// With what is left to send of the request when the response came early.
    connection: Option<Box<Connection>>,
    /// The upstream stopped listening before it had the request whole.
    listens_no_more: bool,
    rest: Rest,
    keep_alive: bool,
    stream: StreamWatch,
}

impl Http1Body {
    pub(super) fn new(pool: Rc<Pool>, mut connection: Box<Connection>, head: &ResponseHead, stream: StreamWatch) -> Self {
        connection.sending.is_paced_no_more();
        let rest = match head.framing {
            ResponseFraming::Length(0) => Rest::Done,
            ResponseFraming::Length(length) => Rest::Length(length),
            ResponseFraming::Chunked => Rest::Chunked(Chunks::Size),
            ResponseFraming::Close => Rest::Close,
        };
        connection.kept_for = head.kept_for;
        let keep_alive = !head.kept_for.is_zero() && !head.status.is_informational();
        let mut body = Self { pool, connection: Some(connection), listens_no_more: false, rest, keep_alive, stream };
        if keep_alive {
            body.give_back_when_done();
        }
        body
    }

    /// Whether the connection that carries it ends with it although the request is not out whole: more of it goes nowhere.
    pub(in crate::proxy::upstream) fn ends_the_request(&self) -> bool {
        !self.keep_alive && self.connection.as_ref().is_some_and(|connection| !connection.sending.is_finished())
    }

    /// Looks whether the response is broken by now, while nothing of it has been sent to the client, who could then be told of it by
    /// another response. A small response is awaited whole, for [`WITHHELD_MAX`] at most. Of every other one, the sockets are asked
    /// once more: an upstream that dies often does so right behind its last byte.
    pub(super) async fn begin(&mut self) -> Result<(), ExchangeEnd> {
        if poll_fn(|cx| Poll::Ready(self.look_ahead(cx))).await? == Outlook::Whole {
            return Ok(());
        }
        if self.is_withheld() {
            return self.await_whole().await;
        }
        tokio::task::yield_now().await;
        poll_fn(|cx| Poll::Ready(self.look_ahead(cx))).await?;
        Ok(())
    }

    /// Whether the head alone would be of no use to the client, and nobody waits for the client. The rest of a request that is not out
    /// whole may be what the upstream awaits.
    fn is_withheld(&self) -> bool {
        let request_is_out = self.connection.as_ref().is_some_and(|connection| connection.sending.is_finished());
        let is_small = match self.rest {
            Rest::Length(left) => left <= WITHHELD_BYTES_MAX as u64,
            Rest::Chunked(_) | Rest::Close | Rest::Done => false,
        };
        request_is_out && is_small
    }

    async fn await_whole(&mut self) -> Result<(), ExchangeEnd> {
        self.stream.watch.arm(ExchangeWait::ResponseHead, WITHHELD_MAX);
        poll_fn(|cx| {
            if self.look_ahead(cx)? == Outlook::Whole || self.stream.watch.take_expired(ExchangeWait::ResponseHead) {
                return Poll::Ready(Ok(()));
            }
            self.stream.watch.ended().map_or(Poll::Pending, |ending| Poll::Ready(Err(ExchangeEnd::Session(ending))))
        })
        .await
    }

    fn look_ahead(&mut self, cx: &mut Context<'_>) -> Result<Outlook, UpstreamFault> {
        let Some(connection) = &mut self.connection else { return Ok(Outlook::Whole) };
        loop {
            let outlook = self.rest.outlook(&connection.read).map_err(UpstreamFault::Malformed)?;
            if outlook == Outlook::Whole || connection.read.len() >= WITHHELD_BYTES_MAX {
                return Ok(outlook);
            }
            match connection.poll_fill(cx) {
                Poll::Ready(Ok(0)) if self.rest.ends_with_the_connection() => return Ok(Outlook::Whole),
                Poll::Ready(Ok(0)) => return Err(UpstreamFault::Truncated(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(Err(error)) => return Err(UpstreamFault::Truncated(error)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Ok(outlook),
            }
        }
    }

    /// The bare connection after a 101, with what the upstream sent already.
    pub(in crate::proxy::upstream) fn into_stream(mut self) -> Option<(Stream, BytesMut)> {
        self.connection.take().map(|connection| (connection.io, connection.read))
    }

    fn give_back_when_done(&mut self) {
        if !matches!(self.rest, Rest::Done) {
            return;
        }
        self.stream.watch.disarm(ExchangeWait::Stream);
        let Some(connection) = self.connection.take() else { return };
        if self.keep_alive && connection.sending.is_finished() && connection.read.is_empty() {
            self.pool.give_back(connection);
        }
    }
}

/// Of a body that has not been passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outlook {
    /// Nothing more has to come.
    Whole,
    Open,
}

enum Taken {
    Frame(Frame<Bytes>),
    Nothing,
    End,
}

impl Rest {
    /// What these bytes say of the rest, if they are all that there is of it.
    fn outlook(&self, read: &BytesMut) -> Result<Outlook, &'static str> {
        let is_whole = match self {
            Self::Done => true,
            Self::Length(left) => read.len() as u64 >= *left,
            Self::Close => false,
            Self::Chunked(chunks) => chunks.clone().end_within(&mut read.clone()).map_err(|malformed| malformed.0)?,
        };
        Ok(if is_whole { Outlook::Whole } else { Outlook::Open })
    }

    fn ends_with_the_connection(&self) -> bool {
        matches!(self, Self::Close)
    }

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

impl Carried for Http1Body {
    fn stream(&self) -> &StreamWatch {
        &self.stream
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExchangeEnd>>> {
        let fault = |fault: UpstreamFault| Poll::Ready(Some(Err(fault.into())));
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        // One that does not get it whole is not used again.
        send_on(&mut **connection, &mut self.listens_no_more, &self.stream, cx)?;
        loop {
            match self.rest.take(&mut connection.read) {
                Err(malformed) => return fault(UpstreamFault::Malformed(malformed)),
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
                    if !self.rest.ends_with_the_connection() {
                        return fault(UpstreamFault::Truncated(io::ErrorKind::UnexpectedEof.into()));
                    }
                    self.rest = Rest::Done;
                    self.connection = None;
                    return Poll::Ready(None);
                }
                Poll::Ready(Err(error)) => return fault(UpstreamFault::Truncated(error)),
                Poll::Ready(Ok(_)) => self.stream.watch.stream_moves(),
                Poll::Pending => {
                    if self.stream.watch.take_expired(ExchangeWait::Stream) {
                        return fault(UpstreamFault::Paused);
                    }
                    self.stream.watch.stream_waits(self.stream.idle_timeout);
                    return Poll::Pending;
                }
            }
        }
    }

    fn stop(&mut self) {
        self.connection = None;
    }

    fn is_over(&self) -> bool {
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
