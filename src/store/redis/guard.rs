//! Keeps a store that does not respond from taking its callers with it.
//!
//! fred notices a closed connection by itself, but not a server that hangs under steady traffic: every write resets its timer.
//! So a breaker counts calls that got no response, refuses the next ones at once, lets a bounded number of probes through, and
//! has the connection replaced.

use std::time::Duration;

use tokio::time::Instant;

use super::error::{Code, Failure, ServerError};

/// Calls without a response, one after the other, that open the breaker.
const SILENCES_MAX: u32 = 3;

/// While open, one call is let through in each such span.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// What a call's result says of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It responded, perhaps with an error.
    Answered,
    /// It responded that it is no place to write to: the connection should look for the primary again.
    Demoted,
    /// The connection is gone; fred is at it already.
    Broken,
    /// No response within the deadline.
    Silent,
}

impl Verdict {
    pub(super) fn of(failure: &Failure) -> Self {
        match failure {
            Failure::TimedOut => Self::Silent,
            Failure::Disconnected => Self::Broken,
            Failure::Refused(ServerError { code: Code::ReadOnly | Code::PrimaryDown, .. }) => Self::Demoted,
            Failure::Refused(_) => Self::Answered,
        }
    }
}

/// Fails fast while the server is silent. Pure: the time is an argument.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    silences: u32,
    /// Set while open: when the next probe may go.
    probe_at: Option<Instant>,
}

impl Breaker {
    /// Whether a call may go.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        match &mut self.probe_at {
            None => true,
            Some(probe_at) if now >= *probe_at => {
                *probe_at = now + PROBE_INTERVAL;
                true
            }
            Some(_) => false,
        }
    }

    /// Takes note of a call's end. Returns whether the connection should be replaced.
    pub(super) fn record(&mut self, verdict: Verdict, now: Instant) -> bool {
        match verdict {
            Verdict::Answered => {
                self.close();
                false
            }
            Verdict::Demoted => {
                self.close();
                true
            }
            Verdict::Broken | Verdict::Silent => {
                self.silences = self.silences.saturating_add(1);
                let open = self.silences >= SILENCES_MAX;
                if open && self.probe_at.is_none() {
                    self.probe_at = Some(now + PROBE_INTERVAL);
                }
                open && verdict == Verdict::Silent
            }
        }
    }

    /// Whether the last call had a response.
    pub(super) const fn is_calm(&self) -> bool {
        self.silences == 0
    }

    /// The server has shown that it lives.
    pub(super) fn close(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_consecutive_silences_and_lets_one_probe_through_at_a_time() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        assert!(!breaker.record(Verdict::Silent, start));
        assert!(!breaker.record(Verdict::Silent, start));
        assert!(breaker.admit(start));
        assert!(breaker.record(Verdict::Silent, start), "and asks for another connection");
        assert!(!breaker.admit(start));
        let later = start + PROBE_INTERVAL;
        assert!(breaker.admit(later));
        assert!(!breaker.admit(later));
    }

    #[test]
    fn one_answer_closes_it() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..SILENCES_MAX {
            breaker.record(Verdict::Silent, now);
        }
        assert!(!breaker.record(Verdict::Answered, now));
        assert!(breaker.admit(now) && breaker.admit(now));
    }

    #[test]
    fn a_response_in_between_starts_the_count_again() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            breaker.record(Verdict::Silent, now);
            breaker.record(Verdict::Silent, now);
            breaker.record(Verdict::Answered, now);
        }
        assert!(breaker.admit(now));
    }

    #[test]
    fn a_broken_connection_is_not_replaced_twice() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            assert!(!breaker.record(Verdict::Broken, now));
        }
        assert!(!breaker.admit(now));
    }

    #[test]
    fn errors_of_the_server_are_answers() {
        let refused = |text| Verdict::of(&Failure::Refused(ServerError::read(text).unwrap()));
        assert_eq!(refused("LOADING Redis is loading"), Verdict::Answered);
        assert_eq!(refused("READONLY You can't write"), Verdict::Demoted);
        assert_eq!(refused("MASTERDOWN Link with MASTER is down"), Verdict::Demoted);
        assert_eq!(Verdict::of(&Failure::Disconnected), Verdict::Broken);
        assert_eq!(Verdict::of(&Failure::TimedOut), Verdict::Silent);
    }
}
