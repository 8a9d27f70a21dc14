//! Whom an exchange speaks for, and when that is over.

use std::fmt;
use std::sync::Arc;

use super::open_streams::{Enrolled, OpenStreams, is_newer};
use crate::crypto::verifier::Verified;
use crate::domain::claims::{Denial, Ending};
use crate::domain::secret::Secret;
use crate::domain::stats::Counter;
use crate::domain::time::Timestamp;

/// What an exchange stands on: a token, and the route that it was admitted by.
#[derive(Debug)]
pub struct Bond {
    pub token: Verified,
    /// Its name.
    pub route: Arc<str>,
    enrolment: Enrolment,
    word: Word,
}

/// What a caller says of its own accord.
#[derive(Debug)]
enum Word {
    None,
    /// A newer token, to be judged.
    Asked(Secret<String>),
    Answered(Renewal),
}

/// What became of a token that a caller sent for its stream: until when the stream has one.
pub type Renewal = Result<Timestamp, NotRenewed>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotRenewed {
    /// What the caller is told.
    pub code: &'static str,
    /// Whether the same token would be refused again.
    pub is_for_good: bool,
}

impl NotRenewed {
    /// The stream stands on no token of a session, or its route lets nobody renew it so any more.
    pub const WITHOUT_SESSION: Self = Self { code: "not_renewable", is_for_good: true };
    pub const OF_ANOTHER_SESSION: Self = Self { code: "session_differs", is_for_good: true };
}

/// Whether the exchange is one of the open streams of its session. Most are over before they would be.
#[derive(Debug)]
enum Enrolment {
    New,
    /// It was there at one tick.
    Noticed,
    Open {
        enrolled: Enrolled,
        /// For so many ticks.
        ticks: u8,
    },
    /// There is no session.
    Never,
}

/// By then every worker has repeated what it saw right before the enrolment ([`Renewals`](super::auth::renewals::Renewals)).
const TICKS_TO_HEAR: u8 = 3;

/// Why an exchange must end for its caller's sake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallerEnd {
    /// The time of the token or its session is over.
    Over(Ending),
    /// The key that signed the token is no longer one of its issuer's.
    KeyRemoved,
}

/// How a bond stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Holds,
    /// It stands on a newer token from now on.
    Renewed,
    Ends(CallerEnd),
}

impl Bond {
    pub fn new(token: Verified, route: Arc<str>) -> Self {
        let enrolment = if token.principal.session.is_some() { Enrolment::New } else { Enrolment::Never };
        Self { token, route, enrolment, word: Word::None }
    }

    /// Has a newer token judged, in the place of one that was not judged yet.
    pub fn ask_for_renewal(&mut self, token: Secret<String>) {
        self.word = Word::Asked(token);
    }

    /// A token to be judged, once, unless the exchange has come to an `end` that no token changes: where its key was removed, nobody knows
    /// whose newer token it is. To be followed by [`Self::answer`].
    pub fn take_asked(&mut self, end: Option<CallerEnd>) -> Option<Secret<String>> {
        if end.is_some_and(CallerEnd::is_final) {
            return None;
        }
        match std::mem::replace(&mut self.word, Word::None) {
            Word::Asked(token) => Some(token),
            other => {
                self.word = other;
                None
            }
        }
    }

    pub fn answer(&mut self, renewal: Renewal) {
        self.word = Word::Answered(renewal);
    }

    pub const fn is_answered(&self) -> bool {
        matches!(self.word, Word::Answered(_))
    }

    /// What came of a token, once.
    pub fn take_renewal(&mut self) -> Option<Renewal> {
        match std::mem::replace(&mut self.word, Word::None) {
            Word::Answered(renewal) => Some(renewal),
            other => {
                self.word = other;
                None
            }
        }
    }

    /// Stands on `token` from now on, unless it stands on one that was issued no earlier. Whether it is another.
    pub fn stand_on(&mut self, token: &Verified) -> bool {
        let is_newer = is_newer(&token.principal, &self.token.principal);
        if is_newer {
            self.token = token.clone();
        }
        is_newer
    }

    /// Counts the exchange among the open streams once two ticks have found it. Ordinary requests are over by then, and never touch what
    /// workers share. Called at each tick.
    pub fn notice(&mut self, open: &Arc<OpenStreams>) {
        match &mut self.enrolment {
            Enrolment::New => self.enrolment = Enrolment::Noticed,
            Enrolment::Noticed => self.enrol(open),
            Enrolment::Open { ticks, .. } => *ticks = ticks.saturating_add(1),
            Enrolment::Never => {}
        }
    }

    /// Whether a newer token may have been seen of which the open streams of the session were not told, because this one has only begun.
    /// It is enrolled at once then, for its own token is over.
    pub fn may_hear_of_newer(&mut self, open: &Arc<OpenStreams>) -> bool {
        match self.enrolment {
            Enrolment::New | Enrolment::Noticed => self.enrol(open),
            Enrolment::Open { .. } | Enrolment::Never => {}
        }
        matches!(self.enrolment, Enrolment::Open { ticks, .. } if ticks < TICKS_TO_HEAR)
    }

    fn enrol(&mut self, open: &Arc<OpenStreams>) {
        self.enrolment = match self.token.principal.session {
            Some(session) => Enrolment::Open { enrolled: open.enrol(session), ticks: 0 },
            None => Enrolment::Never,
        };
    }

    /// The newest token that was seen of the session. Session ids that are derived from legacy tokens could coincide: another subject's is
    /// none.
    pub fn newest(&self) -> Option<Verified> {
        let Enrolment::Open { enrolled, .. } = &self.enrolment else { return None };
        enrolled.newest().filter(|newest| newest.principal.subject == self.token.principal.subject)
    }
}

impl CallerEnd {
    /// Whether no other token changes that.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Over(Ending::Revoked(_)) | Self::KeyRemoved => true,
            Self::Over(Ending::Expired) => false,
        }
    }

    /// What is counted where the response had begun.
    pub const fn counter(self) -> Counter {
        match self {
            Self::Over(Ending::Expired) => Counter::ResponsesEndedByExpiry,
            Self::Over(Ending::Revoked(_)) => Counter::ResponsesEndedBySession,
            Self::KeyRemoved => Counter::ResponsesEndedByKey,
        }
    }
}

impl fmt::Display for CallerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Over(ending) => write!(f, "{ending}"),
            Self::KeyRemoved => f.write_str("the token's key was removed"),
        }
    }
}

impl From<CallerEnd> for Denial {
    fn from(end: CallerEnd) -> Self {
        match end {
            CallerEnd::Over(ending) => ending.into(),
            CallerEnd::KeyRemoved => Self::Invalid("its key was removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::verified;
    use crate::domain::claims::RevokedBy;
    use crate::domain::ids::SessionId;

    #[test]
    fn no_token_of_the_client_is_judged_once_the_end_is_final() {
        let asked = |end| {
            let mut bond = Bond::new(verified(SessionId::from_bytes([3; 16]), 10, 800), "told".into());
            bond.ask_for_renewal(Secret::new("newer".to_owned()));
            bond.take_asked(end).is_some()
        };
        assert!(asked(None) && asked(Some(CallerEnd::Over(Ending::Expired))));
        assert!(!asked(Some(CallerEnd::KeyRemoved)) && !asked(Some(CallerEnd::Over(Ending::Revoked(RevokedBy::Session)))));
    }
}
