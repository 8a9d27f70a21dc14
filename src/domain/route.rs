//! Routes: what becomes of a request, and what is demanded of its caller.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};

use super::addresses::AddressRule;
use super::host::HostPattern;
use super::ids::SessionId;
use super::login_kind::LoginKind;
use super::path::{CanonicalTarget, PathError, Place};
use super::share::Share;
use super::sign_in::SignIn;

mod access;
mod action;
mod circle;
mod error;
mod own;
mod response;
mod sign_in;
mod sign_in_pages;
mod strictness;
mod table;

pub use access::{Access, LimitBy, RevocationCheck, RouteLimit, WhenStale};
pub use action::{Action, Forward, PrefixRule};
pub use error::RouteError;
pub use response::{Destination, FixedResponse, Redirect};
pub use table::{Placed, RouteTable};

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
    /// Of the caller.
    CurrentSession,
    Ticket,
    /// RFC 6749, section 3.2.
    Token,
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

impl OwnEndpoint {
    /// Whether it is about the caller, who has to be somebody. Others take a token as what they are about.
    #[must_use]
    pub const fn is_of_the_caller(self) -> bool {
        match self {
            Self::Sessions | Self::Session(_) | Self::CurrentSession | Self::Ticket => true,
            Self::Refresh
            | Self::Logout
            | Self::Token
            | Self::Revoke
            | Self::Introspect
            | Self::Jwks
            | Self::Metadata
            | Self::Health
            | Self::Ready => false,
        }
    }
}

/// Host + path prefix + methods → what is demanded of the caller, and what becomes of the request.
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
    pub addresses: AddressRule,
    pub access: Access,
    /// `None`: as often as they like.
    pub limit: Option<RouteLimit>,
    /// What protected requests meet when the revocations are stale.
    pub when_stale: WhenStale,
    pub revocation: RevocationCheck,
    /// Of whom the demands on tokens are made. All others are judged, and let through whatever comes of it.
    pub enforced: Share,
    /// Where browsers are sent that show a page and have no session; `None`: nowhere.
    pub sign_in: Option<SignIn>,
    pub action: Action,
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
    pub session: Option<String>,
    pub ticket: Option<String>,
    pub token: Option<String>,
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

/// What a request meets; `R` is what is told of a route.
#[derive(Debug)]
pub enum Match<R> {
    /// By one of its methods.
    Endpoint(Endpoint),
    /// A browser asks whether a page may call an endpoint.
    Preflight,
    Route(R),
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

/// What a request meets in a table of routes.
pub type Found<'a> = Match<&'a Arc<Placed>>;

impl<R> Match<R> {
    /// The same, where something else is told of a route.
    pub(super) fn map<S>(self, of_route: impl FnOnce(R) -> S) -> Match<S> {
        match self {
            Self::Route(route) => Match::Route(of_route(route)),
            Self::Endpoint(endpoint) => Match::Endpoint(endpoint),
            Self::Preflight => Match::Preflight,
            Self::MethodNotAllowed { allow } => Match::MethodNotAllowed { allow },
            Self::Ambiguous => Match::Ambiguous,
            Self::AmbiguousHost => Match::AmbiguousHost,
            Self::NotFound => Match::NotFound,
        }
    }
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

    /// How it forwards; `None`: it responds by itself.
    pub const fn forward(&self) -> Option<&Forward> {
        match &self.action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }

    /// The part of a path that the route matches, and what follows it.
    fn split<'a>(&self, path: &'a str) -> (&'a str, &'a str) {
        let matched = if self.exact { path.len() } else { self.prefix.strip_suffix('/').unwrap_or(&self.prefix).len() };
        path.split_at_checked(matched).unwrap_or((path, ""))
    }

    /// The target that the upstream gets of a request that the route matches; `None`: the one that came.
    ///
    /// # Errors
    /// What would come out means something else to some: it begins with two slashes.
    pub fn target(&self, rule: &PrefixRule, target: &CanonicalTarget<'_>) -> Result<Option<CanonicalTarget<'static>>, PathError> {
        rule.apply(target, self.split(target.path()).0)
    }

    /// The value of Location for a request that the route matches.
    ///
    /// # Errors
    /// It would name another host.
    pub fn location(&self, redirect: &Redirect, target: &CanonicalTarget<'_>) -> Result<HeaderValue, PathError> {
        redirect.to.location(target, self.split(target.path()).1)
    }
}

#[cfg(test)]
pub(super) mod tests;
