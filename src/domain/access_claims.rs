//! The payload of a JWT, read into exact types. A claim of a wrong type is a refusal, never an absence; null is an absence.

use serde_json::{Map, Number, Value};

use super::claim_policy::ClaimPath;
use super::ids::{NAME_BYTES_MAX, TokenId};
use super::json::{self, JsonError};
use super::time::Timestamp;

/// How deeply a payload may nest; the payload itself is the first level.
pub const PAYLOAD_DEPTH_MAX: u8 = 16;
/// The latest moment that a claim may name, in seconds: the end of the year 9999.
pub const NUMERIC_DATE_MAX: i64 = 253_402_300_799;

/// When the user last proved who they are (`OpenID` Connect Core, section 2). In our own tokens the gateway alone says it.
pub const LOGIN_CLAIM: &str = "auth_time";

/// What a payload says, not yet held against a policy.
#[derive(Clone, PartialEq, Debug)]
pub struct AccessClaims {
    pub issuer: Option<String>,
    /// One string, or a list of them, in the token.
    pub audiences: Vec<String>,
    pub expires_at: Option<Timestamp>,
    pub not_before: Option<Timestamp>,
    pub issued_at: Option<Timestamp>,
    pub token: Option<TokenId>,
    /// Everything else, `sub`, `sid` and scopes included: where those stand is for the policy to say.
    pub rest: Map<String, Value>,
}

/// Why a payload cannot be taken. Names the claim and holds nothing of its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ClaimError(pub(super) &'static str);

impl ClaimError {
    #[must_use]
    pub const fn cause(self) -> &'static str {
        self.0
    }
}

impl From<JsonError> for ClaimError {
    fn from(error: JsonError) -> Self {
        Self(match error {
            JsonError::Malformed => "the payload is not valid JSON",
            JsonError::NotAnObject => "the payload is not a JSON object",
            JsonError::DuplicateMember => "a claim appears twice",
            JsonError::TooDeep => "the payload is nested too deeply",
        })
    }
}

impl AccessClaims {
    /// # Errors
    /// What [`AccessClaims::read`] refuses, and a `sub` or `sid` that is no name.
    pub fn parse(json: &[u8]) -> Result<Self, ClaimError> {
        let claims = Self::read(json)?;
        claims.check_names()?;
        Ok(claims)
    }

    /// Leaves `sub` and `sid` unjudged: what they mean is for the rules of the token's issuer to say. The caller bounds the size.
    ///
    /// # Errors
    /// Not a JSON object, a member twice, deep nesting, a registered claim of a wrong type.
    pub fn read(json: &[u8]) -> Result<Self, ClaimError> {
        let mut rest = json::object(json, PAYLOAD_DEPTH_MAX)?;
        // To many libraries null and absence are the same.
        let mut take = |name| rest.shift_remove(name).filter(|value| !value.is_null());
        let issuer = take("iss").map(string).transpose().map_err(|()| ClaimError("iss is not a string"))?;
        let audiences =
            take("aud").map_or(Ok(Vec::new()), strings).map_err(|()| ClaimError("aud is not a string or a list of them"))?;
        let expires_at = take("exp").map(|v| numeric_date(&v, Rounding::Down)).transpose();
        let not_before = take("nbf").map(|v| numeric_date(&v, Rounding::Up)).transpose();
        let issued_at = take("iat").map(|v| numeric_date(&v, Rounding::Down)).transpose();
        let token = take("jti").map(token_id).transpose()?;
        Ok(Self {
            issuer,
            audiences,
            expires_at: expires_at.map_err(|()| ClaimError("exp is not a date in range"))?,
            not_before: not_before.map_err(|()| ClaimError("nbf is not a date in range"))?,
            issued_at: issued_at.map_err(|()| ClaimError("iat is not a date in range"))?,
            token,
            rest,
        })
    }

    /// # Errors
    /// A `sub` or `sid` that is there, and is not a string, or is empty, too long or has control characters.
    pub fn check_names(&self) -> Result<(), ClaimError> {
        check_name(self.rest.get("sub"), "sub is not a string", "sub is empty, too long or has control characters")?;
        check_name(self.rest.get("sid"), "sid is not a string", "sid is empty, too long or has control characters")
    }

    /// When the user logged in; `None` where the token does not say it as a date. Only routes that demand a recent login need it, so a
    /// strange value refuses no token.
    pub(super) fn logged_in_at(&self) -> Option<Timestamp> {
        numeric_date(self.rest.get(LOGIN_CLAIM)?, Rounding::Down).ok()
    }

