//! `[[routes]]`: what becomes of which requests, and what they demand of the caller.

mod access;
mod action;
mod fields;
mod response;

use std::sync::Arc;

use access::Admittance;
pub(super) use access::scope;

use super::callers::Identity;
use super::listen::Listen;
use super::notes::Notes;
use super::parse;
use super::section::Section;
use super::upstreams::NamedUpstreams;
use crate::domain::route::{Access, Action, EndpointPaths, RevocationCheck, Route, RouteError, RouteTable};

/// The routes and own endpoints of a gateway, and the table that was made of them.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    endpoints: EndpointPaths,
    /// Whether own endpoints respond to preflight requests.
    answers_preflights: bool,
    /// In the order of the file. Empty only where no request is to reach an upstream.
    listed: Vec<Route>,
    table: RouteTable,
}

impl Routes {
    /// # Errors
    /// Everything that is wrong with the rules.
    fn new(endpoints: EndpointPaths, answers_preflights: bool, listed: Vec<Route>) -> Result<Self, Vec<RouteError>> {
        let table = RouteTable::new(endpoints.clone(), listed.clone())?.answering_preflights(answers_preflights);
        Ok(Self { endpoints, answers_preflights, listed, table })
    }

    pub fn listed(&self) -> &[Route] {
        &self.listed
    }

    pub const fn table(&self) -> &RouteTable {
        &self.table
    }

    /// Changes the routes and makes the table anew.
    ///
    /// # Errors
    /// Everything that is wrong with the rules; nothing is changed then.
    pub fn change(&mut self, change: impl FnOnce(&mut Vec<Route>)) -> Result<(), Vec<RouteError>> {
        let mut listed = self.listed.clone();
        change(&mut listed);
        *self = Self::new(self.endpoints.clone(), self.answers_preflights, listed)?;
        Ok(())
    }
}

/// Sections that say something of all routes.
pub(super) struct Beside<'a> {
    pub(super) listen: &'a Listen,
    pub(super) identity: &'a Identity,
}

/// `None` after a fault was noted.
pub(super) fn read(s: &mut Section<'_>, upstreams: &NamedUpstreams, beside: &Beside<'_>) -> Option<Route> {
    let name = s.require("name", parse::filled_text());
    let prefix = s.read("prefix", parse::url_path());
    let exact = s.read("exact", parse::flag());
    let host = s.optional("host", parse::host_pattern());
    let methods = s.read("methods", parse::list(parse::method()));
    let Admittance { addresses, access, limit, when_stale, revocation, enforced, sign_in } = Admittance::read(s);
    let action = action::read(s, &prefix, upstreams, beside);
    if action.as_ref().is_some_and(Action::renews_websockets) {
        streams_can_be_renewed(s, &access, revocation);
    }
    Some(Route {
        name: name?.into(),
        host,
        prefix,
        exact,
        methods,
        addresses,
        access,
        limit,
        when_stale,
        revocation,
        enforced,
        sign_in,
        action: action?,
    })
}

/// A stream without a token has none to renew, and on a strict route it ends with the token that opened it.
fn streams_can_be_renewed(s: &Section<'_>, access: &Access, revocation: RevocationCheck) {
    match access {
        Access::Token(_) => {}
        Access::Public | Access::Optional => s.fault(
            "websocket_renewal",
            "has no meaning for a route that is public or optional: its streams need no token; allowed with access = \"token\" alone",
        ),
    }
    match revocation {
        RevocationCheck::Replica => {}
        RevocationCheck::Strict => s.fault(
            "websocket_renewal",
            "has no meaning with revocation = \"strict\", where a stream ends with the token that opened it; allowed with \
             revocation = \"replica\" alone",
        ),
    }
}

/// The table of routes that were read one by one. After a fault was noted, an empty one.
pub(super) fn table(endpoints: &EndpointPaths, answers_preflights: bool, routes: Vec<Route>, notes: &Notes) -> Routes {
    are_distinct(&routes, notes);
    let names: Vec<Arc<str>> = routes.iter().map(|route| Arc::clone(&route.name)).collect();
    let made = Routes::new(endpoints.clone(), answers_preflights, routes).unwrap_or_else(|errors| {
        // What is wrong with endpoints was noted where they were read.
        for error in errors {
            let Some(name) = error.route() else { continue };
            let index = names.iter().rposition(|of_route| &**of_route == name).unwrap_or_default();
            let key = format!("routes[{index}].prefix");
            if !notes.has_problem(&key) {
                notes.problem(&key, None, error.to_string());
            }
        }
        Routes::default()
    });
    for (index, route) in made.listed().iter().enumerate().filter(|(_, route)| made.table().goes_in_circles(route)) {
        let message = format!("leads back to route \"{}\": browsers would go round in circles", route.name);
        notes.problem(&format!("routes[{index}].redirect.to"), None, message);
    }
    for (index, route) in made.listed().iter().enumerate() {
        if let Some(sign_in) = route.sign_in.as_ref().filter(|sign_in| !made.table().opens_sign_in(route, sign_in)) {
            let message = format!(
                "leads to \"{}\", where there is no page for GET on a public route: whoever has no session could not log in there",
                sign_in.path()
            );
            notes.problem(&format!("routes[{index}].sign_in"), None, message);
        }
    }
    made
}

fn are_distinct(routes: &[Route], notes: &Notes) {
    for (index, route) in routes.iter().enumerate() {
        for earlier in &routes[..index] {
            if earlier.name == route.name {
                notes.problem(
                    &format!("routes[{index}].name"),
                    None,
                    format!("\"{}\" is the name of an earlier route", route.name),
                );
            }
            let same_place = earlier.host == route.host && earlier.prefix == route.prefix && earlier.exact == route.exact;
            let same_method = earlier.methods.is_empty()
                || route.methods.is_empty()
                || earlier.methods.iter().any(|method| route.methods.contains(method));
            let both_or_neither_any = earlier.methods.is_empty() == route.methods.is_empty();
            if same_place && same_method && both_or_neither_any {
                let message = format!("matches the same requests as the earlier route \"{}\"", earlier.name);
                notes.problem(&format!("routes[{index}].prefix"), None, message);
            }
        }
    }
}
