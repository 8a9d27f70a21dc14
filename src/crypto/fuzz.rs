//! What must hold for tokens and keys that others hand in.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use serde_json::Value;

use super::deployment_secret::DeploymentSecret;
use super::der::{self, KeyKind, PublicParts};
use super::imported_token::{digest_of, read_digest};
use super::jwks::{ForeignKeys, JWKS_KEYS_MAX, JwksOrigin};
use super::key::{SigningKey, VerifyingKey};
use super::legacy_key::LegacyKey;
use super::refresh_token::{PREFIX, RefreshTokens, TOKEN_LEN};
use super::verifier::Verifier;
use crate::domain::algorithm::Algorithm;
use crate::domain::claim_policy::{AudienceRule, ClaimPath, ClaimPolicy};
use crate::domain::claims::RESERVED_CLAIMS;
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::fuzz::Input;
use crate::domain::ids::{Generation, Partitions, SessionId, TokenMaker};
use crate::domain::imported::ImportedDigest;
use crate::domain::legacy::LegacyPolicy;
use crate::domain::rotation::Presented;
use crate::domain::subject_token::SubjectTokenType;
use crate::domain::subjects::{ReservedPrefixes, SubjectRule};
use crate::domain::time::Timestamp;

const NOW: i64 = 1_700_000_000;
const ISSUER: &str = "https://gate.example";

struct Keys {
    signing: SigningKey,
    verifier: Verifier,
}

/// HMAC, so that each input costs microseconds. How signatures of other kinds are read is ring's.
static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let (signing, verifying) = SigningKey::hmac(Algorithm::Hs256, &[7; 32]).expect("a key");
    let own = ClaimPolicy::own(ISSUER, &["api".to_owned()], Duration::from_secs(900));
    let old = LegacyKey::shared(Some("old"), Algorithm::Hs256, &[8; 32], false).expect("a key");
    let verifier =
        Verifier::new().with_keys([(Some("key"), &Arc::new(verifying))].into_iter(), own).with_legacy(&old, old_policy());
    Keys { signing, verifier }
});

fn old_policy() -> LegacyPolicy {
    LegacyPolicy {
        name: "old".into(),
        issuer: None,
        audiences: AudienceRule::Unchecked,
        required_claims: vec![(ClaimPath::new("type"), "access".to_owned())],
        subject_claims: vec![ClaimPath::new("sub"), ClaimPath::new("/user/id")],
        subjects: SubjectRule::Ours(ReservedPrefixes::default()),
        scope_claims: vec![ClaimPath::new("scope")],
        claims: vec![("role".to_owned(), ClaimPath::new("/user/role"))],
        needs_expiry: false,
        lifetime_max: None,
        accepted_until: Timestamp::from_secs(NOW + 1000),
        exchange: ExchangeRule::Once,
        partitions: Partitions::ONE,
    }
}

fn signed(key: &SigningKey, header: &[u8], payload: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    format!("{signed}.{}", key.sign(signed.as_bytes()).expect("HMAC does not fail"))
}

/// A header as a line, then a payload, which are signed: what is let in says what it must; and one other byte lets nobody in.
pub fn access_token(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (header, payload) = (input.line(), input.rest());
    let token = signed(&KEYS.signing, header, payload);
    let now = Timestamp::from_secs(NOW);
    if let Ok(verified) = KEYS.verifier.verify(&token, now) {
        let header: Value = serde_json::from_slice(header).expect("a header is JSON");
        let claims: Value = serde_json::from_slice(payload).expect("a payload is JSON");
        let text = |name: &str| claims[name].as_str().unwrap_or_else(|| panic!("{name} is no text in {claims}"));
        assert_eq!((header["alg"].as_str(), header["kid"].as_str()), (Some("HS256"), Some("key")));
        let typ = header["typ"].as_str().expect("typ is there").to_ascii_lowercase();
        assert!(typ == "at+jwt" || typ == "application/at+jwt", "{typ}");
        assert!(["crit", "b64", "zip"].iter().all(|name| header.get(name).is_none()), "{header}");
        assert_eq!(text("iss"), ISSUER);
        assert!(claims["aud"] == "api" || claims["aud"].as_array().is_some_and(|all| all.contains(&"api".into())));
        let date = |name: &str| claims[name].as_f64().unwrap_or_else(|| panic!("{name} is no number in {claims}"));
        #[expect(clippy::cast_precision_loss, reason = "a date in seconds is whole in a float")]
        let present = NOW as f64;
        assert!(date("exp") > present && date("iat") <= present + 60.0 && date("exp") - date("iat") < 901.0);
        assert!(claims["nbf"].is_null() || date("nbf") <= present, "null is absent");
        let principal = &verified.principal;
        assert!(
            KEYS.verifier.subject_token(&token, SubjectTokenType::Jwt, Partitions::ONE, now).is_err(),
            "ours is nobody's to exchange"
        );
        assert_eq!(principal.subject.as_str(), text("sub"));
        assert_eq!(principal.session.map(|id| id.to_string()).as_deref(), Some(text("sid")));
        assert_eq!(principal.generation.map(|generation| u64::from(generation.0)), claims["gen"].as_u64());
        assert_eq!(principal.token.as_ref().map(ToString::to_string).as_deref(), Some(text("jti")));
        assert!(RESERVED_CLAIMS.iter().all(|name| !principal.claims.contains_key(*name)));
        assert!(KEYS.verifier.knows_signer_of(&verified) && principal.window.check(now).is_ok());
        assert_eq!(KEYS.verifier.subject(&token).as_ref(), Some(&principal.subject));
        let at = payload.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte))) % token.len();
        let byte = some_character(payload);
        let mut other = token.clone().into_bytes();
        if other[at] != byte {
            other[at] = byte;
            let other = String::from_utf8(other).expect("ASCII");
            assert!(KEYS.verifier.verify(&other, now).is_err(), "{other} is as good as {token}");
        }
    }
    // What others wrote cannot be good, whatever it is.
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(KEYS.verifier.verify(text, now).is_err() && KEYS.verifier.subject(text).is_none());
    }
}

