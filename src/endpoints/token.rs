//! The token endpoint (RFC 6749, section 3.2): which grant is asked for, and by whom. What comes of it is decided where it always is.

use http::Uri;

use super::clients::Caller;
use super::form::{self, Form};
use super::grant_types::{CLIENT_CREDENTIALS, REFRESH_TOKEN, TOKEN_EXCHANGE};
use super::options::EndpointOptions;
use super::refusal::Refusal;
use super::{Inner, login, tokens};
use crate::domain::machine::Excess;
use crate::proxy::control::OwnRequest;
use crate::proxy::reply::Reply;

/// What is read from the body alone: in a target, histories and logs would have it.
const KEPT_OUT_OF_QUERIES: [&str; 7] =
    ["grant_type", "client_id", "client_secret", "refresh_token", "scope", "subject_token", "actor_token"];

impl Inner {
    pub(super) async fn token(&self, request: &OwnRequest, options: &EndpointOptions) -> Result<Reply, Refusal> {
        refuse_in_query(&request.head.uri)?;
        let form = form::of_request(&request.head, &request.body)?;
        match form.text("grant_type") {
            Some(REFRESH_TOKEN) => {
                self.limits.admit_refresh_from(request.address).map_err(Refusal::RateLimited)?;
                // Not needed; what comes must be right.
                options.clients.authenticate(&request.head.headers, &form)?;
                self.refresh_admitted(request, options).await
            }
            Some(TOKEN_EXCHANGE) if options.exchanges => self.exchange_token(request, &form, options).await,
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
        let mut targets = form.targets();
        let (target, None) = (targets.next(), targets.next()) else {
            return Err(Refusal::Malformed("Send one audience or resource."));
        };
        let grant = grant.narrowed(form.text("scope"), target).map_err(|excess| match excess {
            Excess::Scope => Refusal::ScopeNotGranted,
            Excess::Audience => Refusal::TargetInvalid,
        })?;
        let token = self.sessions.issue_to_machine(&grant, &login::client_of(&request.head, request.address))?;
        Ok(tokens::oauth_response(&token))
    }
}

fn refuse_in_query(uri: &Uri) -> Result<(), Refusal> {
    let mut named = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    if named.any(|(name, _)| KEPT_OUT_OF_QUERIES.contains(&&*name)) {
        return Err(Refusal::Malformed("Parameters belong into the body."));
    }
    Ok(())
}
