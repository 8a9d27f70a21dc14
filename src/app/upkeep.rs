//! Statistics, measurements and sweeps: what they are made of, and the tasks that see to them.

use std::sync::Arc;

use super::Ambient;
use crate::domain::replica::Replica;
use crate::domain::stats::{Counters, Gauges, Tally};
use crate::sessions::caretaker::{Caretaker, CaretakerParts};
use crate::sessions::nodes::Nodes;
use crate::sessions::statistics::{Statistics, StatisticsParts};
use crate::store;
use crate::tasks::rules::LiveRules;
use crate::tasks::statistics::{Flushing, Measuring};
use crate::tasks::supervisor::Supervisor;
use crate::tasks::sweeper::Sweeper;

/// What keeps the store tidy and tells what happens.
pub(super) struct Upkeep {
    pub(super) tally: Arc<Tally>,
    pub(super) statistics: Arc<Statistics>,
    pub(super) caretaker: Arc<Caretaker>,
    pub(super) gauges: Arc<Gauges>,
}

impl Upkeep {
    /// `counters` is the set of the control plane.
    pub(super) fn new(
        tally: Arc<Tally>,
        counters: &Arc<Counters>,
        store: &Arc<dyn store::Upkeep>,
        replica: &Arc<Replica>,
        nodes: &Arc<Nodes>,
        ambient: &Ambient,
    ) -> Self {
        let gauges = Arc::new(Gauges::new());
        let statistics = Arc::new(Statistics::new(StatisticsParts {
            nodes: Arc::clone(nodes),
            store: Arc::clone(store),
            tally: Arc::clone(&tally),
            gauges: Arc::clone(&gauges),
            replica: Arc::clone(replica),
            clock: Arc::clone(&ambient.clock),
        }));
        let caretaker = Arc::new(Caretaker::new(CaretakerParts {
            nodes: Arc::clone(nodes),
            store: Arc::clone(store),
            replica: Arc::clone(replica),
            gauges: Arc::clone(&gauges),
            counters: Arc::clone(counters),
            clock: Arc::clone(&ambient.clock),
        }));
        Self { tally, statistics, caretaker, gauges }
    }

    pub(super) fn spawn(&self, supervisor: &Supervisor, rules: &LiveRules, counters: &Arc<Counters>, ambient: &Ambient) {
        let flushing =
            Flushing { statistics: Arc::clone(&self.statistics), counters: Arc::clone(counters), rules: rules.clone() };
        supervisor.supervise_kept("statistics", flushing, |task, stop| async move { task.run(stop).await });
        let measuring =
            Measuring { caretaker: Arc::clone(&self.caretaker), counters: Arc::clone(counters), rules: rules.clone() };
        supervisor.supervise_kept("measurements", measuring, |task, stop| async move { task.run(stop).await });
        let sweeper = Sweeper {
            caretaker: Arc::clone(&self.caretaker),
            clock: Arc::clone(&ambient.clock),
            entropy: Arc::clone(&ambient.entropy),
            counters: Arc::clone(counters),
            rules: rules.clone(),
        };
        supervisor.supervise_kept("sweeper", sweeper, |task, stop| async move { task.run(stop).await });
    }
}
