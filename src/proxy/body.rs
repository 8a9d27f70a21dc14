//! The body of an answer to a client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};

use super::connection::ClientConnection;
use super::upstream::{ResponseBody, StreamFault};

/// What an answer is made of, and the end of the exchange when it is dropped.
#[derive(Debug)]
pub struct GatewayBody {
    source: Source,
    _exchange: Exchange,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per exchange, moved a few times: a box would cost more")]
enum Source {
    Whole(Bytes),
    Upstream(ResponseBody),
}

/// From the head of a request to the last byte of its answer.
#[derive(Debug)]
pub struct Exchange(Rc<ClientConnection>);

impl Exchange {
    pub fn begin(connection: &Rc<ClientConnection>, version: Version) -> Self {
        connection.exchange_begins(version);
        Self(Rc::clone(connection))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.exchange_ends();
    }
}

impl GatewayBody {
    pub const fn whole(bytes: Bytes, exchange: Exchange) -> Self {
        Self { source: Source::Whole(bytes), _exchange: exchange }
    }

    pub const fn upstream(body: ResponseBody, exchange: Exchange) -> Self {
        Self { source: Source::Upstream(body), _exchange: exchange }
    }
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = StreamFault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamFault>>> {
        match &mut self.get_mut().source {
            Source::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Upstream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream(body) => body.size_hint(),
        }
    }
}
