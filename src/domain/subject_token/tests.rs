use std::num::NonZeroU16;

use serde_json::json;

use super::*;
use crate::domain::claim_policy::{AudienceRule, ExchangeTerms};
use crate::domain::subjects::{SubjectPrefix, SubjectRule};

const NOW: i64 = 1_700_000_000;
const DIGEST: [u8; 32] = [9; 32];

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn partitions() -> Partitions {
    Partitions::new(NonZeroU16::new(16).unwrap())
}

fn any_of(names: &[&str]) -> AudienceRule {
    AudienceRule::AnyOf(names.iter().map(|name| (*name).to_owned()).collect())
}

fn policy() -> ClaimPolicy {
    let subjects = SubjectRule::Prefixed(SubjectPrefix::new("idp:").unwrap());
    let terms = ExchangeTerms {
        rule: ExchangeRule::Once,
        audiences: any_of(&["app"]),
        claims: vec![("role".to_owned(), ClaimPath::new("/realm/role")), ("plan".to_owned(), ClaimPath::new("plan"))],
        scopes: vec!["read".to_owned(), "write".to_owned()],
    };
    ClaimPolicy {
        exchange: Some(terms),
        ..ClaimPolicy::foreign("https://idp.example", any_of(&["api"]), Duration::from_secs(3600), subjects)
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://idp.example", "sub": "7", "aud": "app", "iat": NOW - 5, "exp": NOW + 60, "auth_time": NOW - 30,
        "scope": "openid write email", "realm": {"role": "admin"}, "email": "a@example.com",
    })
}

fn judge_by(claims: &Value, policy: &ClaimPolicy) -> Result<SubjectToken, Denial> {
    judge_as(SubjectTokenType::Jwt, claims, policy)
}

fn judge_as(kind: SubjectTokenType, claims: &Value, policy: &ClaimPolicy) -> Result<SubjectToken, Denial> {
    check(AccessClaims::read(claims.to_string().as_bytes())?, policy, kind, &DIGEST, partitions(), at(NOW))
}

fn judge(claims: &Value) -> Result<SubjectToken, Denial> {
    judge_by(claims, &policy())
}

#[test]
fn a_token_of_an_issuer_grants_what_its_terms_say_and_nothing_else() {
    let token = judge(&claims()).unwrap();
    assert_eq!(token.principal.subject.as_str(), "idp:7");
    assert_eq!(token.grant.scopes, ["write"], "what the issuer's other scopes mean is not ours to say");
    assert_eq!(Value::Object(token.grant.claims.clone()), json!({"role": "admin"}));
    assert_eq!(token.grant.logged_in_at, Some(at(NOW - 30)));
    let partition = partitions().of(&token.principal.subject);
    assert_eq!(token.session, SessionId::of_subject_token(TokenMaker::Issuer, partition, Some(at(NOW - 5)), &DIGEST));
    assert_eq!(token.principal.session, None, "shown to the API, it belongs to no session");
}

#[test]
fn a_token_is_exchanged_by_all_rules_of_its_issuer_and_by_its_own_audiences() {
    for (name, value) in [
        ("aud", json!("api")),
        ("aud", json!([])),
        ("iss", json!("https://other.example")),
        ("exp", json!(NOW - 60)),
        ("exp", json!(NOW + 36_000)),
        ("iat", json!(NOW + 61)),
        ("nbf", json!(NOW + 61)),
        ("sub", json!("")),
        ("sub", json!(["7"])),
    ] {
        let mut claims = claims();
        claims[name] = value.clone();
        assert!(judge(&claims).is_err(), "{name}: {value}");
    }
    let mut both = claims();
    both["aud"] = json!(["else", "app"]);
    assert!(judge(&both).is_ok());
    let not = ClaimPolicy { exchange: None, ..policy() };
    assert!(judge_by(&claims(), &not).is_err());
    assert!(
        claims::check(AccessClaims::read(claims().to_string().as_bytes()).unwrap(), &policy(), at(NOW)).is_err(),
        "nor is it the API's"
    );
}

