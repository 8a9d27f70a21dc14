//! All rules of one gateway, and which of them a request meets.

use std::cmp::Reverse;
use std::sync::Arc;

use http::Method;

use super::{Endpoint, EndpointPaths, Match, Route};
use crate::domain::ids::SessionId;
use crate::domain::path::{CanonicalTarget, Readings};

/// All rules of one gateway, the most specific first.
///
/// One rule is chosen by the canonical path alone. But upstreams read leniently: many take `/Admin`, `/admin/`, `//admin`,
/// `/admin;x` and `/%61dmin` for `/admin`. So a rule that only a lenient reading meets still has a say: what would be less
/// strict than it is refused. Own endpoints are met by their exact path, and their other spellings lead nowhere.
#[derive(Clone, Debug)]
pub struct RouteTable {
    own: Vec<Own>,
    rules: Vec<Rule>,
}

/// What makes a table of routes contradictory. The operator's to mend.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RouteError {
    #[error("endpoint path \"{0}\" is not canonical: it starts with a slash, ends without, and has no %, ; or //")]
    EndpointNotCanonical(String),
    #[error("endpoint path \"{0}\" is used twice")]
    EndpointTwice(String),
    #[error("route \"{0}\": prefix \"{1}\" is not canonical: it starts with a slash, ends without, and has no ; or //")]
    PrefixNotCanonical(Arc<str>, String),
    #[error("route \"{0}\": host \"{1}\" is not a lower-case host without port")]
    HostNotCanonical(Arc<str>, String),
    #[error("route \"{0}\" matches the same requests as route \"{1}\"")]
    Twice(Arc<str>, Arc<str>),
    #[error("route \"{0}\" differs from route \"{1}\" in the spelling of its prefix alone, and demands something else")]
    SpeltAlike(Arc<str>, Arc<str>),
    #[error("route \"{0}\" is never asked: \"{1}\" is an endpoint of the gateway")]
    Shadowed(Arc<str>, String),
}

impl RouteError {
    /// The name of the route to mend; `None` for an endpoint.
    pub fn route(&self) -> Option<&str> {
        match self {
            Self::EndpointNotCanonical(_) | Self::EndpointTwice(_) => None,
            Self::PrefixNotCanonical(route, _)
            | Self::HostNotCanonical(route, _)
            | Self::Twice(route, _)
            | Self::SpeltAlike(route, _)
            | Self::Shadowed(route, _) => Some(route),
        }
    }
}

#[derive(Clone, Debug)]
struct Own {
    path: String,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    At(Endpoint),
    /// The list, and each session below it.
    Sessions,
}

#[derive(Clone, Debug)]
struct Rule {
    route: Arc<Route>,
    /// The prefix as upstreams may read it: a [`Readings`] entry.
    reading: Vec<u8>,
}

impl RouteTable {
    /// The order of `routes` does not matter: a named host goes before any host, a longer prefix before a shorter one, an exact
    /// path before a prefix, listed methods before any.
    ///
    /// # Errors
    /// Everything that is wrong with the rules.
    pub fn new(own: EndpointPaths, routes: Vec<Route>) -> Result<Self, Vec<RouteError>> {
        let mut errors = Vec::new();
        let own = own_endpoints(own, &mut errors);
        let mut rules: Vec<Rule> = routes.into_iter().filter_map(|route| rule(route, &mut errors)).collect();
        check_rules(&own, &rules, &mut errors);
        rules.sort_by_key(|Rule { route, .. }| {
            Reverse((route.host.is_some(), route.prefix.len(), route.exact, !route.methods.is_empty()))
        });
        if errors.is_empty() { Ok(Self { own, rules }) } else { Err(errors) }
    }

