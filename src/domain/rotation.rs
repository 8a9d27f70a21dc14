//! The refresh rules: what a presented refresh token means for its session.
//!
//! The rules were explored exhaustively as a model before they were written here: an honest client, whatever replies and
//! store writes are lost, is never refused; a stolen token is caught once its owner or the thief has moved on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::Generation;
use super::time::Timestamp;

/// Where a session stands in its line of refresh tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rotation {
    /// The generation that was issued last.
    pub current: Generation,
    /// The generation that `current` was issued for.
    pub parent: Generation,
    /// An access token of `current` was seen by a node, so the client has the reply and `parent` is worth nothing.
    pub acknowledged: bool,
    /// `None` before the first rotation.
    pub rotated_at: Option<Timestamp>,
}

/// What a refresh token says of its place in the line; both numbers are under its MAC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Presented {
    pub generation: Generation,
    pub parent: Generation,
}

/// What to do with a presented token. Where a record is carried, it must be stored before the answer is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The store lost acknowledged writes: take the token's word, answer with the same token again.
    Adopt(Rotation),
    /// The last rotation is younger than the leeway: answer with the current token, the same bytes for everyone.
    Reissue,
    /// The ordinary case.
    Rotate(Rotation),
    /// The last reply never arrived: the generation that it carried is void.
    Supersede(Rotation),
    /// A spent token: theft, or a copy that someone kept.
    Reuse,
    /// Every generation is spent; the session ends as if it had expired.
    Exhausted,
}

impl Rotation {
    /// The record of a session that was just created.
    #[must_use]
    pub const fn first() -> Self {
        Self { current: Generation::FIRST, parent: Generation::NONE, acknowledged: false, rotated_at: None }
    }

    /// The current token's place in the line, from which its bytes are derived.
    #[must_use]
    pub const fn token(&self) -> Presented {
        Presented { generation: self.current, parent: self.parent }
    }

    /// Notes that an access token of `generation` was seen. Returns whether that changed anything.
    pub fn acknowledge(&mut self, generation: Generation) -> bool {
        let news = generation == self.current && !self.acknowledged;
        self.acknowledged |= news;
        news
    }

    /// Whether the last rotation is younger than `leeway`. A rotation stamped by a clock that runs ahead of ours counts as
    /// young: refusing its parent would log an honest client out.
    #[must_use]
    pub fn is_fresh(&self, leeway: Duration, now: Timestamp) -> bool {
        self.rotated_at.is_some_and(|at| now.since(at) < leeway)
    }

    fn advanced(self, parent: Generation, now: Timestamp) -> Option<Self> {
        let current = self.current.next()?;
        Some(Self { current, parent, acknowledged: false, rotated_at: Some(now) })
    }
}

/// Decides what `token` means for the session whose record is `record`. The first rule that fits decides.
#[must_use]
pub fn present(record: &Rotation, token: Presented, leeway: Duration, now: Timestamp) -> Outcome {
    let store_lost_writes = token.generation > record.current;
    if store_lost_writes {
        return Outcome::Adopt(Rotation {
            current: token.generation,
            parent: token.parent,
            acknowledged: false,
            rotated_at: Some(now),
        });
    }
    if record.is_fresh(leeway, now) && token.generation >= record.parent {
        return Outcome::Reissue;
    }
    if token.generation == record.current {
        return record.advanced(record.current, now).map_or(Outcome::Exhausted, Outcome::Rotate);
    }
    let reply_was_lost = token.generation == record.parent && !record.acknowledged;
    if reply_was_lost {
        return record.advanced(record.parent, now).map_or(Outcome::Exhausted, Outcome::Supersede);
    }
    Outcome::Reuse
}
