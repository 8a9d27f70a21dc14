//! Other issuers' keys: JWK Sets (RFC 7517), read strictly where it matters and with patience where it does not.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::key::{KeyFault, VerifyingKey};
use crate::domain::algorithm::Algorithm;
use crate::domain::json::{self, JsonError};

/// The largest document that is read, in bytes.
pub const JWKS_BYTES_MAX: usize = 256 * 1024;
/// The most keys that a set may hold.
pub const JWKS_KEYS_MAX: usize = 128;
const JWKS_DEPTH_MAX: u8 = 8;
/// The longest foreign `kid` that is taken, in bytes.
const KID_BYTES_MAX: usize = 512;

/// The usable keys of one issuer. Immutable.
#[derive(Clone, Debug, Default)]
pub struct ForeignKeys {
    keys: Vec<ForeignKey>,
    skipped: Vec<SkippedKey>,
}

#[derive(Clone, Debug)]
pub struct ForeignKey {
    /// `None`: the key is used for tokens that name none.
    pub kid: Option<Box<str>>,
    pub key: Arc<VerifyingKey>,
}

/// A key of the set that is not used, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SkippedKey {
    pub kid: Option<Box<str>>,
    pub reason: SkipReason,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SkipReason {
    #[error("is malformed")]
    Malformed,
    #[error("is of an unknown kty or crv")]
    UnknownKind,
    #[error("is not for verifying signatures")]
    OtherUse,
    #[error("is for an algorithm that is not allowed for this issuer")]
    AlgorithmNotAllowed,
    #[error("names no algorithm, and several that are allowed would fit")]
    AlgorithmAmbiguous,
    #[error("is symmetric, and these keys are published")]
    Symmetric,
    #[error("{0}")]
    Fault(KeyFault),
}

/// Why a document is no key set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JwksError {
    #[error("the key set is larger than {JWKS_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the key set is {0}")]
    Json(#[from] JsonError),
    #[error("the key set has no list of keys")]
    NoList,
    #[error("the key set has more than {JWKS_KEYS_MAX} keys")]
    TooMany,
    #[error("the key set has no key")]
    Empty,
    #[error("the key set has no key that can be used: {0}")]
    NoneUsable(String),
}

/// Where a set comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JwksOrigin {
    /// A file of the operator's: may hold symmetric keys.
    File,
    /// Fetched from where anyone can read it: a symmetric key there is no secret, and is not used.
    Url,
}

impl ForeignKeys {
    /// Reads a set. Each key is fixed to one algorithm out of `allowed`: its own `alg`, or the only allowed one that fits its kind.
    /// Keys that are unknown, for another use or faulty are skipped and listed.
    ///
    /// # Errors
    /// Not a key set, beyond the bounds, or without any usable key.
    pub fn parse(document: &[u8], allowed: &[Algorithm], origin: JwksOrigin) -> Result<Self, JwksError> {
        if document.len() > JWKS_BYTES_MAX {
            return Err(JwksError::TooLarge);
        }
        let mut members = json::object(document, JWKS_DEPTH_MAX)?;
        let Some(Value::Array(list)) = members.get_mut("keys").map(Value::take) else { return Err(JwksError::NoList) };
        if list.is_empty() {
            return Err(JwksError::Empty);
        }
        if list.len() > JWKS_KEYS_MAX {
            return Err(JwksError::TooMany);
        }
        let mut set = Self::default();
        for entry in &list {
            let kid = entry.get("kid").and_then(Value::as_str).filter(|kid| kid.len() <= KID_BYTES_MAX).map(Box::from);
            match read_key(entry, allowed, origin) {
                Ok(key) => set.keys.push(ForeignKey { kid, key: Arc::new(key) }),
                Err(reason) => set.skipped.push(SkippedKey { kid, reason }),
            }
        }
        if set.keys.is_empty() {
            let reasons: Vec<String> = set.skipped.iter().map(ToString::to_string).collect();
            return Err(JwksError::NoneUsable(reasons.join("; ")));
        }
        Ok(set)
    }

    #[must_use]
    pub fn keys(&self) -> &[ForeignKey] {
        &self.keys
    }

