//! `[[routes]]`: which requests go where, and what they demand of the caller.

use std::time::Duration;

use super::listen::Listen;
use super::parse::{self, Parsed};
use super::section::Section;
use super::setting::open_settings;
use super::upstreams::Upstream;
use crate::domain::headers::AuthorizationRule;
use crate::domain::route::{Access, RevocationCheck, Route, UpstreamIndex, WhenStale};
use crate::domain::share::Share;

/// The upstream that is meant where none is named.
pub const UPSTREAM_DEFAULT: &str = "default";

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
pub(super) fn read(s: &mut Section<'_>, upstreams: &[Upstream], listen: &Listen) -> Option<Route> {
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
    let (index, upstream) = match resolve(&upstream_name, upstreams) {
        Ok(found) => found,
        // Without any upstream the fault is noted once, for all.
        Err(message) => {
            if !upstreams.is_empty() {
                s.fault("upstream", message);
            }
            return None;
        }
    };
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

/// The upstream of that name; for an empty name the one called `default`, or the only one.
pub(super) fn resolve<'a>(name: &str, upstreams: &'a [Upstream]) -> Result<(UpstreamIndex, &'a Upstream), String> {
    let position = match (name, upstreams) {
        ("", [_]) => Some(0),
        ("", _) => upstreams.iter().position(|upstream| &*upstream.name == UPSTREAM_DEFAULT),
        (name, _) => upstreams.iter().position(|upstream| &*upstream.name == name),
    };
    if let Some(position) = position {
        return Ok((UpstreamIndex(position), &upstreams[position]));
    }
    let names: Vec<String> = upstreams.iter().map(|upstream| format!("\"{}\"", upstream.name)).collect();
    Err(format!("names no upstream that is there; allowed: {}", names.join(", ")))
}

/// `scope-token` of RFC 6749, section 3.3.
fn scope(value: &config::Value) -> Parsed<String> {
    let text = parse::filled_text(value)?;
    let is_scope = text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    if is_scope { Ok(text) } else { Err("allowed is one scope: visible ASCII without space, \" and \\".to_owned()) }
}
