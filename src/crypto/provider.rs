//! ring as jsonwebtoken's crypto provider, and as rustls' one.
//!
//! The gateway's own tokens take the same [`SigningKey`] and [`VerifyingKey`] without this detour: jsonwebtoken parses key and header
//! anew on every call. It stands here so that whatever else speaks jsonwebtoken in this process uses the same rules: one crypto
//! stack, no weak key.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, new_error};
use jsonwebtoken::jwk::{EllipticCurve, ThumbprintHash};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::digest;

use super::der::{self, PublicParts};
use super::key::{KeyFault, SigningKey, VerifyingKey};
use crate::domain::algorithm::Algorithm;

/// Makes ring the provider of jsonwebtoken and rustls for the whole process. Call it first thing in `main`; again does no harm.
pub fn install() {
    // An error says that one is installed already: ours, as no other is linked in.
    let _ = PROVIDER.install_default();
    let _ = rustls::crypto::ring::default_provider().install_default();
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(RingSigner(signing_key(*algorithm, key)?, *algorithm))),
    verifier_factory: |algorithm, key| Ok(Box::new(RingVerifier(verifying_key(*algorithm, key)?, *algorithm))),
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |der| {
            let (_, verifying) = SigningKey::from_rsa_der(Algorithm::Rs256, der).map_err(|fault| rsa_fault(&fault))?;
            verifying.rsa_parts().ok_or_else(|| new_error(ErrorKind::InvalidKeyFormat))
        },
        rsa_pub_components_from_public_key: |der| match der::rsa_public_key(der) {
            Some(PublicParts::Rsa { n, e }) => Ok((n.to_vec(), e.to_vec())),
            Some(PublicParts::Ec(..) | PublicParts::Ed25519(_)) | None => Err(new_error(ErrorKind::InvalidKeyFormat)),
        },
        ec_pub_components_from_private_key: |der, algorithm| {
            let (ours, curve) = match algorithm {
                jsonwebtoken::Algorithm::ES256 => (Algorithm::Es256, EllipticCurve::P256),
                jsonwebtoken::Algorithm::ES384 => (Algorithm::Es384, EllipticCurve::P384),
                _ => return Err(new_error(ErrorKind::InvalidEcdsaKey)),
            };
            let (_, verifying) = SigningKey::from_pkcs8_as(ours, der).map_err(|_| ErrorKind::InvalidEcdsaKey)?;
            let point = verifying.curve_bytes().ok_or_else(|| new_error(ErrorKind::InvalidEcdsaKey))?;
            let (x, y) = point[1..].split_at(point.len() / 2);
            Ok((curve, x.to_vec(), y.to_vec()))
        },
        ed_pub_components_from_private_key: |der, curve| {
            if *curve != EllipticCurve::Ed25519 {
                return Err(new_error(ErrorKind::InvalidAlgorithm));
            }
            let (_, verifying) = SigningKey::from_pkcs8_as(Algorithm::EdDsa, der).map_err(|_| ErrorKind::InvalidEddsaKey)?;
            verifying.curve_bytes().map(<[u8]>::to_vec).ok_or_else(|| new_error(ErrorKind::InvalidEddsaKey))
        },
        compute_digest: |data, hash| {
            let algorithm = match hash {
                ThumbprintHash::SHA256 => &digest::SHA256,
                ThumbprintHash::SHA384 => &digest::SHA384,
                ThumbprintHash::SHA512 => &digest::SHA512,
                _ => return Err(new_error(ErrorKind::UnsupportedAlgorithm)),
            };
            Ok(digest::digest(algorithm, data).as_ref().to_vec())
        },
    },
};

struct RingSigner(SigningKey, jsonwebtoken::Algorithm);

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        self.0.sign(message).map_err(signature::Error::from_source)
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.1
    }
}

struct RingVerifier(VerifyingKey, jsonwebtoken::Algorithm);

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        if self.0.verify(message, signature) { Ok(()) } else { Err(signature::Error::new()) }
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.1
    }
}

