//! How far back a revocation of a subject reaches.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::claims::Principal;
use crate::domain::ids::SessionId;
use crate::domain::time::{CLOCK_SKEW_MAX, Timestamp};

/// What began before it is dead.
///
/// Two moments, because there are two clocks. Sessions of ours are dated by nodes, to the millisecond, and a login after a revocation
/// can be dated behind it. A token of someone else's making is dated by its `iat`: in whole seconds, by a clock that is believed although
/// it may run ahead of ours by [`CLOCK_SKEW_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Cutoff {
    sessions: Timestamp,
    tokens: Timestamp,
}

const INSTANT: Duration = Duration::from_millis(1);

impl Cutoff {
    /// Sessions that were created, and tokens that were issued, before these moments.
    #[must_use]
    pub const fn new(sessions: Timestamp, tokens: Timestamp) -> Self {
        Self { sessions, tokens }
    }

    /// A moment that somebody named: it is compared with what things say of their beginning, whoever says it.
    #[must_use]
    pub const fn named(moment: Timestamp) -> Self {
        Self::new(moment, moment)
    }

    /// Everything that can have been accepted until `now`: sessions up to `youngest`, should one be dated ahead, and every token whose
    /// `iat` was believable.
    #[must_use]
    pub fn of_all_until(now: Timestamp, youngest: Timestamp) -> Self {
        let sessions = now.max(youngest).saturating_add(INSTANT);
        Self::new(sessions, sessions.max(now.saturating_add(CLOCK_SKEW_MAX + INSTANT)))
    }

    /// Sessions that were created before it are dead.
    #[must_use]
    pub const fn sessions(self) -> Timestamp {
        self.sessions
    }

    /// Tokens that belong to no session and were issued before it are dead.
    #[must_use]
    pub const fn tokens(self) -> Timestamp {
        self.tokens
    }

    /// The last moment that it speaks of.
    #[must_use]
    pub fn latest(self) -> Timestamp {
        self.sessions.max(self.tokens)
    }

    /// Both reach as far as either did.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        Self { sessions: self.sessions.max(other.sessions), tokens: self.tokens.max(other.tokens) }
    }

    /// Whether it reaches as far as the other.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self.merged(other) == self
    }

    /// Whether the session began before. One that was made of a token of someone else is dated by that token.
    #[must_use]
    pub fn covers_session(self, session: SessionId) -> bool {
        let before = if session.token_maker().is_some() { self.tokens } else { self.sessions };
        session.created_at() < before
    }

    /// Whether what the principal's token belongs to began before. A token without `iat` counts as old.
    #[must_use]
    pub fn covers(self, principal: &Principal) -> bool {
        match principal.session {
            Some(session) => self.covers_session(session),
            None => principal.issued_at.is_none_or(|issued_at| issued_at < self.tokens),
        }
    }
}

/// As it is stored: one number where both moments are the same.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    One(Timestamp),
    Two { sessions: Timestamp, tokens: Timestamp },
}

impl From<Written> for Cutoff {
    fn from(written: Written) -> Self {
        match written {
            Written::One(moment) => Self::named(moment),
            Written::Two { sessions, tokens } => Self { sessions, tokens },
        }
    }
}

impl From<Cutoff> for Written {
    fn from(cutoff: Cutoff) -> Self {
        let Cutoff { sessions, tokens } = cutoff;
        if sessions == tokens { Self::One(sessions) } else { Self::Two { sessions, tokens } }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::claims::check_issued;
    use crate::domain::ids::{Generation, Partition, Subject, TokenMaker};

    fn millis(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn covers_token(cutoff: Cutoff, issued_at: Timestamp) -> bool {
        cutoff.covers(&Principal { session: None, issued_at: Some(issued_at), ..principal() })
    }

    fn covers_session(cutoff: Cutoff, created_at: Timestamp) -> bool {
        let session = SessionId::new(Partition(0), created_at, [0; 8]);
        cutoff.covers(&Principal { session: Some(session), generation: Some(Generation(1)), ..principal() })
    }

    /// Made of a token with this `iat`.
    fn covers_exchanged(cutoff: Cutoff, issued_at: Timestamp) -> bool {
        let made = |maker| SessionId::of_subject_token(maker, Partition(0), Some(issued_at), &[0; 32]);
        let [api, issuer] = [TokenMaker::Api, TokenMaker::Issuer].map(|maker| cutoff.covers_session(made(maker)));
        assert_eq!(api, issuer);
        issuer
    }

    fn principal() -> Principal {
        crate::domain::revocation::tests::principal(Subject::new("u").unwrap(), None, None)
    }

    proptest! {
        /// Whatever the clock of its issuer, to the second, in which `iat` is told.
        #[test]
        fn whatever_had_been_accepted_is_covered(
            now in 100_000..1_000_000_i64, before in 0..90_000_i64, ahead in -100_000..100_000_i64, created in 0..1_000_000_i64,
        ) {
            let accepted_at = millis(now - before);
            let issued_at = Timestamp::from_secs((now - before + ahead).div_euclid(1000));
            let cutoff = Cutoff::of_all_until(millis(now), millis(created));
            if check_issued(issued_at, accepted_at).is_ok() {
                prop_assert!(covers_token(cutoff, issued_at) && covers_exchanged(cutoff, issued_at));
            }
            prop_assert!(covers_session(cutoff, accepted_at) && covers_session(cutoff, millis(created)));
        }

        /// A login of ours in the same second, or the same instant: it is dated at the cut-off if it has to be.
        #[test]
        fn what_begins_afterwards_is_not(now in 0..1_000_000_i64, youngest in 0..1_000_000_i64, later in 0..100_000_i64) {
            let cutoff = Cutoff::of_all_until(millis(now), millis(youngest));
            let created_at = millis(now + later).max(cutoff.sessions());
            prop_assert!(!covers_session(cutoff, created_at));
            prop_assert!(created_at <= millis(now.max(youngest) + later + 1), "and not far ahead");
            let sure = cutoff.latest().saturating_add(Duration::from_millis(later.unsigned_abs()));
            prop_assert!(!covers_token(cutoff, sure));
        }

        #[test]
        fn it_is_read_as_it_was_written(sessions: i64, tokens: i64) {
            for cutoff in [Cutoff { sessions: millis(sessions), tokens: millis(tokens) }, Cutoff::named(millis(tokens))] {
                let text = serde_json::to_string(&cutoff).unwrap();
                prop_assert_eq!(serde_json::from_str::<Cutoff>(&text).unwrap(), cutoff, "{}", text);
            }
        }

        #[test]
        fn merging_covers_what_either_covers(a in (0..9_i64, 0..9_i64), b in (0..9_i64, 0..9_i64), at in 0..9_i64) {
            let cutoff = |(sessions, tokens)| Cutoff { sessions: millis(sessions), tokens: millis(tokens) };
            let (a, b, both) = (cutoff(a), cutoff(b), cutoff(a).merged(cutoff(b)));
            prop_assert_eq!(both, b.merged(a));
            prop_assert!(both.includes(a) && both.includes(b));
            for covers in [covers_token, covers_session, covers_exchanged] {
                prop_assert_eq!(covers(both, millis(at)), covers(a, millis(at)) || covers(b, millis(at)));
            }
        }
    }

    #[test]
    fn a_moment_that_was_named_is_one_number() {
        assert_eq!(serde_json::to_string(&Cutoff::named(millis(5))).unwrap(), "5");
    }
}
