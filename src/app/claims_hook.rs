//! The claims hook that the settings name: an upstream, read by the rules of logins.

use std::sync::Arc;

use async_trait::async_trait;

use super::{StartError, data_plane};
use crate::config::{self, Settings};
use crate::domain::secret::Secret;
use crate::domain::session::Session;
use crate::domain::time::Clock;
use crate::endpoints::present_claims;
use crate::outbound::claims_client::{ClaimsAnswer, ClaimsClient, ClaimsClientOptions};
use crate::outbound::kept::Server;
use crate::sessions::claims_hook::{ClaimsHook, ClaimsSource, Present};

/// `None` when it is off.
///
/// # Errors
/// `ca_file` of its upstream cannot be used.
pub(super) fn hook(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Option<ClaimsHook>, StartError> {
    let Some(hook) = &settings.claims_hook else { return Ok(None) };
    let upstream = &settings.upstreams[hook.upstream];
    let options = data_plane::upstream(upstream, clock, None)?;
    let client = ClaimsClient::new(ClaimsClientOptions {
        server: Server {
            targets: options.backends.targets().collect(),
            connect_timeout: options.connect_timeout,
            idle_timeout: options.idle_timeout,
            idle_max: options.idle_max,
        },
        authority: upstream.targets.first().url.authority().clone(),
        path: format!("{}{}", upstream.targets.base_path(), hook.path),
        authorization: hook.token.as_ref().map(|token| Secret::new(format!("Bearer {}", token.expose()))),
        timeout: hook.timeout,
        answer_bytes_max: hook.answer_bytes_max,
    });
    let source = Arc::new(Upstream { client, login: settings.login.clone() });
    Ok(Some(ClaimsHook { source, without_claims: hook.on_failure }))
}

struct Upstream {
    client: ClaimsClient,
    /// Where answers hold scopes and claims.
    login: config::Login,
}

#[async_trait]
impl ClaimsSource for Upstream {
    async fn ask(&self, session: &Session) -> Present {
        match self.client.ask(session).await {
            Ok(ClaimsAnswer::Object(answer)) => Present::Known(present_claims(&answer, &self.login)),
            Ok(ClaimsAnswer::Gone) => Present::Gone,
            Err(cause) => Present::NoAnswer(cause),
        }
    }
}
