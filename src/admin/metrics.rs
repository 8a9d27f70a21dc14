//! `/metrics`: what this process counts and measures, as Prometheus scrapes it. Every label has a fixed set of values, or those that the
//! settings name.

mod encode;
mod process;
mod requests;
mod upstreams;

use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::response::{BoxedResponse, problem, text};
use crate::domain::meters::Meters;
use crate::domain::stats::{Counter, Gauge};
use crate::domain::upstream_report::UpstreamStates;
use crate::sessions::statistics::{Figures, Live};
use process::OfProcess;
use requests::OfRequests;
use upstreams::OfUpstreams;

/// Of the text format, as `Content-Type` says it.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Responds to scrapes.
pub(super) struct Metrics(Registry);

impl Metrics {
    pub(super) fn new(figures: Arc<dyn Figures>, meters: &Arc<Meters>, upstreams: Arc<dyn UpstreamStates>) -> Self {
        let mut registry = Registry::with_prefix("tokengate");
        registry.register_collector(Box::new(Figured(figures)));
        registry.register_collector(Box::new(OfRequests(Arc::clone(meters))));
        registry.register_collector(Box::new(OfProcess(Arc::clone(meters))));
        registry.register_collector(Box::new(OfUpstreams(upstreams)));
        Self(registry)
    }

    pub(super) fn respond(&self) -> BoxedResponse {
        match self.text() {
            Ok(figures) => text(StatusCode::OK, CONTENT_TYPE, figures),
            Err(fmt::Error) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The figures cannot be written."),
        }
    }

    /// Of this moment.
    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(16 * 1024);
        prometheus_text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

/// Counters that differ in one thing, the label, and add up to something.
struct Family {
    name: &'static str,
    help: &'static str,
    /// `None`: a single counter.
    label: Option<&'static str>,
    counters: &'static [(Counter, &'static str)],
}

const fn family(
    name: &'static str,
    label: &'static str,
    help: &'static str,
    counters: &'static [(Counter, &'static str)],
) -> Family {
    Family { name, help, label: Some(label), counters }
}

const fn single(name: &'static str, help: &'static str, counter: &'static [(Counter, &'static str)]) -> Family {
    Family { name, help, label: None, counters: counter }
}

