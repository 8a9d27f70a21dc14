//! Keys and tokens that tests make themselves.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use serde_json::{Value, json};

use super::key::{SigningKey, VerifyingKey};
use super::keyring::KeyRing;
use super::verifier::{Verified, Verifier};
use crate::domain::algorithm::Algorithm;
use crate::domain::claim_policy::ClaimPolicy;
use crate::domain::ids::SessionId;
use crate::domain::time::Timestamp;

pub(crate) const NOW: i64 = 1_700_000_000;
pub(super) const ISSUER: &str = "https://gate.example";
pub(super) const KID: &str = "key-1";

pub(super) fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

/// A key of the algorithm: fresh for curves, fixed for RSA (ring makes none) and HMAC.
pub(super) fn key(algorithm: Algorithm) -> (SigningKey, VerifyingKey) {
    let random = ring::rand::SystemRandom::new();
    let made = match algorithm {
        Algorithm::Es256 => {
            let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            SigningKey::from_pkcs8(der.as_ref())
        }
        Algorithm::Es384 => {
            let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
            SigningKey::from_pkcs8(der.as_ref())
        }
        Algorithm::EdDsa => SigningKey::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()),
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => SigningKey::hmac(algorithm, &[7; 64]),
        Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 | Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 => {
            SigningKey::from_pkcs8_as(algorithm, &rsa_pkcs8())
        }
    };
    made.unwrap()
}

/// A 2048-bit key made with `openssl genpkey`, for these tests alone.
pub(super) fn rsa_pkcs8() -> Vec<u8> {
    let text: String = include_str!("testing/rsa-2048.pem").lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(text).unwrap()
}

pub(super) fn ring(algorithm: Algorithm) -> KeyRing {
    let (signing, verifying) = key(algorithm);
    KeyRing::single(KID, signing, verifying)
}

pub(super) fn policy() -> ClaimPolicy {
    ClaimPolicy::own(ISSUER, &["api".to_owned()], Duration::from_secs(900))
}

pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "user-1", "aud": "api", "exp": NOW + 900, "iat": NOW, "jti": "t1",
        "sid": SessionId::from_bytes([3; 16]), "gen": 1,
    })
}

pub(super) fn header(algorithm: Algorithm) -> Value {
    json!({"typ": "at+jwt", "alg": algorithm.name(), "kid": KID})
}

#[expect(clippy::needless_pass_by_value, reason = "tests read better without the ampersands")]
/// A token with exactly this header and payload, signed by the key whatever they say.
pub(super) fn token(key: &SigningKey, header: impl ToString, payload: impl ToString) -> String {
    let text = |part: String| URL_SAFE_NO_PAD.encode(part);
    let signed = format!("{}.{}", text(header.to_string()), text(payload.to_string()));
    format!("{signed}.{}", key.sign(signed.as_bytes()).unwrap())
}

/// A token of ours of this session, issued and ending so many seconds after [`NOW`].
pub(crate) fn verified(session: SessionId, issued: i64, expires: i64) -> Verified {
    let fixture = Fixture::new(Algorithm::Hs256);
    let mut claims = claims();
    claims["sid"] = json!(session);
    claims["iat"] = json!(NOW + issued);
    claims["exp"] = json!(NOW + expires);
    fixture.verifier.verify(&token(&fixture.key, header(Algorithm::Hs256), claims), now()).unwrap()
}

/// A key, with a verifier that trusts it under [`policy`].
pub(super) struct Fixture {
    pub(super) key: SigningKey,
    pub(super) verifying: Arc<VerifyingKey>,
    pub(super) verifier: Verifier,
}

impl Fixture {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let (key, verifying) = key(algorithm);
        let verifying = Arc::new(verifying);
        let verifier = Verifier::new().with_keys([(Some(KID), &verifying)].into_iter(), policy());
        Self { key, verifying, verifier }
    }

    /// Whether a token with this header and these claims, well signed, is let in.
    pub(super) fn admits(&self, header: impl ToString, payload: impl ToString) -> bool {
        self.accepts(&token(&self.key, header, payload))
    }

    pub(super) fn accepts(&self, token: &str) -> bool {
        self.verifier.verify(token, now()).is_ok()
    }
}
