//! Every class of bad token that the collections of test vectors know, made here.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::crypto::access_token::{MintError, NewAccessToken, mint};
use crate::crypto::jwks::JwksOrigin;
use crate::crypto::key::SigningKey;
use crate::crypto::testing::{Fixture, ISSUER, KID, NOW, claims, header, key, now, policy, ring, token};
use crate::domain::algorithm::Algorithm;
use crate::domain::claim_policy::{AudienceRule, IssuerKind};
use crate::domain::ids::{Generation, SessionId, Subject, TokenId};
use crate::domain::session::Grant;
use crate::domain::subjects::{ReservedPrefixes, SubjectRule};

const ONE_OF_EACH: [Algorithm; 5] = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256, Algorithm::Hs256];

fn minted(ring: &KeyRing) -> String {
    let (subject, token_id) = (Subject::new("user-1").unwrap(), TokenId::new("t1").unwrap());
    let Value::Object(claims) = json!({"plan": "gold", "sub": "root", "exp": 9_999_999_999_u64}) else { unreachable!() };
    let new = NewAccessToken {
        issuer: ISSUER,
        subject: &subject,
        audiences: &["api".to_owned()],
        session: SessionId::from_bytes([3; 16]),
        generation: Generation(2),
        token_id: &token_id,
        issued_at: now(),
        expires_at: Timestamp::from_secs(NOW + 900),
        grant: &Grant { scopes: vec!["read".into(), "write".into()], claims, ..Grant::default() },
        bytes_max: TOKEN_BYTES_DEFAULT,
    };
    mint(ring, &new).unwrap().expose().clone()
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// The token with its signature replaced.
fn resigned(token: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    format!("{signed}.{}", text(change(bytes(signature))))
}

#[test]
fn what_is_minted_is_accepted_and_says_what_was_asked() {
    for algorithm in ONE_OF_EACH {
        let ring = ring(algorithm);
        let verified = Verifier::new().with_own(&ring, policy()).verify(&minted(&ring), now()).unwrap();
        let principal = &verified.principal;
        assert_eq!(principal.subject.as_str(), "user-1");
        assert_eq!(principal.session, Some(SessionId::from_bytes([3; 16])));
        assert_eq!(principal.generation, Some(Generation(2)));
        assert_eq!(principal.scopes, ["read", "write"]);
        assert_eq!(principal.expires_at, Timestamp::from_secs(NOW + 900), "a grant cannot replace a registered claim");
        assert_eq!(Value::Object(principal.claims.clone()), json!({"plan": "gold"}));
    }
}

#[test]
fn every_algorithm_verifies_its_own_signatures() {
    for algorithm in Algorithm::ALL {
        let fixture = Fixture::new(algorithm);
        assert!(fixture.admits(header(algorithm), claims()), "{algorithm}");
    }
}

#[test]
fn the_algorithm_is_the_keys_and_not_the_tokens() {
    for algorithm in ONE_OF_EACH {
        let fixture = Fixture::new(algorithm);
        for name in ["none", "None", "NONE", "nOnE", "", "HS256", "RS256", "ES256", "EdDSA", "es256", "ES512", "dir"] {
            let mut header = header(algorithm);
            header["alg"] = name.into();
            assert_eq!(fixture.admits(header, claims()), name == algorithm.name(), "{algorithm} as {name}");
        }
    }
}

#[test]
fn an_unsecured_token_is_refused() {
    let fixture = Fixture::new(Algorithm::Es256);
    for alg in ["none", "None", "ES256"] {
        let mut header = header(Algorithm::Es256);
        header["alg"] = alg.into();
        let signed = format!("{}.{}", text(header.to_string()), text(claims().to_string()));
        assert!(!fixture.accepts(&format!("{signed}.")));
        assert!(!fixture.accepts(&signed));
    }
    let rfc_7515_a_5 =
        "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";
    assert!(!fixture.accepts(rfc_7515_a_5));
}

#[test]
fn a_public_key_is_no_hmac_secret() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        let fixture = Fixture::new(algorithm);
        let jwk = fixture.verifying.jwk(KID).unwrap();
        let secrets = [jwk["x"].as_str(), jwk["n"].as_str()].into_iter().flatten().map(bytes);
        for secret in secrets.chain([jwk.to_string().into_bytes()]) {
            let (confused, _) = SigningKey::hmac(Algorithm::Hs256, &secret).unwrap();
            for alg in ["HS256", algorithm.name()] {
                let mut header = header(algorithm);
                header["alg"] = alg.into();
                assert!(!fixture.accepts(&token(&confused, header, claims())), "{algorithm} as {alg}");
            }
        }
    }
}

