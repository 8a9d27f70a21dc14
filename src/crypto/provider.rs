//! ring as the crypto provider of jsonwebtoken and of rustls.
//!
//! jsonwebtoken asks it for a signer or a verifier on every call. It judges no key: a [`SigningKey`](super::key::SigningKey) and a
//! [`VerifyingKey`](super::key::VerifyingKey) are judged when they are made, and nothing else of this process holds jsonwebtoken's keys.

use std::sync::{Arc, Once};

use arc_swap::ArcSwapOption;
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, new_error};
use jsonwebtoken::jwk::ThumbprintHash;
use jsonwebtoken::signature::{self as jwt_signature, Signer, Verifier};
use jsonwebtoken::{DecodingKey, DecodingKeyKind, EncodingKey};
use ring::error::KeyRejected;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair, RsaPublicKeyComponents, UnparsedPublicKey};
use ring::{digest, hmac};

use crate::domain::algorithm::Algorithm;

/// Makes ring the provider of jsonwebtoken and rustls for the whole process. Again does no harm.
///
/// `main` calls it before anything speaks TLS. Every key calls it when it is made, so that no key exists without a provider.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // An error says that one is installed already: ours, as no other is linked in.
        let _ = PROVIDER.install_default();
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(RingSigner::new(*algorithm, key)?)),
    verifier_factory: |algorithm, key| Ok(Box::new(RingVerifier::new(*algorithm, key)?)),
    key_utils: KeyUtils {
        compute_digest: |data, hash| match hash {
            ThumbprintHash::SHA256 => Ok(digest::digest(&digest::SHA256, data).as_ref().to_vec()),
            _ => Err(new_error(ErrorKind::UnsupportedAlgorithm)),
        },
        // JWKs are made of public keys whose parts are known; the private halves are not taken apart a second time.
        rsa_pub_components_from_private_key: |_| Err(new_error(ErrorKind::InvalidKeyFormat)),
        rsa_pub_components_from_public_key: |_| Err(new_error(ErrorKind::InvalidKeyFormat)),
        ec_pub_components_from_private_key: |_, _| Err(new_error(ErrorKind::InvalidKeyFormat)),
        ed_pub_components_from_private_key: |_, _| Err(new_error(ErrorKind::InvalidKeyFormat)),
    },
};

/// The algorithm by jsonwebtoken's name.
pub(super) const fn jwt_algorithm(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::Es384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::Rs384 => jsonwebtoken::Algorithm::RS384,
        Algorithm::Rs512 => jsonwebtoken::Algorithm::RS512,
        Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::Ps384 => jsonwebtoken::Algorithm::PS384,
        Algorithm::Ps512 => jsonwebtoken::Algorithm::PS512,
        Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
        Algorithm::Hs384 => jsonwebtoken::Algorithm::HS384,
        Algorithm::Hs512 => jsonwebtoken::Algorithm::HS512,
    }
}

/// The algorithm by our name, if a key of this family can serve it. jsonwebtoken leaves this check to its provider.
fn our_algorithm(algorithm: jsonwebtoken::Algorithm, family: jsonwebtoken::AlgorithmFamily) -> Result<Algorithm, Error> {
    let ours = Algorithm::ALL.into_iter().find(|ours| jwt_algorithm(*ours) == algorithm);
    let ours = ours.ok_or_else(|| new_error(ErrorKind::UnsupportedAlgorithm))?;
    if algorithm.family() == family { Ok(ours) } else { Err(new_error(ErrorKind::InvalidKeyFormat)) }
}