    #[must_use]
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// Whether both hold the same keys under the same names.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let names = |set: &Self| set.keys.iter().map(|entry| (entry.kid.clone(), *entry.key.identity())).collect::<Vec<_>>();
        names(self) == names(other)
    }
}

impl fmt::Display for SkippedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kid {
            Some(kid) => write!(f, "key {kid:?} {}", self.reason),
            None => write!(f, "a key without kid {}", self.reason),
        }
    }
}

fn read_key(entry: &Value, allowed: &[Algorithm], origin: JwksOrigin) -> Result<VerifyingKey, SkipReason> {
    let Value::Object(jwk) = entry else { return Err(SkipReason::Malformed) };
    let is_kid_usable = text(jwk, "kid")?.is_none_or(|kid| kid.len() <= KID_BYTES_MAX);
    if !is_kid_usable {
        return Err(SkipReason::Malformed);
    }
    if text(jwk, "use")?.is_some_and(|purpose| purpose != "sig") || !may_verify(jwk)? {
        return Err(SkipReason::OtherUse);
    }
    let kty = text(jwk, "kty")?.ok_or(SkipReason::Malformed)?;
    let fitting: &[Algorithm] = match (kty, text(jwk, "crv")?) {
        ("EC", Some("P-256")) => &[Algorithm::Es256],
        ("EC", Some("P-384")) => &[Algorithm::Es384],
        ("OKP", Some("Ed25519")) => &[Algorithm::EdDsa],
        ("RSA", _) => {
            &[Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256, Algorithm::Ps384, Algorithm::Ps512]
        }
        ("oct", _) => &[Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512],
        _ => return Err(SkipReason::UnknownKind),
    };
    if kty == "oct" && origin == JwksOrigin::Url {
        return Err(SkipReason::Symmetric);
    }
    let algorithm = fixed_algorithm(text(jwk, "alg")?, fitting, allowed)?;
    let bytes = |name| bytes(jwk, name);
    match kty {
        "EC" => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            let width = if algorithm == Algorithm::Es256 { 32 } else { 48 };
            if x.len() != width || y.len() != width {
                return Err(SkipReason::Malformed);
            }
            VerifyingKey::ec(algorithm, &[&[4], x.as_slice(), y.as_slice()].concat())
        }
        "OKP" => VerifyingKey::ed25519(&bytes("x")?),
        "RSA" => VerifyingKey::rsa(algorithm, &bytes("n")?, &bytes("e")?),
        _ => VerifyingKey::hmac(algorithm, &bytes("k")?),
    }
    .map_err(SkipReason::Fault)
}

fn fixed_algorithm(named: Option<&str>, fitting: &[Algorithm], allowed: &[Algorithm]) -> Result<Algorithm, SkipReason> {
    let mut usable = fitting.iter().filter(|algorithm| allowed.contains(algorithm));
    if let Some(name) = named {
        return usable.find(|algorithm| algorithm.name() == name).copied().ok_or(SkipReason::AlgorithmNotAllowed);
    }
    match (usable.next(), usable.next()) {
        (Some(only), None) => Ok(*only),
        (Some(_), Some(_)) => Err(SkipReason::AlgorithmAmbiguous),
        (None, _) => Err(SkipReason::AlgorithmNotAllowed),
    }
}

/// `key_ops`, where it is there, must list `verify` (RFC 7517, section 4.3).
fn may_verify(jwk: &Map<String, Value>) -> Result<bool, SkipReason> {
    match jwk.get("key_ops") {
        None => Ok(true),
        Some(Value::Array(operations)) => Ok(operations.iter().any(|operation| operation == "verify")),
        Some(_) => Err(SkipReason::Malformed),
    }
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, SkipReason> {
    jwk.get(name).map(|value| value.as_str().ok_or(SkipReason::Malformed)).transpose()
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Zeroizing<Vec<u8>>, SkipReason> {
    let encoded = text(jwk, name)?.ok_or(SkipReason::Malformed)?;
    URL_SAFE_NO_PAD.decode(encoded).map(Zeroizing::new).map_err(|_| SkipReason::Malformed)
}

#[cfg(test)]
mod tests;
