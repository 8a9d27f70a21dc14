//! `[endpoints]`, `[login]`: the gateway's own paths, and how an upstream's response becomes a session.

use std::time::Duration;

use http::StatusCode;

use super::condition::Condition;
use super::members::Members;
use super::parse::{self, Parsed};
use super::pointer::{self, Pointer};
use super::reading::{Form, Reading};
use super::section::Section;
use super::setting::{Setting, open_settings};
use super::upstreams::NamedUpstreams;
use crate::domain::access_claims::LOGIN_CLAIM;
use crate::domain::claims::{CLIENT_CLAIM, RESERVED_CLAIMS, is_mappable};
use crate::domain::login_kind::LoginKind;
use crate::domain::per_upstream::UpstreamIndex;
use crate::domain::route::EndpointPaths;
use crate::domain::session_policy::OldSession;
use crate::domain::share::Share;
use crate::domain::subjects::ReservedPrefixes;

/// The gateway's own endpoints.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// `introspect` is off also without clients that may ask, `metadata` also where the issuer is no URL, `session` also where no page
    /// has its token in a cookie.
    pub paths: EndpointPaths,
    /// The longest request body that an own endpoint reads.
    pub body_bytes_max: usize,
    /// Calls of one kind that may be in progress at once.
    pub calls_max: usize,
    /// How long a client waits for a call.
    pub call_timeout: Duration,
}

impl Endpoints {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let prefix = s.read("prefix", parse::or_off(parse::url_path())).filter(|prefix| prefix != "/").unwrap_or_default();
        let mut taken: Vec<(&'static str, String)> = Vec::new();
        let mut take = |s: &Section<'_>, key: &'static str, path: &str| {
            if let Some((other, _)) = taken.iter().find(|(_, other)| other.eq_ignore_ascii_case(path)) {
                s.fault(key, format!("\"{path}\" is the path of endpoints.{other} already"));
            }
            taken.push((key, path.to_owned()));
        };
        let mut paths = |key: &'static str| {
            let paths: Vec<String> =
                s.read(key, parse::list(login_path())).into_iter().map(|path| format!("{prefix}{path}")).collect();
            for path in &paths {
                take(s, key, path);
            }
            paths
        };
        let (login, register, quick_register) = (paths("login"), paths("register"), paths("quick_register"));
        let mut path = |key: &'static str, prefix: &str| {
            let path = s.read(key, parse::or_off(endpoint_path())).map(|path| format!("{prefix}{path}"))?;
            take(s, key, &path);
            Some(path)
        };
        let paths = EndpointPaths {
            login,
            register,
            quick_register,
            refresh: path("refresh", &prefix),
            logout: path("logout", &prefix),
            sessions: path("sessions", &prefix),
            session: path("session", &prefix),
            ticket: path("ticket", &prefix),
            token: path("token", &prefix),
            revoke: path("revoke", &prefix),
            introspect: path("introspect", &prefix),
            jwks: path("jwks", ""),
            metadata: path("metadata", ""),
            health: path("health", ""),
            ready: path("ready", ""),
        };
        Self {
            paths,
            body_bytes_max: s.read("body_bytes_max", parse::memory(1 << 10, 16 << 20)),
            calls_max: s.read("calls_max", parse::count(1, 1 << 20)),
            call_timeout: s.read("call_timeout", parse::duration(Duration::from_secs(1), Duration::from_mins(10))),
        }
    }

    /// Without those that no client could use: their paths then go to the routes.
    #[must_use]
    pub(super) fn usable(mut self, has_clients: bool, has_issuer_url: bool, has_cookies: bool) -> Self {
        self.paths.introspect.take_if(|_| !has_clients);
        self.paths.metadata.take_if(|_| !has_issuer_url);
        self.paths.session.take_if(|_| !has_cookies);
        self
    }
}

fn endpoint_path() -> Reading<String> {
    parse::url_path().then(|path| match path {
        root if root == "/" => Err("an own endpoint cannot be all of \"/\"".to_owned()),
        path => Ok(path),
    })
}

/// Requests are forwarded under the same path, so a trailing slash counts.
fn login_path() -> Reading<String> {
    let path = endpoint_path();
    Reading::new(path.form.clone(), move |value| {
        let path = path.of(value)?;
        let ends_in_a_slash = parse::text().of(value)?.ends_with('/');
        Ok(if ends_in_a_slash { path + "/" } else { path })
    })
}

open_settings!(OldSession);

