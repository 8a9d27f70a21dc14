//! What is read out of the claims of a token whose signature is good: held against the policy of their issuer.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::access_claims::{AccessClaims, ClaimError, LOGIN_CLAIM};
use super::claim_policy::{AudienceRule, ClaimPath, ClaimPolicy, IssuerKind, TypeRule};
use super::ids::{Generation, SessionId, Subject};
use super::subjects::SubjectError;
use super::time::{CLOCK_SKEW_MAX, Timestamp};

mod denial;
mod principal;

pub use denial::{Denial, Ending, RevokedBy, Undecided};
pub use principal::{Principal, Window};

/// The claims that the gateway writes into its own tokens, and judges in others': no upstream and no mapping of the operator's sets
/// them.
pub const RESERVED_CLAIMS: [&str; 10] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "gen", "scope"];

/// Names the OAuth client that a token was issued to (RFC 9068, section 2.2). Foreign tokens may carry it; nobody else can grant it.
pub const CLIENT_CLAIM: &str = "client_id";

/// Whether an operator's mapping may set a claim of this name in our own tokens.
#[must_use]
pub fn is_mappable(name: &str) -> bool {
    !RESERVED_CLAIMS.contains(&name) && name != CLIENT_CLAIM && name != LOGIN_CLAIM
}

impl From<SubjectError> for Denial {
    fn from(error: SubjectError) -> Self {
        Self::Invalid(match error {
            SubjectError::Name(_) => "the subject is empty, too long or has control characters",
            SubjectError::Reserved(_) => "the subject is kept for another issuer's users or for machines",
        })
    }
}

impl From<ClaimError> for Denial {
    fn from(error: ClaimError) -> Self {
        Self::Invalid(error.cause())
    }
}

/// Holds the claims of a token whose signature is good against the policy of the issuer whose key made it.
pub fn check(claims: AccessClaims, policy: &ClaimPolicy, now: Timestamp) -> Result<Principal, Denial> {
    check_for(claims, policy, &policy.audiences, now)
}

/// The same for a token that must name other audiences.
pub(super) fn check_for(
    mut claims: AccessClaims,
    policy: &ClaimPolicy,
    audience_rule: &AudienceRule,
    now: Timestamp,
) -> Result<Principal, Denial> {
    if claims.issuer.as_deref() != Some(&*policy.issuer) {
        return Err(Denial::Invalid("iss is not the issuer of the key"));
    }
    let expires_at = claims.expires_at.ok_or(Denial::Invalid("exp is missing"))?;
    let window = Window::new(claims.not_before, expires_at, policy.leeway());
    window.check(now)?;
    check_lifetime(&claims, expires_at, policy, now)?;
    let audiences = claims.audiences_at(&policy.audience_claims)?;
    if !audience_rule.admits(&audiences) {
        return Err(Denial::Invalid("aud does not name us"));
    }
    let (session, generation) = match policy.kind {
        IssuerKind::Own => {
            claims.check_names()?;
            if claims.token.is_none() {
                return Err(Denial::Invalid("jti is missing"));
            }
            if is_of_a_machine(&claims.rest) {
                (None, None)
            } else {
                (Some(own_session(&claims.rest)?), Some(own_generation(&claims.rest)?))
            }
        }
        IssuerKind::Foreign => (None, None),
    };
    let subject = named_subject(&claims, policy)?;
    let scopes = claims.scopes(&policy.scope_claims)?;

    let logged_in_at = claims.logged_in_at();

    for path in
        policy.scope_claims.iter().chain([&policy.subject_claim]).filter(|path| !policy.trusted_claims.lists(path.as_str()))
    {
        claims.rest.shift_remove(path.as_str());
    }
    if policy.kind == IssuerKind::Own {
        claims.rest.shift_remove("sid");
        claims.rest.shift_remove("gen");
    }
    Ok(Principal {
        subject,
        issuer: policy.issuer.clone(),
        session,
        generation,
        token: claims.token,
        audiences,
        scopes,
        issued_at: claims.issued_at,
        logged_in_at,
        not_before: claims.not_before,
        expires_at,
        window,
        claims: policy.trusted_claims.of(claims.rest),
    })
}

