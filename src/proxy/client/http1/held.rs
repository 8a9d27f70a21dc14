//! Bytes of a head, until it has come whole. The parser would keep them in a buffer that doubles, and read it again with each
//! piece that comes.

use std::collections::VecDeque;

use tokio::io::ReadBuf;

/// What one piece holds: no more than that is reserved beyond what came.
const PIECE_BYTES: usize = 2 * 1024;

/// Bytes in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Held {
    pieces: VecDeque<Vec<u8>>,
    /// Of the first piece, what was handed out already.
    handed_out: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether the first bytes that were not handed out are these: few, as the first piece holds.
    pub(super) fn starts_with(&self, beginning: &[u8]) -> bool {
        self.pieces.front().is_some_and(|first| first[self.handed_out..].starts_with(beginning))
    }

    pub(super) fn extend(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.pieces.back_mut() {
                Some(last) if last.len() < PIECE_BYTES => {
                    let taken = bytes.len().min(PIECE_BYTES - last.len());
                    last.extend_from_slice(&bytes[..taken]);
                    bytes = &bytes[taken..];
                }
                Some(_) | None => self.pieces.push_back(Vec::with_capacity(PIECE_BYTES)),
            }
        }
    }

    /// Bytes that came before all of these.
    pub(super) fn put_before(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let behind = std::mem::take(self).into_bytes();
            self.extend(bytes);
            self.extend(&behind);
        }
    }

    /// As much as there is room for; what was handed out is let go.
    pub(super) fn hand_out(&mut self, room: &mut ReadBuf<'_>) {
        while let Some(first) = self.pieces.front() {
            let rest = &first[self.handed_out..];
            let taken = rest.len().min(room.remaining());
            room.put_slice(&rest[..taken]);
            if taken < rest.len() {
                self.handed_out += taken;
                return;
            }
            self.handed_out = 0;
            self.pieces.pop_front();
        }
        self.pieces = VecDeque::new();
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        let all: Vec<u8> = self.pieces.into_iter().flatten().collect();
        all[self.handed_out..].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_handed_out_in_order_whatever_the_pieces() {
        let wire: Vec<u8> = (0..=u8::MAX).cycle().take(3 * PIECE_BYTES + 17).collect();
        for (piece, room) in [(1, 5000), (700, 1), (5000, 4096), (wire.len(), wire.len())] {
            let mut held = Held::default();
            wire.chunks(piece).for_each(|piece| held.extend(piece));
            let reserved: usize = held.pieces.iter().map(Vec::capacity).sum();
            assert!(reserved < wire.len() + PIECE_BYTES, "{reserved}");
            let mut out = Vec::new();
            while !held.is_empty() {
                let mut buffer = vec![0; room];
                let mut into = ReadBuf::new(&mut buffer);
                held.hand_out(&mut into);
                out.extend_from_slice(into.filled());
            }
            assert_eq!(out, wire, "pieces of {piece}, room for {room}");
        }
    }

    #[test]
    fn what_is_left_can_be_taken_at_once() {
        let mut held = Held::default();
        held.extend(&[7; 2 * PIECE_BYTES]);
        let mut buffer = [0; 10];
        held.hand_out(&mut ReadBuf::new(&mut buffer));
        assert_eq!(held.into_bytes(), [7; 2 * PIECE_BYTES - 10]);
        assert!(Held::default().into_bytes().is_empty());
    }

    #[test]
    fn bytes_can_be_put_before_those_that_are_held() {
        let mut held = Held::default();
        held.extend(b"xxbehind");
        held.hand_out(&mut ReadBuf::new(&mut [0; 2]));
        held.put_before(b"");
        held.put_before(b"before ");
        assert_eq!(held.into_bytes(), b"before behind");
    }
}