#[test]
fn the_kid_chooses_the_key_exactly() {
    let fixture = Fixture::new(Algorithm::Es256);
    for kid in [json!("key-2"), json!("KEY-1"), json!("key-1 "), json!(""), json!("../key-1"), json!("key-1\u{0}"), Value::Null] {
        let mut header = header(Algorithm::Es256);
        header["kid"] = kid.clone();
        assert!(!fixture.admits(header, claims()), "{kid}");
    }
    assert!(!fixture.admits(json!({"typ": "at+jwt", "alg": "ES256"}), claims()), "no kid at all");
}

#[test]
fn another_key_of_the_same_kind_is_refused() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        let fixture = Fixture::new(algorithm);
        assert!(!fixture.accepts(&token(&key(algorithm).0, header(algorithm), claims())), "{algorithm}");
    }
}

#[test]
fn the_type_is_that_of_an_access_token() {
    let fixture = Fixture::new(Algorithm::EdDsa);
    for (typ, good) in
        [("at+jwt", true), ("application/at+jwt", true), ("AT+JWT", true), ("JWT", false), ("", false), ("id+jwt", false)]
    {
        let mut header = header(Algorithm::EdDsa);
        header["typ"] = typ.into();
        assert_eq!(fixture.admits(header, claims()), good, "{typ}");
    }
    assert!(!fixture.admits(json!({"alg": "EdDSA", "kid": KID}), claims()));
}