/// Some character that tokens are made of.
fn some_character(bytes: &[u8]) -> u8 {
    const CHARACTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=";
    CHARACTERS[usize::from(bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_mul(5).wrapping_add(*byte))) % CHARACTERS.len()]
}

/// A header as a line, then a payload, signed with the key of legacy tokens: one that is taken ends in time, has a session of its own,
/// and grants nothing under a name that is the gateway's.
pub fn legacy_token(bytes: &[u8]) {
    static OLD: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::hmac(Algorithm::Hs256, &[8; 32]).expect("a key").0);
    let mut input = Input::new(bytes);
    let (header, payload) = (input.line(), input.rest());
    let token = signed(&OLD, header, payload);
    let now = Timestamp::from_secs(NOW);
    let old = KEYS.verifier.legacy(&token, now);
    assert_eq!(old.is_some(), KEYS.verifier.verify(&token, now).is_ok());
    let Some(old) = old else { return };
    let claims: Value = serde_json::from_slice(payload).expect("a payload is JSON");
    assert_eq!(claims["type"], "access");
    assert!(old.principal.expires_at <= old_policy().accepted_until && old.principal.expires_at > now);
    let subject = claims.get("sub").or_else(|| claims.pointer("/user/id")).expect("a subject");
    let said = subject.as_str().map_or_else(|| subject.to_string(), str::to_owned);
    assert_eq!(old.principal.subject.as_str(), said);
    assert!(
        old.session.token_maker() == Some(TokenMaker::Api)
            && old.principal.session == Some(old.session)
            && old.principal.is_legacy()
    );
    assert_eq!(old.grant.claims.get("role"), claims.pointer("/user/role"));
    assert!(old.grant.claims.keys().all(|name| name == "role"));
    assert_eq!(KEYS.verifier.legacy(&token, now).as_ref(), Some(&old), "the same token, the same session");
    let exchanged = KEYS.verifier.subject_token(&token, SubjectTokenType::Jwt, Partitions::ONE, now);
    assert_eq!(exchanged.as_ref().ok(), Some(&old), "and the same at every endpoint");
}

/// What comes in the place of a refresh token: only what we sealed opens, and in its one spelling.
pub fn refresh_token(bytes: &[u8]) {
    static TOKENS: LazyLock<RefreshTokens> = LazyLock::new(|| {
        let secrets = ["01fe".repeat(16), "02fd".repeat(16)].map(|text| DeploymentSecret::parse(&text).expect("a secret"));
        RefreshTokens::new(&secrets).expect("two secrets")
    });
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Some(token) = TOKENS.open(text) {
            assert_eq!(TOKENS.seal(token.session, token.presented).expose(), text);
        }
        let digest = digest_of(text);
        assert!(digest.is_none() || !text.starts_with(PREFIX));
        let read = read_digest(text);
        assert!(
            read.is_none_or(|read| [hex(read), format!("\\x{}", hex(read))].iter().all(|text| read_digest(text) == Some(read)))
        );
    }
    let mut input = Input::new(bytes);
    let session = SessionId::from_bytes(input.bytes());
    let number = |input: &mut Input<'_>| Generation(u32::from_be_bytes(input.bytes()));
    let presented = Presented { generation: number(&mut input), parent: number(&mut input) };
    let sealed = TOKENS.seal(session, presented);
    let opened = TOKENS.open(sealed.expose()).expect("what was sealed opens");
    assert_eq!((opened.session, opened.presented), (session, presented));
    let mut other = sealed.expose().clone().into_bytes();
    let at = usize::from(input.byte()) % TOKEN_LEN;
    let byte = input.byte() & 0x7f;
    if other[at] != byte {
        other[at] = byte;
        assert_eq!(TOKENS.open(std::str::from_utf8(&other).expect("ASCII")), None, "another byte at {at}");
    }
    let digest = ImportedDigest::from_bytes(*array(bytes));
    let base64 = STANDARD.encode(digest.as_bytes());
    for text in [hex(digest), base64.clone(), base64.replace('+', "-").replace('/', "_")] {
        assert_eq!(read_digest(&text), Some(digest), "{text}");
    }
}

