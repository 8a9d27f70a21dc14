//! A request on its way to an upstream: its head, and its body as it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderValue;
use tokio::io::AsyncWrite;

use super::head;
use crate::proxy::http1::chunked::{CHUNK_END, LAST_CHUNK, write_chunk_size, write_last_chunk};
use crate::proxy::http1::framing::Framing;
use crate::proxy::upstream::body::{Part, RequestBody};
use crate::proxy::upstream::connect::Stream;
use crate::proxy::upstream::outgoing::SendFault;
use crate::proxy::upstream::request::{RequestFields, UpstreamRequest};
use crate::proxy::upstream::terms::Progress;

/// A request that is being written. What is pending leaves in the order `head`, `chunk`, `tail`.
#[derive(Debug, Default)]
pub(super) struct Sending {
    head: Vec<u8>,
    head_sent: usize,
    chunk: Bytes,
    tail: &'static [u8],
    /// What has not been read of it.
    body: RequestBody,
    finished: bool,
    /// What was written may still lie in a buffer of ours.
    is_flushing: bool,
    bytes_sent: u64,
    /// Read and thrown away: the upstream takes no more.
    bytes_discarded: u64,
    /// Of those sent, how many had been at the last look.
    bytes_noted: u64,
}

impl Sending {
    /// The connection's next request. Its buffer is that of the one before it.
    pub(super) fn begin<F: RequestFields>(
        &mut self,
        request: &UpstreamRequest<'_, F>,
        mut body: RequestBody,
        base_path: &str,
        host: &HeaderValue,
    ) {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        head::write_request_head(&mut head, request, Framing::of(body.length()), base_path, host);
        let mut chunk = Bytes::new();
        if let RequestBody::Whole(bytes) = &mut body {
            chunk = std::mem::take(bytes);
            body = RequestBody::Empty;
        }
        *self = Self { head, chunk, body, ..Self::default() };
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// `has_taken`: the upstream took bytes that waited under TLS.
    pub(super) fn progress(&mut self, has_taken: bool) -> Progress {
        if self.finished {
            return Progress::Finished;
        }
        if self.pending().is_empty() && !self.is_flushing {
            return Progress::AwaitsClient;
        }
        let noted = std::mem::replace(&mut self.bytes_noted, self.bytes_sent);
        if noted == self.bytes_sent && !has_taken { Progress::Blocked } else { Progress::Moved }
    }

    /// Sent, or read from the client for nothing.
    pub(super) fn bytes_passed(&self) -> u64 {
        self.bytes_sent + self.bytes_discarded
    }

    /// The response has begun: see [`ClientBody::is_paced_no_more`].
    pub(super) fn is_paced_no_more(&mut self) {
        self.body.is_paced_no_more();
    }

    /// Whether any byte of it was taken.
    pub(super) fn anything_sent(&self) -> bool {
        self.bytes_sent > 0
    }

    /// The body again. Meant for a request of which nothing was sent, or which has no body.
    pub(super) fn take_body(&mut self) -> RequestBody {
        let body = std::mem::take(&mut self.body);
        if self.chunk.is_empty() { body } else { RequestBody::Whole(std::mem::take(&mut self.chunk)) }
    }

    /// Writes as much as both sides allow. Ready once the request is out whole.
    pub(super) fn poll_send(&mut self, io: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), SendFault<io::Error>>> {
        while !self.finished {
            ready!(self.poll_write_pending(io, cx)).map_err(SendFault::Upstream)?;
            match &mut self.body {
                RequestBody::Empty | RequestBody::Whole(_) => self.finished = true,
                RequestBody::Client(body) => {
                    let is_chunked = body.length.is_none();
                    let part = ready!(body.poll_part(cx)).transpose().map_err(SendFault::Body)?;
                    self.take_part(part, is_chunked);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take_part(&mut self, part: Option<Part>, is_chunked: bool) {
        match part {
            Some(Part::Data(data)) if data.is_empty() => {}
            Some(Part::Data(data)) => {
                if is_chunked {
                    write_chunk_size(&mut self.head, data.len());
                    self.tail = CHUNK_END;
                }
                self.chunk = data;
            }
            Some(Part::Trailers(trailers)) => {
                if is_chunked {
                    write_last_chunk(&mut self.head, &trailers);
                }
                self.body = RequestBody::Empty;
            }
            None => {
                if is_chunked {
                    self.tail = LAST_CHUNK;
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

    /// [`RequestBody::poll_discard`].
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.body.poll_discard(&mut self.bytes_discarded, cx)
    }
}
