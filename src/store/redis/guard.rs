//! Keeps a store that does not answer from taking its callers with it.
//!
//! fred notices a closed connection by itself, but not a server that hangs under steady traffic: every write resets its timer.
//! So a breaker counts calls that got no answer, refuses the next ones at once, lets a bounded number of probes through, and
//! has the connection replaced.

use std::time::Duration;

use fred::error::{Error, ErrorKind};
use tokio::time::Instant;

use super::options::Address;
use crate::store::StoreError;

/// Calls without an answer, one after the other, that open the breaker.
const SILENCES_MAX: u32 = 3;

/// While open, one call is let through in each such span.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// What a call's result says of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It answered, be it with an error.
    Answered,
    /// It answered that it is no place to write to: the connection should look for the primary again.
    Demoted,
    /// The connection is gone; fred is at it already.
    Broken,
    /// No answer within the deadline.
    Silent,
}

impl Verdict {
    pub(super) fn of(error: &Error) -> Self {
        if *error.kind() == ErrorKind::Timeout {
            return Self::Silent;
        }
        match server_code(error.details()) {
            Some("READONLY" | "MASTERDOWN") => Self::Demoted,
            Some(_) => Self::Answered,
            None => Self::Broken,
        }
    }
}

/// The code that an error of the server begins with, as in `LOADING Redis is loading the dataset in memory`.
pub(super) fn server_code(details: &str) -> Option<&str> {
    let code = details.split(' ').next().unwrap_or_default();
    (code.len() >= 2 && code.bytes().all(|byte| byte.is_ascii_uppercase())).then_some(code)
}

/// Where a node of a Cluster sends a command that it does not run itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Redirection {
    /// The slot belongs to this node now.
    Moved(Address),
    /// The slot is being moved there: this one command belongs there, after `ASKING`.
    Ask(Address),
    /// The slot is being moved, and some of the keys are here, some there.
    Wait,
}

impl Redirection {
    /// `from` is who answered: a node that knows no name for another leaves the host out, and means its own.
    pub(super) fn of(error: &Error, from: &Address) -> Option<Self> {
        let details = error.details();
        let target = || {
            let address = details.split(' ').nth(2)?;
            match address.strip_prefix(':').and_then(|port| port.parse().ok()) {
                Some(port) => Some(Address { host: from.host.clone(), port }),
                None => Address::parse(address),
            }
        };
        match server_code(details)? {
            "MOVED" => target().map(Self::Moved),
            "ASK" => target().map(Self::Ask),
            "TRYAGAIN" => Some(Self::Wait),
            _ => None,
        }
    }
}

/// What the caller of the store is told.
pub(super) fn store_error(error: &Error) -> StoreError {
    let details = error.details();
    match server_code(details) {
        Some("OOM") => StoreError::Full(details.into()),
        Some("WRONGTYPE") => StoreError::Unreadable(details.into()),
        Some(_) => StoreError::Unavailable(details.into()),
        None if details.contains("OOM command not allowed") => StoreError::Full(details.into()),
        None => StoreError::Unavailable(in_words(error)),
    }
}

/// What went wrong, for people. Of a failed connection fred keeps what `Debug` made of its error; the cause is taken out of that.
pub(super) fn in_words(error: &Error) -> String {
    let details = error.details();
    let within = |before: &str, after: &str| details.split_once(before)?.1.strip_suffix(after);
    if details.starts_with("Os {") {
        within("message: \"", "\" }").map(str::to_owned)
    } else if details.starts_with("Custom { kind: InvalidData,") {
        // As tokio-rustls has it.
        within("error: ", " }").map(|cause| format!("TLS: {cause}"))
    } else if details.starts_with("Custom {") {
        within("error: ", " }").map(|cause| cause.trim_matches('"').to_owned())
    } else {
        None
    }
    .unwrap_or_else(|| error.to_string())
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

    /// Whether the last call had an answer.
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

    fn error(kind: ErrorKind, details: &'static str) -> Error {
        Error::new(kind, details)
    }

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
    fn an_answer_in_between_starts_the_count_again() {
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
        assert_eq!(Verdict::of(&error(ErrorKind::Unknown, "LOADING Redis is loading")), Verdict::Answered);
        assert_eq!(Verdict::of(&error(ErrorKind::Unknown, "READONLY You can't write")), Verdict::Demoted);
        assert_eq!(Verdict::of(&error(ErrorKind::Unknown, "Failed to route command.")), Verdict::Broken);
        assert_eq!(Verdict::of(&error(ErrorKind::IO, "Connection closed.")), Verdict::Broken);
        assert_eq!(Verdict::of(&error(ErrorKind::Timeout, "Request timed out.")), Verdict::Silent);
    }

    #[test]
    fn only_a_full_server_is_full() {
        let full = "OOM command not allowed when used memory > 'maxmemory'. script: 17, on @user_script:1.";
        assert!(matches!(store_error(&error(ErrorKind::Unknown, full)), StoreError::Full(_)));
        for unavailable in ["LOADING x", "READONLY x", "MOVED 1 a:1", "ASK 1 a:1", "BUSY x", "MISCONF x", "MASTERDOWN x", "ERR x"]
        {
            let mapped = store_error(&Error::new(ErrorKind::Unknown, unavailable.to_owned()));
            assert!(matches!(mapped, StoreError::Unavailable(_)), "{unavailable}");
        }
        assert!(matches!(store_error(&error(ErrorKind::InvalidArgument, "WRONGTYPE x")), StoreError::Unreadable(_)));
    }

    #[test]
    fn what_went_wrong_is_told_without_wrapping() {
        for (details, told) in [
            ("Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }", "Connection refused"),
            ("Custom { kind: InvalidData, error: AlertReceived(UnknownCA) }", "TLS: AlertReceived(UnknownCA)"),
            ("Custom { kind: Uncategorized, error: \"failed to lookup address\" }", "failed to lookup address"),
            ("Kind(UnexpectedEof)", "IO Error: Kind(UnexpectedEof)"),
            ("Os { strange }", "IO Error: Os { strange }"),
        ] {
            assert_eq!(in_words(&error(ErrorKind::IO, details)), told);
        }
    }

    #[test]
    fn a_redirection_names_its_target() {
        let from = Address { host: "a".into(), port: 1 };
        let of = |details: &'static str| Redirection::of(&error(ErrorKind::Cluster, details), &from);
        assert_eq!(of("MOVED 3999 127.0.0.1:6381"), Address::parse("127.0.0.1:6381").map(Redirection::Moved));
        assert_eq!(of("MOVED 3999 :6381"), Address::parse("a:6381").map(Redirection::Moved));
        assert_eq!(of("ASK 3999 ::1:6381"), Address::parse("[::1]:6381").map(Redirection::Ask));
        assert_eq!(of("TRYAGAIN Multiple keys request during rehashing of slot"), Some(Redirection::Wait));
        for other in ["MOVED", "MOVED 1", "MOVED 1 a:b", "CLUSTERDOWN Hash slot not served", "Connection closed."] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
