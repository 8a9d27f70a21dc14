//! Logins that failed when the store may have had the session already: nobody was told of it, and so it ends.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Sessions;
use super::audit::audit;
use crate::domain::ids::SessionId;
use crate::domain::stats::Counter;
use crate::store::StoreError;

/// How many may wait for the store. Beyond that the oldest are left to their lifetime.
const WAITING_MAX: usize = 4_096;

/// Sessions to be ended as soon as the store responds, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Withdrawals {
    waiting: Mutex<VecDeque<SessionId>>,
    added: Notify,
}

impl Withdrawals {
    pub(super) fn add(&self, session: SessionId) {
        let mut waiting = self.waiting();
        if waiting.len() == WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back(session);
        drop(waiting);
        self.added.notify_one();
    }

    fn next(&self) -> Option<SessionId> {
        self.waiting().front().copied()
    }

    fn remove(&self, session: SessionId) {
        self.waiting().retain(|waiting| *waiting != session);
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<SessionId>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// Returns once a session waits to be withdrawn.
    pub async fn withdrawal_due(&self) {
        while self.withdrawals.next().is_none() {
            self.withdrawals.added.notified().await;
        }
    }

    /// Withdraws every session that waits for it, in turn. A session counts as withdrawn once it is revoked: should the store
    /// carry out the login even later, no token of it was ever given out.
    ///
    /// # Errors
    /// With the first that the store does not take; it waits on, and those behind it.
    pub async fn withdraw(&self) -> Result<(), StoreError> {
        while let Some(session) = self.withdrawals.next() {
            let ended = self.revoke_session(session, self.clock.now()).await?;
            self.withdrawals.remove(session);
            self.counters.add(Counter::SessionsWithdrawn, ended.len() as u64);
            audit!(info, "session_withdrawn", session = session, was_stored = !ended.is_empty());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Partition;
    use crate::domain::time::Timestamp;

    #[test]
    fn the_oldest_give_way() {
        let withdrawals = Withdrawals::default();
        let session = |number: usize| {
            SessionId::new(Partition(0), Timestamp::from_secs(1_790_000_000), u64::try_from(number).unwrap().to_be_bytes())
        };
        (0..WAITING_MAX + 3).for_each(|number| withdrawals.add(session(number)));
        assert_eq!(withdrawals.next(), Some(session(3)));
        assert_eq!(withdrawals.waiting().len(), WAITING_MAX);
    }
}
