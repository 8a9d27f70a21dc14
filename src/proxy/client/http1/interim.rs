//! Interim responses (1xx, RFC 9110, section 15.2) on their way to a client. hyper's server cannot send them, so they are written
//! between what it writes.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use tokio::io::AsyncWrite;

use crate::domain::headers::write_field;

/// How many bytes may wait for a client that does not read. Beyond that they are left out: the final response says it all.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// What one connection has to say before the next answer.
#[derive(Debug)]
pub(super) struct InterimResponses {
    waiting: RefCell<BytesMut>,
    /// hyper holds nothing back of the responses before.
    all_flushed: Cell<bool>,
}

impl Default for InterimResponses {
    fn default() -> Self {
        Self { waiting: RefCell::default(), all_flushed: Cell::new(true) }
    }
}

impl InterimResponses {
    /// Takes one for the present request, whose response has not begun. A client that pipelines and has not taken the response before
    /// goes without: nobody could tell where the one ends and the other begins.
    pub(super) fn add(&self, status: StatusCode, headers: &HeaderMap) {
        if !self.all_flushed.get() {
            return;
        }
        let mut head = format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default()).into_bytes();
        for (name, value) in headers.iter().filter(|(name, _)| *name != CONTENT_LENGTH) {
            write_field(&mut head, name.as_str(), value.as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() + head.len() <= WAITING_BYTES_MAX {
            waiting.extend_from_slice(&head);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Writes what waits; to be done before anything of a response is written.
    pub(super) fn poll_write(&self, mut stream: Pin<&mut impl AsyncWrite>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut waiting = self.waiting.borrow_mut();
        while !waiting.is_empty() {
            match ready!(stream.as_mut().poll_write(cx, &waiting))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => waiting.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// hyper has begun to write, and may have more.
    pub(super) fn response_moves(&self) {
        self.all_flushed.set(false);
    }

    pub(super) fn is_response_flushed(&self) -> bool {
        self.all_flushed.get()
    }

    /// hyper has written all that it had.
    pub(super) fn response_flushed(&self) {
        self.all_flushed.set(true);
    }
}
