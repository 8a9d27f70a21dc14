//! Counts the frames of HTTP/2 that carry nothing of a message. Each costs its sender next to nothing and us some work, so nobody may
//! send arbitrarily many: PING, SETTINGS, PRIORITY, `WINDOW_UPDATE`, `RST_STREAM` (h2 ignores it on a stream that has ended), GOAWAY,
//! types that nobody knows, and DATA of no bytes that is not the end. What h2 bounds by itself is not counted again: CONTINUATION, and of
//! clients streams. Servers need no stream of their own for a head: one request may be answered by any number of interim responses.

#[cfg(any(test, fuzzing))]
pub mod fuzz;

use std::cell::Cell;
use std::time::Duration;

use super::client_limits::FLOOD_SPAN;
use super::frames::{ACK, CONTINUATION, DATA, FrameHead, FrameWalk, HEAD_BYTES, HEADERS, PING, SETTINGS, Step};

/// So many in [`FLOOD_SPAN`].
#[derive(Debug)]
pub struct Allowance {
    max: u32,
    since: Cell<Duration>,
    used: Cell<u32>,
}

impl Allowance {
    pub const fn new(max: u32) -> Self {
        Self { max, since: Cell::new(Duration::ZERO), used: Cell::new(0) }
    }

    /// Notes one more; `now` is the time since a moment that stays.
    pub fn is_exceeded_by_one_more(&self, now: Duration) -> bool {
        if now.saturating_sub(self.since.get()) >= FLOOD_SPAN {
            self.since.set(now);
            self.used.set(0);
        }
        self.used.set(self.used.get().saturating_add(1));
        self.used.get() > self.max
    }
}

/// One frame that is counted is accounted for by so many bytes that were sent: less than the shortest frame of a body with one
/// byte, of which each may be answered by two `WINDOW_UPDATE` and, by those who measure the line, a PING.
const BYTES_ANSWERED: u64 = 3;

/// More answers than that are not saved up.
const ANSWERS_MAX: u64 = 100_000;

/// Whose frames they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sender {
    Client,
    Server,
}

/// Follows the frames of one side of one connection.
#[derive(Debug)]
pub struct FrameMeter {
    sender: Sender,
    allowance: Allowance,
    /// Bytes sent that have not been answered.
    unanswered: Cell<u64>,
    /// Bytes that answer frames of the other side: nothing that it would answer in turn.
    owed: Cell<u64>,
    has_seen_a_frame: Cell<bool>,
    data_frames: Cell<u32>,
    walk: Cell<FrameWalk>,
}

impl FrameMeter {
    /// Of a client, which may send so many frames that carry nothing, beside those that answer what was sent to it.
    pub const fn of_client(frames_max: u32) -> Self {
        Self::new(Sender::Client, frames_max, FrameWalk::of_client())
    }

    /// Of a server, which may send so many heads, and frames that carry nothing, beside those that answer what was sent to it.
    pub const fn of_server(frames_max: u32) -> Self {
        Self::new(Sender::Server, frames_max, FrameWalk::of_server())
    }

    const fn new(sender: Sender, frames_max: u32, walk: FrameWalk) -> Self {
        Self {
            sender,
            allowance: Allowance::new(frames_max),
            unanswered: Cell::new(0),
            owed: Cell::new(0),
            has_seen_a_frame: Cell::new(false),
            data_frames: Cell::new(0),
            walk: Cell::new(walk),
        }
    }

    /// Bytes were sent to the other side.
    pub fn sent(&self, bytes: usize) {
        let news = (bytes as u64).saturating_sub(self.owed.get());
        self.owed.set(self.owed.get().saturating_sub(bytes as u64));
        self.unanswered.set((self.unanswered.get() + news).min(ANSWERS_MAX * BYTES_ANSWERED));
    }

    /// Whether the head of a frame has come.
    pub const fn has_seen_a_frame(&self) -> bool {
        self.has_seen_a_frame.get()
    }

    /// How many DATA frames have come since it was asked last.
    pub const fn take_data_frames(&self) -> u32 {
        self.data_frames.replace(0)
    }

    /// Bytes have come: whether more frames did than may. `now` as [`Allowance::is_exceeded_by_one_more`] has it.
    pub fn is_exceeded_by(&self, mut bytes: &[u8], now: Duration) -> bool {
        let mut walk = self.walk.get();
        let mut is_exceeded = false;
        while !bytes.is_empty() {
            let (taken, step) = walk.step(bytes);
            bytes = &bytes[taken..];
            if let Step::Head(head) = step {
                self.has_seen_a_frame.set(true);
                self.data_frames.set(self.data_frames.get().saturating_add(u32::from(head.kind == DATA)));
                self.owed.set(self.owed.get() + answer_bytes(head));
                is_exceeded |= self.sender.is_counted(head) && self.exceeds(now);
            }
        }
        self.walk.set(walk);
        is_exceeded
    }

    /// Whether a frame that is counted is one too many.
    fn exceeds(&self, now: Duration) -> bool {
        match self.unanswered.get().checked_sub(BYTES_ANSWERED) {
            Some(left) => {
                self.unanswered.set(left);
                false
            }
            None => self.allowance.is_exceeded_by_one_more(now),
        }
    }
}

