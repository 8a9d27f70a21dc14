//! The tokens that one worker has verified. Holds digests, no tokens; every hit is checked again for time and revocation.
//!
//! Only verified tokens are inserted, so forged ones cannot displace them.

use std::cell::Cell;
use std::hash::{BuildHasherDefault, Hasher};

use quick_cache::UnitWeighter;
use quick_cache::unsync::{Cache, DefaultLifecycle};

use crate::crypto::verifier::{TokenDigest, Verified};
use crate::domain::headers::PreparedFields;
use crate::proxy::open_streams::Era;

/// Bounded. Evicts what is used least; tokens seen once do not displace those in use.
#[derive(Debug)]
pub struct TokenCache {
    verified: Cache<TokenDigest, Known, UnitWeighter, BuildHasherDefault<DigestHasher>>,
    /// The verifier's policy under which the entries were verified.
    epoch: u64,
}

/// A verified token, and what upstreams are told of its principal.
#[derive(Clone, Debug)]
pub struct Known {
    pub verified: Verified,
    pub identity: PreparedFields,
    /// Of its session's shard, when other workers were told of the token last.
    pub told_in: Cell<Era>,
}

impl TokenCache {
    /// `entries_max` tokens, about 500 bytes each.
    pub fn new(entries_max: usize) -> Self {
        Self {
            verified: Cache::with(
                entries_max,
                entries_max as u64,
                UnitWeighter,
                BuildHasherDefault::default(),
                DefaultLifecycle::default(),
            ),
            epoch: 0,
        }
    }

    /// The entry for a token, if it was verified under this epoch's policy.
    pub fn find(&mut self, digest: &TokenDigest, epoch: u64) -> Option<&Known> {
        if self.epoch != epoch {
            self.verified.clear();
            self.epoch = epoch;
            return None;
        }
        self.verified.get(digest)
    }

    pub fn keep(&mut self, digest: TokenDigest, known: Known, epoch: u64) {
        if self.epoch == epoch {
            self.verified.insert(digest, known);
        }
    }

    pub fn remove(&mut self, digest: &TokenDigest) {
        self.verified.remove(digest);
    }

    #[cfg(test)]
    pub fn contains(&self, digest: &TokenDigest) -> bool {
        self.verified.peek(digest).is_some()
    }
}

/// A digest is its own hash: its first eight bytes. Only tokens with a good signature are kept, so nobody else chooses them.
#[derive(Debug, Default)]
pub struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut first = [0; 8];
        let take = bytes.len().min(8);
        first[..take].copy_from_slice(&bytes[..take]);
        self.0 ^= u64::from_le_bytes(first);
    }

    /// The length prefix of a slice says nothing here.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
