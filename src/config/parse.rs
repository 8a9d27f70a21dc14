//! Readings of single values. Each error says what is allowed.

mod measure;
mod rate;
mod secret;
#[cfg(test)]
mod tests;
mod web;

use std::path::PathBuf;
use std::str::FromStr;

use config::{Value, ValueKind};
use http::StatusCode;

use super::problem::short_text;
use super::reading::{FILLED_LINE, Form, LINE, Reading};
use super::setting::{Disclosure, Setting};
use crate::domain::claim_policy::ClaimPath;
use crate::domain::share::Share;

pub(super) use super::reading::Parsed;
pub(super) use measure::{byte_rate, duration, duration_text, memory, moment, size, size_text};
pub(super) use rate::rate;
pub(super) use secret::{base64_bytes, content_of, deployment_secrets, hex_bytes, password};
pub(super) use web::{
    address, has_sound_port, header_name, host_pattern, is_url_path, method, network, origin, own_address, url_path,
};

pub(super) fn text() -> Reading<String> {
    Reading::new(Form::Text { pattern: LINE }, |value| match &value.kind {
        ValueKind::String(text) if !text.chars().any(char::is_control) => Ok(text.clone()),
        ValueKind::String(_) => Err("control characters are not allowed".to_owned()),
        _ => Err("allowed is text in quotes".to_owned()),
    })
}

pub(super) fn filled_text() -> Reading<String> {
    let filled = |text: String| if text.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(text) };
    text().then(filled).like(FILLED_LINE)
}

/// The name of a claim or, with a slash before it, a JSON pointer.
pub(super) fn claim_path() -> Reading<ClaimPath> {
    filled_text().then(|text| Ok(ClaimPath::new(&text)))
}

pub(super) fn flag() -> Reading<bool> {
    Reading::new(Form::Flag, |value| match &value.kind {
        ValueKind::Boolean(value) => Ok(*value),
        ValueKind::String(text) if text == "true" => Ok(true),
        ValueKind::String(text) if text == "false" => Ok(false),
        _ => Err("allowed: true, false".to_owned()),
    })
}

pub(super) fn number(min: u64, max: u64) -> Reading<u64> {
    Reading::new(Form::Integer { min, max }, move |value| {
        let number = match &value.kind {
            ValueKind::I64(number) => u64::try_from(*number).ok(),
            ValueKind::U64(number) => Some(*number),
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        number.filter(|n| (min..=max).contains(n)).ok_or_else(|| format!("allowed is a whole number from {min} to {max}"))
    })
}

/// `"20%"`, in whole numbers.
pub(super) fn percentage() -> Reading<Share> {
    let read = |text: &str| Share::new(text.strip_suffix('%').filter(|digits| is_number(digits))?.parse().ok()?);
    text()
        .then(move |text| read(&text).ok_or_else(String::new))
        .or_say(|| "allowed is a percentage from \"0%\" to \"100%\"".to_owned())
        .like("^0*(100|[1-9]?[0-9])%$")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn share() -> Reading<Share> {
    number(0, 100).then(|percent| {
        u8::try_from(percent).ok().and_then(Share::new).ok_or_else(|| "allowed is a whole number from 0 to 100".to_owned())
    })
}

/// [`number`] as a `usize`, which it fits into on every machine that this runs on.
pub(super) fn count(min: u32, max: u32) -> Reading<usize> {
    number(min.into(), max.into()).then(|n| usize::try_from(n).map_err(|e| e.to_string()))
}

/// [`number`] as a `u32`.
pub(super) fn number_u32(min: u32, max: u32) -> Reading<u32> {
    number(min.into(), max.into()).then(|n| u32::try_from(n).map_err(|e| e.to_string()))
}

/// [`number`] as a `u8`.
pub(super) fn number_u8(min: u8, max: u8) -> Reading<u8> {
    number(min.into(), max.into()).then(|n| u8::try_from(n).map_err(|e| e.to_string()))
}

/// [`number`] as a status of a response.
pub(super) fn status(min: u16, max: u16) -> Reading<StatusCode> {
    let status = |code: u64| u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
    number(min.into(), max.into()).then(move |code| status(code).ok_or_else(|| "is no status".to_owned()))
}

/// A list; in the environment and in flags also `a,b`. An empty text is an empty list.
pub(super) fn list<T: Setting + 'static>(item: Reading<T>) -> Reading<Vec<T>> {
    let form = Form::List(Box::new(item.form.clone()));
    let located = move |(index, value): (usize, &Value)| {
        item.of(value).map_err(|message| match T::DISCLOSURE {
            Disclosure::Open => format!("item {} ({}): {message}", index + 1, short_text(value)),
            Disclosure::Credentials | Disclosure::Secret => format!("item {}: {message}", index + 1),
        })
    };
    Reading::new(form, move |value| match &value.kind {
        ValueKind::Array(items) => all(items.iter().enumerate().map(&located)),
        ValueKind::String(text) if text.is_empty() => Ok(Vec::new()),
        ValueKind::String(text) => {
            all(text.split(',').enumerate().map(|(index, part)| located((index, &Value::new(None, part.trim())))))
        }
        _ => Err("allowed is a list, such as [\"a\", \"b\"]".to_owned()),
    })
}

/// Every item, or what is wrong with each that is wrong.
fn all<T>(items: impl Iterator<Item = Parsed<T>>) -> Parsed<Vec<T>> {
    let mut faults = Vec::new();
    let items: Vec<T> = items.filter_map(|item| item.map_err(|fault| faults.push(fault)).ok()).collect();
    if faults.is_empty() { Ok(items) } else { Err(faults.join("; ")) }
}

/// One of a few words.
pub(super) fn choice<T: Copy + 'static>(allowed: &'static [(&'static str, T)]) -> Reading<T> {
    let words: Vec<&str> = allowed.iter().map(|(word, _)| *word).collect();
    Reading::new(Form::words(&words), move |value| {
        let given = match &value.kind {
            ValueKind::String(text) => text.as_str(),
            _ => "",
        };
        allowed.iter().find(|(word, _)| *word == given).map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<String> = allowed.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            format!("allowed: {}", words.join(", "))
        })
    })
}

/// Anything with a text form of its own, described by `allowed`.
pub(super) fn parsed<T: FromStr + 'static>(allowed: &'static str) -> Reading<T> {
    Reading::new(Form::Text { pattern: "" }, move |value| match &value.kind {
        ValueKind::String(text) => text.parse().map_err(|_| format!("allowed is {allowed}")),
        _ => Err(format!("allowed is {allowed}")),
    })
}

pub(super) fn path() -> Reading<PathBuf> {
    filled_text().then(|text| Ok(PathBuf::from(text)))
}

/// Something that an empty text switches off.
pub(super) fn or_off<T: 'static>(reading: Reading<T>) -> Reading<Option<T>> {
    Reading::new(reading.form.clone().or_empty(), move |value| match &value.kind {
        ValueKind::String(text) if text.is_empty() => Ok(None),
        _ => reading.of(value).map(Some).map_err(|message| format!("{message}; \"\" switches it off")),
    })
}
