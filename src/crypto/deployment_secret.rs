//! Making the secret that all nodes of a deployment share.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::entropy::{Entropy, draw};
pub use crate::domain::deployment_secret::{DeploymentSecret, SECRET_BYTES_MIN, SECRET_CHARS_MAX, SecretError};
use crate::domain::secret::Secret;

/// A new secret as text: 32 bytes in base64.
pub fn generate_secret(entropy: &dyn Entropy) -> Secret<String> {
    let bytes = Zeroizing::new(draw::<SECRET_BYTES_MIN>(entropy));
    Secret::new(STANDARD.encode(bytes.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::entropy::SystemEntropy;

    #[test]
    fn a_generated_secret_is_read_back() {
        let text = generate_secret(&SystemEntropy::new());
        assert_eq!(DeploymentSecret::parse(text.expose()).unwrap().expose().len(), 32);
    }
}
