//! Values as databases print them: moments, truths, texts.

use std::borrow::Cow;

use serde_json::Value;

use crate::domain::time::Timestamp;

/// Numbers from here on are milliseconds since the epoch, below it seconds: the year 5138 in seconds, 1973 in milliseconds.
const MILLIS_FROM: i64 = 100_000_000_000;

/// One cell of a row; an empty one is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell<'a>(pub(super) Option<&'a Value>);

impl<'a> Cell<'a> {
    /// What the cell holds; `None` for nothing, for `null` and for an empty text.
    pub(super) fn value(self) -> Option<&'a Value> {
        self.0.filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    pub(super) fn text(self) -> Result<Option<Cow<'a, str>>, String> {
        match self.value() {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(Cow::Borrowed(text))),
            Some(Value::Number(number)) => Ok(Some(Cow::Owned(number.to_string()))),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                Err("allowed is a text or a number".to_owned())
            }
        }
    }

    /// ISO 8601 as databases and JavaScript write it, UTC where it names no zone; or a Unix time in seconds or milliseconds.
    pub(super) fn moment(self) -> Result<Option<Timestamp>, String> {
        let Some(text) = self.text()? else { return Ok(None) };
        let text = text.trim();
        let moment = if let Ok(number) = text.parse::<i64>() {
            Some(if number.abs() >= MILLIS_FROM { Timestamp::from_millis(number) } else { Timestamp::from_secs(number) })
        } else {
            in_words(text).map(|moment| Timestamp::from_millis(moment.as_millisecond()))
        };
        moment.map(Some).ok_or_else(|| "is no moment; allowed is one such as 2026-11-24T16:00:00Z, or a Unix time".to_owned())
    }

    pub(super) fn truth(self) -> Result<bool, String> {
        let text = match self.value() {
            None => return Ok(false),
            Some(Value::Bool(truth)) => return Ok(*truth),
            Some(_) => self.text()?.unwrap_or_default(),
        };
        match text.to_ascii_lowercase().as_str() {
            "t" | "true" | "1" | "y" | "yes" => Ok(true),
            "f" | "false" | "0" | "n" | "no" => Ok(false),
            _ => Err("allowed: true, false, t, f, 1, 0".to_owned()),
        }
    }
}

fn in_words(text: &str) -> Option<jiff::Timestamp> {
    // What has no zone is UTC: so Prisma writes, and so do most.
    let without_zone = || jiff::tz::Offset::UTC.to_timestamp(text.parse::<jiff::civil::DateTime>().ok()?).ok();
    text.parse().ok().or_else(without_zone)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const AT: i64 = 1_795_536_000_123;

    #[test]
    fn moments_are_read_as_databases_write_them() {
        let same = [
            json!("2026-11-24T16:00:00.123Z"),
            json!("2026-11-24 16:00:00.123"),
            json!("2026-11-24T16:00:00.123"),
            json!("2026-11-24 16:00:00.123+00"),
            json!("2026-11-24 18:00:00.123456+02"),
            json!("2026-11-24T21:30:00.123+05:30"),
            json!("1795536000123"),
            json!(AT),
        ];
        for value in same {
            assert_eq!(Cell(Some(&value)).moment(), Ok(Some(Timestamp::from_millis(AT))), "{value}");
        }
        assert_eq!(Cell(Some(&json!("1795536000"))).moment(), Ok(Some(Timestamp::from_secs(1_795_536_000))));
        assert_eq!(Cell(Some(&json!(""))).moment(), Ok(None));
        assert_eq!(Cell(Some(&json!(null))).moment(), Ok(None));
        assert_eq!(Cell(None).moment(), Ok(None));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for value in [json!("tomorrow"), json!("infinity"), json!("2026-13-01 00:00:00"), json!(1.5), json!([1]), json!(true)] {
            assert!(Cell(Some(&value)).moment().is_err(), "{value}");
        }
    }

    #[test]
    fn truths_are_read_as_databases_write_them() {
        for value in [json!(true), json!("t"), json!("TRUE"), json!("1"), json!(1), json!("yes")] {
            assert_eq!(Cell(Some(&value)).truth(), Ok(true), "{value}");
        }
        for value in [json!(false), json!("f"), json!("False"), json!(0), json!(""), json!(null)] {
            assert_eq!(Cell(Some(&value)).truth(), Ok(false), "{value}");
        }
        assert!(Cell(Some(&json!("maybe"))).truth().is_err());
    }
}
