//! The examples of the RFCs, and keys that must not be taken.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKeyKind;

use super::*;
use crate::crypto::testing::{self, rsa_pkcs8};

const RFC_7515_PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// Whether the key verifies the example, and nothing next to it.
fn verifies(key: &VerifyingKey, header: &str, payload: &str, signature: &str) -> bool {
    let signed = format!("{header}.{payload}");
    let mut wrong = bytes(signature);
    wrong[10] ^= 1;
    assert!(!key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.encode(wrong)));
    assert!(!key.verify(format!("{signed}A").as_bytes(), signature));
    for malformed in [&signature[1..], &format!("{signature}="), &format!("{signature}A"), "", "!"] {
        assert!(!key.verify(signed.as_bytes(), malformed), "{malformed}");
    }
    key.verify(signed.as_bytes(), signature)
}

fn point(key: &VerifyingKey) -> Vec<u8> {
    key.key.try_get_as_bytes().unwrap().to_vec()
}

#[test]
fn rfc_7515_a_1_hs256() {
    let secret = bytes("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow");
    let (signing, key) = SigningKey::hmac(Algorithm::Hs256, &secret).unwrap();
    let (header, signature) = ("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert!(verifies(&key, header, RFC_7515_PAYLOAD, signature));
    assert_eq!(signing.sign(format!("{header}.{RFC_7515_PAYLOAD}").as_bytes()).unwrap(), signature);
}

#[test]
fn rfc_7515_a_2_rs256() {
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs\
             D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV\
             MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t\
                     1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12j\
                     zDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ\
                     Ge77Rw";
    let key = VerifyingKey::rsa(Algorithm::Rs256, &bytes(n), &bytes("AQAB")).unwrap();
    assert!(verifies(&key, "eyJhbGciOiJSUzI1NiJ9", RFC_7515_PAYLOAD, signature));
    for other in [Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256] {
        let key = VerifyingKey::rsa(other, &bytes(n), &bytes("AQAB")).unwrap();
        assert!(!verifies(&key, "eyJhbGciOiJSUzI1NiJ9", RFC_7515_PAYLOAD, signature), "{other}");
    }
}

#[test]
fn rfc_7515_a_3_es256() {
    let (x, y) = ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    let key = VerifyingKey::ec(Algorithm::Es256, &[vec![4], bytes(x), bytes(y)].concat()).unwrap();
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert!(verifies(&key, "eyJhbGciOiJFUzI1NiJ9", RFC_7515_PAYLOAD, signature));
}

#[test]
fn rfc_8037_appendix_a_ed25519() {
    let seed = bytes("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    let der = [crate::crypto::key_files::ED25519_PKCS8.as_slice(), &seed].concat();
    let (signing, key) = SigningKey::from_pkcs8(&der).unwrap();
    assert_eq!(key.jwk("k").unwrap()["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    assert_eq!(key.thumbprint().unwrap(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "A.3");
    let (header, payload) = ("eyJhbGciOiJFZERTQSJ9", "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc");
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(signing.sign(format!("{header}.{payload}").as_bytes()).unwrap(), signature);
    assert!(verifies(&key, header, payload, signature));
}

#[test]
fn rfc_7638_thumbprint() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMst\
             n64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajr\
             n1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let key = VerifyingKey::rsa(Algorithm::Rs256, &bytes(n), &bytes("AQAB")).unwrap();
    assert_eq!(key.thumbprint().unwrap(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn a_point_must_be_on_its_curve_and_uncompressed() {
    let (_, key) = testing::key(Algorithm::Es256);
    let good = point(&key);
    let refused = |point: &[u8]| VerifyingKey::ec(Algorithm::Es256, point).unwrap_err() == KeyFault::NotOnCurve;
    assert!(VerifyingKey::ec(Algorithm::Es256, &good).is_ok());
    let mut off = good.clone();
    off[64] ^= 1;
    assert!(refused(&off));
    assert!(refused(&[&[0x02], &good[1..33]].concat()), "compressed");
    assert!(refused(&[&[0x06], &good[1..]].concat()), "hybrid");
    assert!(refused(&[0]), "the point at infinity");
    assert!(refused(&[&[4], [0; 64].as_slice()].concat()), "(0, 0)");
    assert!(refused(&[&[4], [0xff; 64].as_slice()].concat()), "coordinates beyond the field");
    assert!(refused(&good[1..]));
    assert!(refused(&[]));
    let (_, p384) = testing::key(Algorithm::Es384);
    assert!(refused(&point(&p384)), "a point of another curve");
    assert!(VerifyingKey::ec(Algorithm::Es384, &good).is_err());
}

#[test]
fn an_edwards_point_must_not_be_of_small_order() {
    for y in SMALL_ORDER_Y {
        for sign in [0, 0x80] {
            let mut point = y;
            point[31] |= sign;
            assert_eq!(VerifyingKey::ed25519(&point).unwrap_err(), KeyFault::SmallOrder, "{point:02x?}");
        }
    }
    for low in 0xed..=0xff {
        let mut point = [0xff; 32];
        point[0] = low;
        point[31] = 0x7f;
        assert_eq!(VerifyingKey::ed25519(&point).unwrap_err(), KeyFault::NotOnCurve, "a second spelling of {}", low - 0xed);
    }
    assert!(VerifyingKey::ed25519(&[9; 31]).is_err());
    assert!(VerifyingKey::ed25519(&[9; 33]).is_err());
}

#[test]
fn an_rsa_key_must_be_large_and_plausible() {
    let (_, good) = testing::key(Algorithm::Rs256);
    let DecodingKeyKind::RsaModulusExponent { n, e } = good.key.kind() else { panic!("an RSA key") };
    let rsa = |n: &[u8], e: &[u8]| VerifyingKey::rsa(Algorithm::Rs256, n, e).map(|_| ());
    assert_eq!(rsa(n, e), Ok(()));
    assert_eq!(rsa(&[&[0], n.as_slice()].concat(), &[0, 1, 0, 1]), Ok(()), "leading zeros change nothing");
    assert_eq!(rsa(&n[..128], e), Err(KeyFault::RsaSize { bits: 1024 }));
    assert_eq!(rsa(&[&[0x7f], &n[1..]].concat(), e), Err(KeyFault::RsaSize { bits: 2047 }));
    assert_eq!(rsa(&[0xff; 1025], e), Err(KeyFault::RsaSize { bits: 8200 }));
    assert_eq!(rsa(&[], e), Err(KeyFault::RsaSize { bits: 0 }));
    assert_eq!(rsa(n, &[1]), Err(KeyFault::RsaParts));
    assert_eq!(rsa(n, &[2]), Err(KeyFault::RsaParts));
    assert_eq!(rsa(n, &[]), Err(KeyFault::RsaParts));
    assert_eq!(rsa(n, &[1, 0, 0, 0, 1]), Err(KeyFault::RsaParts));
    let mut even = n.clone();
    even[255] &= 0xfe;
    assert_eq!(rsa(&even, e), Err(KeyFault::RsaParts));
}

#[test]
fn an_hmac_key_must_have_32_bytes() {
    assert_eq!(VerifyingKey::hmac(Algorithm::Hs256, &[1; 31]).unwrap_err(), KeyFault::HmacSize { bytes: 31 });
    assert_eq!(VerifyingKey::hmac(Algorithm::Hs256, &[]).unwrap_err(), KeyFault::HmacSize { bytes: 0 });
    assert_eq!(VerifyingKey::hmac(Algorithm::Hs256, &[1; 1025]).unwrap_err(), KeyFault::HmacSize { bytes: 1025 });
    assert!(VerifyingKey::hmac(Algorithm::Hs256, &[1; 32]).is_ok());
}

#[test]
fn a_key_serves_algorithms_of_its_kind_alone() {
    assert_eq!(VerifyingKey::hmac(Algorithm::Rs256, &[1; 32]).unwrap_err(), KeyFault::Algorithm(Algorithm::Rs256));
    assert_eq!(VerifyingKey::rsa(Algorithm::Hs256, &[1; 256], &[3]).unwrap_err(), KeyFault::Algorithm(Algorithm::Hs256));
    assert_eq!(VerifyingKey::ec(Algorithm::EdDsa, &[4; 65]).unwrap_err(), KeyFault::Algorithm(Algorithm::EdDsa));
    assert!(SigningKey::from_pkcs8_as(Algorithm::Es256, &rsa_pkcs8()).is_err());
    assert!(SigningKey::from_pkcs8_as(Algorithm::Hs256, &rsa_pkcs8()).is_err());
}

#[test]
fn a_damaged_private_key_is_refused() {
    let good = rsa_pkcs8();
    assert!(SigningKey::from_pkcs8(&good).is_ok());
    let mut wrong = good.clone();
    wrong[200] ^= 1;
    assert_eq!(SigningKey::from_pkcs8(&wrong).unwrap_err(), KeyFault::Damaged);
    assert!(SigningKey::from_pkcs8(&good[..good.len() - 1]).is_err());
    assert_eq!(SigningKey::from_pkcs8(&[]).unwrap_err(), KeyFault::Kind);
}

#[test]
fn nothing_of_a_key_is_printed() {
    let (signing, verifying) = SigningKey::hmac(Algorithm::Hs256, &[0x41; 32]).unwrap();
    let shown = format!("{signing:?} {verifying:?}");
    assert!(!shown.contains("AAAA") && !shown.contains("65"), "{shown}");
    assert_eq!((verifying.jwk("k"), verifying.thumbprint()), (None, None));
}
