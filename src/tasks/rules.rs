//! What the settings say to the tasks, and how a task that waits learns that they say something else.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::access::{Constant, DynAccess};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Schedule;
use crate::sessions::nodes::NodeRules;

/// The tasks' part of one set of settings.
#[derive(Clone, Debug)]
pub struct TaskRules {
    pub node: NodeRules,
    /// How long a read of the revocation log waits for news.
    pub log_heartbeat: Duration,
    /// Between two heartbeats of this node.
    pub node_heartbeat: Duration,
    /// Between two canaries of this node, as long as there are few nodes.
    pub canary_interval: Duration,
    /// How long a batch of acknowledgements is gathered after its first.
    pub acknowledge_interval: Duration,
    /// How often this node tells the store what it has counted.
    pub flush_interval: Duration,
    pub measure_interval: Duration,
    /// `None`: the store is swept on demand alone.
    pub sweeps: Option<Schedule>,
}

/// Leads to what is in force.
pub type Latest = Arc<dyn DynAccess<Arc<TaskRules>> + Send + Sync>;

/// The rules that are in force.
#[derive(Clone)]
pub struct LiveRules {
    latest: Latest,
    changed: watch::Receiver<()>,
}

impl LiveRules {
    /// `changed` tells that `latest` leads to others.
    #[must_use]
    pub const fn new(latest: Latest, changed: watch::Receiver<()>) -> Self {
        Self { latest, changed }
    }

    /// Rules that never change.
    #[must_use]
    pub fn fixed(rules: TaskRules) -> Self {
        let (_, changed) = watch::channel(());
        Self { latest: Arc::new(Constant(Arc::new(rules))), changed }
    }

    #[must_use]
    pub fn now(&self) -> Arc<TaskRules> {
        Arc::clone(&self.latest.load())
    }

    /// Returns once other rules are in force than at the call, which need not be polled for that.
    pub fn change(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut changed = self.changed.clone();
        changed.mark_unchanged();
        async move {
            if changed.changed().await.is_err() {
                // Nobody changes them any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits for as long as the rules say; if they come to say something else meanwhile, for as long as they say then.
    pub async fn pause(&self, span: impl Fn(&TaskRules) -> Duration) {
        let began_at = Instant::now();
        loop {
            let change = self.change();
            let ends_at = began_at + span(&self.now());
            tokio::select! {
                () = tokio::time::sleep_until(ends_at) => return,
                () = change => {}
            }
        }
    }
}

impl fmt::Debug for LiveRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveRules").field(&self.now()).finish()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use arc_swap::ArcSwap;
    use arc_swap::access::Map;
    use futures_util::FutureExt as _;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    pub(crate) fn rules() -> TaskRules {
        TaskRules {
            node: NodeRules { name: "test".to_owned(), silence_max: 60 * SECOND },
            log_heartbeat: SECOND,
            node_heartbeat: SECOND,
            canary_interval: SECOND,
            acknowledge_interval: SECOND / 10,
            flush_interval: SECOND,
            measure_interval: SECOND,
            sweeps: None,
        }
    }

    /// Rules that a test changes.
    pub(crate) struct Reloads {
        cell: Arc<ArcSwap<Arc<TaskRules>>>,
        changed: watch::Sender<()>,
    }

    impl Reloads {
        pub(crate) fn start() -> (Self, LiveRules) {
            let cell = Arc::new(ArcSwap::from_pointee(Arc::new(rules())));
            let (changed, receiver) = watch::channel(());
            let live = LiveRules::new(Arc::new(Map::new(Arc::clone(&cell), |rules: &Arc<TaskRules>| rules)), receiver);
            (Self { cell, changed }, live)
        }

        pub(crate) fn reload(&self, rules: TaskRules) {
            self.cell.store(Arc::new(Arc::new(rules)));
            self.changed.send_replace(());
        }

        fn flush_every(&self, flush_interval: Duration) {
            self.reload(TaskRules { flush_interval, ..rules() });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_goes_by_the_rules_of_the_moment_and_counts_what_has_passed() {
        let (reloads, live) = Reloads::start();
        reloads.flush_every(100 * SECOND);
        let began_at = Instant::now();
        let pausing = live.pause(|rules| rules.flush_interval);
        let shortening = async {
            for _ in 0..10 {
                tokio::time::sleep(SECOND).await;
                reloads.flush_every(30 * SECOND);
            }
        };
        tokio::join!(pausing, shortening);
        assert_eq!(began_at.elapsed(), 30 * SECOND, "reloads do not begin it anew");
        tokio::join!(live.pause(|rules| rules.flush_interval), async { reloads.flush_every(SECOND) });
        assert_eq!(began_at.elapsed(), 31 * SECOND);
    }

    #[tokio::test]
    async fn a_change_is_one_since_the_call() {
        let (reloads, live) = Reloads::start();
        reloads.flush_every(SECOND);
        let change = live.change();
        assert!(live.change().now_or_never().is_none(), "of before");
        reloads.flush_every(SECOND);
        assert!(change.now_or_never().is_some());
        drop(reloads);
        assert!(live.change().now_or_never().is_none(), "nobody changes them any more");
    }
}
