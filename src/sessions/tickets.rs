//! Tickets: an access token is changed for a value that opens one stream on one path.

use super::Sessions;
use crate::crypto::ticket::Tickets;
use crate::domain::claims::Principal;
use crate::domain::secret::Secret;
use crate::domain::stats::Counter;
use crate::domain::ticket::{KeptTicket, TicketTerms};
use crate::store::{StoreError, TicketKept};

/// Why there is no ticket.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    #[error("the session has had as many tickets lately as one may have")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sessions {
    /// A ticket that stands for the token, once, on a canonical path.
    pub async fn issue_ticket(
        &self,
        principal: &Principal,
        token: &str,
        path: &str,
        terms: TicketTerms,
    ) -> Result<Secret<String>, TicketError> {
        let (home, owner) = Tickets::owner(principal, self.store.partitions());
        let ticket = self.tickets().draw(home, &*self.entropy);
        let kept = KeptTicket { home, digest: ticket.digest(path), owner, sealed: ticket.seal(token) };
        match self.ticket_store.keep_ticket(&kept, terms).await? {
            TicketKept::Kept => {
                self.counters.add(Counter::TicketsIssued, 1);
                Ok(ticket.text())
            }
            TicketKept::TooMany => Err(TicketError::TooMany),
        }
    }

    /// The token for which a ticket stands on this path, which it does no more; `None`: it does not, or no more, or never did.
    pub async fn spend_ticket(&self, text: &str, path: &str) -> Result<Option<Secret<String>>, StoreError> {
        let Some(ticket) = self.tickets().read(text) else { return Ok(None) };
        let sealed = self.ticket_store.spend_ticket(ticket.home(), &ticket.digest(path)).await?;
        Ok(sealed.and_then(|sealed| ticket.open(sealed)))
    }

    fn tickets(&self) -> &Tickets {
        self.rules.minting.refresh_tokens.tickets()
    }
}
