//! The keys of legacy tokens: secrets and public keys as their API has them.

use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _, SectionKind};

use super::key::{HMAC_BYTES_MIN, KeyFault, VerifyingKey};
use crate::domain::algorithm::Algorithm;

/// A key that verifies legacy tokens, and the `kid` that they name it by; `None`: they name none.
#[derive(Clone, Debug)]
pub struct LegacyKey {
    pub(super) kid: Option<Box<str>>,
    pub(super) key: Arc<VerifyingKey>,
}

/// Why a key of legacy tokens cannot be used. Holds nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum LegacyKeyError {
    #[error(
        "holds {bytes} bytes; HMAC keys need {HMAC_BYTES_MIN}, or whoever has one token can search for the secret. If the API signs \
         with this very secret, allow it until it is replaced: allow_short_secret = true"
    )]
    Short { bytes: usize },
    #[error("is not PEM: {0}")]
    Pem(pem::Error),
    #[error(
        "holds no PUBLIC KEY section; make one from a certificate with: openssl x509 -pubkey -noout -in CERT.pem, from a private key \
         with: openssl pkey -pubout -in KEY.pem, from an RSA PUBLIC KEY with: openssl rsa -RSAPublicKey_in -pubout -in OLD.pem"
    )]
    NoSection,
    #[error("holds more than one section")]
    ManySections,
    #[error("{0}")]
    Fault(#[from] KeyFault),
}

impl LegacyKey {
    /// From a shared secret.
    ///
    /// # Errors
    /// An algorithm that is none of HMAC, a secret that is too short (unless `allow_short`), empty or too long.
    pub fn shared(kid: Option<&str>, algorithm: Algorithm, secret: &[u8], allow_short: bool) -> Result<Self, LegacyKeyError> {
        if secret.len() < HMAC_BYTES_MIN && !allow_short {
            return Err(LegacyKeyError::Short { bytes: secret.len() });
        }
        Ok(Self::new(kid, VerifyingKey::legacy_hmac(algorithm, secret)?))
    }

    /// From a PEM file with one `PUBLIC KEY`, for this algorithm.
    ///
    /// # Errors
    /// Not PEM, something else than one public key, or none that the algorithm can use.
    pub fn public(kid: Option<&str>, algorithm: Algorithm, pem: &[u8]) -> Result<Self, LegacyKeyError> {
        let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
        let (kind, der) = sections.next().ok_or(LegacyKeyError::NoSection)?.map_err(LegacyKeyError::Pem)?;
        if sections.next().is_some() {
            return Err(LegacyKeyError::ManySections);
        }
        if kind != SectionKind::PublicKey {
            return Err(LegacyKeyError::NoSection);
        }
        Ok(Self::new(kid, VerifyingKey::from_spki_as(algorithm, &der)?))
    }

    fn new(kid: Option<&str>, key: VerifyingKey) -> Self {
        Self { kid: kid.map(Box::from), key: Arc::new(key) }
    }
}

#[cfg(test)]
mod tests;
