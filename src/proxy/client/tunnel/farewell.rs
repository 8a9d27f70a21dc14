//! The WebSocket frames that end a connection.

use std::fmt;

use crate::domain::claims::Ending;
use crate::proxy::bond::CallerEnd;

/// Why a tunnel ends although neither side asked for it, and the closing frames that say so (RFC 6455, section 7.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Farewell {
    /// Of the token, or of its session.
    Ended(CallerEnd),
    /// Too many tokens were refused that the client sent for its stream.
    NotRenewed,
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
            Self::NotRenewed => b"\x88\x11\x03\xf0renewal refused",
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
            Self::NotRenewed => b"\x88\x91\0\0\0\0\x03\xf0renewal refused",
            Self::GoingAway => b"\x88\x8c\0\0\0\0\x03\xe9going away",
            Self::Idle => b"\x88\x86\0\0\0\0\x03\xe9idle",
        }
    }
}

impl fmt::Display for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(ending) => write!(f, "{ending}"),
            Self::NotRenewed => f.write_str("too many tokens were refused"),
            Self::GoingAway => f.write_str("the gateway is going away"),
            Self::Idle => f.write_str("nothing moved for too long"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::claims::RevokedBy;
    use crate::domain::websocket_frames::Frames;

    #[test]
    fn a_farewell_is_one_closing_frame_masked_towards_the_upstream_alone() {
        let revoked = CallerEnd::Over(Ending::Revoked(RevokedBy::Session));
        let ended = [CallerEnd::Over(Ending::Expired), revoked, CallerEnd::KeyRemoved].map(|end| (Farewell::Ended(end), 1008));
        let others = [(Farewell::NotRenewed, 1008), (Farewell::GoingAway, 1001), (Farewell::Idle, 1001)];
        for (farewell, code) in ended.into_iter().chain(others) {
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
}
