//! What the settings say to the data plane, as one value: made whole, swapped whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use http::header::SET_COOKIE;
use http::request::Parts;

use super::access_log::AccessLog;
use super::auth::admission::AdmissionOptions;
use super::route_limits::RouteLimits;
use super::seats::SeatLimits;
use super::upstream::{ExchangeTimeouts, UpstreamOptions};
use crate::domain::client_limits::ClientLimits;
use crate::domain::cookies::OwnCookies;
use crate::domain::cors::Cors;
use crate::domain::headers::RewriteRules;
use crate::domain::headers::forwarded::Origin;
use crate::domain::headers::trace::RequestIdFrom;
use crate::domain::in_flight::InFlight;
use crate::domain::origin::CookieOrigins;
use crate::domain::pace::ByteRate;
use crate::domain::peer::Peer;
use crate::domain::problem_code::ProblemTypes;
use crate::domain::question::QuestionRules;
use crate::domain::routing::Routing;
use crate::proxy::auth::ticket_reader::TicketReader;

/// All rules and limits of the data plane.
#[derive(Debug)]
pub struct Policy {
    pub routing: Routing<UpstreamOptions>,
    /// For every route that has a limit.
    pub limits: RouteLimits,
    pub login: LoginRules,
    pub rewrite: RewriteRules,
    /// Where cookie mode is on.
    pub access_cookie: Option<AccessCookie>,
    /// Where pages of other origins may call.
    pub cors: Option<Cors>,
    /// Of all refusals.
    pub problem_types: ProblemTypes,
    pub tickets: TicketReader,
    /// How other proxies ask for decisions.
    pub questions: QuestionRules,
    pub request_id_from: RequestIdFrom,
    /// Whether the log was told of a proxy in front that the settings do not name.
    pub unnamed_proxy_told: AtomicBool,
    /// IPv6 addresses with so many leading bits in common count as one.
    pub ipv6_prefix: u8,
    /// The largest body of a call to an own endpoint, logins included.
    pub own_body_bytes_max: u64,
    /// How slowly the body of a call to an own endpoint may come.
    pub own_body_rate_min: Option<ByteRate>,
    pub client: ClientLimits,
    pub seats: SeatLimits,
    /// How long connections of a listener that is gone may take to finish what they are doing.
    pub drain_deadline: Duration,
    pub admission: AdmissionOptions,
    /// `None`: off.
    pub access_log: Option<Arc<AccessLog>>,
}

/// What is read of the response of the upstream that judges credentials.
#[derive(Clone, Copy, Debug)]
pub struct LoginRules {
    pub timeouts: ExchangeTimeouts,
    /// The largest response that is made into a session.
    pub response_bytes_max: usize,
}

/// Where a browser keeps an access token, and whose calls with it count that change something.
#[derive(Clone, Debug)]
pub struct AccessCookie {
    pub own: OwnCookies,
    pub origins: CookieOrigins,
    /// `None`: browsers refresh by themselves.
    pub in_flight: Option<InFlight>,
}

impl Policy {
    /// Whoever forgets to name a proxy sees all users share its address, and its limits. Said once: anybody can send such a field.
    pub(super) fn notice_unnamed_proxy(&self, origin: &Origin<'_>, head: &Parts, peer: Peer) {
        // Of clients behind a balancer that is named, no one else is to be.
        let Peer::Known(peer) = peer else { return };
        let is_told = self.unnamed_proxy_told.load(Ordering::Relaxed);
        if !is_told && origin.is_disbelieved(&head.headers) && !self.unnamed_proxy_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                peer = %peer.ip(),
                "a peer that listen.trusted_peers does not name says for whom it calls (X-Forwarded-For, Forwarded) and is not believed: \
                 if it is a proxy of yours, all its users share one address and its rate limits until it is named there"
            );
        }
    }

    /// Makes the browser forget cookies of which nobody can say whose they are, unless another site made it call.
    pub(super) fn take_repeated_cookies(&self, response: &mut HeaderMap, head: &Parts) {
        if let Some(cookie) = self.access_cookie.as_ref().filter(|cookie| cookie.origins.may_mend(&head.uri, &head.headers)) {
            for field in cookie.own.all_emptied() {
                response.append(SET_COOKIE, field.clone());
            }
        }
    }

    pub(super) fn cookie_name(&self) -> Option<&str> {
        self.access_cookie.as_ref().map(|cookie| cookie.own.access_name())
    }

    /// A browser's question before a call of another origin's page carries no token: it is answered whatever the route demands.
    pub(super) fn preflight(&self, head: &Parts) -> Option<HeaderMap> {
        self.cors.as_ref()?.preflight(&head.method, &head.headers)
    }

    /// Refusals too: else a page could not tell one from a broken network.
    pub(super) fn share(&self, response: &mut HeaderMap, head: &Parts) {
        if let Some(cors) = &self.cors {
            cors.share(response, &head.headers);
        }
    }
}
