//! The token endpoint (RFC 6749, section 3.2): which grant is asked for, and by whom. What comes of it is decided where it always is.

use http::StatusCode;
use http::header::PRAGMA;
use http::{HeaderValue, Uri};
use serde::Serialize;

use super::clients::Caller;
use super::form::{self, Form};
use super::grant_types::{CLIENT_CREDENTIALS, REFRESH_TOKEN};
use super::options::EndpointOptions;
use super::refusal::Refusal;
use super::tokens::TOKEN_TYPE;
use super::{Inner, login};
use crate::domain::machine::Excess;
use crate::proxy::control::OwnRequest;
use crate::proxy::reply::{self, Reply};
use crate::sessions::MachineToken;

/// What is read from the body alone: in a target, histories and logs would have it.
const KEPT_OUT_OF_QUERIES: [&str; 5] = ["grant_type", "client_id", "client_secret", "refresh_token", "scope"];

impl Inner {
    pub(super) async fn token(&self, request: &OwnRequest, options: &EndpointOptions) -> Result<Reply, Refusal> {
        refuse_in_query(&request.head.uri)?;
        let form = form::of_request(&request.head, &request.body)?;
        match form.text("grant_type") {
            Some(REFRESH_TOKEN) => {
                options.clients.authenticate(&request.head.headers, &form)?;
                self.refresh(request, options).await
            }
            Some(CLIENT_CREDENTIALS) if options.clients.have_machines() => self.client_credentials(request, &form, options),
            Some(_) => Err(Refusal::UnsupportedGrantType),
            None => Err(Refusal::Malformed("The parameter grant_type is missing.")),
        }
    }

    /// RFC 6749, section 4.4.
    fn client_credentials(&self, request: &OwnRequest, form: &Form<'_>, options: &EndpointOptions) -> Result<Reply, Refusal> {
        self.limits.admit_client_from(request.address).map_err(Refusal::RateLimited)?;
        let client = match options.clients.authenticate(&request.head.headers, form)? {
            Caller::Confidential(client) => client,
            Caller::Public => return Err(Refusal::ClientInvalid),
        };
        let grant = client.machine.as_ref().ok_or(Refusal::ClientUnauthorized)?;
        self.limits.admit_client(&grant.id).map_err(Refusal::RateLimited)?;
        let target = match (form.text("resource"), form.text("audience")) {
            (Some(_), Some(_)) => return Err(Refusal::Malformed("Send one of resource and audience.")),
            (target, None) | (None, target) => target,
        };
        let grant = grant.narrowed(form.text("scope"), target).map_err(|excess| match excess {
            Excess::Scope => Refusal::ScopeNotGranted,
            Excess::Audience => Refusal::TargetInvalid,
        })?;
        let token = self.sessions.issue_to_machine(&grant, &login::client_of(&request.head, request.address))?;
        Ok(machine_response(&token))
    }
}

fn refuse_in_query(uri: &Uri) -> Result<(), Refusal> {
    let mut named = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    if named.any(|(name, _)| KEPT_OUT_OF_QUERIES.contains(&&*name)) {
        return Err(Refusal::Malformed("Parameters belong into the body."));
    }
    Ok(())
}

/// RFC 6749, section 4.4.3.
#[derive(Serialize)]
struct MachineResponse<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

fn machine_response(token: &MachineToken) -> Reply {
    let mut reply = reply::json(
        StatusCode::OK,
        &MachineResponse {
            access_token: token.access_token.expose(),
            token_type: TOKEN_TYPE,
            expires_in: token.expires_in.as_secs(),
            scope: Some(token.scopes.join(" ")).filter(|scope| !scope.is_empty()),
        },
    );
    reply.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    reply
}
