//! The work that the data plane hands over, each kind within bounds of its own: a flood of one kind does not starve another.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::Inner;
use super::in_flight::Attempt;
use crate::bounded::{Bounded, Bounds};
use crate::domain::claims::{Denial, Principal};
use crate::domain::route::OwnEndpoint;
use crate::domain::secret::Secret;
use crate::proxy::control::{LoginRequest, OwnRequest, Renewed, UpstreamResponse};
use crate::proxy::reply::Reply;

/// Each call goes by the settings that its request began with; the places are the same for all.
pub(super) struct Lanes {
    calls: Lane,
    probes: Lane,
    pub(super) logins: Bounded<(Arc<Inner>, LoginRequest, UpstreamResponse), Reply>,
    pub(super) confirmations: Bounded<(Arc<Inner>, Principal), Result<(), Denial>>,
    pub(super) tickets: Bounded<(Arc<Inner>, TicketCall), Result<TicketOutcome, Denial>>,
    pub(super) renewals: Bounded<(Arc<Inner>, Attempt), Result<Arc<Renewed>, Denial>>,
}

/// What is asked of a ticket on a path.
pub(super) struct TicketCall {
    pub(super) ticket: Secret<String>,
    pub(super) path: String,
    pub(super) spends: bool,
}

/// What came of it.
pub(super) enum TicketOutcome {
    /// The token for which it stands.
    Read(Secret<String>),
    Spent,
    /// It stands for nothing there.
    Invalid,
}

type Lane = Bounded<(Arc<Inner>, OwnRequest), Reply>;

impl Lanes {
    pub(super) fn new(bounds: Bounds, runtime: &Handle) -> Self {
        let serve = |name| {
            let serve = |(inner, request): (Arc<Inner>, OwnRequest)| async move { inner.respond(request).await };
            Bounded::new(name, bounds, runtime, serve)
        };
        let complete = |(inner, request, response): (Arc<Inner>, LoginRequest, UpstreamResponse)| async move {
            inner.complete_login(request, response).await
        };
        let confirm = |(inner, principal): (Arc<Inner>, Principal)| async move { inner.sessions.confirm(&principal).await };
        let look = |(inner, call): (Arc<Inner>, TicketCall)| async move { inner.look_at_ticket(call).await };
        let renew = |(inner, attempt): (Arc<Inner>, Attempt)| async move { inner.renew(&attempt).await };
        Self {
            calls: serve("own endpoint"),
            probes: serve("probe"),
            logins: Bounded::new("login", bounds, runtime, complete),
            confirmations: Bounded::new("confirmation", bounds, runtime, confirm),
            tickets: Bounded::new("ticket", bounds, runtime, look),
            renewals: Bounded::new("refresh in flight", bounds, runtime, renew),
        }
    }

    /// Where calls of an endpoint run. Those that monitoring and other machines read are apart from those of users.
    pub(super) const fn of(&self, endpoint: OwnEndpoint) -> &Lane {
        match endpoint {
            OwnEndpoint::Jwks | OwnEndpoint::Metadata | OwnEndpoint::Health | OwnEndpoint::Ready => &self.probes,
            OwnEndpoint::Refresh
            | OwnEndpoint::Logout
            | OwnEndpoint::Sessions
            | OwnEndpoint::Session(_)
            | OwnEndpoint::CurrentSession
            | OwnEndpoint::Ticket
            | OwnEndpoint::Token
            | OwnEndpoint::Revoke
            | OwnEndpoint::Introspect => &self.calls,
        }
    }
}