/// A key that signs, as ring uses it.
pub(super) enum Pair {
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(&'static dyn signature::RsaEncoding, Box<RsaKeyPair>),
    Shared(hmac::Key),
}

impl Pair {
    /// From PKCS#8 (RFC 5958), or from the secret of an HMAC key.
    pub(super) fn parse(algorithm: Algorithm, key: &[u8]) -> Result<Self, KeyRejected> {
        let ecdsa = |signing| EcdsaKeyPair::from_pkcs8(signing, key, &SystemRandom::new()).map(Self::Ec);
        let rsa = |encoding| RsaKeyPair::from_pkcs8(key).map(|pair| Self::Rsa(encoding, Box::new(pair)));
        match algorithm {
            Algorithm::Es256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            // OpenSSL writes the private half alone; the public one is then computed, not trusted.
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).map(Self::Ed25519),
            Algorithm::Rs256 => rsa(&signature::RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&signature::RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&signature::RSA_PKCS1_SHA512),
            Algorithm::Ps256 => rsa(&signature::RSA_PSS_SHA256),
            Algorithm::Ps384 => rsa(&signature::RSA_PSS_SHA384),
            Algorithm::Ps512 => rsa(&signature::RSA_PSS_SHA512),
            Algorithm::Hs256 => Ok(Self::Shared(hmac::Key::new(hmac::HMAC_SHA256, key))),
            Algorithm::Hs384 => Ok(Self::Shared(hmac::Key::new(hmac::HMAC_SHA384, key))),
            Algorithm::Hs512 => Ok(Self::Shared(hmac::Key::new(hmac::HMAC_SHA512, key))),
        }
    }
}

/// A key that signs, parsed.
struct Prepared {
    key: EncodingKey,
    algorithm: Algorithm,
    pair: Pair,
    random: SystemRandom,
}

impl Prepared {
    fn is_of(&self, algorithm: Algorithm, key: &EncodingKey) -> bool {
        self.algorithm == algorithm && self.key.as_bytes() == key.as_bytes()
    }
}

struct RingSigner(Arc<Prepared>);

