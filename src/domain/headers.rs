//! What happens to the fields of a request and of its answer on their way through.
//!
//! The order is the point: first everything goes that must not pass, then ours is added, so that nothing from outside can name,
//! spell or repeat its way into a field that an upstream trusts.

pub mod forwarded;
pub mod framing;
pub mod trace;

use std::sync::Arc;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, Entry, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::claims::Principal;
use forwarded::{Forwarding, Hop};

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Every field that begins so, in any spelling, is the gateway's to set.
pub const RESERVED_PREFIX: &str = "x-auth-";

/// Fields that an upstream trusts the gateway to set. `None`: not sent, and removed from outside all the same.
#[derive(Clone, Debug, Default)]
pub struct IdentityFields {
    pub subject: Option<HeaderName>,
    pub session: Option<HeaderName>,
    pub scopes: Option<HeaderName>,
    pub issuer: Option<HeaderName>,
    /// Claims that are passed on, each in its field.
    pub claims: Vec<(String, HeaderName)>,
}

impl IdentityFields {
    fn names(&self) -> impl Iterator<Item = &HeaderName> {
        [&self.subject, &self.session, &self.scopes, &self.issuer]
            .into_iter()
            .flatten()
            .chain(self.claims.iter().map(|(_, name)| name))
    }
}

/// How fields are rewritten, prepared once.
#[derive(Clone, Debug)]
pub struct RewriteRules {
    identity: IdentityFields,
    /// Identity fields outside the reserved prefix.
    further_names: Arc<[HeaderName]>,
    /// Whether the upstream gets the Authorization field too.
    pass_authorization: bool,
    /// Cookies that are the gateway's own.
    own_cookies: Vec<String>,
    forwarding: Forwarding,
    via: HeaderValue,
}

/// A field that tells an upstream who calls.
pub type IdentityField = (HeaderName, HeaderValue);

/// How trailers are rewritten, for as long as a body takes.
#[derive(Clone, Debug)]
pub struct TrailerRules {
    further_names: Arc<[HeaderName]>,
}

impl TrailerRules {
    /// Removes what a trailer must not carry (RFC 9110, section 6.5.1): framing, routing, origin, credentials, identity. Some
    /// servers put trailers among the fields of the head.
    pub fn rewrite(&self, trailers: &mut HeaderMap) {
        remove_hop_by_hop(trailers, Direction::Request);
        remove_named(trailers, |name| {
            is_impostor(name) || is_further(&self.further_names, name) || is_end_to_end(name) || NOT_IN_TRAILERS.contains(name)
        });
    }
}

const NOT_IN_TRAILERS: [HeaderName; 3] = [forwarded::X_REAL_IP, EXPECT, VIA];

/// What a request's own fields are made of.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext<'a> {
    pub hop: &'a Hop,
    /// The effective host.
    pub host: &'a HeaderValue,
    /// Who calls, by [`RewriteRules::identity`]; empty for nobody.
    pub identity: &'a [IdentityField],
    pub request_id: &'a HeaderValue,
    pub traceparent: &'a HeaderValue,
}

impl RewriteRules {
    /// `pseudonym` names the gateway in Via (RFC 9110, section 7.6.3).
    ///
    /// # Panics
    /// `pseudonym` is not a token.
    pub fn new(
        identity: IdentityFields,
        pass_authorization: bool,
        own_cookies: Vec<String>,
        forwarding: Forwarding,
        pseudonym: &'static str,
    ) -> Self {
        let further_names = identity.names().filter(|name| !name.as_str().starts_with(RESERVED_PREFIX)).cloned().collect();
        let via = HeaderValue::try_from(format!("1.1 {pseudonym}")).expect("a pseudonym is a token");
        Self { identity, further_names, pass_authorization, own_cookies, forwarding, via }
    }

    pub const fn forwarding(&self) -> &Forwarding {
        &self.forwarding
    }

    /// Rewrites a request's fields for the upstream. Host and framing fields are not touched: whoever sends says those.
    pub fn request(&self, headers: &mut HeaderMap, context: &RequestContext<'_>) {
        remove_hop_by_hop(headers, Direction::Request);
        headers.remove(EXPECT);
        self.remove_impostors(headers);
        if !self.pass_authorization {
            headers.remove(AUTHORIZATION);
        }
        self.remove_own_cookies(headers);
        self.forwarding.rewrite(headers, context);
        for (name, value) in context.identity {
            headers.insert(name, value.clone());
        }
        headers.insert(X_REQUEST_ID, context.request_id.clone());
        headers.insert(TRACEPARENT, context.traceparent.clone());
        headers.append(VIA, self.via.clone());
    }

    /// Rewrites an answer's fields for the client.
    pub fn response(&self, headers: &mut HeaderMap, request_id: &HeaderValue) {
        remove_hop_by_hop(headers, Direction::Response);
        headers.insert(X_REQUEST_ID, request_id.clone());
        headers.append(VIA, self.via.clone());
    }

    /// What to do with the fields behind a request's body.
    pub fn trailers(&self) -> TrailerRules {
        TrailerRules { further_names: Arc::clone(&self.further_names) }
    }

    fn remove_impostors(&self, headers: &mut HeaderMap) {
        remove_named(headers, |name| is_impostor(name) || is_further(&self.further_names, name));
    }

