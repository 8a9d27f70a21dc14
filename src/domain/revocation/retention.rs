//! How long revocations are kept.

use std::time::Duration;

use crate::domain::time::{CLOCK_SKEW_MAX, Timestamp};

/// How long a revocation is kept: at least as long as any token that it covers may still be accepted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Retention(Duration);

impl Retention {
    /// The shortest retention for tokens that are accepted for these spans after they are issued, leeway included.
    #[must_use]
    pub fn covering(accepted_for: impl IntoIterator<Item = Duration>) -> Self {
        let longest = accepted_for.into_iter().max().unwrap_or_default();
        Self(longest.saturating_add(CLOCK_SKEW_MAX))
    }

    /// A longer one.
    ///
    /// # Errors
    /// `span` is shorter: a revoked token would be accepted again.
    pub fn extended_to(self, span: Duration) -> Result<Self, TooShort> {
        if span < self.0 { Err(TooShort { needed: self.0 }) } else { Ok(Self(span)) }
    }

    #[must_use]
    pub const fn span(self) -> Duration {
        self.0
    }

    /// When a revocation that is made at `now` may be forgotten.
    #[must_use]
    pub fn forget_at(self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.0)
    }
}

/// A span that is shorter than tokens are accepted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooShort {
    pub needed: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_outlives_every_token_that_it_covers() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let needed = Retention::covering([minutes(15), minutes(90), minutes(5)]);
        assert_eq!(needed.span(), minutes(91));
        assert_eq!(needed.forget_at(Timestamp::from_secs(0)), Timestamp::from_secs(91 * 60));
        assert_eq!(needed.extended_to(minutes(90)), Err(TooShort { needed: minutes(91) }));
        assert_eq!(needed.extended_to(minutes(91)), Ok(needed));
        assert!(needed.extended_to(minutes(92)).is_ok_and(|longer| longer > needed));
    }
}
