//! JSON from outside, read strictly: no member twice, no deep nesting, nothing after the end.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a document was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JsonError {
    #[error("not valid JSON")]
    Malformed,
    #[error("not a JSON object")]
    NotAnObject,
    #[error("a JSON member appears twice")]
    DuplicateMember,
    #[error("JSON nested too deeply")]
    TooDeep,
}

/// A member of such a name is a message of `serde_json` to itself: it stands for what its value holds, so that a document would say one
/// thing here and another wherever it is written and read again.
const RESERVED_PREFIX: &str = "$serde_json::private::";

/// Reads an object, refusing a repeated member at any depth. The object itself is depth 1. The caller bounds the size.
pub fn object(json: &[u8], depth_max: u8) -> Result<Map<String, Value>, JsonError> {
    let refusal = Cell::new(JsonError::Malformed);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let strict = Strict { depth_left: depth_max, refusal: &refusal };
    let value = strict.deserialize(&mut deserializer).map_err(|_| refusal.get())?;
    deserializer.end().map_err(|_| JsonError::Malformed)?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(JsonError::NotAnObject),
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth_left: u8,
    /// Says which refusal a serde error stands for: its own text is not for matching.
    refusal: &'a Cell<JsonError>,
}

impl Strict<'_> {
    fn refuse<E: serde::de::Error>(self, refusal: JsonError) -> E {
        self.refusal.set(refusal);
        E::custom(refusal)
    }

    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left, ..self }),
            None => Err(self.refuse(JsonError::TooDeep)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if name.starts_with(RESERVED_PREFIX) {
                return Err(self.refuse(JsonError::Malformed));
            }
            if map.contains_key(&name) {
                return Err(self.refuse(JsonError::DuplicateMember));
            }
            let value = members.next_value_seed(inner)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_member_may_appear_once_at_any_depth() {
        assert_eq!(object(br#"{"a":1,"b":2,"a":1}"#, 4), Err(JsonError::DuplicateMember));
        assert_eq!(object(br#"{"a":[{"b":1,"b":2}]}"#, 4), Err(JsonError::DuplicateMember));
        assert_eq!(object(br#"{"a":1,"\u0061":2}"#, 4), Err(JsonError::DuplicateMember), "the same name, escaped");
        assert!(object(br#"{"a":{"a":1},"b":{"a":1}}"#, 4).is_ok());
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(object(br#"{"a":[[1]]}"#, 3).is_ok());
        assert_eq!(object(br#"{"a":[[[1]]]}"#, 3), Err(JsonError::TooDeep));
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert_eq!(object(deep.as_bytes(), 16), Err(JsonError::TooDeep));
        assert_eq!(object(deep.as_bytes(), 255), Err(JsonError::Malformed), "serde_json has a limit of its own");
    }

    #[test]
    fn only_one_whole_object_is_read() {
        assert_eq!(object(b"[]", 4), Err(JsonError::NotAnObject));
        assert_eq!(object(b"null", 4), Err(JsonError::NotAnObject));
        for bad in
            ["", "{}{}", "{} x", "{\"a\":1,}", "{'a':1}", "{\"a\":NaN}", "{\"a\":1e999}", "\u{feff}{}", "{\"a\":\"\\ud800\"}"]
        {
            assert_eq!(object(bad.as_bytes(), 4), Err(JsonError::Malformed), "{bad}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}", 4), Err(JsonError::Malformed));
    }

    #[test]
    fn what_another_reader_would_unwrap_is_refused() {
        let document = br#"{"a":{"$serde_json::private::RawValue":"{\"b\":1}"}}"#;
        assert_eq!(serde_json::from_slice::<Value>(document).unwrap()["a"]["b"], 1);
        assert_eq!(object(document, 4), Err(JsonError::Malformed));
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_json_on_what_it_takes(bytes in "\\{\"a\":[\\[\\]{}0-9.,:\"ab\\\\e+-]{0,20}\\}") {
            if let Ok(map) = object(bytes.as_bytes(), 255) {
                prop_assert_eq!(Value::Object(map), serde_json::from_str::<Value>(&bytes).unwrap());
            }
        }
    }
}
