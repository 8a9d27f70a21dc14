//! A token pair as the client sees it.

use serde::Serialize;

use super::json_object::JsonObject;
use crate::config::Members;
use crate::sessions::TokenPair;

/// The `token_type` of RFC 6749, section 5.1.
const TOKEN_TYPE: &str = "Bearer";

/// Merges the pair into an object under the operator's names. Without `with_tokens` only what is no secret: the tokens are in cookies.
pub(super) fn merge(object: &mut JsonObject, pair: &TokenPair, members: &Members, with_tokens: bool) {
    if with_tokens {
        let access_token = pair.access_token.expose();
        object.set(&members.access_token, access_token);
        if let (Some(name), Some(token)) = (&members.refresh_token, &pair.refresh_token) {
            object.set(name, token.expose());
        }
        if let Some(name) = &members.token_type {
            object.set(name, &TOKEN_TYPE);
        }
        if let Some(name) = &members.token {
            object.set(name, access_token);
        }
    }
    if let Some(name) = &members.expires_in {
        object.set(name, &pair.expires_in.as_secs());
    }
    if let Some(name) = &members.generation {
        object.set(name, &pair.generation.0);
    }
}

/// The answer of RFC 6749, section 5.1, and our generation.
#[derive(Serialize)]
pub(super) struct OAuthAnswer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    generation: u32,
}

impl<'a> From<&'a TokenPair> for OAuthAnswer<'a> {
    fn from(pair: &'a TokenPair) -> Self {
        Self {
            access_token: pair.access_token.expose(),
            token_type: TOKEN_TYPE,
            expires_in: pair.expires_in.as_secs(),
            refresh_token: pair.refresh_token.as_ref().map(|token| token.expose().as_str()),
            scope: Some(pair.scopes.join(" ")).filter(|scope| !scope.is_empty()),
            generation: pair.generation.0,
        }
    }
}