    fn remove_own_cookies(&self, headers: &mut HeaderMap) {
        if self.own_cookies.is_empty() {
            return;
        }
        let Entry::Occupied(mut field) = headers.entry(COOKIE) else { return };
        let is_own =
            |pair: &str| self.own_cookies.iter().any(|own| pair.split('=').next().is_some_and(|name| name.trim() == own));
        let kept: Vec<String> = field
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(';'))
            .map(str::trim)
            .filter(|pair| !pair.is_empty() && !is_own(pair))
            .map(str::to_owned)
            .collect();
        match HeaderValue::try_from(kept.join("; ")) {
            Ok(value) if !kept.is_empty() => {
                field.insert(value);
            }
            Ok(_) | Err(_) => {
                field.remove_entry_mult();
            }
        }
    }

    /// The fields that tell an upstream who calls. The same for every request of one token: made once, with its verification.
    pub fn identity(&self, principal: &Principal) -> Vec<IdentityField> {
        let mut fields = Vec::new();
        let mut add = |name: &Option<HeaderName>, text: &str| fields.extend(name.clone().map(|name| (name, field_value(text))));
        add(&self.identity.subject, principal.subject.as_str());
        add(&self.identity.issuer, &principal.issuer);
        if let Some(session) = principal.session {
            add(&self.identity.session, &session.to_string());
        }
        if !principal.scopes.is_empty() {
            add(&self.identity.scopes, &principal.scopes.join(" "));
        }
        for (claim, name) in &self.identity.claims {
            let value = match principal.claims.get(claim) {
                None | Some(serde_json::Value::Null) => continue,
                Some(serde_json::Value::String(text)) => field_value(text),
                Some(other) => field_value(&other.to_string()),
            };
            fields.push((name.clone(), value));
        }
        fields
    }
}

/// Text as a field value: bytes outside printable ASCII, and `%` itself, percent-encoded as in RFC 3986, so that the upstream
/// can undo it and nothing can break out of the line.
fn field_value(text: &str) -> HeaderValue {
    let safe = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'%';
    let trimmed = !text.starts_with(' ') && !text.ends_with(' ');
    if trimmed && text.bytes().all(safe) {
        return HeaderValue::from_str(text).expect("printable ASCII is a field value");
    }
    let encoded: String = text
        .bytes()
        .map(|byte| if safe(byte) && byte != b' ' { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    HeaderValue::try_from(encoded).expect("percent-encoded text is a field value")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Response,
}

/// Removes what concerns one connection only (RFC 9110, section 7.6.1), and what Connection names, except fields without which
/// the message would mean something else.
fn remove_hop_by_hop(headers: &mut HeaderMap, direction: Direction) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
            .filter(|name| !is_end_to_end(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS, TRAILER] {
        headers.remove(name);
    }
    match direction {
        Direction::Request => headers.remove(PROXY_AUTHORIZATION),
        Direction::Response => headers.remove(PROXY_AUTHENTICATE),
    };
}

/// A configured identity field; also with `_` for `-`, as many upstreams cannot tell them apart.
fn is_further(further_names: &[HeaderName], name: &HeaderName) -> bool {
    further_names.contains(name)
        || name.as_str().contains('_') && further_names.iter().any(|known| same_spelling(known.as_str(), name.as_str()))
}

/// Fields that Connection cannot make anyone drop.
fn is_end_to_end(name: &HeaderName) -> bool {
    [HOST, AUTHORIZATION, CONTENT_LENGTH, COOKIE, X_REQUEST_ID, TRACEPARENT].contains(name)
        || name == http::header::CONTENT_TYPE
        || name == http::header::CACHE_CONTROL
        || name == http::header::SET_COOKIE
        || name.as_str().starts_with("x-forwarded-")
        || name == http::header::FORWARDED
}

/// Fields that nobody outside may send, however they are spelt: identity by its prefix, and underscore spellings of what frames,
/// routes or identifies. The latter are for upstreams that map `_` and `-` to one variable.
fn is_impostor(name: &HeaderName) -> bool {
    let name = name.as_str();
    if has_prefix(name, RESERVED_PREFIX) {
        return true;
    }
    name.contains('_')
        && UNDERSCORED.iter().any(|known| same_spelling(known, name) || known.ends_with('-') && has_prefix(name, known))
}

const UNDERSCORED: [&str; 13] = [
    "content-length",
    "transfer-encoding",
    "host",
    "authorization",
    "proxy-authorization",
    "forwarded",
    "x-forwarded-",
    "x-real-ip",
    "x-request-id",
    "cookie",
    "content-type",
    "x-http-method-override",
    "proxy-connection",
];

fn same_spelling(known: &str, name: &str) -> bool {
    known.len() == name.len() && has_prefix(name, known)
}

/// Whether `name` begins with `prefix`, `_` and `-` being the same. Field names are in lower case already.
fn has_prefix(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len()
        && name.bytes().zip(prefix.bytes()).all(|(byte, known)| byte == known || byte == b'_' && known == b'-')
}

fn remove_named(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    // Almost always there is none: look first, collect only then.
    if headers.keys().any(&unwanted) {
        let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name)).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests;
