//! Tokens in cookies (RFC 6265).

use http::HeaderMap;
use http::header::SET_COOKIE;

use super::options::EndpointOptions;
use super::refusal::Refusal;
use crate::domain::cookies::{NewCookies, OwnCookies};
use crate::domain::secret::Secret;
use crate::sessions::TokenPair;

/// Sets what the pair holds, and leaves nothing of other settings beside it.
pub(super) fn set(headers: &mut HeaderMap, options: &EndpointOptions, pair: &TokenPair) -> Result<(), Refusal> {
    let Some(cookies) = &options.cookies else { return Ok(()) };
    for field in new(&cookies.own, pair, None).ok_or(Refusal::CookieTooLarge)?.fields() {
        headers.append(SET_COOKIE, field.clone());
    }
    Ok(())
}

/// The fields that set what the pair holds; `None` where no browser would keep one. A refresh token that the browser `holds` already is not set again: this response may come
/// after one that brought the next.
pub(super) fn new(own: &OwnCookies, pair: &TokenPair, holds: Option<&Secret<String>>) -> Option<NewCookies> {
    let access = own.access(pair.access_token.expose(), pair.expires_in.as_secs())?;
    let lives = pair.session_ends_in.as_secs();
    let refresh = pair.refresh_token.as_ref().filter(|token| holds.is_none_or(|held| held.expose() != token.expose()));
    let refresh = match refresh {
        Some(token) => Some(own.refresh(token.expose(), lives)?),
        None => None,
    };
    Some(NewCookies { access, refresh, others_emptied: own.others_emptied().to_vec() })
}

/// Takes away whatever these settings or former ones may have set.
pub(super) fn clear(headers: &mut HeaderMap, own: &OwnCookies) {
    for field in own.all_emptied() {
        headers.append(SET_COOKIE, field.clone());
    }
}
