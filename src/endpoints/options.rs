//! What the operator decides about the endpoints, and how the settings say it.

use crate::config::{self, Cookies, Limits, Login, OldSession, Reuse, Settings};
use crate::crypto::client_secret::ClientSecret;
use crate::domain::cookies::{ATTRIBUTE_BYTES_MAX, HOST_PREFIX, OwnCookies, Slot};
use crate::domain::cors::Cors;
use crate::domain::legacy::LegacyLives;
use crate::domain::origin::CookieOrigins;
use crate::sessions::{ReusePolicy, SessionPolicy};

/// A reload swaps it as a whole.
#[derive(Clone, Debug)]
pub struct EndpointOptions {
    pub login: Login,
    /// `None`: tokens travel in bodies and the Authorization field alone.
    pub cookies: Option<CookieMode>,
    pub cors: Option<Cors>,
    pub limits: Limits,
    /// Whether there are old tokens, which clients may send under an old name.
    pub accepts_legacy: bool,
    /// Machines that may ask what a token is worth.
    pub clients: Vec<(String, ClientSecret)>,
    /// `None`: our issuer is no URL, so that there is nothing to find.
    pub metadata: Option<Metadata>,
}

/// How tokens travel in cookies.
#[derive(Clone, Debug)]
pub struct CookieMode {
    pub own: OwnCookies,
    /// Whether answers carry the tokens in their body as well.
    pub tokens_in_body: bool,
    /// Whose calls count that change something.
    pub origins: CookieOrigins,
}

impl CookieMode {
    /// `None`: off.
    #[must_use]
    pub fn of(settings: &Settings) -> Option<Self> {
        let Cookies { access_name, refresh_name, same_site, secure, domain, path, tokens_in_body, origins, former } =
            settings.cookies.clone()?;
        let refresh_path = refresh_cookie_path(&refresh_name, &settings.endpoints);
        let access = Slot { name: access_name, domain: domain.clone(), path };
        let refresh = Slot { name: refresh_name, domain, path: refresh_path };
        Some(Self { own: OwnCookies::new(access, refresh, &former, same_site.name(), secure), tokens_in_body, origins })
    }
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
        let origin = settings.tokens.origin()?;
        let url = |path: &Option<String>| path.as_ref().map(|path| format!("{origin}{path}"));
        let endpoints = &settings.endpoints;
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
    /// Whether the answer to a login carries the tokens itself.
    pub(super) fn tokens_in_login_body(&self) -> bool {
        self.cookies.as_ref().is_none_or(|cookies| cookies.tokens_in_body)
    }
}

impl From<&Settings> for EndpointOptions {
    fn from(settings: &Settings) -> Self {
        Self {
            login: settings.login.clone(),
            cookies: CookieMode::of(settings),
            cors: settings.cors.clone(),
            limits: settings.limits.clone(),
            accepts_legacy: !settings.legacy.is_empty(),
            clients: settings.clients.iter().map(|c| (c.id.clone(), ClientSecret::new(c.secret.expose()))).collect(),
            metadata: Metadata::of(settings),
        }
    }
}

/// The rules that the settings give for sessions.
#[must_use]
pub fn session_policy(settings: &Settings) -> SessionPolicy {
    SessionPolicy {
        access_lifetime: settings.tokens.lifetime,
        clock_leeway: settings.tokens.leeway,
        access_token_bytes_max: access_token_bytes_max(settings),
        retention: settings.revocation.retention,
        idle_lifetime: settings.refresh.idle_lifetime,
        absolute_lifetime: settings.refresh.absolute_lifetime,
        sessions_max: Some(settings.sessions.per_subject_max).filter(|max| *max > 0),
        rotation_leeway: settings.refresh.leeway,
        rotation: settings.refresh.rotation,
        reuse: match settings.refresh.reuse {
            Reuse::Revoke => ReusePolicy::Revoke,
            Reuse::Refuse => ReusePolicy::Refuse,
        },
        max_staleness: settings.revocation.max_staleness,
        legacy: settings
            .legacy
            .iter()
            .fold(LegacyLives::default(), |lives, legacy| lives.with(legacy.accepted_until, legacy.lifetime_max)),
        end_old_session: match settings.login.old_session {
            OldSession::End => true,
            OldSession::Keep => false,
        },
        imported_until: settings.refresh.imported_until,
        reserved: settings.reserved_prefixes(),
    }
}

/// What heads can hold, and where tokens go into cookies, what those can hold.
fn access_token_bytes_max(settings: &Settings) -> usize {
    let in_cookies = CookieMode::of(settings).map(|cookies| cookies.own.access_bytes_max());
    in_cookies.unwrap_or(usize::MAX).min(settings.tokens.bytes_max)
}

/// Where browsers send the refresh cookie: no further than the endpoints that read it. The longest path that lies above all of them; a
/// `__Host-` name demands `/`.
fn refresh_cookie_path(refresh_name: &str, endpoints: &config::Endpoints) -> String {
    let logins = [&endpoints.login, &endpoints.register, &endpoints.quick_register].into_iter().flatten();
    let readers = [&endpoints.refresh, &endpoints.logout].into_iter().flatten().chain(logins);
    let readers: Vec<Vec<&str>> = readers.map(|path| path.split('/').skip(1).collect()).collect();
    let Some((first, others)) = readers.split_first().filter(|_| !refresh_name.starts_with(HOST_PREFIX)) else {
        return "/".to_owned();
    };
    let shared =
        first.iter().enumerate().take_while(|(i, segment)| others.iter().all(|other| other.get(*i) == Some(*segment))).count();
    Some(format!("/{}", first[..shared].join("/")))
        .filter(|path| path.len() <= ATTRIBUTE_BYTES_MAX)
        .unwrap_or_else(|| "/".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(refresh_name: &str, prefix: &str) -> String {
        let settings = Settings::from_toml(&format!(
            "upstreams.default.url = 'http://127.0.0.1:1'\nendpoints.prefix = '{prefix}'\n\
             cookies = {{ enabled = true, access_name = 'a', refresh_name = '{refresh_name}' }}"
        ));
        let field = CookieMode::of(&settings.unwrap()).unwrap().own.refresh("t", 1).unwrap();
        let path = field.to_str().unwrap().split("; ").find_map(|attribute| attribute.strip_prefix("Path="));
        path.unwrap().to_owned()
    }

    #[test]
    fn the_refresh_cookie_goes_no_further_than_its_readers() {
        assert_eq!(path_of("__Secure-refresh", "/auth/v1"), "/auth/v1");
        assert_eq!(path_of("__Secure-refresh", ""), "/");
        assert_eq!(path_of("__Host-refresh", "/auth"), "/", "the name demands it");
    }
}