/// `iat` must not lie ahead, and a token must not be made to live longer than the policy allows.
fn check_lifetime(claims: &AccessClaims, expires_at: Timestamp, policy: &ClaimPolicy, now: Timestamp) -> Result<(), Denial> {
    let (from, lifetime_max) = match (claims.issued_at, policy.kind) {
        (Some(issued_at), IssuerKind::Own | IssuerKind::Foreign) => (issued_at, policy.lifetime_max),
        (None, IssuerKind::Own) => return Err(Denial::Invalid("iat is missing")),
        (None, IssuerKind::Foreign) => (now, policy.lifetime_max.saturating_add(policy.leeway())),
    };
    check_issued(from, now)?;
    if expires_at.since(from) > lifetime_max {
        return Err(Denial::Invalid("the lifetime is too long"));
    }
    Ok(())
}

/// Another node may have minted the token a moment ago by a clock that runs ahead of ours.
pub(super) fn check_issued(issued_at: Timestamp, now: Timestamp) -> Result<(), Denial> {
    if now.saturating_add(CLOCK_SKEW_MAX) < issued_at { Err(Denial::Invalid("iat lies ahead")) } else { Ok(()) }
}

fn own_session(claims: &Map<String, Value>) -> Result<SessionId, Denial> {
    let text = claims.get("sid").and_then(Value::as_str);
    text.and_then(SessionId::parse).ok_or(Denial::Invalid("sid is not a session id"))
}

fn own_generation(claims: &Map<String, Value>) -> Result<Generation, Denial> {
    let number = claims.get("gen").and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
    number.filter(|number| *number > 0).map(Generation).ok_or(Denial::Invalid("gen is not a generation"))
}

/// Who a token of this policy speaks for, if the rest of it is good.
///
/// # Errors
/// There is no name where the policy looks for one, or it names nobody that the issuer may speak for.
pub fn named_subject(claims: &AccessClaims, policy: &ClaimPolicy) -> Result<Subject, Denial> {
    let name = name_at(&claims.rest, &policy.subject_claim)?;
    match policy.kind {
        IssuerKind::Own if is_of_a_machine(&claims.rest) => {
            own_machine(&claims.rest, policy).filter(|subject| subject.as_str() == name)
        }
        IssuerKind::Own => {
            let subject = match own_session(&claims.rest) {
                Ok(session) => policy.subjects.subject_of_session(&name, session),
                Err(_) => policy.subjects.subject(&name),
            };
            return Ok(subject?);
        }
        IssuerKind::Foreign => return Ok(policy.subjects.subject(&name)?),
    }
    .ok_or(Denial::Invalid("the subject is no machine"))
}

/// Whether a token says itself to be an access token (RFC 9068, section 2.1).
pub(super) fn is_access_token_type(typ: Option<&str>) -> bool {
    TypeRule::access_token().admits(typ)
}

/// Whether one of our own tokens belongs to no session.
fn is_of_a_machine(claims: &Map<String, Value>) -> bool {
    !claims.contains_key("sid") && !claims.contains_key("gen") && claims.contains_key(CLIENT_CLAIM)
}

fn own_machine(claims: &Map<String, Value>, policy: &ClaimPolicy) -> Option<Subject> {
    policy.machines.as_ref()?.subject(claims.get(CLIENT_CLAIM)?.as_str()?)
}

