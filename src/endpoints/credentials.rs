//! The refresh token in a request: in JSON, in a form, or in a cookie; exactly one, in one place.

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;

use super::form::Form;
use super::json_object::{JsonObject, MemberError};
use super::options::EndpointOptions;
use super::origin;
use super::refusal::{Dialect, Refusal};
use crate::config::MemberPath;
use crate::domain::secret::Secret;
use crate::domain::{cookies, media_type, placeholder};
use crate::sessions::OldToken;

/// Where the token came from, and therefore where its successor goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    Body,
    Cookie,
}

/// What a call to `/refresh` or `/logout` says.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) dialect: Dialect,
    pub(super) token: Option<(Secret<String>, Source)>,
    pub(super) grant_type: Option<String>,
    pub(super) scope: Option<String>,
    /// The body spoke, if only to say something else.
    pub(super) has_body: bool,
}

/// The names of the refresh token in JSON, beside those that the operator gave it in responses.
const JSON_NAMES: [&str; 2] = ["refreshToken", "refresh_token"];

/// Where an old client may have its one token, if there is none under the other names.
const JSON_NAME_OLD: &str = "token";

/// How the caller speaks, by its content type alone: errors take the same form.
pub(super) fn dialect(headers: &HeaderMap) -> Dialect {
    if media_type::is(headers, "application/x-www-form-urlencoded") { Dialect::OAuth } else { Dialect::Json }
}

/// Reads the call. A token from a cookie counts only from an origin that is believed.
pub(super) fn read(head: &Parts, body: &Bytes, options: &EndpointOptions) -> Result<Call, Refusal> {
    let mut call = read_body(head, body, options)?;
    let Some(cookies) = &options.cookies else { return Ok(call) };
    if let Some(token) = cookies::token(&head.headers, cookies.own.refresh_name())? {
        // Whoever has none to name, and lets the browser send it, may write so.
        if call.token.as_ref().is_some_and(|(named, _)| !placeholder::stands_for_nothing(named.expose())) {
            return Err(Refusal::Malformed("A refresh token was sent in the body and in a cookie."));
        }
        origin::believe_cookie(head, &cookies.origins)?;
        call.token = Some((Secret::new(token.to_owned()), Source::Cookie));
    }
    Ok(call)
}

/// The refresh token that a login brings along, wherever it is; what cannot be read is none.
pub(super) fn old_refresh_token(head: &Parts, body: &Bytes, options: &EndpointOptions) -> Option<OldToken> {
    let from_cookie = || {
        let cookies = options.cookies.as_ref()?;
        let text = cookies::token(&head.headers, cookies.own.refresh_name()).ok().flatten()?;
        Some(OldToken { text: Secret::new(text.to_owned()), is_replaced: true })
    };
    let from_body = || {
        let (text, _) = read_body(head, body, options).ok()?.token?;
        Some(OldToken { text, is_replaced: false })
    };
    from_cookie().or_else(from_body)
}

fn read_body(head: &Parts, body: &Bytes, options: &EndpointOptions) -> Result<Call, Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        let dialect = dialect(&head.headers);
        return Ok(Call { dialect, token: None, grant_type: None, scope: None, has_body: false });
    }
    if media_type::is(&head.headers, "application/x-www-form-urlencoded") {
        read_form(body)
    } else if media_type::is(&head.headers, "application/json") {
        read_json(body, options)
    } else {
        Err(Refusal::UnsupportedMediaType)
    }
}

fn read_json(body: &Bytes, options: &EndpointOptions) -> Result<Call, Refusal> {
    let object = JsonObject::parse(body).ok_or(Refusal::Malformed("The body is not a JSON object."))?;
    let text = |names: &[&str]| {
        object.text(names).map_err(|error| match error {
            MemberError::Repeated => Refusal::Malformed("A member was sent twice."),
            MemberError::NotText => Refusal::Malformed("A member is not a text."),
        })
    };
    let mut names = JSON_NAMES.to_vec();
    names.extend(options.login.members.refresh_token.iter().filter_map(MemberPath::as_name));
    let filled = |names: &[&str]| text(names).map(|token| token.filter(|token| !token.is_empty()));
    let token = match filled(&names)? {
        Some(token) => Some(token),
        None if options.accepts_legacy => filled(&[JSON_NAME_OLD])?,
        None => None,
    };
    let token = token.map(|token| (Secret::new(token), Source::Body));
    Ok(Call { dialect: Dialect::Json, token, grant_type: None, scope: text(&["scope"])?, has_body: true })
}

fn read_form(body: &Bytes) -> Result<Call, Refusal> {
    let form = Form::parse(body)?;
    let text = |name: &str| form.text(name).map(str::to_owned);
    let token = text("refresh_token").map(|token| (Secret::new(token), Source::Body));
    Ok(Call { dialect: Dialect::OAuth, token, grant_type: text("grant_type"), scope: text("scope"), has_body: true })
}
