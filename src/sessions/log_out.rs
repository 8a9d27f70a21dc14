//! Logging out: this session, the others, all.

use super::audit::{AuditValue, audit};
use super::{Sessions, TokenText};
use crate::domain::claims::{Ending, Principal};
use crate::domain::ids::{SessionId, Subject};
use crate::domain::page::Page;
use crate::domain::revocation::{Cutoff, Target};
use crate::domain::stats::Counter;
use crate::domain::time::{CLOCK_SKEW_MAX, Timestamp};
use crate::store::StoreError;

/// What is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogoutScope {
    /// The session that the credentials belong to.
    Session,
    /// The subject's other sessions.
    Others,
    /// Every session of the subject, and every foreign token that was issued to it before now.
    All,
}

impl AuditValue for LogoutScope {
    type Recorded<'a> = &'static str;

    fn recorded(&self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Others => "others",
            Self::All => "all",
        }
    }
}

/// Who asks. Several may be there, as clients send all that they have; each counts by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// Or a legacy token in its place.
    pub refresh_token: Option<&'a TokenText>,
    /// From an access token that was verified.
    pub principal: Option<&'a Principal>,
    /// From an access token that was good and has expired: it ends its own session, and says nothing about others.
    pub expired: Option<&'a Principal>,
}

/// Why a logout is not known to be recorded.
#[derive(Debug, thiserror::Error)]
pub enum LogoutError {
    /// A foreign token without a `jti` cannot be ended alone.
    #[error("the token has no id to revoke it by")]
    NoTokenId,
    /// More was to end than an expired token has power over. Nothing was.
    #[error("the token has expired, and ends no more than its own session")]
    TokenExpired,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One thing that the credentials give power over.
enum Held<'a> {
    Session {
        id: SessionId,
        subject: Option<Subject>,
    },
    /// A legacy token, and the session that was made of it, if one was.
    Legacy {
        id: SessionId,
        subject: Subject,
    },
    Foreign(&'a Principal),
    /// The session of a token that has expired: that one alone.
    Expired {
        id: SessionId,
    },
}

impl Sessions {
    /// Ends what `scope` says and returns how many sessions (or foreign or legacy tokens) that were. Idempotent: what has ended already, or was
    /// never there, counts as none.
    pub async fn log_out(&self, credentials: Credentials<'_>, scope: LogoutScope) -> Result<u64, LogoutError> {
        let now = self.clock.now();
        let held = self.resolve(credentials, now).await?;
        let has_expired = held.iter().any(|held| matches!(held, Held::Expired { .. }));
        let ended = match scope {
            LogoutScope::Session => self.end_held(&held, now).await?,
            // Nothing else speaks for the subject, and the client has what it takes to get what does.
            LogoutScope::Others | LogoutScope::All if has_expired && subjects(&held).is_empty() => {
                return Err(LogoutError::TokenExpired);
            }
            LogoutScope::Others => self.end_others(&held, now).await?,
            LogoutScope::All => self.end_all(&held, now).await?,
        };
        if !held.is_empty() {
            self.counters.add(Counter::Logouts, 1);
        }
        for held in &held {
            let (subject, session) = (held.subject(), held.session());
            audit!(info, "logout", scope = scope, subject = subject, session = session, ended = ended);
        }
        Ok(ended)
    }

    /// Returns once everything that was ended so far, at whatever node, lasts as a logout does that got its response. Who comes with an
    /// access token of a session that has ended may have been told that this is not certain.
    pub async fn settle(&self) -> Result<(), LogoutError> {
        for partition in self.store.partitions().iter() {
            // Of the session no more is known than that it may lie in any of them.
            self.store.settle(SessionId::new(partition, self.clock.now(), [0; 8])).await?;
        }
        Ok(())
    }

