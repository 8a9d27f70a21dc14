//! What runs beside requests.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{Parts, issuers, node_heartbeat};
use crate::config::Settings;
use crate::domain::ids::{Generation, SessionId};
use crate::tasks::acknowledgements::{self, Acknowledgements};
use crate::tasks::presence::Presence;
use crate::tasks::revocation_feed::RevocationFeed;
use crate::tasks::store_watch::StoreWatch;
use crate::tasks::supervisor::Supervisor;
use crate::tasks::withdrawals::Withdrawals;

/// Told of tokens that a worker sees for the first time.
pub(super) type TokenSeen = Box<dyn Fn(SessionId, Generation) + Send + Sync>;

impl Parts {
    pub(super) fn supervisor(&self, runtime: Handle) -> Supervisor {
        Supervisor::new(runtime, Arc::clone(&self.ambient.clock), Arc::clone(&self.ambient.entropy), Arc::clone(&self.counters))
    }

    /// Starts what runs beside requests. Returns what workers tell of tokens that they see for the first time.
    pub(super) fn spawn_tasks(&self, supervisor: &Supervisor, settings: &Settings) -> TokenSeen {
        let feed = RevocationFeed {
            log: Arc::clone(&self.store) as _,
            replica: Arc::clone(&self.replica),
            nodes: Arc::clone(&self.nodes),
            clock: Arc::clone(&self.ambient.clock),
            entropy: Arc::clone(&self.ambient.entropy),
            counters: Arc::clone(&self.counters),
            heartbeat: settings.revocation.heartbeat,
        };
        supervisor.supervise_kept("revocation feed", feed, |task, stop| async move { task.run(stop).await });
        let presence = Presence {
            nodes: Arc::clone(&self.nodes),
            entropy: Arc::clone(&self.ambient.entropy),
            counters: Arc::clone(&self.counters),
            heartbeat: node_heartbeat(settings),
            canary_interval: settings.revocation.canary_interval,
        };
        supervisor.supervise_kept("presence", presence, |task, stop| async move { task.run(stop).await });
        let (sender, queue) = acknowledgements::queue(Arc::clone(&self.counters));
        let acknowledgements = Acknowledgements {
            queue,
            store: Arc::clone(&self.store) as _,
            entropy: Arc::clone(&self.ambient.entropy),
            counters: Arc::clone(&self.counters),
            interval: settings.refresh.acknowledge_interval,
        };
        supervisor.supervise_kept("acknowledgements", acknowledgements, |task, stop| async move { task.run(stop).await });
        self.upkeep.spawn(supervisor, settings, &self.counters, &self.ambient);
        let watch = StoreWatch {
            store: Arc::clone(&self.store) as _,
            clock: Arc::clone(&self.ambient.clock),
            alarms: Arc::clone(&self.alarms),
        };
        supervisor.supervise_kept("store watch", watch, |task, stop| async move { task.run(stop).await });
        let withdrawals = Withdrawals {
            sessions: Arc::clone(&self.sessions),
            entropy: Arc::clone(&self.ambient.entropy),
            counters: Arc::clone(&self.counters),
        };
        supervisor.supervise_kept("withdrawals", withdrawals, |task, stop| async move { task.run(stop).await });
        issuers::spawn(supervisor, &self.issuers, &self.verifier);
        Box::new(move |session, generation| sender.note(session, generation))
    }
}
