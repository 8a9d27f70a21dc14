//! Where sessions and the revocation log live.
//!
//! A store has five parts, each a trait: [`SessionStore`], [`RevocationLog`], [`NodeRegistry`], [`TicketStore`], [`Upkeep`]. They speak of sessions and
//! revocations, never of keys and commands, and make no decisions: whether a session is live or a token spent is decided in the domain,
//! from times inside the record. One conformance suite holds for every store.

pub mod redis;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::ids::{Generation, Partition, Partitions, SessionId, Subject};
use crate::domain::imported::{Import, ImportedDigest};
use crate::domain::node::{Canary, Node, NodeId};
use crate::domain::page::Page;
use crate::domain::revocation::Revocation;
use crate::domain::session::Session;
use crate::domain::ticket::{KeptTicket, TicketDigest, TicketTerms};
use crate::domain::time::Timestamp;

pub mod embedded;
pub mod measured;
pub mod memory;
mod upkeep;

pub use upkeep::{
    DayRow, DayTotals, Duty, Fence, Fenced, Lease, Measurement, Statistics, SweepPlace, SweepRecord, SweepStep, Swept, Upkeep,
};

/// Counts the changes of one session record, for compare-and-swap. Never goes back while the record lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version(pub u64);

impl Version {
    /// After one more change.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// A session as the store has it.
#[derive(Clone, PartialEq, Debug)]
pub struct Stored {
    pub session: Session,
    pub version: Version,
}

/// How a compare-and-swap ended. A lost race is a value, not an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Swap {
    Done(Version),
    /// Someone else changed the record since it was read.
    Lost,
    /// The record is gone: revoked, swept or never there. A swap never brings one to life.
    Missing,
}

/// How many sessions a subject may have, and how to end those that are too many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionLimit {
    pub sessions_max: u32,
    /// When the revocations of the ended ones may be forgotten.
    pub forget_at: Timestamp,
}

/// Some of a subject's sessions, newest first.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SessionPage {
    pub sessions: Vec<Session>,
    /// Where the next page begins; `None`: there are no more.
    pub next: Option<SessionId>,
}

/// An access token of this generation was seen: its client has the response of the rotation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Acknowledgement {
    pub session: SessionId,
    pub generation: Generation,
}

/// How far a reader is in the log of every partition, indexed by partition. Opaque to callers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogCursor(pub Vec<LogPosition>);

/// A place in the log of one partition: milliseconds and a sequence number within them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LogPosition {
    pub millis: u64,
    pub sequence: u64,
}

/// What a read of the log brought: possibly nothing, which still confirms that nothing was missed.
#[derive(Clone, PartialEq, Debug)]
pub struct LogBatch {
    pub revocations: Vec<Revocation>,
    /// Marks that lay among them; those of a partition after everything that was logged there before.
    pub canaries: Vec<Canary>,
    pub cursor: LogCursor,
    /// Why some of the log was not read, where that is so: what was read counts, but confirms nothing. The cursor stays before
    /// what is missing.
    pub unread: Option<String>,
}

/// Something about a store that an operator should know of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub severity: Severity,
    /// What was looked at, one word or two. Stable, for programs.
    pub subject: &'static str,
    /// What was found and what to do about it.
    pub text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    Warning,
    /// The gateway cannot keep its promises on this store.
    Error,
}

/// How long receipts are kept: nobody waits longer for them.
pub const RECEIPTS_KEPT: Duration = Duration::from_secs(120);

/// The store did not do what was asked, or did not say so. Always a 503 to the client, never a 401.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Gone, loading, read-only, failing over: the step that failed changed nothing.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// Hung, slow, or gone while it was asked; or replicas are missing. It may have been done, or be done yet.
    #[error("store did not confirm: {0}")]
    Unconfirmed(String),
    /// Out of memory or disk; deletions still work.
    #[error("store full: {0}")]
    Full(String),
    /// A record that cannot be read: written by a newer version, or damaged.
    #[error("store record unreadable: {0}")]
    Unreadable(String),
}

/// A store as it is opened: all of its parts. Those who use it ask for the parts that they need.
///
/// Every method of each part is atomic, and durable when it returns. What fails may be asked again: a change that was made already is
/// not made twice. No reader sees a change before it is durable.
pub trait Store: SessionStore + RevocationLog + NodeRegistry + TicketStore + Upkeep {}

impl<T: SessionStore + RevocationLog + NodeRegistry + TicketStore + Upkeep> Store for T {}

