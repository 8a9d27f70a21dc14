//! Spans of time, moments, sizes.

use std::time::Duration;

use config::{Value, ValueKind};

use crate::config::reading::{Form, Reading};
use crate::domain::pace::ByteRate;
use crate::domain::time::Timestamp;

const UNITS_OF_TIME: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const UNITS_OF_SIZE: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A span of time within bounds, both included: `500ms`, `15m`, `1h30m`, `7d`.
pub(in crate::config) fn duration(min: Duration, max: Duration) -> Reading<Duration> {
    Reading::new(Form::Duration { min, max }, move |value| {
        let parsed = match &value.kind {
            ValueKind::String(text) => duration_from(text),
            _ => None,
        };
        parsed.filter(|span| (min..=max).contains(span)).ok_or_else(|| {
            format!(
                "allowed is a span of time with its unit (ms, s, m, h, d), such as \"500ms\", \"15m\" or \"7d\", from {} to {}",
                duration_text(min),
                duration_text(max)
            )
        })
    })
}

/// `None` for anything but numbers with units, the larger units first.
pub(super) fn duration_from(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, after) = after.split_at(letters);
        let (_, millis) = UNITS_OF_TIME.into_iter().find(|(name, _)| *name == unit).filter(|(_, millis)| *millis < smallest)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(millis)?)?;
        smallest = millis;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

/// The shortest text that [`duration_from`] reads back.
pub(in crate::config) fn duration_text(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let (unit, size) =
        UNITS_OF_TIME.into_iter().rev().find(|(_, size)| millis != 0 && millis.is_multiple_of(*size)).unwrap_or(("s", 1_000));
    format!("{}{unit}", millis / size)
}

/// A moment (RFC 3339), or a day: its beginning in UTC.
pub(in crate::config) fn moment() -> Reading<Timestamp> {
    let read = |value: &Value| {
        let ValueKind::String(text) = &value.kind else { return None };
        let is_day = text.len() == "2027-03-31".len();
        if is_day { format!("{text}T00:00:00Z").parse().ok() } else { text.parse().ok() }
    };
    Reading::new(Form::Text { pattern: "^[-+]?[0-9]{4}" }, move |value| {
        read(value)
            .map(|at: jiff::Timestamp| Timestamp::from_millis(at.as_millisecond()))
            .ok_or_else(|| "allowed is a day such as \"2027-03-31\", or a moment such as \"2027-03-31T12:00:00Z\"".to_owned())
    })
}

/// A number of bytes within bounds, both included: `512B`, `64KiB`, `1MiB`.
pub(in crate::config) fn size(min: u64, max: u64) -> Reading<u64> {
    Reading::new(Form::Size { min, max }, move |value| {
        let parsed = match &value.kind {
            ValueKind::String(text) => size_from(text),
            _ => None,
        };
        parsed.filter(|bytes| (min..=max).contains(bytes)).ok_or_else(|| {
            format!(
                "allowed is a size with its unit (B, KiB, MiB, GiB), such as \"64KiB\" or \"1MiB\", from {} to {}",
                size_text(min),
                size_text(max)
            )
        })
    })
}

/// [`size`] as a `usize`.
pub(in crate::config) fn memory(min: u64, max: u64) -> Reading<usize> {
    size(min, max).then(|n| usize::try_from(n).map_err(|e| e.to_string()))
}

/// The fewest bytes in a second: `256B/s`, or `256B`. 0: off.
pub(in crate::config) fn byte_rate() -> Reading<Option<ByteRate>> {
    const BYTES_MAX: u64 = 1 << 30;
    let text = Form::Text { pattern: "^(0|[0-9]+(B|KiB|MiB|GiB))(/s)?$" };
    Reading::new(Form::Either(vec![text, Form::Integer { min: 0, max: 0 }]), |value| {
        let parsed = match &value.kind {
            ValueKind::I64(0) => Some(0),
            ValueKind::String(text) => match text.strip_suffix("/s").unwrap_or(text) {
                "0" => Some(0),
                size => size_from(size),
            },
            _ => None,
        };
        parsed.filter(|bytes| *bytes <= BYTES_MAX).map(ByteRate::new).ok_or_else(|| {
            format!(
                "allowed is a size for each second, such as \"256B/s\" or \"1KiB/s\", up to {}/s, or 0 for no limit",
                size_text(BYTES_MAX)
            )
        })
    })
}

pub(super) fn size_from(text: &str) -> Option<u64> {
    let (unit, bytes) = UNITS_OF_SIZE.into_iter().find(|(name, _)| text.ends_with(name))?;
    let number = &text[..text.len() - unit.len()];
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    if is_number { number.parse::<u64>().ok()?.checked_mul(bytes) } else { None }
}

pub(in crate::config) fn size_text(bytes: u64) -> String {
    let (unit, size) = UNITS_OF_SIZE.into_iter().find(|(_, size)| bytes != 0 && bytes.is_multiple_of(*size)).unwrap_or(("B", 1));
    format!("{}{unit}", bytes / size)
}
