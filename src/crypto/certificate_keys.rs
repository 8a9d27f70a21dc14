//! Keys that certificates may have, and what is wrong with others, in words for operators.

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{self, PemObject as _};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// What keys can be used, as faults name it.
const ALLOWED: &str = "allowed are RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384, and Ed25519";

/// The sizes of RSA keys that can be used, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// A kind of key that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}; {ALLOWED}")]
pub struct UnusableKind(String);

/// Why a file holds no private key that can be read. Nothing of a key is in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileFault {
    #[error("holds a key that is encrypted with a password: decrypt it with `openssl pkey -in OLD -out NEW`")]
    Encrypted,
    #[error("holds an OpenSSH key: convert a copy with `ssh-keygen -p -N '' -m PKCS8 -f COPY`")]
    OpenSsh,
    #[error("holds no PRIVATE KEY section")]
    None,
    #[error("holds no PEM that can be read: {0}")]
    Pem(pem::Error),
}

/// # Errors
/// The key of a certificate is of a kind that cannot be used.
pub(super) fn check(key: &SubjectPublicKeyInfo<'_>) -> Result<(), UnusableKind> {
    let unusable = |what: String| Err(UnusableKind(what));
    let algorithm = key.algorithm.algorithm.to_id_string();
    match algorithm.as_str() {
        "1.2.840.113549.1.1.1" => match key.parsed() {
            Ok(PublicKey::RSA(rsa)) if RSA_BITS.contains(&rsa.key_size()) => Ok(()),
            Ok(PublicKey::RSA(rsa)) => unusable(format!("an RSA key of {} bits", rsa.key_size())),
            Ok(_) | Err(_) => unusable("an RSA key that cannot be read".to_owned()),
        },
        "1.2.840.10045.2.1" => {
            let curve = key.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok()).map(|curve| curve.to_id_string());
            match curve.as_deref() {
                Some("1.2.840.10045.3.1.7" | "1.3.132.0.34") => Ok(()),
                Some("1.3.132.0.35") => unusable("an ECDSA key on P-521".to_owned()),
                Some("1.3.132.0.10") => unusable("an ECDSA key on secp256k1".to_owned()),
                Some(other) => unusable(format!("an ECDSA key on the curve {other}")),
                None => unusable("an ECDSA key on a curve without a name".to_owned()),
            }
        }
        "1.3.101.112" => Ok(()),
        "1.3.101.113" => unusable("an Ed448 key".to_owned()),
        "1.2.840.113549.1.1.10" => unusable("an RSA key for PSS alone".to_owned()),
        "1.2.840.10040.4.1" => unusable("a DSA key".to_owned()),
        other => unusable(format!("a key of the algorithm {other}")),
    }
}

/// The private key of a PEM file.
///
/// # Errors
/// Why there is none.
pub(super) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, KeyFileFault> {
    let holds = |text: &[u8]| memchr::memmem::find(pem, text).is_some();
    if holds(b"BEGIN ENCRYPTED PRIVATE KEY") || holds(b"Proc-Type: 4,ENCRYPTED") {
        return Err(KeyFileFault::Encrypted);
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound if holds(b"BEGIN OPENSSH PRIVATE KEY") => KeyFileFault::OpenSsh,
        pem::Error::NoItemsFound => KeyFileFault::None,
        error => KeyFileFault::Pem(error),
    })
}
