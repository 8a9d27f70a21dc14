//! Tokens that several rows hold. One that rows of different users hold is a key to somebody else's account, and one that any row
//! says is revoked is revoked.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::domain::imported::ImportedDigest;
use crate::sessions::import::ForeignToken;

/// So many tokens are compared: some 32 bytes each.
const TOKENS_MAX: usize = 8_000_000;

/// What the rows so far say of each token. Tokens and subjects are held as hashes with a seed of the process.
#[derive(Default)]
pub(super) struct SharedTokens {
    hasher: RandomState,
    seen: HashMap<u64, Seen>,
    has_overflowed: bool,
}

#[derive(Clone, Copy)]
struct Seen {
    subject: u64,
    revoked: bool,
    by_others: bool,
}

/// What other rows say against a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Objection {
    OtherUser,
    Revoked,
}

impl Objection {
    pub(super) const fn cause(self) -> &'static str {
        match self {
            Self::OtherUser => "token: rows of other users hold the same one",
            Self::Revoked => "token: another row holds the same one and says that it is revoked",
        }
    }
}

impl SharedTokens {
    pub(super) fn note(&mut self, token: &ForeignToken) {
        let (key, subject) = (self.key(&token.digest), self.hasher.hash_one(token.subject.as_str()));
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.by_others |= seen.subject != subject;
            seen.revoked |= token.revoked;
        } else if self.seen.len() < TOKENS_MAX {
            self.seen.insert(key, Seen { subject, revoked: token.revoked, by_others: false });
        } else {
            self.has_overflowed = true;
        }
    }

    /// What the rows that were noted say against this one, which is among them. A row that is revoked is taken as that.
    pub(super) fn objection(&self, token: &ForeignToken) -> Option<Objection> {
        let seen = self.seen.get(&self.key(&token.digest))?;
        match (seen.by_others, seen.revoked, token.revoked) {
            (_, _, true) | (false, false, false) => None,
            (true, _, false) => Some(Objection::OtherUser),
            (false, true, false) => Some(Objection::Revoked),
        }
    }

    /// Whether there were more tokens than are compared.
    pub(super) const fn has_overflowed(&self) -> bool {
        self.has_overflowed
    }

    fn key(&self, digest: &ImportedDigest) -> u64 {
        self.hasher.hash_one(digest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Subject;
    use crate::domain::session::Grant;
    use crate::domain::time::Timestamp;

    fn token(byte: u8, subject: &str, revoked: bool) -> ForeignToken {
        ForeignToken {
            digest: ImportedDigest::from_bytes([byte; 32]),
            subject: Subject::new(subject).unwrap(),
            grant: Grant::default(),
            created_at: Timestamp::from_secs(1_795_000_000),
            expires_at: Timestamp::from_secs(1_796_000_000),
            last_used_at: None,
            revoked,
        }
    }

    #[test]
    fn a_token_of_several_users_is_nobodys_and_one_that_is_revoked_anywhere_is_revoked() {
        let mut shared = SharedTokens::default();
        let rows = [
            token(1, "ann", false),
            token(2, "ann", false),
            token(2, "bob", false),
            token(3, "ann", false),
            token(3, "ann", true),
            token(4, "ann", false),
            token(4, "ann", false),
        ];
        for row in &rows {
            shared.note(row);
        }
        let objections: Vec<_> = rows.iter().map(|row| shared.objection(row)).collect();
        let (other, revoked) = (Some(Objection::OtherUser), Some(Objection::Revoked));
        assert_eq!(objections, [None, other, other, revoked, None, None, None]);
        assert!(!shared.has_overflowed());
    }
}
