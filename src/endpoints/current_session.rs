//! `/session`: who is logged in, for a page that shows it.

use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};

use super::devices::rfc3339;
use super::refusal::Refusal;
use crate::domain::claims::{Denial, Principal};
use crate::domain::ids::{SessionId, Subject};
use crate::proxy::control::OwnRequest;
use crate::proxy::reply::{self, Reply};

pub(super) fn reply(request: &OwnRequest) -> Result<Reply, Refusal> {
    let principal = request.caller.as_ref().map_err(Denial::clone)?;
    Ok(reply::json(StatusCode::OK, &CurrentSession::of(principal)))
}

/// What the caller's token says, without the token: a page cannot read that in a cookie.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CurrentSession<'a> {
    subject: &'a Subject,
    /// None of a token of another issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    scopes: &'a [String],
    claims: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logged_in_at: Option<String>,
    /// Of the access token: the session goes on as long as it is refreshed.
    expires_at: String,
}

impl<'a> CurrentSession<'a> {
    fn of(principal: &'a Principal) -> Self {
        Self {
            subject: &principal.subject,
            session: principal.session,
            scopes: &principal.scopes,
            claims: &principal.claims,
            logged_in_at: principal.logged_in_at.map(rfc3339),
            expires_at: rfc3339(principal.expires_at),
        }
    }
}
