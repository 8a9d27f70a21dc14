//! Conditions on an upstream's response: `login.requires` and `login.unless`.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::parse::Parsed;
use super::pointer::Pointer;
use super::setting::open_settings;
use crate::domain::spelling;

/// A place in a response, and the scalar that it must hold. Without a scalar: any value other than null, false, "", 0, [] and {}.
///
/// The place is a JSON pointer, exactly, or a name. A name is looked for at the top level, in `data` and in `user`, in any case and with
/// its words joined in any way.
#[derive(Clone, PartialEq, Debug)]
pub struct Condition {
    text: String,
    place: Place,
    value: Option<Value>,
}

open_settings!(Condition);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    Pointer(Pointer),
    /// In its one spelling.
    Name(String),
}

/// Where a name is looked for, beside the top level.
const AROUND_NAMES: [&str; 2] = ["data", "user"];

impl Condition {
    /// As the operator wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn holds(&self, response: &Value) -> bool {
        match &self.place {
            Place::Pointer(pointer) => response.pointer(pointer.as_str()).is_some_and(|found| self.admits(found, str::to_owned)),
            Place::Name(name) => {
                let inner = AROUND_NAMES.iter().filter_map(|around| response.get(around));
                let objects = std::iter::once(response).chain(inner).filter_map(Value::as_object);
                let named = |object: &Map<String, Value>| {
                    object.iter().any(|(member, found)| spelling::name(member) == *name && self.admits(found, spelling::name))
                };
                objects.into_iter().any(named)
            }
        }
    }

    fn admits(&self, found: &Value, spelling: impl Fn(&str) -> String) -> bool {
        match (&self.value, found) {
            (None, _) => is_something(found),
            (Some(Value::Number(wanted)), Value::Number(found)) => {
                wanted == found || wanted.as_f64().is_some_and(|wanted| Some(wanted) == found.as_f64())
            }
            (Some(Value::String(wanted)), Value::String(found)) => spelling(wanted) == spelling(found),
            (Some(wanted), found) => wanted == found,
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Parsed<Self> {
        const ALLOWED: &str = "allowed is a JSON pointer such as \"/mfaRequired\", or a name without slashes, that is looked for at the \
                               top level, in data and in user; and behind it, if that is meant, = and a JSON scalar: \"/status=active\", \
                               \"/success=false\"";
        let (place, value) = match text.split_once('=') {
            Some((place, value)) => (place, Some(scalar(value).ok_or(ALLOWED)?)),
            None => (text, None),
        };
        let place = if place.starts_with('/') {
            Place::Pointer(place.parse()?)
        } else {
            let name = spelling::name(place);
            if name.is_empty() || place.contains('/') {
                return Err(ALLOWED.to_owned());
            }
            Place::Name(name)
        };
        Ok(Self { text: text.to_owned(), place, value })
    }
}

/// A JSON scalar; what is none is a text that was not quoted.
fn scalar(text: &str) -> Option<Value> {
    match serde_json::from_str(text) {
        Ok(Value::Array(_) | Value::Object(_)) => None,
        Ok(scalar) => Some(scalar),
        Err(_) if text.is_empty() || text.starts_with(['"', '[', '{']) => None,
        Err(_) => Some(text.into()),
    }
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(condition: &str, response: &str) -> bool {
        let condition: Condition = condition.parse().unwrap();
        condition.holds(&serde_json::from_str(response).unwrap())
    }

    #[test]
    fn a_bare_place_means_there_and_something() {
        for something in ["true", "1", "-0.5", "\"false\"", "\" \"", "[0]", "{\"a\":null}"] {
            assert!(holds("/a", &format!("{{\"a\":{something}}}")), "{something}");
        }
        for nothing in ["null", "false", "0", "0.0", "-0", "\"\"", "[]", "{}"] {
            assert!(!holds("/a", &format!("{{\"a\":{nothing}}}")), "{nothing}");
        }
        assert!(!holds("/a", "{}") && !holds("/a", "{\"A\":1}") && !holds("/a", "{\"user\":{\"a\":1}}"), "a pointer is exact");
        assert!(holds("/a~1b/0", "{\"a/b\":[1]}"));
    }

    #[test]
    fn a_value_is_compared_as_json_and_what_is_none_as_text() {
        assert!(holds("/status=active", "{\"status\":\"active\"}") && !holds("/status=active", "{\"status\":\"Active\"}"));
        assert!(holds("/status=\"active\"", "{\"status\":\"active\"}"));
        assert!(holds("/ok=false", "{\"ok\":false}") && !holds("/ok=false", "{\"ok\":\"false\"}") && !holds("/ok=false", "{}"));
        assert!(holds("/ok=\"false\"", "{\"ok\":\"false\"}"));
        assert!(holds("/n=1", "{\"n\":1}") && holds("/n=1", "{\"n\":1.0}") && !holds("/n=1", "{\"n\":\"1\"}"));
        assert!(!holds("/n=9007199254740993", "{\"n\":9007199254740995}"));
        assert!(holds("/s=null", "{\"s\":null}") && !holds("/s=null", "{}"));
        assert!(holds("/a=b=c", "{\"a\":\"b=c\"}"));
    }

    #[test]
    fn a_name_is_found_in_every_spelling_at_the_top_level_in_data_and_in_user() {
        for response in [
            "{\"mfaRequired\":true}",
            "{\"mfa_required\":1}",
            "{\"MFA-Required\":\"yes\"}",
            "{\"data\":{\"MfaRequired\":true}}",
            "{\"user\":{\"mfa_required\":true}}",
            "{\"mfaRequired\":false,\"mfa_required\":true}",
        ] {
            assert!(holds("mfaRequired", response), "{response}");
        }
        for response in
            ["{\"mfaRequired\":false}", "{\"mfa\":true}", "{\"other\":{\"mfaRequired\":true}}", "{\"data\":[1]}", "{}"]
        {
            assert!(!holds("mfaRequired", response), "{response}");
        }
        assert!(holds("status=mfa_required", "{\"status\":\"MFA_REQUIRED\"}") && holds("success=false", "{\"Success\":false}"));
    }

    #[test]
    fn what_is_no_place_and_no_scalar_is_refused() {
        for bad in ["", "=1", "a/b", "/a~2", "/a=", "/a=[1]", "/a={}", "/a=\"open", "_"] {
            assert!(bad.parse::<Condition>().is_err(), "{bad}");
        }
    }
}
