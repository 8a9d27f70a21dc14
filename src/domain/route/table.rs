//! All rules of one gateway, and which of them a request meets.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::ops::Deref;
use std::sync::Arc;

use http::Method;

use super::own::{Guarded, Own, own_endpoints};
use super::sign_in_pages::SignInPages;
use super::{Asked, EndpointPaths, Found, Match, Route, RouteError};
use crate::domain::host::HostPattern;
use crate::domain::path::{Place, Readings};

/// All rules of one gateway, the most specific first.
///
/// One rule is chosen by the canonical path alone. But upstreams read leniently: many take `/Admin`, `/admin/`, `//admin`,
/// `/admin;x`, `/%61dmin` and `/admin.json` for `/admin`. So a rule that only a lenient reading meets still has a say: what would be
/// less strict than it is refused. Own endpoints are met by their exact path; what an upstream may take for it is refused to their
/// methods.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    own: Vec<Own>,
    rules: Vec<Rule>,
    answers_preflights: bool,
    /// Whether one host has a rule that another has not, and that refuses someone.
    guards_hosts: bool,
    sign_in_pages: SignInPages,
}

/// A route with its place in the list that the table was made of.
#[derive(Clone, Debug)]
pub struct Placed {
    route: Route,
    number: usize,
}

impl Placed {
    /// From 0; no other route of the table has it.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }
}

impl Deref for Placed {
    type Target = Route;

    fn deref(&self) -> &Route {
        &self.route
    }
}

#[derive(Clone, Debug)]
struct Rule {
    route: Arc<Placed>,
    /// Where upstreams may find what the route guards.
    place: Place,
    /// Whether some other route lets someone pass whom this one refuses: only then does it matter what a path may be taken for.
    guards: bool,
}

impl RouteTable {
    /// The order of `routes` does not matter: a named host goes before all below a name, those before any host, a longer prefix
    /// before a shorter one, an exact path before a prefix, listed methods before any.
    ///
    /// # Errors
    /// Everything that is wrong with the rules.
    pub fn new(own: EndpointPaths, routes: Vec<Route>) -> Result<Self, Vec<RouteError>> {
        let mut errors = Vec::new();
        let own = own_endpoints(own, &mut errors);
        let mut rules: Vec<Rule> = routes.into_iter().enumerate().filter_map(|placed| rule(placed, &mut errors)).collect();
        check_rules(&own, &rules, &mut errors);
        rules.sort_by_key(|Rule { route, .. }| {
            let host = route.host.as_ref().map(HostPattern::rank);
            Reverse((host, route.prefix.len(), route.exact, !route.methods.is_empty()))
        });
        let routes: Vec<Arc<Placed>> = rules.iter().map(|rule| Arc::clone(&rule.route)).collect();
        for rule in &mut rules {
            rule.guards = routes.iter().any(|other| !other.is_as_strict_as(&rule.route));
        }
        let guards_hosts = rules.iter().any(|rule| rule.guards && rule.route.host.is_some());
        let sign_in_pages = SignInPages::of(rules.iter().map(|rule| &**rule.route));
        let table = Self { own, rules, answers_preflights: false, guards_hosts, sign_in_pages };
        if errors.is_empty() { Ok(table) } else { Err(errors) }
    }

    /// The names of the routes, each at its number.
    pub fn names(&self) -> Vec<&Arc<str>> {
        let mut routes: Vec<&Placed> = self.rules.iter().map(|rule| &*rule.route).collect();
        routes.sort_by_key(|route| route.number);
        routes.into_iter().map(|route| &route.name).collect()
    }

    /// Whether own endpoints answer browsers that ask for permission to call them; else that is left to the routes.
    #[must_use]
    pub fn answering_preflights(self, answers_preflights: bool) -> Self {
        Self { answers_preflights, ..self }
    }

