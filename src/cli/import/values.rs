//! Cells of a row: texts, moments, truths, and what stands for nothing.

use std::borrow::Cow;

use serde_json::Value;

use super::extended_json;
use super::moments::{self, Moment};
use crate::domain::imported::stands_for_nothing;
use crate::domain::time::Timestamp;

/// One cell of a row; an empty one is absent, and so is one that holds what stands for nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell<'a>(pub(super) Option<&'a Value>);

impl<'a> Cell<'a> {
    /// What the cell holds, unwrapped; `None` for nothing.
    pub(super) fn value(self) -> Result<Option<Cow<'a, Value>>, String> {
        let Some(value) = self.0 else { return Ok(None) };
        let value = extended_json::plain(value)?;
        let is_nothing = match &*value {
            Value::Null => true,
            Value::String(text) => stands_for_nothing(text),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
        };
        Ok(Some(value).filter(|_| !is_nothing))
    }

    pub(super) fn text(self) -> Result<Option<Cow<'a, str>>, String> {
        Ok(match self.value()? {
            None => None,
            Some(Cow::Borrowed(Value::String(text))) => Some(Cow::Borrowed(text)),
            Some(value) => match &*value {
                Value::String(text) => Some(Cow::Owned(text.clone())),
                Value::Number(number) => Some(Cow::Owned(number.to_string())),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                    return Err("allowed is a text or a number".to_owned());
                }
            },
        })
    }

    /// See [`moments::read`]; `None` also for what stands for no moment.
    pub(super) fn moment(self) -> Result<Option<Timestamp>, String> {
        let Some(text) = self.text()? else { return Ok(None) };
        Ok(match moments::read(&text)? {
            Moment::At(at) => Some(at),
            Moment::Never => None,
        })
    }

    /// Whether it names the moment at which something ended. The end of time does not: until then a row counts that is never to end.
    pub(super) fn has_ended(self) -> Result<bool, String> {
        Ok(self.moment()?.is_some_and(|at| at < moments::END_OF_TIME))
    }

    /// As databases print it, bits included: `b'0'`, or the byte itself. Nothing is no.
    pub(super) fn truth(self) -> Result<bool, String> {
        if let Some(Value::Bool(truth)) = self.0 {
            return Ok(*truth);
        }
        let text = self.text()?.unwrap_or(Cow::Borrowed("f"));
        match text.trim_matches([' ', '\t']).to_ascii_lowercase().as_str() {
            "t" | "true" | ".t." | "1" | "1.0" | "y" | "yes" | "on" | "b'1'" | "b'\\x01'" | "0x01" | "\\x01" | "\u{1}" => {
                Ok(true)
            }
            "f" | "false" | ".f." | "0" | "0.0" | "n" | "no" | "off" | "b'0'" | "b'\\x00'" | "b'\\0'" | "0x00" | "\\x00"
            | "\\0" | "\0" => Ok(false),
            _ => Err("allowed: true, false, t, f, 1, 0, yes, no, on, off, b'1', b'0'".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const AT: i64 = 1_795_536_000_123;

    #[test]
    fn a_moment_may_be_a_text_a_number_or_wrapped() {
        for value in [
            json!("2026-11-24T16:00:00.123Z"),
            json!("1795536000123"),
            json!(AT),
            json!({"$date": AT}),
            json!({"$date": {"$numberLong": AT.to_string()}}),
        ] {
            assert_eq!(Cell(Some(&value)).moment(), Ok(Some(Timestamp::from_millis(AT))), "{value}");
        }
        for value in [json!(""), json!(null), json!(0), json!("0000-00-00 00:00:00"), json!("NULL"), json!({"$date": 0})] {
            assert_eq!(Cell(Some(&value)).moment(), Ok(None), "{value}");
        }
        assert_eq!(Cell(None).moment(), Ok(None));
        for value in [json!("tomorrow"), json!(1.5), json!([1]), json!(true)] {
            assert!(Cell(Some(&value)).moment().is_err(), "{value}");
        }
        // Milliseconds by definition, however few.
        assert!(Cell(Some(&json!({"$date": 1_795_536_000}))).moment().is_err());
    }

    #[test]
    fn what_stands_for_nothing_is_absent_in_every_reading() {
        for text in
            ["", " ", "NULL", "null", " NULL ", "\\N", "None", "nil", "<nil>", "undefined", "-", "NaN", "NaT", "(null)", "[NULL]"]
        {
            let value = json!(text);
            let cell = Cell(Some(&value));
            assert_eq!((cell.text(), cell.moment(), cell.truth()), (Ok(None), Ok(None), Ok(false)), "{text}");
            assert_eq!(cell.value(), Ok(None), "{text}");
        }
        for text in ["nullable", "none-of-it", "--", "N", "0"] {
            assert!(Cell(Some(&json!(text))).text().unwrap().is_some(), "{text}");
        }
    }

    #[test]
    fn truths_are_read_as_databases_write_them() {
        for value in [
            json!(true),
            json!("t"),
            json!("TRUE"),
            json!("1"),
            json!(1),
            json!("yes"),
            json!("b'1'"),
            json!("\u{1}"),
            json!({"$numberInt": "1"}),
            json!({"type": "Buffer", "data": [1]}),
        ] {
            assert_eq!(Cell(Some(&value)).truth(), Ok(true), "{value}");
        }
        for value in [
            json!(false),
            json!("f"),
            json!("False"),
            json!(0),
            json!(""),
            json!(null),
            json!("b'\\0'"),
            json!("b'0'"),
            json!("\0"),
            json!({"type": "Buffer", "data": [0]}),
            json!("\\N"),
        ] {
            assert_eq!(Cell(Some(&value)).truth(), Ok(false), "{value}");
        }
        for value in [json!("maybe"), json!(2), json!("2026-11-24"), json!([true])] {
            assert!(Cell(Some(&value)).truth().is_err(), "{value}");
        }
    }
}
