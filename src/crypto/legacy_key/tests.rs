//! Legacy tokens as APIs make them, and everything that must not pass for one.

use std::num::NonZeroU16;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::crypto::key::SigningKey;
use crate::crypto::testing::{ISSUER, KID, NOW, claims, header, key, now, policy, ring, token};
use crate::crypto::verifier::Verifier;
use crate::domain::claim_policy::{AudienceRule, ClaimPath};
use crate::domain::claims::Denial;
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::ids::Partitions;
use crate::domain::legacy::LegacyPolicy;
use crate::domain::subjects::{ReservedPrefixes, SubjectRule};
use crate::domain::time::Timestamp;

const SECRET: &[u8] = b"the API's secret, long enough to be one";

fn rules() -> LegacyPolicy {
    LegacyPolicy {
        name: "old-api".into(),
        issuer: None,
        audiences: AudienceRule::Unchecked,
        required_claims: Vec::new(),
        subject_claims: vec![ClaimPath::new("id")],
        subjects: SubjectRule::Ours(ReservedPrefixes::default()),
        scope_claims: Vec::new(),
        claims: Vec::new(),
        needs_expiry: true,
        lifetime_max: None,
        accepted_until: Timestamp::from_secs(NOW + 86_400),
        exchange: ExchangeRule::Once,
        partitions: Partitions::new(NonZeroU16::new(16).unwrap()),
    }
}

fn shared(secret: &[u8]) -> LegacyKey {
    LegacyKey::shared(None, Algorithm::Hs256, secret, false).unwrap()
}

/// Our own keys beside the old secret.
fn verifier() -> Verifier {
    Verifier::new().with_own(&ring(Algorithm::Es256), policy()).with_legacy(&shared(SECRET), rules())
}

fn old_claims() -> Value {
    json!({"id": 42, "iat": NOW - 5, "exp": NOW + 3600})
}

fn old_header() -> Value {
    json!({"alg": "HS256", "typ": "JWT"})
}

fn signed(header: impl ToString, claims: impl ToString) -> String {
    token(&SigningKey::hmac(Algorithm::Hs256, SECRET).unwrap().0, header, claims)
}

#[test]
fn a_legacy_token_is_accepted_beside_ours_and_only_where_its_key_is() {
    let old = signed(old_header(), old_claims());
    let verified = verifier().verify(&old, now()).unwrap();
    assert_eq!((verified.principal.subject.as_str(), &*verified.principal.issuer), ("42", "old-api"));
    let without = Verifier::new().with_own(&ring(Algorithm::Es256), policy());
    assert!(without.verify(&old, now()).is_err() && !without.accepts_legacy());
}

#[test]
fn a_token_that_another_library_made_is_read() {
    // `jwt.sign({ id: 42 }, secret, …)` of jsonwebtoken for Node.
    let made = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpZCI6NDIsImlhdCI6MTY5OTk5OTk5NSwiZXhwIjoxNzAwMDAzNjAwfQ.\
                LzXXhR-8I76yAMYSWgAtJZRHka5h1Vhecpm-FHNDj8E";
    assert_eq!(verifier().verify(made, now()).unwrap().principal.subject.as_str(), "42");
}

#[test]
fn the_algorithm_is_pinned_and_nothing_is_taken_from_the_header() {
    for alg in ["none", "None", "", "HS384", "HS512", "RS256", "ES256", "hs256"] {
        assert!(verifier().verify(&signed(json!({"alg": alg, "typ": "JWT"}), old_claims()), now()).is_err(), "{alg}");
    }
    for name in ["crit", "b64", "zip"] {
        let mut header = old_header();
        header[name] = json!(["exp"]);
        assert!(verifier().verify(&signed(header, old_claims()), now()).is_err(), "{name}");
    }
    let unsigned = signed(old_header(), old_claims());
    let (body, _) = unsigned.rsplit_once('.').unwrap();
    for bad in [format!("{body}."), body.to_owned(), format!("{body}.AA"), format!("{unsigned}.x"), format!("{unsigned}=")] {
        assert!(verifier().verify(&bad, now()).is_err(), "{bad}");
    }
    assert!(
        verifier().verify(&signed(json!({"alg": "HS256", "kid": "unknown"}), old_claims()), now()).is_err(),
        "an unknown kid"
    );
}

#[test]
fn a_kid_is_exact_where_the_legacy_tokens_name_one() {
    let named = LegacyKey::shared(Some("2019"), Algorithm::Hs256, SECRET, false).unwrap();
    let verifier = Verifier::new().with_legacy(&named, rules());
    assert!(verifier.verify(&signed(json!({"alg": "HS256", "kid": "2019"}), old_claims()), now()).is_ok());
    for header in [old_header(), json!({"alg": "HS256", "kid": "2020"})] {
        assert!(verifier.verify(&signed(header, old_claims()), now()).is_err());
    }
}

