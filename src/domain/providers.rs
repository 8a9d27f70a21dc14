//! Payloads as well-known issuers make them, under the settings that their operators would write.

use std::time::Duration;

use serde_json::{Value, json};

use super::access_claims::AccessClaims;
use super::claim_policy::{AudienceRule, ClaimPath, ClaimPolicy, TrustedClaims};
use super::claims::{Denial, Principal, check};
use super::subjects::{SubjectPrefix, SubjectRule};
use super::time::Timestamp;

const NOW: i64 = 1_790_000_000;

struct Provider {
    name: &'static str,
    audience: &'static str,
    audience_claims: &'static [&'static str],
    subject_claim: &'static str,
    scope_claims: &'static [&'static str],
    payload: Value,
    subject: &'static str,
    scopes: &'static [&'static str],
}

impl Provider {
    fn judge(&self, payload: &Value) -> Result<Principal, Denial> {
        let paths = |names: &[&str]| names.iter().map(|name| ClaimPath::new(name)).collect();
        let issuer = self.payload["iss"].as_str().unwrap();
        let subjects = SubjectRule::Prefixed(SubjectPrefix::new("idp:").unwrap());
        let audiences = AudienceRule::AnyOf([self.audience.to_owned()].into());
        let policy = ClaimPolicy {
            audience_claims: paths(self.audience_claims),
            subject_claim: ClaimPath::new(self.subject_claim),
            scope_claims: paths(self.scope_claims),
            trusted_claims: TrustedClaims::Listed([].into()),
            ..ClaimPolicy::foreign(issuer, audiences, Duration::from_secs(86_400), subjects)
        };
        check(AccessClaims::read(payload.to_string().as_bytes())?, &policy, Timestamp::from_secs(NOW))
    }
}

fn providers() -> Vec<Provider> {
    vec![
        Provider {
            name: "Entra ID v2, a user",
            audience: "api://orders",
            audience_claims: &["aud"],
            subject_claim: "oid",
            scope_claims: &["scp", "roles"],
            payload: json!({
                "aud": "api://orders", "iss": "https://login.microsoftonline.com/7f/v2.0", "iat": NOW - 300, "nbf": NOW - 300,
                "exp": NOW + 4200, "aio": "ATQAy/8", "azp": "c1", "azpacr": "1", "name": "Ada", "oid": "00-0a", "rh": "0.A",
                "preferred_username": "ada@example.com", "roles": ["Orders.Write"], "scp": "Orders.Read profile", "sub": "pair",
                "sid": "00aa-bb", "tid": "7f", "uti": "U", "ver": "2.0", "groups": (0..150).map(|n| format!("group-{n:032}")).collect::<Vec<_>>(),
            }),
            subject: "idp:00-0a",
            scopes: &["Orders.Read", "profile", "Orders.Write"],
        },
        Provider {
            name: "Auth0",
            audience: "https://api.example.com",
            audience_claims: &["aud"],
            subject_claim: "sub",
            scope_claims: &["scope", "permissions"],
            payload: json!({
                "iss": "https://tenant.eu.auth0.com/", "sub": "auth0|64", "aud": ["https://api.example.com", "https://tenant.eu.auth0.com/userinfo"],
                "iat": NOW - 1, "exp": NOW + 86_399, "scope": "openid profile", "azp": "c", "permissions": ["read:orders"], "gty": null,
            }),
            subject: "idp:auth0|64",
            scopes: &["openid", "profile", "read:orders"],
        },
        Provider {
            name: "Keycloak, whose clock is ahead",
            audience: "orders",
            audience_claims: &["aud"],
            subject_claim: "sub",
            scope_claims: &["scope", "/realm_access/roles", "/resource_access/orders/roles"],
            payload: json!({
                "exp": NOW + 330, "iat": NOW + 30, "auth_time": NOW + 29, "jti": "onrtac:1", "iss": "https://sso.example.com/realms/main",
                "aud": ["orders", "account"], "sub": "f:1:ada", "typ": "Bearer", "azp": "spa", "sid": "5c", "acr": "1",
                "allowed-origins": ["/*"], "realm_access": {"roles": ["offline_access", "user"]},
                "resource_access": {"orders": {"roles": ["clerk"]}, "account": {"roles": ["view-profile"]}}, "scope": "openid email",
                "email_verified": true, "nonce": null,
            }),
            subject: "idp:f:1:ada",
            scopes: &["openid", "email", "offline_access", "user", "clerk"],
        },
        Provider {
            name: "Cognito, an access token: it has no aud",
            audience: "3n4b",
            audience_claims: &["client_id"],
            subject_claim: "sub",
            scope_claims: &["scope", "cognito:groups"],
            payload: json!({
                "sub": "aa-bb", "cognito:groups": ["admins"], "iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu_1", "version": 2,
                "client_id": "3n4b", "origin_jti": "o", "event_id": "e", "token_use": "access", "scope": "aws.cognito.signin.user.admin",
                "auth_time": NOW - 5, "exp": NOW + 3595, "iat": NOW - 5, "jti": "j", "username": "ada",
            }),
            subject: "idp:aa-bb",
            scopes: &["aws.cognito.signin.user.admin", "admins"],
        },
        Provider {
            name: "Firebase",
            audience: "project-1",
            audience_claims: &["aud"],
            subject_claim: "sub",
            scope_claims: &["scope"],
            payload: json!({
                "name": null, "iss": "https://securetoken.google.com/project-1", "aud": "project-1", "auth_time": NOW - 9,
                "user_id": "Zx", "sub": "Zx", "iat": NOW - 9, "exp": NOW + 3591, "firebase": {"identities": {}, "sign_in_provider": "anonymous"},
            }),
            subject: "idp:Zx",
            scopes: &[],
        },
        Provider {
            name: "Google, an id token",
            audience: "c.apps.googleusercontent.com",
            audience_claims: &["aud"],
            subject_claim: "sub",
            scope_claims: &["scope"],
            payload: json!({
                "iss": "https://accounts.google.com", "azp": "c.apps.googleusercontent.com", "aud": "c.apps.googleusercontent.com",
                "sub": "110169484474386276334", "at_hash": "H", "iat": NOW, "exp": NOW + 3600, "nonce": "0",
            }),
            subject: "idp:110169484474386276334",
            scopes: &[],
        },
        Provider {
            name: "a library that dates in fractions of seconds",
            audience: "api",
            audience_claims: &["aud"],
            subject_claim: "/user/id",
            scope_claims: &["scope"],
            payload: json!({
                "iss": "https://py.example", "aud": "api", "iat": 1_789_999_999.25, "exp": 1_790_000_060.75, "nbf": null, "user": {"id": 42},
            }),
            subject: "idp:42",
            scopes: &[],
        },
    ]
}

#[test]
fn tokens_of_well_known_issuers_are_read_as_they_are_made() {
    for provider in providers() {
        let principal = provider.judge(&provider.payload).unwrap_or_else(|denial| panic!("{}: {denial}", provider.name));
        assert_eq!(principal.subject.as_str(), provider.subject, "{}", provider.name);
        assert_eq!(principal.scopes, provider.scopes, "{}", provider.name);
        assert!(principal.session.is_none() && principal.claims.is_empty(), "{}", provider.name);
    }
}

#[test]
fn a_token_of_a_well_known_issuer_for_someone_else_is_refused() {
    for provider in providers() {
        let mut payload = provider.payload.clone();
        for claim in provider.audience_claims {
            payload[*claim] = json!("someone else");
        }
        assert_eq!(provider.judge(&payload).unwrap_err(), Denial::Invalid("aud does not name us"), "{}", provider.name);
    }
}
