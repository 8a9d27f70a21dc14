//! Tickets: an access token is changed for a value that opens one stream on one path.

use std::time::Duration;

use super::Sessions;
use crate::crypto::ticket::{Owners, Tickets};
use crate::domain::claims::Principal;
use crate::domain::secret::Secret;
use crate::domain::stats::Counter;
use crate::domain::ticket::{KeptTicket, TicketTerms};
use crate::store::{StoreError, TicketKept};

/// Why there is no ticket.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    #[error("the session, or its subject, has had as many tickets lately as one may have")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A ticket, and how long it can be used.
#[derive(Debug)]
pub struct IssuedTicket {
    pub text: Secret<String>,
    pub lifetime: Duration,
}

/// What ends with its token at this very moment is kept all the same.
const SHORTEST: Duration = Duration::from_millis(1);

impl Sessions {
    /// A ticket that stands for the token, once, on a canonical path, and for no longer than the token counts.
    pub async fn issue_ticket(
        &self,
        principal: &Principal,
        token: &str,
        path: &str,
        terms: TicketTerms,
    ) -> Result<IssuedTicket, TicketError> {
        let Owners { home, owner, subject } = Tickets::owners(principal, self.store.partitions());
        let ticket = self.tickets().draw(home, &*self.entropy);
        let lifetime = terms.lifetime.min(principal.window.closes_at.since(self.clock.now())).max(SHORTEST);
        let kept = KeptTicket { home, digest: ticket.digest(path), owner, subject, sealed: ticket.seal(token) };
        match self.ticket_store.keep_ticket(&kept, TicketTerms { lifetime, ..terms }).await? {
            TicketKept::Kept => {
                self.counters.add(Counter::TicketsIssued, 1);
                Ok(IssuedTicket { text: ticket.text(), lifetime })
            }
            TicketKept::TooMany => Err(TicketError::TooMany),
        }
    }

    /// The token for which a ticket stands on this path; `None`: it does not, or no more, or never did.
    pub async fn read_ticket(&self, text: &str, path: &str) -> Result<Option<Secret<String>>, StoreError> {
        let Some(ticket) = self.tickets().read(text) else { return Ok(None) };
        let sealed = self.ticket_store.read_ticket(ticket.home(), &ticket.digest(path)).await?;
        Ok(sealed.and_then(|sealed| ticket.open(sealed)))
    }

    /// Whether the ticket stood for a token on this path, which it does no more.
    pub async fn spend_ticket(&self, text: &str, path: &str) -> Result<bool, StoreError> {
        let Some(ticket) = self.tickets().read(text) else { return Ok(false) };
        self.ticket_store.spend_ticket(ticket.home(), &ticket.digest(path)).await
    }

    fn tickets(&self) -> &Tickets {
        self.rules.minting.refresh_tokens.tickets()
    }
}
