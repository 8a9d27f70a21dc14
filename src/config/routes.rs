//! `[[routes]]`: which requests go to which upstream, and what they demand of the caller.

use std::sync::Arc;
use std::time::Duration;

use super::listen::Listen;
use super::notes::Notes;
use super::parse::{self, Parsed};
use super::section::Section;
use super::setting::open_settings;
use super::upstreams::NamedUpstreams;
use crate::domain::headers::AuthorizationRule;
use crate::domain::route::{Access, EndpointPaths, RevocationCheck, Route, RouteError, RouteTable, WhenStale};
use crate::domain::share::Share;

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

#[derive(Clone, Copy, Debug)]
enum AccessKind {
    Optional,
    Token,
    Public,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Enforce,
    Observe,
}

open_settings!(AccessKind, Mode, AuthorizationRule, RevocationCheck, WhenStale);

/// `None` when the route names no upstream that exists, after that was noted.
pub(super) fn read(s: &mut Section<'_>, upstreams: &NamedUpstreams, listen: &Listen) -> Option<Route> {
    let name = s.require("name", parse::filled_text);
    let prefix = s.read("prefix", parse::url_path);
    let exact = s.read("exact", parse::flag);
    let host = s.optional("host", parse::host_pattern);
    let methods = s.read("methods", parse::list(parse::method));
    let upstream_name = s.read("upstream", parse::text);
    let access = s.read(
        "access",
        parse::choice(&[("token", AccessKind::Token), ("optional", AccessKind::Optional), ("public", AccessKind::Public)]),
    );
    let scopes = s.read("scopes", parse::list(scope));
    let audiences = s.read("audiences", parse::list(parse::filled_text));
    let when_stale = s.read("when_stale", parse::choice(&[("reject", WhenStale::Reject), ("serve", WhenStale::Serve)]));
    let revocation =
        s.read("revocation", parse::choice(&[("replica", RevocationCheck::Replica), ("strict", RevocationCheck::Strict)]));
    let mode = s.read("mode", parse::choice(&[("enforce", Mode::Enforce), ("observe", Mode::Observe)]));
    let enforce_share = s.read("enforce_share", parse::share);
    let authorization = s.read(
        "authorization",
        parse::choice(&[
            ("remove_ours", AuthorizationRule::RemoveOurs),
            ("pass", AuthorizationRule::Pass),
            ("remove", AuthorizationRule::Remove),
        ]),
    );
    let body_bytes_max = s.read("body_bytes_max", parse::size(0, 1 << 40));
    let body_rate_min = s.optional("body_rate_min", parse::byte_rate);
    let idle_timeout = s.optional("idle_timeout", parse::duration(Duration::from_millis(100), Duration::from_hours(24)));
    let response_timeout = s.optional("response_timeout", parse::duration(Duration::from_millis(10), Duration::from_hours(1)));

    let demands = !scopes.is_empty() || !audiences.is_empty();
    if demands && !matches!(access, AccessKind::Token) {
        let key = if scopes.is_empty() { "audiences" } else { "scopes" };
        s.fault(key, "has no meaning for a route that is public or optional; allowed with access = \"token\" alone");
    }
    if matches!(access, AccessKind::Public) && (matches!(mode, Mode::Observe) || !enforce_share.is_all()) {
        let key = if matches!(mode, Mode::Observe) { "mode" } else { "enforce_share" };
        s.fault(key, "has no meaning for a public route: it refuses nobody");
    }
    let index = match upstreams.resolve(&upstream_name) {
        Ok(found) => found,
        // Without any upstream the fault is noted once, for all.
        Err(message) => {
            if !upstreams.is_empty() {
                s.fault("upstream", message);
            }
            return None;
        }
    };
    let upstream = upstreams.at(index)?;
    Some(Route {
        name: name?.into(),
        host,
        prefix,
        exact,
        methods,
        upstream: index,
        access: match access {
            AccessKind::Public => Access::Public,
            AccessKind::Optional => Access::Optional,
            AccessKind::Token => Access::Token { audiences: audiences.into(), scopes: scopes.into() },
        },
        when_stale,
        revocation,
        enforced: match mode {
            Mode::Enforce => enforce_share,
            Mode::Observe => Share::NONE,
        },
        authorization,
        body_bytes_max,
        body_rate_min: body_rate_min.unwrap_or(listen.body_rate_min),
        response_timeout: response_timeout.unwrap_or(upstream.response_timeout),
        idle_timeout: idle_timeout.unwrap_or(upstream.body_idle_timeout),
    })
}

/// `scope-token` of RFC 6749, section 3.3.
fn scope(value: &config::Value) -> Parsed<String> {
    let text = parse::filled_text(value)?;
    let is_scope = text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    if is_scope { Ok(text) } else { Err("allowed is one scope: visible ASCII without space, \" and \\".to_owned()) }
}

/// The table of routes that were read one by one. After a fault was noted, an empty one.
pub(super) fn table(endpoints: &EndpointPaths, answers_preflights: bool, routes: Vec<Route>, notes: &Notes) -> Routes {
    are_distinct(&routes, notes);
    let names: Vec<Arc<str>> = routes.iter().map(|route| Arc::clone(&route.name)).collect();
    Routes::new(endpoints.clone(), answers_preflights, routes).unwrap_or_else(|errors| {
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
    })
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
