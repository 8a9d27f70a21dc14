//! Randomness, passed in like time.

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::domain::ids::TokenId;

/// Draws random bytes. The process has one source; tests bring their own.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the whole buffer with bytes that nobody can foretell.
    fn fill(&self, bytes: &mut [u8]);
}

/// An array of random bytes, such as the last part of a session id.
pub fn draw<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// A new `jti`: 128 random bits, 22 characters of base64url.
pub fn token_id(entropy: &dyn Entropy) -> TokenId {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(draw::<16>(entropy));
    TokenId::new(&text).expect("22 letters and digits are a token id")
}

/// The operating system's generator.
#[derive(Clone, Debug)]
pub struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    #[must_use]
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    /// # Panics
    /// When the operating system has no randomness to give: nothing that is made without it may be used.
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes).expect("the operating system gives random bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        let entropy = SystemEntropy::new();
        assert_ne!(draw::<16>(&entropy), draw::<16>(&entropy));
        assert_ne!(token_id(&entropy), token_id(&entropy));
    }
}
