//! Header fields that a route sets, adds and removes.

use config::Value;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::callers::Identity;
use crate::config::parse::{self, Parsed};
use crate::config::reading::Reading;
use crate::config::section::Section;
use crate::domain::headers::{FieldEdits, NamePattern, is_protected};
use crate::domain::secret::Secret;

/// `[routes.request_headers]`. Values may be an upstream's API keys, so none of them is shown.
pub(super) fn of_requests(s: &mut Section<'_>, identity: &Identity) -> Option<FieldEdits> {
    let may_be_sent = |name: &str| {
        let name = NamePattern::exactly(&field_name(name)?);
        tells_nobody_who_calls(&name, identity).and_then(|()| may_be_sent(&name))
    };
    let telling = identity.clone();
    let may_be_withheld = move |name: &NamePattern| tells_nobody_who_calls(name, &telling).and_then(|()| may_be_withheld(name));
    let set = s.map("set", secret_value(), |name, value| may_be_sent(name).map(|()| value));
    let added = s.map("add", secret_value(), |name, value| may_be_sent(name).map(|()| value));
    let removed = s.read("remove", parse::list(removable(may_be_withheld)));
    let shown = |fields: Vec<(String, Secret<String>)>| fields.into_iter().map(|(name, value)| (name, value.expose().clone()));
    let (mut set, mut added) = (pairs(shown(set)), pairs(shown(added)));
    for (_, value) in set.iter_mut().chain(&mut added) {
        value.set_sensitive(true);
    }
    are_distinct(s, &set, &added);
    FieldEdits::new(set, added, removed)
}

/// `[routes.response_headers]`.
pub(super) fn of_responses(s: &mut Section<'_>) -> Option<FieldEdits> {
    let set = pairs(s.map("set", value(), |name, value| returned(name).map(|()| value)).into_iter());
    let added = pairs(s.map("add", value(), |name, value| returned(name).map(|()| value)).into_iter());
    let removed = s.read("remove", parse::list(removable(may_be_returned)));
    are_distinct(s, &set, &added);
    FieldEdits::new(set, added, removed)
}

/// `headers` of `[routes.respond]`.
pub(super) fn of_fixed_response(s: &mut Section<'_>) -> HeaderMap {
    let fields = s.map("headers", value(), |name, value| match field_name(name)? {
        CONTENT_TYPE => Err("has a key of its own: content_type".to_owned()),
        _ => returned(name).map(|()| value),
    });
    pairs(fields.into_iter()).into_iter().collect()
}

/// A field is set once, and what is set stands alone.
fn are_distinct(s: &Section<'_>, set: &[(HeaderName, HeaderValue)], added: &[(HeaderName, HeaderValue)]) {
    for (position, (name, _)) in set.iter().enumerate() {
        let pattern = NamePattern::exactly(name);
        if set[..position].iter().any(|(earlier, _)| pattern.covers(earlier.as_str())) {
            s.fault("set", format!("names `{name}` twice"));
        }
        if added.iter().any(|(other, _)| pattern.covers(other.as_str())) {
            s.fault("add", format!("names `{name}`, which `set` sets; allowed is one of the two"));
        }
    }
}

/// The value of a field.
fn value() -> Reading<String> {
    parse::text().like(r"^([!-~]([ -~]*[!-~])?)?$").then(|text| {
        // An upstream takes bytes beyond ASCII for whatever it likes.
        let is_value = text.is_ascii() && HeaderValue::from_str(&text).is_ok() && text.trim() == text;
        if is_value { Ok(text) } else { Err("allowed is visible ASCII, and spaces within".to_owned()) }
    })
}

fn secret_value() -> Reading<Secret<String>> {
    value().then(|text| Ok(Secret::new(text)))
}

fn returned(name: &str) -> Parsed<()> {
    may_be_returned(&NamePattern::exactly(&field_name(name)?))
}

fn field_name(name: &str) -> Parsed<HeaderName> {
    parse::header_name().of(&Value::new(None, name))
}

fn pairs(fields: impl Iterator<Item = (String, String)>) -> Vec<(HeaderName, HeaderValue)> {
    fields.filter_map(|(name, value)| Some((name.parse().ok()?, HeaderValue::from_str(&value).ok()?))).collect()
}

/// Fields that may be removed; `Err` tells why one is nobody's to change.
fn removable(judge: impl Fn(&NamePattern) -> Parsed<()> + 'static) -> Reading<NamePattern> {
    parse::text().then(move |text| {
        let pattern: NamePattern = text.parse()?;
        judge(&pattern).map(|()| pattern)
    })
}

fn tells_nobody_who_calls(pattern: &NamePattern, identity: &Identity) -> Parsed<()> {
    match identity.names().find(|name| pattern.covers(name)) {
        None => Ok(()),
        Some(name) => Err(format!("names `{name}`, a field that tells the upstream who calls: the gateway alone decides on it")),
    }
}

fn may_be_sent(name: &NamePattern) -> Parsed<()> {
    if is_protected(&name.to_string()) {
        return Err(format!("`{name}` has rules of its own, by which the gateway decides what the upstream sees of it"));
    }
    Ok(())
}

fn may_be_withheld(pattern: &NamePattern) -> Parsed<()> {
    match pattern.covers_kept() {
        None => Ok(()),
        Some("authorization") => {
            Err(format!("`{pattern}` covers authorization, which has a key of its own: authorization = \"remove\""))
        }
        Some(kept) => Err(format!("`{pattern}` covers {kept}, which the gateway sets itself or the request needs")),
    }
}

fn may_be_returned(pattern: &NamePattern) -> Parsed<()> {
    match pattern.covers_kept_in_responses() {
        None => Ok(()),
        Some(kept) => Err(format!("`{pattern}` covers {kept}, which the gateway sets itself or the response needs")),
    }
}
