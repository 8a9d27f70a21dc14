//! Callers that a ticket speaks for.

use http::request::Parts;

use super::admit::Authenticated;
use super::{Gateway, Local};
use crate::domain::claims::Denial;
use crate::domain::media_type;
use crate::domain::route::Route;
use crate::domain::secret::Secret;
use crate::domain::stats::Counter;
use crate::proxy::auth::admission::{BearerToken, bearer_token};
use crate::proxy::client::tunnel::handshake;
use crate::proxy::request::context::RequestContext;

impl Gateway {
    /// Spends the ticket, and judges the caller by the token for which it stood. What is refused before that leaves the ticket as it is.
    pub(super) async fn authenticate_by_ticket(
        &self,
        context: &RequestContext<'_>,
        local: &Local,
        route: &Route,
        head: &Parts,
        ticket: &Secret<String>,
    ) -> Result<Authenticated, Denial> {
        if bearer_token(&head.headers, local.policy().cookie_name())?.is_some() {
            return Err(Denial::Ambiguous("a ticket and a token"));
        }
        if !opens_a_stream(head) {
            return Err(Denial::Ambiguous("a ticket with a request that opens no WebSocket and no event stream"));
        }
        let spent = local.view.control.spend_ticket(ticket.clone(), context.target.path()).await?;
        let token = spent.ok_or(Denial::Invalid("the ticket is unknown here, spent or too old"))?;
        self.kept.counters.add(Counter::TicketsSpent, 1);
        let presented = BearerToken { token: token.expose(), in_cookie: false };
        let caller = self.authenticate_by(local, head, presented, &route.access, route.when_stale).await?;
        Ok(caller.without_field())
    }
}

/// What browsers cannot send header fields with.
fn opens_a_stream(head: &Parts) -> bool {
    let takes_events = media_type::accepted_weight(&head.headers, &["text/event-stream"]) > 0;
    handshake::wants_websocket(head) || head.method == http::Method::GET && takes_events
}