/// How the upstream's response to a login, registration or quick registration becomes a session.
#[derive(Clone, Debug)]
pub struct Login {
    /// Which upstream checks the credentials. `None`: the settings do not say, and all three endpoints are off.
    pub upstream: Option<UpstreamIndex>,
    /// Statuses of responses that may become sessions. Never empty.
    pub statuses: Vec<StatusCode>,
    /// Calls whose responses may.
    pub issue_on: Vec<LoginKind>,
    /// Where the response names the user; the first that leads to any value decides. Never empty.
    pub subject: Vec<Pointer>,
    /// All of these must hold for the response …
    pub requires: Vec<Condition>,
    /// … and none of these.
    pub unless: Vec<Condition>,
    /// Where the response names scopes: a text with spaces, or a list of texts. All that are present are joined.
    pub scopes: Vec<Pointer>,
    /// Claims of the access token, by name, and where the response holds each.
    pub claims: Vec<(String, Pointer)>,
    pub response_bytes_max: usize,
    pub old_session: OldSession,
    /// The share of subjects whose logins become sessions; responses to all others pass unchanged.
    pub issue_share: Share,
    pub members: Members,
    /// What no subject of ours begins with: the prefixes of `[[issuers]]`.
    pub reserved: ReservedPrefixes,
}

const ISSUING: [(&str, LoginKind); 3] = {
    let [login, register, quick_register] = [LoginKind::Login, LoginKind::Register, LoginKind::QuickRegister];
    [(login.name(), login), (register.name(), register), (quick_register.name(), quick_register)]
};

/// Whether a claim of that name may be mapped into our tokens.
pub(super) fn mappable_claim(name: &str) -> Parsed<()> {
    if is_mappable(name) {
        return Ok(());
    }
    Err(format!("the gateway sets this claim itself; not allowed: {}, {CLIENT_CLAIM}, {LOGIN_CLAIM}", RESERVED_CLAIMS.join(", ")))
}

impl Login {
    pub(super) fn read(s: &mut Section<'_>, upstreams: &NamedUpstreams, endpoints: &Endpoints) -> Self {
        let name = s.read("upstream", parse::text());
        let upstream = match upstreams.resolve(&name) {
            Ok(index) => Some(index),
            // Without any upstream the fault is noted once, for all.
            Err(message) if endpoints.paths.asks_upstream() && !upstreams.is_empty() => {
                s.fault("upstream", message);
                None
            }
            Err(_) => None,
        };
        let requires = s.read("requires", parse::list(condition()));
        let unless = s.read("unless", parse::list(condition()));
        if let Some(both) = requires.iter().find(|condition| unless.contains(condition)) {
            s.fault("requires", format!("\"{}\" is among login.unless too: no response would become a session", both.as_str()));
        }
        Self {
            // Also while the endpoints are off: a reload may switch them on.
            upstream,
            statuses: s.read("statuses", filled(status())),
            issue_on: s.read("issue_on", parse::list(parse::choice(&ISSUING))),
            subject: s.read("subject", filled(pointer::pointer())),
            requires,
            unless,
            scopes: s.read("scopes", parse::list(pointer::pointer())),
            claims: s.map("claims", pointer::pointer(), |name, pointer| mappable_claim(name).map(|()| pointer)),
            response_bytes_max: s.read("response_bytes_max", parse::memory(1 << 10, 64 << 20)),
            old_session: s.read("old_session", parse::choice(&[("end", OldSession::End), ("keep", OldSession::Keep)])),
            issue_share: s.read("issue_share", parse::share()),
            members: s.section("members", Members::read),
            reserved: ReservedPrefixes::default(),
        }
    }
}

fn condition() -> Reading<Condition> {
    parse::filled_text().then(|text| text.parse())
}

/// Of a response with a complete body.
fn status() -> Reading<StatusCode> {
    let has_a_body = |status: StatusCode| if matches!(status.as_u16(), 204..=206) { Err(String::new()) } else { Ok(status) };
    let form = Form::Either(vec![Form::Integer { min: 200, max: 203 }, Form::Integer { min: 207, max: 299 }]);
    parse::status(200, 299)
        .then(has_a_body)
        .or_say(|| "allowed is a status from 200 to 299, but for 204 to 206, which have no whole body".to_owned())
        .written(form)
}

fn filled<T: Setting + 'static>(item: Reading<T>) -> Reading<Vec<T>> {
    parse::list(item).then(|items| if items.is_empty() { Err("must not be empty".to_owned()) } else { Ok(items) })
}
