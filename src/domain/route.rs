//! Routes: which upstream a request goes to, and what it demands of the caller.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::ids::SessionId;
use super::path::CanonicalTarget;

/// A gateway's own endpoint. `Login`, `Register` and `QuickRegister` are answered by the upstream first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint {
    Login,
    Register,
    QuickRegister,
    Refresh,
    Logout,
    Sessions,
    Session(SessionId),
    Jwks,
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
    /// Lower-case host without port; `None` matches every host.
    pub host: Option<String>,
    /// Canonical path; matches itself and everything below it by whole segments. `/` matches all.
    pub prefix: String,
    /// Match `prefix` alone and nothing below it.
    pub exact: bool,
    /// Empty: every method.
    pub methods: Vec<Method>,
    pub upstream: UpstreamIndex,
    pub access: Access,
    /// What protected requests meet when the revocations are stale.
    pub when_stale: WhenStale,
    pub revocation: RevocationCheck,
    pub body_bytes_max: u64,
    /// From the request's head to the end of the answer's head.
    pub response_timeout: Duration,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anyone; a token, if one is sent, is neither read nor passed on as an identity.
    Public,
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
    pub login: Option<String>,
    pub register: Option<String>,
    pub quick_register: Option<String>,
    pub refresh: Option<String>,
    pub logout: Option<String>,
    /// Also `…/{id}`.
    pub sessions: Option<String>,
    pub jwks: Option<String>,
    pub health: Option<String>,
    pub ready: Option<String>,
}

/// What a request meets.
#[derive(Debug)]
pub enum Match<'a> {
    Own(Endpoint),
    Route(&'a Arc<Route>),
    /// Something is here, for other methods.
    MethodNotAllowed {
        allow: Cow<'static, str>,
    },
    /// Two rules could claim the path, and its spelling lets the upstream pick another than we would: 400.
    Ambiguous,
    NotFound,
}

/// All rules of one gateway, the most specific first.
#[derive(Clone, Debug)]
pub struct RouteTable {
    own: EndpointPaths,
    routes: Vec<Arc<Route>>,
    /// Every route demands the same token, so that none can be reached in place of another.
    uniform: bool,
}

impl RouteTable {
    /// The order of `routes` does not matter: a named host goes before any host, a longer prefix before a shorter one, an exact
    /// path before a prefix.
    pub fn new(own: EndpointPaths, routes: Vec<Route>) -> Self {
        let mut routes: Vec<Arc<Route>> = routes.into_iter().map(Arc::new).collect();
        routes.sort_by_key(|route| {
            std::cmp::Reverse((route.host.is_some(), route.prefix.len(), route.exact, !route.methods.is_empty()))
        });
        let uniform = routes.iter().all(|route| route.access != Access::Public && route.access == routes[0].access);
        Self { own, routes, uniform }
    }

    /// `host` in lower case, without port.
    pub fn find(&self, method: &Method, host: &str, target: &CanonicalTarget<'_>) -> Match<'_> {
        if let Some(own) = self.own(method, target.path()) {
            return own;
        }
        let mut passed_over_protected = false;
        let mut allowed: Vec<&str> = Vec::new();
        for route in self.routes.iter().filter(|route| route.covers(host, target.path())) {
            if !route.allows(method) {
                allowed.extend(route.methods.iter().map(Method::as_str));
                passed_over_protected |= route.access != Access::Public;
                continue;
            }
            // A public rule below a protected one for other methods would open what that one closes.
            if passed_over_protected && route.access == Access::Public {
                break;
            }
            if target.is_ambiguous() && !self.uniform {
                return Match::Ambiguous;
            }
            return Match::Route(route);
        }
        if allowed.is_empty() { Match::NotFound } else { Match::MethodNotAllowed { allow: allowed.join(", ").into() } }
    }

    fn own(&self, method: &Method, path: &str) -> Option<Match<'_>> {
        let own = &self.own;
        let is = |known: &Option<String>| known.as_deref() == Some(path);
        let (endpoint, methods, allow): (_, &[Method], _) = if is(&own.login) {
            (Endpoint::Login, &[Method::POST], "POST, OPTIONS")
        } else if is(&own.register) {
            (Endpoint::Register, &[Method::POST], "POST, OPTIONS")
        } else if is(&own.quick_register) {
            (Endpoint::QuickRegister, &[Method::POST], "POST, OPTIONS")
        } else if is(&own.refresh) {
            (Endpoint::Refresh, &[Method::POST], "POST, OPTIONS")
        } else if is(&own.logout) {
            (Endpoint::Logout, &[Method::POST], "POST, OPTIONS")
        } else if is(&own.sessions) {
            (Endpoint::Sessions, &[Method::GET, Method::HEAD], "GET, HEAD, OPTIONS")
        } else if is(&own.jwks) {
            (Endpoint::Jwks, &[Method::GET, Method::HEAD], "GET, HEAD, OPTIONS")
        } else if is(&own.health) {
            (Endpoint::Health, &[Method::GET, Method::HEAD], "GET, HEAD")
        } else if is(&own.ready) {
            (Endpoint::Ready, &[Method::GET, Method::HEAD], "GET, HEAD")
        } else {
            let id = path.strip_prefix(own.sessions.as_deref()?)?.strip_prefix('/')?;
            let Some(id) = SessionId::parse(id) else { return Some(Match::NotFound) };
            (Endpoint::Session(id), &[Method::DELETE], "DELETE, OPTIONS")
        };
        let preflight = method == Method::OPTIONS && allow.ends_with("OPTIONS");
        Some(if methods.contains(method) || preflight {
            Match::Own(endpoint)
        } else {
            Match::MethodNotAllowed { allow: allow.into() }
        })
    }
}

