//! Keys, parsed and judged once, each fixed to one algorithm.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair, RsaPublicKeyComponents, UnparsedPublicKey};
use ring::{agreement, digest, hmac};
use serde_json::{Value, json};

use super::der::{self, KeyKind, PublicParts};
use crate::domain::algorithm::Algorithm;

/// The least that an HMAC key must hold, in bytes (RFC 7518, section 3.2, for HS256).
pub const HMAC_BYTES_MIN: usize = 32;
/// The most that an HMAC key may hold, in bytes.
pub const HMAC_BYTES_MAX: usize = 1024;
/// The least that an RSA modulus must have, in bits.
pub const RSA_BITS_MIN: usize = 2048;
/// The most that an RSA modulus may have, in bits: what ring verifies.
pub const RSA_BITS_MAX: usize = 8192;

/// Why bytes are not a key that may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyFault {
    #[error("is not a key of a supported kind (P-256, P-384, Ed25519, RSA)")]
    Kind,
    #[error("is damaged, or its parts do not belong together")]
    Damaged,
    #[error("is not a point of its curve")]
    NotOnCurve,
    #[error("is a point of small order: signatures under it prove nothing")]
    SmallOrder,
    #[error("has an RSA modulus of {bits} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} are accepted")]
    RsaSize { bits: usize },
    #[error("has an RSA modulus or exponent that no genuine key has")]
    RsaParts,
    #[error("holds {bytes} bytes; HMAC keys need {HMAC_BYTES_MIN} to {HMAC_BYTES_MAX}")]
    HmacSize { bytes: usize },
    #[error("cannot be used with {0}")]
    Algorithm(Algorithm),
}

/// Verifies signatures of one algorithm.
pub struct VerifyingKey {
    algorithm: Algorithm,
    material: Material,
    identity: [u8; 32],
}

enum Material {
    /// An EC point or an Ed25519 key.
    Curve(UnparsedPublicKey<Box<[u8]>>),
    Rsa(&'static signature::RsaParameters, RsaPublicKeyComponents<Box<[u8]>>),
    Shared(hmac::Key),
}

impl VerifyingKey {
    /// From an uncompressed point (SEC 1, section 2.3.3).
    pub fn ec(algorithm: Algorithm, point: &[u8]) -> Result<Self, KeyFault> {
        let (verification, exchange): (&'static dyn signature::VerificationAlgorithm, _) = match algorithm {
            Algorithm::Es256 => (&signature::ECDSA_P256_SHA256_FIXED, &agreement::ECDH_P256),
            Algorithm::Es384 => (&signature::ECDSA_P384_SHA384_FIXED, &agreement::ECDH_P384),
            other => return Err(KeyFault::Algorithm(other)),
        };
        if !is_on_curve(exchange, point) {
            return Err(KeyFault::NotOnCurve);
        }
        Ok(Self::new(algorithm, &[point], Material::Curve(UnparsedPublicKey::new(verification, point.into()))))
    }

    /// From the 32 bytes of an Ed25519 public key (RFC 8032, section 5.1.5).
    pub fn ed25519(key: &[u8]) -> Result<Self, KeyFault> {
        let point: &[u8; 32] = key.try_into().map_err(|_| KeyFault::Damaged)?;
        let mut y = *point;
        y[31] &= 0x7f;
        if !is_below_p(&y) {
            return Err(KeyFault::NotOnCurve);
        }
        if SMALL_ORDER_Y.contains(&y) {
            return Err(KeyFault::SmallOrder);
        }
        let material = Material::Curve(UnparsedPublicKey::new(&signature::ED25519, key.into()));
        Ok(Self::new(Algorithm::EdDsa, &[key], material))
    }

