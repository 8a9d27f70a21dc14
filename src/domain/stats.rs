//! What is counted and measured, and the counters.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Sub};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

mod day;
mod gauge;

pub use day::{DAYS_KEPT, Day};
pub use gauge::{Gauge, Gauges, Readings};

use super::claims::{Denial, Ending, RevokedBy};
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
    /// The upstream said no, or its response named no subject.
    LoginsRefused = "logins_refused",
    /// Granted by the upstream and passed on as it was: the subject is not within `login.issue_share`.
    LoginsNotIssued = "logins_not_issued",
    /// Legacy tokens verified from scratch: about one for each token, worker and start.
    LegacyTokensSeen = "legacy_tokens_seen",
    /// Sessions made of legacy tokens.
    LegacyExchanges = "legacy_exchanges",
    /// Tokens of other issuers that became sessions.
    TokenExchanges = "token_exchanges",
    /// Access tokens given to machines.
    MachineTokens = "machine_tokens",
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
    /// The claims hook gave no response that could be used.
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
    TicketsIssued = "tickets_issued",
    /// Each opened what it was for, or would have but for the rules of the route.
    TicketsSpent = "tickets_spent",
    SessionsEndedByLimit = "sessions_ended_by_limit",
    /// Stored for logins that failed, for the store did not say so in time.
    SessionsWithdrawn = "sessions_withdrawn",
    SessionsSwept = "sessions_swept",
    RequestsForwarded = "requests_forwarded",
    /// By a route's own redirect or fixed response.
    RequestsAnsweredByRoute = "requests_answered_by_route",
    /// A proxy's question about a request, answered with yes.
    DecisionsAllowed = "decisions_allowed",
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
    /// A claim that the route demands was missing, or had none of the values that do.
    RejectedClaims = "rejected_claims",
    /// The login was longer ago than the route allows.
    RejectedLoginAge = "rejected_login_age",
    /// From an address that the route does not allow.
    RejectedAddress = "rejected_address",
    /// A token in a cookie, with a call that another site may have made the browser send.
    RejectedOrigin = "rejected_origin",
    RejectedRevocationsStale = "rejected_revocations_stale",
    RejectedStoreUnavailable = "rejected_store_unavailable",
    /// The node itself did not find out whether the caller is let in.
    RejectedUndecided = "rejected_undecided",
    RejectedIssuerKeysUnavailable = "rejected_issuer_keys_unavailable",
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
    ObservedClaims = "observed_claims",
    ObservedLoginAge = "observed_login_age",
    ObservedOrigin = "observed_origin",
    ObservedRevocationsStale = "observed_revocations_stale",
    ObservedStoreUnavailable = "observed_store_unavailable",
    ObservedUndecided = "observed_undecided",
    ObservedIssuerKeysUnavailable = "observed_issuer_keys_unavailable",
    /// Broken or ambiguous HTTP.
    RejectedMalformed = "rejected_malformed",
    /// Header or body beyond its limit.
    RejectedTooLarge = "rejected_too_large",
    /// The client was too slow.
    RejectedTimeout = "rejected_timeout",
    RejectedNoRoute = "rejected_no_route",
    RateLimited = "rate_limited",
    /// Own endpoints and confirmations: too many in progress.
    CallsOverloaded = "calls_overloaded",
    /// Own endpoints and confirmations: the client waited for as long as it may.
    CallsTimedOut = "calls_timed_out",
    /// Begun, and broken off because the client went, or its request did.
    ResponsesEndedByClient = "responses_ended_by_client",
    /// Begun, and broken off because its session ended.
    ResponsesEndedBySession = "responses_ended_by_session",
    /// Begun, and broken off because its token expired.
    ResponsesEndedByExpiry = "responses_ended_by_expiry",
    /// The key of the token was removed.
    ResponsesEndedByKey = "responses_ended_by_key",
    /// Exchanges that went on with a newer token of their session when theirs was over.
    StreamsRenewed = "streams_renewed",
    UpstreamErrors = "upstream_errors",
    UpstreamTimeouts = "upstream_timeouts",
    UpstreamRetries = "upstream_retries",
    /// Servers of upstreams that were ejected.
    UpstreamEjections = "upstream_ejections",
    UpstreamProbesPassed = "upstream_probes_passed",
    UpstreamProbesFailed = "upstream_probes_failed",
    TokenCacheHits = "token_cache_hits",
    TokenCacheMisses = "token_cache_misses",
    Connections = "connections",
    /// Connections that agreed on new keys.
    TlsHandshakes = "tls_handshakes",
    /// Connections that went on with a session of before.
    TlsHandshakesResumed = "tls_handshakes_resumed",
    TlsHandshakesFailed = "tls_handshakes_failed",
    /// Connections whose PROXY header was missing, malformed, late, or of nobody who is trusted.
    ProxyHeadersRefused = "proxy_headers_refused",
    /// Ended because all places were taken, and its address held most of them.
    ConnectionsGivenUp = "connections_given_up",
    /// Beyond what one address may have, or of nobody who may ask for decisions.
    ConnectionsRefused = "connections_refused",
    /// On which HTTP/2 is spoken: ended because the client took back more requests, or sent more frames that carry nothing, than
    /// anybody needs.
    ClientFloods = "client_floods",
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
            Denial::Ambiguous(_) | Denial::CookieRepeated | Denial::TicketMisused(_) => Self::RejectedAmbiguous,
            Denial::Invalid(_) | Denial::KeyUnknown | Denial::KeyDisputed | Denial::TicketInvalid => Self::RejectedInvalid,
            Denial::IssuerKeysUnavailable(_) => Self::RejectedIssuerKeysUnavailable,
            Denial::Expired | Denial::SessionOver => Self::of_ending(Ending::Expired),
            Denial::RefreshLimited(_) => Self::RateLimited,
            Denial::Revoked(by) => Self::of_ending(Ending::Revoked(*by)),
            Denial::InsufficientScope(_) => Self::RejectedScope,
            Denial::InsufficientClaims(_) => Self::RejectedClaims,
            Denial::LoginTooOld(_) => Self::RejectedLoginAge,
            Denial::OriginRefused => Self::RejectedOrigin,
            Denial::RevocationsStale => Self::RejectedRevocationsStale,
            Denial::StoreUnavailable => Self::RejectedStoreUnavailable,
            Denial::Undecided(_) => Self::RejectedUndecided,
        }
    }

    /// The counter of requests that were refused, or not answered, because their caller's time was over.
    #[must_use]
    pub const fn of_ending(ending: Ending) -> Self {
        match ending {
            Ending::Expired => Self::RejectedExpired,
            Ending::Revoked(RevokedBy::Session) => Self::RejectedRevokedSession,
            Ending::Revoked(RevokedBy::Subject) => Self::RejectedRevokedSubject,
            Ending::Revoked(RevokedBy::Token) => Self::RejectedRevokedToken,
            Ending::Revoked(RevokedBy::Everyone) => Self::RejectedRevokedEveryone,
        }
    }

    /// The counter of requests that would have been refused for this cause, and were not.
    #[must_use]
    pub const fn of_observed(denial: &Denial) -> Self {
        match denial {
            Denial::NoToken => Self::ObservedNoToken,
            Denial::Ambiguous(_) | Denial::CookieRepeated | Denial::TicketMisused(_) => Self::ObservedAmbiguous,
            Denial::Invalid(_) | Denial::KeyUnknown | Denial::KeyDisputed | Denial::TicketInvalid => Self::ObservedInvalid,
            Denial::IssuerKeysUnavailable(_) => Self::ObservedIssuerKeysUnavailable,
            // With an access token that has expired, or none.
            Denial::Expired | Denial::SessionOver | Denial::RefreshLimited(_) => Self::ObservedExpired,
            Denial::Revoked(RevokedBy::Session) => Self::ObservedRevokedSession,
            Denial::Revoked(RevokedBy::Subject) => Self::ObservedRevokedSubject,
            Denial::Revoked(RevokedBy::Token) => Self::ObservedRevokedToken,
            Denial::Revoked(RevokedBy::Everyone) => Self::ObservedRevokedEveryone,
            Denial::InsufficientScope(_) => Self::ObservedScope,
            Denial::InsufficientClaims(_) => Self::ObservedClaims,
            Denial::LoginTooOld(_) => Self::ObservedLoginAge,
            Denial::OriginRefused => Self::ObservedOrigin,
            Denial::RevocationsStale => Self::ObservedRevocationsStale,
            Denial::StoreUnavailable => Self::ObservedStoreUnavailable,
            Denial::Undecided(_) => Self::ObservedUndecided,
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

/// One set of counters. Any thread may add; each thread of the data plane has a set of its own from the [`Tally`], so that no
/// two cores fight for a cache line on every request.
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

/// All counters of the process: as many sets as there are threads that should not disturb each other.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Vec<Arc<Counters>>>);

impl Tally {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more set. It counts for as long as the process lives, whatever becomes of the thread that had it.
    #[must_use]
    pub fn new_set(&self) -> Arc<Counters> {
        let set = Arc::new(Counters::new());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&set));
        set
    }

    /// The sum of all sets.
    #[must_use]
    pub fn total(&self) -> Snapshot {
        let sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sets.iter().fold(Snapshot::ZERO, |mut total, set| {
            total += set.snapshot();
            total
        })
    }
}

