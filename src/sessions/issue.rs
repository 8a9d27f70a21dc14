//! A login that the upstream granted becomes a session.

use super::audit::{AuditValue, audit};
use super::{Sessions, TokenPair};
use crate::crypto::access_token::MintError;
use crate::crypto::entropy;
use crate::domain::ids::{SessionId, Subject};
use crate::domain::login_kind::LoginKind;
use crate::domain::revocation::{Revocation, Target};
use crate::domain::rotation::Rotation;
use crate::domain::secret::Secret;
use crate::domain::session::{Client, Grant, Lifetime, Session};
use crate::domain::session_policy::OldSession;
use crate::domain::stats::Counter;
use crate::domain::time::{CLOCK_SKEW_MAX, Timestamp};
use crate::store::{SessionLimit, StoreError};

impl AuditValue for LoginKind {
    type Recorded<'a> = &'static str;

    fn recorded(&self) -> &'static str {
        self.name()
    }
}

/// What the upstream vouches for.
#[derive(Debug)]
pub struct Login {
    pub kind: LoginKind,
    pub subject: Subject,
    pub grant: Grant,
    pub client: Client,
    pub old_refresh_token: Option<OldToken>,
}

/// A refresh token that came along with a login.
#[derive(Debug)]
pub struct OldToken {
    pub text: Secret<String>,
    /// Whether the tokens of the login take its place where the client keeps it: then nobody has it any more, whoever it spoke for.
    pub is_replaced: bool,
}

/// Why no session was made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The subject is revoked until a moment that lies ahead: its tokens would be refused as soon as they were made.
    #[error("subject is barred until {0:?}")]
    Barred(Timestamp),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Mint(#[from] MintError),
}

impl Sessions {
    /// Makes a session and its first token pair. An old session of the same subject whose refresh token came along ends first,
    /// so that it does not count against the limit; that of another subject too, if its token is replaced. One that fails leaves no session behind: see [`Sessions::withdraw`].
    pub async fn issue(&self, login: Login) -> Result<TokenPair, IssueError> {
        let now = self.clock.now();
        let created_at = self.creation_of(&login.subject, now)?;
        let policy = &self.rules.policy;
        let partition = self.store.partitions().of(&login.subject);
        let session = Session {
            id: SessionId::new(partition, created_at, entropy::draw(&*self.entropy)),
            subject: login.subject,
            grant: Grant { logged_in_at: Some(now), ..login.grant },
            rotation: Rotation::first(),
            lifetime: Lifetime::starting(now, policy.idle_lifetime, policy.absolute_lifetime),
            client: login.client,
            last_used_at: now,
        };
        // Before anything is stored: without a key that signs, no session is left behind that nobody can use.
        let pair = self.mint(&session, session.rotation.current, Some(session.rotation.token()), now)?;
        self.end_old(login.old_refresh_token.as_ref(), &session.subject, None, now).await?;
        self.create_drawn(&session, now).await?;
        self.counters.add(counter_of(login.kind), 1);
        audit!(
            info,
            "session_issued",
            kind = login.kind,
            subject = session.subject,
            session = session.id,
            address = session.client.address,
        );
        Ok(pair)
    }

    /// Stores a new session whose id was drawn: no repeated call would find it again, so it is withdrawn if the store does not say that it
    /// has it.
    pub(super) async fn create_drawn(&self, session: &Session, now: Timestamp) -> Result<(), StoreError> {
        let created = self.create(session, now).await;
        if matches!(created, Err(StoreError::Unconfirmed(_))) {
            self.withdrawals.add(session.id);
        }
        created
    }

    /// Stores a new session, which ends the subject's oldest ones beyond the limit.
    pub(super) async fn create(&self, session: &Session, now: Timestamp) -> Result<(), StoreError> {
        // Among those that it ends may be sessions of subject tokens.
        let forget_at = self.forget_at(now).max(self.subject_token_forget_at(now));
        let limit = self.rules.policy.sessions_max.map(|sessions_max| SessionLimit { sessions_max, forget_at });
        let ended = self.store.create(session, limit, now).await?;
        if let Some(limit) = limit {
            self.note_ended_by_limit(session, &ended, limit, now);
        }
        Ok(())
    }

    /// Not before a revocation of the subject: a node with a faster clock may have made it, and the new session would be covered.
    fn creation_of(&self, subject: &Subject, now: Timestamp) -> Result<Timestamp, IssueError> {
        match self.replica.subject_revoked_before(subject) {
            Some(until) if until > now.saturating_add(CLOCK_SKEW_MAX) => Err(IssueError::Barred(until)),
            Some(until) => Ok(now.max(until)),
            None => Ok(now),
        }
    }

    /// Ends the session of an old refresh token, where the settings say so. `present`: the session that is to stay, if there is one already.
    pub(super) async fn end_old(
        &self,
        token: Option<&OldToken>,
        subject: &Subject,
        present: Option<SessionId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(token) = token.filter(|_| self.rules.policy.old_session == OldSession::End) else { return Ok(()) };
        let opened = self.open(&self.read(token.text.expose())).await?;
        let Some(old) = opened.map(|opened| opened.token.session).filter(|old| Some(*old) != present) else { return Ok(()) };
        let Some(stored) = self.store.load(old).await? else { return Ok(()) };
        let owner = &stored.session.subject;
        if owner != subject && !token.is_replaced {
            return Ok(());
        }
        self.revoke_session(old, now).await?;
        audit!(info, "session_replaced_by_login", subject = owner, session = old, replaced_by = subject);
        Ok(())
    }

    fn note_ended_by_limit(&self, session: &Session, ended: &[SessionId], limit: SessionLimit, now: Timestamp) {
        for &old in ended {
            let target = Target::Session { session: old };
            self.replica.insert(&Revocation { target, revoked_at: now, forget_at: limit.forget_at });
            self.counters.add(Counter::SessionsEndedByLimit, 1);
            audit!(info, "session_ended_by_limit", subject = session.subject, session = old);
        }
    }
}

const fn counter_of(kind: LoginKind) -> Counter {
    match kind {
        LoginKind::Login => Counter::Logins,
        LoginKind::Register => Counter::Registrations,
        LoginKind::QuickRegister => Counter::QuickRegistrations,
    }
}
