//! Secrets of machine clients, compared without telling how alike they are.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use subtle::ConstantTimeEq as _;

use super::entropy::{self, Entropy};
use crate::domain::secret::Secret;
use crate::domain::token_prefix;

/// A secret that can be asked whether a text is it. Holds its SHA-256 alone: secrets are long and random, see the settings.
#[derive(Clone)]
pub struct ClientSecret([u8; 32]);

/// What somebody shows for a secret, to be compared with any number of them.
pub struct ShownSecret([u8; 32]);

impl ShownSecret {
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(hash(text))
    }
}

impl ClientSecret {
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(hash(secret))
    }

    /// Of a secret of which the SHA-256 alone is known; `None`: that is something else.
    #[must_use]
    pub fn of_digest(digest: &[u8]) -> Option<Self> {
        digest.try_into().ok().map(Self)
    }

    /// A new secret: 256 random bits, in characters that no encoding changes.
    pub fn make(entropy: &dyn Entropy) -> (Secret<String>, Self) {
        let text = format!("{}{}", token_prefix::CLIENT_SECRET, URL_SAFE_NO_PAD.encode(entropy::draw::<32>(entropy)));
        let made = Self::new(&text);
        (Secret::new(text), made)
    }

    /// The SHA-256 in hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a text does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Whether it is what is shown. Takes as long whatever the response, and whatever the length of the secret.
    #[must_use]
    pub fn is(&self, shown: &ShownSecret) -> bool {
        bool::from(self.0.ct_eq(&shown.0))
    }
}

impl std::fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientSecret([redacted])")
    }
}

fn hash(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_itself_alone_and_not_printed() {
        let secret = ClientSecret::new("correct horse battery staple 1234");
        let is = |text: &str| secret.is(&ShownSecret::new(text));
        assert!(is("correct horse battery staple 1234"));
        for other in
            ["", "correct horse battery staple 123", "correct horse battery staple 12345", "Correct horse battery staple 1234"]
        {
            assert!(!is(other), "{other}");
        }
        assert_eq!(format!("{secret:?}"), "ClientSecret([redacted])");
    }

    #[test]
    fn a_secret_that_was_made_is_known_by_its_digest_alone_and_is_never_made_twice() {
        let entropy = crate::crypto::entropy::SystemEntropy::new();
        let (text, made) = ClientSecret::make(&entropy);
        let digits = made.digest();
        let bytes: Vec<u8> = (0..64).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
        let known = ClientSecret::of_digest(&bytes).unwrap();
        assert!(known.is(&ShownSecret::new(text.expose())) && text.expose().len() == 47);
        assert!(ClientSecret::of_digest(&bytes[1..]).is_none());
        let (another, _) = ClientSecret::make(&entropy);
        assert!(!known.is(&ShownSecret::new(another.expose())));
        let encoded: String = form_urlencoded::byte_serialize(text.expose().as_bytes()).collect();
        assert_eq!(&encoded, text.expose(), "clients that forget to encode it (RFC 6749, section 2.3.1) are understood");
    }
}
