//! What must hold for WebSocket frames.

use crate::domain::fuzz::{Input, pieces};
use crate::domain::websocket_frames::Frames;

/// A choice of pieces, then frames: where one ends does not depend on how they arrive, and is where RFC 6455 says.
pub fn websocket_frames(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let seed = input.byte();
    let wire = input.rest();
    let ends = frame_ends(wire);
    let (mut frames, mut at) = (Frames::default(), 0);
    for piece in pieces(wire, seed) {
        frames.pass(piece);
        at += piece.len();
        assert_eq!(frames.is_between(), ends.contains(&at), "{at} of {}", wire.escape_ascii());
    }
}

/// RFC 6455, section 5.2, on the whole of what passed.
fn frame_ends(wire: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    loop {
        let start = ends[ends.len() - 1];
        let frame = || {
            let second = *wire.get(start + 1)?;
            let (header, payload) = match second & 0x7f {
                126 => (4, u64::from(u16::from_be_bytes(wire.get(start + 2..start + 4)?.try_into().ok()?))),
                127 => (10, u64::from_be_bytes(wire.get(start + 2..start + 10)?.try_into().ok()?)),
                short => (2, u64::from(short)),
            };
            let mask = if second & 0x80 == 0 { 0 } else { 4 };
            let end = (start + header + mask).checked_add(usize::try_from(payload).ok()?)?;
            (end <= wire.len()).then_some(end)
        };
        match frame() {
            Some(end) => ends.push(end),
            None => return ends,
        }
    }
}
