//! WebSocket frames as they pass by (RFC 6455, section 5.2): where one ends, and the one that ends a connection.

use crate::domain::claims::Ending;

/// The closing frame of a server: 1008, policy violation (RFC 6455, section 7.4.1), with a reason.
pub(super) const fn closing(ending: Ending) -> &'static [u8] {
    match ending {
        Ending::Expired => b"\x88\x0f\x03\xf0token expired",
        Ending::Revoked(_) => b"\x88\x0f\x03\xf0session ended",
    }
}

/// The longest header: two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

/// Follows the bytes of one direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER_BYTES_MAX],
    header_read: usize,
    payload_left: u64,
}

impl Frames {
    /// Whether everything that passed was whole frames: another may follow.
    pub(super) const fn is_between(&self) -> bool {
        self.header_read == 0 && self.payload_left == 0
    }

    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.payload_left > 0 {
                let of_payload = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
                self.payload_left -= of_payload as u64;
                bytes = &bytes[of_payload..];
                continue;
            }
            self.header[self.header_read] = byte;
            self.header_read += 1;
            bytes = rest;
            if self.header_read == self.header_length() {
                self.payload_left = self.payload_length();
                self.header_read = 0;
            }
        }
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
    use crate::domain::claims::RevokedBy;

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
    fn the_closing_frame_is_one_frame_with_code_1008() {
        for ending in [Ending::Expired, Ending::Revoked(RevokedBy::Session)] {
            let (mut frames, bytes) = (Frames::default(), closing(ending));
            frames.pass(bytes);
            assert!(frames.is_between());
            assert_eq!(u16::from_be_bytes([bytes[2], bytes[3]]), 1008);
        }
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