#[test]
fn of_several_verifiers_the_key_decides_which_rules_hold() {
    let other = b"another secret of the same length.......".as_slice();
    let rules_of =
        |name: &str, claim: &str| LegacyPolicy { name: name.into(), subject_claims: vec![ClaimPath::new(claim)], ..rules() };
    let verifier = Verifier::new()
        .with_legacy(&shared(SECRET), rules_of("one", "id"))
        .with_legacy(&shared(other), rules_of("two", "userId"));
    let both = json!({"id": "a", "userId": "b", "exp": NOW + 60});
    let by_other = token(&SigningKey::hmac(Algorithm::Hs256, other).unwrap().0, old_header(), &both);
    let judged = |token: &str| {
        let principal = verifier.verify(token, now()).unwrap().principal;
        (principal.issuer.to_string(), principal.subject.as_str().to_owned())
    };
    assert_eq!(judged(&signed(old_header(), &both)), ("one".into(), "a".into()));
    assert_eq!(judged(&by_other), ("two".into(), "b".into()));
}

#[test]
fn old_rules_open_nothing_for_tokens_of_ours() {
    // The API's secret makes no token of ours, whatever it writes …
    let with_kid = signed(json!({"alg": "HS256", "typ": "at+jwt", "kid": KID}), claims());
    assert!(verifier().verify(&with_kid, now()).is_err());
    // … and one that claims to be ours speaks for no session of ours.
    let mut posing = claims();
    posing["id"] = json!("mallory");
    let principal = verifier().verify(&signed(old_header(), &posing), now()).unwrap().principal;
    assert_eq!((&*principal.issuer, principal.subject.as_str()), ("old-api", "mallory"));
    assert!(principal.is_legacy() && principal.session != Some(crate::domain::ids::SessionId::from_bytes([3; 16])));
    assert_ne!(&*principal.issuer, ISSUER);
    // Ours stay as strict as ever, and are no old ones.
    let (signing, verifying) = key(Algorithm::Es256);
    let own = Verifier::new()
        .with_keys([(Some(KID), &Arc::new(verifying))].into_iter(), policy())
        .with_legacy(&shared(SECRET), rules());
    let good = token(&signing, header(Algorithm::Es256), claims());
    assert!(own.verify(&good, now()).is_ok() && own.legacy(&good, now()).is_none());
    for name in ["iss", "sub", "aud", "exp", "iat", "jti", "sid", "gen"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().shift_remove(name);
        assert!(own.verify(&token(&signing, header(Algorithm::Es256), claims), now()).is_err(), "{name}");
    }
    let mut numeric = claims();
    numeric["sub"] = json!(42);
    assert!(own.verify(&token(&signing, header(Algorithm::Es256), numeric), now()).is_err(), "an integer is no sub of ours");
}

#[test]
fn a_malleated_signature_makes_no_other_token_of_it() {
    let (signing, pem) = pem_pair(Algorithm::Es256);
    let public = LegacyKey::public(None, Algorithm::Es256, pem.as_bytes()).unwrap();
    let verifier = Verifier::new().with_legacy(&public, rules());
    let first = token(&signing, json!({"alg": "ES256"}), old_claims());
    let second = token(&signing, json!({"alg": "ES256"}), old_claims());
    assert_ne!(first, second, "ECDSA signs differently each time");
    let session = |token: &str| verifier.legacy(token, now()).unwrap().session;
    assert_eq!(session(&first), session(&second), "one revocation ends both");
    assert_ne!(
        session(&first),
        session(&token(&signing, json!({"alg": "ES256"}), json!({"id": 43, "iat": NOW - 5, "exp": NOW + 1})))
    );
}

#[test]
fn public_keys_are_read_for_their_algorithm_alone() {
    for algorithm in [Algorithm::Es256, Algorithm::Rs256, Algorithm::Ps256] {
        let (signing, pem) = pem_pair(algorithm);
        let public = LegacyKey::public(None, algorithm, pem.as_bytes()).unwrap();
        let verifier = Verifier::new().with_legacy(&public, rules());
        assert!(verifier.verify(&token(&signing, json!({"alg": algorithm.name()}), old_claims()), now()).is_ok(), "{algorithm}");
        // The classic: the public key as an HMAC secret.
        for secret in [pem.as_bytes(), pem.trim_end().as_bytes()] {
            let (confused, _) = SigningKey::hmac(Algorithm::Hs256, secret).unwrap();
            for alg in ["HS256", algorithm.name()] {
                assert!(
                    verifier.verify(&token(&confused, json!({"alg": alg}), old_claims()), now()).is_err(),
                    "{algorithm} as {alg}"
                );
            }
        }
    }
    let (_, pem) = pem_pair(Algorithm::Es256);
    let public = |algorithm, pem: &str| LegacyKey::public(None, algorithm, pem.as_bytes()).unwrap_err().to_string();
    assert!(public(Algorithm::Rs256, &pem).contains("RS256") && public(Algorithm::Es384, &pem).contains("ES384"));
    assert!(public(Algorithm::Hs256, &pem).contains("HS256"), "a public key is no shared secret");
    assert!(public(Algorithm::Es256, "no PEM").contains("openssl x509 -pubkey"));
    assert!(public(Algorithm::Es256, &pem.replace("PUBLIC KEY", "RSA PUBLIC KEY")).contains("openssl rsa"));
    assert!(public(Algorithm::Es256, &format!("{pem}{pem}")).contains("more than one"));
}

