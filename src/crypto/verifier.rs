//! Everything about a token that depends on the token alone: its form, its key, its signature, its claims.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;

use super::jwks::{ForeignKeys, Nudge};
use super::key::{RSA_BITS_MAX, VerifyingKey};
use super::keyring::KeyRing;
use super::token_header::{Segments, TokenHeader};
use crate::domain::access_claims::AccessClaims;
use crate::domain::claim_policy::ClaimPolicy;
use crate::domain::claims::{self, Denial, Principal};
use crate::domain::time::Timestamp;

/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8192;

/// An immutable snapshot of every key that is trusted, each with the policy of its issuer. Shared as `ArcSwap<Verifier>`; a reload,
/// or a change of a foreign issuer's keys, puts a new one in its place.
#[derive(Debug, Default)]
pub struct Verifier {
    by_kid: HashMap<Box<str>, Vec<Trusted>>,
    without_kid: Vec<Trusted>,
    present: HashSet<KeyRef>,
    epoch: u64,
    nudges: Vec<Arc<Nudge>>,
}

/// A key, the policy for its tokens, and the name of both.
#[derive(Debug)]
struct Trusted {
    key: Arc<VerifyingKey>,
    policy: Arc<ClaimPolicy>,
    id: KeyRef,
}

/// Names a key together with its `kid` and the policy of its issuer: when any of them changes, so does this.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRef([u8; 16]);

impl std::fmt::Debug for KeyRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyRef")
    }
}

/// A token that was verified, as a cache keeps it. Ask [`Verifier::still_valid`] on every hit.
#[derive(Clone, Debug)]
pub struct Verified {
    pub principal: Arc<Principal>,
    pub key: KeyRef,
    epoch: u64,
    leeway: Duration,
}

/// SHA-256 over the whole token, signature included: what a cache of verified tokens is keyed by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    #[must_use]
    pub fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenDigest")
    }
}

impl Verifier {
    /// Trusts nothing until keys are added.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts our own keys, those that wait included, for tokens under `policy`.
    #[must_use]
    pub fn with_own(self, ring: &KeyRing, policy: ClaimPolicy) -> Self {
        self.with_keys(ring.keys().iter().map(|entry| (Some(&*entry.kid), &entry.key)), policy)
    }

    /// Trusts an issuer's keys for tokens under `policy`. `nudge` is told when a token names a key that nobody here has.
    #[must_use]
    pub fn with_foreign(mut self, keys: &ForeignKeys, policy: ClaimPolicy, nudge: Option<Arc<Nudge>>) -> Self {
        self.nudges.extend(nudge);
        self.with_keys(keys.keys().iter().map(|entry| (entry.kid.as_deref(), &entry.key)), policy)
    }

