//! The page where users log in: how browsers get there, and where they may go from there.
//!
//! The page learns by a parameter where its user wanted to go. Whoever makes links can write that parameter too, and a page that follows
//! it blindly is an open redirect. So the gateway writes paths of the same host alone, and takes anything else out of the page's query.

use std::fmt;
use std::str::FromStr;

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::path::{CanonicalTarget, Place};

/// A path on the same host, and perhaps the parameter that says where to go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignIn {
    /// Path and query, up to where the value of the parameter stands.
    base: String,
    path_len: usize,
    place: Place,
    /// `None`: the page does not ask.
    parameter: Option<String>,
}

const PLACE_OF_PATH: &str = "{path}";

const ALLOWED: &str = "allowed is a path on the same host such as \"/login\", or \"/login?next={path}\", whose last parameter has {path} for its \
                       value";

/// Beyond that, where to go on is told in short: some servers take no longer lines.
const ONWARD_BYTES_MAX: usize = 2048;

/// What stands in a query as it is.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl SignIn {
    /// The value of Location for a browser that wanted to go to `target`.
    ///
    /// # Panics
    /// Never: what it is made of is visible ASCII.
    #[must_use]
    pub fn location(&self, target: &CanonicalTarget<'_>) -> HeaderValue {
        let onward = self.parameter.as_ref().map(|_| onward(target)).unwrap_or_default();
        HeaderValue::try_from([&self.base, &*onward].concat()).expect("visible ASCII")
    }

    #[must_use]
    pub fn path(&self) -> &str {
        &self.base[..self.path_len]
    }

    /// Whether an upstream may take the path of a request for the page's.
    #[must_use]
    pub fn may_be_at(&self, target: &CanonicalTarget<'_>) -> bool {
        self.place.may_hold(&target.readings(), true)
    }

    /// The query of a request for the page without what leads elsewhere; `None`: nothing does.
    #[must_use]
    pub fn mended(&self, query: &str) -> Option<String> {
        let parameter = self.parameter.as_ref()?;
        let parameters = || query.strip_prefix('?').unwrap_or(query).split('&');
        if parameters().all(|one| !leads_elsewhere(one, parameter)) {
            return None;
        }
        let kept: Vec<&str> = parameters().filter(|one| !leads_elsewhere(one, parameter)).collect();
        Some(if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) })
    }
}

/// Where to go on, encoded: the target, as much of it as there is room for.
fn onward(target: &CanonicalTarget<'_>) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, KEPT).to_string();
    let candidates = [target.path_and_query(), target.path()].into_iter().filter(|_| target.stays_on_host());
    candidates.map(encoded).find(|encoded| encoded.len() <= ONWARD_BYTES_MAX).unwrap_or_else(|| encoded("/"))
}

/// Whether some reader of a query finds the parameter in this part of it, with a value that is no path of this host. Old ones take a
/// semicolon for an ampersand.
fn leads_elsewhere(part: &str, parameter: &str) -> bool {
    let parts = std::iter::once(part).chain(part.split(';'));
    parts.map(|part| part.split_once('=').unwrap_or((part, ""))).any(|(name, value)| {
        let is_elsewhere = || !(value.is_empty() || is_of_this_host(value));
        is_name_of(name, parameter) && is_elsewhere()
    })
}

/// Whether a name is the parameter's to some reader: in any case and encoding, as a member of a list or an object (`next[]`, `[next]`),
/// up to a NUL, or with another sign for its underscore (`return.to`).
fn is_name_of(name: &str, parameter: &str) -> bool {
    let decoded = percent_decode_str(name).decode_utf8_lossy().replace('+', " ");
    let text = decoded.split('\0').next().unwrap_or_default();
    let text = text.trim_start_matches(|sign: char| sign.is_whitespace() || matches!(sign, '[' | ']')).trim_end();
    let Some((start, rest)) = text.split_at_checked(parameter.len()) else { return false };
    let is_read_as =
        |(sign, own): (u8, u8)| sign.eq_ignore_ascii_case(&own) || (own == b'_' && matches!(sign, b'.' | b' ' | b'['));
    start.bytes().zip(parameter.bytes()).all(is_read_as) && (rest.is_empty() || rest.trim_start().starts_with(['[', ']', '.']))
}

/// Whether a value, which is encoded once, is a canonical path of this host.
fn is_of_this_host(value: &str) -> bool {
    let Ok(decoded) = percent_decode_str(value).decode_utf8() else { return false };
    CanonicalTarget::parse(&decoded).is_ok_and(|target| target.path_and_query() == decoded && target.stays_on_host())
}

impl FromStr for SignIn {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (base, tells) = text.strip_suffix(PLACE_OF_PATH).map_or((text, false), |base| (base, true));
        let target = CanonicalTarget::parse(base).ok().filter(|target| target.path_and_query() == base).ok_or(ALLOWED)?;
        let is_written_plainly = !base.contains(['{', '}', '%', ';', '\\', '"', '<', '>', '^', '`', '|']) && target.is_plain();
        if !is_written_plainly || !target.stays_on_host() {
            return Err(ALLOWED);
        }
        let parameter = match (tells, target.query()) {
            (false, _) => None,
            (true, query) => Some(last_name(query).ok_or(ALLOWED)?.to_owned()),
        };
        let (path, path_len) = (target.path(), target.path().len());
        let place = Place::of(path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path)).ok_or(ALLOWED)?;
        Ok(Self { base: base.to_owned(), path_len, place, parameter })
    }
}

/// The name of the last parameter of a query, which has no value, and has the name alone.
fn last_name(query: &str) -> Option<&str> {
    let parameters = query.strip_prefix('?')?;
    let (others, last) = parameters.rsplit_once('&').unwrap_or(("", parameters));
    let name = last.strip_suffix('=')?;
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let is_alone = others.split('&').all(|other| !is_name_of(other.split('=').next().unwrap_or_default(), name));
    (is_name(name) && is_alone).then_some(name)
}

impl fmt::Display for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.parameter.is_some() { PLACE_OF_PATH } else { "" };
        write!(f, "{}{place}", self.base)
    }
}

#[cfg(test)]
mod tests;
