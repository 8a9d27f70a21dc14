//! Routes: which upstream a request goes to, and what it demands of the caller.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};

use super::headers::AuthorizationRule;
use super::host::HostPattern;
use super::ids::SessionId;
use super::login_kind::LoginKind;
use super::pace::ByteRate;
use super::path::{CanonicalTarget, Place};
use super::share::Share;

mod error;
mod own;
mod table;

pub use error::RouteError;
pub use table::RouteTable;

/// A path that the gateway serves itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// The upstream judges the call first.
    Login(LoginKind),
    Own(OwnEndpoint),
}

/// An endpoint that no upstream takes part in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnEndpoint {
    Refresh,
    Logout,
    Sessions,
    Session(SessionId),
    /// RFC 7009.
    Revoke,
    /// RFC 7662.
    Introspect,
    Jwks,
    /// RFC 8414.
    Metadata,
    Health,
    Ready,
}

/// Position of an upstream in the settings' list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UpstreamIndex(pub usize);

/// Host + path prefix + methods → upstream + what it demands of the caller.
#[derive(Clone, Debug)]
pub struct Route {
    pub name: Arc<str>,
    /// `None` matches every host, and requests that name none.
    pub host: Option<HostPattern>,
    /// Canonical path without a slash at its end; matches itself and everything below it by whole segments. `/` matches all.
    pub prefix: String,
    /// Match `prefix` alone and nothing below it. It may end in a slash then.
    pub exact: bool,
    /// Empty: every method.
    pub methods: Vec<Method>,
    pub upstream: UpstreamIndex,
    pub access: Access,
    /// What protected requests meet when the revocations are stale.
    pub when_stale: WhenStale,
    pub revocation: RevocationCheck,
    /// Of whom the route's demands are made. All others are judged, and let through whatever comes of it.
    pub enforced: Share,
    /// What the upstream gets to see of the Authorization field.
    pub authorization: AuthorizationRule,
    pub body_bytes_max: u64,
    /// The fewest bytes of a body in a second, in the long run; `None`: any.
    pub body_rate_min: Option<ByteRate>,
    /// From the request's head to the end of the answer's head.
    pub response_timeout: Duration,
    /// Once the response has begun: how long no byte may move, in either direction.
    pub idle_timeout: Duration,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anyone; a token, if one is sent, is neither read nor passed on as an identity.
    Public,
    /// Anyone; a token, if one is sent, must be valid, and tells the upstream who calls.
    Optional,
    /// A valid token, with one of `audiences` (any, when empty) and all of `scopes`.
    Token { audiences: Arc<[String]>, scopes: Arc<[String]> },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenStale {
    Reject,
    Serve,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RevocationCheck {
    /// The replica in memory: no store call.
    Replica,
    /// The replica, and one store read per request.
    Strict,
}

/// Where the own endpoints are; `None` switches one off. Canonical paths, prefix included.
#[derive(Clone, Debug, Default)]
pub struct EndpointPaths {
    pub login: Vec<String>,
    pub register: Vec<String>,
    pub quick_register: Vec<String>,
    pub refresh: Option<String>,
    pub logout: Option<String>,
    /// Also `…/{id}`.
    pub sessions: Option<String>,
    pub revoke: Option<String>,
    pub introspect: Option<String>,
    pub jwks: Option<String>,
    pub metadata: Option<String>,
    pub health: Option<String>,
    pub ready: Option<String>,
}

impl EndpointPaths {
    /// Those that the upstream answers first.
    pub fn logins(&self) -> impl Iterator<Item = &String> {
        [&self.login, &self.register, &self.quick_register].into_iter().flatten()
    }

    /// Whether any endpoint is on that the upstream answers first.
    #[must_use]
    pub fn asks_upstream(&self) -> bool {
        self.logins().next().is_some()
    }
}

/// What of a request decides which rule it meets.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub method: &'a Method,
    /// The name of a [`Host`](super::host::Host); `None`: an old client that names none.
    pub host: Option<&'a str>,
    /// The name of the host that a trusted peer says was asked for, by which upstreams may choose what they serve.
    pub told_host: Option<&'a str>,
    pub target: &'a CanonicalTarget<'a>,
    /// Whether a browser shows a page, or asks if it may call.
    pub headers: &'a HeaderMap,
}

/// What a request meets.
#[derive(Debug)]
pub enum Match<'a> {
    /// By one of its methods.
    Endpoint(Endpoint),
    /// A browser asks whether a page may call an endpoint.
    Preflight,
    Route(&'a Arc<Route>),
    /// Something is here, for other methods.
    MethodNotAllowed {
        allow: Cow<'static, str>,
    },
    /// The upstream may take the path for one that a stricter rule guards: 400.
    Ambiguous,
    /// The upstream may serve the host that a trusted peer tells of, where a stricter rule guards the path: 400.
    AmbiguousHost,
    NotFound,
}

impl Route {
    /// Where upstreams may find what the route guards; `None` for a prefix that is not canonical.
    fn place(&self) -> Option<Place> {
        let named = match self.prefix.strip_suffix('/') {
            Some("/") => return None,
            Some(named) if self.exact && !named.is_empty() => named,
            Some(_) | None => &self.prefix,
        };
        Place::of(named)
    }

    /// Whether the path is the route's own, or below it by whole segments.
    fn covers(&self, path: &str) -> bool {
        if self.exact {
            return path == self.prefix;
        }
        let prefix = self.prefix.strip_suffix('/').unwrap_or(&self.prefix);
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn is_at(&self, host: Option<&str>) -> bool {
        self.host.as_ref().is_none_or(|pattern| host.is_some_and(|host| pattern.matches(host)))
    }

    fn allows(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.names(method)
    }

    /// GET stands for HEAD too.
    fn names(&self, method: &Method) -> bool {
        self.methods.contains(method) || method == Method::HEAD && self.methods.contains(&Method::GET)
    }

    /// Whether everyone who may use this route may use `other` too.
    fn is_as_strict_as(&self, other: &Self) -> bool {
        if other.enforced == Share::NONE {
            return true;
        }
        let (audiences, scopes) = match (&self.access, &other.access) {
            (_, Access::Public | Access::Optional) => return true,
            (Access::Public | Access::Optional, Access::Token { .. }) => return false,
            (Access::Token { audiences, scopes }, Access::Token { audiences: other_audiences, scopes: other_scopes }) => {
                ((audiences, other_audiences), (scopes, other_scopes))
            }
        };
        let within_audiences =
            audiences.1.is_empty() || !audiences.0.is_empty() && audiences.0.iter().all(|one| audiences.1.contains(one));
        let covers_scopes = scopes.1.iter().all(|one| scopes.0.contains(one));
        let is_as_fresh = match (self.when_stale, other.when_stale) {
            (WhenStale::Reject, _) | (WhenStale::Serve, WhenStale::Serve) => true,
            (WhenStale::Serve, WhenStale::Reject) => false,
        };
        let is_as_sure = match (self.revocation, other.revocation) {
            (RevocationCheck::Strict, _) | (RevocationCheck::Replica, RevocationCheck::Replica) => true,
            (RevocationCheck::Replica, RevocationCheck::Strict) => false,
        };
        within_audiences && covers_scopes && is_as_fresh && is_as_sure && self.enforced >= other.enforced
    }
}

#[cfg(test)]
mod tests;
