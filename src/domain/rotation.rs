//! The refresh rules: what a presented refresh token means for its session.
//!
//! The tests explore them exhaustively within small bounds: an honest client, whatever replies and store writes are lost, is
//! never refused; a stolen token is caught once its owner or the thief has moved on. Two things are asked of a client: it gives a
//! refresh up after a third of the leeway, and it keeps the newest token, whatever order replies arrive in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::Generation;
use super::time::Timestamp;

#[cfg(test)]
mod tests;

/// Where a session stands in its line of refresh tokens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Rotation {
    /// The generation that was issued last.
    pub current: Generation,
    /// The generation that `current` was issued for.
    pub parent: Generation,
    /// An access token of `current` was seen by a node, so the client has the reply and `parent` is worth nothing.
    pub acknowledged: bool,
    /// When the leeway began: at the last rotation, or when its token was issued again late. `None` before the first rotation.
    pub rotated_at: Option<Timestamp>,
}

/// What a refresh token says of its place in the line; both numbers are under its MAC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Presented {
    pub generation: Generation,
    pub parent: Generation,
}

/// What to do with a presented token. Where a record is carried, it must be stored before the response is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The store lost acknowledged writes: take the token's word, answer with the same token again.
    Adopt(Rotation),
    /// The last rotation is younger than the leeway: answer with the current token, the same bytes for everyone.
    Reissue,
    /// Answer with the current token as [`Outcome::Reissue`] does, and let the leeway begin again: it would end while slower
    /// attempts of this client are under way.
    Extend(Rotation),
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

    /// For how long a client can have nothing newer than the current token: as long as that yields itself. Nothing, before the first
    /// rotation.
    #[must_use]
    pub fn newest_for(&self, leeway: Duration, now: Timestamp) -> Duration {
        self.rotated_at.map_or(Duration::ZERO, |at| leeway.saturating_sub(now.since(at)))
    }

    fn advanced(self, parent: Generation, now: Timestamp) -> Option<Self> {
        let current = self.current.next()?;
        Some(Self { current, parent, acknowledged: false, rotated_at: Some(now) })
    }
}

/// How long one attempt to refresh may take, from the request to the moment when the client has the response. The leeway is long enough for
/// three: the token of one that was given up still meets the same successor.
#[must_use]
pub fn attempt_max(leeway: Duration) -> Duration {
    leeway / 3
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
    let lacks_current = token.generation == record.parent && !record.acknowledged;
    if record.is_fresh(leeway, now) && token.generation >= record.parent {
        let is_late = !record.is_fresh(attempt_max(leeway), now);
        return if lacks_current && is_late {
            Outcome::Extend(Rotation { rotated_at: Some(now), ..*record })
        } else {
            Outcome::Reissue
        };
    }
    if token.generation == record.current {
        return record.advanced(record.current, now).map_or(Outcome::Exhausted, Outcome::Rotate);
    }
    if lacks_current {
        return record.advanced(record.parent, now).map_or(Outcome::Exhausted, Outcome::Supersede);
    }
    Outcome::Reuse
}
