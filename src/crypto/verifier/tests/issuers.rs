//! Keys and tokens of several issuers.

use super::*;

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

#[test]
fn what_is_cached_is_kept_while_all_keys_and_policies_stay() {
    let ring = ring(Algorithm::Es256);
    let epoch = Verifier::new().with_own(&ring, policy()).epoch();
    assert_eq!(Verifier::new().with_own(&ring, policy()).epoch(), epoch, "a reload that changed nothing keeps what is cached");
    let stricter = ClaimPolicy { lifetime_max: Duration::from_secs(60), ..policy() };
    let changed = [
        with_another_issuer(Verifier::new().with_own(&ring, policy())),
        with_another_issuer(Verifier::new()),
        Verifier::new().with_own(&ring, stricter),
    ];
    assert!(changed.iter().all(|changed| changed.epoch() != epoch));
}

#[test]
fn what_a_key_has_signed_is_known_as_its_issuers_until_the_key_goes() {
    let (ring, other) = (ring(Algorithm::Es256), ring(Algorithm::Es256));
    let verified = Verifier::new().with_own(&ring, policy()).verify(&minted(&ring), now()).unwrap();
    let stays = |verifier: Verifier| verifier.knows_signer_of(&verified);
    let partner = SubjectRule::Ours([SubjectPrefix::new("partner:").unwrap()].into_iter().collect());
    for other_policy in [
        policy(),
        ClaimPolicy { lifetime_max: Duration::from_secs(60), ..policy() },
        ClaimPolicy { audiences: AudienceRule::AnyOf(["other".to_owned()].into()), ..policy() },
        ClaimPolicy { issuer: "https://another.example".into(), ..policy() },
        ClaimPolicy { subjects: partner, ..policy() },
    ] {
        assert!(stays(Verifier::new().with_own(&ring, other_policy.clone())), "{other_policy:?}");
    }
    assert!(stays(with_another_issuer(Verifier::new().with_own(&ring, policy()))));
    assert!(!stays(Verifier::new().with_own(&other, policy())), "the key was taken out");
    assert!(!stays(with_another_issuer(Verifier::new())), "all of ours were");
    let theirs = ring.keys().iter().map(|entry| (Some(&*entry.kid), &entry.key));
    assert!(!stays(Verifier::new().with_keys(theirs, foreign_policy(ISSUER))), "it is another issuer's now");
}

#[test]
fn a_key_that_issuers_share_stays_for_those_of_them_that_stay() {
    let (signing, key) = key(Algorithm::EdDsa);
    let key = Arc::new(key);
    let with = |issuers: &[&str]| {
        issuers
            .iter()
            .fold(Verifier::new(), |verifier, issuer| verifier.with_keys([(Some(KID), &key)].into_iter(), foreign_policy(issuer)))
    };
    let mut theirs = claims();
    theirs["iss"] = json!("b");
    let verified = with(&["a", "b"]).verify(&token(&signing, header(Algorithm::EdDsa), theirs), now()).unwrap();
    assert!(with(&["b"]).knows_signer_of(&verified));
    assert!(!with(&["a"]).knows_signer_of(&verified));
}