    /// `host` in lower case, without port and trailing dot.
    pub fn find(&self, method: &Method, host: &str, target: &CanonicalTarget<'_>) -> Match<'_> {
        let path = target.path();
        let readings = target.readings();
        if let Some(own) = self.find_own(method, path, &readings) {
            return own;
        }
        let claims = |rule: &&Rule| rule.route.is_at(host) && (rule.route.covers(path) || rule.may_cover(&readings));
        let claiming = self.rules.iter().filter(claims);
        let Some(chosen) = claiming.clone().find(|rule| rule.route.covers(path) && rule.route.allows(method)) else {
            return not_allowed(claiming, path).unwrap_or(Match::NotFound);
        };
        let passed_over = claiming.take_while(|rule| !Arc::ptr_eq(&rule.route, &chosen.route));
        let chosen = &chosen.route;
        for rule in passed_over.clone().filter(|rule| !chosen.is_as_strict_as(&rule.route)) {
            if rule.route.allows(method) {
                return Match::Ambiguous;
            }
            // A laxer rule takes a method from a stricter one above it only by naming it: else DELETE would pass where the
            // stricter one lists GET and POST alone.
            if !chosen.names(method) {
                return not_allowed(passed_over, path).unwrap_or(Match::Ambiguous);
            }
        }
        Match::Route(chosen)
    }

    fn find_own(&self, method: &Method, path: &str, readings: &Readings<'_>) -> Option<Match<'static>> {
        let endpoint = self.own.iter().find_map(|own| own.endpoint(path));
        if let Some(endpoint) = endpoint {
            let (methods, allow) = endpoint_methods(endpoint);
            let is_allowed = methods.contains(method);
            return Some(if is_allowed { Match::Own(endpoint) } else { Match::MethodNotAllowed { allow: allow.into() } });
        }
        // The upstream may have an endpoint of that name, with none of our limits.
        let is_taken = self.own.iter().any(|own| readings.any(|reading| own.may_be(reading)));
        is_taken.then_some(Match::NotFound)
    }
}

/// The methods of an own endpoint, and the same as text. OPTIONS is there for preflights.
const fn endpoint_methods(endpoint: Endpoint) -> (&'static [Method], &'static str) {
    match endpoint {
        Endpoint::Login
        | Endpoint::Register
        | Endpoint::QuickRegister
        | Endpoint::Refresh
        | Endpoint::Logout
        | Endpoint::Revoke
        | Endpoint::Introspect => (&[Method::POST, Method::OPTIONS], "POST, OPTIONS"),
        Endpoint::Sessions | Endpoint::Jwks | Endpoint::Metadata => {
            (&[Method::GET, Method::HEAD, Method::OPTIONS], "GET, HEAD, OPTIONS")
        }
        Endpoint::Session(_) => (&[Method::DELETE, Method::OPTIONS], "DELETE, OPTIONS"),
        Endpoint::Health | Endpoint::Ready => (&[Method::GET, Method::HEAD], "GET, HEAD"),
    }
}

/// The answer that names the methods of the rules that cover the path as it is; `None` if there are none.
fn not_allowed<'a>(rules: impl Iterator<Item = &'a Rule>, path: &str) -> Option<Match<'a>> {
    let mut allow: Vec<&str> = Vec::new();
    for rule in rules.filter(|rule| rule.route.covers(path)) {
        for method in &rule.route.methods {
            let head = (method == Method::GET).then_some("HEAD");
            for name in [method.as_str()].into_iter().chain(head) {
                if !allow.contains(&name) {
                    allow.push(name);
                }
            }
        }
    }
    (!allow.is_empty()).then(|| Match::MethodNotAllowed { allow: allow.join(", ").into() })
}

impl Own {
    fn endpoint(&self, path: &str) -> Option<Endpoint> {
        match self.place {
            Place::At(endpoint) => (path == self.path).then_some(endpoint),
            Place::Sessions => match path.strip_prefix(&self.path)?.strip_prefix('/') {
                Some(id) => SessionId::parse(id).map(Endpoint::Session),
                None => (path == self.path).then_some(Endpoint::Sessions),
            },
        }
    }

    fn may_be(&self, reading: &[u8]) -> bool {
        match self.place {
            Place::At(_) => reading.eq_ignore_ascii_case(self.path.as_bytes()),
            Place::Sessions => is_at_or_below(reading, self.path.as_bytes()),
        }
    }
}

impl Rule {
    fn may_cover(&self, readings: &Readings<'_>) -> bool {
        if self.route.exact {
            readings.any(|reading| reading.eq_ignore_ascii_case(&self.reading))
        } else {
            readings.any(|reading| is_at_or_below(reading, &self.reading))
        }
    }
}

/// Whether `reading` is `place` or below it by whole segments, in whatever letter case.
fn is_at_or_below(reading: &[u8], place: &[u8]) -> bool {
    let Some((start, rest)) = reading.split_at_checked(place.len()) else { return false };
    matches!(rest.first(), None | Some(b'/')) && start.eq_ignore_ascii_case(place)
}

