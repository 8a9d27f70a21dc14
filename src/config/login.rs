//! `[endpoints]`, `[login]`: the gateway's own paths, and how an upstream's answer becomes a session.

use super::members::Members;
use super::parse::{self, Pointer};
use super::routes::resolve;
use super::section::{Parsed, Section};
use super::upstreams::Upstream;
use crate::domain::route::{EndpointPaths, UpstreamIndex};
use crate::domain::share::Share;

/// The full path of each own endpoint, prefix included; `None`: off.
#[derive(Clone, Debug)]
pub struct Endpoints {
    pub login: Option<String>,
    pub register: Option<String>,
    pub quick_register: Option<String>,
    pub refresh: Option<String>,
    pub logout: Option<String>,
    /// The list; one session is `{sessions}/{id}`.
    pub sessions: Option<String>,
    pub revoke: Option<String>,
    /// `None` also without clients that may ask.
    pub introspect: Option<String>,
    pub jwks: Option<String>,
    /// `None` also where the issuer is no URL.
    pub metadata: Option<String>,
    pub health: Option<String>,
    pub ready: Option<String>,
    /// The longest request body that an own endpoint reads.
    pub body_bytes_max: usize,
}

impl Endpoints {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let prefix = s.read("prefix", parse::or_off(parse::url_path)).filter(|prefix| prefix != "/").unwrap_or_default();
        let mut taken: Vec<(&'static str, String)> = Vec::new();
        let mut path = |key: &'static str, prefix: &str| {
            let path = s.read(key, parse::or_off(endpoint_path)).map(|path| format!("{prefix}{path}"))?;
            if let Some((other, _)) = taken.iter().find(|(_, other)| other.eq_ignore_ascii_case(&path)) {
                s.fault(key, format!("is the path of endpoints.{other} already"));
            }
            taken.push((key, path.clone()));
            Some(path)
        };
        Self {
            login: path("login", &prefix),
            register: path("register", &prefix),
            quick_register: path("quick_register", &prefix),
            refresh: path("refresh", &prefix),
            logout: path("logout", &prefix),
            sessions: path("sessions", &prefix),
            revoke: path("revoke", &prefix),
            introspect: path("introspect", &prefix),
            jwks: path("jwks", ""),
            metadata: path("metadata", ""),
            health: path("health", ""),
            ready: path("ready", ""),
            body_bytes_max: s.read("body_bytes_max", parse::memory(1 << 10, 16 << 20)),
        }
    }

    /// Without those that nobody could use: their paths then go to the routes.
    #[must_use]
    pub(super) fn usable(self, has_clients: bool, has_issuer_url: bool) -> Self {
        Self { introspect: self.introspect.filter(|_| has_clients), metadata: self.metadata.filter(|_| has_issuer_url), ..self }
    }

    /// As the route table takes them.
    pub fn paths(&self) -> EndpointPaths {
        EndpointPaths {
            login: self.login.clone(),
            register: self.register.clone(),
            quick_register: self.quick_register.clone(),
            refresh: self.refresh.clone(),
            logout: self.logout.clone(),
            sessions: self.sessions.clone(),
            revoke: self.revoke.clone(),
            introspect: self.introspect.clone(),
            jwks: self.jwks.clone(),
            metadata: self.metadata.clone(),
            health: self.health.clone(),
            ready: self.ready.clone(),
        }
    }

    /// Every path, by its key in the settings.
    pub(super) fn by_key(&self) -> [(&'static str, Option<&str>); 12] {
        [
            ("login", self.login.as_deref()),
            ("register", self.register.as_deref()),
            ("quick_register", self.quick_register.as_deref()),
            ("refresh", self.refresh.as_deref()),
            ("logout", self.logout.as_deref()),
            ("sessions", self.sessions.as_deref()),
            ("revoke", self.revoke.as_deref()),
            ("introspect", self.introspect.as_deref()),
            ("jwks", self.jwks.as_deref()),
            ("metadata", self.metadata.as_deref()),
            ("health", self.health.as_deref()),
            ("ready", self.ready.as_deref()),
        ]
    }

    /// Whether any endpoint is on that the upstream answers first.
    pub fn asks_upstream(&self) -> bool {
        self.login.is_some() || self.register.is_some() || self.quick_register.is_some()
    }
}

fn endpoint_path(value: &config::Value) -> Parsed<String> {
    match parse::url_path(value)? {
        root if root == "/" => Err("an own endpoint cannot be all of \"/\"".to_owned()),
        path => Ok(path),
    }
}

/// How the upstream's answer to a login, registration or quick registration becomes a session.
#[derive(Clone, Debug)]
pub struct Login {
    /// Who judges the credentials. `None` when all three endpoints are off.
    pub upstream: Option<UpstreamIndex>,
    /// Where the answer names the user; the first that holds a string or an integer counts.
    pub subject: Vec<Pointer>,
    /// Where the answer names scopes: a text with spaces, or a list of texts; all that are there are taken together.
    pub scopes: Vec<Pointer>,
    /// Claims of the access token, by name, and where the answer holds each.
    pub claims: Vec<(String, Pointer)>,
    pub answer_bytes_max: usize,
    pub old_session: OldSession,
    /// Of whom logins are made into sessions; the answers to all others pass unchanged.
    pub issue_share: Share,
    pub members: Members,
}

/// What becomes of the session whose refresh token came along with a login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OldSession {
    End,
    Keep,
}

/// Claims that the gateway sets itself.
const CLAIMS_OWN: [&str; 11] = ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid", "gen", "scope", "client_id"];

/// Whether a claim of that name may be mapped into our tokens.
pub(super) fn claim_of_ours(name: &str) -> Parsed<()> {
    if CLAIMS_OWN.contains(&name) {
        return Err(format!("the gateway sets this claim itself; not allowed: {}", CLAIMS_OWN.join(", ")));
    }
    Ok(())
}

impl Login {
    pub(super) fn read(s: &mut Section<'_>, upstreams: &[Upstream], endpoints: &Endpoints) -> Self {
        let name = s.read("upstream", parse::text);
        let upstream = match resolve(&name, upstreams) {
            Ok((index, _)) => Some(index),
            // Without any upstream the fault is noted once, for all.
            Err(message) if endpoints.asks_upstream() && !upstreams.is_empty() => {
                s.fault("upstream", message);
                None
            }
            Err(_) => None,
        };
        Self {
            upstream: upstream.filter(|_| endpoints.asks_upstream()),
            subject: s.read("subject", filled(parse::pointer)),
            scopes: s.read("scopes", parse::list(parse::pointer)),
            claims: s.map("claims", |name, value| {
                claim_of_ours(name)?;
                parse::pointer(value)
            }),
            answer_bytes_max: s.read("answer_bytes_max", parse::memory(1 << 10, 64 << 20)),
            old_session: s.read("old_session", parse::choice(&[("end", OldSession::End), ("keep", OldSession::Keep)])),
            issue_share: s.read("issue_share", parse::share),
            members: s.section("members", Members::read),
        }
    }
}

fn filled<T>(item: impl Fn(&config::Value) -> Parsed<T>) -> impl Fn(&config::Value) -> Parsed<Vec<T>> {
    let list = parse::list(item);
    move |value| list(value).and_then(|items| if items.is_empty() { Err("must not be empty".to_owned()) } else { Ok(items) })
}
