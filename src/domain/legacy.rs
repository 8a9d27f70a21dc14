//! Legacy tokens: JWTs that an API made before it had the gateway, accepted until a moment that must be set.
//!
//! They need no `iss`, `aud`, `jti` or `typ`; everything else is as strict as for other tokens. A legacy token belongs to a session
//! whose id is derived from it ([`SessionId::of_subject_token`]) before that session exists. So it is revoked, exchanged and logged out as a
//! session is. Among the session's refresh tokens it is generation 0.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::access_claims::AccessClaims;
use super::claim_policy::{AudienceRule, ClaimPath};
use super::claims::{Denial, Principal, Window, check_issued};
use super::exchange_rule::ExchangeRule;
use super::ids::{Partitions, SessionId, Subject, TokenMaker};
use super::session::Grant;
use super::subject_token::{SubjectToken, mapped};
use super::subjects::SubjectRule;
use super::time::Timestamp;

/// What is demanded of the legacy tokens of one kind. The key and its algorithm are fixed beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LegacyPolicy {
    /// Told to upstreams as the issuer.
    pub name: Arc<str>,
    /// The exact `iss`; `None`: any, or none.
    pub issuer: Option<String>,
    pub audiences: AudienceRule,
    /// Claims that must have exactly this text. They distinguish access tokens from other tokens that the same secret signs.
    pub required_claims: Vec<(ClaimPath, String)>,
    /// The first one present is the subject.
    pub subject_claims: Vec<ClaimPath>,
    pub subjects: SubjectRule,
    pub scope_claims: Vec<ClaimPath>,
    /// Claims by their names in our tokens, and where a legacy token has each.
    pub claims: Vec<(String, ClaimPath)>,
    /// Whether a token without `exp` is refused. Otherwise it lives until `lifetime_max` or `accepted_until`.
    pub needs_expiry: bool,
    /// Counted from `iat`, which is then required; `None`: `accepted_until` alone.
    pub lifetime_max: Option<Duration>,
    /// None is accepted from this moment on; there is no leeway.
    pub accepted_until: Timestamp,
    pub exchange: ExchangeRule,
    /// The store's; they determine the session's partition.
    pub partitions: Partitions,
}

/// Checks the claims of a legacy token, whose signature is valid, by its policy. `digest` is over its signed part.
pub fn check(claims: AccessClaims, policy: &LegacyPolicy, digest: &[u8; 32], now: Timestamp) -> Result<SubjectToken, Denial> {
    if policy.issuer.is_some() && claims.issuer != policy.issuer {
        return Err(Denial::Invalid("iss is not that of legacy tokens"));
    }
    let expires_at = expiry(&claims, policy)?;
    let window = Window::new(claims.not_before, expires_at, Duration::ZERO);
    window.check(now)?;
    claims.issued_at.map_or(Ok(()), |issued_at| check_issued(issued_at, now))?;
    if !policy.audiences.admits(&claims.audiences) {
        return Err(Denial::Invalid("aud does not name us"));
    }
    let has_text = |(path, text): &(ClaimPath, String)| path.find(&claims.rest).and_then(Value::as_str) == Some(text);
    if !policy.required_claims.iter().all(has_text) {
        return Err(Denial::Invalid("a claim that legacy tokens must have is missing or different"));
    }
    let subject = subject(&claims, policy)?;
    let scopes = claims.scopes(&policy.scope_claims)?;
    let mapped = mapped(&claims.rest, &policy.claims);
    let logged_in_at = claims.logged_in_at();
    let session = SessionId::of_subject_token(TokenMaker::Api, policy.partitions.of(&subject), claims.issued_at, digest);
    Ok(SubjectToken {
        maker: TokenMaker::Api,
        session,
        exchange: policy.exchange,
        grant: Grant { scopes: scopes.clone(), claims: mapped.clone(), logged_in_at },
        principal: Principal {
            subject,
            issuer: Arc::clone(&policy.name),
            session: Some(session),
            generation: None,
            token: None,
            audiences: claims.audiences,
            scopes,
            issued_at: claims.issued_at,
            logged_in_at,
            not_before: claims.not_before,
            expires_at,
            window,
            claims: renamed(claims.rest, mapped, policy),
        },
    })
}

/// The subject of a legacy token: a string, or an integer as user ids often are. Nothing else of the token is checked.
///
/// # Errors
/// None of the claims is there, or the first that is holds no name.
pub fn subject(claims: &AccessClaims, policy: &LegacyPolicy) -> Result<Subject, Denial> {
    let found = policy.subject_claims.iter().find_map(|path| path.find(&claims.rest));
    let value = found.ok_or(Denial::Invalid("the subject is missing"))?;
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return Err(Denial::Invalid("the subject is neither a string nor an integer"));
        }
    };
    Ok(policy.subjects.subject(&text)?)
}

fn expiry(claims: &AccessClaims, policy: &LegacyPolicy) -> Result<Timestamp, Denial> {
    let latest = match (policy.lifetime_max, claims.issued_at) {
        (None, _) => Timestamp::MAX,
        (Some(lifetime_max), Some(issued_at)) => issued_at.saturating_add(lifetime_max),
        (Some(_), None) => return Err(Denial::Invalid("iat is missing")),
    };
    match claims.expires_at {
        Some(expires_at) if expires_at > latest => Err(Denial::Invalid("the lifetime is too long")),
        Some(expires_at) => Ok(expires_at.min(policy.accepted_until)),
        None if policy.needs_expiry => Err(Denial::Invalid("exp is missing")),
        None => Ok(latest.min(policy.accepted_until)),
    }
}

/// Every further claim. A mapped claim has its new name, which no other claim keeps.
fn renamed(mut claims: Map<String, Value>, mapped: Map<String, Value>, policy: &LegacyPolicy) -> Map<String, Value> {
    for (name, _) in &policy.claims {
        claims.shift_remove(name);
    }
    for path in policy.scope_claims.iter().chain(&policy.subject_claims) {
        claims.shift_remove(path.as_str());
    }
    claims.extend(mapped);
    claims
}

#[cfg(test)]
mod tests;
