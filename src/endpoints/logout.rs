//! `/logout`: whoever holds a token of a session may end it.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;

use super::options::EndpointOptions;
use super::refusal::Refusal;
use super::{Inner, credentials, take_cookies};
use crate::domain::claims::Denial;
use crate::proxy::control::OwnRequest;
use crate::proxy::reply::{self, Reply};
use crate::sessions::{Credentials, LogoutScope, TokenText};

impl Inner {
    pub(super) async fn log_out(&self, request: &OwnRequest, options: &EndpointOptions) -> Result<Reply, Refusal> {
        let call = credentials::read(&request.head, &request.body, options)?;
        let scope = match call.scope.as_deref() {
            None | Some("session") => LogoutScope::Session,
            Some("others") => LogoutScope::Others,
            Some("all") => LogoutScope::All,
            Some(_) => return Err(Refusal::Malformed("The scope is one of session, others, all.")),
        };
        let principal = match &request.caller {
            Ok(principal) => Some(principal),
            Err(
                Denial::NoToken
                | Denial::Invalid(_)
                | Denial::KeyUnknown
                | Denial::KeyDisputed
                | Denial::Expired
                | Denial::Revoked(_)
                | Denial::InsufficientScope(_)
                | Denial::InsufficientClaims(_)
                | Denial::LoginTooOld(_),
            ) => None,
            // The refresh token speaks for the same client.
            Err(
                Denial::RevocationsStale | Denial::StoreUnavailable | Denial::IssuerKeysUnavailable(_) | Denial::CookieRepeated,
            ) if call.token.is_some() => None,
            Err(
                denial @ (Denial::Ambiguous(_)
                | Denial::CookieRepeated
                | Denial::OriginRefused
                | Denial::RevocationsStale
                | Denial::StoreUnavailable
                | Denial::IssuerKeysUnavailable(_)),
            ) => {
                return Err(denial.clone().into());
            }
        };
        let refresh_token = call.token.as_ref().map(|(token, _)| self.sessions.read(token.expose()));
        if refresh_token.as_ref().is_some_and(TokenText::needs_look_up) {
            self.limits.admit_lookup_from(request.address).map_err(Refusal::RateLimited)?;
        }
        let expired = request.expired.as_deref();
        let credentials = Credentials { refresh_token: refresh_token.as_ref(), principal: principal.map(Arc::as_ref), expired };
        let ended = self.sessions.log_out(credentials, scope).await?;
        if matches!(request.caller, Err(Denial::Revoked(_))) {
            self.sessions.settle().await?;
        }
        let mut reply = reply::json(StatusCode::OK, &json!({"ended": ended}));
        if scope != LogoutScope::Others {
            take_cookies(&mut reply, &request.head, options);
        }
        Ok(reply)
    }
}
