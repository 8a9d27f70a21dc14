//! WebSocket frames as they pass by (RFC 6455, section 5.2): where one ends, and whether one closes.

/// The longest header: two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 0x8;

/// Follows the bytes of one direction.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    header: [u8; HEADER_BYTES_MAX],
    header_read: usize,
    payload_left: u64,
    has_closed: bool,
}

impl Frames {
    /// Whether everything that passed was whole frames: another may follow.
    pub const fn is_between(&self) -> bool {
        self.header_read == 0 && self.payload_left == 0
    }

    /// Whether a closing frame was among them.
    pub const fn has_closed(&self) -> bool {
        self.has_closed
    }

    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.pass_one(bytes)..];
        }
    }

    /// Where the last frame ends that does so among these bytes, or before them.
    pub fn last_end_in(&self, bytes: &[u8]) -> Option<usize> {
        let (mut ahead, mut at) = (self.clone(), 0);
        let mut last = self.is_between().then_some(0);
        while at < bytes.len() {
            at += ahead.pass_one(&bytes[at..]);
            if ahead.is_between() {
                last = Some(at);
            }
        }
        last
    }

    /// Passes bytes of one frame, and at least one; returns how many.
    fn pass_one(&mut self, bytes: &[u8]) -> usize {
        let Some(&byte) = bytes.first() else { return 0 };
        if self.payload_left > 0 {
            let of_payload = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
            self.payload_left -= of_payload as u64;
            return of_payload;
        }
        self.header[self.header_read] = byte;
        self.header_read += 1;
        if self.header_read == self.header_length() {
            self.payload_left = self.payload_length();
            self.has_closed |= self.header[0] & OPCODE == CLOSE;
            self.header_read = 0;
        }
        1
    }

    /// As far as it can be told from what was read: two bytes at the least.
    fn header_length(&self) -> usize {
        let [_, second, ..] = self.header;
        let mask = if self.header_read > 1 && second & 0x80 != 0 { 4 } else { 0 };
        let length = match (self.header_read, second & 0x7f) {
            (..=1, _) | (_, ..=125) => 0,
            (_, 126) => 2,
            (_, 127..) => 8,
        };
        2 + length + mask
    }

    fn payload_length(&self) -> u64 {
        let extended = |bytes: usize| self.header[2..2 + bytes].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        match self.header[1] & 0x7f {
            length @ ..=125 => u64::from(length),
            126 => extended(2),
            127.. => extended(8),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(payload: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = vec![0x82];
        match (u8::try_from(payload), u16::try_from(payload)) {
            (Ok(short @ ..=125), _) => bytes.push(mask | short),
            (_, Ok(middle)) => {
                bytes.push(mask | 0x7e);
                bytes.extend(middle.to_be_bytes());
            }
            (_, Err(_)) => {
                bytes.push(mask | 0x7f);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        bytes.extend(std::iter::repeat_n(0xff, payload + if masked { 4 } else { 0 }));
        bytes
    }

    #[test]
    fn a_closing_frame_is_seen_once_its_header_is_whole_and_nothing_else_is_taken_for_one() {
        let mut frames = Frames::default();
        frames.pass(b"\x82\x02\x88\x00\x89\x00");
        assert!(!frames.has_closed(), "within a message, and a ping");
        frames.pass(b"\x88");
        assert!(!frames.has_closed());
        frames.pass(b"\x02");
        assert!(frames.has_closed() && !frames.is_between());
    }

    #[test]
    fn the_last_end_among_bytes_is_found_wherever_the_frames_began() {
        let mut frames = Frames::default();
        assert_eq!(frames.last_end_in(b""), Some(0));
        assert_eq!(frames.last_end_in(b"\x82\x01a\x82\x00\x82\x05ab"), Some(5));
        frames.pass(b"\x82\x03a");
        assert_eq!(frames.last_end_in(b"b"), None);
        assert_eq!(frames.last_end_in(b"bc\x82"), Some(2));
    }

    #[test]
    fn a_length_that_nothing_could_fill_is_no_trouble() {
        let mut frames = Frames::default();
        frames.pass(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0]);
        assert!(!frames.is_between());
    }

    proptest! {
        #[test]
        fn frames_end_where_they_end_however_they_arrive(
            frames in proptest::collection::vec((prop_oneof![0usize..130, 65_530usize..65_540], any::<bool>()), 1..4),
            pieces in proptest::collection::vec(1usize..5000, 1..20),
        ) {
            let frames: Vec<Vec<u8>> = frames.into_iter().map(|(payload, masked)| frame(payload, masked)).collect();
            let ends: Vec<usize> = frames.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) }).collect();
            let wire = frames.concat();
            let (mut seen, mut at) = (Frames::default(), 0);
            for piece in pieces.iter().cycle() {
                prop_assert_eq!(seen.is_between(), at == 0 || ends.contains(&at));
                let end = (at + piece).min(wire.len());
                seen.pass(&wire[at..end]);
                at = end;
                if at == wire.len() { break; }
            }
            prop_assert!(seen.is_between());
        }
    }
}
