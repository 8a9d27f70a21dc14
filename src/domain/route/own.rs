//! The gateway's own endpoints among the routes: each claims its methods at its path, and guards them at what an upstream may take for
//! its path.

use http::header::{ACCEPT, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION};
use http::{HeaderMap, HeaderName, Method};

use super::{Asked, Endpoint, EndpointPaths, Route, RouteError};
use crate::domain::ids::SessionId;
use crate::domain::path::{Place, Readings};

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

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
        matches!(self, Self::At(Endpoint::Login | Endpoint::Register | Endpoint::QuickRegister))
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
                Some(id) => SessionId::parse(id).map(Endpoint::Session),
                None => (path == self.path).then_some(Endpoint::Sessions),
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
    pub(super) const fn methods(self) -> &'static [Method] {
        match self {
            Self::Login
            | Self::Register
            | Self::QuickRegister
            | Self::Refresh
            | Self::Logout
            | Self::Revoke
            | Self::Introspect => &[Method::POST],
            Self::Sessions | Self::Jwks | Self::Metadata | Self::Health | Self::Ready => &[Method::GET, Method::HEAD],
            Self::Session(_) => &[Method::DELETE],
        }
    }

    /// Whether a request of this method must not reach an upstream that may have an endpoint of that name, with none of our limits.
    /// Many upstreams read credentials from a body whatever the method is.
    pub(super) fn guards(self, method: &Method) -> bool {
        match self {
            Self::Login | Self::Register | Self::QuickRegister => !method.is_safe() && method != Method::DELETE,
            Self::Refresh | Self::Logout | Self::Revoke | Self::Introspect | Self::Session(_) => self.methods().contains(method),
            Self::Sessions | Self::Jwks | Self::Metadata | Self::Health | Self::Ready => false,
        }
    }

    /// Whether a request of this method to its own path goes to nobody else. Those for machines share their paths with no page, and a
    /// token in their query is none of an upstream's business.
    pub(super) fn keeps(self, method: &Method) -> bool {
        matches!(self, Self::Revoke | Self::Introspect) || self.guards(method)
    }

    /// Whether it answers a request to its path.
    pub(super) fn claims(self, asked: &Asked<'_>, answers_preflights: bool) -> bool {
        let Asked { method, headers, .. } = *asked;
        if method == Method::OPTIONS {
            let asks_for = |own: &&Method| headers.get(ACCESS_CONTROL_REQUEST_METHOD).is_some_and(|name| name == own.as_str());
            return answers_preflights && self.methods().iter().any(|own| asks_for(&own));
        }
        let is_page = matches!(self, Self::Sessions) && shows_a_page(headers);
        self.methods().contains(method) && !is_page
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

/// Whether a browser is about to show what it gets, rather than a script to read it: it says so (Fetch Metadata), or, if it is older,
/// would rather have HTML than JSON and sends no token.
fn shows_a_page(headers: &HeaderMap) -> bool {
    if let Some(mode) = headers.get(SEC_FETCH_MODE) {
        return mode == "navigate";
    }
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<(&str, u16)> = accept.flat_map(|text| text.split(',')).map(range).collect();
    let weight = |names: [&str; 3]| {
        let of = |name: &str| ranges.iter().find(|(range, _)| range.eq_ignore_ascii_case(name)).map(|(_, weight)| *weight);
        names.into_iter().find_map(of).unwrap_or(0)
    };
    let prefers_html = weight(["text/html", "text/*", "*/*"]) > weight(["application/json", "application/*", "*/*"]);
    prefers_html && !headers.contains_key(AUTHORIZATION)
}

/// A media range without its parameters, and its weight in thousandths (RFC 9110, section 12.4.2).
fn range(text: &str) -> (&str, u16) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let Some((whole, fraction)) = weight.map(|weight| weight.split_once('.').unwrap_or((weight, ""))) else {
        return (name, 1000);
    };
    let thousandths =
        fraction.bytes().chain(*b"000").take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit.wrapping_sub(b'0').min(9)));
    (name, if whole == "1" { 1000 } else { thousandths })
}

pub(super) fn own_endpoints(paths: EndpointPaths, errors: &mut Vec<RouteError>) -> Vec<Own> {
    let EndpointPaths {
        login,
        register,
        quick_register,
        refresh,
        logout,
        sessions,
        revoke,
        introspect,
        jwks,
        metadata,
        health,
        ready,
    } = paths;
    let several = [(login, Endpoint::Login), (register, Endpoint::Register), (quick_register, Endpoint::QuickRegister)];
    let several = several.into_iter().flat_map(|(paths, endpoint)| paths.into_iter().map(move |path| (path, Kind::At(endpoint))));
    let single = [
        (refresh, Kind::At(Endpoint::Refresh)),
        (logout, Kind::At(Endpoint::Logout)),
        (sessions, Kind::Sessions),
        (revoke, Kind::At(Endpoint::Revoke)),
        (introspect, Kind::At(Endpoint::Introspect)),
        (jwks, Kind::At(Endpoint::Jwks)),
        (metadata, Kind::At(Endpoint::Metadata)),
        (health, Kind::At(Endpoint::Health)),
        (ready, Kind::At(Endpoint::Ready)),
    ];
    let mut own: Vec<Own> = Vec::new();
    for (path, kind) in several.chain(single.into_iter().filter_map(|(path, kind)| Some((path?, kind)))) {
        let named = if kind.may_end_in_a_slash() { path.strip_suffix('/').unwrap_or(&path) } else { &path };
        let Some(place) = Place::of(named).filter(|_| !named.ends_with('/') && !path.contains('%')) else {
            errors.push(RouteError::EndpointNotCanonical(path));
            continue;
        };
        if own.iter().any(|other| other.place == place && (other.kind != kind || other.path == path)) {
            errors.push(RouteError::EndpointTwice(path));
        } else {
            own.push(Own { path, place, kind });
        }
    }
    own
}
