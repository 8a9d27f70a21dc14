//! As much DER as public keys need: definite, minimal lengths only (X.690, section 10.1).

/// What kind of key an `AlgorithmIdentifier` names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KeyKind {
    P256,
    P384,
    Ed25519,
    Rsa,
}

/// The bytes of a public key, by kind.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum PublicParts<'a> {
    /// An uncompressed point; its length is not checked here.
    Ec(KeyKind, &'a [u8]),
    Ed25519(&'a [u8]),
    /// Modulus and exponent, big-endian, without leading zeros.
    Rsa {
        n: &'a [u8],
        e: &'a [u8],
    },
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const NULL: &[u8] = &[0x05, 0x00];

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const PRIME256V1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const SECP384R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Reads a `SubjectPublicKeyInfo` (RFC 5280, section 4.1): the inside of a PEM `PUBLIC KEY`.
pub(super) fn public_key_info(der: &[u8]) -> Option<PublicParts<'_>> {
    let info = whole(SEQUENCE, der)?;
    let (algorithm, rest) = element(SEQUENCE, info)?;
    let bits = whole(BIT_STRING, rest)?;
    let (&0, key) = bits.split_first()? else { return None };
    match key_kind(algorithm)? {
        kind @ (KeyKind::P256 | KeyKind::P384) => Some(PublicParts::Ec(kind, key)),
        KeyKind::Ed25519 => Some(PublicParts::Ed25519(key)),
        KeyKind::Rsa => rsa_public_key(key),
    }
}

/// Reads an `RSAPublicKey` (RFC 8017, appendix A.1.1).
fn rsa_public_key(der: &[u8]) -> Option<PublicParts<'_>> {
    let (n, rest) = positive(whole(SEQUENCE, der)?)?;
    let (e, rest) = positive(rest)?;
    rest.is_empty().then_some(PublicParts::Rsa { n, e })
}

/// Tells what kind of key a PKCS#8 `PrivateKeyInfo` (RFC 5958) holds; the key itself is for ring to judge.
pub(super) fn private_key_kind(der: &[u8]) -> Option<KeyKind> {
    let info = whole(SEQUENCE, der)?;
    let (_version, rest) = element(INTEGER, info)?;
    let (algorithm, _) = element(SEQUENCE, rest)?;
    key_kind(algorithm)
}

/// The modulus of an RSA key in PKCS#8, so that a refusal can name its size.
pub(super) fn private_rsa_modulus(der: &[u8]) -> Option<&[u8]> {
    let (_version, rest) = element(INTEGER, whole(SEQUENCE, der)?)?;
    let (_algorithm, rest) = element(SEQUENCE, rest)?;
    let (key, _) = element(OCTET_STRING, rest)?;
    let (_version, rest) = element(INTEGER, whole(SEQUENCE, key)?)?;
    positive(rest).map(|(n, _)| n)
}

fn key_kind(algorithm: &[u8]) -> Option<KeyKind> {
    let (id, parameters) = element(OBJECT_ID, algorithm)?;
    if id == RSA_ENCRYPTION {
        return (parameters == NULL).then_some(KeyKind::Rsa);
    }
    if id == ED25519 {
        return parameters.is_empty().then_some(KeyKind::Ed25519);
    }
    if id != EC_PUBLIC_KEY {
        return None;
    }
    let curve = whole(OBJECT_ID, parameters)?;
    if curve == PRIME256V1 {
        Some(KeyKind::P256)
    } else if curve == SECP384R1 {
        Some(KeyKind::P384)
    } else {
        None
    }
}

/// A positive INTEGER without its sign byte, and what follows it.
fn positive(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (value, rest) = element(INTEGER, input)?;
    let magnitude = match value {
        [0, next, ..] if *next >= 0x80 => &value[1..],
        [first, ..] if *first != 0 && *first < 0x80 => value,
        _ => return None,
    };
    Some((magnitude, rest))
}

/// The content of the one element that `input` is.
fn whole(tag: u8, input: &[u8]) -> Option<&[u8]> {
    let (content, rest) = element(tag, input)?;
    rest.is_empty().then_some(content)
}

/// The content of the first element, and what follows it.
fn element(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&len, rest) = rest.split_first()?;
            (len >= 0x80).then_some((usize::from(len), rest))?
        }
        0x82 => {
            let (len, rest) = rest.split_first_chunk::<2>()?;
            let len = u16::from_be_bytes(*len);
            (len >= 0x100).then_some((usize::from(len), rest))?
        }
        _ => return None,
    };
    (found == tag && rest.len() >= len).then(|| rest.split_at(len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `SEQUENCE { INTEGER n, INTEGER e }`.
    const RSA: &[u8] = &[0x30, 0x09, 0x02, 0x02, 0x00, 0x81, 0x02, 0x03, 0x01, 0x00, 0x01];

    #[test]
    fn an_rsa_key_is_read_without_its_sign_bytes() {
        assert_eq!(rsa_public_key(RSA), Some(PublicParts::Rsa { n: &[0x81], e: &[1, 0, 1] }));
    }

    #[test]
    fn lengths_that_are_not_minimal_and_spare_bytes_are_refused() {
        assert_eq!(rsa_public_key(&[0x30, 0x81, 0x09, 0x02, 0x02, 0x00, 0x81, 0x02, 0x03, 0x01, 0x00, 0x01]), None);
        assert_eq!(rsa_public_key(&[RSA, &[0]].concat()), None);
        assert_eq!(rsa_public_key(&RSA[..RSA.len() - 1]), None);
        assert_eq!(rsa_public_key(&[0x30, 0x06, 0x02, 0x01, 0x81, 0x02, 0x01, 0x03]), None, "a negative modulus");
        assert_eq!(rsa_public_key(&[0x30, 0x07, 0x02, 0x02, 0x00, 0x01, 0x02, 0x01, 0x03]), None, "a needless sign byte");
        assert_eq!(rsa_public_key(&[0x30, 0x80, 0x02, 0x01, 0x01, 0x02, 0x01, 0x03, 0, 0]), None, "an indefinite length");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = public_key_info(&bytes);
            let _ = private_key_kind(&bytes);
        }
    }
}
