//! What is demanded of the tokens of one issuer.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::exchange_rule::ExchangeRule;
use super::machine::MachineRule;
use super::subjects::{ReservedPrefixes, SubjectRule};
use super::time::CLOCK_SKEW_MAX;

/// What the tokens of one issuer must say. Keys and algorithms are fixed beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimPolicy {
    pub kind: IssuerKind,
    /// The exact value of `iss`.
    pub issuer: Arc<str>,
    pub audiences: AudienceRule,
    /// Where audiences are: `aud` unless the operator says otherwise. The audiences of all places count.
    pub audience_claims: Vec<ClaimPath>,
    pub token_type: TypeRule,
    /// For `exp` and `nbf`; at most [`CLOCK_SKEW_MAX`], which is what `iat` is always given.
    pub leeway: Duration,
    /// From `iat` (or now, when there is none) to `exp`; a longer token is refused.
    pub lifetime_max: Duration,
    /// Where the subject is: `sub` unless the operator says otherwise.
    pub subject_claim: ClaimPath,
    /// Whether subjects are users of the API or of the issuer.
    pub subjects: SubjectRule,
    /// The machines that may speak for themselves; `None`: none, and never with another issuer's token.
    pub machines: Option<MachineRule>,
    /// Where scopes are. The scopes of all places count.
    pub scope_claims: Vec<ClaimPath>,
    /// Which of its other claims are passed on.
    pub trusted_claims: TrustedClaims,
    /// `None`: its tokens do not become sessions of ours.
    pub exchange: Option<ExchangeTerms>,
}

/// What an issuer's token must say to become a session of ours, and what the session then says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExchangeTerms {
    pub rule: ExchangeRule,
    /// In the place of those for tokens that the API is shown.
    pub audiences: AudienceRule,
    /// Claims by their names in our tokens, and where the issuer's token has each.
    pub claims: Vec<(String, ClaimPath)>,
    /// Of the token's scopes those that the session has too.
    pub scopes: Vec<String>,
}

impl ClaimPolicy {
    /// For our own tokens: `at+jwt`, one of these audiences (in practice the one we mint), no leeway.
    #[must_use]
    pub fn own(issuer: &str, audiences: &[String], lifetime_max: Duration) -> Self {
        Self {
            kind: IssuerKind::Own,
            issuer: issuer.into(),
            audiences: AudienceRule::AnyOf(audiences.into()),
            audience_claims: vec![ClaimPath::new("aud")],
            token_type: TypeRule::access_token(),
            leeway: Duration::ZERO,
            lifetime_max,
            subject_claim: ClaimPath::new("sub"),
            subjects: SubjectRule::Ours(ReservedPrefixes::default()),
            machines: None,
            scope_claims: vec![ClaimPath::new("scope")],
            trusted_claims: TrustedClaims::All,
            exchange: None,
        }
    }

    /// For another issuer's tokens, with the usual claims; the fields may then be changed.
    #[must_use]
    pub fn foreign(issuer: &str, audiences: AudienceRule, lifetime_max: Duration, subjects: SubjectRule) -> Self {
        Self {
            kind: IssuerKind::Foreign,
            issuer: issuer.into(),
            audiences,
            audience_claims: vec![ClaimPath::new("aud")],
            token_type: TypeRule::Unchecked,
            leeway: CLOCK_SKEW_MAX,
            lifetime_max,
            subject_claim: ClaimPath::new("sub"),
            subjects,
            machines: None,
            scope_claims: vec![ClaimPath::new("scope")],
            trusted_claims: TrustedClaims::Listed([].into()),
            exchange: None,
        }
    }

    #[must_use]
    pub fn leeway(&self) -> Duration {
        self.leeway.min(CLOCK_SKEW_MAX)
    }
}

/// Whose tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IssuerKind {
    /// Minted here: `iat` and `jti` are demanded, and `sid` and `gen`, or `client_id` instead of them.
    Own,
    Foreign,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AudienceRule {
    /// `aud` must name one of these; an empty list admits nothing.
    AnyOf(Arc<[String]>),
    /// For foreign issuers that name none, by the operator's explicit choice.
    Unchecked,
}

impl AudienceRule {
    /// Whether a token may be for these audiences.
    #[must_use]
    pub fn admits(&self, named: &[String]) -> bool {
        match self {
            Self::AnyOf(ours) => names_any(named, ours),
            Self::Unchecked => true,
        }
    }
}