impl Route {
    fn covers(&self, host: &str, path: &str) -> bool {
        self.host.as_deref().is_none_or(|own| own == host) && self.covers_path(path)
    }

    fn covers_path(&self, path: &str) -> bool {
        if self.exact {
            return path == self.prefix;
        }
        let prefix = self.prefix.trim_end_matches('/');
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() && !self.prefix.ends_with('/') || rest.starts_with('/'))
    }

    fn allows(&self, method: &Method) -> bool {
        let as_get = if method == Method::HEAD { &Method::GET } else { method };
        self.methods.is_empty() || self.methods.contains(method) || self.methods.contains(as_get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, access: Access) -> Route {
        Route {
            name: prefix.into(),
            host: None,
            prefix: prefix.to_owned(),
            exact: false,
            methods: Vec::new(),
            upstream: UpstreamIndex(0),
            access,
            when_stale: WhenStale::Reject,
            revocation: RevocationCheck::Replica,
            body_bytes_max: 0,
            response_timeout: Duration::ZERO,
        }
    }

    fn token() -> Access {
        Access::Token { audiences: Arc::new([]), scopes: Arc::new([]) }
    }

    fn found(table: &RouteTable, method: &Method, host: &str, target: &str) -> String {
        match table.find(method, host, &CanonicalTarget::parse(target).unwrap()) {
            Match::Own(endpoint) => format!("own {endpoint:?}"),
            Match::Route(route) => route.name.to_string(),
            Match::MethodNotAllowed { allow } => format!("405 {allow}"),
            Match::Ambiguous => "400".to_owned(),
            Match::NotFound => "404".to_owned(),
        }
    }

    #[test]
    fn the_most_specific_route_wins() {
        let host = Route { host: Some("b.example".to_owned()), name: "host".into(), ..route("/", token()) };
        let exact = Route { exact: true, name: "exact".into(), ..route("/api/x", token()) };
        let table = RouteTable::new(EndpointPaths::default(), vec![route("/", token()), route("/api", token()), exact, host]);
        let get = |host, target| found(&table, &Method::GET, host, target);
        assert_eq!(get("a.example", "/api"), "/api");
        assert_eq!(get("a.example", "/api/"), "/api");
        assert_eq!(get("a.example", "/apis"), "/");
        assert_eq!(get("a.example", "/api/x"), "exact");
        assert_eq!(get("a.example", "/api/x/y"), "/api");
        assert_eq!(get("b.example", "/api/x"), "host");
    }

    #[test]
    fn a_public_rule_never_opens_what_a_protected_one_above_it_closes() {
        let read = Route { methods: vec![Method::GET], ..route("/admin", token()) };
        let table = RouteTable::new(EndpointPaths::default(), vec![route("/", Access::Public), read]);
        assert_eq!(found(&table, &Method::HEAD, "h", "/admin"), "/admin");
        assert_eq!(found(&table, &Method::POST, "h", "/admin"), "405 GET");
        let public_read = Route { methods: vec![Method::GET], ..route("/api/items", Access::Public) };
        let table = RouteTable::new(EndpointPaths::default(), vec![route("/api", token()), public_read]);
        assert_eq!(found(&table, &Method::GET, "h", "/api/items/1"), "/api/items");
        assert_eq!(found(&table, &Method::POST, "h", "/api/items"), "/api");
    }

    #[test]
    fn an_ambiguous_path_passes_only_where_every_rule_is_the_same() {
        let uniform = RouteTable::new(EndpointPaths::default(), vec![route("/", token()), route("/api", token())]);
        assert_eq!(found(&uniform, &Method::GET, "h", "/api/a%2Fb"), "/api");
        let mixed = RouteTable::new(EndpointPaths::default(), vec![route("/", token()), route("/public", Access::Public)]);
        for target in ["/public//x", "/public;x/..a", "/x%2fy"] {
            assert_eq!(found(&mixed, &Method::GET, "h", target), "400", "{target}");
        }
    }

    #[test]
    fn own_endpoints_go_first_and_name_their_methods() {
        let own = EndpointPaths {
            login: Some("/login".to_owned()),
            sessions: Some("/sessions".to_owned()),
            ..EndpointPaths::default()
        };
        let table = RouteTable::new(own, vec![route("/", token())]);
        assert_eq!(found(&table, &Method::POST, "h", "/login"), "own Login");
        assert_eq!(found(&table, &Method::OPTIONS, "h", "/login"), "own Login");
        assert_eq!(found(&table, &Method::GET, "h", "/login"), "405 POST, OPTIONS");
        assert_eq!(found(&table, &Method::GET, "h", "/sessions"), "own Sessions");
        let id = SessionId::from_bytes([3; 16]);
        assert_eq!(found(&table, &Method::DELETE, "h", &format!("/sessions/{id}")), format!("own Session({id})"));
        assert_eq!(found(&table, &Method::DELETE, "h", "/sessions/nobody"), "404");
        assert_eq!(found(&table, &Method::POST, "h", "/refresh"), "/");
    }
}
