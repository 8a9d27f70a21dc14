//! Statements that tokens are dead, and the exact set of those that still matter.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{Partition, Partitions, SessionId, Subject, TokenId};
use super::time::Timestamp;

mod cutoff;
mod ledger;
mod retention;
mod set;
#[cfg(test)]
mod tests;

pub use cutoff::Cutoff;
pub use retention::{Retention, TooShort};
pub use set::{KindCounts, RevocationSet};
pub(super) use set::{session_hash, subject_hash, target_hash, token_hash};

/// Which tokens a revocation ends.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    /// Every access token of one session.
    Session { session: SessionId },
    /// Every token of the subject that was issued before a moment. For our own tokens the session's creation counts, which
    /// its id carries to the millisecond; for foreign ones `iat`, and a token without `iat` counts as old.
    Subject { subject: Subject, issued_before: Cutoff },
    /// One token of one issuer, by `jti`.
    Token { issuer: Arc<str>, token: TokenId },
    /// Every token of every subject that was issued before a moment, by the same measure as those of one subject.
    Everyone { issued_before: Timestamp },
}

/// A revocation with the moment from which it may be forgotten because no token that it covers can still be valid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Revocation {
    #[serde(flatten)]
    pub target: Target,
    pub revoked_at: Timestamp,
    pub forget_at: Timestamp,
}

impl Target {
    /// The session that it ends, if it ends one alone.
    #[must_use]
    pub const fn session(&self) -> Option<SessionId> {
        match self {
            Self::Session { session } => Some(*session),
            Self::Subject { .. } | Self::Token { .. } | Self::Everyone { .. } => None,
        }
    }

    /// Where the revocation is logged: beside the records that it ends.
    #[must_use]
    pub fn partition(&self, partitions: Partitions) -> Partition {
        match self {
            Self::Session { session } => session.partition(),
            Self::Subject { subject, .. } => partitions.of(subject),
            Self::Token { token, .. } => partitions.of_bytes(token.as_str().as_bytes()),
            // The records lie everywhere; they go one partition after the other.
            Self::Everyone { .. } => Partition(0),
        }
    }
}