#[test]
fn extensions_and_repeated_members_are_refused_even_when_well_signed() {
    let fixture = Fixture::new(Algorithm::EdDsa);
    let start = format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{KID}""#);
    assert!(fixture.admits(format!("{start}}}"), claims()));
    for rest in [
        r#","crit":[]"#,
        r#","crit":["exp"]"#,
        r#","crit":["b64"],"b64":false"#,
        r#","b64":false"#,
        r#","b64":true"#,
        r#","zip":"DEF""#,
        r#","alg":"EdDSA""#,
        r#","typ":"at+jwt""#,
        r#","x":1,"x":1"#,
    ] {
        assert!(!fixture.admits(format!("{start}{rest}}}"), claims()), "{rest}");
    }
    let payload = claims().to_string();
    assert!(!fixture.admits(header(Algorithm::EdDsa), format!(r#"{},"exp":1700000500}}"#, &payload[..payload.len() - 1])));
}

#[test]
fn keys_inside_the_token_are_not_looked_at() {
    let fixture = Fixture::new(Algorithm::Es256);
    let (thief, thiefs) = key(Algorithm::Es256);
    let mut forged = header(Algorithm::Es256);
    forged["jwk"] = thiefs.jwk(KID).unwrap();
    forged["jku"] = "https://evil.example/jwks.json".into();
    assert!(!fixture.accepts(&token(&thief, &forged, claims())));
    assert!(fixture.admits(&forged, claims()), "and do no harm beside a good signature");
}

#[test]
fn an_ecdsa_signature_has_one_form_and_its_numbers_a_range() {
    const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let number = |hex: &str| (0..32).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect::<Vec<_>>();
    let fixture = Fixture::new(Algorithm::Es256);
    let good = token(&fixture.key, header(Algorithm::Es256), claims());
    assert!(fixture.accepts(&good));
    let mut n_minus_1 = number(N);
    n_minus_1[31] -= 1;
    let mut one = vec![0; 32];
    one[31] = 1;
    let numbers = [vec![0; 32], one, n_minus_1, number(N), vec![0xff; 32]];
    for number in &numbers {
        assert!(!fixture.accepts(&resigned(&good, |s| [&s[..32], number].concat())), "s");
        assert!(!fixture.accepts(&resigned(&good, |s| [number, &s[32..]].concat())), "r");
        for other in &numbers {
            assert!(!fixture.accepts(&resigned(&good, |_| [number.as_slice(), other].concat())), "both");
        }
    }
    assert!(!fixture.accepts(&resigned(&good, |s| der(&s[..32], &s[32..]))), "DER");
    assert!(!fixture.accepts(&resigned(&good, |s| [&s[32..], &s[..32]].concat())), "swapped");
    assert!(!fixture.accepts(&resigned(&good, |s| [&[0], &s[..32], &[0], &s[32..]].concat())), "wide numbers");
    assert!(!fixture.accepts(&resigned(&good, |s| s.iter().rev().copied().collect())), "little-endian");
}

#[test]
fn a_malleated_ecdsa_signature_changes_the_cache_key_and_not_the_principal() {
    // (r, n − s) is as good a signature as (r, s): nothing may key on the text of a token but the cache of verified ones.
    let fixture = Fixture::new(Algorithm::Es256);
    let good = token(&fixture.key, header(Algorithm::Es256), claims());
    let twin = resigned(&good, |s| [s[..32].to_vec(), subtract_from_n(&s[32..])].concat());
    let (first, second) = (fixture.verifier.verify(&good, now()).unwrap(), fixture.verifier.verify(&twin, now()).unwrap());
    assert_eq!(first.principal, second.principal);
    assert_ne!(TokenDigest::of(&good), TokenDigest::of(&twin));
}

fn subtract_from_n(s: &[u8]) -> Vec<u8> {
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
        0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    add(&N, &s.iter().map(|byte| !byte).collect::<Vec<_>>(), 1)
}

/// Big-endian `a + b + carry`, cut to the width of `a`.
fn add(a: &[u8], b: &[u8], carry: u16) -> Vec<u8> {
    let mut carry = carry;
    let mut sum: Vec<u8> = Vec::new();
    for (a, b) in a.iter().rev().zip(b.iter().rev()) {
        carry += u16::from(*a) + u16::from(*b);
        sum.push(carry.to_be_bytes()[1]);
        carry >>= 8;
    }
    sum.reverse();
    sum
}

fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let sign: &[u8] = if number[0] >= 0x80 { &[0] } else { &[] };
        let len = u8::try_from(sign.len() + number.len()).unwrap();
        [&[2, len], sign, number].concat()
    };
    let body = [integer(r), integer(s)].concat();
    [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat()
}

#[test]
fn an_eddsa_signature_cannot_be_malleated() {
    let fixture = Fixture::new(Algorithm::EdDsa);
    let good = token(&fixture.key, header(Algorithm::EdDsa), claims());
    // s + L is the same number modulo the order of the group, and must be refused (RFC 8032, section 5.1.7).
    let order = [
        0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0xde, 0xf9, 0xde, 0xa2, 0xf7, 0x9c, 0xd6, 0x58, 0x12, 0x63,
        0x1a, 0x5c, 0xf5, 0xd3, 0xed,
    ];
    let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<_>>();
    let malleated = resigned(&good, |s| [s[..32].to_vec(), reversed(&add(&reversed(&s[32..]), &order, 0))].concat());
    assert_ne!(malleated, good);
    assert!(!fixture.accepts(&malleated));
    assert!(!fixture.accepts(&resigned(&good, |s| [s[..32].to_vec(), vec![0; 32]].concat())), "s zero");
    assert!(!fixture.accepts(&resigned(&good, |s| [vec![0; 32], s[32..].to_vec()].concat())), "R zero");
    assert!(!fixture.accepts(&resigned(&good, |_| vec![0; 64])));
    assert!(!fixture.accepts(&resigned(&good, |s| [s[32..].to_vec(), s[..32].to_vec()].concat())), "swapped");
}

#[test]
fn a_signature_of_another_length_is_refused() {
    for algorithm in Algorithm::ALL {
        let fixture = Fixture::new(algorithm);
        let good = token(&fixture.key, header(algorithm), claims());
        assert!(!fixture.accepts(&resigned(&good, |s| s[..s.len() - 1].to_vec())), "{algorithm}: shorter at the end");
        assert!(!fixture.accepts(&resigned(&good, |s| s[1..].to_vec())), "{algorithm}: shorter at the start");
        assert!(!fixture.accepts(&resigned(&good, |s| [s, vec![0]].concat())), "{algorithm}: longer at the end");
        assert!(!fixture.accepts(&resigned(&good, |s| [vec![0], s].concat())), "{algorithm}: longer at the start");
        assert!(!fixture.accepts(&resigned(&good, |_| Vec::new())), "{algorithm}: empty");
        assert!(!fixture.accepts(&resigned(&good, |_| vec![0; 5000])), "{algorithm}: huge");
        assert!(!fixture.accepts(&resigned(&good, |s| vec![0; s.len()])), "{algorithm}: zeros");
        assert!(!fixture.accepts(&resigned(&good, |s| vec![0xff; s.len()])), "{algorithm}: ones");
    }
}

#[test]
fn there_is_one_spelling_of_a_token() {
    let fixture = Fixture::new(Algorithm::Es256);
    let good = token(&fixture.key, header(Algorithm::Es256), claims());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!() };
    let last_replaced = |part: &str| {
        // 64 bytes leave four spare bits in the last character: any but zero is a second spelling.
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let at = alphabet.find(&part[part.len() - 1..]).unwrap();
        format!("{}{}", &part[..part.len() - 1], &alphabet[at + 1..=at + 1])
    };
    let variants = [
        format!("{good}="),
        format!("{good}=="),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}==.{signature}"),
        format!("{header}.{payload}.{}", last_replaced(signature)),
        format!("{header}.{payload}.{}", STANDARD.encode(bytes(signature))),
        format!("{header}.{payload}.{}", URL_SAFE.encode(bytes(signature))),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{good}\0"),
        format!("{header}\n.{payload}.{signature}"),
        format!("{header}. {payload}.{signature}"),
        format!("{header}.{payload}.{}\n{}", &signature[..10], &signature[10..]),
        format!("{header}..{payload}.{signature}"),
        format!(".{good}"),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{header}.{payload}.{signature}.{payload}.{signature}"),
        format!("Bearer {good}"),
        good.replace('.', ","),
        String::new(),
        "..".to_owned(),
        "é.é.é".to_owned(),
    ];
    for variant in variants {
        assert!(!fixture.accepts(&variant), "{variant}");
    }
}