pub(super) fn names_any(named: &[String], wanted: &[String]) -> bool {
    named.iter().any(|name| wanted.contains(name))
}

/// Which claims of a token may say something to upstreams, and to routes that demand some.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrustedClaims {
    /// For our own tokens, whose claims the gateway wrote.
    All,
    /// The names of claims; all others are dropped.
    Listed(Arc<[String]>),
}

impl TrustedClaims {
    /// Whether the operator named this claim.
    #[must_use]
    pub fn lists(&self, name: &str) -> bool {
        match self {
            Self::All => false,
            Self::Listed(names) => names.iter().any(|listed| listed == name),
        }
    }

    /// Removes the claims that are not trusted.
    #[must_use]
    pub fn of(&self, mut claims: Map<String, Value>) -> Map<String, Value> {
        match self {
            Self::All => {}
            Self::Listed(names) => claims.retain(|name, _| names.contains(name)),
        }
        claims
    }
}

/// What the header's `typ` must be. Media types are compared without regard to case, and `application/` may be left out
/// (RFC 7515, section 4.1.9).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TypeRule {
    AnyOf(Arc<[String]>),
    /// Any `typ`, or none.
    Unchecked,
}

impl TypeRule {
    /// RFC 9068, section 4.
    #[must_use]
    pub fn access_token() -> Self {
        Self::AnyOf([String::from("at+jwt")].into())
    }

    #[must_use]
    pub fn admits(&self, typ: Option<&str>) -> bool {
        match self {
            Self::AnyOf(types) => {
                typ.is_some_and(|typ| types.iter().any(|one| media_name(one).eq_ignore_ascii_case(media_name(typ))))
            }
            Self::Unchecked => true,
        }
    }
}

fn media_name(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.get(..PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &typ[PREFIX.len()..],
        _ => typ,
    }
}

/// Where a claim is: the name of a member (`scp`, `https://example.com/roles`) or, with a slash before it, a JSON pointer
/// (RFC 6901: `/realm_access/roles`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimPath(Box<str>);

impl ClaimPath {
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the claim in which it is: that of the outermost member.
    #[must_use]
    pub fn claim(&self) -> Cow<'_, str> {
        match self.0.strip_prefix('/') {
            None => Cow::Borrowed(&self.0),
            Some(pointer) => {
                let first = pointer.split('/').next().unwrap_or(pointer);
                Cow::Owned(first.replace("~1", "/").replace("~0", "~"))
            }
        }
    }

    /// `None` where there is nothing, or null: to many libraries the two are the same.
    #[must_use]
    pub fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let found = match self.0.strip_prefix('/') {
            None => claims.get(&*self.0),
            Some(pointer) => {
                let rest = pointer.find('/').map_or("", |at| &pointer[at..]);
                claims.get(&*self.claim()).and_then(|value| value.pointer(rest))
            }
        };
        found.filter(|value| !value.is_null())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_type_is_a_media_type() {
        let rule = TypeRule::access_token();
        for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
            assert!(rule.admits(Some(typ)), "{typ}");
        }
        for typ in [None, Some("JWT"), Some(""), Some("at+jwt "), Some("text/at+jwt"), Some("application/"), Some("ä")] {
            assert!(!rule.admits(typ), "{typ:?}");
        }
    }

    #[test]
    fn a_claim_is_found_by_name_or_pointer() {
        let Value::Object(claims) =
            json!({"sub": 1, "a/b": 2, "x": {"y": [3]}, "https://e.com/r": 4, "none": null, "n": {"m": null}})
        else {
            panic!()
        };
        let find = |path| ClaimPath::new(path).find(&claims).cloned();
        assert_eq!(find("sub"), Some(json!(1)));
        assert_eq!(find("/sub"), Some(json!(1)));
        assert_eq!(find("a/b"), Some(json!(2)));
        assert_eq!(find("/a~1b"), Some(json!(2)));
        assert_eq!(find("/x/y/0"), Some(json!(3)));
        assert_eq!(find("https://e.com/r"), Some(json!(4)));
        assert_eq!((find("none"), find("/n/m")), (None, None), "null is absent");
        assert_eq!(find("/x/z"), None);
        assert_eq!(find("x/y"), None);
    }
}
