//! The tokens that one worker has verified. Holds tags, no tokens; every hit is checked again for time and revocation.
//!
//! Only verified tokens are inserted, so forged ones cannot displace them.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use quick_cache::unsync::Cache;
use quick_cache::{Lifecycle, UnitWeighter};
use siphasher::sip128::SipHasher13;

use crate::crypto::entropy::{self, Entropy};
use crate::crypto::verifier::Verified;
use crate::domain::headers::PreparedFields;
use crate::proxy::open_streams::Era;

/// Bounded. Evicts what is used least; tokens seen once do not displace those in use.
pub struct TokenCache {
    verified: Cache<TokenTag, Rc<Known>, UnitWeighter, BuildHasherDefault<TagHasher>, Evictions>,
    evictions: Evictions,
    /// Keyed at random: nobody outside can tell the tag of any token.
    tags: SipHasher13,
    /// The verifier's policy under which the entries were verified.
    epoch: u64,
}

/// What a whole token, signature included, is known by in one cache: 128 bits, of a hash with a key that only this cache has.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenTag(u128);

/// A verified token, and what upstreams are told of its principal.
#[derive(Debug)]
pub struct Known {
    pub token: Verified,
    pub identity: PreparedFields,
    /// Of its session's shard, when other workers were told of the token last.
    pub told_in: Cell<Era>,
}

impl TokenCache {
    /// `entries_max` tokens, about 500 bytes each.
    pub fn new(entries_max: usize, entropy: &dyn Entropy) -> Self {
        let evictions = Evictions::default();
        Self {
            verified: Cache::with(
                entries_max,
                entries_max as u64,
                UnitWeighter,
                BuildHasherDefault::default(),
                evictions.clone(),
            ),
            evictions,
            tags: SipHasher13::new_with_key(&entropy::draw(entropy)),
            epoch: 0,
        }
    }

    pub fn tag(&self, token: &str) -> TokenTag {
        TokenTag(self.tags.hash(token.as_bytes()).as_u128())
    }

    /// The entry for a token, if it was verified under this epoch's policy.
    pub fn find(&mut self, tag: TokenTag, epoch: u64) -> Option<&Rc<Known>> {
        if self.epoch != epoch {
            self.verified.clear();
            self.epoch = epoch;
            return None;
        }
        self.verified.get(&tag)
    }

    pub fn keep(&mut self, tag: TokenTag, known: Rc<Known>, epoch: u64) {
        if self.epoch == epoch {
            self.verified.insert(tag, known);
        }
    }

    pub fn remove(&mut self, tag: TokenTag) {
        self.verified.remove(&tag);
    }

    /// How many tokens it holds.
    pub fn entries(&self) -> usize {
        self.verified.len()
    }

    /// How many it forgot to make room since this was asked last.
    pub fn take_evicted(&self) -> u64 {
        self.evictions.0.take()
    }

    #[cfg(test)]
    pub fn contains(&self, token: &str) -> bool {
        self.verified.peek(&self.tag(token)).is_some()
    }
}

/// Counts what makes room for others.
#[derive(Clone, Debug, Default)]
struct Evictions(Rc<Cell<u64>>);

impl Lifecycle<TokenTag, Rc<Known>> for Evictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: TokenTag, _: Rc<Known>) {
        self.0.set(self.0.get() + 1);
    }
}

/// Without its key.
impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("entries", &self.verified.len()).finish_non_exhaustive()
    }
}

/// A tag is its own hash: its first eight bytes.
#[derive(Debug, Default)]
pub struct TagHasher(u64);

impl Hasher for TagHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut first = [0; 8];
        let take = bytes.len().min(8);
        first[..take].copy_from_slice(&bytes[..take]);
        self.0 ^= u64::from_le_bytes(first);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::entropy::SystemEntropy;

    fn cache() -> TokenCache {
        TokenCache::new(10, &SystemEntropy::new())
    }

    #[test]
    fn a_token_has_one_tag_in_a_cache_and_another_in_each_other_cache() {
        let (one, other) = (cache(), cache());
        assert!(one.tag("a.b.c") == one.tag("a.b.c"));
        assert!(one.tag("a.b.c") != other.tag("a.b.c"), "a key for each");
    }

    #[test]
    fn every_byte_of_a_token_and_its_length_count() {
        let cache = cache();
        let token: String = ('!'..='~').cycle().take(600).collect();
        let tag = cache.tag(&token);
        for at in 0..token.len() {
            let changed = [&token[..at], "\x7f", &token[at + 1..]].concat();
            assert!(cache.tag(&changed) != tag && cache.tag(&token[..at]) != tag, "{at}");
        }
        assert!(cache.tag(&format!("{token}\0")) != tag);
    }
}
