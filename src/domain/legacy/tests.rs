use std::num::NonZeroU16;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::replica::Replica;
use crate::domain::revocation::{Cutoff, Revocation, Target};
use crate::domain::subject_token::SubjectTokenLives;
use crate::domain::subjects::ReservedPrefixes;

const NOW: i64 = 1_700_000_000;
const DIGEST: [u8; 32] = [9; 32];

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn policy() -> LegacyPolicy {
    LegacyPolicy {
        name: "old-api".into(),
        issuer: None,
        audiences: AudienceRule::Unchecked,
        required_claims: Vec::new(),
        subject_claims: ["sub", "id", "userId", "/user/id"].map(ClaimPath::new).to_vec(),
        subjects: SubjectRule::Ours(ReservedPrefixes::default()),
        scope_claims: vec![ClaimPath::new("scope")],
        claims: Vec::new(),
        needs_expiry: true,
        lifetime_max: None,
        accepted_until: at(NOW + 1_000_000),
        exchange: ExchangeRule::Once,
        partitions: Partitions::new(NonZeroU16::new(16).unwrap()),
    }
}

fn judge(claims: &Value, policy: &LegacyPolicy) -> Result<SubjectToken, Denial> {
    check(AccessClaims::read(claims.to_string().as_bytes())?, policy, &DIGEST, at(NOW))
}

/// As an API makes them that knows no more of JWTs than its library's README.
fn plain() -> Value {
    json!({"id": 42, "email": "ada@example.com", "iat": NOW - 10, "exp": NOW + 60})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = plain();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = plain();
    claims.as_object_mut().unwrap().shift_remove(name);
    claims
}

#[test]
fn a_token_without_typ_jti_iss_and_aud_names_its_subject() {
    let token = judge(&plain(), &policy()).unwrap();
    let principal = &token.principal;
    assert_eq!((principal.subject.as_str(), &*principal.issuer), ("42", "old-api"));
    assert!(principal.is_legacy() && principal.session == Some(token.session) && principal.token.is_none());
    assert_eq!(principal.claims["email"], "ada@example.com");
    assert!(!principal.claims.contains_key("id"));
}

#[test]
fn the_first_claim_that_is_there_is_the_subject_whatever_it_holds() {
    let subject = |claims: &Value| judge(claims, &policy()).map(|token| token.principal.subject.as_str().to_owned());
    assert_eq!(subject(&with("sub", json!("s"))).unwrap(), "s");
    assert_eq!(subject(&with("sub", json!(7))).unwrap(), "7", "old services write integers there");
    let mut nested = without("id");
    nested["user"] = json!({"id": "n"});
    assert_eq!(subject(&nested).unwrap(), "n");
    assert_eq!(subject(&without("id")), Err(Denial::Invalid("the subject is missing")));
    assert_eq!(subject(&with("sub", json!(null))).unwrap(), "42", "null is absent");
    for bad in [json!(true), json!(1.5), json!(""), json!(["s"]), json!({"id": 1}), json!("a\nb")] {
        assert!(subject(&with("sub", bad.clone())).is_err(), "{bad}: the next claim is not asked");
    }
}

#[test]
fn nothing_lives_beyond_the_cut_off() {
    let claims = with("exp", json!(NOW + 10_000_000));
    let token = judge(&claims, &policy()).unwrap();
    assert_eq!(token.principal.expires_at, policy().accepted_until);
    for (accepted_until, verdict) in [(NOW + 1, Ok(())), (NOW, Err(Denial::Expired)), (NOW - 1, Err(Denial::Expired))] {
        let policy = LegacyPolicy { accepted_until: at(accepted_until), ..policy() };
        assert_eq!(judge(&claims, &policy).map(|_| ()), verdict);
    }
}

#[test]
fn a_token_without_exp_is_accepted_by_choice_alone_and_ends_with_the_others() {
    assert_eq!(judge(&without("exp"), &policy()), Err(Denial::Invalid("exp is missing")));
    let lenient = LegacyPolicy { needs_expiry: false, ..policy() };
    assert_eq!(judge(&without("exp"), &lenient).unwrap().principal.expires_at, lenient.accepted_until);
    let bounded = LegacyPolicy { lifetime_max: Some(Duration::from_secs(100)), ..lenient };
    assert_eq!(judge(&without("exp"), &bounded).unwrap().principal.expires_at, at(NOW + 90));
}

#[test]
fn a_longest_life_counts_from_iat_which_must_then_be_there() {
    let bounded = LegacyPolicy { lifetime_max: Some(Duration::from_secs(70)), ..policy() };
    assert!(judge(&plain(), &bounded).is_ok());
    assert_eq!(judge(&with("exp", json!(NOW + 61)), &bounded), Err(Denial::Invalid("the lifetime is too long")));
    assert_eq!(judge(&without("iat"), &bounded), Err(Denial::Invalid("iat is missing")));
    assert!(judge(&without("iat"), &policy()).is_ok());
}

#[test]
fn times_are_judged_as_strictly_as_elsewhere() {
    assert_eq!(judge(&with("exp", json!(NOW)), &policy()), Err(Denial::Expired));
    assert!(judge(&with("nbf", json!(NOW + 1)), &policy()).is_err());
    assert!(judge(&with("iat", json!(NOW + 60)), &policy()).is_ok());
    assert!(judge(&with("iat", json!(NOW + 61)), &policy()).is_err());
    for (name, value) in [("exp", json!("1700000060")), ("iat", json!("now")), ("nbf", json!(true)), ("exp", json!(-1))] {
        assert!(judge(&with(name, value.clone()), &policy()).is_err(), "{name}: {value}");
    }
}

