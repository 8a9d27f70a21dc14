//! A token pair as the client sees it.

use http::header::PRAGMA;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::json_object::JsonObject;
use crate::config::{MemberPath, Members};
use crate::proxy::reply::{self, Reply};
use crate::sessions::TokenPair;

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

/// The response of RFC 6749, section 5.1, and our generation.
pub(super) fn oauth_response(pair: &TokenPair) -> Reply {
    let mut reply = reply::json(StatusCode::OK, &OAuthResponse::from(pair));
    reply.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    reply
}

#[derive(Serialize)]
struct OAuthResponse<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    generation: u32,
}

impl<'a> From<&'a TokenPair> for OAuthResponse<'a> {
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
