//! The body of a response to a client.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use crate::domain::headers::TrailerRules;
use crate::domain::meters::Outcome;
use crate::domain::stats::Counter;
use crate::proxy::request::record::Record;
use crate::proxy::request::refusal::outcome_of_end;
use crate::proxy::upstream::{ExchangeEnd, UpstreamBody};

/// What a response is made of, and the end of the exchange when it is dropped.
#[derive(Debug)]
pub struct GatewayBody {
    source: Source,
    record: Record,
}

#[derive(Debug)]
enum Source {
    Whole(Bytes),
    /// And what comes behind it.
    Call(Bytes, Option<HeaderMap>),
    Upstream(Streamed),
}

/// An upstream's response on its way to the client.
#[derive(Debug)]
struct Streamed {
    body: UpstreamBody,
    /// The request's id.
    request: HeaderValue,
    /// For a client that gets trailers.
    trailers: Option<TrailerRules>,
    end: End,
}

/// How far the response is from having ended before it was whole.
#[derive(Debug)]
enum End {
    None,
    /// Not told to hyper yet, which would drop what it has not written.
    Withheld(ExchangeEnd),
    Told,
}

impl GatewayBody {
    pub(in crate::proxy) const fn whole(bytes: Bytes, record: Record) -> Self {
        Self { source: Source::Whole(bytes), record }
    }

    /// The response to a call of gRPC.
    pub(in crate::proxy) const fn call(bytes: Bytes, trailers: HeaderMap, record: Record) -> Self {
        Self { source: Source::Call(bytes, Some(trailers)), record }
    }

    /// `request` is the request's id, for log lines; `trailers` are for a client that gets trailers.
    pub(in crate::proxy) const fn upstream(
        body: UpstreamBody,
        record: Record,
        request: HeaderValue,
        trailers: Option<TrailerRules>,
    ) -> Self {
        Self { source: Source::Upstream(Streamed { body, request, trailers, end: End::None }), record }
    }
}

impl Streamed {
    fn poll_frame(&mut self, record: &Record, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExchangeEnd>>> {
        if let End::Withheld(end) = std::mem::replace(&mut self.end, End::None) {
            self.end = End::Told;
            return Poll::Ready(Some(Err(end)));
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Err(end))) => {
                self.note(&end);
                record.ends(outcome_of_end(&end));
                // What came before it leaves first: the client then sees a response that broke off, and not none at all.
                self.end = End::Withheld(end);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                record.sends(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(self.rewrite(frame))))
            }
            Poll::Pending => {
                record.waits();
                Poll::Pending
            }
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn rewrite(&self, mut frame: Frame<Bytes>) -> Frame<Bytes> {
        if let (Some(rules), Some(trailers)) = (&self.trailers, frame.trailers_mut()) {
            rules.rewrite(trailers);
        }
        frame
    }

    fn note(&self, end: &ExchangeEnd) {
        let request = self.request.to_str().unwrap_or_default();
        let upstream = self.body.upstream_name();
        let counter = match end {
            ExchangeEnd::Upstream(fault) => fault.counter(),
            ExchangeEnd::Client(_) => Counter::ResponsesEndedByClient,
            ExchangeEnd::Refused(denial) => Counter::of_denial(denial),
            ExchangeEnd::Session(end) => end.counter(),
        };
        self.body.counters().add(counter, 1);
        match end {
            ExchangeEnd::Upstream(cause) => tracing::warn!(request, upstream, %cause, "response broken off"),
            ExchangeEnd::Client(cause) => {
                tracing::debug!(request, upstream, %cause, "response broken off: the client's request is");
            }
            ExchangeEnd::Refused(cause) => tracing::debug!(request, upstream, %cause, "response broken off"),
            ExchangeEnd::Session(cause) => tracing::debug!(request, upstream, %cause, "response broken off"),
        }
    }
}

/// A client that goes before it has everything ends the response too.
impl Drop for GatewayBody {
    fn drop(&mut self) {
        if let Source::Upstream(Streamed { body, end: End::None, .. }) = &self.source
            && !body.is_end_stream()
        {
            body.counters().add(Counter::ResponsesEndedByClient, 1);
            self.record.ends(Outcome::ClientGone);
        }
    }
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = ExchangeEnd;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExchangeEnd>>> {
        let Self { source, record } = self.get_mut();
        match source {
            Source::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Call(bytes, trailers) if bytes.is_empty() => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Source::Whole(bytes) | Source::Call(bytes, _) => {
                record.sends(bytes.len());
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))))
            }
            Source::Upstream(streamed) => streamed.poll_frame(record, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Call(bytes, trailers) => bytes.is_empty() && trailers.is_none(),
            Source::Upstream(streamed) => streamed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            // None that is exact: a length would stand before trailers.
            Source::Call(bytes, _) => {
                let mut hint = SizeHint::default();
                hint.set_lower(bytes.len() as u64);
                hint
            }
            Source::Upstream(streamed) => streamed.body.size_hint(),
        }
    }
}