impl RingSigner {
    /// jsonwebtoken's key is bytes, and to parse them costs as much as a signature. A gateway signs with one key at a time, so the one
    /// that signed last is kept parsed.
    fn new(algorithm: jsonwebtoken::Algorithm, key: &EncodingKey) -> Result<Self, Error> {
        static LAST: ArcSwapOption<Prepared> = ArcSwapOption::const_empty();
        let algorithm = our_algorithm(algorithm, key.family())?;
        if let Some(last) = LAST.load().as_ref().filter(|last| last.is_of(algorithm, key)) {
            return Ok(Self(Arc::clone(last)));
        }
        let pair = Pair::parse(algorithm, key.as_bytes()).map_err(|_| new_error(ErrorKind::InvalidKeyFormat))?;
        let prepared = Arc::new(Prepared { key: key.clone(), algorithm, pair, random: SystemRandom::new() });
        LAST.store(Some(Arc::clone(&prepared)));
        Ok(Self(prepared))
    }
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, jwt_signature::Error> {
        let Prepared { pair, random, .. } = &*self.0;
        let failed = |_| jwt_signature::Error::new();
        match pair {
            Pair::Ec(pair) => pair.sign(random, message).map(|signature| signature.as_ref().to_vec()).map_err(failed),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(encoding, pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::Shared(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
        }
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        jwt_algorithm(self.0.algorithm)
    }
}

struct RingVerifier {
    algorithm: jsonwebtoken::Algorithm,
    key: PublicKey,
}

/// A key that verifies, as ring uses it.
enum PublicKey {
    /// An EC point or an Ed25519 key.
    Curve(UnparsedPublicKey<Vec<u8>>),
    Rsa(&'static signature::RsaParameters, RsaPublicKeyComponents<Vec<u8>>),
    Shared(hmac::Key),
}

impl RingVerifier {
    fn new(algorithm: jsonwebtoken::Algorithm, key: &DecodingKey) -> Result<Self, Error> {
        let ours = our_algorithm(algorithm, key.family())?;
        Ok(Self { algorithm, key: PublicKey::new(ours, key.kind())? })
    }
}

impl PublicKey {
    fn new(algorithm: Algorithm, key: &DecodingKeyKind) -> Result<Self, Error> {
        let bytes = || match key {
            DecodingKeyKind::SecretOrDer(bytes) => Ok(bytes),
            DecodingKeyKind::RsaModulusExponent { .. } => Err(new_error(ErrorKind::InvalidKeyFormat)),
        };
        let curve = |verification| Ok(Self::Curve(UnparsedPublicKey::new(verification, bytes()?.clone())));
        let shared = |hash| Ok(Self::Shared(hmac::Key::new(hash, bytes()?)));
        let rsa = |parameters| match key {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                Ok(Self::Rsa(parameters, RsaPublicKeyComponents { n: n.clone(), e: e.clone() }))
            }
            DecodingKeyKind::SecretOrDer(_) => Err(new_error(ErrorKind::InvalidKeyFormat)),
        };
        match algorithm {
            Algorithm::Es256 => curve(&signature::ECDSA_P256_SHA256_FIXED as &'static dyn signature::VerificationAlgorithm),
            Algorithm::Es384 => curve(&signature::ECDSA_P384_SHA384_FIXED),
            Algorithm::EdDsa => curve(&signature::ED25519),
            Algorithm::Rs256 => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Rs384 => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::Rs512 => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::Ps256 => rsa(&signature::RSA_PSS_2048_8192_SHA256),
            Algorithm::Ps384 => rsa(&signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::Ps512 => rsa(&signature::RSA_PSS_2048_8192_SHA512),
            Algorithm::Hs256 => shared(hmac::HMAC_SHA256),
            Algorithm::Hs384 => shared(hmac::HMAC_SHA384),
            Algorithm::Hs512 => shared(hmac::HMAC_SHA512),
        }
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), jwt_signature::Error> {
        let verified = match &self.key {
            PublicKey::Curve(key) => key.verify(message, signature),
            PublicKey::Rsa(parameters, key) => key.verify(parameters, message, signature),
            PublicKey::Shared(key) => hmac::verify(key, message, signature),
        };
        verified.map_err(|_| jwt_signature::Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.algorithm
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{Header, Validation, decode, encode};
    use serde_json::{Value, json};

    use super::*;
    use crate::crypto::testing::{self, Fixture, KID};

    #[test]
    fn installing_it_again_does_no_harm() {
        install();
        install();
    }

    #[test]
    fn jsonwebtoken_decodes_our_tokens() {
        for algorithm in Algorithm::ALL {
            let fixture = Fixture::new(algorithm);
            let token = testing::token(&fixture.key, testing::header(algorithm), testing::claims());
            let key = match fixture.verifying.jwk(KID) {
                Some(jwk) => DecodingKey::from_jwk(&serde_json::from_value::<Jwk>(jwk).unwrap()).unwrap(),
                None => DecodingKey::from_secret(&[7; 64]),
            };
            let mut rules = Validation::new(jwt_algorithm(algorithm));
            rules.validate_exp = false;
            rules.validate_aud = false;
            let read = decode::<Value>(&token, &key, &rules).unwrap();
            assert_eq!(read.claims, testing::claims(), "{algorithm}");
            let forged = token.replace('.', "A.");
            assert!(decode::<Value>(&forged, &key, &rules).is_err(), "{algorithm}");
        }
    }

    #[test]
    fn a_key_of_another_family_is_refused() {
        install();
        let secret = EncodingKey::from_secret(&[7; 64]);
        let (es256, hs256) = (jsonwebtoken::Algorithm::ES256, jsonwebtoken::Algorithm::HS256);
        assert!(RingSigner::new(es256, &secret).is_err() && RingSigner::new(hs256, &secret).is_ok());
        assert!(encode(&Header::new(es256), &json!({}), &secret).is_err());
        let (point, parts) = (DecodingKey::from_ec_der(&[4; 65]), DecodingKey::from_rsa_raw_components(&[1; 256], &[3]));
        assert!(RingVerifier::new(hs256, &point).is_err() && RingVerifier::new(es256, &point).is_ok());
        assert!(RingVerifier::new(es256, &parts).is_err());
        let der = DecodingKey::from_rsa_der(&[0x30; 256]);
        assert!(RingVerifier::new(jsonwebtoken::Algorithm::RS256, &der).is_err(), "RSA keys are given by their parts");
    }

    #[test]
    fn keys_that_sign_in_turn_each_make_their_own_signature() {
        install();
        let keys = [EncodingKey::from_secret(&[1; 64]), EncodingKey::from_secret(&[2; 64])];
        let signatures = [0, 1, 0, 1, 1, 0].map(|key: usize| {
            let both = [jsonwebtoken::Algorithm::HS256, jsonwebtoken::Algorithm::HS512];
            both.map(|algorithm| jsonwebtoken::crypto::sign(b"message", &keys[key], algorithm).unwrap())
        });
        assert_eq!([&signatures[0], &signatures[0]], [&signatures[2], &signatures[5]]);
        assert_eq!([&signatures[1], &signatures[1]], [&signatures[3], &signatures[4]]);
        assert_ne!(signatures[0], signatures[1]);
        assert_ne!(signatures[0][0], signatures[0][1]);
    }
}
