//! What the operator decides about the endpoints, and how the settings say it.

use super::clients::Clients;
use super::grant_types::{CLIENT_CREDENTIALS, REFRESH_TOKEN, TOKEN_EXCHANGE};
use crate::bounded::Bounds;
use crate::config::{Limits, Login, Settings, Tickets};
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
    /// Whether tokens of somebody else become sessions at the token endpoint.
    pub exchanges: bool,
    /// Who may ask what a token is worth, or gets some for itself.
    pub clients: Clients,
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
    /// At the token endpoint.
    pub grant_types: Vec<&'static str>,
    pub token_auth_methods: Vec<&'static str>,
}

impl Metadata {
    /// Paths stand at the origin of the issuer, whatever path that has itself.
    fn of(settings: &Settings, clients: &Clients) -> Option<Self> {
        let origin = settings.tokens.origin.as_ref()?;
        let url = |path: &Option<String>| path.as_ref().map(|path| format!("{origin}{path}"));
        let endpoints = &settings.endpoints.paths;
        // `/refresh` takes refreshes in the same form, from whoever comes.
        let has_clients = endpoints.token.is_some() && !clients.are_none();
        let token_auth_methods = ["none", "client_secret_basic", "client_secret_post"];
        Some(Self {
            grant_types: [REFRESH_TOKEN]
                .into_iter()
                .chain(clients.have_machines().then_some(CLIENT_CREDENTIALS))
                .chain(settings.exchanges_tokens().then_some(TOKEN_EXCHANGE))
                .collect(),
            token_auth_methods: token_auth_methods[..if has_clients { 3 } else { 1 }].to_vec(),
            issuer: settings.tokens.issuer.clone(),
            token_endpoint: url(&endpoints.token).or_else(|| url(&endpoints.refresh)),
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
        let clients = Clients::of(settings);
        Self {
            login: settings.login.clone(),
            cookies: settings.cookies.clone(),
            limits: settings.limits.clone(),
            bounds: Bounds { calls_max: settings.endpoints.calls_max, timeout: settings.endpoints.call_timeout },
            accepts_legacy: !settings.legacy.is_empty(),
            exchanges: settings.exchanges_tokens(),
            metadata: Metadata::of(settings, &clients),
            clients,
            tickets: settings.tickets.clone(),
            problem_types: settings.errors.types.clone(),
        }
    }
}