fn hex(digest: ImportedDigest) -> String {
    digest.as_bytes().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn array(bytes: &[u8]) -> &[u8; 32] {
    bytes.first_chunk().unwrap_or(&[0xa5; 32])
}

/// A choice of algorithms and of where the set is from, then the set: what is used is allowed, and publishing makes it no worse.
pub fn key_set(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.byte();
    let origin = if input.byte() & 1 == 1 { JwksOrigin::File } else { JwksOrigin::Url };
    let chosen = |(at, algorithm)| (choice.rotate_right(at) & 1 == 1).then_some(algorithm);
    let allowed: Vec<Algorithm> = (0..).zip(Algorithm::ALL).filter_map(chosen).collect();
    let Ok(set) = ForeignKeys::parse(input.rest(), &allowed, origin) else { return };
    assert!(!set.keys().is_empty() && set.keys().len() + set.skipped().len() <= JWKS_KEYS_MAX && set.is_same(&set.clone()));
    for entry in set.keys() {
        let algorithm = entry.key.algorithm();
        assert!(allowed.contains(&algorithm), "{algorithm:?} is not allowed");
        let is_symmetric = matches!(algorithm, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512);
        assert!(!is_symmetric || origin == JwksOrigin::File, "anyone can read this secret");
        if let Some(jwk) = entry.key.jwk("k") {
            let published = serde_json::json!({ "keys": [jwk] }).to_string();
            let again =
                ForeignKeys::parse(published.as_bytes(), &[algorithm], JwksOrigin::Url).expect("what is published is read");
            assert_eq!(again.keys()[0].key.identity(), entry.key.identity());
        }
    }
}

/// DER, and PEM around it: read in its one form alone.
pub fn public_key(bytes: &[u8]) {
    if let Some(parts) = der::public_key_info(bytes) {
        assert_eq!(written(&parts), bytes, "another form of the same key");
    }
    for algorithm in Algorithm::ALL {
        if let Ok(key) = VerifyingKey::from_spki_as(algorithm, bytes) {
            assert_eq!(key.algorithm(), algorithm);
        }
        let _ = LegacyKey::public(None, algorithm, bytes);
    }
    let _ = (der::private_key_kind(bytes), der::private_rsa_modulus(bytes), SigningKey::from_pkcs8(bytes).is_ok());
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes).filter_map(Result::ok);
    for (_, der) in sections.take(4) {
        if let Some(parts) = der::public_key_info(&der) {
            assert_eq!(written(&parts), der);
        }
    }
}

/// `SubjectPublicKeyInfo` by the letter of X.690, section 10.
fn written(parts: &PublicParts<'_>) -> Vec<u8> {
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let element = |tag: u8, content: &[u8]| {
        let [high, low] = u16::try_from(content.len()).expect("no key is that long").to_be_bytes();
        let header = match (high, low) {
            (0, 0..=0x7f) => vec![tag, low],
            (0, _) => vec![tag, 0x81, low],
            (_, _) => vec![tag, 0x82, high, low],
        };
        [&header, content].concat()
    };
    let integer = |magnitude: &[u8]| {
        let sign: &[u8] = if magnitude.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
        element(2, &[sign, magnitude].concat())
    };
    let curve = |oid: &[u8]| [element(6, EC), element(6, oid)].concat();
    let (algorithm, key) = match parts {
        PublicParts::Ec(KeyKind::P256, point) => (curve(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]), point.to_vec()),
        PublicParts::Ec(_, point) => (curve(&[0x2b, 0x81, 0x04, 0x00, 0x22]), point.to_vec()),
        PublicParts::Ed25519(key) => (element(6, &[0x2b, 0x65, 0x70]), key.to_vec()),
        PublicParts::Rsa { n, e } => {
            let oid = element(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]);
            ([&oid[..], &[5, 0]].concat(), element(0x30, &[integer(n), integer(e)].concat()))
        }
    };
    element(0x30, &[element(0x30, &algorithm), element(3, &[&[0], &key[..]].concat())].concat())
}
