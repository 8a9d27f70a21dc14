//! What a route does, in one line.

use std::fmt::Write as _;

use ipnet::IpNet;

use crate::config::Settings;
use crate::domain::demands::TokenDemands;
use crate::domain::route::{Access, Action, Forward, LimitBy, PrefixRule, Route};
use crate::domain::share::Share;

pub(super) fn line(route: &Route, settings: &Settings) -> String {
    let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
    let methods = if methods.is_empty() { String::new() } else { format!("{} ", methods.join(",")) };
    let below = match (route.exact, route.prefix.as_str()) {
        (true, _) => "",
        (false, "/") => "…",
        (false, _) => "/…",
    };
    let host = route.host.as_ref().map(ToString::to_string).unwrap_or_default();
    let (action, demand) = (action(route, settings), demand(route));
    format!("{methods}{host}{}{below} → {action} for {demand}{}{}", route.prefix, addresses(route), limit(route))
}

fn action(route: &Route, settings: &Settings) -> String {
    match &route.action {
        Action::Forward(forward) => forwarded(forward, settings),
        Action::Redirect(redirect) => format!("{} to {}", redirect.status.as_u16(), redirect.to),
        Action::Respond(response) => format!("{} with {} bytes", response.status.as_u16(), response.body.len()),
    }
}

fn forwarded(forward: &Forward, settings: &Settings) -> String {
    let targets = &settings.upstreams[forward.upstream].targets;
    let mut text = match &forward.prefix {
        PrefixRule::Keep => targets.to_string(),
        PrefixRule::Strip(_) => format!("{targets} without the prefix"),
        PrefixRule::Replace(other) => format!("{targets} with {other} for the prefix"),
    };
    for (edits, name) in [(&forward.request_fields, "request"), (&forward.response_fields, "response")] {
        if edits.is_some() {
            let _ = write!(text, ", {name} headers changed");
        }
    }
    text
}

fn demand(route: &Route) -> String {
    let demand = match &route.access {
        Access::Public => "anyone".to_owned(),
        Access::Optional => "anyone, or a valid token".to_owned(),
        Access::Token(demands) => token(demands),
    };
    match route.enforced {
        Share::ALL => demand,
        Share::NONE => format!("{demand}, observed"),
        share => format!("{demand}, enforced for {} %", share.percent()),
    }
}

fn token(demands: &TokenDemands) -> String {
    let scopes = Some(demands.scopes.join(" ")).filter(|scopes| !scopes.is_empty());
    let claims = demands.claims.iter().map(|demand| format!("{} = {}", demand.path.as_str(), demand.values.join("|")));
    let age = demands.login_age_max.map(|age| format!("a login within {age:?}"));
    let parts: Vec<String> = scopes.into_iter().chain(claims).chain(age).collect();
    if parts.is_empty() { "a valid token".to_owned() } else { format!("a valid token with {}", parts.join(", ")) }
}

fn addresses(route: &Route) -> String {
    let list = |nets: &[IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (allowed, denied) = (list(route.addresses.allowed()), list(route.addresses.denied()));
    let from = if allowed.is_empty() { String::new() } else { format!(", from {allowed}") };
    let not = if denied.is_empty() { String::new() } else { format!(", not from {denied}") };
    from + &not
}

fn limit(route: &Route) -> String {
    let Some(limit) = route.limit else { return String::new() };
    let each = match limit.by {
        LimitBy::Subject => "subject",
        LimitBy::Address => "address",
    };
    format!(", {} for each {each}", limit.rate)
}
