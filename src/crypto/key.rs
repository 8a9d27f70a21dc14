//! Keys, judged once, each fixed to one algorithm.

use std::fmt;

use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{DecodingKey, EncodingKey, Header};
use ring::rand::SystemRandom;
use ring::signature::{KeyPair as _, RsaPublicKeyComponents};
use ring::{agreement, digest};
use serde::Serialize;
use serde_json::Value;

use super::der::{self, KeyKind, PublicParts};
use super::provider::{self, Pair, jwt_algorithm};
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

/// Verifies signatures of one algorithm, by jsonwebtoken.
pub struct VerifyingKey {
    algorithm: Algorithm,
    key: DecodingKey,
    identity: [u8; 32],
}

impl VerifyingKey {
    /// From an uncompressed point (SEC 1, section 2.3.3).
    pub fn ec(algorithm: Algorithm, point: &[u8]) -> Result<Self, KeyFault> {
        let exchange = match algorithm {
            Algorithm::Es256 => &agreement::ECDH_P256,
            Algorithm::Es384 => &agreement::ECDH_P384,
            other => return Err(KeyFault::Algorithm(other)),
        };
        if !is_on_curve(exchange, point) {
            return Err(KeyFault::NotOnCurve);
        }
        Ok(Self::new(algorithm, &[point], DecodingKey::from_ec_der(point)))
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
        Ok(Self::new(Algorithm::EdDsa, &[key], DecodingKey::from_ed_der(key)))
    }

    /// From modulus and exponent, big-endian; leading zeros are dropped.
    pub fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Result<Self, KeyFault> {
        if !algorithm.is_rsa() {
            return Err(KeyFault::Algorithm(algorithm));
        }
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        check_rsa_size(n)?;
        let is_odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
        // Exponent 1 would make every padded digest its own signature; ring reads at most 33 bits, 32 are plenty.
        if !is_odd(n) || !is_odd(e) || e == [1] || e.len() > 4 {
            return Err(KeyFault::RsaParts);
        }
        Ok(Self::new(algorithm, &[n, e], DecodingKey::from_rsa_raw_components(n, e)))
    }

    pub fn hmac(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyFault> {
        check_hmac(algorithm, secret, HMAC_BYTES_MIN)?;
        Ok(Self::new(algorithm, &[secret], DecodingKey::from_secret(secret)))
    }

    /// For legacy tokens alone, whose secrets others chose: of any length up to [`HMAC_BYTES_MAX`], but not empty.
    pub(super) fn legacy_hmac(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyFault> {
        check_hmac(algorithm, secret, 1)?;
        Ok(Self::new(algorithm, &[secret], DecodingKey::from_secret(secret)))
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

    fn new(algorithm: Algorithm, parts: &[&[u8]], key: DecodingKey) -> Self {
        provider::install();
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(algorithm.name().as_bytes());
        for part in parts {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut identity = [0; 32];
        identity.copy_from_slice(hash.finish().as_ref());
        Self { algorithm, key, identity }
    }

    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` is this key's over `message`: in base64url without padding, and before that in the raw form of RFC 7518
    /// (ECDSA: r ‖ s, never DER).
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message, &self.key, jwt_algorithm(self.algorithm)).unwrap_or(false)
    }

    /// Equal for equal keys with the same algorithm. Not for publication: for an HMAC key it is a hash of the secret.
    pub(super) const fn identity(&self) -> &[u8; 32] {
        &self.identity
    }

    /// `None` for an HMAC key: it is never published, and its thumbprint would be a hash of the secret.
    fn public_jwk(&self) -> Option<Jwk> {
        if self.algorithm.is_symmetric() {
            return None;
        }
        Jwk::from_decoding_key(&self.key, Some(jwt_algorithm(self.algorithm))).ok()
    }

    /// The public JWK (RFC 7517) under this `kid`; `None` for an HMAC key.
    #[must_use]
    pub fn jwk(&self, kid: &str) -> Option<Value> {
        let mut jwk = self.public_jwk()?;
        jwk.common.key_id = Some(kid.to_owned());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        serde_json::to_value(jwk).ok()
    }

    /// The SHA-256 thumbprint in base64url (RFC 7638); `None` for an HMAC key.
    #[must_use]
    pub fn thumbprint(&self) -> Option<String> {
        self.public_jwk()?.thumbprint(ThumbprintHash::SHA256).ok()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Makes signatures of one algorithm, by jsonwebtoken.
pub struct SigningKey {
    algorithm: Algorithm,
    key: EncodingKey,
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
        let key = match algorithm {
            Algorithm::Es256 | Algorithm::Es384 => EncodingKey::from_ec_der(der),
            Algorithm::EdDsa => EncodingKey::from_ed_der(der),
            Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 | Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 => {
                check_rsa_size(der::private_rsa_modulus(der).ok_or(KeyFault::Damaged)?)?;
                EncodingKey::from_rsa_der(der)
            }
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return Err(KeyFault::Algorithm(algorithm)),
        };
        let verifying = match Pair::parse(algorithm, der).map_err(|_| KeyFault::Damaged)? {
            Pair::Ec(pair) => VerifyingKey::ec(algorithm, pair.public_key().as_ref())?,
            Pair::Ed25519(pair) => VerifyingKey::ed25519(pair.public_key().as_ref())?,
            Pair::Rsa(_, pair) => {
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                VerifyingKey::rsa(algorithm, &parts.n, &parts.e)?
            }
            Pair::Shared(_) => return Err(KeyFault::Algorithm(algorithm)),
        };
        Ok((Self { algorithm, key }, verifying))
    }

    pub fn hmac(algorithm: Algorithm, secret: &[u8]) -> Result<(Self, VerifyingKey), KeyFault> {
        let verifying = VerifyingKey::hmac(algorithm, secret)?;
        Ok((Self { algorithm, key: EncodingKey::from_secret(secret) }, verifying))
    }

    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The header of tokens of this key: their `typ`, its `alg`, and this `kid`.
    pub(super) fn header(&self, typ: &str, kid: &str) -> Header {
        Header { typ: Some(typ.to_owned()), kid: Some(kid.to_owned()), ..Header::new(jwt_algorithm(self.algorithm)) }
    }

    /// A JWT in compact form. The header must be one of [`SigningKey::header`].
    pub(super) fn encode(&self, header: &Header, claims: &impl Serialize) -> Result<String, SigningFailed> {
        jsonwebtoken::encode(header, claims, &self.key).map_err(|_| SigningFailed)
    }

    /// The signature over any message, in base64url without padding.
    pub fn sign(&self, message: &[u8]) -> Result<String, SigningFailed> {
        jsonwebtoken::crypto::sign(message, &self.key, jwt_algorithm(self.algorithm)).map_err(|_| SigningFailed)
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

fn check_hmac(algorithm: Algorithm, secret: &[u8], bytes_min: usize) -> Result<(), KeyFault> {
    if !algorithm.is_symmetric() {
        return Err(KeyFault::Algorithm(algorithm));
    }
    if (bytes_min..=HMAC_BYTES_MAX).contains(&secret.len()) { Ok(()) } else { Err(KeyFault::HmacSize { bytes: secret.len() }) }
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
