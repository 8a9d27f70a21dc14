//! WebSocket frames as they pass by (RFC 6455, section 5.2): where one ends, or a message of several, and whether one closes.

/// The longest header: two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

// Of the first byte of a frame.
const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;

/// Follows the bytes of one direction.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    header: [u8; HEADER_BYTES_MAX],
    header_read: usize,
    payload_left: u64,
    has_closed: bool,
    /// The last frame of data was not the last of its message.
    is_within_message: bool,
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

    /// Whether a message that is none of the sender's may follow.
    const fn is_between_messages(&self) -> bool {
        self.is_between() && !self.is_within_message && !self.has_closed
    }

    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.pass_one(bytes)..];
        }
    }

    /// Where the last frame ends that does so among these bytes, or before them.
    pub fn last_end_in(&self, bytes: &[u8]) -> Option<usize> {
        self.last_in(bytes, Self::is_between)
    }

    /// The same of the last message.
    pub fn last_message_end_in(&self, bytes: &[u8]) -> Option<usize> {
        self.last_in(bytes, Self::is_between_messages)
    }

    fn last_in(&self, bytes: &[u8], is_such: impl Fn(&Self) -> bool) -> Option<usize> {
        let (mut ahead, mut at) = (self.clone(), 0);
        let mut last = is_such(self).then_some(0);
        while at < bytes.len() {
            at += ahead.pass_one(&bytes[at..]);
            if is_such(&ahead) {
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
            self.header_read = 0;
            match self.header[0] & OPCODE {
                CLOSE => self.has_closed = true,
                CONTINUATION..CLOSE => self.is_within_message = self.header[0] & FINAL == 0,
                // Pings may stand between the frames of a message.
                _ => {}
            }
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

/// The header of one frame that is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    first: u8,
    /// Nothing masks the payload of a server.
    mask: Option<[u8; 4]>,
    length: usize,
    payload: u64,
}

impl Header {
    /// Of the frame that begins with these bytes; `None`: more of it has to come.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let mut frames = Frames::default();
        for (at, byte) in bytes.iter().take(HEADER_BYTES_MAX).enumerate() {
            frames.pass_one(std::slice::from_ref(byte));
            if frames.header_read == 0 {
                let (length, [first, second, ..]) = (at + 1, frames.header);
                let is_masked = second & 0x80 != 0;
                let mask = is_masked.then(|| bytes[length - 4..length].first_chunk().copied()).flatten();
                return Some(Self { first, mask, length, payload: frames.payload_left });
            }
        }
        None
    }

    /// Whether the frame is a whole text message of a client, with nothing about it that would have to be agreed on.
    pub const fn is_text_alone(&self) -> bool {
        self.first & (FINAL | RESERVED | OPCODE) == FINAL | TEXT && self.mask.is_some()
    }

    /// The length of the payload, if it is one of these.
    pub fn payload_within(&self, lengths: std::ops::RangeInclusive<usize>) -> Option<usize> {
        usize::try_from(self.payload).ok().filter(|payload| lengths.contains(payload))
    }

    pub const fn frame_length(&self) -> u64 {
        self.payload.saturating_add(self.length as u64)
    }

    /// What the payload says, as far as it has come among `bytes`, with which the frame begins.
    pub fn unmasked<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = u8> + use<'a> {
        let mask = self.mask.unwrap_or_default();
        let come = bytes.len().min(usize::try_from(self.frame_length()).unwrap_or(usize::MAX));
        let payload = bytes.get(self.length..come).unwrap_or_default();
        payload.iter().enumerate().map(move |(at, byte)| byte ^ mask[at % mask.len()])
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
    fn messages_end_with_their_last_frame_and_nothing_follows_a_closing_one() {
        let mut frames = Frames::default();
        // Of two frames, with a ping in between.
        assert_eq!(frames.last_message_end_in(b"\x01\x01a\x89\x00\x80\x01b\x82"), Some(8));
        frames.pass(b"\x01\x01a\x89\x00");
        assert_eq!(frames.last_message_end_in(b""), None);
        assert_eq!(frames.last_end_in(b""), Some(0));
        assert_eq!(frames.last_message_end_in(b"\x00\x01b\x80\x00\x81\x01c"), Some(8));
        frames.pass(b"\x80\x01b");
        assert_eq!(frames.last_message_end_in(b"\x88\x00"), Some(0), "before it");
        frames.pass(b"\x88\x00");
        assert_eq!(frames.last_message_end_in(b"\x81\x00"), None);
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
