//! The tickets of a store that one process has: in memory, and gone with the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::domain::ticket::{KeptTicket, TicketDigest, TicketOwner, TicketTerms};
use crate::store::{StoreError, TicketKept};

/// Issued within a lifetime by all owners together. With the largest tokens these take some hundred megabytes.
const TICKETS_MAX: usize = 1 << 15;

#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<Issued>);

/// What was issued within a lifetime.
#[derive(Debug, Default)]
struct Issued {
    unspent: HashMap<TicketDigest, Vec<u8>>,
    /// How many, spent or not.
    by_owner: HashMap<TicketOwner, u32>,
    /// In the order in which they end; a number tells those of one moment apart.
    by_end: BTreeMap<(Instant, u64), (TicketDigest, TicketOwner)>,
    count: u64,
}

impl Tickets {
    pub(super) fn keep(&self, ticket: &KeptTicket, terms: TicketTerms) -> Result<TicketKept, StoreError> {
        self.change(|issued, now| {
            if issued.by_end.len() >= TICKETS_MAX {
                return Err(StoreError::Full("too many tickets are waiting to be used".to_owned()));
            }
            let of_owner = issued.by_owner.entry(ticket.owner).or_default();
            if *of_owner >= terms.per_owner_max {
                return Ok(TicketKept::TooMany);
            }
            *of_owner += 1;
            issued.count += 1;
            issued.by_end.insert((now + terms.lifetime, issued.count), (ticket.digest, ticket.owner));
            issued.unspent.insert(ticket.digest, ticket.sealed.clone());
            Ok(TicketKept::Kept)
        })
    }

    pub(super) fn spend(&self, digest: &TicketDigest) -> Option<Vec<u8>> {
        self.change(|issued, _| issued.unspent.remove(digest))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Issued, Instant) -> T) -> T {
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        issued.forget(now);
        change(&mut issued, now)
    }
}

impl Issued {
    /// Takes out what has ended.
    fn forget(&mut self, now: Instant) {
        while let Some(first) = self.by_end.first_entry().filter(|first| first.key().0 <= now) {
            let (digest, owner) = first.remove();
            self.unspent.remove(&digest);
            if let Some(of_owner) = self.by_owner.get_mut(&owner) {
                *of_owner -= 1;
                if *of_owner == 0 {
                    self.by_owner.remove(&owner);
                }
            }
        }
    }
}