#[rustfmt::skip]
const FAMILIES: &[Family] = &[
    family("logins", "kind", "Sessions begun", &[
        (Counter::Logins, "login"),
        (Counter::Registrations, "register"),
        (Counter::QuickRegistrations, "quick_register"),
    ]),
    single("logins_refused", "Logins and registrations that the upstream refused, or whose response named no subject", &[
        (Counter::LoginsRefused, ""),
    ]),
    single("logins_not_issued", "Logins that the upstream granted and the gateway only watched", &[(Counter::LoginsNotIssued, "")]),
    family("legacy_tokens", "use", "Legacy tokens of the API that were shown", &[
        (Counter::LegacyTokensSeen, "seen"),
        (Counter::LegacyExchanges, "exchanged"),
    ]),
    single("token_exchanges", "Tokens of other issuers that became sessions", &[(Counter::TokenExchanges, "")]),
    single("machine_tokens", "Access tokens given to OAuth clients for themselves", &[(Counter::MachineTokens, "")]),
    family("refreshes", "outcome", "Calls of refresh by what they came to", &[
        (Counter::RefreshesRotated, "rotated"),
        (Counter::RefreshesReissued, "reissued"),
        (Counter::RefreshesSuperseded, "superseded"),
        (Counter::RefreshesAdopted, "adopted"),
        (Counter::RefreshesReused, "reused"),
        (Counter::RefreshesUnknown, "unknown"),
        (Counter::RefreshesExpired, "expired"),
        (Counter::RefreshesExhausted, "exhausted"),
        (Counter::RefreshesRevoked, "revoked"),
        (Counter::RefreshesDisowned, "disowned"),
        (Counter::RefreshesMalformed, "malformed"),
        (Counter::RefreshesContended, "contended"),
    ]),
    single("reissues_to_another_client", "Refresh tokens given again to another address or user agent", &[
        (Counter::ReissuesToAnotherClient, ""),
    ]),
    family("acknowledgements", "outcome", "Generations seen in use and told to the store, or not", &[
        (Counter::AcknowledgementsWritten, "written"),
        (Counter::AcknowledgementsDropped, "dropped"),
    ]),
    single("claims_hook_failures", "Questions for a subject's claims that got no response of use", &[(Counter::ClaimsHookFailures, "")]),
    single("logouts", "Calls of logout that named a session or a token", &[(Counter::Logouts, "")]),
    family("revocations", "kind", "Revocations made by this node", &[
        (Counter::RevocationsBySession, "session"),
        (Counter::RevocationsBySubject, "subject"),
        (Counter::RevocationsByToken, "token"),
        (Counter::RevocationsOfEveryone, "everyone"),
    ]),
    single("revocations_applied", "Revocations taken over from the log of the store", &[(Counter::RevocationsApplied, "")]),
    single("revocations_put_back", "Revocations that the store had lost and was told again", &[
        (Counter::RevocationsPutBack, ""),
    ]),
    family("sessions_ended", "cause", "Sessions that ended without being asked to", &[
        (Counter::SessionsEndedByLimit, "limit"),
        (Counter::SessionsWithdrawn, "withdrawn"),
        (Counter::SessionsSwept, "expired"),
    ]),
    single("requests_forwarded", "Requests that an upstream answered", &[(Counter::RequestsForwarded, "")]),
    single("requests_answered_by_route", "Requests that a route redirected or gave a fixed response", &[
        (Counter::RequestsAnsweredByRoute, ""),
    ]),
    single("decisions_allowed", "Requests of other proxies that were let through", &[(Counter::DecisionsAllowed, "")]),
    single("requests_served_stale", "Protected requests let through while the revocations were stale", &[
        (Counter::RequestsServedStale, ""),
    ]),
    family("requests_rejected", "cause", "Requests that no upstream saw", &[
        (Counter::RejectedNoToken, "no_token"),
        (Counter::RejectedAmbiguous, "ambiguous_token"),
        (Counter::RejectedInvalid, "invalid_token"),
        (Counter::RejectedExpired, "expired_token"),
        (Counter::RejectedRevokedSession, "revoked_session"),
        (Counter::RejectedRevokedSubject, "revoked_subject"),
        (Counter::RejectedRevokedToken, "revoked_token"),
        (Counter::RejectedRevokedEveryone, "revoked_everyone"),
        (Counter::RejectedScope, "insufficient_scope"),
        (Counter::RejectedClaims, "insufficient_claims"),
        (Counter::RejectedLoginAge, "login_age"),
        (Counter::RejectedAddress, "address"),
        (Counter::RejectedOrigin, "origin"),
        (Counter::RejectedRevocationsStale, "revocations_stale"),
        (Counter::RejectedStoreUnavailable, "store_unavailable"),
        (Counter::RejectedUndecided, "undecided"),
        (Counter::RejectedIssuerKeysUnavailable, "issuer_keys_unavailable"),
        (Counter::RejectedMalformed, "malformed"),
        (Counter::RejectedTooLarge, "too_large"),
        (Counter::RejectedTimeout, "timeout"),
        (Counter::RejectedNoRoute, "no_route"),
        (Counter::RateLimited, "rate_limited"),
    ]),
    family("calls_failed", "cause", "Calls of own endpoints, and confirmations, that got no outcome", &[
        (Counter::CallsOverloaded, "overloaded"),
        (Counter::CallsTimedOut, "timed_out"),
    ]),
    family("requests_observed", "cause", "Requests let through by a route that only observes, and that would have been rejected", &[
        (Counter::ObservedNoToken, "no_token"),
        (Counter::ObservedAmbiguous, "ambiguous_token"),
        (Counter::ObservedInvalid, "invalid_token"),
        (Counter::ObservedExpired, "expired_token"),
        (Counter::ObservedRevokedSession, "revoked_session"),
        (Counter::ObservedRevokedSubject, "revoked_subject"),
        (Counter::ObservedRevokedToken, "revoked_token"),
        (Counter::ObservedRevokedEveryone, "revoked_everyone"),
        (Counter::ObservedScope, "insufficient_scope"),
        (Counter::ObservedClaims, "insufficient_claims"),
        (Counter::ObservedLoginAge, "login_age"),
        (Counter::ObservedOrigin, "origin"),
        (Counter::ObservedRevocationsStale, "revocations_stale"),
        (Counter::ObservedStoreUnavailable, "store_unavailable"),
        (Counter::ObservedUndecided, "undecided"),
        (Counter::ObservedIssuerKeysUnavailable, "issuer_keys_unavailable"),
    ]),
    single("tickets_issued", "Tickets that open one WebSocket or event stream", &[(Counter::TicketsIssued, "")]),
    single("tickets_spent", "Tickets that were used", &[(Counter::TicketsSpent, "")]),
    family("responses_ended", "by", "Responses that had begun and were broken off, by other than the upstream", &[
        (Counter::ResponsesEndedByClient, "client"),
        (Counter::ResponsesEndedBySession, "session"),
        (Counter::ResponsesEndedByExpiry, "expiry"),
        (Counter::ResponsesEndedByKey, "key"),
    ]),
    single("streams_renewed", "Exchanges that outlived their token by a newer one of their session", &[
        (Counter::StreamsRenewed, ""),
    ]),
    family("upstream_failures", "kind", "Exchanges with an upstream that failed", &[
        (Counter::UpstreamErrors, "error"),
        (Counter::UpstreamTimeouts, "timeout"),
    ]),
    single("upstream_retries", "Requests sent again because a kept connection had died", &[(Counter::UpstreamRetries, "")]),
    single("upstream_ejections", "Servers of upstreams that were left out because they failed, or were too slow", &[
        (Counter::UpstreamEjections, ""),
    ]),
    family("upstream_probes", "outcome", "Probes of servers of upstreams", &[
        (Counter::UpstreamProbesPassed, "passed"),
        (Counter::UpstreamProbesFailed, "failed"),
    ]),
    family("token_cache", "result", "Tokens found verified, and tokens verified", &[
        (Counter::TokenCacheHits, "hit"),
        (Counter::TokenCacheMisses, "miss"),
    ]),
    single("connections", "Connections accepted from clients", &[(Counter::Connections, "")]),
    family("tls_handshakes", "outcome", "Handshakes with clients", &[
        (Counter::TlsHandshakes, "full"),
        (Counter::TlsHandshakesResumed, "resumed"),
        (Counter::TlsHandshakesFailed, "failed"),
    ]),
    single("proxy_headers_refused", "Connections refused for want of a PROXY header from a trusted peer", &[
        (Counter::ProxyHeadersRefused, ""),
    ]),
    single("connections_given_up", "Connections ended to make room, of the address that held most", &[
        (Counter::ConnectionsGivenUp, ""),
    ]),
    single(
        "client_floods",
        "Connections ended because of too many requests taken back or frames that carry nothing",
        &[(Counter::ClientFloods, "")],
    ),
    single("connections_refused", "Connections beyond what one address may have, or of nobody who may ask for decisions", &[(Counter::ConnectionsRefused, "")]),
    single("store_errors", "Background calls of the store that failed", &[(Counter::StoreErrors, "")]),
    single("tasks_restarted", "Background tasks started again after a panic", &[(Counter::TasksRestarted, "")]),
    single("panics", "Panics caught", &[(Counter::Panics, "")]),
];