#[test]
fn a_token_of_any_length_is_refused_before_any_work() {
    let fixture = Fixture::new(Algorithm::EdDsa);
    let mut large = claims();
    large["padding"] = "x".repeat(TOKEN_BYTES_DEFAULT).into();
    let error = fixture.verifier.verify(&token(&fixture.key, header(Algorithm::EdDsa), large), now()).unwrap_err();
    assert_eq!(error, Denial::Invalid("the token is too long"));
}

#[test]
fn a_token_with_150_groups_is_taken_unless_the_settings_say_less() {
    let fixture = Fixture::new(Algorithm::Rs256);
    let mut large = claims();
    let groups: Vec<String> = (0..150).map(|number| format!("6a7e41ff-5f0c-4cf5-9d5b-{number:012}")).collect();
    large["groups"] = groups.into();
    let large = token(&fixture.key, header(Algorithm::Rs256), large);
    assert!(large.len() > 8192 && fixture.accepts(&large), "{}", large.len());
    let tight = fixture.verifier.with_token_bytes_max(large.len() - 1);
    assert_eq!(tight.verify(&large, now()).unwrap_err(), Denial::Invalid("the token is too long"));
    let just = tight.with_token_bytes_max(large.len());
    assert!(just.verify(&large, now()).is_ok());
}

