//! What tokens must say, as several sections decide it together.

use super::{Issuer, IssuerSubjects, Legacy, Settings};
use crate::domain::claim_policy::{AudienceRule, ClaimPath, ClaimPolicy, ExchangeTerms, TrustedClaims, TypeRule};
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::ids::Partitions;
use crate::domain::legacy::LegacyPolicy;
use crate::domain::subjects::{ReservedPrefixes, SubjectRule};

impl Settings {
    /// For our own tokens.
    #[must_use]
    pub fn own_policy(&self) -> ClaimPolicy {
        let tokens = &self.tokens;
        let subjects = SubjectRule::Ours(self.reserved_prefixes());
        let machines = self.machine_rule();
        ClaimPolicy {
            leeway: tokens.leeway,
            subjects,
            machines,
            ..ClaimPolicy::own(&tokens.issuer, &tokens.audience, tokens.lifetime)
        }
    }

    /// What no subject of ours begins with.
    #[must_use]
    pub fn reserved_prefixes(&self) -> ReservedPrefixes {
        let prefixes = |is_exchanged: bool| {
            let issuers = self.issuers.iter().filter(move |issuer| issuer.is_exchanged() == is_exchanged);
            issuers.filter_map(|issuer| match &issuer.subjects {
                IssuerSubjects::Prefixed(prefix) => Some(prefix.clone()),
                IssuerSubjects::Shared => None,
            })
        };
        let others: ReservedPrefixes = prefixes(false).chain(self.machine_prefix().cloned()).collect();
        others.with_exchanged(prefixes(true))
    }

    /// Whether tokens of somebody else become sessions at the token endpoint.
    #[must_use]
    pub fn exchanges_tokens(&self) -> bool {
        let are_legacy = self.legacy.iter().any(|legacy| legacy.exchange != ExchangeRule::Never);
        self.endpoints.paths.token.is_some() && (are_legacy || self.issuers.iter().any(Issuer::is_exchanged))
    }
}

impl Issuer {
    /// For the tokens of this issuer. `reserved` are the prefixes of all issuers.
    #[must_use]
    pub fn policy(&self, reserved: &ReservedPrefixes) -> ClaimPolicy {
        let audiences = AudienceRule::AnyOf(self.audiences.clone().into());
        let subjects = match &self.subjects {
            IssuerSubjects::Prefixed(prefix) => SubjectRule::Prefixed(prefix.clone()),
            IssuerSubjects::Shared => SubjectRule::Ours(reserved.clone()),
        };
        ClaimPolicy {
            token_type: if self.types.is_empty() { TypeRule::Unchecked } else { TypeRule::AnyOf(self.types.clone().into()) },
            leeway: self.leeway,
            audience_claims: self.audience_claims.clone(),
            subject_claim: self.subject_claim.clone(),
            scope_claims: self.scope_claims.clone(),
            trusted_claims: TrustedClaims::Listed(self.trusted_claims.clone().into()),
            exchange: self.is_exchanged().then(|| ExchangeTerms {
                rule: self.exchange,
                audiences: AudienceRule::AnyOf(self.exchange_audiences.clone().into()),
                claims: self.exchange_claims.clone(),
                scopes: self.exchange_scopes.clone(),
            }),
            ..ClaimPolicy::foreign(&self.issuer, audiences, self.lifetime_max, subjects)
        }
    }
}

impl Legacy {
    /// For legacy tokens of this kind. `partitions` are those of the store; `reserved` are the prefixes of all issuers.
    #[must_use]
    pub fn policy(&self, partitions: Partitions, reserved: ReservedPrefixes) -> LegacyPolicy {
        let audiences = self.audiences.clone();
        LegacyPolicy {
            name: self.name.as_str().into(),
            issuer: self.issuer.clone(),
            audiences: if audiences.is_empty() { AudienceRule::Unchecked } else { AudienceRule::AnyOf(audiences.into()) },
            required_claims: self.required_claims.iter().map(|(path, text)| (ClaimPath::new(path), text.clone())).collect(),
            subject_claims: self.subject_claims.clone(),
            subjects: SubjectRule::Ours(reserved),
            scope_claims: self.scope_claims.clone(),
            claims: self.claims.clone(),
            needs_expiry: self.needs_expiry,
            lifetime_max: self.lifetime_max,
            accepted_until: self.accepted_until,
            exchange: self.exchange,
            partitions,
        }
    }
}