/// A gauge as it is exported: seconds instead of microseconds.
struct Exported {
    name: &'static str,
    help: &'static str,
    gauges: &'static [(Gauge, &'static str)],
    per_unit: f64,
}

const fn gauge(name: &'static str, help: &'static str, gauges: &'static [(Gauge, &'static str)]) -> Exported {
    Exported { name, help, gauges, per_unit: 1.0 }
}

const MICROS_PER_SECOND: f64 = 1e6;

#[rustfmt::skip]
const GAUGES: &[Exported] = &[
    gauge("sessions", "Live sessions of the deployment, as last measured", &[(Gauge::Sessions, "")]),
    gauge("subjects", "Subjects with a live session, as last measured", &[(Gauge::Subjects, "")]),
    gauge("revocation_log_entries", "Revocations in the log, as last measured", &[(Gauge::LogEntries, "")]),
    gauge("store_bytes", "Memory of Redis, or size of the embedded store's file, as last measured", &[(Gauge::StoreBytes, "")]),
    gauge("revocation_replica_entries", "Revocations that this node holds in memory", &[(Gauge::ReplicaEntries, "")]),
    gauge("certificate_expiry_seconds", "When the first of the certificates expires that clients are shown, since 1970", &[
        (Gauge::CertificateExpiry, ""),
    ]),
    gauge("upstream_certificate_expiry_seconds", "When the first of the certificates expires that upstreams are shown, since 1970", &[
        (Gauge::UpstreamCertificateExpiry, ""),
    ]),
    Exported {
        name: "revocation_lag_seconds",
        help: "From the writing of a revocation to its arrival in this node's replica, over the last minutes",
        gauges: &[
            (Gauge::RevocationLagP50, "0.5"),
            (Gauge::RevocationLagP99, "0.99"),
            (Gauge::RevocationLagMax, "1"),
        ],
        per_unit: MICROS_PER_SECOND,
    },
];

struct Figured(Arc<dyn Figures>);

impl Collector for Figured {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Live { counts, readings } = self.0.live();
        for Family { name, help, label, counters } in FAMILIES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (counter, value) in *counters {
                labelled(&mut metric, *label, value, |encoder| {
                    encoder.encode_counter::<[(&str, &str); 0], _, u64>(&counts.value(*counter), None)
                })?;
            }
        }
        for Exported { name, help, gauges, per_unit } in GAUGES {
            // What was never measured is not there, and not zero.
            let measured: Vec<_> = gauges.iter().filter_map(|(gauge, value)| Some((readings.value(*gauge)?, value))).collect();
            if measured.is_empty() {
                continue;
            }
            let label = (gauges.len() > 1).then_some("quantile");
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (reading, value) in measured {
                #[expect(clippy::cast_precision_loss, reason = "a gauge is read by people and graphs")]
                labelled(&mut metric, label, value, |encoder| encoder.encode_gauge(&(reading as f64 / per_unit)))?;
            }
        }
        let mut build = encoder.encode_descriptor("build_info", "The version that runs", None, MetricType::Gauge)?;
        labelled(&mut build, Some("version"), env!("CARGO_PKG_VERSION"), |encoder| encoder.encode_gauge(&1_i64))
    }
}

fn labelled(
    metric: &mut MetricEncoder<'_>,
    label: Option<&str>,
    value: &str,
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    match label {
        Some(label) => encode(&mut metric.encode_family(&[(label, value)])?),
        None => encode(metric),
    }
}

impl fmt::Debug for Figured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Figured").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