/// A string, or an integer, as user ids often are: some issuers write one into `sub` too.
fn name_at<'a>(claims: &'a Map<String, Value>, path: &ClaimPath) -> Result<Cow<'a, str>, Denial> {
    match path.find(claims) {
        None => Err(Denial::Invalid("the subject is missing")),
        Some(Value::String(text)) => Ok(Cow::Borrowed(text)),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(Cow::Owned(number.to_string())),
        Some(Value::Null | Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            Err(Denial::Invalid("the subject is not a string"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::claim_policy::TrustedClaims;
    use crate::domain::demands::{ClaimDemand, TokenDemands};
    use crate::domain::subjects::{ReservedPrefixes, SubjectPrefix, SubjectRule};

    const NOW: i64 = 1_700_000_000;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn own() -> ClaimPolicy {
        ClaimPolicy::own("https://gate.example", &["api".to_owned()], Duration::from_secs(900))
    }

    fn foreign() -> ClaimPolicy {
        foreign_with(SubjectRule::Ours(ReservedPrefixes::default()))
    }

    fn foreign_with(subjects: SubjectRule) -> ClaimPolicy {
        let audiences = AudienceRule::AnyOf(["api".to_owned()].into());
        ClaimPolicy::foreign("https://idp.example", audiences, Duration::from_secs(86_400), subjects)
    }

    fn own_claims() -> Value {
        json!({
            "iss": "https://gate.example", "sub": "user-1", "aud": "api", "exp": NOW + 900, "iat": NOW, "jti": "t1",
            "sid": SessionId::from_bytes([3; 16]), "gen": 2, "scope": "read write", "plan": "gold",
        })
    }

    fn foreign_claims() -> Value {
        json!({"iss": "https://idp.example", "sub": "user-1", "aud": ["x", "api"], "exp": NOW + 60, "sid": "their own", "scope": "a"})
    }

    fn judge(claims: &Value, policy: &ClaimPolicy) -> Result<Principal, Denial> {
        check(AccessClaims::read(claims.to_string().as_bytes()).unwrap(), policy, at(NOW))
    }

    /// Judges the claims with one of them replaced, or taken out when `value` is null.
    fn judge_with(mut claims: Value, name: &str, value: Value, policy: &ClaimPolicy) -> Result<Principal, Denial> {
        if value.is_null() {
            claims.as_object_mut().unwrap().shift_remove(name);
        } else {
            claims[name] = value;
        }
        judge(&claims, policy)
    }

    #[test]
    fn our_own_token_gives_its_principal() {
        let principal = judge(&own_claims(), &own()).unwrap();
        assert_eq!(principal.subject.as_str(), "user-1");
        assert_eq!(principal.session, Some(SessionId::from_bytes([3; 16])));
        assert_eq!(principal.generation, Some(Generation(2)));
        assert_eq!(principal.scopes, ["read", "write"]);
        assert_eq!(Value::Object(principal.claims), json!({"plan": "gold"}));
    }

    #[test]
    fn a_foreign_token_speaks_for_no_session_of_ours() {
        let mut claims = foreign_claims();
        claims["sid"] = json!(SessionId::from_bytes([3; 16]));
        claims["gen"] = json!(1);
        let principal = judge(&claims, &foreign()).unwrap();
        assert_eq!((principal.session, principal.generation), (None, None));
    }

    #[test]
    fn what_names_a_session_of_its_issuer_is_not_judged() {
        for sid in [json!(7), json!(""), json!({"of": "theirs"}), json!("x".repeat(300))] {
            let principal = judge_with(foreign_claims(), "sid", sid.clone(), &foreign());
            assert!(principal.is_ok_and(|principal| principal.session.is_none()), "{sid}");
        }
    }

    #[test]
    fn a_subject_of_another_issuer_may_be_an_integer_and_nothing_else_that_is_no_string() {
        let subject = |sub: Value| judge_with(foreign_claims(), "sub", sub, &foreign()).map(|p| p.subject.as_str().to_owned());
        assert_eq!(subject(json!(7)), Ok("7".to_owned()));
        assert_eq!(subject(json!(u64::MAX)), Ok(u64::MAX.to_string()), "to the last digit");
        for bad in [json!(7.0), json!(1e20), json!(true), json!([7]), json!({"id": 7}), json!(""), json!("a\n")] {
            assert!(subject(bad.clone()).is_err(), "{bad}");
        }
        assert!(judge_with(own_claims(), "sub", json!(7), &own()).is_err(), "ours are strings");
    }

    #[test]
    fn every_claim_of_our_own_tokens_is_needed() {
        for name in ["iss", "sub", "aud", "exp", "iat", "jti", "sid", "gen"] {
            assert!(judge_with(own_claims(), name, Value::Null, &own()).is_err(), "{name}");
        }
        for (name, value) in [
            ("iss", json!("https://gate.example/")),
            ("aud", json!("other")),
            ("aud", json!([])),
            ("sid", json!("not ours")),
            ("gen", json!(0)),
            ("gen", json!(-1)),
            ("gen", json!("1")),
            ("gen", json!(1.5)),
            ("gen", json!(4_294_967_296_u64)),
            ("iat", json!(NOW + 61)),
            ("exp", json!(NOW + 901)),
            ("nbf", json!(NOW + 1)),
        ] {
            assert!(judge_with(own_claims(), name, value.clone(), &own()).is_err(), "{name}: {value}");
        }
    }

    #[test]
    fn a_token_dies_at_its_exp_and_no_later_than_the_leeway() {
        let principal = judge(&foreign_claims(), &foreign()).unwrap();
        assert_eq!(principal.window.check(at(NOW + 119)), Ok(()), "its issuer's leeway is granted to the end");
        assert_eq!(principal.window.check(at(NOW + 120)), Err(Denial::Expired));
        assert_eq!(principal.expires_at, at(NOW + 60), "what it says of itself stays");
        let mut generous = foreign();
        generous.leeway = Duration::from_secs(3600);
        assert_eq!(generous.leeway(), CLOCK_SKEW_MAX);
        let exp = |secs: i64| judge_with(foreign_claims(), "exp", json!(secs), &generous);
        assert!(exp(NOW - 59).is_ok());
        assert_eq!(exp(NOW - 60), Err(Denial::Expired));
    }

    #[test]
    fn a_token_that_lives_too_long_is_refused_with_and_without_iat() {
        let mut claims = foreign_claims();
        claims["exp"] = json!(NOW + 86_400 + 61);
        assert!(judge(&claims, &foreign()).is_err());
        claims["exp"] = json!(NOW + 86_400 + 60);
        assert!(judge(&claims, &foreign()).is_ok(), "without iat the leeway is granted");
        claims["iat"] = json!(NOW);
        assert!(judge(&claims, &foreign()).is_err());
    }

    #[test]
    fn a_token_from_a_node_whose_clock_runs_ahead_is_taken() {
        assert!(judge_with(own_claims(), "iat", json!(NOW + 60), &own()).is_ok());
    }

    #[test]
    fn the_audience_is_left_unchecked_only_by_choice() {
        let unnamed = |policy: &ClaimPolicy| judge_with(foreign_claims(), "aud", Value::Null, policy);
        assert!(unnamed(&foreign()).is_err());
        assert!(unnamed(&ClaimPolicy { audiences: AudienceRule::AnyOf([].into()), ..foreign() }).is_err());
        assert!(unnamed(&ClaimPolicy { audiences: AudienceRule::Unchecked, ..foreign() }).is_ok());
    }

    #[test]
    fn a_subject_may_stand_elsewhere_and_may_then_be_a_number() {
        let policy = ClaimPolicy { subject_claim: ClaimPath::new("/user/id"), ..foreign() };
        let subject =
            |id: Value| judge_with(foreign_claims(), "user", json!({"id": id}), &policy).map(|p| p.subject.as_str().to_owned());
        assert_eq!(subject(json!(42)).unwrap(), "42");
        assert_eq!(subject(json!("u")).unwrap(), "u");
        for bad in [json!(1.5), json!(""), json!(true), json!(["u"]), json!("a\u{7}")] {
            assert!(subject(bad.clone()).is_err(), "{bad}");
        }
        assert!(judge(&foreign_claims(), &policy).is_err());
    }

    #[test]
    fn the_users_of_another_issuer_are_nobody_of_ours() {
        let prefix = SubjectPrefix::new("partner:").unwrap();
        let subject = |rule: &SubjectRule, name: &str| {
            let judged = judge_with(foreign_claims(), "sub", json!(name), &foreign_with(rule.clone()));
            judged.map(|principal| principal.subject.as_str().to_owned())
        };
        let prefixed = SubjectRule::Prefixed(prefix.clone());
        assert_eq!(subject(&prefixed, "7").unwrap(), "partner:7");
        assert_eq!(subject(&prefixed, "partner:7").unwrap(), "partner:partner:7");
        let shared = SubjectRule::Ours([prefix.clone()].into_iter().collect());
        assert_eq!(subject(&shared, "7").unwrap(), "7");
        assert!(subject(&shared, "partner:7").is_err(), "who shares our users does not speak for the partner's");
        let ours = ClaimPolicy { subjects: shared, ..own() };
        assert!(judge_with(own_claims(), "sub", json!("partner:7"), &ours).is_err(), "nor do our own tokens");
        let elsewhere = ClaimPolicy { subject_claim: ClaimPath::new("/user/id"), ..foreign_with(prefixed) };
        let judged = judge_with(foreign_claims(), "user", json!({"id": 7}), &elsewhere).unwrap();
        assert_eq!(judged.subject.as_str(), "partner:7");
    }

    #[test]
    fn audiences_may_stand_elsewhere() {
        let policy = ClaimPolicy { audience_claims: vec![ClaimPath::new("client_id"), ClaimPath::new("/ctx/aud")], ..foreign() };
        let judge = |further: Value| {
            let mut claims = foreign_claims();
            claims.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
            judge(&claims, &policy).map(|principal| principal.audiences)
        };
        assert_eq!(judge(json!({"client_id": "api"})).unwrap(), ["api"]);
        assert_eq!(judge(json!({"client_id": null, "ctx": {"aud": ["x", "api"]}})).unwrap(), ["x", "api"]);
        assert!(judge(json!({})).is_err(), "aud is not looked at, though it names us");
        assert!(judge(json!({"client_id": 7})).is_err() && judge(json!({"client_id": ["api", 7]})).is_err());
    }

    #[test]
    fn of_another_issuers_claims_those_count_that_are_trusted() {
        let mut claims = foreign_claims();
        (claims["role"], claims["plan"]) = (json!("admin"), json!("gold"));
        assert!(judge(&claims, &foreign()).unwrap().claims.is_empty());
        let trusting = ClaimPolicy { trusted_claims: TrustedClaims::Listed(["plan".to_owned()].into()), ..foreign() };
        assert_eq!(Value::Object(judge(&claims, &trusting).unwrap().claims), json!({"plan": "gold"}));
    }

    #[test]
    fn a_claim_that_is_trusted_stays_one_although_it_is_read_as_scopes() {
        let mut claims = foreign_claims();
        claims["roles"] = json!(["admin"]);
        let scoped = ClaimPolicy { scope_claims: vec![ClaimPath::new("roles")], ..foreign() };
        assert!(judge(&claims, &scoped).unwrap().claims.is_empty());
        let trusting = ClaimPolicy { trusted_claims: TrustedClaims::Listed(["roles".to_owned()].into()), ..scoped };
        let principal = judge(&claims, &trusting).unwrap();
        assert_eq!((principal.scopes, Value::Object(principal.claims)), (vec!["admin".to_owned()], json!({"roles": ["admin"]})));
    }

    fn satisfies(principal: &Principal, demands: &TokenDemands) -> Result<(), Denial> {
        principal.satisfies(demands, at(NOW))
    }

    #[test]
    fn a_route_asks_for_one_audience_and_all_scopes() {
        let principal = judge(&own_claims(), &own()).unwrap();
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Arc<[String]>>();
        let asks = |audiences: &[&str], scopes: &[&str]| {
            let demands = TokenDemands { audiences: list(audiences), scopes: list(scopes), ..TokenDemands::default() };
            satisfies(&principal, &demands)
        };
        assert_eq!(asks(&[], &[]), Ok(()));
        assert_eq!(asks(&["x", "api"], &["write", "read"]), Ok(()));
        assert!(matches!(asks(&["x"], &[]), Err(Denial::Invalid(_))));
        assert_eq!(asks(&[], &["read", "admin"]), Err(Denial::InsufficientScope(list(&["read", "admin"]))));
    }

    #[test]
    fn a_route_asks_for_claims_and_the_denial_names_them_without_their_values() {
        let asks = |claims: &Value, policy: &ClaimPolicy| {
            let demand = ClaimDemand { path: ClaimPath::new("plan"), values: vec!["gold".to_owned()] };
            let demands = TokenDemands { claims: [demand].into(), ..TokenDemands::default() };
            satisfies(&judge(claims, policy).unwrap(), &demands)
        };
        assert_eq!(asks(&own_claims(), &own()), Ok(()));
        let mut silver = own_claims();
        silver["plan"] = json!("silver");
        let denial = asks(&silver, &own()).unwrap_err();
        assert_eq!(denial, Denial::InsufficientClaims(ClaimPath::new("plan")));
        assert!(!denial.to_string().contains("gold") && !denial.to_string().contains("silver"), "{denial}");
        let mut partner = foreign_claims();
        partner["plan"] = json!("gold");
        assert!(asks(&partner, &foreign()).is_err(), "whoever is not trusted with a claim gets nothing by it");
        let trusting = ClaimPolicy { trusted_claims: TrustedClaims::Listed(["plan".to_owned()].into()), ..foreign() };
        assert_eq!(asks(&partner, &trusting), Ok(()));
    }

    #[test]
    fn a_login_is_recent_by_auth_time_and_by_nothing_else() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let demands = TokenDemands { login_age_max: Some(minutes(10)), ..TokenDemands::default() };
        let asks = |value: Value, claims: Value, policy: &ClaimPolicy| {
            satisfies(&judge_with(claims, "auth_time", value, policy).unwrap(), &demands)
        };
        let recent = [json!(NOW), json!(NOW - 600), json!(1_699_999_400.5), json!(NOW + 60)];
        let not_recent =
            [Value::Null, json!(NOW - 601), json!(NOW + 61), json!(NOW.to_string()), json!(true), json!(-1), json!(0)];
        for (claims, policy) in [(own_claims(), own()), (foreign_claims(), foreign())] {
            for value in &recent {
                assert_eq!(asks(value.clone(), claims.clone(), &policy), Ok(()), "{value}");
            }
            for value in &not_recent {
                assert_eq!(asks(value.clone(), claims.clone(), &policy), Err(Denial::LoginTooOld(minutes(10))), "{value}");
            }
        }
        let scoped = TokenDemands { scopes: ["admin".to_owned()].into(), ..demands.clone() };
        let denied = satisfies(&judge(&own_claims(), &own()).unwrap(), &scoped);
        assert!(matches!(denied, Err(Denial::InsufficientScope(_))), "a login anew would not help");
    }

    proptest! {
        #[test]
        fn nothing_is_let_in_outside_its_window(exp in 0..4_000_000_000_i64, nbf in 0..4_000_000_000_i64, leeway in 0..100_u64, now: i32) {
            let now = at(i64::from(now));
            let mut policy = foreign();
            policy.leeway = Duration::from_secs(leeway);
            policy.lifetime_max = Duration::MAX;
            let mut claims = foreign_claims();
            claims["exp"] = json!(exp);
            claims["nbf"] = json!(nbf);
            let verdict = check(AccessClaims::parse(claims.to_string().as_bytes()).unwrap(), &policy, now);
            let slack = i64::try_from(leeway.min(60)).unwrap();
            prop_assert_eq!(verdict.is_ok(), now.secs() < exp + slack && now.secs() + slack >= nbf);
        }

        #[test]
        fn a_hit_is_refused_at_the_same_instant_as_a_miss(exp in 0..2000_i64, nbf in 0..2000_i64, now in 0..2000_i64) {
            let mut claims = foreign_claims();
            claims["exp"] = json!(NOW + exp);
            claims["nbf"] = json!(NOW + nbf);
            let parsed = AccessClaims::parse(claims.to_string().as_bytes()).unwrap();
            if let Ok(principal) = check(parsed.clone(), &foreign(), at(NOW + nbf)) {
                let now = at(NOW + now);
                prop_assert_eq!(principal.window.check(now).err(), check(parsed, &foreign(), now).err());
            }
        }
    }
}
