//! Key sets as issuers write them, well and badly.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::crypto::testing;

const ANY: [Algorithm; 12] = Algorithm::ALL;

fn jwk(algorithm: Algorithm, kid: &str) -> Value {
    testing::key(algorithm).1.jwk(kid).unwrap()
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().unwrap().shift_remove(name);
    jwk
}

fn parse(keys: &[Value], allowed: &[Algorithm]) -> Result<ForeignKeys, JwksError> {
    ForeignKeys::parse(json!({ "keys": keys }).to_string().as_bytes(), allowed, JwksOrigin::Url)
}

/// Why the one key of a set is not used.
fn reason(key: Value, allowed: &[Algorithm]) -> SkipReason {
    let set = parse(&[jwk(Algorithm::Es384, "good"), key], &[allowed, &[Algorithm::Es384]].concat()).unwrap();
    assert_eq!(set.keys().len(), 1);
    set.skipped()[0].reason
}

#[test]
fn what_we_publish_we_read() {
    let algorithms = [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256];
    let set = parse(&algorithms.map(|algorithm| jwk(algorithm, algorithm.name())), &ANY).unwrap();
    let read: Vec<_> = set.keys().iter().map(|key| (key.kid.as_deref().unwrap(), key.key.algorithm())).collect();
    assert_eq!(read, algorithms.map(|algorithm| (algorithm.name(), algorithm)));
    assert!(set.skipped().is_empty());
}

#[test]
fn a_key_that_is_unknown_or_for_another_use_is_skipped_and_the_rest_used() {
    let ec = || jwk(Algorithm::Es256, "k");
    assert_eq!(reason(with(ec(), "kty", "AKP".into()), &ANY), SkipReason::UnknownKind);
    assert_eq!(reason(with(ec(), "crv", "secp256k1".into()), &ANY), SkipReason::UnknownKind);
    assert_eq!(reason(with(jwk(Algorithm::EdDsa, "k"), "crv", "X25519".into()), &ANY), SkipReason::UnknownKind);
    assert_eq!(reason(with(ec(), "use", "enc".into()), &ANY), SkipReason::OtherUse);
    assert_eq!(reason(with(ec(), "key_ops", json!(["sign"])), &ANY), SkipReason::OtherUse);
    assert_eq!(reason(with(ec(), "alg", "ES256K".into()), &ANY), SkipReason::AlgorithmNotAllowed);
    assert_eq!(reason(json!("not a key"), &ANY), SkipReason::Malformed);
    assert!(parse(&[without(ec(), "use")], &ANY).is_ok());
    assert!(parse(&[with(ec(), "key_ops", json!(["verify"]))], &ANY).is_ok());
    assert!(parse(&[with(ec(), "x5c", json!(["MIIB"]))], &ANY).is_ok(), "members that we do not know do no harm");
}

#[test]
fn the_algorithm_is_pinned_by_us_and_never_widened_by_the_set() {
    let rsa = || jwk(Algorithm::Rs256, "k");
    assert_eq!(reason(rsa(), &[Algorithm::Ps256]), SkipReason::AlgorithmNotAllowed);
    assert_eq!(reason(with(rsa(), "alg", "HS256".into()), &ANY), SkipReason::AlgorithmNotAllowed);
    assert_eq!(reason(with(rsa(), "alg", "none".into()), &ANY), SkipReason::AlgorithmNotAllowed);
    assert_eq!(reason(with(rsa(), "alg", "ES256".into()), &ANY), SkipReason::AlgorithmNotAllowed);
    assert_eq!(reason(without(rsa(), "alg"), &[Algorithm::Rs256, Algorithm::Ps256]), SkipReason::AlgorithmAmbiguous);
    let set = parse(&[without(rsa(), "alg")], &[Algorithm::Es256, Algorithm::Rs512]).unwrap();
    assert_eq!(set.keys()[0].key.algorithm(), Algorithm::Rs512);
}