    /// From modulus and exponent, big-endian; leading zeros are dropped.
    pub fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Result<Self, KeyFault> {
        let parameters = match algorithm {
            Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            other => return Err(KeyFault::Algorithm(other)),
        };
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        check_rsa_size(n)?;
        let is_odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
        // Exponent 1 would make every padded digest its own signature; ring reads at most 33 bits, 32 are plenty.
        if !is_odd(n) || !is_odd(e) || e == [1] || e.len() > 4 {
            return Err(KeyFault::RsaParts);
        }
        let components = RsaPublicKeyComponents { n: n.into(), e: e.into() };
        Ok(Self::new(algorithm, &[n, e], Material::Rsa(parameters, components)))
    }

    pub fn hmac(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyFault> {
        let key = hmac_key(algorithm, secret)?;
        Ok(Self::new(algorithm, &[secret], Material::Shared(key)))
    }

    /// For old tokens alone, whose secrets others chose: of any length up to [`HMAC_BYTES_MAX`], but not empty.
    pub(super) fn legacy_hmac(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyFault> {
        if secret.is_empty() || secret.len() > HMAC_BYTES_MAX {
            return Err(KeyFault::HmacSize { bytes: secret.len() });
        }
        let key = hmac::Key::new(hmac_hash(algorithm)?, secret);
        Ok(Self::new(algorithm, &[secret], Material::Shared(key)))
    }

    /// From a `SubjectPublicKeyInfo`; the algorithm is the usual one of the kind (RS256 for RSA).
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyFault> {
        let usual = match der::public_key_info(der).ok_or(KeyFault::Kind)? {
            PublicParts::Ec(kind, _) => usual_algorithm(kind),
            PublicParts::Ed25519(_) => Algorithm::EdDsa,
            PublicParts::Rsa { .. } => Algorithm::Rs256,
        };
        Self::from_spki_as(usual, der)
    }

    /// From a `SubjectPublicKeyInfo`, for this algorithm.
    pub fn from_spki_as(algorithm: Algorithm, der: &[u8]) -> Result<Self, KeyFault> {
        match der::public_key_info(der).ok_or(KeyFault::Kind)? {
            PublicParts::Ec(kind, point) if usual_algorithm(kind) == algorithm => Self::ec(algorithm, point),
            PublicParts::Ed25519(key) if algorithm == Algorithm::EdDsa => Self::ed25519(key),
            PublicParts::Rsa { n, e } => Self::rsa(algorithm, n, e),
            PublicParts::Ec(..) | PublicParts::Ed25519(_) => Err(KeyFault::Algorithm(algorithm)),
        }
    }

    fn new(algorithm: Algorithm, parts: &[&[u8]], material: Material) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(algorithm.name().as_bytes());
        for part in parts {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut identity = [0; 32];
        identity.copy_from_slice(hash.finish().as_ref());
        Self { algorithm, material, identity }
    }

    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` is this key's over `message`, in the raw form of RFC 7518 (ECDSA: r ‖ s, never DER).
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Curve(key) => key.verify(message, signature).is_ok(),
            Material::Rsa(parameters, key) => key.verify(parameters, message, signature).is_ok(),
            Material::Shared(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }

    /// Equal for equal keys with the same algorithm. Not for publication: for an HMAC key it is a hash of the secret.
    pub(super) const fn identity(&self) -> &[u8; 32] {
        &self.identity
    }

    /// The point of an EC key, or an Ed25519 key.
    pub(super) fn curve_bytes(&self) -> Option<&[u8]> {
        match &self.material {
            Material::Curve(key) => Some(key.as_ref()),
            Material::Rsa(..) | Material::Shared(_) => None,
        }
    }

    /// Modulus and exponent.
    pub(super) fn rsa_parts(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        match &self.material {
            Material::Rsa(_, key) => Some((key.n.to_vec(), key.e.to_vec())),
            Material::Curve(_) | Material::Shared(_) => None,
        }
    }

    /// The members of the key's JWK that its thumbprint covers, in that order; `None` for an HMAC key.
    fn jwk_members(&self) -> Option<Value> {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.material {
            Material::Curve(key) => {
                let bytes = key.as_ref();
                Some(match self.algorithm {
                    Algorithm::Es256 => json!({"crv": "P-256", "kty": "EC", "x": text(&bytes[1..33]), "y": text(&bytes[33..])}),
                    Algorithm::Es384 => json!({"crv": "P-384", "kty": "EC", "x": text(&bytes[1..49]), "y": text(&bytes[49..])}),
                    _ => json!({"crv": "Ed25519", "kty": "OKP", "x": text(bytes)}),
                })
            }
            Material::Rsa(_, key) => Some(json!({"e": text(&key.e), "kty": "RSA", "n": text(&key.n)})),
            Material::Shared(_) => None,
        }
    }

    /// The public JWK (RFC 7517) under this `kid`; `None` for an HMAC key, which is never published.
    #[must_use]
    pub fn jwk(&self, kid: &str) -> Option<Value> {
        let mut jwk = self.jwk_members()?;
        jwk["kid"] = kid.into();
        jwk["alg"] = self.algorithm.name().into();
        jwk["use"] = "sig".into();
        Some(jwk)
    }

    /// The SHA-256 thumbprint in base64url (RFC 7638); `None` for an HMAC key, whose thumbprint would be a hash of the secret.
    #[must_use]
    pub fn thumbprint(&self) -> Option<String> {
        let text = self.jwk_members()?.to_string();
        Some(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes())))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Makes signatures of one algorithm.
pub struct SigningKey {
    algorithm: Algorithm,
    pair: Pair,
    random: SystemRandom,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(&'static dyn signature::RsaEncoding, Box<RsaKeyPair>),
    Shared(hmac::Key),
}

/// The random source failed, or ring found the key unusable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("signing failed")]
pub struct SigningFailed;

impl SigningKey {
    /// From PKCS#8 (RFC 5958), with the usual algorithm of the kind; also gives the key that verifies its signatures.
    pub fn from_pkcs8(der: &[u8]) -> Result<(Self, VerifyingKey), KeyFault> {
        let kind = der::private_key_kind(der).ok_or(KeyFault::Kind)?;
        Self::from_pkcs8_as(usual_algorithm(kind), der)
    }

    /// From PKCS#8, for this algorithm.
    pub fn from_pkcs8_as(algorithm: Algorithm, der: &[u8]) -> Result<(Self, VerifyingKey), KeyFault> {
        let random = SystemRandom::new();
        let damaged = |_| KeyFault::Damaged;
        let (pair, verifying) = match algorithm {
            Algorithm::Es256 | Algorithm::Es384 => {
                let signing = if algorithm == Algorithm::Es256 {
                    &signature::ECDSA_P256_SHA256_FIXED_SIGNING
                } else {
                    &signature::ECDSA_P384_SHA384_FIXED_SIGNING
                };
                let pair = EcdsaKeyPair::from_pkcs8(signing, der, &random).map_err(damaged)?;
                let verifying = VerifyingKey::ec(algorithm, pair.public_key().as_ref())?;
                (Pair::Ec(pair), verifying)
            }
            Algorithm::EdDsa => {
                // OpenSSL writes the private half alone; the public one is then computed, not trusted.
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(damaged)?;
                let verifying = VerifyingKey::ed25519(pair.public_key().as_ref())?;
                (Pair::Ed25519(pair), verifying)
            }
            Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 | Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 => {
                check_rsa_size(der::private_rsa_modulus(der).ok_or(KeyFault::Damaged)?)?;
                return Self::from_rsa_pair(algorithm, RsaKeyPair::from_pkcs8(der).map_err(damaged)?);
            }
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return Err(KeyFault::Algorithm(algorithm)),
        };
        Ok((Self { algorithm, pair, random }, verifying))
    }

    /// From an `RSAPrivateKey` (RFC 8017, appendix A.1.2): PKCS#1, as jsonwebtoken hands it over.
    pub(super) fn from_rsa_der(algorithm: Algorithm, der: &[u8]) -> Result<(Self, VerifyingKey), KeyFault> {
        Self::from_rsa_pair(algorithm, RsaKeyPair::from_der(der).map_err(|_| KeyFault::Damaged)?)
    }

    fn from_rsa_pair(algorithm: Algorithm, pair: RsaKeyPair) -> Result<(Self, VerifyingKey), KeyFault> {
        let parts = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
        let verifying = VerifyingKey::rsa(algorithm, &parts.n, &parts.e)?;
        let pair = Pair::Rsa(rsa_encoding(algorithm)?, Box::new(pair));
        Ok((Self { algorithm, pair, random: SystemRandom::new() }, verifying))
    }

    pub fn hmac(algorithm: Algorithm, secret: &[u8]) -> Result<(Self, VerifyingKey), KeyFault> {
        let pair = Pair::Shared(hmac_key(algorithm, secret)?);
        Ok((Self { algorithm, pair, random: SystemRandom::new() }, VerifyingKey::hmac(algorithm, secret)?))
    }

    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The signature in the raw form of RFC 7518.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        match &self.pair {
            Pair::Ec(pair) => pair.sign(&self.random, message).map(|s| s.as_ref().to_vec()).map_err(|_| SigningFailed),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(encoding, pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &self.random, message, &mut signature).map_err(|_| SigningFailed)?;
                Ok(signature)
            }
            Pair::Shared(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

const fn usual_algorithm(kind: KeyKind) -> Algorithm {
    match kind {
        KeyKind::P256 => Algorithm::Es256,
        KeyKind::P384 => Algorithm::Es384,
        KeyKind::Ed25519 => Algorithm::EdDsa,
        KeyKind::Rsa => Algorithm::Rs256,
    }
}

fn rsa_encoding(algorithm: Algorithm) -> Result<&'static dyn signature::RsaEncoding, KeyFault> {
    Ok(match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_SHA512,
        other => return Err(KeyFault::Algorithm(other)),
    })
}

fn hmac_key(algorithm: Algorithm, secret: &[u8]) -> Result<hmac::Key, KeyFault> {
    let hash = hmac_hash(algorithm)?;
    if !(HMAC_BYTES_MIN..=HMAC_BYTES_MAX).contains(&secret.len()) {
        return Err(KeyFault::HmacSize { bytes: secret.len() });
    }
    Ok(hmac::Key::new(hash, secret))
}

fn hmac_hash(algorithm: Algorithm) -> Result<hmac::Algorithm, KeyFault> {
    Ok(match algorithm {
        Algorithm::Hs256 => hmac::HMAC_SHA256,
        Algorithm::Hs384 => hmac::HMAC_SHA384,
        Algorithm::Hs512 => hmac::HMAC_SHA512,
        other => return Err(KeyFault::Algorithm(other)),
    })
}

/// ring judges a point only when it is used, so it is used once here, in a key agreement whose result nobody sees.
fn is_on_curve(exchange: &'static agreement::Algorithm, point: &[u8]) -> bool {
    let ours = agreement::EphemeralPrivateKey::generate(exchange, &SystemRandom::new());
    ours.and_then(|ours| agreement::agree_ephemeral(ours, &agreement::UnparsedPublicKey::new(exchange, point), |_| ())).is_ok()
}

fn check_rsa_size(n: &[u8]) -> Result<(), KeyFault> {
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) { Ok(()) } else { Err(KeyFault::RsaSize { bits }) }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// Whether a little-endian number is below 2^255 − 19: otherwise it is a second spelling of a smaller one.
fn is_below_p(y: &[u8; 32]) -> bool {
    let high_is_full = y[31] == 0x7f && y[1..31].iter().all(|byte| *byte == 0xff);
    !(high_is_full && y[0] >= 0xed)
}

/// The y of the eight points whose order divides eight (RFC 7748 calls for care with them), little-endian, sign bit cleared.
const SMALL_ORDER_Y: [[u8; 32]; 5] = [
    [0; 32],
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05,
        0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa,
        0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

#[cfg(test)]
mod tests;