#[test]
fn issuer_audience_and_required_claims_are_exact_where_they_are_asked_for() {
    let strict = LegacyPolicy {
        issuer: Some("https://api.example".into()),
        audiences: AudienceRule::AnyOf(["web".to_owned()].into()),
        required_claims: vec![(ClaimPath::new("type"), "access".into()), (ClaimPath::new("/ctx/kind"), "user".into())],
        ..policy()
    };
    let mut good = plain();
    good["iss"] = json!("https://api.example");
    good["aud"] = json!(["web", "other"]);
    good["type"] = json!("access");
    good["ctx"] = json!({"kind": "user"});
    assert!(judge(&good, &strict).is_ok());
    for (name, value) in [
        ("iss", json!("https://api.example/")),
        ("aud", json!("other")),
        ("type", json!("refresh")),
        ("type", json!(["access"])),
        ("ctx", json!({})),
    ] {
        let mut bad = good.clone();
        bad[name] = value.clone();
        assert!(judge(&bad, &strict).is_err(), "{name}: {value}");
        bad.as_object_mut().unwrap().shift_remove(name);
        assert!(judge(&bad, &strict).is_err(), "{name} left out");
    }
}

#[test]
fn claims_are_taken_over_under_their_new_names_alone() {
    let policy = LegacyPolicy {
        claims: vec![("role".into(), ClaimPath::new("/u/r")), ("plan".into(), ClaimPath::new("tier"))],
        ..policy()
    };
    let mut claims = with("u", json!({"r": "admin"}));
    claims["role"] = json!("impostor");
    claims["plan"] = json!("impostor");
    claims["scope"] = json!("a b");
    let token = judge(&claims, &policy).unwrap();
    assert_eq!(Value::Object(token.grant.claims.clone()), json!({"role": "admin"}));
    assert_eq!(token.grant.scopes, ["a", "b"]);
    assert_eq!(token.principal.claims["role"], "admin");
    assert!(!token.principal.claims.contains_key("plan"), "nothing stands where a mapped claim would");
}

proptest! {
    #[test]
    fn none_is_accepted_outside_its_window_or_after_the_cut_off(
        exp in proptest::option::of(0..4_000_000_000_i64), iat in proptest::option::of(0..4_000_000_000_i64),
        nbf in 0..4_000_000_000_i64, cut_off in 0..4_000_000_000_i64, now in 0..4_000_000_000_i64,
        life in proptest::option::of(0..100_000_000_u64),
    ) {
        let mut claims = json!({"id": "u", "nbf": nbf});
        for (name, value) in [("exp", exp), ("iat", iat)] {
            if let Some(value) = value {
                claims[name] = json!(value);
            }
        }
        let lifetime_max = life.map(Duration::from_secs);
        let policy = LegacyPolicy { needs_expiry: false, lifetime_max, accepted_until: at(cut_off), ..policy() };
        let read = AccessClaims::read(claims.to_string().as_bytes()).unwrap();
        if let Ok(token) = check(read, &policy, &DIGEST, at(now)) {
            prop_assert!(now < cut_off && now >= nbf && exp.is_none_or(|exp| now < exp) && iat.is_none_or(|iat| iat <= now + 60));
            let end = token.principal.expires_at;
            prop_assert!(at(now) < end && end <= policy.accepted_until);
            let remembered = SubjectTokenLives::default().with(policy.accepted_until, lifetime_max).end_by(at(now)).unwrap();
            prop_assert!(end <= remembered, "a revocation would be forgotten before the token ends");
        } else {
            let is_outside = now >= cut_off || now < nbf || exp.is_some_and(|exp| now >= exp);
            let is_from_ahead = iat.is_some_and(|iat| iat > now + 60);
            let latest = life.map(|life| iat.map(|iat| iat + life.cast_signed()));
            let is_too_long = latest.is_some_and(|latest| latest.is_none_or(|latest| exp.unwrap_or(now + 1) > latest));
            prop_assert!(is_outside || is_from_ahead || is_too_long);
        }
    }

    /// Legacy token and session are one login: whatever revokes the subject covers both or neither.
    #[test]
    fn a_revoked_subject_covers_legacy_token_and_session_alike(iat in proptest::option::of(0..NOW), before in 0..NOW * 1000) {
        let mut claims = json!({"id": "u", "exp": NOW + 1});
        if let Some(iat) = iat {
            claims["iat"] = json!(iat);
        }
        let token = judge(&claims, &policy()).unwrap();
        let issued_before = Timestamp::from_millis(before);
        let target = Target::Subject { subject: token.principal.subject.clone(), issued_before: Cutoff::named(issued_before) };
        let replica = Replica::new();
        replica.insert(&Revocation { target, revoked_at: issued_before, forget_at: Timestamp::MAX });
        prop_assert_eq!(replica.covers(&token.principal).is_some(), token.session.created_at() < issued_before);
        prop_assert_eq!(replica.covers(&token.principal).is_some(), iat.map_or(before > 0, |iat| iat * 1000 < before));
    }
}
