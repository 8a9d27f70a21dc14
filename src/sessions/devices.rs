//! A subject's sessions, as its device list shows them, and the check of routes that ask the store each time.

use super::Sessions;
use super::audit::audit;
use crate::domain::claims::{Denial, Principal, RevokedBy};
use crate::domain::ids::{SessionId, Subject};
use crate::domain::page::Page;
use crate::store::{SessionPage, StoreError};

/// Why a session of the list was not ended.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// None of this subject's; whose it is, if anyone's, is not told.
    #[error("no such session of this subject")]
    NotFound,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why sessions were not listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// No session of this subject could be there.
    #[error("no such place in the list")]
    NoSuchPlace,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sessions {
    /// A page of the subject's live sessions, newest first.
    pub async fn list(&self, subject: &Subject, page: Page) -> Result<SessionPage, ListError> {
        // A place among the sessions of another partition is none among these.
        if page.after.is_some_and(|after| after.partition() != self.store.partitions().of(subject)) {
            return Err(ListError::NoSuchPlace);
        }
        let mut found = self.store.page_of(subject, page, self.clock.now()).await?;
        let vouching = self.vouching();
        found.sessions.retain(|session| vouching.session(session).is_none());
        Ok(found)
    }

    /// Ends one of the subject's own sessions.
    pub async fn end(&self, subject: &Subject, id: SessionId) -> Result<(), EndError> {
        // The id came from outside: it must not lead to keys of others.
        if id.partition() != self.store.partitions().of(subject) {
            return Err(EndError::NotFound);
        }
        let now = self.clock.now();
        let stored = self.store.load(id).await?.ok_or(EndError::NotFound)?;
        if stored.session.subject != *subject || !stored.session.is_live(now) {
            return Err(EndError::NotFound);
        }
        self.revoke_session(id, now).await?;
        audit!(info, "session_ended_from_list", subject = subject, session = id);
        Ok(())
    }

    /// Whether the principal's session is still in the store: one read. A foreign token has no session, and an old one may not have
    /// its session yet; what the replica says of them is all that there is.
    pub async fn confirm(&self, principal: &Principal) -> Result<(), Denial> {
        let Some(id) = principal.session.filter(|_| !principal.is_legacy()) else { return Ok(()) };
        let stored = self.store.load(id).await.map_err(|error| {
            tracing::warn!(%error, "a session could not be confirmed");
            Denial::StoreUnavailable
        })?;
        match stored {
            Some(stored) if stored.session.subject != principal.subject => Err(Denial::Revoked(RevokedBy::Session)),
            Some(stored) => self.vouching().session(&stored.session).map_or(Ok(()), |ending| Err(ending.into())),
            None => Err(Denial::Revoked(RevokedBy::Session)),
        }
    }
}
