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

mod authorization;
mod content_type;
mod form;
mod found;
mod graphql;
mod json;
mod multipart;
#[cfg(test)]
mod tests;

use content_type::ContentType;
use found::Found;
pub(super) use found::Named;

/// How many accounts one login may name, each as often as it is tried.
pub(super) const ACCOUNTS_MAX: usize = 16;

/// What a login names.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Reading {
    /// Each account once.
    pub(super) accounts: Vec<Named>,
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
    let mut is_readable = read_with(head, body, &mut found)?;
    if let Some(mut knowing) = found.with_known_variables() {
        // The values of variables may stand before the document that says what they are for.
        is_readable = read_with(head, body, &mut knowing)?;
        found = knowing;
    }
    if found.attempts() > ACCOUNTS_MAX {
        return Err(Unreadable::TooManyAccounts);
    }
    Ok(Reading { is_readable: is_readable && found.is_followed(), accounts: found.into_accounts() })
}

fn read_with(head: &Parts, body: &[u8], found: &mut Found<'_>) -> Result<bool, Unreadable> {
    if let Some(query) = head.uri.query() {
        form::read(query.as_bytes(), found);
    }
    let is_empty = body.trim_ascii().is_empty();
    let is_readable = is_empty || read_body(&head.headers, body, found)?;
    let users = head.headers.get_all(AUTHORIZATION).iter().flat_map(|field| authorization::users(field.as_bytes()));
    // Beside a grant and a user these are a client's (RFC 6749, section 2.3.1), if the API says so too.
    let are_doubtful = found.asks_for_a_grant() && found.attempts() > 0;
    for user in users {
        if are_doubtful {
            found.doubtful_account("authorization", &user);
        } else {
            found.account("authorization", &user);
        }
    }
    Ok(is_readable)
}

/// What an upstream's response names beside the id of the user: elsewhere it may tell of others.
pub(super) fn beside(id_at: &Pointer, response: &[u8], names: &[AccountName]) -> Vec<String> {
    let mut found = Found::new(names);
    let user_at = id_at.as_str().rsplit_once('/').map_or("", |(user_at, _)| user_at);
    let path: Vec<String> = user_at.split('/').skip(1).map(spelling::name).collect();
    let response: Value = serde_json::from_slice(response).unwrap_or_default();
    for (name, value) in response.pointer(user_at).and_then(Value::as_object).into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => continue,
        };
        found.value(&[path.as_slice(), &[spelling::name(name)]].concat(), &text);
    }
    found.into_accounts().into_iter().map(|named| named.account).collect()
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
    if content_type.promises_json() && !is_json {
        return Err(Unreadable::Malformed("The body is not JSON."));
    }
    if content_type.is("multipart") {
        let boundary =
            content_type.boundary().ok_or(Unreadable::Malformed("The boundary of the parts is missing or unusual."))?;
        multipart::read(body, boundary, found)?;
        return Ok(true);
    }
    if content_type.is("graphql") && !is_json {
        return Ok(graphql::read(body, found).is_ok());
    }
    let is_called_a_form = content_type.is("x-www-form-urlencoded");
    let known = found.attempts();
    if is_called_a_form || !is_json {
        form::read(body, found);
    }
    let is_form = form::is_plain(body) && (is_called_a_form || found.attempts() > known);
    Ok(is_json || is_form)
}

/// What members and fields with a GraphQL document are called.
const DOCUMENTS: [&str; 4] = ["query", "mutation", "document", "graphql"];

/// A text in JSON, and the names that lead to it.
fn read_text(path: &[String], text: &str, found: &mut Found<'_>) {
    found.value(path, text);
    read_inner(path, text, found);
}

/// What may stand in a text: JSON in JSON or in a field of a form, or a GraphQL document.
fn read_inner(path: &[String], text: &str, found: &mut Found<'_>) {
    let is_called_a_document =
        found::steps(path).next().is_some_and(|own| DOCUMENTS.contains(&own.as_str())) && text.contains('{');
    if is_called_a_document && graphql::read(text.as_bytes(), found).is_ok() {
        return;
    }
    let looks_like_json = text.trim_start().starts_with(['{', '[']);
    let read_json = |found: &mut Found<'_>| json::read_inside(text.as_bytes(), path.to_vec(), found).is_ok();
    let is_json = looks_like_json && found.within(path.len(), read_json) == Some(true);
    // Under other names, what is no JSON is a text like any other.
    if is_called_a_document && !is_json {
        found.leave_unfollowed();
    }
}
