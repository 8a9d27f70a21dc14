//! What is counted, and the counters.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

use super::claims::{Denial, RevokedBy};
use super::revocation::Target;
use super::rotation::Outcome;

macro_rules! counter {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What is counted. Names are stable: they are stored and scraped.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Counter { $($(#[$doc])* $variant,)* }

        impl Counter {
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Snake case, stable across versions.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

counter! {
    Logins = "logins",
    Registrations = "registrations",
    QuickRegistrations = "quick_registrations",
    /// The upstream said no, or its answer named no subject.
    LoginsRefused = "logins_refused",
    /// Granted by the upstream and passed on as it was: the subject is not within `login.issue_share`.
    LoginsNotIssued = "logins_not_issued",
    /// Old tokens verified from scratch: about one for each token, worker and start.
    LegacyTokensSeen = "legacy_tokens_seen",
    /// Sessions made of old tokens.
    LegacyExchanges = "legacy_exchanges",
    RefreshesRotated = "refreshes_rotated",
    RefreshesReissued = "refreshes_reissued",
    RefreshesSuperseded = "refreshes_superseded",
    RefreshesAdopted = "refreshes_adopted",
    RefreshesReused = "refreshes_reused",
    /// Well-formed, but of no session that is known.
    RefreshesUnknown = "refreshes_unknown",
    RefreshesExpired = "refreshes_expired",
    RefreshesExhausted = "refreshes_exhausted",
    /// The claims hook no longer knows the subject: the session ended.
    RefreshesDisowned = "refreshes_disowned",
    /// The claims hook gave no answer that could be used.
    ClaimsHookFailures = "claims_hook_failures",
    /// The session was revoked, by the store or by what the replica remembers.
    RefreshesRevoked = "refreshes_revoked",
    /// Not a token of ours: wrong form, key or MAC.
    RefreshesMalformed = "refreshes_malformed",
    /// Compare-and-swap lost more often than is tried.
    RefreshesContended = "refreshes_contended",
    /// A reissue to another address or user agent than the rotation.
    ReissuesToAnotherClient = "reissues_to_another_client",
    AcknowledgementsWritten = "acknowledgements_written",
    /// The queue was full, or the store kept failing; a later cache miss repeats them.
    AcknowledgementsDropped = "acknowledgements_dropped",
    Logouts = "logouts",
    RevocationsBySession = "revocations_by_session",
    RevocationsBySubject = "revocations_by_subject",
    RevocationsByToken = "revocations_by_token",
    RevocationsOfEveryone = "revocations_of_everyone",
    /// Taken from the log of the store.
    RevocationsApplied = "revocations_applied",
    /// Lost by the store and written to it again.
    RevocationsPutBack = "revocations_put_back",
    SessionsEndedByLimit = "sessions_ended_by_limit",
    SessionsSwept = "sessions_swept",
    RequestsForwarded = "requests_forwarded",
    /// Protected requests that were let through while the revocations were stale.
    RequestsServedStale = "requests_served_stale",
    RejectedNoToken = "rejected_no_token",
    RejectedAmbiguous = "rejected_ambiguous",
    RejectedInvalid = "rejected_invalid",
    RejectedExpired = "rejected_expired",
    RejectedRevokedSession = "rejected_revoked_session",
    RejectedRevokedSubject = "rejected_revoked_subject",
    RejectedRevokedToken = "rejected_revoked_token",
    RejectedRevokedEveryone = "rejected_revoked_everyone",
    RejectedScope = "rejected_scope",
    /// A token in a cookie, with a call that another site may have made the browser send.
    RejectedOrigin = "rejected_origin",
    RejectedRevocationsStale = "rejected_revocations_stale",
    RejectedStoreUnavailable = "rejected_store_unavailable",
    /// Let through though they would have been refused: the route observes them.
    ObservedNoToken = "observed_no_token",
    ObservedAmbiguous = "observed_ambiguous",
    ObservedInvalid = "observed_invalid",
    ObservedExpired = "observed_expired",
    ObservedRevokedSession = "observed_revoked_session",
    ObservedRevokedSubject = "observed_revoked_subject",
    ObservedRevokedToken = "observed_revoked_token",
    ObservedRevokedEveryone = "observed_revoked_everyone",
    ObservedScope = "observed_scope",
    ObservedOrigin = "observed_origin",
    ObservedRevocationsStale = "observed_revocations_stale",
    ObservedStoreUnavailable = "observed_store_unavailable",
    /// Broken or ambiguous HTTP.
    RejectedMalformed = "rejected_malformed",
    /// Header or body beyond its limit.
    RejectedTooLarge = "rejected_too_large",
    /// The client was too slow.
    RejectedTimeout = "rejected_timeout",
    RejectedNoRoute = "rejected_no_route",
    RateLimited = "rate_limited",
    UpstreamErrors = "upstream_errors",
    UpstreamTimeouts = "upstream_timeouts",
    UpstreamRetries = "upstream_retries",
    TokenCacheHits = "token_cache_hits",
    TokenCacheMisses = "token_cache_misses",
    Connections = "connections",
    StoreErrors = "store_errors",
    TasksRestarted = "tasks_restarted",
    Panics = "panics",
}

impl Counter {
    /// The counter of refreshes that ended so.
    #[must_use]
    pub const fn of_refresh(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Adopt(_) => Self::RefreshesAdopted,
            Outcome::Reissue | Outcome::Extend(_) => Self::RefreshesReissued,
            Outcome::Rotate(_) => Self::RefreshesRotated,
            Outcome::Supersede(_) => Self::RefreshesSuperseded,
            Outcome::Reuse => Self::RefreshesReused,
            Outcome::Exhausted => Self::RefreshesExhausted,
        }
    }

    /// The counter of requests that were refused for this cause.
    #[must_use]
    pub const fn of_denial(denial: &Denial) -> Self {
        match denial {
            Denial::NoToken => Self::RejectedNoToken,
            Denial::Ambiguous(_) => Self::RejectedAmbiguous,
            Denial::Invalid(_) => Self::RejectedInvalid,
            Denial::Expired => Self::RejectedExpired,
            Denial::Revoked(RevokedBy::Session) => Self::RejectedRevokedSession,
            Denial::Revoked(RevokedBy::Subject) => Self::RejectedRevokedSubject,
            Denial::Revoked(RevokedBy::Token) => Self::RejectedRevokedToken,
            Denial::Revoked(RevokedBy::Everyone) => Self::RejectedRevokedEveryone,
            Denial::InsufficientScope(_) => Self::RejectedScope,
            Denial::OriginRefused => Self::RejectedOrigin,
            Denial::RevocationsStale => Self::RejectedRevocationsStale,
            Denial::StoreUnavailable => Self::RejectedStoreUnavailable,
        }
    }

    /// The counter of requests that would have been refused for this cause, and were not.
    #[must_use]
    pub const fn of_observed(denial: &Denial) -> Self {
        match denial {
            Denial::NoToken => Self::ObservedNoToken,
            Denial::Ambiguous(_) => Self::ObservedAmbiguous,
            Denial::Invalid(_) => Self::ObservedInvalid,
            Denial::Expired => Self::ObservedExpired,
            Denial::Revoked(RevokedBy::Session) => Self::ObservedRevokedSession,
            Denial::Revoked(RevokedBy::Subject) => Self::ObservedRevokedSubject,
            Denial::Revoked(RevokedBy::Token) => Self::ObservedRevokedToken,
            Denial::Revoked(RevokedBy::Everyone) => Self::ObservedRevokedEveryone,
            Denial::InsufficientScope(_) => Self::ObservedScope,
            Denial::OriginRefused => Self::ObservedOrigin,
            Denial::RevocationsStale => Self::ObservedRevocationsStale,
            Denial::StoreUnavailable => Self::ObservedStoreUnavailable,
        }
    }

    /// The counter of revocations of this kind.
    #[must_use]
    pub const fn of_revocation(target: &Target) -> Self {
        match target {
            Target::Session { .. } => Self::RevocationsBySession,
            Target::Subject { .. } => Self::RevocationsBySubject,
            Target::Token { .. } => Self::RevocationsByToken,
            Target::Everyone { .. } => Self::RevocationsOfEveryone,
        }
    }
}

const COUNTERS: usize = Counter::ALL.len();

/// One set of counters. Any thread may add; a data-plane thread has a set of its own, so that no two cores fight for a cache
/// line on every request, and readers add the snapshots up.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters([AtomicU64; COUNTERS]);

impl Counters {
    #[must_use]
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; COUNTERS])
    }

    pub fn add(&self, counter: Counter, n: u64) {
        self.0[counter as usize].fetch_add(n, Ordering::Relaxed);
    }

    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(std::array::from_fn(|i| self.0[i].load(Ordering::Relaxed)))
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

/// The counters at one moment; each is exact, though not all were read in the same instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Snapshot([u64; COUNTERS]);

impl Snapshot {
    pub const ZERO: Self = Self([0; COUNTERS]);

    #[must_use]
    pub const fn value(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> {
        Counter::ALL.into_iter().zip(self.0)
    }
}

impl AddAssign for Snapshot {
    fn add_assign(&mut self, other: Self) {
        for (sum, value) in self.0.iter_mut().zip(other.0) {
            *sum = sum.wrapping_add(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_distinct_snake_case() {
        let names: HashSet<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        assert_eq!(names.len(), COUNTERS);
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
    }

    #[test]
    fn every_counter_has_a_place_of_its_own() {
        let counters = Counters::new();
        for (n, counter) in (1..).zip(Counter::ALL) {
            counters.add(counter, n);
        }
        let mut sum = counters.snapshot();
        sum += counters.snapshot();
        for (n, (counter, value)) in (1..).zip(sum.iter()) {
            assert_eq!((value, sum.value(counter)), (2 * n, 2 * n));
        }
    }
}
