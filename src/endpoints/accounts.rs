//! Every account that an API might read from a login: each counts against the limits, so that none goes unnoticed beside another.
//!
//! APIs differ in what they take for the account, and in how they read it. So a body is read in every way that it may be read: by its
//! type and by its looks, lenient where some API is. What cannot be followed at all is refused where a type promises otherwise.

use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;

use crate::config::AccountName;
use crate::domain::spelling;

mod content_type;
mod form;
mod json;
mod multipart;
#[cfg(test)]
mod tests;

use content_type::ContentType;

/// How many different accounts one login may name.
pub(super) const ACCOUNTS_MAX: usize = 16;

/// What a login names.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Reading {
    /// In their one spelling, each once.
    pub(super) accounts: Vec<String>,
    /// `false`: there is a body that may name more, in a way that was not understood.
    pub(super) is_readable: bool,
}

/// Why a login is not passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unreadable {
    /// It is not what its type says; APIs that read it nevertheless would each read something else.
    Malformed(&'static str),
    /// Compressed, or in a character set in which names and accounts cannot be told.
    Encoded,
    TooManyAccounts,
}

/// Reads body, query and credentials.
pub(super) fn read(head: &Parts, body: &[u8], names: &[AccountName]) -> Result<Reading, Unreadable> {
    let mut found = Found { names, accounts: Vec::new() };
    if let Some(query) = head.uri.query() {
        form::read(query.as_bytes(), &mut found);
    }
    for field in head.headers.get_all(AUTHORIZATION) {
        if let Some(user) = basic_user(field.as_bytes()) {
            found.account(&user);
        }
    }
    let is_empty = body.trim_ascii().is_empty();
    let is_readable = is_empty || read_body(&head.headers, body, &mut found)?;
    if found.accounts.len() > ACCOUNTS_MAX {
        return Err(Unreadable::TooManyAccounts);
    }
    Ok(Reading { accounts: found.accounts, is_readable })
}

/// What an upstream's answer names.
pub(super) fn in_answer(body: &[u8], names: &[AccountName]) -> Vec<String> {
    let mut found = Found { names, accounts: Vec::new() };
    let _ = json::read(body, &mut found);
    found.accounts
}

/// Whether some way was found to read it.
fn read_body(headers: &HeaderMap, body: &[u8], found: &mut Found<'_>) -> Result<bool, Unreadable> {
    let encodings = headers.get_all(CONTENT_ENCODING).iter();
    if encodings.into_iter().any(|value| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")) {
        return Err(Unreadable::Encoded);
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let content_type = ContentType::parse(types.next().map(http::HeaderValue::as_bytes).unwrap_or_default());
    if types.next().is_some() {
        return Err(Unreadable::Malformed("The field Content-Type was sent twice."));
    }
    if !content_type.has_known_charset() {
        return Err(Unreadable::Encoded);
    }
    // What looks like JSON or a form is read so, whatever the type says: some look at the type, some do not.
    let is_json = json::read(body, found).is_ok();
    if content_type.is("json") && !is_json {
        return Err(Unreadable::Malformed("The body is not JSON."));
    }
    if content_type.is("multipart") {
        let boundary =
            content_type.boundary().ok_or(Unreadable::Malformed("The boundary of the parts is missing or unusual."))?;
        multipart::read(body, boundary, found)?;
        return Ok(true);
    }
    let is_called_a_form = content_type.is("x-www-form-urlencoded");
    let known = found.accounts.len();
    if is_called_a_form || !is_json {
        form::read(body, found);
    }
    Ok(is_json || is_called_a_form || found.accounts.len() > known)
}

/// Gathers accounts.
struct Found<'a> {
    names: &'a [AccountName],
    accounts: Vec<String>,
}

/// Objects that tell of something else than the user. What they hold is the same for many users, whom it would lock out together.
const ABOUT_OTHERS: [&str; 12] = [
    "device",
    "client",
    "app",
    "application",
    "platform",
    "browser",
    "os",
    "context",
    "metadata",
    "meta",
    "fingerprint",
    "tenant",
];

impl Found<'_> {
    /// A value, and the names that lead to it, each in its one spelling.
    fn value(&mut self, path: &[String], text: &str) {
        if self.is_account(path) {
            self.account(text);
        }
    }

    fn is_account(&self, path: &[String]) -> bool {
        // In `{"email": ["a"]}`, `{"email": {"$eq": "a"}}` and `email[0]=a` the name is `email`.
        let is_name = |step: &&String| {
            !(step.is_empty() || step.starts_with('$') || *step == "value" || step.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let mut steps = path.iter().rev().filter(is_name);
        let Some(own) = steps.next() else { return false };
        let tells_of_others = steps.any(|step| ABOUT_OTHERS.contains(&step.as_str()));
        self.names.iter().any(|name| match name {
            AccountName::Anywhere(name) => name == own && !tells_of_others,
            AccountName::At(place) => path.starts_with(place) && path[place.len()..].iter().all(|step| !is_name(&step)),
        })
    }

    fn account(&mut self, text: &str) {
        let account = spelling::account(text);
        // One more than allowed is enough to know.
        if !account.is_empty() && self.accounts.len() <= ACCOUNTS_MAX && !self.accounts.contains(&account) {
            self.accounts.push(account);
        }
    }
}

/// The user of HTTP Basic, read as leniently as APIs do: other alphabets of base64, no padding, characters that do not belong there.
fn basic_user(field: &[u8]) -> Option<String> {
    let field = field.trim_ascii();
    let (scheme, encoded) = field.split_at(field.iter().position(u8::is_ascii_whitespace)?);
    if !scheme.eq_ignore_ascii_case(b"Basic") {
        return None;
    }
    let sextets = encoded.iter().filter_map(|byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    });
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
    for sextet in sextets {
        bits = (bits << 6) | u32::from(sextet);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).unwrap_or_default());
        }
        bits &= 0xff;
    }
    let user = bytes.split(|byte| *byte == b':').next().unwrap_or_default();
    Some(String::from_utf8_lossy(user).into_owned())
}