    /// The audiences at these places, in order.
    pub(super) fn audiences_at(&self, paths: &[ClaimPath]) -> Result<Vec<String>, ClaimError> {
        let mut audiences = Vec::new();
        for path in paths {
            if path.as_str() == "aud" {
                audiences.extend_from_slice(&self.audiences);
            } else if let Some(value) = path.find(&self.rest) {
                let named = strings(value.clone());
                audiences.extend(named.map_err(|()| ClaimError("the audience is not a string or a list of them"))?);
            }
        }
        Ok(audiences)
    }

    /// The scopes at these places, in order, each a string of words or a list of strings. Absent is none, and so is what cannot be one
    /// scope: behind us scopes are words with spaces between them, and one with a space in it would become two.
    pub(super) fn scopes(&self, paths: &[ClaimPath]) -> Result<Vec<String>, ClaimError> {
        const WRONG: ClaimError = ClaimError("scopes are not a string or a list of them");
        let mut scopes = Vec::new();
        for value in paths.iter().filter_map(|path| path.find(&self.rest)) {
            match value {
                Value::String(words) => scopes.extend(words.split(' ').map(str::to_owned)),
                Value::Array(items) => {
                    for item in items {
                        scopes.push(item.as_str().ok_or(WRONG)?.to_owned());
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return Err(WRONG),
            }
        }
        scopes.retain(|scope| !scope.is_empty() && !scope.chars().any(|c| c.is_whitespace() || c.is_control()));
        Ok(scopes)
    }
}

fn string(value: Value) -> Result<String, ()> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(()),
    }
}

fn strings(value: Value) -> Result<Vec<String>, ()> {
    match value {
        Value::String(text) => Ok(vec![text]),
        Value::Array(items) => items.into_iter().map(string).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(()),
    }
}

fn token_id(value: Value) -> Result<TokenId, ClaimError> {
    let text = string(value).map_err(|()| ClaimError("jti is not a string"))?;
    TokenId::new(&text).map_err(|_| ClaimError("jti is empty, too long or has control characters"))
}

fn check_name(value: Option<&Value>, wrong_type: &'static str, bad: &'static str) -> Result<(), ClaimError> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(()) };
    let text = value.as_str().ok_or(ClaimError(wrong_type))?;
    let is_good = !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control);
    if is_good { Ok(()) } else { Err(ClaimError(bad)) }
}

/// Towards refusal: `exp` and `iat` down, `nbf` up.
#[derive(Clone, Copy)]
enum Rounding {
    Down,
    Up,
}

/// A `NumericDate` (RFC 7519, section 2): seconds since the epoch, fractions allowed, from 0 to [`NUMERIC_DATE_MAX`].
fn numeric_date(value: &Value, rounding: Rounding) -> Result<Timestamp, ()> {
    let Value::Number(number) = value else { return Err(()) };
    let millis = match number.as_i64() {
        Some(secs) => secs.checked_mul(1000).ok_or(())?,
        None => fraction_millis(number, rounding)?,
    };
    if (0..=NUMERIC_DATE_MAX * 1000).contains(&millis) { Ok(Timestamp::from_millis(millis)) } else { Err(()) }
}