    pub(super) fn with_keys<'a>(
        mut self,
        keys: impl Iterator<Item = (Option<&'a str>, &'a Arc<VerifyingKey>)>,
        policy: ClaimPolicy,
    ) -> Self {
        let policy = Arc::new(policy);
        for (kid, key) in keys {
            let id = KeyRef::of(kid, key, &policy);
            if self.present.insert(id) {
                let trusted = Trusted { key: key.clone(), policy: policy.clone(), id };
                match kid {
                    Some(kid) => self.by_kid.entry(kid.into()).or_default().push(trusted),
                    None => self.without_kid.push(trusted),
                }
            }
        }
        self.settled()
    }

    fn settled(mut self) -> Self {
        let mut present: Vec<_> = self.present.iter().collect();
        present.sort_unstable();
        let mut hash = digest::Context::new(&digest::SHA256);
        for id in present {
            hash.update(&id.0);
        }
        let mut epoch = [0; 8];
        epoch.copy_from_slice(&hash.finish().as_ref()[..8]);
        self.epoch = u64::from_be_bytes(epoch);
        self
    }

    /// The same for the same keys and policies, on every node and after every reload; another for any others.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Judges a token from scratch. Which keys may have made it is decided by its `kid` alone, exactly; the algorithm is the key's.
    ///
    /// # Errors
    /// [`Denial::Expired`] or [`Denial::Invalid`].
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Verified, Denial> {
        let segments = Segments::split(token)?;
        let header = TokenHeader::parse(segments.header)?;
        let candidates = self.candidates(header.kid.as_deref())?;
        let key = signer(candidates, &header.alg, segments)?;
        let payload = URL_SAFE_NO_PAD.decode(segments.payload).map_err(|_| Denial::Invalid("the payload is malformed"))?;
        let claims = AccessClaims::parse(&payload)?;
        let trusted = issuer_of(candidates, key, claims.issuer.as_deref())?;
        if !trusted.policy.token_type.admits(header.typ.as_deref()) {
            return Err(Denial::Invalid("typ is not that of an access token"));
        }
        let principal = claims::check(claims, &trusted.policy, now)?;
        Ok(Verified { principal: Arc::new(principal), key: trusted.id, epoch: self.epoch, leeway: trusted.policy.leeway() })
    }

    /// What every cache hit asks again: is the token alive, and is its key still trusted under the same policy?
    pub fn still_valid(&self, verified: &Verified, now: Timestamp) -> Result<(), Denial> {
        let is_key_present = verified.epoch == self.epoch || self.present.contains(&verified.key);
        if !is_key_present {
            return Err(Denial::Invalid("the key is no longer trusted"));
        }
        verified.principal.check_times(verified.leeway, now)
    }

    /// The keys that tokens with this `kid` may be signed by. Issuers may share a `kid`, so there may be several.
    fn candidates(&self, kid: Option<&str>) -> Result<&[Trusted], Denial> {
        let candidates = match kid {
            Some(kid) => self.by_kid.get(kid).map_or(&[][..], Vec::as_slice),
            None => &self.without_kid,
        };
        if candidates.is_empty() {
            for nudge in &self.nudges {
                nudge.ask();
            }
            return Err(Denial::Invalid("no key of that kid is trusted"));
        }
        Ok(candidates)
    }
}

/// The candidate whose signature the token carries. The algorithm that the token names must be the key's; it chooses nothing.
fn signer<'a>(candidates: &'a [Trusted], alg: &str, segments: Segments<'_>) -> Result<&'a VerifyingKey, Denial> {
    let mut signature = [0; RSA_BITS_MAX / 8];
    let written = URL_SAFE_NO_PAD.decode_slice(segments.signature, &mut signature);
    let signature = &signature[..written.map_err(|_| Denial::Invalid("the signature is malformed"))?];
    let is_signer = |key: &&VerifyingKey| key.algorithm().name() == alg && key.verify(segments.signed.as_bytes(), signature);
    candidates.iter().map(|trusted| &*trusted.key).find(is_signer).ok_or(Denial::Invalid("the signature is wrong"))
}

/// The issuer that is meant, among those that sign with this very key: some providers share theirs between tenants.
fn issuer_of<'a>(candidates: &'a [Trusted], key: &VerifyingKey, issuer: Option<&str>) -> Result<&'a Trusted, Denial> {
    let owners = candidates.iter().filter(|trusted| trusted.key.identity() == key.identity());
    let mut named = owners.filter(|trusted| Some(&*trusted.policy.issuer) == issuer);
    named.next().ok_or(Denial::Invalid("iss is not the issuer of the key"))
}

impl KeyRef {
    fn of(kid: Option<&str>, key: &VerifyingKey, policy: &ClaimPolicy) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(key.identity());
        // Derived `Debug` quotes its strings and names its fields, so equal texts mean equal policies; nothing keeps or shows it.
        hash.update(format!("{kid:?} {policy:?}").as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finish().as_ref()[..16]);
        Self(id)
    }
}

#[cfg(test)]
mod tests;
