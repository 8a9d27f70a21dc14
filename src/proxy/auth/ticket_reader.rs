//! Finds tickets in the targets of requests.

use crate::crypto::ticket::Tickets;
use crate::domain::path::CanonicalTarget;
use crate::domain::ticket_parameter::{self, Misplaced, Taken, TicketParameter, TicketsSent};

/// Takes tickets out of targets, whatever they stand under.
#[derive(Debug)]
pub struct TicketReader {
    /// Where tickets are issued.
    parameter: Option<TicketParameter>,
    ours: Tickets,
}

impl TicketReader {
    pub const fn new(parameter: Option<TicketParameter>, ours: Tickets) -> Self {
        Self { parameter, ours }
    }

    /// The target without tickets, and those that count. While tickets are off, none does, and none goes further.
    ///
    /// # Errors
    /// There is one that cannot be taken out.
    pub(in crate::proxy) fn take_from<'a>(
        &self,
        target: CanonicalTarget<'a>,
    ) -> Result<(CanonicalTarget<'a>, TicketsSent), Misplaced> {
        if self.has_ticket(target.path()) {
            return Err(Misplaced);
        }
        let is_ours = |text: &str| self.ours.read(text).is_some();
        Ok(match ticket_parameter::take(target.query(), self.parameter.as_ref(), is_ours)? {
            None => (target, TicketsSent::None),
            Some(Taken { query, tickets }) => {
                let counted = if self.parameter.is_some() { tickets } else { TicketsSent::None };
                (target.with_query(&query), counted)
            }
        })
    }

    fn has_ticket(&self, path: &str) -> bool {
        ticket_parameter::holds_ticket(path, |text| self.ours.read(text).is_some())
    }
}