fn fraction_millis(number: &Number, rounding: Rounding) -> Result<i64, ()> {
    let millis = number.as_f64().ok_or(())? * 1000.0;
    let whole = match rounding {
        Rounding::Down => millis.floor(),
        Rounding::Up => millis.ceil(),
    };
    #[expect(clippy::cast_possible_truncation, reason = "a float beyond the range saturates, and the caller refuses that")]
    if whole.is_finite() { Ok(whole as i64) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(json: &str) -> Result<AccessClaims, &'static str> {
        AccessClaims::parse(json.as_bytes()).map_err(ClaimError::cause)
    }

    #[test]
    fn an_absent_claim_is_absent() {
        let claims = parse("{}").unwrap();
        assert_eq!(claims.issuer, None);
        assert_eq!(claims.expires_at, None);
        assert!(claims.audiences.is_empty() && claims.rest.is_empty());
    }

    #[test]
    fn a_wrong_type_is_a_refusal_and_never_an_absence() {
        for name in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid"] {
            for value in ["true", "{}", "[[]]", "[1]"] {
                let error = parse(&format!(r#"{{"{name}":{value}}}"#)).unwrap_err();
                assert!(error.starts_with(name), "{name}: {value}: {error}");
            }
        }
        for name in ["iss", "sub", "aud", "jti", "sid"] {
            assert!(parse(&format!(r#"{{"{name}":1}}"#)).is_err(), "{name}");
        }
        for name in ["exp", "nbf", "iat"] {
            assert!(parse(&format!(r#"{{"{name}":"1700000000"}}"#)).is_err(), "{name}");
        }
    }

    #[test]
    fn names_are_not_empty_and_hold_no_control_characters() {
        for name in ["sub", "jti", "sid"] {
            for value in ["", "a\\nb", "a\\u0000", "\\u009f", &"x".repeat(256)] {
                assert!(parse(&format!(r#"{{"{name}":"{value}"}}"#)).is_err(), "{name}: {value}");
            }
        }
    }

    #[test]
    fn dates_are_numbers_within_range() {
        let exp = |text: &str| parse(&format!(r#"{{"exp":{text}}}"#)).ok().map(|claims| claims.expires_at.unwrap().millis());
        assert_eq!(exp("0"), Some(0));
        assert_eq!(exp("1700000000"), Some(1_700_000_000_000));
        assert_eq!(exp("1.7e9"), Some(1_700_000_000_000));
        assert_eq!(exp("1700000000.9999"), Some(1_700_000_000_999), "never later than it says");
        assert_eq!(exp("253402300799"), Some(253_402_300_799_000));
        for bad in
            ["-1", "-0.5", "253402300800", "9223372036854775807", "18446744073709551615", "1e300", "1e999", "NaN", "0x10", "01"]
        {
            assert_eq!(exp(bad), None, "{bad}");
        }
        assert_eq!(parse(r#"{"nbf":1.0001}"#).unwrap().not_before, Some(Timestamp::from_millis(1001)), "never earlier");
    }

    #[test]
    fn scopes_are_words_or_a_list() {
        let scopes = |json: &str| parse(json).unwrap().scopes(&[ClaimPath::new("scope"), ClaimPath::new("/r/roles")]);
        assert_eq!(scopes(r#"{"scope":"a b  c "}"#).unwrap(), ["a", "b", "c"]);
        assert_eq!(scopes(r#"{"scope":["a"],"r":{"roles":["b","c"]}}"#).unwrap(), ["a", "b", "c"]);
        assert!(scopes("{}").unwrap().is_empty());
        assert!(scopes(r#"{"scope":null,"r":null}"#).unwrap().is_empty());
        for bad in [r#"{"scope":[1]}"#, r#"{"scope":1}"#, r#"{"scope":[null]}"#, r#"{"scope":{}}"#, r#"{"scope":true}"#] {
            assert!(scopes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_one_scope_is_none() {
        let scopes = |json: &str| parse(json).unwrap().scopes(&[ClaimPath::new("scope")]).unwrap();
        for odd in ["a b", "", " ", "a\\tb", "a\\nb", "a\\u0000", "a\\u00a0b", "a\\u2028b", " a", "a\\u3000"] {
            assert_eq!(scopes(&format!(r#"{{"scope":["{odd}","read"]}}"#)), ["read"], "{odd:?}");
        }
        assert_eq!(scopes(r#"{"scope":"a\tb read"}"#), ["read"]);
        assert_eq!(scopes(r#"{"scope":["https://e.com/read","zoë"]}"#), ["https://e.com/read", "zoë"]);
    }

    #[test]
    fn null_is_absent() {
        let names = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid"];
        let nulls = names.map(|name| format!(r#""{name}":null"#)).join(",");
        let claims = parse(&format!("{{{nulls}}}")).unwrap();
        assert_eq!((claims.issuer, claims.audiences, claims.expires_at), (None, Vec::new(), None));
        assert_eq!((claims.not_before, claims.issued_at, claims.token), (None, None, None));
        assert!(parse(r#"{"aud":[null]}"#).is_err(), "an audience that is null is none");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = AccessClaims::parse(&bytes);
        }

        #[test]
        fn every_number_is_in_range_or_refused(number in proptest::num::f64::ANY) {
            if let Ok(claims) = parse(&format!(r#"{{"exp":{number:e}}}"#)) {
                prop_assert!((0..=NUMERIC_DATE_MAX * 1000).contains(&claims.expires_at.unwrap().millis()));
            }
        }

        #[test]
        fn further_claims_are_kept_as_they_are(text in "\\PC{0,40}", number: i64) {
            let value = serde_json::json!({"x": text, "y": [number], "exp": 5});
            let claims = parse(&value.to_string()).unwrap();
            prop_assert_eq!(&claims.rest["x"], &value["x"]);
            prop_assert_eq!(&claims.rest["y"], &value["y"]);
        }
    }
}
