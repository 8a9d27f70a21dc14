//! Counts the streams of HTTP/2 that h2 resets for what the other side sends on them, by the `RST_STREAM` frames as they go out. Honest peers
//! cause few: what crosses a reset of ours is ignored for a while, and only behind that answered by another one.

use super::frames::{FrameWalk, RST_STREAM, Step};

/// So many on one connection, and it gets no further requests.
const RESETS_BEFORE_LEAVING: u32 = 512;

/// Codes that the gateway resets by itself (RFC 9113, section 7): `NO_ERROR`, `INTERNAL_ERROR`, `CANCEL`.
const OURS: [u32; 3] = [0x0, 0x2, 0x8];

const CODE_BYTES: usize = 4;

/// Follows the frames that go out on one connection.
#[derive(Debug)]
pub struct ResetMeter {
    walk: FrameWalk,
    /// Of the reset that is going out, the code as far as it has gone.
    code: Option<(u32, usize)>,
    resets: u32,
}

impl ResetMeter {
    /// Of what the gateway sends as a client.
    pub const fn of_client() -> Self {
        Self::new(FrameWalk::of_client())
    }

    /// Of what the gateway sends as a server.
    pub const fn of_server() -> Self {
        Self::new(FrameWalk::of_server())
    }

    const fn new(walk: FrameWalk) -> Self {
        Self { walk, code: None, resets: 0 }
    }

    /// These bytes go out.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (taken, step) = self.walk.step(bytes);
            let (now, rest) = bytes.split_at(taken);
            match step {
                Step::Head(head) => self.code = (head.kind == RST_STREAM).then_some((0, 0)),
                Step::Payload => self.pass_payload(now),
                Step::Cut => {}
            }
            bytes = rest;
        }
    }

    fn pass_payload(&mut self, bytes: &[u8]) {
        let Some((code, gone)) = &mut self.code else { return };
        *code = bytes.iter().fold(*code, |code, byte| (code << 8) | u32::from(*byte));
        *gone += bytes.len();
        if *gone == CODE_BYTES && !OURS.contains(code) {
            self.resets = self.resets.saturating_add(1);
        }
    }

    /// Whether the connection had better get no further requests.
    pub const fn is_time_to_leave(&self) -> bool {
        self.resets >= RESETS_BEFORE_LEAVING
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::frames::PREFACE_BYTES;

    fn reset(code: u8) -> [u8; 13] {
        [0, 0, 4, RST_STREAM, 0, 0, 0, 0, 1, 0, 0, 0, code]
    }

    #[test]
    fn resets_for_what_the_other_side_sent_are_counted_however_they_are_cut_and_no_others() {
        const STREAM_CLOSED: u8 = 5;
        // Looks like a reset, within a body.
        let data = [&[0, 0, 13, 0, 0, 0, 0, 0, 1][..], &reset(STREAM_CLOSED)].concat();
        let wire = [&reset(STREAM_CLOSED)[..], &reset(8), &data, &reset(0), &reset(1), &reset(2), &reset(7)].concat();
        for piece in 1..=wire.len() {
            let mut meter = ResetMeter::of_server();
            wire.chunks(piece).for_each(|piece| meter.pass(piece));
            assert_eq!(meter.resets, 3, "pieces of {piece}");
            let mut meter = ResetMeter::of_client();
            [&[0; PREFACE_BYTES][..], &wire].concat().chunks(piece).for_each(|piece| meter.pass(piece));
            assert_eq!(meter.resets, 3, "pieces of {piece}, behind a preface");
        }
    }

    #[test]
    fn a_connection_with_many_is_to_be_left() {
        let mut meter = ResetMeter::of_server();
        for _ in 1..RESETS_BEFORE_LEAVING {
            meter.pass(&reset(1));
        }
        assert!(!meter.is_time_to_leave());
        meter.pass(&reset(1));
        assert!(meter.is_time_to_leave());
    }
}
