//! Every class of bad token that the collections of test vectors know, made here.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::crypto::access_token::{Holder, MintError, NewAccessToken, mint};
use crate::crypto::jwks::JwksOrigin;
use crate::crypto::key::SigningKey;
use crate::crypto::testing::{Fixture, ISSUER, KID, NOW, claims, header, key, now, policy, ring, token};
use crate::domain::algorithm::Algorithm;
use crate::domain::claim_policy::{AudienceRule, IssuerKind};
use crate::domain::ids::{Generation, SessionId, Subject, TokenId};
use crate::domain::session::Grant;
use crate::domain::subjects::{ReservedPrefixes, SubjectPrefix, SubjectRule};

mod issuers;
mod signatures;

const ONE_OF_EACH: [Algorithm; 5] = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256, Algorithm::Hs256];

fn minted(ring: &KeyRing) -> String {
    let (subject, token_id) = (Subject::new("user-1").unwrap(), TokenId::new("t1").unwrap());
    let Value::Object(claims) = json!({"plan": "gold", "sub": "root", "exp": 9_999_999_999_u64}) else { unreachable!() };
    let new = NewAccessToken {
        issuer: ISSUER,
        subject: &subject,
        audiences: &["api".to_owned()],
        holder: Holder::Session { id: SessionId::from_bytes([3; 16]), generation: Generation(2) },
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
            holder: Holder::Session { id: SessionId::from_bytes([3; 16]), generation: Generation(2) },
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
