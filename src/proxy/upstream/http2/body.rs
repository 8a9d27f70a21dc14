//! The body of a response that comes by HTTP/2.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http_body::{Frame, SizeHint};

use super::connection::Permit;
use super::failure::within_the_response;
use super::head::Announced;
use super::sending::Sending;
use super::socket::Http2Socket;
use crate::proxy::http2::intake::Intake;
use crate::proxy::upstream::carried::Carried;
use crate::proxy::upstream::end::{ExchangeEnd, UpstreamFault};
use crate::proxy::upstream::outgoing::{Outgoing as _, send_on};
use crate::proxy::upstream::terms::{StreamWatch, WITHHELD_BYTES_MAX, WITHHELD_MAX};
use crate::proxy::watch::ExchangeWait;

/// Dropped before its end, it resets the stream.
#[derive(Debug)]
pub(in crate::proxy::upstream) struct Http2Body {
    /// `None`: it is over.
    open: Option<Open>,
    /// Bytes that are still to come, where the head has said so. h2 refuses a body of another length.
    left: Option<u64>,
    /// Come already, and not passed on.
    ahead: Bytes,
    stream: StreamWatch,
}

/// A stream of which more may come.
#[derive(Debug)]
struct Open {
    intake: Intake,
    /// With what is left to send of the request when the response came early.
    sending: Sending,
    /// The upstream stopped listening before it had the request whole.
    listens_no_more: bool,
    permit: Permit,
}

impl Http2Body {
    pub(super) fn new(
        permit: Permit,
        receiving: RecvStream,
        mut sending: Sending,
        announced: Announced,
        stream: StreamWatch,
    ) -> Box<Self> {
        sending.is_answered();
        let is_over = announced == Announced::NoBody || receiving.is_end_stream();
        let open = (!is_over).then(|| Open { intake: permit.receive(receiving), sending, listens_no_more: false, permit });
        let left = match announced {
            Announced::NoBody => Some(0),
            Announced::Length(length) => Some(length),
            Announced::Stream => None,
        };
        Box::new(Self { open, left, ahead: Bytes::new(), stream })
    }

    /// Awaits a small response whole, for [`WITHHELD_MAX`] at most, while nothing of it has been sent to the client, who could then be
    /// told by another response that it broke off. The rest of a request that is not out whole may be what the upstream awaits.
    pub(super) async fn begin(&mut self) -> Result<(), ExchangeEnd> {
        let is_small = self.left.is_some_and(|left| left <= WITHHELD_BYTES_MAX as u64);
        let request_is_out = self.open.as_ref().is_some_and(|open| open.sending.is_finished());
        if !is_small || !request_is_out {
            return Ok(());
        }
        let mut ahead = BytesMut::new();
        self.stream.watch.arm(ExchangeWait::ResponseHead, WITHHELD_MAX);
        poll_fn(|cx| {
            while !self.is_whole() {
                let Some(open) = &mut self.open else { break };
                match open.poll_data(cx) {
                    Poll::Ready(Some(Ok(data))) => {
                        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                        ahead.extend_from_slice(&data);
                    }
                    Poll::Ready(Some(Err(fault))) => return Poll::Ready(Err(fault.into())),
                    Poll::Ready(None) => break,
                    Poll::Pending if self.stream.watch.take_expired(ExchangeWait::ResponseHead) => break,
                    Poll::Pending => {
                        let ending = self.stream.watch.ended();
                        return ending.map_or(Poll::Pending, |ending| Poll::Ready(Err(ExchangeEnd::Session(ending))));
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        self.left = self.left.map(|left| left + ahead.len() as u64);
        self.ahead = ahead.freeze();
        Ok(())
    }

    /// That of an upstream that has consented to a WebSocket: no body, but a stream that stays open.
    pub(super) fn of_socket(permit: Permit, receiving: RecvStream, sending: Sending, stream: StreamWatch) -> Box<Self> {
        let open = Open { intake: permit.receive(receiving), sending, listens_no_more: false, permit };
        Box::new(Self { open: Some(open), left: None, ahead: Bytes::new(), stream })
    }

    /// The bare stream.
    pub(in crate::proxy::upstream) fn into_socket(mut self) -> Option<Http2Socket> {
        self.open.take().map(|open| Http2Socket::new(open.intake, open.sending, open.permit))
    }

    fn is_whole(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.intake.is_end_stream())
    }

    fn finish(&mut self) {
        self.stream.watch.disarm(ExchangeWait::Stream);
        self.open = None;
    }

    /// These bytes are passed on.
    fn note(&mut self, data: &Bytes) {
        self.stream.watch.stream_moves();
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        if self.is_whole() {
            self.finish();
        }
    }
}

impl Open {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        self.intake.poll_frame(cx).map(|next| next.map(|frame| frame.map_err(|error| self.fault(error))))
    }

    fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UpstreamFault>>> {
        self.intake.poll_data(cx).map(|next| next.map(|data| data.map_err(|error| self.fault(error))))
    }

    fn fault(&self, error: h2::Error) -> UpstreamFault {
        within_the_response(error, self.permit.signs())
    }
}

impl Carried for Http2Body {
    fn stream(&self) -> &StreamWatch {
        &self.stream
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExchangeEnd>>> {
        if let Some(open) = &mut self.open {
            send_on(&mut open.sending, &mut open.listens_no_more, &self.stream, cx)?;
        }
        if !self.ahead.is_empty() {
            let ahead = std::mem::take(&mut self.ahead);
            self.note(&ahead);
            return Poll::Ready(Some(Ok(Frame::data(ahead))));
        }
        let Some(open) = &mut self.open else { return Poll::Ready(None) };
        match open.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                match frame.data_ref() {
                    Some(data) => self.note(data),
                    None => self.finish(),
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(fault))) => Poll::Ready(Some(Err(fault.into()))),
            Poll::Pending if self.stream.watch.take_expired(ExchangeWait::Stream) => {
                open.permit.doubt();
                Poll::Ready(Some(Err(UpstreamFault::Paused.into())))
            }
            Poll::Pending => {
                self.stream.watch.stream_waits(self.stream.idle_timeout);
                Poll::Pending
            }
        }
    }

    fn stop(&mut self) {
        self.open = None;
    }

    fn is_over(&self) -> bool {
        self.ahead.is_empty() && self.is_whole()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_over() { SizeHint::with_exact(0) } else { self.left.map_or_else(SizeHint::default, SizeHint::with_exact) }
    }
}