#[test]
fn no_token_is_made_that_would_be_refused_and_the_error_says_what_weighs() {
    let ring = ring(Algorithm::Es256);
    let (subject, token_id) = (Subject::new("user-1").unwrap(), TokenId::new("t1").unwrap());
    let mint_with = |claims: Value, bytes_max: usize| {
        let Value::Object(claims) = claims else { unreachable!() };
        let new = NewAccessToken {
            issuer: ISSUER,
            subject: &subject,
            audiences: &["api".to_owned()],
            session: SessionId::from_bytes([3; 16]),
            generation: Generation(2),
            token_id: &token_id,
            issued_at: now(),
            expires_at: Timestamp::from_secs(NOW + 900),
            grant: &Grant { scopes: vec!["read".into()], claims, ..Grant::default() },
            bytes_max,
        };
        mint(&ring, &new).map(|token| token.expose().len())
    };
    let length = mint_with(json!({"plan": "gold"}), 5000).unwrap();
    assert_eq!(mint_with(json!({"plan": "gold"}), length), Ok(length));
    assert!(mint_with(json!({"plan": "gold"}), length - 1).is_err());
    let error = mint_with(json!({"plan": "gold", "groups": vec!["secret-group"; 400]}), 5000).unwrap_err().to_string();
    assert!(error.contains("allowed are 5000") && error.contains("its claims weigh \"groups\" 6001, "), "{error}");
    assert!(!error.contains("gold") && !error.contains("secret-group") && !error.contains("user-1"), "{error}");
    let deep = (0..20).fold(json!(1), |inner, _| json!([inner]));
    assert!(matches!(mint_with(json!({"deep": deep}), 5000), Err(MintError::Unusable(_))));
}

#[test]
fn a_payload_that_is_no_object_is_refused() {
    let fixture = Fixture::new(Algorithm::EdDsa);
    for payload in ["", "null", "[]", "\"x\"", "1", "{}", "{", "\u{feff}{}"] {
        assert!(!fixture.admits(header(Algorithm::EdDsa), payload), "{payload}");
    }
}

#[test]
fn a_key_is_trusted_until_it_or_its_policy_changes() {
    let ring = ring(Algorithm::Es256);
    let first = Verifier::new().with_own(&ring, policy());
    let verified = first.verify(&minted(&ring), now()).unwrap();
    assert!(first.trusts(&verified));

    let reloaded = Verifier::new().with_own(&ring, policy());
    assert_eq!(reloaded.epoch(), first.epoch(), "a reload that changed nothing keeps what is cached");
    assert!(reloaded.trusts(&verified));

    let extended = with_another_issuer(Verifier::new().with_own(&ring, policy()));
    assert_ne!(extended.epoch(), first.epoch());
    assert!(extended.trusts(&verified), "another issuer's keys do not touch ours");

    let without = with_another_issuer(Verifier::new());
    assert!(!without.trusts(&verified), "a removed key takes its tokens along");
    let stricter = ClaimPolicy { lifetime_max: Duration::from_secs(60), ..policy() };
    let tightened = Verifier::new().with_own(&ring, stricter);
    assert!(!tightened.trusts(&verified), "so does another policy");
}

