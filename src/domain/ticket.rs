//! Tickets: what opens one stream for a client that cannot send header fields.

use std::time::Duration;

use super::ids::Partition;
use super::token_prefix;

/// What every ticket begins with.
pub const PREFIX: &str = token_prefix::TICKET;

/// The length of every ticket, in characters: the prefix, and base64url over 50 bytes.
pub const TEXT_LEN: usize = PREFIX.len() + 67;

/// Under what a store keeps a ticket: a digest of it and of the path that it opens. Whoever knows it can open nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TicketDigest([u8; 32]);

impl TicketDigest {
    #[must_use]
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// In whose name a ticket was issued: a session, or a subject of an issuer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TicketOwner(pub [u8; 16]);

/// A ticket as a store keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptTicket {
    /// Where it and its owner's other tickets lie.
    pub home: Partition,
    pub digest: TicketDigest,
    pub owner: TicketOwner,
    /// In whose name all sessions of the same subject get theirs.
    pub subject: TicketOwner,
    /// What it stands for. The ticket alone opens it.
    pub sealed: Vec<u8>,
}

/// How long tickets live, and how many one owner gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TicketTerms {
    pub lifetime: Duration,
    /// Within that time, spent or not.
    pub per_owner_max: u32,
}

/// How many sessions of one subject may have as many as they may.
const BUSY_SESSIONS_MAX: u32 = 16;

impl TicketTerms {
    /// How many all sessions of one subject get together: whoever logs in again and again fills no store.
    #[must_use]
    pub const fn per_subject_max(self) -> u32 {
        self.per_owner_max.saturating_mul(BUSY_SESSIONS_MAX)
    }
}
