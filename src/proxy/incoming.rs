//! The body of a client's request, whatever protocol it comes by.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::http2::intake::Intake;

/// A request's body as it comes in.
#[derive(Debug)]
pub enum Incoming {
    /// None: what comes is no body.
    Empty,
    Http1(hyper::body::Incoming),
    Http2(Http2Incoming),
}

/// It ended before it was whole, or not as it was announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("request body broken off or malformed")]
pub struct BrokenOff;

impl Body for Incoming {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map(|next| next.map(|frame| frame.map_err(|_| BrokenOff))),
            Self::Http2(body) => body.poll_frame(cx).map(|next| next.map(|frame| frame.map_err(|_| BrokenOff))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.intake.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

/// By what a stream is responded to. Shared by those who send interim responses and the final one.
pub(super) type Responder = Rc<RefCell<SendResponse<Bytes>>>;

/// The body of one stream of HTTP/2. Its length, where one is announced, is enforced by h2.
#[derive(Debug)]
pub struct Http2Incoming {
    intake: Intake,
    /// As announced.
    length: Option<u64>,
    /// Of a client that awaits 100 before it sends the body.
    expecting: Option<Responder>,
}

impl Http2Incoming {
    pub(super) const fn new(intake: Intake, length: Option<u64>, expecting: Option<Responder>) -> Self {
        Self { intake, length, expecting }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        self.say_continue();
        self.intake.poll_frame(cx)
    }

    /// The body is wanted (RFC 9110, section 10.1.1).
    fn say_continue(&mut self) {
        if let Some(responder) = self.expecting.take() {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::CONTINUE;
            // A stream that has ended needs none.
            let _ = responder.borrow_mut().send_informational(response);
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            _ if self.intake.is_end_stream() => SizeHint::with_exact(0),
            Some(length) => SizeHint::with_exact(length),
            None => SizeHint::default(),
        }
    }
}
