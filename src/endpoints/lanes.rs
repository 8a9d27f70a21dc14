//! The work that the data plane hands over, each kind within bounds of its own: a flood of one kind does not starve another.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::Inner;
use crate::bounded::{Bounded, Bounds};
use crate::domain::claims::{Denial, Principal};
use crate::domain::route::OwnEndpoint;
use crate::proxy::control::{LoginRequest, OwnRequest, UpstreamAnswer};
use crate::proxy::reply::Reply;

pub(super) struct Lanes {
    pub(super) bounds: Bounds,
    calls: Bounded<OwnRequest, Reply>,
    probes: Bounded<OwnRequest, Reply>,
    pub(super) logins: Bounded<(LoginRequest, UpstreamAnswer), Reply>,
    pub(super) confirmations: Bounded<Principal, Result<(), Denial>>,
}

impl Lanes {
    pub(super) fn new(inner: &Arc<Inner>, bounds: Bounds, runtime: &Handle) -> Self {
        let serve = |name| {
            let inner = Arc::clone(inner);
            Bounded::new(name, bounds, runtime, move |request: OwnRequest| {
                let inner = Arc::clone(&inner);
                async move { inner.answer(request).await }
            })
        };
        let (calls, probes) = (serve("own endpoint"), serve("probe"));
        let inner = Arc::clone(inner);
        let confirming = Arc::clone(&inner);
        Self {
            bounds,
            calls,
            probes,
            logins: Bounded::new("login", bounds, runtime, move |(request, answer)| {
                let inner = Arc::clone(&inner);
                async move { inner.complete_login(request, answer).await }
            }),
            confirmations: Bounded::new("confirmation", bounds, runtime, move |principal: Principal| {
                let inner = Arc::clone(&confirming);
                async move { inner.sessions.confirm(&principal).await }
            }),
        }
    }

    /// Where calls of an endpoint run. Those that monitoring and other machines read are apart from those of users.
    pub(super) const fn of(&self, endpoint: OwnEndpoint) -> &Bounded<OwnRequest, Reply> {
        match endpoint {
            OwnEndpoint::Jwks | OwnEndpoint::Metadata | OwnEndpoint::Health | OwnEndpoint::Ready => &self.probes,
            OwnEndpoint::Refresh
            | OwnEndpoint::Logout
            | OwnEndpoint::Sessions
            | OwnEndpoint::Session(_)
            | OwnEndpoint::Revoke
            | OwnEndpoint::Introspect => &self.calls,
        }
    }
}
