//! One direction of a tunnel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::renewal::Screen;
use crate::domain::secret::Secret;
use crate::domain::websocket_frames::Frames;

/// What is read at once, and the most that waits to be written.
const ROOM: usize = 8 * 1024;

/// When a farewell is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum When {
    /// Nothing passes any more; a farewell that would land within a frame is left out.
    AtOnce,
    /// Behind the frame that is under way.
    BetweenFrames,
}

/// Bytes from one side to the other.
#[derive(Debug)]
pub(super) struct Flow {
    /// Read, and not written.
    waiting: BytesMut,
    /// How far the frames have gone that were written.
    frames: Frames,
    stage: Stage,
    /// What was written may still lie in a buffer of ours.
    is_flushing: bool,
    progress: Progress,
    /// What may keep bytes back.
    screen: Option<Screen>,
    /// A token that was kept back.
    token: Option<Secret<String>>,
    /// A message of the gateway, to be said between two of the side that is read from.
    interjection: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Open,
    /// To be said at the end of the frame that is under way.
    Parting(&'static [u8]),
    /// Nothing is read any more; what waits is the last.
    Last,
    /// The other side was told that nothing more comes. What this one still says, nobody hears.
    Deaf,
    Ended,
}

/// What came of a flow since it was asked last.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Progress {
    pub(super) moved: bool,
    /// Written.
    pub(super) bytes: u64,
    /// The side that is written to takes nothing.
    pub(super) is_blocked: bool,
}

impl Flow {
    pub(super) fn starting_with(waiting: BytesMut) -> Self {
        Self {
            waiting,
            frames: Frames::default(),
            stage: Stage::Open,
            is_flushing: false,
            progress: Progress::default(),
            screen: None,
            token: None,
            interjection: None,
        }
    }

    /// What this screen lets pass.
    pub(super) fn through(screen: Screen) -> Self {
        let mut flow = Self { screen: Some(screen), ..Self::starting_with(BytesMut::new()) };
        flow.sift();
        flow
    }

    /// The last token that was kept back, once.
    pub(super) const fn take_token(&mut self) -> Option<Secret<String>> {
        self.token.take()
    }

    /// Says this as soon as no message is under way, in the place of what was to be said before and could not be.
    pub(super) fn interject(&mut self, message: Vec<u8>) {
        self.interjection = Some(message);
    }

    /// Lets nothing pass but what is under way, then the farewell.
    pub(super) fn end_with(&mut self, farewell: &'static [u8], when: When) {
        match (self.stage, when) {
            (Stage::Deaf | Stage::Ended, _) | (Stage::Last, When::BetweenFrames) => {}
            (Stage::Open | Stage::Parting(_), When::BetweenFrames) => {
                self.stage = Stage::Parting(farewell);
                self.part_between_frames();
            }
            (Stage::Open | Stage::Parting(_) | Stage::Last, When::AtOnce) => {
                self.waiting.clear();
                if self.frames.is_between() {
                    self.waiting.extend_from_slice(farewell);
                }
                self.stage = Stage::Last;
            }
        }
    }

    pub(super) fn take_progress(&mut self) -> Progress {
        std::mem::take(&mut self.progress)
    }

    /// Moves what can be moved. Ready once this direction is at its end, and the side that is written to was told.
    pub(super) fn poll<R, W>(&mut self, from: &mut R, to: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            self.interject_between_messages();
            let written = self.poll_write(to, cx);
            self.progress.is_blocked = written.is_pending();
            ready!(written)?;
            match self.stage {
                Stage::Open | Stage::Parting(_) => {
                    if ready!(self.poll_read(from, cx))? == 0 {
                        self.stage = Stage::Last;
                    } else {
                        self.part_between_frames();
                    }
                }
                Stage::Last => {
                    let told = Pin::new(&mut *to).poll_shutdown(cx);
                    self.progress.is_blocked = told.is_pending();
                    ready!(told)?;
                    self.stage = Stage::Deaf;
                }
                Stage::Deaf => {
                    if ready!(self.poll_read(from, cx))? == 0 {
                        self.stage = Stage::Ended;
                    }
                    self.waiting.clear();
                }
                Stage::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_read<R: AsyncRead + Unpin>(&mut self, from: &mut R, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = self.screen.as_mut().map_or(&mut self.waiting, Screen::room);
        room.reserve(ROOM);
        let read = ready!(tokio_util::io::poll_read_buf(Pin::new(from), cx, room))?;
        self.progress.moved |= read > 0;
        self.sift();
        Poll::Ready(Ok(read))
    }

    fn sift(&mut self) {
        if let Some(screen) = &mut self.screen
            && let Some(token) = screen.sift(&mut self.waiting)
        {
            self.token = Some(token);
        }
    }

    /// Writes what waits, to the last byte.
    fn poll_write<W: AsyncWrite + Unpin>(&mut self, to: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.frames.pass(&self.waiting[..written]);
            self.waiting.advance(written);
            self.is_flushing = true;
            self.progress.moved = true;
            self.progress.bytes += written as u64;
        }
        if self.is_flushing {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.is_flushing = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Puts what the gateway has to say behind the last whole message that waits, if one ends there. Nothing follows a farewell.
    fn interject_between_messages(&mut self) {
        if self.stage != Stage::Open {
            return;
        }
        let Some(message) = &self.interjection else { return };
        let Some(end) = self.frames.last_message_end_in(&self.waiting) else { return };
        let rest = self.waiting.split_off(end);
        self.waiting.extend_from_slice(message);
        self.waiting.unsplit(rest);
        self.interjection = None;
    }

    /// Puts the farewell behind the last whole frame that waits, if one ends there.
    fn part_between_frames(&mut self) {
        let Stage::Parting(farewell) = self.stage else { return };
        let Some(end) = self.frames.last_end_in(&self.waiting) else { return };
        self.waiting.truncate(end);
        self.waiting.extend_from_slice(farewell);
        self.stage = Stage::Last;
    }
}
