//! Tokens in cookies (RFC 6265).

use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use super::options::EndpointOptions;
use super::refusal::Refusal;
use crate::config::Cookies;
use crate::domain::secret::Secret;
use crate::sessions::TokenPair;

/// The least that every browser keeps of one cookie, name and attributes included (RFC 6265, section 6.1).
const COOKIE_BYTES_MAX: usize = 4096;

/// The value of the cookie of that name. Twice is refused: one of the two was set by someone else.
pub(super) fn value_of(headers: &HeaderMap, name: &str) -> Result<Option<Secret<String>>, Refusal> {
    let mut found = None;
    let fields = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
    let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    for (_, value) in pairs.filter(|(other, _)| *other == name) {
        if found.replace(Secret::new(value.to_owned())).is_some() {
            return Err(Refusal::Malformed("A cookie of the same name was sent twice."));
        }
    }
    Ok(found.filter(|value| !value.expose().is_empty()))
}

/// Sets what the pair holds.
pub(super) fn set(headers: &mut HeaderMap, options: &EndpointOptions, pair: &TokenPair) -> Result<(), Refusal> {
    let Some(cookies) = &options.cookies else { return Ok(()) };
    let access = cookie(cookies, &cookies.access_name, pair.access_token.expose(), &cookies.path, pair.expires_in.as_secs())?;
    headers.append(SET_COOKIE, access);
    if let Some(token) = &pair.refresh_token {
        let lives = pair.session_ends_in.as_secs();
        headers.append(SET_COOKIE, cookie(cookies, &cookies.refresh_name, token.expose(), &options.refresh_cookie_path, lives)?);
    }
    Ok(())
}

/// Takes both away.
pub(super) fn clear(headers: &mut HeaderMap, options: &EndpointOptions) {
    let Some(cookies) = &options.cookies else { return };
    for (name, path) in [(&cookies.access_name, &cookies.path), (&cookies.refresh_name, &options.refresh_cookie_path)] {
        if let Ok(expired) = cookie(cookies, name, "", path, 0) {
            headers.append(SET_COOKIE, expired);
        }
    }
}

/// The largest access token that every browser keeps.
pub(super) fn access_token_bytes_max(cookies: &Cookies, lifetime: Duration) -> usize {
    let empty = cookie(cookies, &cookies.access_name, "", &cookies.path, lifetime.as_secs());
    empty.map_or(0, |field| COOKIE_BYTES_MAX - field.len())
}

fn cookie(cookies: &Cookies, name: &str, value: &str, path: &str, max_age_secs: u64) -> Result<HeaderValue, Refusal> {
    let mut text =
        format!("{name}={value}; Path={path}; Max-Age={max_age_secs}; HttpOnly; SameSite={}", cookies.same_site.name());
    if cookies.secure {
        text.push_str("; Secure");
    }
    if let Some(domain) = &cookies.domain {
        text.push_str("; Domain=");
        text.push_str(domain);
    }
    if text.len() > COOKIE_BYTES_MAX {
        return Err(Refusal::CookieTooLarge);
    }
    let mut field = HeaderValue::try_from(text).map_err(|_| Refusal::CookieTooLarge)?;
    field.set_sensitive(true);
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[&'static str]) -> HeaderMap {
        fields.iter().map(|field| (COOKIE, HeaderValue::from_static(field))).collect()
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let value = |fields: &[&'static str]| value_of(&headers(fields), "r").map(|found| found.map(|v| v.expose().clone()));
        assert_eq!(value(&["a=1; r=x=y; rr=2"]).unwrap().as_deref(), Some("x=y"));
        assert_eq!(value(&["a=1", "r=x"]).unwrap().as_deref(), Some("x"), "HTTP/2 may split the field");
        assert_eq!(value(&["R=x; ar=y"]).unwrap(), None, "names are case-sensitive");
        assert_eq!(value(&["r="]).unwrap(), None, "an empty one is one that was cleared");
        assert!(value(&["r=x; r=x"]).is_err() && value(&["r=x", "r=y"]).is_err());
    }
}
