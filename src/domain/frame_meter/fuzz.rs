//! What must hold for the frames of whoever speaks HTTP/2.

use std::time::Duration;

use super::{BYTES_ANSWERED, FrameMeter, HEAD_BYTES, PREFACE_BYTES};
use crate::domain::fuzz::{Input, pieces};

/// A side, a choice of pieces, how many frames it may send, and how much was sent to it; then its bytes. In any pieces those frames are
/// counted that stand there, and no others.
pub fn http2_frames(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (is_client, seed, max, sent) = (input.byte().is_multiple_of(2), input.byte(), input.byte(), input.byte());
    let meter = if is_client { FrameMeter::of_client(max.into()) } else { FrameMeter::of_server(max.into()) };
    meter.sent(sent.into());
    let wire = input.rest();
    let mut is_exceeded = false;
    for piece in pieces(wire, seed) {
        is_exceeded |= meter.is_exceeded_by(piece, Duration::ZERO);
    }
    let kinds = kinds(if is_client { wire.get(PREFACE_BYTES..).unwrap_or_default() } else { wire });
    let free: &[u8] = if is_client { &[0, 1, 9] } else { &[0, 9] };
    let counted = kinds.iter().filter(|kind| !free.contains(kind)).count() as u64;
    assert_eq!(is_exceeded, counted > u64::from(max) + u64::from(sent) / BYTES_ANSWERED, "{counted} of {kinds:?}");
    assert_eq!(meter.has_seen_a_frame(), !kinds.is_empty());
}

/// The types of the frames whose heads are there.
fn kinds(mut wire: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Some((head, rest)) = wire.split_at_checked(HEAD_BYTES) {
        kinds.push(head[3]);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        wire = rest.get(length..).unwrap_or_default();
    }
    kinds
}
