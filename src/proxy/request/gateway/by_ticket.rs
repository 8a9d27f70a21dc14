//! Callers that a ticket speaks for.

use http::request::Parts;

use super::{Gateway, Local};
use crate::domain::claims::Denial;
use crate::domain::media_type;
use crate::domain::secret::Secret;
use crate::domain::stats::Counter;
use crate::proxy::auth::admission::authorization_token;
use crate::proxy::client::tunnel::handshake;
use crate::proxy::request::context::RequestContext;

/// A ticket that stands for a token and is yet to be spent.
pub(super) struct UnspentTicket {
    ticket: Secret<String>,
    /// That of the request as it came.
    path: String,
}

impl Gateway {
    /// Finds the token for which the ticket stands. The ticket is left as it is, for it is not known yet what the token is worth on the route, and
    /// whether anything is forwarded.
    pub(super) async fn read_ticket(
        &self,
        context: &RequestContext<'_>,
        local: &Local,
        head: &Parts,
        ticket: &Secret<String>,
    ) -> Result<(Secret<String>, UnspentTicket), Denial> {
        // A cookie is sent by the browser with everything, and was chosen by nobody: the ticket counts.
        if authorization_token(&head.headers)?.is_some() {
            return Err(Denial::TicketMisused("Send either a ticket or an access token, not both."));
        }
        if !opens_a_stream(head) {
            return Err(Denial::TicketMisused(
                "A ticket opens a WebSocket, or an event stream by GET with Accept: text/event-stream. Send the access token with other calls.",
            ));
        }
        let path = context.target.path();
        let token = local.view.control.read_ticket(ticket.clone(), path).await?.ok_or(Denial::TicketInvalid)?;
        Ok((token, UnspentTicket { ticket: ticket.clone(), path: path.to_owned() }))
    }

    /// From here on it opens nothing.
    pub(super) async fn spend(&self, local: &Local, UnspentTicket { ticket, path }: UnspentTicket) -> Result<(), Denial> {
        if !local.view.control.spend_ticket(ticket, &path).await? {
            return Err(Denial::TicketInvalid);
        }
        self.kept.counters.add(Counter::TicketsSpent, 1);
        Ok(())
    }
}

/// What browsers cannot send header fields with.
fn opens_a_stream(head: &Parts) -> bool {
    let takes_events = media_type::accepted_weight(&head.headers, &["text/event-stream"]) > 0;
    handshake::wants_websocket(head) || head.method == http::Method::GET && takes_events
}
