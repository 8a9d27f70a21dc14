//! What runs beside requests.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::Parts;
use super::snapshot::Live;
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
    pub(super) fn spawn_tasks(&self, supervisor: &Supervisor, live: &Live) -> TokenSeen {
        let rules = live.task_rules();
        let feed = RevocationFeed {
            log: Arc::clone(&self.store) as _,
            replica: Arc::clone(&self.replica),
            nodes: Arc::clone(&self.nodes),
            clock: Arc::clone(&self.ambient.clock),
            entropy: Arc::clone(&self.ambient.entropy),
            counters: Arc::clone(&self.counters),
            rules: rules.clone(),
        };
        supervisor.supervise_kept("revocation feed", feed, |task, stop| async move { task.run(stop).await });
        let presence = Presence {
            nodes: Arc::clone(&self.nodes),
            entropy: Arc::clone(&self.ambient.entropy),
            counters: Arc::clone(&self.counters),
            rules: rules.clone(),
        };
        supervisor.supervise_kept("presence", presence, |task, stop| async move { task.run(stop).await });
        let (sender, queue) = acknowledgements::queue(Arc::clone(&self.counters));
        let acknowledgements = Acknowledgements {
            queue,
            store: Arc::clone(&self.store) as _,
            entropy: Arc::clone(&self.ambient.entropy),
            counters: Arc::clone(&self.counters),
            rules: rules.clone(),
        };
        supervisor.supervise_kept("acknowledgements", acknowledgements, |task, stop| async move { task.run(stop).await });
        self.upkeep.spawn(supervisor, &rules, &self.counters, &self.ambient);
        let watch = StoreWatch {
            store: Arc::clone(&self.store) as _,
            clock: Arc::clone(&self.ambient.clock),
            alarms: Arc::clone(&self.alarms),
        };
        supervisor.supervise_kept("store watch", watch, |task, stop| async move { task.run(stop).await });
        let withdrawals = Withdrawals {
            sessions: live.part(|snapshot| &snapshot.sessions),
            entropy: Arc::clone(&self.ambient.entropy),
            counters: Arc::clone(&self.counters),
        };
        supervisor.supervise_kept("withdrawals", withdrawals, |task, stop| async move { task.run(stop).await });
        live.now().issuers.keep_fresh(supervisor);
        Box::new(move |session, generation| sender.note(session, generation))
    }
}