/// The records of sessions, and the tokens that were imported with them.
///
/// Expired records may be returned or be gone already: callers decide by the times inside the record. The id and the subject of a
/// session never change.
#[async_trait]
pub trait SessionStore: Send + Sync + fmt::Debug + 'static {
    fn partitions(&self) -> Partitions;

    /// Adds a session. Repeating the call while the record is there changes nothing (a response may have been lost). When the
    /// subject then has more live sessions than the limit allows, the oldest by creation are ended as [`RevocationLog::revoke`] would
    /// end them, never the new one. Returns those that were ended, oldest first.
    async fn create(&self, session: &Session, limit: Option<SessionLimit>, now: Timestamp) -> Result<Vec<SessionId>, StoreError>;

    async fn load(&self, id: SessionId) -> Result<Option<Stored>, StoreError>;

    /// Replaces the record if its version is still `expected`.
    async fn swap(&self, expected: Version, next: &Session) -> Result<Swap, StoreError>;

    /// Applies [`crate::domain::rotation::Rotation::acknowledge`] to each; raises the version where it changed something, so
    /// that a swap decided before loses. Sessions that are gone are passed over.
    async fn acknowledge(&self, seen: &[Acknowledgement]) -> Result<(), StoreError>;

    /// A page of the subject's live sessions, newest first: against the order of their ids. Costs what the page holds, not what there
    /// is. Fewer than the page has room for need not be the last of them: [`SessionPage::next`] tells.
    async fn page_of(&self, subject: &Subject, page: Page, now: Timestamp) -> Result<SessionPage, StoreError>;

    /// All of the subject's live sessions, oldest first, page by page: for those who can hold as many as there are.
    async fn sessions_of(&self, subject: &Subject, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        let (mut all, mut page) = (Vec::new(), Page::FIRST);
        loop {
            let SessionPage { sessions, next } = self.page_of(subject, page, now).await?;
            all.extend(sessions);
            match next {
                Some(_) => page.after = next,
                None => break,
            }
        }
        all.reverse();
        Ok(all)
    }

    /// Deletes the record of every session that was created before `moment`, whosever it is, in bounded steps; returns how many
    /// those were. Not atomic: sessions that are created meanwhile with an earlier moment may stay.
    async fn end_created_before(&self, moment: Timestamp) -> Result<u64, StoreError>;

    /// Adds the sessions of tokens that someone else made, whatever limits there are, and returns how many are new. A token that was
    /// imported before is passed over until its `forget_at`, even when its session has ended since: a repetition revives nothing.
    /// Each token by itself is atomic; after an error the call is repeated.
    async fn import(&self, batch: &[Import], now: Timestamp) -> Result<u64, StoreError>;

    /// The session of each imported token, in the order of the digests; it may have ended.
    async fn imported(&self, digests: &[ImportedDigest]) -> Result<Vec<Option<SessionId>>, StoreError>;

    /// Returns once what was written about this session before, by whomever, is as safe as a revocation is when
    /// [`RevocationLog::revoke`] returns; and with it whatever was written in the session's partition.
    async fn settle(&self, _session: SessionId) -> Result<(), StoreError> {
        Ok(())
    }

    /// One cheap round trip: does the store respond?
    async fn probe(&self) -> Result<(), StoreError>;
}

/// The log of revocations, which every node follows. Revocations past their `forget_at` may be gone from it.
#[async_trait]
pub trait RevocationLog: Send + Sync + fmt::Debug + 'static {
    /// Logs the revocation and deletes the records that it ends, in one atomic step. By subject, those are the sessions created
    /// before `issued_before`. Of everyone it is logged alone: the records go by [`SessionStore::end_created_before`]. A session that
    /// is not there is logged all the same: its access tokens may live. Idempotent: an equal revocation again is harmless, and
    /// may be logged again. Returns the sessions deleted, oldest first.
    async fn revoke(&self, revocation: &Revocation) -> Result<Vec<SessionId>, StoreError>;

    /// The revocations logged after `cursor`, in the order of each partition's log; all that there are without one. Waits up
    /// to `wait` for the first, or for a canary, not at all when that is zero; an empty batch after that is a heartbeat: every partition's log
    /// was asked and had no more. Without gaps: what is logged after a batch was read comes after the batch's cursor.
    async fn follow(&self, cursor: Option<&LogCursor>, wait: Duration) -> Result<LogBatch, StoreError>;
}

/// What nodes tell each other: who is there, marks in the log, and who has seen them.
#[async_trait]
pub trait NodeRegistry: Send + Sync + fmt::Debug + 'static {
    /// Makes the node known to the others until it has not been called for `silence_max`, by the clock of the store alone.
    /// Returns how many are known now.
    async fn register(&self, node: &Node, silence_max: Duration) -> Result<u64, StoreError>;

    /// The node leaves: nobody is to wait for it any more.
    async fn unregister(&self, node: NodeId) -> Result<(), StoreError>;

    /// The nodes that are known, in the order of their ids.
    async fn nodes(&self) -> Result<Vec<Node>, StoreError>;

    /// Puts a canary into the log of the partition, behind everything that is there: followers that wait wake up. It need not be
    /// durable and may be gone soon. One that asks its writer alone takes the place of the one before it there.
    async fn mark(&self, partition: Partition, canary: Canary) -> Result<(), StoreError>;

    /// Notes that the node has seen the canary. Kept for [`RECEIPTS_KEPT`] at least.
    async fn give_receipt(&self, canary: Canary, node: NodeId) -> Result<(), StoreError>;

    /// Who has seen the canary.
    async fn receipts(&self, canary: Canary) -> Result<Vec<NodeId>, StoreError>;
}

/// Whether a ticket was kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TicketKept {
    Kept,
    /// Its owner has had as many within a lifetime as one may have.
    TooMany,
}

/// Tickets, each until it is spent, and for its lifetime at most. They need not be durable: one that is lost is refused.
#[async_trait]
pub trait TicketStore: Send + Sync + fmt::Debug + 'static {
    async fn keep_ticket(&self, ticket: &KeptTicket, terms: TicketTerms) -> Result<TicketKept, StoreError>;

    /// What is sealed in the ticket, which stays as it is; `None`: there is none, or it is spent.
    async fn read_ticket(&self, home: Partition, digest: &TicketDigest) -> Result<Option<Vec<u8>>, StoreError>;

    /// Whether the ticket was there and is spent by this: for one caller, however many ask. After an error nobody knows.
    async fn spend_ticket(&self, home: Partition, digest: &TicketDigest) -> Result<bool, StoreError>;
}
