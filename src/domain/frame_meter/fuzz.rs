//! What must hold for the frames of whoever speaks HTTP/2.

use std::time::Duration;

use super::{BYTES_ANSWERED, FrameMeter};
use crate::domain::frames::{HEAD_BYTES, PREFACE_BYTES};
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
    let heads = heads(if is_client { wire.get(PREFACE_BYTES..).unwrap_or_default() } else { wire });
    let free: &[u8] = if is_client { &[1, 9] } else { &[9] };
    // DATA counts if it has no bytes, and neither ends the stream nor is padded.
    let counts = |[a, b, c, kind, flags, ..]: &[u8; HEAD_BYTES]| match kind {
        0 => [a, b, c] == [&0; 3] && flags & 9 == 0,
        kind => !free.contains(kind),
    };
    let counted = heads.iter().filter(|head| counts(head)).count() as u64;
    assert_eq!(is_exceeded, counted > u64::from(max) + u64::from(sent) / BYTES_ANSWERED, "{counted} of {heads:?}");
    assert_eq!(meter.has_seen_a_frame(), !heads.is_empty());
}

/// The heads of frames that are there whole.
fn heads(mut wire: &[u8]) -> Vec<[u8; HEAD_BYTES]> {
    let mut heads = Vec::new();
    while let Some((head, rest)) = wire.split_first_chunk() {
        heads.push(*head);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        wire = rest.get(length..).unwrap_or_default();
    }
    heads
}
