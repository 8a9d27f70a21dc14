//! WebSocket frames as they pass by (RFC 6455, section 5.2): where one ends, and those that end a connection.

use std::fmt;

use crate::domain::claims::Ending;
use crate::proxy::bond::CallerEnd;

/// Why a tunnel ends although neither side asked for it, and the closing frames that say so (RFC 6455, section 7.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Farewell {
    /// Of the token, or of its session.
    Ended(CallerEnd),
    GoingAway,
    Idle,
}

impl Farewell {
    /// The closing frame of a server.
    pub(super) const fn to_client(self) -> &'static [u8] {
        match self {
            // 1008, policy violation.
            Self::Ended(CallerEnd::Over(Ending::Expired)) => b"\x88\x0f\x03\xf0token expired",
            Self::Ended(CallerEnd::Over(Ending::Revoked(_))) => b"\x88\x0f\x03\xf0session ended",
            Self::Ended(CallerEnd::KeyRemoved) => b"\x88\x0f\x03\xf0token refused",
            // 1001, going away.
            Self::GoingAway => b"\x88\x0c\x03\xe9going away",
            Self::Idle => b"\x88\x06\x03\xe9idle",
        }
    }

    /// The closing frame of a client: masked, though with zeros, for there is nothing to hide.
    pub(super) const fn to_upstream(self) -> &'static [u8] {
        match self {
            Self::Ended(CallerEnd::Over(Ending::Expired)) => b"\x88\x8f\0\0\0\0\x03\xf0token expired",
            Self::Ended(CallerEnd::Over(Ending::Revoked(_))) => b"\x88\x8f\0\0\0\0\x03\xf0session ended",
            Self::Ended(CallerEnd::KeyRemoved) => b"\x88\x8f\0\0\0\0\x03\xf0token refused",
            Self::GoingAway => b"\x88\x8c\0\0\0\0\x03\xe9going away",
            Self::Idle => b"\x88\x86\0\0\0\0\x03\xe9idle",
        }
    }
}

impl fmt::Display for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(ending) => write!(f, "{ending}"),
            Self::GoingAway => f.write_str("the gateway is going away"),
            Self::Idle => f.write_str("nothing moved for too long"),
        }
    }
}

/// The longest header: two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

/// Follows the bytes of one direction.
#[derive(Clone, Debug, Default)]
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
        while !bytes.is_empty() {
            bytes = &bytes[self.pass_one(bytes)..];
        }
    }

    /// Where the last frame ends that does so among these bytes, or before them.
    pub(super) fn last_end_in(&self, bytes: &[u8]) -> Option<usize> {
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
    fn a_farewell_is_one_closing_frame_masked_towards_the_upstream_alone() {
        let revoked = CallerEnd::Over(Ending::Revoked(RevokedBy::Session));
        let ended = [CallerEnd::Over(Ending::Expired), revoked, CallerEnd::KeyRemoved].map(|end| (Farewell::Ended(end), 1008));
        for (farewell, code) in ended.into_iter().chain([(Farewell::GoingAway, 1001), (Farewell::Idle, 1001)]) {
            for (frame, payload_at) in [(farewell.to_client(), 2), (farewell.to_upstream(), 6)] {
                let mut frames = Frames::default();
                frames.pass(&frame[..frame.len() - 1]);
                assert!(!frames.is_between());
                frames.pass(&frame[frame.len() - 1..]);
                assert!(frames.is_between(), "{farewell:?}");
                assert_eq!((frame[0], frame[1] & 0x80 != 0), (0x88, payload_at == 6));
                assert_eq!(u16::from_be_bytes([frame[payload_at], frame[payload_at + 1]]), code);
            }
        }
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