#[test]
fn a_short_secret_is_taken_by_choice_alone_and_an_empty_one_never() {
    let make = |secret: &[u8], allowed| LegacyKey::shared(None, Algorithm::Hs256, secret, allowed);
    assert!(make(&[7; 32], false).is_ok());
    assert!(make(&[7; 31], false).unwrap_err().to_string().contains("allow_short_secret = true"));
    let verifier = Verifier::new().with_legacy(&make(b"secret", true).unwrap(), rules());
    let by_short = |secret: &[u8]| {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(old_header().to_string()), URL_SAFE_NO_PAD.encode(old_claims().to_string()));
        let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    assert!(verifier.verify(&by_short(b"secret"), now()).is_ok());
    assert!(verifier.verify(&by_short(b"secreT"), now()).is_err() && verifier.verify(&by_short(b""), now()).is_err());
    assert!(make(b"", true).is_err());
}

#[test]
fn a_remembered_token_ends_with_the_cut_off_and_is_verified_anew_by_other_rules() {
    let old = signed(old_header(), old_claims());
    let cut_off = Timestamp::from_secs(NOW + 100);
    let short = LegacyPolicy { accepted_until: cut_off, ..rules() };
    let verifier = Verifier::new().with_legacy(&shared(SECRET), short.clone());
    let remembered = verifier.verify(&old, now()).unwrap();
    let window = remembered.principal.window;
    assert_eq!(window.check(Timestamp::from_secs(NOW + 99)), Ok(()));
    assert_eq!(window.check(cut_off), Err(Denial::Expired));
    let earlier = LegacyPolicy { accepted_until: Timestamp::from_secs(NOW + 50), ..short };
    let changed = Verifier::new().with_legacy(&shared(SECRET), earlier);
    assert_ne!(changed.epoch(), verifier.epoch());
    assert!(changed.knows_signer_of(&remembered) && !Verifier::new().knows_signer_of(&remembered));
}

#[test]
fn the_subject_of_a_dead_token_is_known_and_that_of_a_forged_one_is_not() {
    let mut dead = old_claims();
    dead["exp"] = json!(NOW - 1);
    let dead = signed(old_header(), dead);
    assert!(verifier().verify(&dead, now()).is_err() && verifier().legacy(&dead, now()).is_none());
    assert_eq!(verifier().subject(&dead).unwrap().as_str(), "42");
    assert_eq!(verifier().subject(&format!("{}A", &dead[..dead.len() - 1])), None);
    assert_eq!(verifier().subject(""), None);
}

/// A key of the algorithm, and its public half as openssl writes it.
fn pem_pair(algorithm: Algorithm) -> (SigningKey, String) {
    if algorithm.is_rsa() {
        return (key(algorithm).0, include_str!("../testing/rsa-2048.pub.pem").to_owned());
    }
    let pair = rcgen::KeyPair::generate().unwrap();
    (SigningKey::from_pkcs8_as(algorithm, &pair.serialize_der()).unwrap().0, pair.public_key_pem())
}

#[test]
fn a_legacy_token_is_known_as_one_by_its_signature_or_by_the_issuer_that_it_must_name() {
    let old = signed(old_header(), old_claims());
    assert!(verifier().names_issuer(&old));
    let expired = signed(old_header(), json!({"id": 42, "iat": NOW - 50, "exp": NOW - 5}));
    assert!(verifier().names_issuer(&expired), "it is not judged");
    let of_others = token(&SigningKey::hmac(Algorithm::Hs256, &[7; 32]).unwrap().0, old_header(), old_claims());
    assert!(!verifier().names_issuer(&of_others), "another's secret");
    let without = Verifier::new().with_own(&ring(Algorithm::Es256), policy());
    assert!(!without.names_issuer(&old));

    let named = Verifier::new().with_legacy(&shared(SECRET), LegacyPolicy { issuer: Some("old".to_owned()), ..rules() });
    let naming = token(&SigningKey::hmac(Algorithm::Hs256, &[7; 32]).unwrap().0, old_header(), json!({"iss": "old"}));
    assert!(named.names_issuer(&naming) && !named.names_issuer(&old));
}
