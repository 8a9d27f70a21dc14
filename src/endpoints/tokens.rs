//! A token pair as the client sees it.

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::json_object::JsonObject;
use crate::config::{MemberPath, Members};
use crate::proxy::reply::{self, Reply};
use crate::sessions::{MachineToken, TokenPair};

/// The `token_type` of RFC 6749, section 5.1.
pub(super) const TOKEN_TYPE: &str = "Bearer";

/// Merges the pair into an object at the operator's places. Without `with_tokens` only what is no secret: the tokens are in cookies.
pub(super) fn merge(object: &mut JsonObject, pair: &TokenPair, members: &Members, with_tokens: bool) {
    if with_tokens {
        place(object, &members.access_token, pair.access_token.expose());
        if let Some(token) = &pair.refresh_token {
            place(object, &members.refresh_token, token.expose());
        }
        place(object, &members.token_type, &TOKEN_TYPE);
    }
    place(object, &members.expires_in, &pair.expires_in.as_secs());
    place(object, &members.generation, &pair.generation.0);
}

fn place(object: &mut JsonObject, places: &[MemberPath], value: &impl Serialize) {
    for place in places {
        if !object.set_at(place.names(), value) {
            tracing::warn!(member = ?place.names(), "the response has something else on the way to a member of login.members");
        }
    }
}

/// The response of RFC 6749, section 5.1.
pub(super) fn oauth_response<'a>(tokens: impl Into<OAuthResponse<'a>>) -> Reply {
    let mut reply = reply::json(StatusCode::OK, &tokens.into());
    forbid_caching(&mut reply);
    reply
}

/// As RFC 6749, section 5.1, has it.
pub(super) fn forbid_caching(reply: &mut Reply) {
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
}

/// The members of RFC 6749, section 5.1, and our generation.
#[derive(Serialize)]
pub(super) struct OAuthResponse<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
    /// RFC 8693, section 2.2.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u32>,
}

impl OAuthResponse<'_> {
    /// That of a token exchange, which has to say what was issued.
    pub(super) fn issuing(self, token_type: &'static str) -> Self {
        Self { issued_token_type: Some(token_type), ..self }
    }

    /// What is no secret: the tokens are in cookies.
    pub(super) fn without_tokens(self) -> Self {
        Self { access_token: None, token_type: None, refresh_token: None, ..self }
    }
}

impl<'a> From<&'a TokenPair> for OAuthResponse<'a> {
    fn from(pair: &'a TokenPair) -> Self {
        Self {
            access_token: Some(pair.access_token.expose()),
            issued_token_type: None,
            token_type: Some(TOKEN_TYPE),
            expires_in: pair.expires_in.as_secs(),
            refresh_token: pair.refresh_token.as_ref().map(|token| token.expose().as_str()),
            scope: said(&pair.scopes),
            generation: Some(pair.generation.0),
        }
    }
}

impl<'a> From<&'a MachineToken> for OAuthResponse<'a> {
    fn from(token: &'a MachineToken) -> Self {
        Self {
            access_token: Some(token.access_token.expose()),
            issued_token_type: None,
            token_type: Some(TOKEN_TYPE),
            expires_in: token.expires_in.as_secs(),
            refresh_token: None,
            scope: said(&token.scopes),
            generation: None,
        }
    }
}

/// Scopes as a response has them (RFC 6749, section 3.3); `None`: there are none.
pub(super) fn said(scopes: &[String]) -> Option<String> {
    Some(scopes.join(" ")).filter(|scope| !scope.is_empty())
}
