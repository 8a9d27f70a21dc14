//! Randomness for request ids, drawn in blocks: one system call per thousand requests or so.

use std::sync::Arc;

use crate::crypto::entropy::Entropy;

const BLOCK_BYTES: usize = 4096;

/// A worker's supply of random bytes. For identifiers alone, never for keys or tokens.
pub(super) struct EntropyPool {
    source: Arc<dyn Entropy>,
    block: Box<[u8; BLOCK_BYTES]>,
    used: usize,
}

impl EntropyPool {
    pub(super) fn new(source: Arc<dyn Entropy>) -> Self {
        Self { source, block: Box::new([0; BLOCK_BYTES]), used: BLOCK_BYTES }
    }

    pub(super) fn draw<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= BLOCK_BYTES) };
        if self.used + N > BLOCK_BYTES {
            self.source.fill(&mut *self.block);
            self.used = 0;
        }
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.block[self.used..self.used + N]);
        self.used += N;
        bytes
    }
}
