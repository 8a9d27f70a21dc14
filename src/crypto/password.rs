//! Hashes of passwords, for the demo's users: the gateway itself never keeps one.

use std::num::NonZeroU32;

use ring::pbkdf2;

use super::entropy::{Entropy, draw};

/// A sixth of what OWASP asks for hashes at rest: these are never at rest, and a demo that is tried out logs in often.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(100_000).expect("not zero");

/// PBKDF2-HMAC-SHA256 with a salt of its own.
#[derive(Clone)]
pub struct PasswordHash {
    salt: [u8; 16],
    hash: [u8; 32],
}

impl PasswordHash {
    /// Takes some hundredths of a second, by intent.
    #[must_use]
    pub fn new(password: &str, entropy: &dyn Entropy) -> Self {
        let salt = draw(entropy);
        let mut hash = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, &salt, password.as_bytes(), &mut hash);
        Self { salt, hash }
    }

    /// Takes as long as [`Self::new`], whatever the response.
    #[must_use]
    pub fn verify(&self, password: &str) -> bool {
        pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, &self.salt, password.as_bytes(), &self.hash).is_ok()
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::entropy::SystemEntropy;

    #[test]
    fn a_password_verifies_against_its_own_hash_alone() {
        let entropy = SystemEntropy::new();
        let hash = PasswordHash::new("right", &entropy);
        assert!(hash.verify("right"));
        assert!(!hash.verify("wrong") && !hash.verify(""));
        assert_ne!(hash.salt, PasswordHash::new("right", &entropy).salt);
        assert_eq!(format!("{hash:?}"), "PasswordHash([redacted])");
    }
}
