//! Counts the frames of a client that carry nothing of a message. Each costs the sender next to nothing and us some work, so nobody
//! may send arbitrarily many: PING, SETTINGS, PRIORITY, `WINDOW_UPDATE`, `RST_STREAM` (h2 ignores it on a stream that has ended), GOAWAY,
//! and types that nobody knows. What h2 bounds by itself is not counted again: CONTINUATION, DATA without content, streams.

use std::cell::Cell;
use std::time::Duration;

use crate::domain::client_limits::FLOOD_SPAN;
use crate::proxy::watch::TICK;

/// So many in [`FLOOD_SPAN`].
#[derive(Debug)]
pub(super) struct Allowance {
    max: u32,
    /// In ticks.
    since: Cell<u32>,
    used: Cell<u32>,
}

impl Allowance {
    pub(super) const fn new(max: u32) -> Self {
        Self { max, since: Cell::new(0), used: Cell::new(0) }
    }

    /// Notes one more; `now` in ticks.
    pub(super) fn is_exceeded_by_one_more(&self, now: u32) -> bool {
        let age: Duration = TICK * now.saturating_sub(self.since.get());
        if age >= FLOOD_SPAN {
            self.since.set(now);
            self.used.set(0);
        }
        self.used.set(self.used.get().saturating_add(1));
        self.used.get() > self.max
    }
}

/// One frame that carries nothing is accounted for by so many bytes that were sent: less than the shortest frame of a body with one
/// byte, of which each may be answered by two `WINDOW_UPDATE` and, by those who measure the line, a PING.
const BYTES_ANSWERED: u64 = 3;

/// More answers than that are not saved up.
const ANSWERS_MAX: u64 = 100_000;

const HEAD_BYTES: usize = 9;
/// The first bytes of a client, before its first frame.
const PREFACE_BYTES: usize = 24;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const CONTINUATION: u8 = 0x9;

/// Follows the frames of one client.
#[derive(Debug)]
pub(super) struct FrameMeter {
    allowance: Allowance,
    /// Bytes sent that have not been answered.
    unanswered: Cell<u64>,
    /// Bytes that response frames of the client: nothing that it would answer in turn.
    owed: Cell<u64>,
    has_seen_a_frame: Cell<bool>,
    position: Cell<Position>,
}

#[derive(Clone, Copy, Debug)]
enum Position {
    /// Within what is not looked at: so many bytes are left of it.
    Within(usize),
    /// Within the head of a frame, of which so many bytes have come.
    Head([u8; HEAD_BYTES], usize),
}

impl FrameMeter {
    pub(super) const fn new(control_frames_max: u32) -> Self {
        Self {
            allowance: Allowance::new(control_frames_max),
            unanswered: Cell::new(0),
            owed: Cell::new(0),
            has_seen_a_frame: Cell::new(false),
            position: Cell::new(Position::Within(PREFACE_BYTES)),
        }
    }

    /// Bytes were sent to the client.
    pub(super) fn sent(&self, bytes: usize) {
        let news = (bytes as u64).saturating_sub(self.owed.get());
        self.owed.set(self.owed.get().saturating_sub(bytes as u64));
        self.unanswered.set((self.unanswered.get() + news).min(ANSWERS_MAX * BYTES_ANSWERED));
    }

    /// Whether the client has sent the head of a frame.
    pub(super) fn has_seen_a_frame(&self) -> bool {
        self.has_seen_a_frame.get()
    }