#[test]
fn what_a_key_has_signed_is_known_as_its_issuers_until_the_key_goes() {
    let (ring, other) = (ring(Algorithm::Es256), ring(Algorithm::Es256));
    let verified = Verifier::new().with_own(&ring, policy()).verify(&minted(&ring), now()).unwrap();
    let stricter = ClaimPolicy { lifetime_max: Duration::from_secs(60), ..policy() };
    assert!(Verifier::new().with_own(&ring, stricter).knows_signer_of(&verified), "another policy is none of the key's business");
    assert!(!Verifier::new().with_own(&other, policy()).knows_signer_of(&verified), "the key was taken out");
    let renamed = ClaimPolicy { issuer: "https://another.example".into(), ..policy() };
    assert!(!Verifier::new().with_own(&ring, renamed).knows_signer_of(&verified), "it is another issuer's now");
}

fn foreign_policy(issuer: &str) -> ClaimPolicy {
    ClaimPolicy::foreign(
        issuer,
        AudienceRule::Unchecked,
        Duration::from_secs(86_400),
        SubjectRule::Ours(ReservedPrefixes::default()),
    )
}

fn with_another_issuer(verifier: Verifier) -> Verifier {
    let (_, key) = key(Algorithm::EdDsa);
    verifier.with_keys([(Some("theirs"), &Arc::new(key))].into_iter(), foreign_policy("https://idp.example"))
}

#[test]
fn issuers_may_share_a_kid_and_even_a_key() {
    let (one, one_key) = key(Algorithm::EdDsa);
    let (two, two_key) = key(Algorithm::EdDsa);
    let (one_key, two_key) = (Arc::new(one_key), Arc::new(two_key));
    let mut verifier = Verifier::new();
    for (key, issuer) in [(&one_key, "a"), (&two_key, "b"), (&two_key, "c")] {
        verifier = verifier.with_keys([(Some(KID), key)].into_iter(), foreign_policy(issuer));
    }
    let judge = |key, issuer: &str| {
        let claims = json!({"iss": issuer, "sub": "u", "exp": NOW + 60});
        verifier.verify(&token(key, header(Algorithm::EdDsa), claims), now())
    };
    assert_eq!(&*judge(&one, "a").unwrap().principal.issuer, "a");
    assert_eq!(&*judge(&two, "b").unwrap().principal.issuer, "b");
    assert_eq!(&*judge(&two, "c").unwrap().principal.issuer, "c");
    assert!(judge(&one, "b").is_err(), "an issuer cannot speak for another");
    assert!(judge(&two, "a").is_err());
}

#[test]
fn a_foreign_issuer_cannot_make_tokens_of_ours() {
    let ring = ring(Algorithm::Es256);
    let (foreign, foreign_key) = key(Algorithm::EdDsa);
    let verifier = Verifier::new()
        .with_own(&ring, policy())
        .with_keys([(Some("theirs"), &Arc::new(foreign_key))].into_iter(), foreign_policy("https://idp.example"));
    let mut header = header(Algorithm::EdDsa);
    header["kid"] = "theirs".into();
    assert!(verifier.verify(&token(&foreign, &header, claims()), now()).is_err());
    let mut claims = claims();
    claims["iss"] = "https://idp.example".into();
    let principal = verifier.verify(&token(&foreign, &header, claims), now()).unwrap().principal;
    assert_eq!((principal.session, principal.generation), (None, None));
}

fn without_kid(keys: &[&VerifyingKey]) -> ForeignKeys {
    let jwks: Vec<Value> = keys
        .iter()
        .map(|key| {
            let mut jwk = key.jwk("x").unwrap();
            jwk.as_object_mut().unwrap().shift_remove("kid");
            jwk
        })
        .collect();
    let set = json!({"keys": jwks}).to_string();
    ForeignKeys::parse(set.as_bytes(), &[Algorithm::EdDsa], JwksOrigin::Url).unwrap()
}