fn own_endpoints(paths: EndpointPaths, errors: &mut Vec<RouteError>) -> Vec<Own> {
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
    let several =
        several.into_iter().flat_map(|(paths, endpoint)| paths.into_iter().map(move |path| (path, Place::At(endpoint))));
    let single = [
        (refresh, Place::At(Endpoint::Refresh)),
        (logout, Place::At(Endpoint::Logout)),
        (sessions, Place::Sessions),
        (revoke, Place::At(Endpoint::Revoke)),
        (introspect, Place::At(Endpoint::Introspect)),
        (jwks, Place::At(Endpoint::Jwks)),
        (metadata, Place::At(Endpoint::Metadata)),
        (health, Place::At(Endpoint::Health)),
        (ready, Place::At(Endpoint::Ready)),
    ];
    let mut own: Vec<Own> = Vec::new();
    for (path, place) in several.chain(single.into_iter().filter_map(|(path, place)| Some((path?, place)))) {
        let is_plain = CanonicalTarget::parse(&path)
            .is_ok_and(|target| target.path() == path && matches!(target.readings(), Readings::Plain(_)));
        if !is_plain || path.ends_with('/') {
            errors.push(RouteError::EndpointNotCanonical(path));
        } else if own.iter().any(|other| other.path.eq_ignore_ascii_case(&path)) {
            errors.push(RouteError::EndpointTwice(path));
        } else {
            own.push(Own { path, place });
        }
    }
    own
}

fn rule(route: Route, errors: &mut Vec<RouteError>) -> Option<Rule> {
    if let Some(host) = route.host.as_ref().filter(|host| !is_canonical_host(host)) {
        errors.push(RouteError::HostNotCanonical(Arc::clone(&route.name), host.clone()));
    }
    let Some(reading) = canonical_prefix(&route.prefix) else {
        errors.push(RouteError::PrefixNotCanonical(route.name, route.prefix));
        return None;
    };
    Some(Rule { route: Arc::new(route), reading })
}

fn is_canonical_host(host: &str) -> bool {
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    !host.is_empty()
        && !host.ends_with('.')
        && !host.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii_graphic())
        && (is_bracketed || !host.contains(':'))
}

/// The one reading of a prefix, if it is canonical and has but one.
fn canonical_prefix(prefix: &str) -> Option<Vec<u8>> {
    let is_trimmed = prefix == "/" || !prefix.ends_with('/');
    let target = CanonicalTarget::parse(prefix).ok().filter(|target| target.path() == prefix && is_trimmed)?;
    match target.readings() {
        Readings::Plain(reading) => Some(reading.to_vec()),
        // With as many segments as before, nothing in it was ambiguous: escapes of other characters alone.
        Readings::Lenient([one, other]) => {
            let segments = |path: &[u8]| path.split(|byte| *byte == b'/').count();
            let is_one = one == other && segments(&one) == segments(prefix.as_bytes()) && !prefix.contains("%25");
            (is_one && !prefix.contains(';') && !prefix.contains("%3B")).then_some(one)
        }
    }
}

fn check_rules(own: &[Own], rules: &[Rule], errors: &mut Vec<RouteError>) {
    for (position, rule) in rules.iter().enumerate() {
        let route = &rule.route;
        for earlier in &rules[..position] {
            let other = &earlier.route;
            let same_place = other.host == route.host && other.exact == route.exact;
            if same_place && other.prefix == route.prefix && share_methods(other, route) {
                errors.push(RouteError::Twice(Arc::clone(&route.name), Arc::clone(&other.name)));
            }
            let same_reading = earlier.reading.eq_ignore_ascii_case(&rule.reading);
            let same_demands = route.is_as_strict_as(other) && other.is_as_strict_as(route);
            if same_place && other.prefix != route.prefix && same_reading && !same_demands {
                errors.push(RouteError::SpeltAlike(Arc::clone(&route.name), Arc::clone(&other.name)));
            }
        }
        if let Some(own) = own.iter().find(|own| own.may_be(&rule.reading) && (route.exact || own.is_whole_subtree())) {
            errors.push(RouteError::Shadowed(Arc::clone(&route.name), own.path.clone()));
        }
    }
}

impl Own {
    const fn is_whole_subtree(&self) -> bool {
        matches!(self.place, Place::Sessions)
    }
}

/// Whether there is a method for which neither goes before the other.
fn share_methods(one: &Route, other: &Route) -> bool {
    match (one.methods.is_empty(), other.methods.is_empty()) {
        (true, true) => true,
        (false, false) => {
            one.methods.iter().any(|method| other.names(method)) || other.methods.iter().any(|method| one.names(method))
        }
        (true, false) | (false, true) => false,
    }
}
