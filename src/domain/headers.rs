//! What happens to the fields of a request and of its response on their way through.
//!
//! A request's fields are not changed but written anew, into the upstream's: first those that may pass, then ours, so
//! that nothing from outside can name, spell or repeat its way into a field that an upstream trusts.

mod authorization;
mod edits;
pub mod forwarded;
pub mod framing;
mod names;
mod sink;
pub mod trace;

use std::sync::Arc;

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::claims::Principal;
use super::cookies::{self, set_by_others};
use super::field_list;
use super::path::CanonicalTarget;
pub use authorization::{AuthorizationRule, Withheld};
pub use edits::FieldEdits;
use forwarded::{Forwarding, Origin};
use names::{FieldNames, Standing};
pub use names::{NamePattern, check_fields, is_protected, is_token};
pub use sink::{FieldSink, PreparedFields, write_field};
pub use trace::X_REQUEST_ID;
use trace::{TRACEPARENT, TRACESTATE};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Fields that concern one connection only, in either direction.
static HOP_BY_HOP: [HeaderName; 9] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS, TRAILER, PROXY_AUTHENTICATE];

/// What identity fields are called where nobody has named them. Upstreams know them by these names, so they are kept free for the
/// gateway whatever the settings say.
pub const IDENTITY_NAMES: [&str; 6] = [
    "x-auth-subject",
    "x-auth-session",
    "x-auth-scopes",
    "x-auth-issuer",
    "x-auth-certificate-subject",
    "x-auth-certificate-names",
];

/// Fields that an upstream trusts the gateway to set. `None`: not sent, and removed from outside all the same.
#[derive(Clone, Debug, Default)]
pub struct IdentityFields {
    pub subject: Option<HeaderName>,
    pub session: Option<HeaderName>,
    pub scopes: Option<HeaderName>,
    pub issuer: Option<HeaderName>,
    /// Of the client's certificate.
    pub certificate_subject: Option<HeaderName>,
    pub certificate_names: Option<HeaderName>,
    /// Claims that are passed on, each in its field.
    pub claims: Vec<(String, HeaderName)>,
}

impl IdentityFields {
    fn names(&self) -> impl Iterator<Item = &HeaderName> {
        [&self.subject, &self.session, &self.scopes, &self.issuer, &self.certificate_subject, &self.certificate_names]
            .into_iter()
            .flatten()
            .chain(self.claims.iter().map(|(_, name)| name))
    }
}

/// How fields are rewritten, prepared once.
#[derive(Clone, Debug)]
pub struct RewriteRules {
    identity: IdentityFields,
    names: Arc<FieldNames>,
    /// Cookies that are the gateway's own, or were.
    own_cookies: Vec<String>,
    forwarding: Forwarding,
    /// Names the gateway (RFC 9110, section 7.6.3).
    via: HeaderValue,
}

/// How trailers are rewritten, for as long as a body takes.
#[derive(Clone, Debug)]
pub struct TrailerRules {
    names: Arc<FieldNames>,
    edits: Option<Arc<FieldEdits>>,
}

impl TrailerRules {
    /// Removes what a trailer must not carry (RFC 9110, section 6.5.1): framing, routing, origin, credentials, identity. Some
    /// servers put trailers among the fields of the head: so what a route sets or removes there passes here neither.
    pub fn rewrite(&self, trailers: &mut HeaderMap) {
        remove_hop_by_hop(trailers);
        let is_unwanted = |name: &HeaderName| match self.names.standing(name.as_str()) {
            Standing::Free => is_end_to_end(name) || self.edits.as_ref().is_some_and(|edits| edits.drops(name.as_str())),
            Standing::Protected | Standing::Barred => true,
        };
        remove_named(trailers, |name| is_unwanted(name) || !is_token(name));
    }
}

/// What upstreams are told of a client's certificate. Made once for each connection.
#[derive(Clone, Debug)]
pub struct CertificateFields {
    subject: Option<HeaderValue>,
    names: Option<HeaderValue>,
}

impl CertificateFields {
    /// Of what it does not say, there is no field.
    pub fn new(subject: &str, names: &str) -> Self {
        let value = |text: &str, make: fn(&str) -> HeaderValue| (!text.is_empty()).then(|| make(text));
        // Names are written as in URIs already.
        Self { subject: value(subject, field_value), names: value(names, encoded_value) }
    }

    pub const fn subject(&self) -> Option<&HeaderValue> {
        self.subject.as_ref()
    }
}