/// What h2 sends because of a frame.
const fn answer_bytes(head: FrameHead) -> u64 {
    const HEAD: u64 = HEAD_BYTES as u64;
    match head.kind {
        PING if !head.has(ACK) => HEAD + 8,
        SETTINGS if !head.has(ACK) => HEAD,
        _ => 0,
    }
}

impl Sender {
    const fn is_counted(self, head: FrameHead) -> bool {
        match (head.kind, self) {
            (DATA, _) => head.is_data_of_nothing(),
            (CONTINUATION, _) | (HEADERS, Self::Client) => false,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::PREFACE_BYTES;
    use super::*;

    const PING_FRAME: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const PING_ACK: [u8; 9] = [0, 0, 0, 6, 1, 0, 0, 0, 0];
    const WINDOW_FRAME: [u8; 9] = [0, 0, 0, 8, 0, 0, 0, 0, 0];
    const SETTINGS_ACK: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
    const DATA_FRAME: [u8; 12] = [0, 0, 3, 0, 0, 0, 0, 0, 1, b'a', b'b', b'c'];

    fn meter(max: u32) -> FrameMeter {
        let meter = FrameMeter::of_client(max);
        assert!(!meter.is_exceeded_by(&[b'P'; PREFACE_BYTES], Duration::ZERO));
        meter
    }

    #[test]
    fn frames_that_carry_nothing_are_counted_however_they_are_cut() {
        let wire: Vec<u8> = [&PING_FRAME[..], &DATA_FRAME, &SETTINGS_ACK, &DATA_FRAME, &PING_FRAME].concat();
        for piece in 1..=wire.len() {
            let (lenient, strict) = (meter(3), meter(2));
            assert!(!wire.chunks(piece).any(|piece| lenient.is_exceeded_by(piece, Duration::ZERO)), "pieces of {piece}");
            assert!(wire.chunks(piece).any(|piece| strict.is_exceeded_by(piece, Duration::ZERO)), "pieces of {piece}");
        }
    }

    #[test]
    fn of_a_server_heads_are_counted_too_and_its_first_bytes_are_a_frame() {
        const HEAD_FRAME: [u8; 10] = [0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88];
        let wire: Vec<u8> = [&SETTINGS_ACK[..], &HEAD_FRAME, &DATA_FRAME, &HEAD_FRAME].concat();
        for piece in 1..=wire.len() {
            let (lenient, strict) = (FrameMeter::of_server(3), FrameMeter::of_server(2));
            assert!(!wire.chunks(piece).any(|piece| lenient.is_exceeded_by(piece, Duration::ZERO)), "pieces of {piece}");
            assert!(wire.chunks(piece).any(|piece| strict.is_exceeded_by(piece, Duration::ZERO)), "pieces of {piece}");
        }
    }

    #[test]
    fn data_of_nothing_is_counted_unless_it_is_the_end() {
        const NOTHING: [u8; 9] = [0, 0, 0, 0, 0, 0, 0, 0, 1];
        const THE_END: [u8; 9] = [0, 0, 0, 0, 1, 0, 0, 0, 1];
        for meter in [meter(2), FrameMeter::of_server(2)] {
            assert!(!meter.is_exceeded_by(&THE_END.repeat(100), Duration::ZERO));
            assert!(!meter.is_exceeded_by(&NOTHING.repeat(2), Duration::ZERO));
            assert!(meter.is_exceeded_by(&NOTHING, Duration::ZERO));
            assert_eq!((meter.take_data_frames(), meter.take_data_frames()), (103, 0));
        }
    }

    #[test]
    fn messages_are_not_counted_and_neither_is_what_answers_them() {
        let meter = meter(1);
        for _ in 0..100 {
            assert!(!meter.is_exceeded_by(&DATA_FRAME, Duration::ZERO));
        }
        for _ in 0..100 {
            meter.sent(HEAD_BYTES + 1);
            assert!(
                !meter.is_exceeded_by(&[WINDOW_FRAME, WINDOW_FRAME, PING_ACK].concat(), Duration::ZERO),
                "three for one frame of a body"
            );
        }
    }

    #[test]
    fn what_is_sent_because_of_a_frame_makes_room_for_none() {
        let meter = meter(2);
        let asks = || {
            let is_exceeded = meter.is_exceeded_by(&PING_FRAME, Duration::ZERO);
            meter.sent(PING_FRAME.len());
            is_exceeded
        };
        assert_eq!([asks(), asks(), asks()], [false, false, true]);
    }

    #[test]
    fn what_was_used_up_comes_back_with_time() {
        let allowance = Allowance::new(2);
        let three =
            |from: Duration| [0, 1, 2].map(|later| allowance.is_exceeded_by_one_more(from + Duration::from_millis(later)));
        assert_eq!(three(Duration::ZERO), [false, false, true]);
        assert_eq!(three(FLOOD_SPAN), [false, false, true]);
    }
}
