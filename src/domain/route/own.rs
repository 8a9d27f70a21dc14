//! The gateway's own endpoints among the routes: each claims its methods at its path, and guards them at what an upstream may take for
//! its path.

use http::Method;
use http::header::ACCESS_CONTROL_REQUEST_METHOD;

use super::{Asked, Endpoint, EndpointPaths, OwnEndpoint, Route, RouteError};
use crate::domain::ids::SessionId;
use crate::domain::login_kind::LoginKind;
use crate::domain::navigation;
use crate::domain::path::{Place, Readings};

#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) path: String,
    place: Place,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    At(Endpoint),
    /// The list, and each session below it.
    Sessions,
}

impl Kind {
    /// Upstreams answer logins, and some (Django) at paths with a slash at the end alone.
    const fn may_end_in_a_slash(self) -> bool {
        matches!(self, Self::At(Endpoint::Login(_)))
    }
}

/// What a path that is spelt otherwise than an own endpoint means for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Guarded {
    /// It is below the sessions, and names none.
    NoSession,
    /// An upstream may take it for the endpoint.
    MayBeMeant,
}

impl Own {
    /// The endpoint at exactly this path.
    pub(super) fn endpoint(&self, path: &str) -> Option<Endpoint> {
        match self.kind {
            Kind::At(endpoint) => (path == self.path).then_some(endpoint),
            Kind::Sessions => match path.strip_prefix(&self.path)?.strip_prefix('/') {
                Some(id) => SessionId::parse(id).map(|id| Endpoint::Own(OwnEndpoint::Session(id))),
                None => (path == self.path).then_some(Endpoint::Own(OwnEndpoint::Sessions)),
            },
        }
    }

    pub(super) fn guards(&self, method: &Method) -> bool {
        match self.kind {
            Kind::At(endpoint) => endpoint.guards(method),
            Kind::Sessions => method == Method::DELETE,
        }
    }

    /// Whether an upstream may take a path for the endpoint's, though it is none.
    pub(super) fn holds(&self, path: &str, readings: &Readings<'_>) -> Option<Guarded> {
        if !self.place.may_hold(readings, !self.is_whole_subtree()) {
            return None;
        }
        let is_below = self.is_whole_subtree() && path.strip_prefix(&self.path).is_some_and(|rest| rest.starts_with('/'));
        Some(if is_below { Guarded::NoSession } else { Guarded::MayBeMeant })
    }

    /// Whether a route names a path of its own that is the endpoint's but for an extension, such as `/login.json`.
    pub(super) fn is_told_apart_by(&self, route: &Route) -> bool {
        route.place().is_some_and(|place| self.place.differs_by_extension(&place))
    }

    /// Whether no request would ever come to the route.
    pub(super) fn shadows(&self, route: &Route, place: &Place) -> bool {
        let is_at = match self.kind {
            Kind::At(_) => route.exact && *place == self.place,
            Kind::Sessions => self.place.is_above(place),
        };
        let takes = |method: &Method| match self.kind {
            Kind::At(endpoint) => endpoint.methods().contains(method) || endpoint.keeps(method),
            Kind::Sessions => method == Method::DELETE,
        };
        let everything = [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS];
        let asked = if route.methods.is_empty() { &everything[..] } else { &route.methods };
        is_at && asked.iter().all(takes)
    }

    const fn is_whole_subtree(&self) -> bool {
        matches!(self.kind, Kind::Sessions)
    }
}

