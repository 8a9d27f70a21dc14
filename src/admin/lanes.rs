//! Calls of operators, each kind within bounds of its own: whoever floods one kind leaves the probes their places.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::runtime::Handle;

use super::response::BoxedResponse;
use super::{Admin, dashboard};
use crate::bounded::{Bounded, Bounds};

const PROBES: Bounds = Bounds { calls_max: 64, timeout: Duration::from_secs(30) };

/// A call may wait a minute for all nodes, and a reload half a minute for its turn.
const CALLS: Bounds = Bounds { calls_max: 128, timeout: Duration::from_mins(2) };

/// A sweep reads the whole store.
const SWEEPS: Bounds = Bounds { calls_max: 8, timeout: Duration::from_hours(1) };

/// Each call goes by the settings of when it came; the places are the same for all.
type Lane = Bounded<(Arc<Admin>, Request<Bytes>, SocketAddr), BoxedResponse>;

pub(super) struct Lanes {
    probes: Lane,
    calls: Lane,
    sweeps: Lane,
}

impl Lanes {
    pub(super) fn new(runtime: &Handle) -> Self {
        let lane = |name, bounds| {
            let serve = |(admin, request, peer): (Arc<Admin>, Request<Bytes>, SocketAddr)| async move {
                admin.respond(&request, peer).await
            };
            Bounded::new(name, bounds, runtime, serve)
        };
        Self { probes: lane("admin probe", PROBES), calls: lane("admin call", CALLS), sweeps: lane("sweep", SWEEPS) }
    }

    /// Where a call of this path runs.
    pub(super) fn of(&self, path: &str) -> &Lane {
        match path {
            "/healthz" | "/readyz" => &self.probes,
            path if dashboard::is_part(path) => &self.probes,
            "/sweep" => &self.sweeps,
            _ => &self.calls,
        }
    }
}
