//! Subject tokens (RFC 8693): what somebody else has signed, and what a session of ours is made of.
//!
//! They are legacy tokens, and tokens of other issuers with `exchange`. Each belongs to a session whose id is derived from it
//! ([`SessionId::of_subject_token`]) before that session exists: so every node makes the same, and the store keeps the first. Among the
//! session's refresh tokens it is generation 0.

use std::time::Duration;

use serde_json::{Map, Value};

use super::access_claims::AccessClaims;
use super::claim_policy::{ClaimPath, ClaimPolicy, TypeRule};
use super::claims::{self, Denial, Principal};
use super::exchange_rule::ExchangeRule;
use super::ids::{Partitions, SessionId, TokenMaker};
use super::scopes;
use super::session::Grant;
use super::time::{CLOCK_SKEW_MAX, Timestamp};

/// A verified token of somebody else, with what its exchange needs.
#[derive(Clone, PartialEq, Debug)]
pub struct SubjectToken {
    pub principal: Principal,
    /// The one that it becomes, if it becomes one alone.
    pub session: SessionId,
    pub exchange: ExchangeRule,
    /// What a session that is made of it may do.
    pub grant: Grant,
    pub maker: TokenMaker,
}

impl SubjectToken {
    /// For a part of the scopes that it grants; `None`: one of those that are asked for is not among them.
    #[must_use]
    pub fn narrowed(self, asked: &str) -> Option<Self> {
        let scopes = scopes::narrowed(&self.grant.scopes, asked)?;
        Some(Self { grant: Grant { scopes, ..self.grant }, ..self })
    }
}

/// What a client says that its subject token is (RFC 8693, section 3). It chooses no rules: those of the token's issuer are held against it in
/// any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubjectTokenType {
    AccessToken,
    IdToken,
    Jwt,
}

impl SubjectTokenType {
    /// `None` for a type that is not exchanged.
    #[must_use]
    pub fn of_urn(urn: &str) -> Option<Self> {
        match urn.strip_prefix("urn:ietf:params:oauth:token-type:")? {
            "access_token" => Some(Self::AccessToken),
            "id_token" => Some(Self::IdToken),
            "jwt" => Some(Self::Jwt),
            _ => None,
        }
    }

    /// Whether a token with this `typ` in its header can be one. A token that says itself to be an access token (RFC 9068) is no ID token.
    /// Where the settings name no types, others have a purpose of their own: logout tokens, security events, responses to introspection.
    #[must_use]
    pub fn can_have(self, typ: Option<&str>, types: &TypeRule) -> bool {
        if claims::is_access_token_type(typ) {
            return self != Self::IdToken && types.admits(typ);
        }
        match types {
            TypeRule::AnyOf(_) => types.admits(typ),
            TypeRule::Unchecked => typ.is_none() || TypeRule::AnyOf(["JWT".to_owned()].into()).admits(typ),
        }
    }
}

/// Holds the claims of a token of another issuer, whose signature is valid, against its policy. `digest` is over its signed part;
/// `partitions` are those of the store.
///
/// # Errors
/// As for a token that is shown to the API, and where tokens of this issuer are not exchanged.
pub fn check(
    claims: AccessClaims,
    policy: &ClaimPolicy,
    kind: SubjectTokenType,
    digest: &[u8; 32],
    partitions: Partitions,
    now: Timestamp,
) -> Result<SubjectToken, Denial> {
    let terms = policy.exchange.as_ref().ok_or(Denial::Invalid("tokens of this issuer are not exchanged"))?;
    // Of a logout or another event, where its type does not say so (OpenID Connect Back-Channel Logout, section 2.4).
    if claims.rest.contains_key("events") {
        return Err(Denial::Invalid("the token tells of an event"));
    }
    // To whom it was given, if it is meant for several (OpenID Connect Core, section 2).
    if let Some(party) = claims.rest.get("azp") {
        let party = party.as_str().ok_or(Denial::Invalid("azp is not a string"))?;
        if kind == SubjectTokenType::IdToken && !terms.audiences.admits(&[party.to_owned()]) {
            return Err(Denial::Invalid("the token was given to another client"));
        }
    }
    let granted = mapped(&claims.rest, &terms.claims);
    let principal = claims::check_for(claims, policy, &terms.audiences, now)?;
    let partition = partitions.of(&principal.subject);
    let scopes = principal.scopes.iter().filter(|scope| terms.scopes.contains(scope)).cloned().collect();
    Ok(SubjectToken {
        session: SessionId::of_subject_token(TokenMaker::Issuer, partition, principal.issued_at, digest),
        exchange: terms.rule,
        grant: Grant { scopes, claims: granted, logged_in_at: principal.logged_in_at },
        maker: TokenMaker::Issuer,
        principal,
    })
}

/// Claims by their new names, where there are any at their places.
pub(super) fn mapped(claims: &Map<String, Value>, places: &[(String, ClaimPath)]) -> Map<String, Value> {
    places.iter().filter_map(|(name, path)| Some((name.clone(), path.find(claims)?.clone()))).collect()
}

/// How long subject tokens may live, and so how long the revocations of their sessions must be kept. Empty: there are none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SubjectTokenLives(Vec<(Timestamp, Option<Duration>)>);

impl SubjectTokenLives {
    /// Adds those of one kind. None lives beyond `accepted_until`, nor, where it is known, longer than `lifetime_max`.
    #[must_use]
    pub fn with(mut self, accepted_until: Timestamp, lifetime_max: Option<Duration>) -> Self {
        self.0.push((accepted_until, lifetime_max));
        self
    }

    /// When the last of those that were made before `now` ends; `None` without any.
    #[must_use]
    pub fn end_by(&self, now: Timestamp) -> Option<Timestamp> {
        let end = |(accepted_until, lifetime_max): &(Timestamp, Option<Duration>)| {
            let longest = |max: &Duration| now.saturating_add(*max).saturating_add(CLOCK_SKEW_MAX);
            lifetime_max.as_ref().map_or(*accepted_until, |max| longest(max).min(*accepted_until))
        };
        self.0.iter().map(end).max()
    }
}

#[cfg(test)]
mod tests;
