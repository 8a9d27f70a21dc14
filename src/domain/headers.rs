//! What happens to the fields of a request and of its answer on their way through.
//!
//! A request's fields are not changed but written anew, as lines of the upstream's head: first those that may pass, then ours, so
//! that nothing from outside can name, spell or repeat its way into a field that an upstream trusts.

pub mod forwarded;
pub mod framing;
mod lines;
pub mod trace;

use std::sync::Arc;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::claims::Principal;
use forwarded::{Forwarding, Hop};
pub use lines::write_field;
use trace::TraceParent;

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
    /// Names the gateway (RFC 9110, section 7.6.3).
    via: HeaderValue,
}

/// How trailers are rewritten, for as long as a body takes.
#[derive(Clone, Debug)]
pub struct TrailerRules {
    further_names: Arc<[HeaderName]>,
}

impl TrailerRules {
    /// Removes what a trailer must not carry (RFC 9110, section 6.5.1): framing, routing, origin, credentials, identity. Some
    /// servers put trailers among the fields of the head.
    pub fn rewrite(&self, trailers: &mut HeaderMap) {
        remove_hop_by_hop(trailers);
        remove_named(trailers, |name| {
            is_impostor(name) || is_further(&self.further_names, name) || is_end_to_end(name) || NOT_IN_TRAILERS.contains(name)
        });
    }
}

const NOT_IN_TRAILERS: [HeaderName; 4] = [forwarded::X_REAL_IP, EXPECT, VIA, PROXY_AUTHORIZATION];

/// What a request's own fields are made of.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext<'a> {
    pub hop: &'a Hop,
    /// The effective host.
    pub host: &'a HeaderValue,
    /// Who calls, by [`RewriteRules::identity`]; empty for nobody.
    pub identity: &'a [u8],
    pub request_id: &'a HeaderValue,
    pub traceparent: &'a TraceParent,
}

impl RewriteRules {
    /// `via` is what the gateway adds to Via, in both directions: a value made by `from_static`, so that no two cores share a count.
    pub fn new(
        identity: IdentityFields,
        pass_authorization: bool,
        own_cookies: Vec<String>,
        forwarding: Forwarding,
        via: HeaderValue,
    ) -> Self {
        let further_names = identity.names().filter(|name| !name.as_str().starts_with(RESERVED_PREFIX)).cloned().collect();
        Self { identity, further_names, pass_authorization, own_cookies, forwarding, via }
    }

    pub const fn forwarding(&self) -> &Forwarding {
        &self.forwarding
    }

    /// Writes a request's fields for the upstream, as the lines of a head. Host and framing fields are not among them: whoever sends
    /// says those.
    pub fn write_request(&self, headers: &HeaderMap, context: &RequestContext<'_>, out: &mut Vec<u8>) {
        let named = named_by_connection(headers);
        for (name, value) in headers {
            if self.may_pass(name) && !named.contains(name) && !self.forwarding.replaces(name, context.hop) {
                write_field(out, name.as_str(), value.as_bytes());
            }
        }
        self.write_cookies(headers, out);
        self.forwarding.write(headers, context, out);
        out.extend_from_slice(context.identity);
        write_field(out, X_REQUEST_ID.as_str(), context.request_id.as_bytes());
        write_field(out, TRACEPARENT.as_str(), context.traceparent.as_bytes());
        write_field(out, VIA.as_str(), self.via.as_bytes());
    }

    /// Rewrites an answer's fields for the client.
    pub fn response(&self, headers: &mut HeaderMap, request_id: &HeaderValue) {
        remove_hop_by_hop(headers);
        headers.remove(PROXY_AUTHENTICATE);
        headers.insert(X_REQUEST_ID, request_id.clone());
        headers.append(VIA, self.via.clone());
    }

    /// What to do with the fields behind a request's body.
    pub fn trailers(&self) -> TrailerRules {
        TrailerRules { further_names: Arc::clone(&self.further_names) }
    }

    /// Whether a field of a request may pass unless Connection or [`Forwarding`] has a say in it.
    fn may_pass(&self, name: &HeaderName) -> bool {
        let is_of_this_hop = is_hop_by_hop(name) || *name == PROXY_AUTHORIZATION || *name == EXPECT;
        let is_framing = *name == HOST || *name == CONTENT_LENGTH;
        let is_kept_back = *name == AUTHORIZATION && !self.pass_authorization;
        let is_written_anew = *name == TRACEPARENT || *name == X_REQUEST_ID || *name == COOKIE && !self.own_cookies.is_empty();
        let is_identity = is_impostor(name) || is_further(&self.further_names, name);
        !(is_of_this_hop || is_framing || is_kept_back || is_written_anew || is_identity)
    }

    /// Writes the cookies in one field, without the gateway's own.
    fn write_cookies(&self, headers: &HeaderMap, out: &mut Vec<u8>) {
        if self.own_cookies.is_empty() {
            return;
        }
        let is_own =
            |pair: &str| self.own_cookies.iter().any(|own| pair.split('=').next().is_some_and(|name| name.trim() == own));
        let kept: Vec<&str> = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(';'))
            .map(str::trim)
            .filter(|pair| !pair.is_empty() && !is_own(pair))
            .collect();
        if !kept.is_empty() {
            write_field(out, COOKIE.as_str(), kept.join("; ").as_bytes());
        }
    }

    /// The fields that tell an upstream who calls, as lines. The same for every request of one token: made once, with its
    /// verification.
    pub fn identity(&self, principal: &Principal) -> Vec<u8> {
        let mut lines = Vec::new();
        let mut add = |name: &Option<HeaderName>, text: &str| {
            if let Some(name) = name {
                write_field(&mut lines, name.as_str(), field_value(text).as_bytes());
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
            write_field(&mut lines, name.as_str(), value.as_bytes());
        }
        lines
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

/// The fields that Connection names, as far as it has power over them: those that concern one connection (RFC 9110, section
/// 7.6.1), never those without which the message would mean something else.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let fields = headers.get_all(CONNECTION).iter();
    let tokens = fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok()).filter(|name| !is_end_to_end(name)).collect()
}

/// Removes what concerns one connection only, in either direction.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named = named_by_connection(headers);
    remove_named(headers, |name| is_hop_by_hop(name) || named.contains(name));
}

/// Whether a field concerns one connection only, in either direction.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS, TRAILER].contains(name)
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
