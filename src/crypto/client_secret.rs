//! Secrets of machine clients, compared without telling how alike they are.

use ring::digest;
use subtle::ConstantTimeEq as _;

/// A secret that can be asked whether a text is it. Holds its SHA-256 alone: secrets are long and random, see the settings.
#[derive(Clone)]
pub struct ClientSecret([u8; 32]);

impl ClientSecret {
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(hash(secret))
    }

    /// Whether the text is this secret. Takes as long whatever the response, and whatever the length of the secret.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        bool::from(self.0.ct_eq(&hash(text)))
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
        assert!(secret.is("correct horse battery staple 1234"));
        for other in
            ["", "correct horse battery staple 123", "correct horse battery staple 12345", "Correct horse battery staple 1234"]
        {
            assert!(!secret.is(other), "{other}");
        }
        assert_eq!(format!("{secret:?}"), "ClientSecret([redacted])");
    }
}
