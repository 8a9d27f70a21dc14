//! Extended JSON, as `MongoDB` writes it, and what other exports wrap values in: a value within an object that says its type.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// UUIDs of the one subtype whose bytes have one order.
const SUBTYPE_UUID: &str = "04";
const UUID_BYTES: usize = 16;

/// The value without its wrapping; what is wrapped in no known way stays as it is.
///
/// # Errors
/// What holds a known wrapping of something that it cannot hold, or that could be read in two ways.
pub(super) fn plain(value: &Value) -> Result<Cow<'_, Value>, String> {
    let Value::Object(members) = value else { return Ok(Cow::Borrowed(value)) };
    let mut names = members.keys().map(String::as_str);
    let wrapping = match (names.next(), names.next(), names.next()) {
        (Some(one), None, _) if one.starts_with('$') => one,
        // As older versions write it: { "$binary": …, "$type": … }.
        (Some("$binary"), Some("$type"), None) => "$binary",
        (Some("type"), Some("data"), None) if members["type"] == "Buffer" => return buffer(&members["data"]).map(Cow::Owned),
        _ => return Ok(Cow::Borrowed(value)),
    };
    let inner = &members[wrapping];
    let plain = match wrapping {
        "$oid" | "$uuid" | "$symbol" => inner.as_str().map(Value::from),
        "$numberLong" | "$numberInt" | "$numberDouble" | "$numberDecimal" => number(inner),
        "$date" => date(inner),
        "$undefined" => Some(Value::Null),
        "$binary" => return binary(members).map(Cow::Owned),
        _ => None,
    };
    plain.map(Cow::Owned).ok_or_else(|| "is wrapped in a type that is not read here".to_owned())
}

/// [`plain`] for a value and all that lie within it.
pub(super) fn all_plain(value: &Value) -> Result<Value, String> {
    Ok(match &*plain(value)? {
        Value::Array(items) => Value::Array(items.iter().map(all_plain).collect::<Result<_, _>>()?),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| Ok((name.clone(), all_plain(value)?)));
            Value::Object(members.collect::<Result<Map<_, _>, String>>()?)
        }
        other => other.clone(),
    })
}

fn number(inner: &Value) -> Option<Value> {
    match inner {
        Value::Number(_) => Some(inner.clone()),
        Value::String(text) => text.parse::<serde_json::Number>().ok().map(Value::Number),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A count here is one of milliseconds, whatever its size; in words it cannot be taken for another.
fn date(inner: &Value) -> Option<Value> {
    let millis = match inner {
        Value::String(text) => return Some(Value::from(text.as_str())),
        Value::Number(number) => number.as_i64()?,
        Value::Object(members) if members.len() == 1 => members.get("$numberLong")?.as_str()?.parse().ok()?,
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Array(_) => return None,
    };
    jiff::Timestamp::from_millisecond(millis).ok().map(|moment| Value::from(moment.to_string()))
}

/// A UUID as it is usually written, any other bytes in base64.
fn binary(members: &Map<String, Value>) -> Result<Value, String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let (base64, subtype) = match &members["$binary"] {
        Value::String(base64) => (Some(base64.clone()), text(members.get("$type"))),
        inner => (text(inner.get("base64")), text(inner.get("subType"))),
    };
    let bytes = base64.as_ref().and_then(|base64| STANDARD.decode(base64).ok());
    let (Some(base64), Some(bytes), Some(subtype)) = (base64, bytes, subtype) else {
        return Err("holds bytes in a form that is not read here".to_owned());
    };
    match (subtype.as_str(), bytes.len()) {
        (SUBTYPE_UUID, UUID_BYTES) => Ok(Value::from(uuid(&bytes))),
        ("03", _) => Err("is a UUID of subtype 3, whose bytes drivers order in several ways: export it as text".to_owned()),
        _ => Ok(Value::from(base64)),
    }
}

fn uuid(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
        let _ = write!(text, "{dash}{byte:02x}");
    }
    text
}

/// What Node makes of bytes: `{"type":"Buffer","data":[1]}`. A bit is read as its number, longer ones in base64.
fn buffer(data: &Value) -> Result<Value, String> {
    let bytes: Option<Vec<u8>> =
        data.as_array().and_then(|items| items.iter().map(|item| item.as_u64().and_then(|n| u8::try_from(n).ok())).collect());
    match bytes.as_deref() {
        Some([bit @ (0 | 1)]) => Ok(Value::from(*bit)),
        Some(bytes) => Ok(Value::from(STANDARD.encode(bytes))),
        None => Err("holds bytes in a form that is not read here".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_read_without_its_wrapping() {
        for (wrapped, bare) in [
            (json!({"$oid": "65f1c0ffee"}), json!("65f1c0ffee")),
            (json!({"$numberLong": "42"}), json!(42)),
            (json!({"$numberInt": "1"}), json!(1)),
            (json!({"$date": "2026-11-24T16:00:00Z"}), json!("2026-11-24T16:00:00Z")),
            (json!({"$date": 1_795_536_000_123_i64}), json!("2026-11-24T16:00:00.123Z")),
            (json!({"$date": {"$numberLong": "1795536000123"}}), json!("2026-11-24T16:00:00.123Z")),
            (json!({"$date": {"$numberLong": "-62135596800000"}}), json!("0001-01-01T00:00:00Z")),
            (json!({"$undefined": true}), json!(null)),
            (
                json!({"$binary": {"base64": "ASNFZ4mrze8BI0VniavN7w==", "subType": "04"}}),
                json!("01234567-89ab-cdef-0123-456789abcdef"),
            ),
            (json!({"$binary": "AAEC", "$type": "00"}), json!("AAEC")),
            (json!({"type": "Buffer", "data": [1]}), json!(1)),
            (json!({"plan": "a", "$x": 1}), json!({"plan": "a", "$x": 1})),
            (json!("text"), json!("text")),
        ] {
            assert_eq!(plain(&wrapped).map(Cow::into_owned), Ok(bare), "{wrapped}");
        }
        let nested = json!({"org": {"$oid": "a"}, "list": [{"$numberLong": "1"}]});
        assert_eq!(all_plain(&nested), Ok(json!({"org": "a", "list": [1]})));
    }

    #[test]
    fn what_a_wrapping_cannot_hold_is_refused() {
        for wrapped in [
            json!({"$oid": 7}),
            json!({"$date": {"$numberLong": "soon"}}),
            json!({"$date": true}),
            json!({"$numberLong": "x"}),
            json!({"$minKey": 1}),
            json!({"$timestamp": {"t": 1, "i": 1}}),
            json!({"$binary": {"base64": "ASNFZ4mrze8BI0VniavN7w==", "subType": "03"}}),
            json!({"$binary": {"base64": "%", "subType": "00"}}),
        ] {
            assert!(plain(&wrapped).is_err(), "{wrapped}");
        }
    }
}
