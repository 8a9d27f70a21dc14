//! The claims hook that the settings name: an upstream, read by the rules of logins.

use std::sync::Arc;

use async_trait::async_trait;

use crate::config::{self, Settings};
use crate::domain::per_upstream::PerUpstream;
use crate::domain::secret::Secret;
use crate::domain::session::Session;
use crate::endpoints::present_claims;
use crate::outbound::claims_client::{ClaimsClient, ClaimsClientOptions, ClaimsResponse};
use crate::outbound::kept::Server;
use crate::proxy::upstream::UpstreamOptions;
use crate::sessions::claims_hook::{ClaimsHook, ClaimsSource, Present};

/// `None` when it is off. `upstreams` are those of the data plane, by the same settings.
pub(super) fn hook(settings: &Settings, upstreams: &PerUpstream<UpstreamOptions>) -> Option<ClaimsHook> {
    let hook = settings.claims_hook.as_ref()?;
    let upstream = &settings.upstreams[hook.upstream];
    let options = upstreams.get(hook.upstream).expect("an index of these settings");
    let client = ClaimsClient::new(ClaimsClientOptions {
        server: Server {
            backends: Arc::clone(&options.backends),
            connect_timeout: options.connect_timeout,
            idle_timeout: options.idle_timeout,
            idle_max: options.idle_max,
        },
        authority: upstream.targets.first().url.authority().clone(),
        path: format!("{}{}", upstream.targets.base_path(), hook.path),
        authorization: hook.token.as_ref().map(|token| Secret::new(format!("Bearer {}", token.expose()))),
        timeout: hook.timeout,
        response_bytes_max: hook.response_bytes_max,
    });
    let source = Arc::new(Upstream { client, login: settings.login.clone() });
    Some(ClaimsHook { source, without_claims: hook.on_failure })
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
            Ok(ClaimsResponse::Object(response)) => Present::Known(present_claims(&response, &self.login)),
            Ok(ClaimsResponse::Gone) => Present::Gone,
            Err(cause) => Present::NoResponse(cause),
        }
    }
}