#[test]
fn a_faulty_key_is_skipped() {
    let (ec, ed) = (|| jwk(Algorithm::Es256, "k"), || jwk(Algorithm::EdDsa, "k"));
    let swapped = || {
        let good = ec();
        with(with(good.clone(), "x", good["y"].clone()), "y", good["x"].clone())
    };
    assert_eq!(reason(swapped(), &ANY), SkipReason::Fault(KeyFault::NotOnCurve));
    assert_eq!(reason(without(ec(), "y"), &ANY), SkipReason::Malformed);
    assert_eq!(reason(with(ec(), "x", 1.into()), &ANY), SkipReason::Malformed);
    assert_eq!(reason(with(ec(), "x", "AQAB".into()), &ANY), SkipReason::Malformed);
    assert_eq!(reason(with(ec(), "kid", 1.into()), &ANY), SkipReason::Malformed);
    assert_eq!(reason(with(ed(), "x", "A".repeat(43).into()), &ANY), SkipReason::Fault(KeyFault::SmallOrder));
    let padded = format!("{}=", ed()["x"].as_str().unwrap());
    assert_eq!(reason(with(ed(), "x", padded.into()), &ANY), SkipReason::Malformed);
    let short = with(jwk(Algorithm::Rs256, "k"), "n", format!("_{}", "A".repeat(170)).into());
    assert!(matches!(reason(short, &ANY), SkipReason::Fault(KeyFault::RsaSize { .. })));
}

#[test]
fn a_symmetric_key_is_taken_from_a_file_and_never_from_a_url() {
    let key = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 64]), "alg": "HS256", "kid": "k"});
    assert_eq!(reason(key.clone(), &ANY), SkipReason::Symmetric);
    let document = json!({"keys": [key]}).to_string();
    let set = ForeignKeys::parse(document.as_bytes(), &[Algorithm::Hs256], JwksOrigin::File).unwrap();
    assert_eq!(set.keys()[0].key.algorithm(), Algorithm::Hs256);
    assert!(ForeignKeys::parse(document.as_bytes(), &[Algorithm::Rs256], JwksOrigin::File).is_err());
}

#[test]
fn a_document_that_is_no_usable_set_says_why() {
    let parse = |text: &str| ForeignKeys::parse(text.as_bytes(), &ANY, JwksOrigin::Url).unwrap_err();
    assert_eq!(parse("<html>"), JwksError::Json(JsonError::Malformed));
    assert_eq!(parse(r#"{"keys":[],"keys":[]}"#), JwksError::Json(JsonError::DuplicateMember));
    assert_eq!(parse(r#"{"kty":"EC"}"#), JwksError::NoList);
    assert_eq!(parse(&format!(r#"{{"keys":[{}]}}"#, vec!["{}"; JWKS_KEYS_MAX + 1].join(","))), JwksError::TooMany);
    assert_eq!(parse(&" ".repeat(JWKS_BYTES_MAX + 1)), JwksError::TooLarge);
    let error = parse(r#"{"keys":[{"kty":"EC","crv":"P-521","kid":"a"}]}"#).to_string();
    assert!(error.ends_with(r#"key "a" is of an unknown kty or crv"#), "{error}");
}

#[test]
fn the_same_set_again_is_no_news() {
    let (one, two) = (jwk(Algorithm::EdDsa, "1"), jwk(Algorithm::EdDsa, "2"));
    let set = |keys: &[Value]| parse(keys, &ANY).unwrap();
    assert!(set(std::slice::from_ref(&one)).is_same(&set(&[with(one.clone(), "x5t", "x".into())])));
    assert!(!set(std::slice::from_ref(&one)).is_same(&set(&[one.clone(), two])));
    assert!(!set(std::slice::from_ref(&one)).is_same(&set(&[with(one, "kid", "other".into())])));
}

proptest! {
    #[test]
    fn no_document_makes_it_panic(key in "\\{\"kty\":\"(EC|RSA|OKP|oct)\",\"crv\":\"(P-256|Ed25519)\",\"[xykne]\":\"[A-Za-z0-9_-]{0,50}\"\\}") {
        let _ = ForeignKeys::parse(format!("{{\"keys\":[{key}]}}").as_bytes(), &ANY, JwksOrigin::File);
    }
}