/// What a request's own fields are made of.
#[derive(Clone, Copy, Debug)]
pub struct RewriteContext<'a> {
    pub origin: &'a Origin<'a>,
    /// The effective host; `None`: the client named none.
    pub host: Option<&'a HeaderValue>,
    /// Who calls, by [`RewriteRules::identity`]; `None` for nobody.
    pub identity: Option<&'a PreparedFields>,
    /// Of the client's connection, whoever calls by it; `None`: it showed none.
    pub certificate: Option<&'a CertificateFields>,
    pub request_id: &'a HeaderValue,
    pub authorization: Withheld<'a>,
    /// What the route changes.
    pub edits: Option<&'a FieldEdits>,
    /// The prefix that the route takes from the path.
    pub stripped: Option<&'a HeaderValue>,
}

impl RewriteRules {
    /// `removed` are fields that pass from nobody. `via` is what the gateway adds to Via, in both directions: a value made by `from_static`, so that no two cores share a count.
    pub fn new(
        identity: IdentityFields,
        removed: &[NamePattern],
        own_cookies: Vec<String>,
        forwarding: Forwarding,
        via: HeaderValue,
    ) -> Self {
        let names = Arc::new(FieldNames::new(identity.names().map(HeaderName::as_str).chain(IDENTITY_NAMES), removed));
        Self { identity, names, own_cookies, forwarding, via }
    }

    pub const fn forwarding(&self) -> &Forwarding {
        &self.forwarding
    }

    /// Writes a request's fields for the upstream. Host and framing fields are not among them: whoever sends says those.
    pub fn write_request(&self, headers: &HeaderMap, context: &RewriteContext<'_>, out: &mut impl FieldSink) {
        let named = named_by_connection(headers);
        for (name, value) in headers {
            let passes = match self.names.standing(name.as_str()) {
                Standing::Free => !named.contains(name),
                Standing::Protected => self.passes(name, value, headers, context),
                Standing::Barred => false,
            };
            if passes && !context.edits.is_some_and(|edits| edits.drops(name.as_str())) {
                out.field(name, value);
            }
        }
        if let Some(edits) = context.edits {
            edits.write(out);
        }
        self.write_cookies(headers, out);
        context.origin.write(context.host, out);
        if let Some(prefix) = context.stripped {
            let outer = self.outer_prefix(headers, context.origin);
            out.composed(&X_FORWARDED_PREFIX, |value| {
                value.extend_from_slice(outer);
                value.extend_from_slice(prefix.as_bytes());
            });
        }
        if let Some(identity) = context.identity {
            out.prepared(identity);
        }
        if let Some(certificate) = context.certificate {
            self.write_certificate(certificate, out);
        }
        out.field(&X_REQUEST_ID, context.request_id);
        out.field(&VIA, &self.via);
    }

    fn write_certificate(&self, certificate: &CertificateFields, out: &mut impl FieldSink) {
        let fields =
            [(&self.identity.certificate_subject, &certificate.subject), (&self.identity.certificate_names, &certificate.names)];
        for (name, value) in fields {
            if let (Some(name), Some(value)) = (name, value) {
                out.field(name, value);
            }
        }
    }

    /// Rewrites a response's fields for the client.
    pub fn response(&self, headers: &mut HeaderMap, request_id: &HeaderValue) {
        remove_hop_by_hop(headers);
        set_by_others::remove(headers, &self.own_cookies);
        headers.insert(X_REQUEST_ID, request_id.clone());
        headers.append(VIA, self.via.clone());
    }

    /// What to do with the fields behind a request's body, on a route with these edits.
    pub fn trailers(&self, edits: Option<&Arc<FieldEdits>>) -> TrailerRules {
        TrailerRules { names: Arc::clone(&self.names), edits: edits.map(Arc::clone) }
    }

    /// The prefix that a trusted peer has already taken from the path, without a slash at its end.
    fn outer_prefix<'a>(&self, headers: &'a HeaderMap, origin: &Origin<'_>) -> &'a [u8] {
        let may_pass = self.names.standing(X_FORWARDED_PREFIX.as_str()) == Standing::Protected;
        let told = headers.get(X_FORWARDED_PREFIX).filter(|_| may_pass && !origin.replaces(&X_FORWARDED_PREFIX));
        let prefix = told.and_then(|value| value.to_str().ok()).map_or("", |text| text.strip_suffix('/').unwrap_or(text));
        // What is no path in its one spelling is not repeated.
        let is_path = CanonicalTarget::parse(prefix).is_ok_and(|target| target.path() == prefix);
        if is_path { prefix.as_bytes() } else { b"" }
    }

