//! Refresh tokens that someone else made, and the sessions that they open here.
//!
//! Of such a token only its SHA-256 is known. It stands for the first generation of its session: the refresh rules hold for it as
//! they are, and the first rotation gives the client a token of ours.

use std::fmt;

use super::ids::{Partition, Partitions, SessionId};
use super::rotation::{Presented, Rotation};
use super::session::Session;
use super::time::Timestamp;

/// SHA-256 of a refresh token in its whole length. No token can be made from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImportedDigest([u8; 32]);

impl ImportedDigest {
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Where the store finds the token's session by: nobody knows the subject before that.
    #[must_use]
    pub fn partition(&self, partitions: Partitions) -> Partition {
        partitions.of_bytes(&self.0)
    }

    /// The token's session: the same whenever it is imported, so that a repetition finds what is there.
    #[must_use]
    pub fn session_id(&self, partition: Partition, created_at: Timestamp) -> SessionId {
        let mut entropy = [0; 8];
        entropy.copy_from_slice(&self.0[..8]);
        SessionId::new(partition, created_at, entropy)
    }
}

impl fmt::Debug for ImportedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImportedDigest")
    }
}

/// What databases, languages and exports write in the place of a value that is not there.
const NOTHING: [&str; 16] = [
    "",
    "null",
    "(null)",
    "<null>",
    "[null]",
    "\\n",
    "nil",
    "<nil>",
    "undefined",
    "nan",
    "nat",
    "n/a",
    "#n/a",
    "-",
    "<none>",
    "(none)",
];

/// Whether a text stands for no value. `none` is a word that people choose; `None` is what Python writes.
#[must_use]
pub fn stands_for_nothing(text: &str) -> bool {
    let text = text.trim();
    text == "None" || text == "NONE" || NOTHING.iter().any(|nothing| text.eq_ignore_ascii_case(nothing))
}

/// A token to import, and its session as it is to begin.
#[derive(Clone, PartialEq, Debug)]
pub struct Import {
    pub digest: ImportedDigest,
    /// Its rotation is [`Rotation::first`].
    pub session: Session,
    /// Until when the store remembers that the token was imported: it is dead by then, whatever became of its session.
    pub forget_at: Timestamp,
}

/// The place of every imported token in its session's line.
#[must_use]
pub const fn presented() -> Presented {
    Rotation::first().token()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::domain::ids::Generation;

    #[test]
    fn the_same_token_has_the_same_session_whenever_it_is_imported() {
        let digest = ImportedDigest::from_bytes([7; 32]);
        let created_at = Timestamp::from_secs(1_790_000_000);
        let id = digest.session_id(Partition(3), created_at);
        assert_eq!(id, digest.session_id(Partition(3), created_at));
        assert_eq!((id.partition(), id.created_at()), (Partition(3), created_at));
        assert_ne!(id, ImportedDigest::from_bytes([8; 32]).session_id(Partition(3), created_at));
    }

    #[test]
    fn digests_are_spread_over_the_partitions_and_not_printed() {
        let partitions = Partitions::new(NonZeroU16::new(16).unwrap());
        let places: std::collections::HashSet<u16> = (0..=255)
            .map(|n| {
                ImportedDigest::from_bytes({
                    let mut bytes = [7; 32];
                    bytes[0] = n;
                    bytes
                })
                .partition(partitions)
                .0
            })
            .collect();
        assert_eq!(places.len(), 16);
        assert_eq!(format!("{:?}", ImportedDigest::from_bytes([7; 32])), "ImportedDigest");
    }

    #[test]
    fn what_stands_for_nothing_is_told_from_what_says_something() {
        for text in ["", "  ", "NULL", "Null", "\\N", "None", "nil", "UNDEFINED", "-", "NaN"] {
            assert!(stands_for_nothing(text), "{text}");
        }
        for text in ["none", "0", "N", "nul", "null-1", "—"] {
            assert!(!stands_for_nothing(text), "{text}");
        }
    }

    #[test]
    fn an_imported_token_is_the_first_of_its_session() {
        assert_eq!(presented(), Presented { generation: Generation::FIRST, parent: Generation::NONE });
    }
}