/// The counters at one moment; each is exact, though not all were read in the same instant. Written as a
/// map from names to the values that are not zero.
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

    /// Those that are not zero.
    pub fn counted(&self) -> impl Iterator<Item = (Counter, u64)> {
        self.iter().filter(|(_, value)| *value > 0)
    }

    /// All but this one.
    #[must_use]
    pub const fn without(mut self, counter: Counter) -> Self {
        self.0[counter as usize] = 0;
        self
    }

    /// Each counter the larger of the two.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].max(other.0[i])))
    }
}

impl FromIterator<(Counter, u64)> for Snapshot {
    fn from_iter<I: IntoIterator<Item = (Counter, u64)>>(counts: I) -> Self {
        let mut all = Self::ZERO;
        counts.into_iter().for_each(|(counter, value)| all.0[counter as usize] = value);
        all
    }
}

/// What was counted since; never less than nothing.
impl Sub for Snapshot {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].saturating_sub(earlier.0[i])))
    }
}

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (counter, value) in self.counted() {
            map.serialize_entry(counter.name(), &value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Snapshot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let named = BTreeMap::<String, u64>::deserialize(deserializer)?;
        let known = |counter: Counter| Some((counter, *named.get(counter.name())?));
        Ok(Counter::ALL.into_iter().filter_map(known).collect())
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

    #[test]
    fn what_the_sets_counted_is_added_up_also_when_their_threads_are_gone() {
        let tally = Tally::new();
        let (first, second) = (tally.new_set(), tally.new_set());
        first.add(Counter::Logins, 2);
        second.add(Counter::Logins, 3);
        let before = tally.total();
        drop((first, second));
        tally.new_set().add(Counter::Logouts, 1);
        assert_eq!(before.value(Counter::Logins), 5);
        let since = tally.total() - before;
        assert_eq!(since.counted().collect::<Vec<_>>(), [(Counter::Logouts, 1)]);
    }

    #[test]
    fn counts_are_written_by_name_and_those_of_another_version_are_passed_over() {
        let counts: Snapshot = [(Counter::Logins, 3), (Counter::Panics, 1)].into_iter().collect();
        let text = serde_json::to_string(&counts).unwrap();
        assert_eq!(text, r#"{"logins":3,"panics":1}"#);
        let newer = text.replace('{', r#"{"of_a_newer_version":1,"#);
        assert_eq!(serde_json::from_str::<Snapshot>(&newer).unwrap(), counts);
    }
}