    /// Bytes have come: whether more frames did than may. `now` in ticks.
    pub(super) fn is_exceeded_by(&self, mut bytes: &[u8], now: u32) -> bool {
        let mut position = self.position.get();
        let mut is_exceeded = false;
        while !bytes.is_empty() {
            let taken = match &mut position {
                Position::Within(left) => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    taken
                }
                Position::Head(head, come) => {
                    let taken = bytes.len().min(HEAD_BYTES - *come);
                    head[*come..*come + taken].copy_from_slice(&bytes[..taken]);
                    *come += taken;
                    taken
                }
            };
            bytes = &bytes[taken..];
            position = match position {
                Position::Within(0) => Position::Head([0; HEAD_BYTES], 0),
                Position::Head([a, b, c, kind, flags, ..], HEAD_BYTES) => {
                    self.has_seen_a_frame.set(true);
                    self.owed.set(self.owed.get() + response_bytes(kind, flags));
                    is_exceeded |= is_control(kind) && self.exceeds(now);
                    Position::Within(u32::from_be_bytes([0, a, b, c]) as usize)
                }
                unfinished => unfinished,
            };
        }
        // The head of the next frame begins right behind a payload of no bytes.
        if matches!(position, Position::Within(0)) {
            position = Position::Head([0; HEAD_BYTES], 0);
        }
        self.position.set(position);
        is_exceeded
    }

    /// Whether a frame that carries nothing is one too many.
    fn exceeds(&self, now: u32) -> bool {
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
const fn response_bytes(kind: u8, flags: u8) -> u64 {
    const ACK: u8 = 0x1;
    const HEAD: u64 = HEAD_BYTES as u64;
    match kind {
        PING if flags & ACK == 0 => HEAD + 8,
        SETTINGS if flags & ACK == 0 => HEAD,
        _ => 0,
    }
}

const fn is_control(kind: u8) -> bool {
    !matches!(kind, DATA | HEADERS | CONTINUATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING_FRAME: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const PING_ACK: [u8; 9] = [0, 0, 0, 6, 1, 0, 0, 0, 0];
    const WINDOW_FRAME: [u8; 9] = [0, 0, 0, 8, 0, 0, 0, 0, 0];
    const SETTINGS_ACK: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
    const DATA_FRAME: [u8; 12] = [0, 0, 3, 0, 0, 0, 0, 0, 1, b'a', b'b', b'c'];

    fn meter(max: u32) -> FrameMeter {
        let meter = FrameMeter::new(max);
        assert!(!meter.is_exceeded_by(&[b'P'; PREFACE_BYTES], 0));
        meter
    }

    #[test]
    fn frames_that_carry_nothing_are_counted_however_they_are_cut() {
        let wire: Vec<u8> = [&PING_FRAME[..], &DATA_FRAME, &SETTINGS_ACK, &DATA_FRAME, &PING_FRAME].concat();
        for piece in 1..=wire.len() {
            let (lenient, strict) = (meter(3), meter(2));
            assert!(!wire.chunks(piece).any(|piece| lenient.is_exceeded_by(piece, 0)), "pieces of {piece}");
            assert!(wire.chunks(piece).any(|piece| strict.is_exceeded_by(piece, 0)), "pieces of {piece}");
        }
    }

    #[test]
    fn messages_are_not_counted_and_neither_is_what_answers_them() {
        let meter = meter(1);
        for _ in 0..100 {
            assert!(!meter.is_exceeded_by(&DATA_FRAME, 0));
        }
        for _ in 0..100 {
            meter.sent(HEAD_BYTES + 1);
            assert!(!meter.is_exceeded_by(&[WINDOW_FRAME, WINDOW_FRAME, PING_ACK].concat(), 0), "three for one frame of a body");
        }
    }

    #[test]
    fn what_is_sent_because_of_a_frame_makes_room_for_none() {
        let meter = meter(2);
        let asks = || {
            let is_exceeded = meter.is_exceeded_by(&PING_FRAME, 0);
            meter.sent(PING_FRAME.len());
            is_exceeded
        };
        assert_eq!([asks(), asks(), asks()], [false, false, true]);
    }

    #[test]
    fn what_was_used_up_comes_back_with_time() {
        let allowance = Allowance::new(2);
        let span = u32::try_from(FLOOD_SPAN.as_millis() / TICK.as_millis()).unwrap();
        assert_eq!([0, 1, 2].map(|now| allowance.is_exceeded_by_one_more(now)), [false, false, true]);
        assert_eq!([span, span + 1, span + 2].map(|now| allowance.is_exceeded_by_one_more(now)), [false, false, true]);
    }
}