    /// Every route, the most specific first.
    pub(in crate::domain) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.rules.iter().map(|rule| &**rule.route)
    }

    /// The query of a request for a page where users log in without what leads to another host from there; `None`: nothing does.
    pub fn mended_query(&self, asked: &Asked<'_>) -> Option<String> {
        self.sign_in_pages.mended(asked)
    }

    // Each request asks once; it is not worth a call.
    #[inline]
    pub fn find(&self, asked: &Asked<'_>) -> Found<'_> {
        let found = self.find_here(asked);
        if let (Match::Route(route), Some(told)) = (&found, asked.told_host)
            && self.is_stricter_at(told, route, asked)
        {
            return Match::AmbiguousHost;
        }
        found
    }

    /// Whether the host that a trusted peer tells of has a stricter rule than `route`. A host of which the rules say nothing has none.
    fn is_stricter_at(&self, told: &str, route: &Route, asked: &Asked<'_>) -> bool {
        if !self.guards_hosts || asked.host == Some(told) {
            return false;
        }
        match self.find_route(&Asked { host: Some(told), told_host: None, ..*asked }) {
            Match::Route(there) => !route.is_as_strict_as(there),
            Match::MethodNotAllowed { .. } | Match::Ambiguous | Match::AmbiguousHost => true,
            Match::Endpoint(_) | Match::Preflight | Match::NotFound => false,
        }
    }

    fn find_here(&self, asked: &Asked<'_>) -> Found<'_> {
        let path = asked.target.path();
        let Some(endpoint) = self.own.iter().find_map(|own| own.endpoint(path)) else {
            return self.find_beside_own(asked);
        };
        if self.answers_preflights && endpoint.is_asked_for(asked) {
            return Match::Preflight;
        }
        if endpoint.claims(asked) {
            return Match::Endpoint(endpoint);
        }
        let found = if endpoint.keeps(asked.method) { Match::NotFound } else { self.find_route(asked) };
        match found {
            // A page that nobody has.
            Match::NotFound if endpoint.methods().contains(asked.method) => Match::Endpoint(endpoint),
            Match::NotFound => Match::MethodNotAllowed { allow: endpoint.allow(asked.method, "").into() },
            Match::MethodNotAllowed { allow } => Match::MethodNotAllowed { allow: endpoint.allow(asked.method, &allow).into() },
            Match::Endpoint(_) | Match::Preflight | Match::Route(_) | Match::Ambiguous | Match::AmbiguousHost => found,
        }
    }

    /// A path that is no endpoint's.
    fn find_beside_own(&self, asked: &Asked<'_>) -> Found<'_> {
        let found = self.find_route(asked);
        let Match::Route(route) = found else { return found };
        let mut guarding = self.own.iter().filter(|own| own.guards(asked.method)).peekable();
        if guarding.peek().is_none() {
            return found;
        }
        let readings = asked.target.readings();
        let guarded = guarding.find_map(|own| own.holds(asked.target.path(), &readings).filter(|_| !own.is_told_apart_by(route)));
        match guarded {
            None => found,
            Some(Guarded::NoSession) => Match::NotFound,
            Some(Guarded::MayBeMeant) => Match::Ambiguous,
        }
    }

    fn find_route(&self, asked: &Asked<'_>) -> Found<'_> {
        let Asked { method, host, target, .. } = *asked;
        let path = target.path();
        let readings = OnceCell::new();
        let may_cover = |rule: &Rule| rule.guards && rule.may_cover(readings.get_or_init(|| target.readings()));
        let claims = |rule: &&Rule| rule.route.is_at(host) && (rule.route.covers(path) || may_cover(rule));
        let claiming = self.rules.iter().filter(claims);
        let Some(chosen) = claiming.clone().find(|rule| rule.route.covers(path) && rule.route.allows(method)) else {
            return not_allowed(claiming, path).unwrap_or(Match::NotFound);
        };
        let passed_over = claiming.take_while(|rule| !Arc::ptr_eq(&rule.route, &chosen.route));
        // With `/admin` as a rule of its own beside `/admin.html`, a plain `/admin` means that.
        let is_named = |rule: &Rule| target.is_plain() && chosen.place.differs_by_extension(&rule.place);
        for rule in passed_over.clone().filter(|rule| !chosen.route.is_as_strict_as(&rule.route) && !is_named(rule)) {
            if rule.route.allows(method) {
                return Match::Ambiguous;
            }
            // A laxer rule takes a method from a stricter one above it only by naming it: else DELETE would pass where the
            // stricter one lists GET and POST alone.
            if !chosen.route.names(method) {
                return not_allowed(passed_over, path).unwrap_or(Match::Ambiguous);
            }
        }
        let opens = |reading: Readings<'_>| self.would_open(chosen, asked, &reading);
        let is_odd = !target.is_plain() && self.rules.iter().any(|rule| rule.guards);
        if is_odd && readings.get_or_init(|| target.readings()).behind_scripts().any(opens) {
            return Match::Ambiguous;
        }
        Match::Route(&chosen.route)
    }

    /// Whether `chosen` is laxer than the rule of what a script reads a path as: that may lie outside of the folder of `chosen`.
    fn would_open(&self, chosen: &Rule, asked: &Asked<'_>, reading: &Readings<'_>) -> bool {
        for meant in self.rules.iter().filter(|rule| rule.route.is_at(asked.host) && rule.may_cover(reading)) {
            let is_asked = meant.route.allows(asked.method);
            let is_within = !meant.route.exact && meant.place.is_above(&chosen.place);
            let is_stricter = !is_within && !chosen.route.is_as_strict_as(&meant.route);
            if is_stricter && (is_asked || !chosen.route.names(asked.method)) {
                return true;
            }
            if is_asked {
                return false;
            }
        }
        false
    }
}

/// The response that names the methods of the rules that cover the path as it is; `None` if there are none.
fn not_allowed<'a>(rules: impl Iterator<Item = &'a Rule>, path: &str) -> Option<Found<'a>> {
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

impl Rule {
    fn may_cover(&self, readings: &Readings<'_>) -> bool {
        self.place.may_hold(readings, self.route.exact)
    }
}

fn rule((number, route): (usize, Route), errors: &mut Vec<RouteError>) -> Option<Rule> {
    let Some(place) = route.place() else {
        errors.push(RouteError::PrefixNotCanonical(route.name, route.prefix));
        return None;
    };
    Some(Rule { route: Arc::new(Placed { route, number }), place, guards: false })
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
            let same_reading = earlier.place == rule.place;
            let same_demands = route.is_as_strict_as(other) && other.is_as_strict_as(route);
            if same_place && other.prefix != route.prefix && same_reading && !same_demands {
                errors.push(RouteError::SpeltAlike(Arc::clone(&route.name), Arc::clone(&other.name)));
            }
        }
        if let Some(own) = own.iter().find(|own| own.shadows(route, &rule.place)) {
            errors.push(RouteError::Shadowed(Arc::clone(&route.name), own.path.clone()));
        }
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
