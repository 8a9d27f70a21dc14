//! Tokens in cookies (RFC 6265).

use http::HeaderMap;
use http::header::SET_COOKIE;

use super::options::EndpointOptions;
use super::refusal::Refusal;
use crate::domain::claims::Denial;
use crate::domain::cookies::{self, NewCookies, OwnCookies, Sent};
use crate::domain::secret::Secret;
use crate::sessions::TokenPair;

/// The value of the cookie of that name. Twice is refused: one of the two was set by someone else. One that is no text is kept as one
/// that is no token.
pub(super) fn value_of(headers: &HeaderMap, name: &str) -> Result<Option<Secret<String>>, Refusal> {
    match cookies::find(headers, name) {
        Sent::Nothing => Ok(None),
        Sent::Once(value) => Ok(Some(Secret::new(String::from_utf8_lossy(value).into_owned()))),
        Sent::Repeatedly => Err(Denial::CookieRepeated.into()),
    }
}

/// Sets what the pair holds, and leaves nothing of other settings beside it.
pub(super) fn set(headers: &mut HeaderMap, options: &EndpointOptions, pair: &TokenPair) -> Result<(), Refusal> {
    let Some(cookies) = &options.cookies else { return Ok(()) };
    for field in new(&cookies.own, pair, None)?.fields() {
        headers.append(SET_COOKIE, field.clone());
    }
    Ok(())
}

/// The fields that set what the pair holds. A refresh token that the browser `holds` already is not set again: this response may come
/// after one that brought the next.
pub(super) fn new(own: &OwnCookies, pair: &TokenPair, holds: Option<&Secret<String>>) -> Result<NewCookies, Refusal> {
    let access = own.access(pair.access_token.expose(), pair.expires_in.as_secs()).ok_or(Refusal::CookieTooLarge)?;
    let lives = pair.session_ends_in.as_secs();
    let refresh = pair.refresh_token.as_ref().filter(|token| holds.is_none_or(|held| held.expose() != token.expose()));
    let refresh = refresh.map(|token| own.refresh(token.expose(), lives).ok_or(Refusal::CookieTooLarge)).transpose()?;
    Ok(NewCookies { access, refresh, others_emptied: own.others_emptied().to_vec() })
}

/// Takes away whatever these settings or former ones may have set.
pub(super) fn clear(headers: &mut HeaderMap, own: &OwnCookies) {
    for field in own.all_emptied() {
        headers.append(SET_COOKIE, field.clone());
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::COOKIE;

    use super::*;

    fn headers(fields: &[&'static str]) -> HeaderMap {
        fields.iter().map(|field| (COOKIE, HeaderValue::from_static(field))).collect()
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let value = |fields: &[&'static str]| value_of(&headers(fields), "r").map(|found| found.map(|v| v.expose().clone()));
        assert_eq!(value(&["a=1; r=x=y; rr=2"]).unwrap().as_deref(), Some("x=y"));
        assert_eq!(value(&["R=x; ar=y"]).unwrap(), None, "names are case-sensitive");
        assert_eq!(value(&["r="]).unwrap(), None, "an empty one is one that was cleared");
        assert!(value(&["r=x; r=x"]).is_err() && value(&["r=x", "r=y"]).is_err());
    }
}
