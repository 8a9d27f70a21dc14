//! A socket without the DATA frames that change nothing. h2 ends a connection after a hundred of them in all its life, which honest ones
//! have in a day; how many there may be is for [`FrameMeter`](crate::domain::frame_meter::FrameMeter) to say.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::domain::frames::{CONTINUATION, END_HEADERS, FrameHead, FrameWalk, HEAD_BYTES, HEADERS, PUSH_PROMISE, Step};

/// A socket of which h2 reads.
#[derive(Debug)]
pub(in crate::proxy) struct Sifted<S> {
    socket: S,
    sieve: Sieve,
}

#[derive(Debug)]
struct Sieve {
    walk: FrameWalk,
    /// Nothing may stand between the pieces of a head, and nothing does that is taken out.
    is_within_head: bool,
    /// The beginning of a frame's head. It is passed on once it is whole.
    held: [u8; HEAD_BYTES],
    held_bytes: usize,
    /// Of those, how many have been passed on, if they are to be.
    passed_on: Option<usize>,
}

impl<S> Sifted<S> {
    pub(in crate::proxy) const fn of_client(socket: S) -> Self {
        Self { socket, sieve: Sieve::new(FrameWalk::of_client()) }
    }

    pub(in crate::proxy) const fn of_server(socket: S) -> Self {
        Self { socket, sieve: Sieve::new(FrameWalk::of_server()) }
    }
}

impl Sieve {
    const fn new(walk: FrameWalk) -> Self {
        Self { walk, is_within_head: false, held: [0; HEAD_BYTES], held_bytes: 0, passed_on: None }
    }

    /// Whether a frame is passed on.
    const fn passes(&mut self, head: FrameHead) -> bool {
        if matches!(head.kind, HEADERS | PUSH_PROMISE | CONTINUATION) {
            self.is_within_head = !head.has(END_HEADERS);
        }
        // On no stream it is against the protocol.
        self.is_within_head || head.stream == 0 || !head.is_data_of_nothing()
    }

    /// Takes out of new bytes what is not passed on. How many stay, in front. They do not begin within the head of a frame.
    fn sift(&mut self, bytes: &mut [u8]) -> usize {
        let (mut from, mut kept) = (0, 0);
        while from < bytes.len() {
            let (taken, step) = self.walk.step(&bytes[from..]);
            let stays = match step {
                Step::Payload => true,
                Step::Head(head) => self.passes(head),
                Step::Cut => {
                    self.held[..taken].copy_from_slice(&bytes[from..from + taken]);
                    self.held_bytes = taken;
                    false
                }
            };
            if stays {
                if from != kept {
                    bytes.copy_within(from..from + taken, kept);
                }
                kept += taken;
            }
            from += taken;
        }
        kept
    }

    /// More has come of the head that is held; if nothing, then nothing will.
    fn hold(&mut self, come: usize) {
        let (before, now) = (self.held_bytes, self.held_bytes + come);
        self.held_bytes = now;
        if come == 0 {
            self.passed_on = Some(0);
        } else if let (_, Step::Head(head)) = self.walk.step(&self.held[before..now]) {
            if self.passes(head) {
                self.passed_on = Some(0);
            } else {
                self.held_bytes = 0;
            }
        }
    }

    /// Passes on what was held, as far as there is room. Whether anything was passed on.
    fn pass_on(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let Some(before) = self.passed_on else { return false };
        let now = self.held_bytes.min(before + buf.remaining());
        buf.put_slice(&self.held[before..now]);
        if now == self.held_bytes {
            (self.held_bytes, self.passed_on) = (0, None);
        } else {
            self.passed_on = Some(now);
        }
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sifted<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { socket, sieve } = self.get_mut();
        loop {
            if sieve.pass_on(buf) {
                return Poll::Ready(Ok(()));
            }
            if sieve.held_bytes > 0 {
                let mut rest = ReadBuf::new(&mut sieve.held[sieve.held_bytes..]);
                ready!(Pin::new(&mut *socket).poll_read(cx, &mut rest))?;
                let come = rest.filled().len();
                sieve.hold(come);
                continue;
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut *socket).poll_read(cx, buf))?;
            let come = &mut buf.filled_mut()[before..];
            let is_end = come.is_empty();
            let kept = sieve.sift(come);
            buf.set_filled(before + kept);
            if kept > 0 || is_end {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sifted<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::domain::frames::PREFACE_BYTES;

    const NOTHING: [u8; 9] = [0, 0, 0, 0, 0, 0, 0, 0, 1];
    const THE_END: [u8; 9] = [0, 0, 0, 0, 1, 0, 0, 0, 1];
    const DATA_FRAME: [u8; 12] = [0, 0, 3, 0, 0, 0, 0, 0, 1, b'a', b'b', b'c'];
    const OPEN_HEAD: [u8; 10] = [0, 0, 1, 1, 0, 0, 0, 0, 1, 0x88];
    const REST_OF_HEAD: [u8; 9] = [0, 0, 0, 9, 4, 0, 0, 0, 1];
    const ON_NO_STREAM: [u8; 9] = [0; 9];

    /// What is left of bytes that come in pieces of one length, and are read in pieces of another.
    async fn left(wire: &[u8], piece: usize, room: usize) -> Vec<u8> {
        let (mut here, there) = tokio::io::duplex(piece);
        let writing = async {
            tokio::io::AsyncWriteExt::write_all(&mut here, wire).await.unwrap();
            drop(here);
        };
        let reading = async {
            let (mut sifted, mut left) = (Sifted::of_client(there), Vec::new());
            let mut buffer = vec![0; room];
            loop {
                match sifted.read(&mut buffer).await.unwrap() {
                    0 => return left,
                    read => left.extend_from_slice(&buffer[..read]),
                }
            }
        };
        tokio::join!(writing, reading).1
    }

    #[tokio::test]
    async fn data_of_nothing_is_left_out_and_nothing_else_however_it_is_cut() {
        let preface = [0; PREFACE_BYTES];
        let head = [&OPEN_HEAD[..], &NOTHING, &REST_OF_HEAD].concat();
        let come =
            [&preface[..], &NOTHING, &DATA_FRAME, &NOTHING, &NOTHING, &head, &NOTHING, &ON_NO_STREAM, &THE_END, &[0, 0, 0]];
        let stays = [&preface[..], &DATA_FRAME, &head, &ON_NO_STREAM, &THE_END, &[0, 0, 0]].concat();
        let come = come.concat();
        for piece in 1..=come.len() {
            for room in [1, 2, 8, 9, 10, 1000] {
                assert_eq!(left(&come, piece, room).await, stays, "pieces of {piece}, read by {room}");
            }
        }
    }
}