#[test]
fn what_is_asked_for_is_a_part_of_what_is_granted() {
    let scopes = |asked: &str| judge(&claims()).unwrap().narrowed(asked).map(|token| token.grant.scopes);
    assert_eq!((scopes("write"), scopes(" ")), (Some(vec!["write".to_owned()]), Some(vec![])));
    for beyond in ["read", "write openid", "WRITE"] {
        assert_eq!(scopes(beyond), None, "{beyond}");
    }
}

#[test]
fn a_type_is_read_as_the_rfc_writes_it_and_an_access_token_is_no_id_token() {
    let of = |name: &str| SubjectTokenType::of_urn(&format!("urn:ietf:params:oauth:token-type:{name}"));
    assert_eq!(
        (of("access_token"), of("id_token"), of("jwt")),
        (Some(SubjectTokenType::AccessToken), Some(SubjectTokenType::IdToken), Some(SubjectTokenType::Jwt))
    );
    for other in ["refresh_token", "saml1", "saml2", "", "JWT", "jwt "] {
        assert_eq!(of(other), None, "{other}");
    }
    assert_eq!(SubjectTokenType::of_urn("jwt"), None);
}

#[test]
fn a_token_with_a_purpose_of_its_own_is_exchanged_only_where_the_settings_name_its_type() {
    let kinds = |typ: Option<&str>, types: &TypeRule| {
        [SubjectTokenType::IdToken, SubjectTokenType::AccessToken, SubjectTokenType::Jwt].map(|kind| kind.can_have(typ, types))
    };
    let named = |name: &str| TypeRule::AnyOf([name.to_owned()].into());
    for plain in [None, Some("JWT"), Some("jwt"), Some("application/jwt")] {
        assert_eq!(kinds(plain, &TypeRule::Unchecked), [true; 3], "{plain:?}");
        assert_eq!(kinds(plain, &named("at+jwt")), [false; 3], "{plain:?}");
    }
    for access in ["at+jwt", "application/AT+JWT"] {
        assert_eq!(kinds(Some(access), &TypeRule::Unchecked), [false, true, true], "an access token is no ID token");
        assert_eq!(kinds(Some(access), &named("at+jwt")), [false, true, true]);
    }
    for other in ["logout+jwt", "secevent+jwt", "token-introspection+jwt", "oauth-authz-req+jwt", "dpop+jwt", "JOSE", ""] {
        assert_eq!(kinds(Some(other), &TypeRule::Unchecked), [false; 3], "{other}");
    }
    assert_eq!(kinds(Some("partner+jwt"), &named("partner+jwt")), [true; 3]);
}

#[test]
fn a_token_of_an_event_or_of_another_client_is_not_exchanged() {
    let with = |kind, name: &str, value: Value| {
        let mut claims = claims();
        claims["aud"] = json!(["other", "app"]);
        claims[name] = value;
        judge_as(kind, &claims, &policy()).is_ok()
    };
    let (id_token, access_token) = (SubjectTokenType::IdToken, SubjectTokenType::AccessToken);
    assert!(!with(SubjectTokenType::Jwt, "events", json!({"http://schemas.openid.net/event/backchannel-logout": {}})));
    assert!(with(id_token, "azp", json!("app")) && !with(id_token, "azp", json!("other")) && !with(id_token, "azp", json!(7)));
    assert!(with(access_token, "azp", json!("other")), "a client of the provider that calls for its user");
}

#[test]
fn revocations_are_remembered_as_long_as_subject_tokens_live() {
    let day = Duration::from_secs(86_400);
    assert_eq!(SubjectTokenLives::default().end_by(at(NOW)), None);
    let lives = SubjectTokenLives::default().with(at(NOW + 1_000_000), None);
    assert_eq!(lives.end_by(at(NOW)), Some(at(NOW + 1_000_000)));
    let short = SubjectTokenLives::default().with(at(NOW + 1_000_000), Some(day));
    assert_eq!(short.end_by(at(NOW)), Some(at(NOW + 86_400 + 60)));
    assert_eq!(short.end_by(at(NOW + 999_999)), Some(at(NOW + 1_000_000)));
    assert_eq!(short.with(at(NOW + 500_000), None).end_by(at(NOW)), Some(at(NOW + 500_000)));
}