    async fn resolve<'a>(&self, credentials: Credentials<'a>, now: Timestamp) -> Result<Vec<Held<'a>>, StoreError> {
        let mut held = Vec::new();
        if let Some(principal) = credentials.principal {
            held.push(match principal.session {
                Some(id) if principal.is_legacy() => Held::Legacy { id, subject: principal.subject.clone() },
                Some(id) => Held::Session { id, subject: Some(principal.subject.clone()) },
                None => Held::Foreign(principal),
            });
        }
        let refresh_token = match credentials.refresh_token {
            Some(token) => self.open(token).await?,
            None => None,
        };
        if let Some(id) = refresh_token.map(|opened| opened.token.session).filter(|id| !holds(&held, *id)) {
            match self.store.load(id).await? {
                Some(stored) if stored.session.is_live(now) => {
                    held.push(Held::Session { id, subject: Some(stored.session.subject) });
                }
                Some(_) => {}
                None => held.extend(self.unrecorded(id).await?),
            }
        }
        if let Some(expired) = credentials.expired
            && let Some(id) = expired.session.filter(|id| !holds(&held, *id))
        {
            match self.store.load(id).await? {
                Some(stored) if stored.session.is_live(now) => held.push(Held::Expired { id }),
                Some(_) => {}
                None if matches!(self.vouching().ending(expired), Some(Ending::Revoked(_))) => self.store.settle(id).await?,
                None => held.extend(self.unrecorded(id).await?),
            }
        }
        if let Some(TokenText::Legacy { token, .. }) = credentials.refresh_token
            && !holds(&held, token.session)
            && self.vouching().ending(&token.principal).is_none()
        {
            held.push(Held::Legacy { id: token.session, subject: token.principal.subject.clone() });
        }
        Ok(held)
    }

    /// A session of which there is no record: the store may have lost it while access tokens of the session live on.
    async fn unrecorded(&self, id: SessionId) -> Result<Option<Held<'static>>, StoreError> {
        if !self.replica.covers_session(id) {
            return Ok(Some(Held::Session { id, subject: None }));
        }
        // A repetition, perhaps because the first was refused for want of replicas.
        self.store.settle(id).await?;
        Ok(None)
    }

    async fn end_held(&self, held: &[Held<'_>], now: Timestamp) -> Result<u64, LogoutError> {
        let mut ended = 0;
        for held in held {
            ended += match held {
                Held::Session { id, .. } | Held::Expired { id } => count(&self.revoke_session(*id, now).await?),
                Held::Legacy { id, .. } => count(&self.revoke_session(*id, now).await?).max(1),
                Held::Foreign(principal) => {
                    let token = principal.token.clone().ok_or(LogoutError::NoTokenId)?;
                    let target = Target::Token { issuer: principal.issuer.clone(), token };
                    self.revoke(target, now, principal.window.closes_at.saturating_add(CLOCK_SKEW_MAX)).await?;
                    1
                }
            };
        }
        Ok(ended)
    }

    async fn end_others(&self, held: &[Held<'_>], now: Timestamp) -> Result<u64, LogoutError> {
        let mut ended = 0;
        for subject in subjects(held) {
            let mut page = Page::FIRST;
            loop {
                let found = self.store.page_of(subject, page, now).await?;
                for session in found.sessions.iter().filter(|session| !holds(held, session.id)) {
                    ended += count(&self.revoke_session(session.id, now).await?);
                }
                match found.next {
                    Some(_) => page.after = found.next,
                    None => break,
                }
            }
        }
        Ok(ended)
    }

    async fn end_all(&self, held: &[Held<'_>], now: Timestamp) -> Result<u64, LogoutError> {
        let mut ended = 0;
        for subject in subjects(held) {
            let held = held.iter().filter(|held| held.subject() == Some(subject)).filter_map(Held::session).collect();
            ended += self.end_subject(subject, held, now).await?.1;
        }
        // A session of which the subject is not known can only end alone.
        for held in held.iter().filter(|held| held.subject().is_none()) {
            if let Some(id) = held.session() {
                ended += count(&self.revoke_session(id, now).await?);
            }
        }
        Ok(ended)
    }

    /// One revocation of the subject ends everything in one atomic step, other issuers' tokens included. It reaches up to the youngest
    /// session that is known, for that may have been created by a clock ahead of ours; sessions from further ahead than is believable end
    /// one by one.
    /// `known` are sessions of it that the store may have lost. Returns what was revoked, and how many sessions that ended.
    pub(super) async fn end_subject(
        &self,
        subject: &Subject,
        mut known: Vec<SessionId>,
        now: Timestamp,
    ) -> Result<(Target, u64), StoreError> {
        let believable = now.saturating_add(CLOCK_SKEW_MAX);
        self.find_youngest(subject, believable, &mut known, now).await?;
        let youngest = known.iter().map(|id| id.created_at()).filter(|at| *at <= believable).fold(now, Timestamp::max);
        let issued_before = Cutoff::of_all_until(now, youngest);
        let target = Target::Subject { subject: subject.clone(), issued_before };
        let mut ended = count(&self.revoke(target.clone(), now, self.forget_at(issued_before.latest())).await?);
        known.sort_unstable();
        known.dedup();
        for id in known.into_iter().filter(|id| id.created_at() >= issued_before.sessions()) {
            ended += count(&self.revoke_session(id, now).await?);
        }
        Ok((target, ended))
    }
}

impl Sessions {
    /// Adds the subject's youngest sessions, down to the first that was created by `believable`: those before it are covered with it.
    async fn find_youngest(
        &self,
        subject: &Subject,
        believable: Timestamp,
        known: &mut Vec<SessionId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut page = Page::FIRST;
        loop {
            let found = self.store.page_of(subject, page, now).await?;
            for session in &found.sessions {
                known.push(session.id);
                if session.id.created_at() <= believable {
                    return Ok(());
                }
            }
            match found.next {
                Some(_) => page.after = found.next,
                None => return Ok(()),
            }
        }
    }
}

impl Held<'_> {
    fn session(&self) -> Option<SessionId> {
        match self {
            Self::Session { id, .. } | Self::Legacy { id, .. } | Self::Expired { id } => Some(*id),
            Self::Foreign(_) => None,
        }
    }

    fn subject(&self) -> Option<&Subject> {
        match self {
            Self::Session { subject, .. } => subject.as_ref(),
            Self::Legacy { subject, .. } => Some(subject),
            Self::Foreign(principal) => Some(&principal.subject),
            Self::Expired { .. } => None,
        }
    }
}

fn holds(held: &[Held<'_>], id: SessionId) -> bool {
    held.iter().any(|held| held.session() == Some(id))
}

/// Each subject once.
fn subjects<'a>(held: &'a [Held<'_>]) -> Vec<&'a Subject> {
    let mut subjects: Vec<&Subject> = held.iter().filter_map(Held::subject).collect();
    subjects.sort_unstable();
    subjects.dedup();
    subjects
}

fn count(ended: &[SessionId]) -> u64 {
    u64::try_from(ended.len()).unwrap_or(u64::MAX)
}
