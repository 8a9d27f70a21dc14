//! Tickets: a string for each, which ends by itself, and a sorted set for each owner of what was issued lately.

use async_trait::async_trait;
use fred::types::Value;

use super::{RedisStore, StoreError, bytes, codec, scripts};
use crate::domain::ids::Partition;
use crate::domain::ticket::{KeptTicket, TicketDigest, TicketTerms};
use crate::store::{TicketKept, TicketStore};

#[async_trait]
impl TicketStore for RedisStore {
    async fn keep_ticket(&self, ticket: &KeptTicket, terms: TicketTerms) -> Result<TicketKept, StoreError> {
        let home = self.keys.fold(ticket.home);
        let [owner, subject] = [ticket.owner, ticket.subject].map(|owner| self.keys.tickets_of(home, owner));
        let keys = [self.keys.ticket(home, &ticket.digest), owner, subject];
        let args = [
            bytes(&ticket.sealed),
            i64::try_from(terms.lifetime.as_millis()).unwrap_or(i64::MAX).into(),
            bytes(ticket.digest.as_bytes()),
            i64::from(terms.per_owner_max).into(),
            i64::from(terms.per_subject_max()).into(),
        ];
        match codec::integer(&self.fleet.begin(home).await?.script(&scripts::KEEP_TICKET, &keys, &args).await?)? {
            0 => Ok(TicketKept::TooMany),
            _ => Ok(TicketKept::Kept),
        }
    }

    async fn read_ticket(&self, home: Partition, digest: &TicketDigest) -> Result<Option<Vec<u8>>, StoreError> {
        let home = self.keys.fold(home);
        let key = self.keys.ticket(home, digest);
        match self.fleet.begin(home).await?.command("GET", vec![key.into()]).await? {
            Value::Null => Ok(None),
            Value::Bytes(sealed) => Ok(Some(sealed.to_vec())),
            Value::String(sealed) => Ok(Some(sealed.as_bytes().to_vec())),
            _ => Err(StoreError::Unreadable("a ticket".into())),
        }
    }

    /// Confirmed, where replicas have to confirm what must not be lost: after a failover the ticket would be there once more.
    async fn spend_ticket(&self, home: Partition, digest: &TicketDigest) -> Result<bool, StoreError> {
        let home = self.keys.fold(home);
        let keys = [self.keys.ticket(home, digest)];
        let spent = self.fleet.begin(home).await?.script_confirmed(&scripts::SPEND_TICKET, &keys, &[]).await?;
        Ok(codec::integer(&spent)? > 0)
    }
}