impl Endpoint {
    /// Its own methods. All others are the routes'.
    #[must_use]
    pub const fn methods(self) -> &'static [Method] {
        match self {
            Self::Login(_)
            | Self::Own(
                OwnEndpoint::Refresh
                | OwnEndpoint::Logout
                | OwnEndpoint::Ticket
                | OwnEndpoint::Token
                | OwnEndpoint::Revoke
                | OwnEndpoint::Introspect,
            ) => &[Method::POST],
            Self::Own(
                OwnEndpoint::Sessions
                | OwnEndpoint::CurrentSession
                | OwnEndpoint::Jwks
                | OwnEndpoint::Metadata
                | OwnEndpoint::Health
                | OwnEndpoint::Ready,
            ) => &[Method::GET, Method::HEAD],
            Self::Own(OwnEndpoint::Session(_)) => &[Method::DELETE],
        }
    }

    /// Whether a request of this method must not reach an upstream that may have an endpoint of that name, with none of our limits.
    /// Many upstreams read credentials from a body whatever the method is.
    pub(super) fn guards(self, method: &Method) -> bool {
        match self {
            Self::Login(_) => !method.is_safe() && method != Method::DELETE,
            Self::Own(
                OwnEndpoint::Refresh
                | OwnEndpoint::Logout
                | OwnEndpoint::Ticket
                | OwnEndpoint::Token
                | OwnEndpoint::Revoke
                | OwnEndpoint::Introspect
                | OwnEndpoint::Session(_),
            ) => self.methods().contains(method),
            Self::Own(
                OwnEndpoint::Sessions
                | OwnEndpoint::CurrentSession
                | OwnEndpoint::Jwks
                | OwnEndpoint::Metadata
                | OwnEndpoint::Health
                | OwnEndpoint::Ready,
            ) => false,
        }
    }

    /// Whether a request of this method to its own path goes to nobody else. Those for machines share their paths with no page, and a
    /// token in their query is none of an upstream's business.
    pub(super) fn keeps(self, method: &Method) -> bool {
        matches!(self, Self::Own(OwnEndpoint::Token | OwnEndpoint::Revoke | OwnEndpoint::Introspect)) || self.guards(method)
    }

    /// Whether a browser asks if a page may call it, by one of its methods.
    pub(super) fn is_asked_for(self, asked: &Asked<'_>) -> bool {
        let name = asked.headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| asked.method == Method::OPTIONS);
        name.is_some_and(|name| self.methods().iter().any(|own| name == own.as_str()))
    }

    /// Whether it responds to a request to its path.
    pub(super) fn claims(self, asked: &Asked<'_>) -> bool {
        let may_be_a_page = matches!(self, Self::Own(OwnEndpoint::Sessions | OwnEndpoint::CurrentSession));
        self.methods().contains(asked.method) && !(may_be_a_page && navigation::shows_a_page(asked.headers))
    }

    /// The text of Allow for a method that nobody takes, after what the routes take.
    pub(super) fn allow(self, method: &Method, of_routes: &str) -> String {
        let own = self.methods().iter().map(Method::as_str).chain(["OPTIONS"]).filter(|name| *name != method.as_str());
        let mut names: Vec<&str> = own.collect();
        for name in of_routes.split(", ").filter(|name| !name.is_empty()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(", ")
    }
}

impl EndpointPaths {
    /// Each endpoint that is on, with its path. Of [`OwnEndpoint::Session`] there is none: it lies below [`OwnEndpoint::Sessions`].
    pub fn each(self) -> impl Iterator<Item = (Endpoint, String)> {
        let Self {
            login,
            register,
            quick_register,
            refresh,
            logout,
            sessions,
            session,
            ticket,
            token,
            revoke,
            introspect,
            jwks,
            metadata,
            health,
            ready,
        } = self;
        let logins = [(LoginKind::Login, login), (LoginKind::Register, register), (LoginKind::QuickRegister, quick_register)];
        let logins =
            logins.into_iter().flat_map(|(kind, paths)| paths.into_iter().map(move |path| (Endpoint::Login(kind), path)));
        let single = [
            (OwnEndpoint::Refresh, refresh),
            (OwnEndpoint::Logout, logout),
            (OwnEndpoint::Sessions, sessions),
            (OwnEndpoint::CurrentSession, session),
            (OwnEndpoint::Ticket, ticket),
            (OwnEndpoint::Token, token),
            (OwnEndpoint::Revoke, revoke),
            (OwnEndpoint::Introspect, introspect),
            (OwnEndpoint::Jwks, jwks),
            (OwnEndpoint::Metadata, metadata),
            (OwnEndpoint::Health, health),
            (OwnEndpoint::Ready, ready),
        ];
        logins.chain(single.into_iter().filter_map(|(endpoint, path)| Some((Endpoint::Own(endpoint), path?))))
    }
}

pub(super) fn own_endpoints(paths: EndpointPaths, errors: &mut Vec<RouteError>) -> Vec<Own> {
    let mut endpoints: Vec<Own> = Vec::new();
    for (endpoint, path) in paths.each() {
        let kind = if endpoint == Endpoint::Own(OwnEndpoint::Sessions) { Kind::Sessions } else { Kind::At(endpoint) };
        let named = if kind.may_end_in_a_slash() { path.strip_suffix('/').unwrap_or(&path) } else { &path };
        let Some(place) = Place::of(named).filter(|_| !named.ends_with('/') && !path.contains('%')) else {
            errors.push(RouteError::EndpointNotCanonical(path));
            continue;
        };
        if endpoints.iter().any(|other| other.place == place && (other.kind != kind || other.path == path)) {
            errors.push(RouteError::EndpointTwice(path));
        } else {
            endpoints.push(Own { path, place, kind });
        }
    }
    endpoints
}
