//! A JSON object that is changed at single places only: every other byte of its values stays as it was, numbers beyond what a
//! float holds included, and so does the order.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// Members in their order, repeated names included.
#[derive(Debug)]
pub(super) struct JsonObject(Vec<(String, Box<RawValue>)>);

/// Why a member could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MemberError {
    Repeated,
    NotText,
}

impl JsonObject {
    /// `None` for anything but one JSON object.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The text under one of `names`, which mean the same; a `null` is as good as absent.
    pub(super) fn text(&self, names: &[&str]) -> Result<Option<String>, MemberError> {
        let mut found = self.0.iter().filter(|(name, _)| names.contains(&name.as_str()));
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some((_, value)), None) => serde_json::from_str(value.get()).map_err(|_| MemberError::NotText),
            (Some(_), Some(_)) => Err(MemberError::Repeated),
        }
    }

    /// Puts the member in the place of one of that name, or at the end. Repetitions of the name go.
    pub(super) fn set(&mut self, name: &str, value: &impl Serialize) {
        let Ok(value) = to_raw_value(value) else { return };
        let place = self.0.iter().position(|(other, _)| other == name).unwrap_or(self.0.len());
        self.0.retain(|(other, _)| other != name);
        self.0.insert(place.min(self.0.len()), (name.to_owned(), value));
    }

    /// [`JsonObject::set`] below the objects that `names` lead through; those that are missing, or `null`, are made. `false`: on the
    /// way there is something else, and nothing was changed. Of repetitions on the way the last one counts, as it does for clients.
    pub(super) fn set_at(&mut self, names: &[String], value: &impl Serialize) -> bool {
        let [name, below @ ..] = names else { return false };
        if below.is_empty() {
            self.set(name, value);
            return true;
        }
        let mut inner = match self.0.iter().rfind(|(other, _)| other == name) {
            Some((_, there)) if there.get() != "null" => match Self::parse(there.get().as_bytes()) {
                Some(object) => object,
                None => return false,
            },
            Some(_) | None => Self::new(),
        };
        let is_placed = inner.set_at(below, value);
        if is_placed {
            self.set(name, &inner);
        }
        is_placed
    }

    /// Whether [`JsonObject::set_at`] would find its way.
    pub(super) fn can_set_at(&self, names: &[String]) -> bool {
        match names {
            [] => false,
            [_] => true,
            [name, below @ ..] => match self.0.iter().rfind(|(other, _)| other == name) {
                Some((_, there)) if there.get() != "null" => {
                    Self::parse(there.get().as_bytes()).is_some_and(|inner| inner.can_set_at(below))
                }
                Some(_) | None => true,
            },
        }
    }

    pub(super) fn new() -> Self {
        Self(Vec::new())
    }
}

impl Serialize for JsonObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = JsonObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonObject, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(JsonObject(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, name: &str, value: &str) -> String {
        let mut object = JsonObject::parse(text.as_bytes()).unwrap();
        object.set(name, &value);
        serde_json::to_string(&object).unwrap()
    }

    #[test]
    fn values_keep_their_bytes_and_members_their_order() {
        let text = r#"{"z":12345678901234567890123,"a":[1.0, 1e400],"deep":{"b" : null}}"#;
        assert_eq!(set(text, "new", "x"), r#"{"z":12345678901234567890123,"a":[1.0, 1e400],"deep":{"b" : null},"new":"x"}"#);
    }

    #[test]
    fn a_member_of_the_same_name_is_replaced_in_its_place() {
        assert_eq!(set(r#"{"token":"old","id":1,"token":"older"}"#, "token", "x"), r#"{"token":"x","id":1}"#);
        assert_eq!(set(r#"{"id":1,"token":"old"}"#, "token", "x"), r#"{"id":1,"token":"x"}"#);
        assert_eq!(set("{}", "token", "x"), r#"{"token":"x"}"#);
    }

    #[test]
    fn a_nested_member_is_set_and_its_neighbours_keep_their_bytes() {
        let set = |text: &str, names: &[&str]| {
            let mut object = JsonObject::parse(text.as_bytes()).unwrap();
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let can_be_set = object.can_set_at(&names);
            let is_set = object.set_at(&names, &"x");
            assert_eq!(can_be_set, is_set, "{text}");
            is_set.then(|| serde_json::to_string(&object).unwrap())
        };
        let text = r#"{"data":{"n":1e400,"t":{"a":"old","b":[1.0]}},"user":{"id": 1}}"#;
        let after = r#"{"data":{"n":1e400,"t":{"a":"x","b":[1.0]}},"user":{"id": 1}}"#;
        assert_eq!(set(text, &["data", "t", "a"]).as_deref(), Some(after));
        let repeated = set(r#"{"data":{"n":1},"data":{"n":2}}"#, &["data", "a"]);
        assert_eq!(repeated.as_deref(), Some(r#"{"data":{"n":2,"a":"x"}}"#), "what clients would have seen");
        assert_eq!(set("{}", &["data", "t", "a"]).as_deref(), Some(r#"{"data":{"t":{"a":"x"}}}"#));
        assert_eq!(set(r#"{"data":null}"#, &["data", "a"]).as_deref(), Some(r#"{"data":{"a":"x"}}"#));
        for text in [r#"{"data":"text"}"#, r#"{"data":[]}"#, r#"{"data":{"t":1}}"#] {
            assert_eq!(set(text, &["data", "t", "a"]), None, "{text}: what the upstream said is not replaced");
        }
    }

    #[test]
    fn only_one_object_is_read() {
        for text in ["", "[]", "\"x\"", "null", "{", "{}{}", "{\"a\":}", "\u{feff}{}"] {
            assert!(JsonObject::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_text_is_found_under_any_of_its_names_once() {
        let text = |body: &str| JsonObject::parse(body.as_bytes()).unwrap().text(&["a", "b"]);
        assert_eq!(text(r#"{"b":"x","c":1}"#), Ok(Some("x".to_owned())));
        assert_eq!(text(r#"{"a":null}"#), Ok(None));
        assert_eq!(text(r#"{"a":1}"#), Err(MemberError::NotText));
        assert_eq!(text(r#"{"a":"x","b":"x"}"#), Err(MemberError::Repeated));
        assert_eq!(text(r#"{"a":"x","a":"x"}"#), Err(MemberError::Repeated));
    }

    #[test]
    fn nesting_of_any_depth_is_no_danger() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let _ = JsonObject::parse(deep.as_bytes());
    }
}
