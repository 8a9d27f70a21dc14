//! Redirects that lead to no end.

use std::borrow::Cow;

use http::{HeaderMap, Method, StatusCode};

use super::{Action, Asked, Match, Route, RouteTable};
use crate::domain::host::HostPattern;
use crate::domain::path::CanonicalTarget;

/// After so many redirects browsers give up (Fetch Standard, HTTP-redirect fetch).
const REDIRECTS_MAX: usize = 20;

/// A path below a prefix for which an operator has hardly a route of its own.
const BELOW: &str = "/-/-";

impl RouteTable {
    /// Whether a request for this route, or for something below it, is redirected until its client gives up. Only redirects on the
    /// same host are followed: what another one does is not known here.
    #[must_use]
    pub fn goes_in_circles(&self, from: &Route) -> bool {
        let below = [from.prefix.strip_suffix('/').unwrap_or(&from.prefix), BELOW].concat();
        let is_endless = |path: &str| self.redirects_from(from, path) > REDIRECTS_MAX;
        is_endless(&from.prefix) || !from.exact && is_endless(&below)
    }

    /// How often a client is sent on, as far as it matters.
    fn redirects_from(&self, from: &Route, path: &str) -> usize {
        let host = from.host.as_ref().map(HostPattern::example);
        let mut method = from.methods.first().unwrap_or(&Method::GET);
        let mut at = path.to_owned();
        for followed in 0..=REDIRECTS_MAX {
            let Some((next, status)) = self.redirect_at(host.as_deref(), method, &at) else { return followed };
            // These are followed as they are (RFC 9110, section 15.4); any other by GET.
            if ![StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT].contains(&status) {
                method = &Method::GET;
            }
            at = next;
        }
        REDIRECTS_MAX + 1
    }

    /// Where a request is sent on the same host.
    fn redirect_at(&self, host: Option<&str>, method: &Method, path: &str) -> Option<(String, StatusCode)> {
        let target = CanonicalTarget::parse(path).ok()?;
        let headers = HeaderMap::new();
        let Match::Route(route) = self.find(&Asked { method, host, told_host: None, target: &target, headers: &headers }) else {
            return None;
        };
        let Action::Redirect(redirect) = &route.action else { return None };
        let location = route.location(redirect, &target).ok()?;
        let location = location.to_str().ok().filter(|location| location.starts_with('/'))?;
        let (location, _fragment) = location.split_once('#').unwrap_or((location, ""));
        Some((location.to_owned(), redirect.status))
    }
}

impl HostPattern {
    /// A name that it matches.
    pub(super) fn example(&self) -> Cow<'_, str> {
        let text = self.as_str();
        if text.starts_with('.') { Cow::Owned(format!("-{text}")) } else { Cow::Borrowed(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::route;
    use super::*;
    use crate::domain::route::{Access, EndpointPaths, FixedResponse, Redirect};

    fn redirect(prefix: &str, to: &str) -> Route {
        let status = StatusCode::TEMPORARY_REDIRECT;
        Route { action: Action::Redirect(Redirect { to: to.parse().unwrap(), status }), ..route(prefix, Access::Public) }
    }

    fn page(prefix: &str) -> Route {
        let response = FixedResponse { status: StatusCode::OK, fields: HeaderMap::new(), body: bytes::Bytes::new() };
        Route { action: Action::Respond(response), ..route(prefix, Access::Public) }
    }

    fn circles(routes: &[Route]) -> Vec<&str> {
        let table = RouteTable::new(EndpointPaths::default(), routes.to_vec()).unwrap();
        routes.iter().filter(|route| table.goes_in_circles(route)).map(|route| route.prefix.as_str()).collect()
    }

    #[test]
    fn redirects_that_never_end_are_found() {
        for (routes, expected) in [
            (vec![redirect("/", "{path}")], vec!["/"]),
            (vec![redirect("/", "{rest}")], vec!["/"]),
            (vec![redirect("/a", "/a")], vec!["/a"]),
            (vec![redirect("/a", "/a{rest}")], vec!["/a"]),
            (vec![redirect("/a", "/a?x=1#y")], vec!["/a"]),
            // Each time one segment more.
            (vec![redirect("/a", "/a/b{rest}")], vec!["/a"]),
            (vec![redirect("/", "/new{path}")], vec!["/"]),
            // One to the other.
            (vec![redirect("/a", "/b{rest}"), redirect("/b", "/a{rest}")], vec!["/a", "/b"]),
            (vec![redirect("/a", "/b"), redirect("/b", "/c"), redirect("/c", "/b")], vec!["/a", "/b", "/c"]),
            // Below it alone.
            (vec![redirect("/a", "/b{rest}"), redirect("/b", "/a{rest}"), Route { exact: true, ..page("/b") }], vec!["/a", "/b"]),
            (vec![Route { host: Some("*.a.example".parse().unwrap()), ..redirect("/", "{path}") }, page("/")], vec!["/"]),
        ] {
            assert_eq!(circles(&routes), expected, "{:?}", routes.iter().map(|route| &route.action).collect::<Vec<_>>());
        }
    }

    #[test]
    fn redirects_that_another_route_takes_end() {
        for routes in [
            vec![redirect("/", "/new{path}"), page("/new")],
            vec![redirect("/a", "/a/b"), page("/a/b")],
            vec![redirect("/", "/login"), page("/login")],
            vec![redirect("/a", "/b{rest}"), redirect("/b", "/c{rest}"), redirect("/c", "/d{rest}"), page("/d")],
            vec![redirect("/a", "https://a.example{path}")],
            vec![redirect("/a", "/b{rest}")],
            vec![Route { exact: true, ..redirect("/a", "/a/") }, page("/a")],
            // By GET it is another route's.
            vec![
                Route {
                    methods: vec![Method::POST],
                    action: Action::Redirect(Redirect { to: "/a".parse().unwrap(), status: StatusCode::SEE_OTHER }),
                    ..redirect("/a", "/a")
                },
                page("/a"),
            ],
        ] {
            assert!(circles(&routes).is_empty(), "{:?}", routes.iter().map(|route| &route.action).collect::<Vec<_>>());
        }
    }
}
