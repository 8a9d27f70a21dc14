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
    /// How many, spent or not: of sessions and, all of theirs together, of subjects.
    by_owner: HashMap<TicketOwner, u32>,
    /// In the order in which they end; a number tells those of one moment apart.
    by_end: BTreeMap<(Instant, u64), (TicketDigest, Owners)>,
    count: u64,
}

/// The session and its subject, or the subject alone.
#[derive(Clone, Copy, Debug)]
struct Owners([Option<TicketOwner>; 2]);

impl Owners {
    fn of(ticket: &KeptTicket) -> Self {
        Self([Some(ticket.owner), Some(ticket.subject).filter(|subject| *subject != ticket.owner)])
    }

    fn each(self) -> impl Iterator<Item = TicketOwner> {
        self.0.into_iter().flatten()
    }
}

impl Tickets {
    pub(super) fn keep(&self, ticket: &KeptTicket, terms: TicketTerms) -> Result<TicketKept, StoreError> {
        self.change(|issued, now| {
            if issued.by_end.len() >= TICKETS_MAX {
                return Err(StoreError::Full("too many tickets are waiting to be used".to_owned()));
            }
            // So that whoever has many sessions takes the places of nobody who has one.
            let per_owner_max = if issued.by_end.len() < TICKETS_MAX / 2 { terms.per_owner_max } else { 1 };
            if issued.of(ticket.owner) >= per_owner_max || issued.of(ticket.subject) >= terms.per_subject_max() {
                return Ok(TicketKept::TooMany);
            }
            let owners = Owners::of(ticket);
            for owner in owners.each() {
                *issued.by_owner.entry(owner).or_default() += 1;
            }
            issued.count += 1;
            issued.by_end.insert((now + terms.lifetime, issued.count), (ticket.digest, owners));
            issued.unspent.insert(ticket.digest, ticket.sealed.clone());
            Ok(TicketKept::Kept)
        })
    }

    pub(super) fn read(&self, digest: &TicketDigest) -> Option<Vec<u8>> {
        self.change(|issued, _| issued.unspent.get(digest).cloned())
    }

    pub(super) fn spend(&self, digest: &TicketDigest) -> bool {
        self.change(|issued, _| issued.unspent.remove(digest).is_some())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Issued, Instant) -> T) -> T {
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        issued.forget(now);
        change(&mut issued, now)
    }
}

impl Issued {
    fn of(&self, owner: TicketOwner) -> u32 {
        self.by_owner.get(&owner).copied().unwrap_or_default()
    }

    /// Takes out what has ended.
    fn forget(&mut self, now: Instant) {
        while let Some(first) = self.by_end.first_entry().filter(|first| first.key().0 <= now) {
            let (digest, owners) = first.remove();
            self.unspent.remove(&digest);
            for owner in owners.each() {
                if let Some(of_owner) = self.by_owner.get_mut(&owner) {
                    *of_owner -= 1;
                    if *of_owner == 0 {
                        self.by_owner.remove(&owner);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::ids::Partition;

    const TERMS: TicketTerms = TicketTerms { lifetime: Duration::from_secs(30), per_owner_max: 100 };

    fn ticket(number: u32, owner: u32) -> KeptTicket {
        let (mut digest, mut name) = ([0; 32], [0; 16]);
        digest[..4].copy_from_slice(&number.to_be_bytes());
        name[..4].copy_from_slice(&owner.to_be_bytes());
        let owner = TicketOwner(name);
        KeptTicket { home: Partition(0), digest: TicketDigest::new(digest), owner, subject: owner, sealed: Vec::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_many_sessions_takes_the_places_of_nobody_who_has_one() {
        let tickets = Tickets::default();
        let mut kept = 0;
        for session in 0..1000 {
            for number in 0..100 {
                let outcome = tickets.keep(&ticket(session * 100 + number, session), TERMS).unwrap();
                kept += u32::from(outcome == TicketKept::Kept);
            }
        }
        assert!(kept as usize >= TICKETS_MAX / 2 && (kept as usize) < TICKETS_MAX * 3 / 4, "{kept}");
        let other = ticket(1_000_000, 5000);
        assert_eq!(tickets.keep(&other, TERMS).unwrap(), TicketKept::Kept);
        assert!(tickets.spend(&other.digest));
        tokio::time::advance(TERMS.lifetime).await;
        assert_eq!(tickets.keep(&ticket(2_000_000, 1), TERMS).unwrap(), TicketKept::Kept);
        assert_eq!(tickets.keep(&ticket(2_000_001, 1), TERMS).unwrap(), TicketKept::Kept, "all of it has ended");
    }
}
