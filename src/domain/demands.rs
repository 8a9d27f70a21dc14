//! What a route demands of a token beyond that it is valid.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::claim_policy::ClaimPath;

/// All of them must be met.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TokenDemands {
    /// The token names one of these; any, when empty.
    pub audiences: Arc<[String]>,
    /// It has all of these.
    pub scopes: Arc<[String]>,
    /// It meets all of these.
    pub claims: Arc<[ClaimDemand]>,
    /// How long ago its user may have logged in.
    pub login_age_max: Option<Duration>,
}

/// A claim, and the values of which it must have one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimDemand {
    pub path: ClaimPath,
    /// Never empty. Numbers and booleans as JSON writes them.
    pub values: Vec<String>,
}

impl TokenDemands {
    /// Whether every token that meets these meets `other` too.
    #[must_use]
    pub fn are_as_strict_as(&self, other: &Self) -> bool {
        let within_audiences = other.audiences.is_empty()
            || !self.audiences.is_empty() && self.audiences.iter().all(|one| other.audiences.contains(one));
        let covers_scopes = other.scopes.iter().all(|one| self.scopes.contains(one));
        let covers_claims = other.claims.iter().all(|one| self.claims.iter().any(|own| own.is_as_strict_as(one)));
        let is_as_recent = match (self.login_age_max, other.login_age_max) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(other)) => own <= other,
        };
        within_audiences && covers_scopes && covers_claims && is_as_recent
    }
}

impl ClaimDemand {
    /// Whether the claim is one of the values, or a list that has one of them.
    #[must_use]
    pub fn is_met_by(&self, claims: &Map<String, Value>) -> bool {
        match self.path.find(claims) {
            Some(Value::Array(items)) => items.iter().any(|item| self.names(item)),
            Some(value) => self.names(value),
            None => false,
        }
    }

    fn names(&self, value: &Value) -> bool {
        let named = |text: &str| self.values.iter().any(|named| named == text);
        match value {
            Value::String(text) => named(text),
            Value::Number(number) => named(&number.to_string()),
            Value::Bool(flag) => named(if *flag { "true" } else { "false" }),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }
    }

    fn is_as_strict_as(&self, other: &Self) -> bool {
        self.path == other.path && self.values.iter().all(|value| other.values.contains(value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn demand(path: &str, values: &[&str]) -> ClaimDemand {
        ClaimDemand { path: ClaimPath::new(path), values: values.iter().map(|value| (*value).to_owned()).collect() }
    }

    fn is_met(demand: &ClaimDemand, claims: &Value) -> bool {
        demand.is_met_by(claims.as_object().unwrap())
    }

    #[test]
    fn a_claim_is_one_of_the_values_or_a_list_that_has_one() {
        let role = demand("role", &["admin", "3", "true"]);
        for met in [json!("admin"), json!(3), json!(true), json!(["user", "admin"]), json!([1, 3]), json!([false, true])] {
            assert!(is_met(&role, &json!({ "role": met })), "{met}");
        }
        for unmet in [
            json!("Admin"),
            json!("admin user"),
            json!(""),
            json!(3.5),
            json!(30),
            json!(false),
            json!(null),
            json!([]),
            json!(["user"]),
            json!([["admin"]]),
            json!([{"role": "admin"}]),
            json!({"admin": true}),
        ] {
            assert!(!is_met(&role, &json!({ "role": unmet })), "{unmet}");
        }
        assert!(!is_met(&role, &json!({"roles": "admin"})));
    }

    #[test]
    fn a_claim_may_stand_deeper_and_have_any_name() {
        assert!(is_met(&demand("/realm_access/roles", &["admin"]), &json!({"realm_access": {"roles": ["admin"]}})));
        assert!(is_met(&demand("https://e.com/role", &["admin"]), &json!({"https://e.com/role": "admin"})));
        assert!(!is_met(&demand("realm_access", &["admin"]), &json!({"realm_access": {"roles": ["admin"]}})));
    }

    #[test]
    fn fewer_values_more_claims_and_a_younger_login_are_stricter() {
        let with = |claims: &[&ClaimDemand], secs: Option<u64>| TokenDemands {
            claims: claims.iter().map(|demand| (*demand).clone()).collect(),
            login_age_max: secs.map(Duration::from_secs),
            ..TokenDemands::default()
        };
        let (one, two, other) = (demand("role", &["a"]), demand("role", &["a", "b"]), demand("plan", &["a"]));
        let strict = |own: &TokenDemands, other: &TokenDemands| own.are_as_strict_as(other);
        assert!(strict(&with(&[&one], None), &with(&[&two], None)));
        assert!(!strict(&with(&[&two], None), &with(&[&one], None)));
        assert!(strict(&with(&[&one, &other], None), &with(&[&one], None)));
        assert!(!strict(&with(&[&one], None), &with(&[&other], None)));
        assert!(strict(&with(&[], Some(60)), &with(&[], Some(600))) && strict(&with(&[], Some(60)), &with(&[], None)));
        assert!(!strict(&with(&[], Some(600)), &with(&[], Some(60))) && !strict(&with(&[], None), &with(&[], Some(60))));
    }

    proptest! {
        /// What one route demands and the next does not could be gone round by another spelling of a path.
        #[test]
        fn whoever_meets_the_stricter_demands_meets_the_others(
            own in prop::collection::vec((0..3_usize, prop::collection::vec(0..3_u8, 1..3)), 0..3),
            other in prop::collection::vec((0..3_usize, prop::collection::vec(0..3_u8, 1..3)), 0..3),
            claims in prop::collection::vec(prop::collection::vec(0..3_u8, 0..3), 3),
        ) {
            let demands = |made: &[(usize, Vec<u8>)]| TokenDemands {
                claims: made
                    .iter()
                    .map(|(at, values)| ClaimDemand {
                        path: ClaimPath::new(["a", "b", "/c"][*at]),
                        values: values.iter().map(u8::to_string).collect(),
                    })
                    .collect(),
                ..TokenDemands::default()
            };
            let (own, other) = (demands(&own), demands(&other));
            let claims = json!({"a": claims[0], "b": claims[1], "c": claims[2]});
            let meets = |demands: &TokenDemands| demands.claims.iter().all(|demand| is_met(demand, &claims));
            if own.are_as_strict_as(&other) && meets(&own) {
                prop_assert!(meets(&other));
            }
            prop_assert!(own.are_as_strict_as(&own));
        }
    }
}
