//! Every account that an API might read from a login: each counts against the limits, so that none goes unnoticed beside another.
//!
//! APIs differ in what they take for the account, and in how they read it. So a body is read in every way that it may be read: by its
//! type and by its looks, lenient where some API is. What cannot be followed at all is refused where a type promises otherwise.

use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;

use serde_json::Value;

use crate::config::{AccountName, Pointer};
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

impl Reading {
    /// A body that was not followed.
    pub(super) const fn of_nobody() -> Self {
        Self { accounts: Vec::new(), is_readable: false }
    }
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
    let mut found = Found::new(names);
    if let Some(query) = head.uri.query() {
        form::read(query.as_bytes(), &mut found);
    }
    let is_empty = body.trim_ascii().is_empty();
    let mut is_readable = is_empty || read_body(&head.headers, body, &mut found)?;
    let users = head.headers.get_all(AUTHORIZATION).iter().filter_map(|field| basic_user(field.as_bytes()));
    if found.is_oauth && !found.accounts.is_empty() {
        // The user of Basic is a client then (RFC 6749, section 2.3.1), and the same for all users. If the API says so too.
        is_readable &= users.count() == 0;
    } else {
        users.for_each(|user| found.account(&user));
    }
    if found.accounts.len() > ACCOUNTS_MAX {
        return Err(Unreadable::TooManyAccounts);
    }
    Ok(Reading { accounts: found.accounts, is_readable })
}

/// What an upstream's answer names beside the id of the user: elsewhere it may tell of others.
pub(super) fn beside(id_at: &Pointer, answer: &[u8], names: &[AccountName]) -> Vec<String> {
    let mut found = Found::new(names);
    let user_at = id_at.as_str().rsplit_once('/').map_or("", |(user_at, _)| user_at);
    let path: Vec<String> = user_at.split('/').skip(1).map(spelling::name).collect();
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    for (name, value) in answer.pointer(user_at).and_then(Value::as_object).into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => continue,
        };
        found.value(&[path.as_slice(), &[spelling::name(name)]].concat(), &text);
    }
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
    let is_form = form::is_plain(body) && (is_called_a_form || found.accounts.len() > known);
    Ok(is_json || is_form)
}

/// Gathers accounts.
struct Found<'a> {
    names: &'a [AccountName],
    accounts: Vec<String>,
    /// Whether a grant is asked for, as by RFC 6749.
    is_oauth: bool,
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

impl<'a> Found<'a> {
    const fn new(names: &'a [AccountName]) -> Self {
        Self { names, accounts: Vec::new(), is_oauth: false }
    }

    /// A value, and the names that lead to it, each in its one spelling.
    fn value(&mut self, path: &[String], text: &str) {
        self.is_oauth |= matches!(path, [name] if name == "granttype");
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