#[test]
fn without_a_kid_the_keys_of_the_issuer_are_tried() {
    let (signing, verifying) = key(Algorithm::EdDsa);
    let (stranger, other) = key(Algorithm::EdDsa);
    let nameless = Verifier::new().with_foreign(&without_kid(&[&other, &verifying]), foreign_policy("https://idp.example"), None);
    let named = Verifier::new().with_keys(
        [(Some("a"), &Arc::new(other)), (Some("b"), &Arc::new(verifying))].into_iter(),
        foreign_policy("https://idp.example"),
    );
    let claims = |issuer: &str| json!({"iss": issuer, "sub": "u", "exp": NOW + 60});
    let judge = |verifier: &Verifier, header: Value, issuer: &str| {
        verifier.verify(&token(&signing, header, claims(issuer)), now()).is_ok()
    };
    for verifier in [&nameless, &named] {
        assert!(judge(verifier, json!({"alg": "EdDSA"}), "https://idp.example"));
        assert!(!judge(verifier, json!({"alg": "EdDSA"}), "https://other.example"), "another issuer's keys are not tried");
        assert!(!judge(verifier, json!({"alg": "ES256"}), "https://idp.example"), "nor keys of another algorithm");
    }
    assert!(judge(&nameless, json!({"alg": "EdDSA", "kid": "x"}), "https://idp.example"), "the set names none");
    assert!(!judge(&named, json!({"alg": "EdDSA", "kid": "x"}), "https://idp.example"), "the set names others");
    assert!(!judge(&named, json!({"alg": "EdDSA", "kid": "a"}), "https://idp.example"), "a kid that is there decides");
    let forged = token(&stranger, json!({"alg": "EdDSA"}), claims("https://nobody.example"));
    assert!(nameless.verify(&forged, now()).is_err());
}

#[test]
fn a_token_without_kid_is_tried_with_so_many_keys_and_no_more() {
    let keys: Vec<_> = (0..=KEYS_TRIED_MAX).map(|_| key(Algorithm::EdDsa)).collect();
    let verifying: Vec<&VerifyingKey> = keys.iter().map(|(_, verifying)| verifying).collect();
    let verifier = Verifier::new().with_foreign(&without_kid(&verifying), foreign_policy("https://idp.example"), None);
    let claims = json!({"iss": "https://idp.example", "sub": "u", "exp": NOW + 60});
    let is_taken = |n: usize| verifier.verify(&token(&keys[n].0, json!({"alg": "EdDSA"}), &claims), now()).is_ok();
    assert!(is_taken(0) && is_taken(KEYS_TRIED_MAX - 1) && !is_taken(KEYS_TRIED_MAX));
}

#[test]
fn a_key_is_missing_only_of_an_issuer_whose_keys_are_fetched() {
    let (signing, _) = key(Algorithm::EdDsa);
    let (_, theirs) = key(Algorithm::EdDsa);
    let wishes = KeyWishes::new(Arc::new(StandingClock), Duration::from_secs(5));
    let set = json!({"keys": [theirs.jwk("theirs")]}).to_string();
    let keys = ForeignKeys::parse(set.as_bytes(), &[Algorithm::EdDsa], JwksOrigin::Url).unwrap();
    let verifier = Verifier::new().with_foreign(&keys, foreign_policy("https://idp.example"), Some(wishes));
    let judge = |header: Value, issuer: &str| {
        let token = token(&signing, header, json!({"iss": issuer, "sub": "u", "exp": NOW + 60}));
        (verifier.verify(&token, now()).unwrap_err(), verifier.wish(&token).is_some())
    };
    for header in [json!({"alg": "EdDSA", "kid": "new"}), json!({"alg": "EdDSA"})] {
        assert_eq!(judge(header.clone(), "https://idp.example"), (Denial::KeyUnknown, true), "{header}");
        assert_eq!(judge(header.clone(), "https://other.example"), (UNKNOWN, false), "{header}");
    }
    let of_another = json!({"alg": "EdDSA", "kid": "theirs"});
    assert_eq!(judge(of_another.clone(), "https://idp.example"), (Denial::KeyDisputed, true), "it may have been replaced");
    assert_eq!(judge(of_another, "https://other.example"), (BAD_SIGNATURE, false), "by its own issuer alone");
}

struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        now()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn the_kind_of_an_issuer_is_part_of_what_a_cached_token_depends_on() {
    let (_, key) = key(Algorithm::EdDsa);
    let own = KeyRef::of(Some("k"), &key, &Rules::Issued(policy()));
    let foreign = KeyRef::of(Some("k"), &key, &Rules::Issued(ClaimPolicy { kind: IssuerKind::Foreign, ..policy() }));
    assert_ne!(own, foreign);
    assert_ne!(own, KeyRef::of(None, &key, &Rules::Issued(policy())));
    assert_eq!(own, KeyRef::of(Some("k"), &key, &Rules::Issued(policy())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_single_bit_can_be_flipped(which in 0..ONE_OF_EACH.len(), at: prop::sample::Index, bit in 0..8) {
        let fixture = Fixture::new(ONE_OF_EACH[which]);
        let good = token(&fixture.key, header(ONE_OF_EACH[which]), claims());
        prop_assert!(fixture.accepts(&good));
        let mut flipped = good.into_bytes();
        let at = at.index(flipped.len());
        flipped[at] ^= 1_u8 << bit;
        if let Ok(text) = std::str::from_utf8(&flipped) {
            prop_assert!(!fixture.accepts(text));
        }
    }

    #[test]
    fn no_bit_of_a_signature_can_be_flipped(which in 0..ONE_OF_EACH.len(), at: prop::sample::Index, bit in 0..8) {
        let fixture = Fixture::new(ONE_OF_EACH[which]);
        let good = token(&fixture.key, header(ONE_OF_EACH[which]), claims());
        let bad = resigned(&good, |mut signature| {
            let at = at.index(signature.len());
            signature[at] ^= 1_u8 << bit;
            signature
        });
        prop_assert!(!fixture.accepts(&bad));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}(\\.\\PC{0,60}){0,3}") {
        let fixture = Fixture::new(Algorithm::Hs256);
        prop_assert!(!fixture.accepts(&text));
    }

    #[test]
    fn no_header_or_payload_makes_it_panic(header in "\\{\\PC{0,60}\\}", payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let fixture = Fixture::new(Algorithm::Hs256);
        let signed = format!("{}.{}", text(header), text(payload));
        let token = format!("{signed}.{}", fixture.key.sign(signed.as_bytes()).unwrap());
        prop_assert!(!fixture.accepts(&token));
    }
}

#[test]
fn a_token_is_known_as_ours_by_the_issuer_that_it_names_be_it_good_or_not() {
    let ring = ring(Algorithm::Es256);
    let verifier = Verifier::new().with_own(&ring, policy());
    let minted = minted(&ring);
    assert!(verifier.names_issuer(&minted));
    let (signed, _) = minted.rsplit_once('.').unwrap();
    assert!(verifier.names_issuer(&format!("{signed}.AAAA")), "a signature is not asked for");
    let naming = |payload: &str| format!("x.{}.x", text(payload));
    let issuer = &*policy().issuer;
    assert!(verifier.names_issuer(&naming(&format!(r#"{{"exp":"never","iss":"{issuer}"}}"#))));
    for other in [r#"{"iss":"https://other.example"}"#, r#"{"iss":1}"#, r#"{"iss":null}"#, "{}", "[]", "", "1", &"[".repeat(5000)]
    {
        assert!(!verifier.names_issuer(&naming(other)), "{other}");
    }
    for none in ["", "a", "a.b", "..", "a.!.c", "secret"] {
        assert!(!verifier.names_issuer(none), "{none}");
    }
    let foreign = Verifier::new().with_foreign(&ForeignKeys::default(), policy(), None);
    assert!(foreign.names_issuer(&minted), "its keys need not have been loaded");
}
