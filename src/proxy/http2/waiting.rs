//! Data that has come and was not read, joined so that small pieces take up little more than their bytes.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Pieces of this length are kept as they come. Each may hold the buffer that it was read into, which is a few times as long; shorter ones
/// are copied when they have to wait behind others.
const PIECE_BYTES_MIN: usize = 4 * 1024;

/// Joined pieces are no longer than that, beside the one that was joined last.
const JOINED_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    pieces: VecDeque<Bytes>,
    /// Behind those, and still growing.
    joined: BytesMut,
    bytes: usize,
}

impl Waiting {
    pub(super) fn push(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        self.bytes += data.len();
        if self.pieces.is_empty() && self.joined.is_empty() {
            // Most is read before more comes.
            self.pieces.push_back(data);
        } else if data.len() < PIECE_BYTES_MIN {
            self.joined.extend_from_slice(&data);
            if self.joined.len() >= JOINED_BYTES_MAX {
                self.end_joined();
            }
        } else {
            self.end_joined();
            self.pieces.push_back(data);
        }
    }

    pub(super) fn next(&mut self) -> Option<Bytes> {
        let next = self.pieces.pop_front().or_else(|| self.take_joined())?;
        self.bytes -= next.len();
        Some(next)
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn end_joined(&mut self) {
        let joined = self.take_joined();
        self.pieces.extend(joined);
    }

    fn take_joined(&mut self) -> Option<Bytes> {
        (!self.joined.is_empty()).then(|| std::mem::take(&mut self.joined).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_read_in_its_order_however_it_is_cut() {
        let many = vec![1; 50_000];
        for lengths in [&many[..], &[5000, 1, 5000, 1, 1, 5000], &[1, 0, 20_000, 0, 3], &[100, 4000, 200]] {
            let mut waiting = Waiting::default();
            let mut all = Vec::new();
            for (number, length) in lengths.iter().enumerate() {
                let piece = vec![u8::try_from(number % 251).unwrap(); *length];
                all.extend_from_slice(&piece);
                waiting.push(piece.into());
            }
            assert_eq!(waiting.bytes(), all.len());
            let read: Vec<u8> = std::iter::from_fn(|| waiting.next()).flatten().collect();
            assert!(read == all && waiting.is_empty(), "{lengths:?}");
        }
    }

    #[test]
    fn small_pieces_that_wait_become_few() {
        let mut waiting = Waiting::default();
        for _ in 0..100_000 {
            waiting.push(Bytes::from_static(b"x"));
        }
        assert!(std::iter::from_fn(|| waiting.next()).count() < 10);
    }

    #[test]
    fn what_does_not_wait_is_not_copied() {
        let mut waiting = Waiting::default();
        let piece = Bytes::from(vec![b'x'; 10]);
        waiting.push(piece.clone());
        assert_eq!(waiting.next().unwrap().as_ptr(), piece.as_ptr());
    }
}
