//! `/ticket`: a value that opens one WebSocket or event stream, for clients that cannot send header fields there.

use http::StatusCode;
use serde_json::json;

use super::Inner;
use super::json_object::JsonObject;
use super::options::EndpointOptions;
use super::refusal::Refusal;
use crate::domain::claims::Denial;
use crate::domain::path::CanonicalTarget;
use crate::proxy::control::OwnRequest;
use crate::proxy::reply::{self, Reply};
use crate::sessions::{IssuedTicket, TicketError};

impl Inner {
    pub(super) async fn ticket(&self, request: &OwnRequest, options: &EndpointOptions) -> Result<Reply, Refusal> {
        let principal = request.caller.as_ref().map_err(Denial::clone)?;
        let token = request.token.as_ref().ok_or(Denial::NoToken)?;
        let path = path(&request.body)?;
        let terms = options.tickets.terms;
        let issued = self.sessions.issue_ticket(principal, token.expose(), &path, terms).await;
        let IssuedTicket { text, lifetime } = issued.map_err(|error| match error {
            TicketError::TooMany => Refusal::RateLimited(terms.lifetime),
            TicketError::Store(error) => error.into(),
        })?;
        let response = json!({
            "ticket": text.expose(),
            "parameter": options.tickets.parameter.name(),
            "expiresIn": lifetime.as_secs(),
        });
        Ok(reply::json(StatusCode::OK, &response))
    }
}

/// The path that the ticket is to open, in the form in which a request for it will be compared.
fn path(body: &[u8]) -> Result<String, Refusal> {
    let path = JsonObject::parse(body).and_then(|body| body.text(&["path"]).ok().flatten());
    let path = path.ok_or(Refusal::Malformed("The body is a JSON object with the path that is to be opened."))?;
    match CanonicalTarget::parse(&path) {
        Ok(target) if target.query().is_empty() => Ok(target.path().to_owned()),
        Ok(_) => Err(Refusal::Malformed("The path has no query: it goes with the request that the ticket opens.")),
        Err(_) => Err(Refusal::Malformed("The path is not one that a request could have.")),
    }
}