fn signing_key(algorithm: jsonwebtoken::Algorithm, key: &EncodingKey) -> Result<SigningKey, Error> {
    let ours = our_algorithm(algorithm, key.family())?;
    let made = match key.family() {
        AlgorithmFamily::Hmac => SigningKey::hmac(ours, key.as_bytes()),
        AlgorithmFamily::Rsa => SigningKey::from_rsa_der(ours, key.as_bytes()),
        AlgorithmFamily::Ec | AlgorithmFamily::Ed => SigningKey::from_pkcs8_as(ours, key.as_bytes()),
    };
    made.map(|(signing, _)| signing).map_err(|fault| provider_fault(&fault))
}

fn verifying_key(algorithm: jsonwebtoken::Algorithm, key: &DecodingKey) -> Result<VerifyingKey, Error> {
    let ours = our_algorithm(algorithm, key.family())?;
    let made = match (key.family(), key.kind()) {
        (AlgorithmFamily::Hmac, DecodingKeyKind::SecretOrDer(secret)) => VerifyingKey::hmac(ours, secret),
        (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(point)) => VerifyingKey::ec(ours, point),
        (AlgorithmFamily::Ed, DecodingKeyKind::SecretOrDer(point)) => VerifyingKey::ed25519(point),
        (AlgorithmFamily::Rsa, DecodingKeyKind::RsaModulusExponent { n, e }) => VerifyingKey::rsa(ours, n, e),
        (AlgorithmFamily::Rsa, DecodingKeyKind::SecretOrDer(der)) => match der::rsa_public_key(der) {
            Some(PublicParts::Rsa { n, e }) => VerifyingKey::rsa(ours, n, e),
            Some(PublicParts::Ec(..) | PublicParts::Ed25519(_)) | None => Err(KeyFault::Damaged),
        },
        (AlgorithmFamily::Hmac | AlgorithmFamily::Ec | AlgorithmFamily::Ed, DecodingKeyKind::RsaModulusExponent { .. }) => {
            Err(KeyFault::Kind)
        }
    };
    made.map_err(|fault| provider_fault(&fault))
}

/// The algorithm under our name, provided that the key is of its family.
fn our_algorithm(algorithm: jsonwebtoken::Algorithm, family: AlgorithmFamily) -> Result<Algorithm, Error> {
    let ours = match algorithm {
        jsonwebtoken::Algorithm::HS256 => Algorithm::Hs256,
        jsonwebtoken::Algorithm::HS384 => Algorithm::Hs384,
        jsonwebtoken::Algorithm::HS512 => Algorithm::Hs512,
        jsonwebtoken::Algorithm::ES256 => Algorithm::Es256,
        jsonwebtoken::Algorithm::ES384 => Algorithm::Es384,
        jsonwebtoken::Algorithm::RS256 => Algorithm::Rs256,
        jsonwebtoken::Algorithm::RS384 => Algorithm::Rs384,
        jsonwebtoken::Algorithm::RS512 => Algorithm::Rs512,
        jsonwebtoken::Algorithm::PS256 => Algorithm::Ps256,
        jsonwebtoken::Algorithm::PS384 => Algorithm::Ps384,
        jsonwebtoken::Algorithm::PS512 => Algorithm::Ps512,
        jsonwebtoken::Algorithm::EdDSA => Algorithm::EdDsa,
        _ => return Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    };
    if algorithm.family() == family { Ok(ours) } else { Err(new_error(ErrorKind::InvalidKeyFormat)) }
}

fn provider_fault(fault: &KeyFault) -> Error {
    new_error(ErrorKind::Provider(fault.to_string()))
}