    /// Whether a protected field passes as it came. Connection has no power over these.
    fn passes(&self, name: &HeaderName, value: &HeaderValue, headers: &HeaderMap, context: &RewriteContext<'_>) -> bool {
        let is_of_this_hop = is_hop_by_hop(name) || *name == PROXY_AUTHORIZATION || *name == EXPECT;
        let is_written_anew = *name == HOST
            || *name == CONTENT_LENGTH
            || *name == X_REQUEST_ID
            || *name == X_FORWARDED_PREFIX && context.stripped.is_some()
            || *name == COOKIE && !self.own_cookies.is_empty()
            || context.origin.replaces(name);
        let is_kept_back = *name == AUTHORIZATION && context.authorization.holds(value.as_bytes());
        let is_of_broken_trace = (*name == TRACEPARENT || *name == TRACESTATE) && !trace::is_sound(headers);
        !(is_of_this_hop || is_written_anew || is_kept_back || is_of_broken_trace)
    }

    /// Writes the cookies without the gateway's own.
    fn write_cookies(&self, headers: &HeaderMap, out: &mut impl FieldSink) {
        if !self.own_cookies.is_empty() {
            out.composed(&COOKIE, |value| cookies::write_others(headers, &self.own_cookies, value));
        }
    }

    /// The fields that tell an upstream who calls. The same for every request of one token: made once, with its verification.
    pub fn identity(&self, principal: &Principal) -> PreparedFields {
        PreparedFields::of(|out| self.write_identity(principal, out))
    }

    /// All fields that tell who calls, for a proxy that tells its own upstream: empty where there is nothing to tell, so that the proxy
    /// overwrites what the client sent.
    pub fn identity_answer(&self, identity: Option<&PreparedFields>) -> HeaderMap {
        const NOTHING: HeaderValue = HeaderValue::from_static("");
        let known = IDENTITY_NAMES.iter().map(|name| HeaderName::from_static(name));
        let empty = known.chain(self.identity.names().cloned()).map(|name| (name, NOTHING));
        let mut fields = HeaderMap::new();
        let told = identity.into_iter().flat_map(PreparedFields::pairs).cloned();
        for (name, value) in empty.chain(told) {
            fields.insert(name, value);
        }
        fields
    }

    /// Whether a field is there that some upstreams take for one that tells who calls, in a spelling that no proxy overwrites.
    pub fn misspells_identity(&self, headers: &HeaderMap) -> bool {
        headers.keys().any(|name| self.names.misspells_ours(name.as_str()))
    }

    fn write_identity(&self, principal: &Principal, out: &mut impl FieldSink) {
        let mut add = |name: &Option<HeaderName>, text: &str| {
            if let Some(name) = name {
                out.field(name, &field_value(text));
            }
        };
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
            out.field(name, &value);
        }
    }
}

/// Text as a field value: bytes outside printable ASCII, and `%` itself, percent-encoded as in RFC 3986, so that the upstream
/// can undo it and nothing can break out of the line.
fn field_value(text: &str) -> HeaderValue {
    encoded(text, |byte| byte != b'%')
}

/// The same of text whose percent signs are such as that: it is not encoded twice.
fn encoded_value(text: &str) -> HeaderValue {
    encoded(text, |_| true)
}

fn encoded(text: &str, stands: impl Fn(u8) -> bool) -> HeaderValue {
    let safe = |byte: u8| (b' '..=b'~').contains(&byte) && stands(byte);
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

/// The fields that Connection names, as far as it has power over them: those that concern one connection (RFC 9110, section
/// 7.6.1), never those without which the message would mean something else.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    // Most messages have none, which is cheaper to see than to go through.
    if !headers.contains_key(CONNECTION) {
        return Vec::new();
    }
    let names = field_list::members(headers, &CONNECTION).filter_map(|name| HeaderName::from_bytes(name).ok());
    // What goes anyway need not be collected: most name `keep-alive` alone.
    names.filter(|name| !is_end_to_end(name) && !is_hop_by_hop(name)).collect()
}

/// Removes what concerns one connection only, in either direction.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Most messages have none or few, which is seen in one pass.
    let mut is_there = [false; HOP_BY_HOP.len()];
    for name in headers.keys() {
        if let Some(index) = HOP_BY_HOP.iter().position(|other| other == name) {
            is_there[index] = true;
        }
    }
    if !is_there.contains(&true) {
        return;
    }
    let named = named_by_connection(headers);
    if !named.is_empty() {
        remove_named(headers, |name| named.contains(name));
    }
    for (name, _) in HOP_BY_HOP.iter().zip(is_there).filter(|(_, is_there)| *is_there) {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

/// Fields that Connection cannot make anyone drop.
fn is_end_to_end(name: &HeaderName) -> bool {
    [HOST, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, CACHE_CONTROL, COOKIE, SET_COOKIE].contains(name)
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
