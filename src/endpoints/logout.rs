//! `/logout`: whoever holds a token of a session may end it.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, StatusCode};
use serde_json::json;

use super::options::EndpointOptions;
use super::refusal::Refusal;
use super::{Inner, credentials, origin, take_cookies};
use crate::domain::claims::Denial;
use crate::domain::navigation;
use crate::proxy::control::OwnRequest;
use crate::proxy::reply::{self, Reply};
use crate::sessions::{Credentials, LogoutScope, TokenText};

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

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
                | Denial::TicketInvalid
                | Denial::KeyUnknown
                | Denial::KeyDisputed
                | Denial::Expired
                | Denial::Revoked(_)
                | Denial::SessionOver
                | Denial::InsufficientScope(_)
                | Denial::InsufficientClaims(_)
                | Denial::LoginTooOld(_),
            ) => None,
            // The refresh token speaks for the same client.
            Err(
                Denial::RevocationsStale
                | Denial::StoreUnavailable
                | Denial::Undecided(_)
                | Denial::RefreshLimited(_)
                | Denial::IssuerKeysUnavailable(_)
                | Denial::CookieRepeated,
            ) if call.token.is_some() => None,
            Err(
                denial @ (Denial::Ambiguous(_)
                | Denial::TicketMisused(_)
                | Denial::Undecided(_)
                | Denial::CookieRepeated
                | Denial::OriginRefused
                | Denial::RevocationsStale
                | Denial::StoreUnavailable
                | Denial::RefreshLimited(_)
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
        let mut reply = reply_to(request, options, ended);
        if scope != LogoutScope::Others {
            take_cookies(&mut reply, &request.head, options);
            clear_site(&mut reply, &request.head, options);
        }
        Ok(reply)
    }
}

/// JSON, or another page where a browser shows what it gets.
fn reply_to(request: &OwnRequest, options: &EndpointOptions, ended: u64) -> Reply {
    let page = options.cookies.as_ref().and_then(|cookies| cookies.signed_out.as_ref());
    match page.filter(|_| navigation::shows_a_page(&request.head.headers)) {
        Some(page) => reply::see_other(page.clone()),
        None => reply::json(StatusCode::OK, &json!({"ended": ended})),
    }
}

/// Has the browser clear what it keeps of the host, as the operator chose, unless another site may have made it call.
fn clear_site(reply: &mut Reply, head: &Parts, options: &EndpointOptions) {
    let Some(cookies) = &options.cookies else { return };
    if let Some(value) = &cookies.clear_site_data
        && origin::believe_cookie(head, &cookies.origins).is_ok()
    {
        reply.headers_mut().insert(CLEAR_SITE_DATA, value.clone());
    }
}