fn rsa_fault(fault: &KeyFault) -> Error {
    new_error(ErrorKind::InvalidRsaKey(fault.to_string()))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{Header, Validation, decode, encode};
    use serde_json::{Value, json};

    use super::*;
    use crate::crypto::key_files::ED25519_PKCS8;
    use crate::crypto::testing::{self, Fixture, KID, rsa_pkcs8};

    fn pem(der: &[u8]) -> String {
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
    }

    #[test]
    fn installing_it_again_does_no_harm() {
        install();
        install();
    }

    #[test]
    fn jsonwebtoken_reads_our_tokens_through_it() {
        install();
        for algorithm in Algorithm::ALL {
            let fixture = Fixture::new(algorithm);
            let token = testing::token(&fixture.key, testing::header(algorithm), testing::claims());
            let key = match fixture.verifying.jwk(KID) {
                Some(jwk) => DecodingKey::from_jwk(&serde_json::from_value::<Jwk>(jwk).unwrap()).unwrap(),
                None => DecodingKey::from_secret(&[7; 64]),
            };
            let mut rules = Validation::new(algorithm.name().parse().unwrap());
            rules.validate_exp = false;
            rules.validate_aud = false;
            let read = decode::<Value>(&token, &key, &rules).unwrap();
            assert_eq!(read.claims, testing::claims(), "{algorithm}");
            let forged = token.replace('.', "A.");
            assert!(decode::<Value>(&forged, &key, &rules).is_err(), "{algorithm}");
        }
    }

    #[test]
    fn we_read_the_tokens_that_jsonwebtoken_writes_through_it() {
        install();
        let random = ring::rand::SystemRandom::new();
        let ec =
            ring::signature::EcdsaKeyPair::generate_pkcs8(&ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ed = [ED25519_PKCS8.as_slice(), &[9; 32]].concat();
        let rsa = rsa_pkcs8();
        let keys = [
            (Algorithm::Es256, EncodingKey::from_ec_pem(pem(ec.as_ref()).as_bytes()).unwrap(), ec.as_ref()),
            (Algorithm::EdDsa, EncodingKey::from_ed_pem(pem(&ed).as_bytes()).unwrap(), &ed),
            (Algorithm::Rs256, EncodingKey::from_rsa_pem(pem(&rsa).as_bytes()).unwrap(), &rsa),
            (Algorithm::Ps512, EncodingKey::from_rsa_pem(pem(&rsa).as_bytes()).unwrap(), &rsa),
        ];
        for (algorithm, encoding, der) in keys {
            let named = algorithm.name().parse().unwrap();
            let token = encode(&Header::new(named), &json!({"a": 1}), &encoding).unwrap();
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let (_, verifying) = SigningKey::from_pkcs8_as(algorithm, der).unwrap();
            assert!(verifying.verify(signed.as_bytes(), &signature), "{algorithm}");

            let jwk = serde_json::to_value(Jwk::from_encoding_key(&encoding, named).unwrap()).unwrap();
            let ours = verifying.jwk("k").unwrap();
            for member in ["kty", "crv", "x", "y", "n", "e"] {
                assert_eq!(jwk.get(member), ours.get(member), "{algorithm}: {member}");
            }
            let thumbprint = serde_json::from_value::<Jwk>(ours).unwrap().thumbprint(ThumbprintHash::SHA256).unwrap();
            assert_eq!(Some(thumbprint), verifying.thumbprint(), "{algorithm}");
        }
    }

    #[test]
    fn weak_and_mismatched_keys_are_refused_here_too() {
        install();
        let rules = Validation::new(jsonwebtoken::Algorithm::HS256);
        let weak = EncodingKey::from_secret(b"short");
        assert!(encode(&Header::default(), &json!({}), &weak).is_err());
        let fixture = Fixture::new(Algorithm::Hs256);
        let token = testing::token(&fixture.key, testing::header(Algorithm::Hs256), testing::claims());
        assert!(decode::<Value>(&token, &DecodingKey::from_secret(b"short"), &rules).is_err());
        assert!(decode::<Value>(&token, &DecodingKey::from_ec_der(&[4; 65]), &rules).is_err());
    }
}
