//! What the operator decides about the endpoints, and how the settings say it.

use crate::bounded::Bounds;
use crate::config::{Limits, Login, Settings, Tickets};
use crate::crypto::client_secret::ClientSecret;
use crate::domain::cookies::CookieMode;
use crate::domain::problem_code::ProblemTypes;

/// Part of one set of settings.
#[derive(Clone, Debug)]
pub struct EndpointOptions {
    pub login: Login,
    /// `None`: tokens travel in bodies and the Authorization field alone.
    pub cookies: Option<CookieMode>,
    pub limits: Limits,
    /// Of the calls of each kind.
    pub bounds: Bounds,
    /// Whether there are legacy tokens, which clients may send under an old name.
    pub accepts_legacy: bool,
    /// Machines that may ask what a token is worth.
    pub clients: Vec<(String, ClientSecret)>,
    pub tickets: Tickets,
    /// `None`: our issuer is no URL, so that there is nothing to find.
    pub metadata: Option<Metadata>,
    /// Of all refusals.
    pub problem_types: ProblemTypes,
}

/// Where everything is, for clients that ask (RFC 8414): absolute URLs; `None` for what is off.
#[derive(Clone, Debug)]
pub struct Metadata {
    pub issuer: String,
    pub token_endpoint: Option<String>,
    pub jwks_uri: Option<String>,
    pub revocation_endpoint: Option<String>,
    pub introspection_endpoint: Option<String>,
}

impl Metadata {
    /// Paths stand at the origin of the issuer, whatever path that has itself.
    fn of(settings: &Settings) -> Option<Self> {
        let origin = settings.tokens.origin.as_ref()?;
        let url = |path: &Option<String>| path.as_ref().map(|path| format!("{origin}{path}"));
        let endpoints = &settings.endpoints.paths;
        Some(Self {
            issuer: settings.tokens.issuer.clone(),
            token_endpoint: url(&endpoints.refresh),
            jwks_uri: url(&endpoints.jwks),
            revocation_endpoint: url(&endpoints.revoke),
            introspection_endpoint: url(&endpoints.introspect),
        })
    }
}

impl EndpointOptions {
    /// Whether the response to a login carries the tokens itself.
    pub(super) fn tokens_in_login_body(&self) -> bool {
        self.cookies.as_ref().is_none_or(|cookies| cookies.tokens_in_body)
    }
}

impl From<&Settings> for EndpointOptions {
    fn from(settings: &Settings) -> Self {
        Self {
            login: settings.login.clone(),
            cookies: settings.cookies.clone(),
            limits: settings.limits.clone(),
            bounds: Bounds { calls_max: settings.endpoints.calls_max, timeout: settings.endpoints.call_timeout },
            accepts_legacy: !settings.legacy.is_empty(),
            clients: settings.clients.iter().map(|c| (c.id.clone(), ClientSecret::new(c.secret.expose()))).collect(),
            tickets: settings.tickets.clone(),
            metadata: Metadata::of(settings),
            problem_types: settings.errors.types.clone(),
        }
    }
}
