//! Starts background tasks, starts again those that panic, and waits for all of them at the end.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use super::backoff::Backoff;
use crate::crypto::entropy::Entropy;
use crate::domain::stats::{Counter, Counters};
use crate::domain::time::Clock;

/// The pause before a task that panicked runs again, and the longest one after it panicked time and again.
const RESTART_PAUSE: Duration = Duration::from_millis(200);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);

/// A run longer than this counts as a good one: the pause is short again.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// Runs the process's background tasks on one runtime.
pub struct Supervisor {
    runtime: Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    counters: Arc<Counters>,
}

impl Supervisor {
    pub fn new(runtime: Handle, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, counters: Arc<Counters>) -> Self {
        Self { runtime, tasks: TaskTracker::new(), stop: CancellationToken::new(), clock, entropy, counters }
    }

    /// Cancelled when the tasks are to end; each gets a child of it.
    pub const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs `task` until it returns. One that panics is logged, counted, and called again after a growing pause: it takes nothing
    /// with it, and what it did is missing no longer than that.
    pub fn supervise<F>(&self, name: &'static str, mut task: impl FnMut(CancellationToken) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (runtime, stop) = (self.runtime.clone(), self.stop.clone());
        let (clock, entropy, counters) = (Arc::clone(&self.clock), Arc::clone(&self.entropy), Arc::clone(&self.counters));
        let supervised = async move {
            let mut backoff = Backoff::new(RESTART_PAUSE, RESTART_PAUSE_MAX);
            loop {
                let started_at = clock.monotonic();
                let Err(ended) = runtime.spawn(task(stop.child_token())).await else {
                    debug!(task = name, "task ended");
                    return;
                };
                let Ok(panic) = ended.try_into_panic() else { return };
                counters.add(Counter::Panics, 1);
                error!(task = name, panic = message(&*panic), "task panicked");
                if clock.monotonic().saturating_sub(started_at) > GOOD_RUN {
                    backoff.reset();
                }
                let pause = tokio::time::sleep(backoff.next(&*entropy));
                if stop.run_until_cancelled(pause).await.is_none() {
                    return;
                }
                counters.add(Counter::TasksRestarted, 1);
            }
        };
        self.tasks.spawn_on(supervised, &self.runtime);
    }

    /// [`Supervisor::supervise`] for a task that is one and the same in all its runs.
    pub fn supervise_kept<T, F>(&self, name: &'static str, task: T, run: impl Fn(Arc<T>, CancellationToken) -> F + Send + 'static)
    where
        T: Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let task = Arc::new(task);
        self.supervise(name, move |stop| run(Arc::clone(&task), stop));
    }

    /// Tells every task to end and waits for them; false if some had not by the deadline.
    pub async fn shut_down(&self, deadline: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        let all_ended = tokio::time::timeout(deadline, self.tasks.wait()).await.is_ok();
        if !all_ended {
            error!(tasks = self.tasks.len(), "tasks did not end in time");
        }
        all_ended
    }
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::fake_log::TestClock;
    use super::*;
    use crate::crypto::entropy::SystemEntropy;

    fn supervisor(counters: &Arc<Counters>) -> Supervisor {
        let entropy = Arc::new(SystemEntropy::new());
        Supervisor::new(Handle::current(), Arc::new(TestClock::default()), entropy, Arc::clone(counters))
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_counted_and_runs_again() {
        let counters = Arc::new(Counters::new());
        let supervisor = supervisor(&counters);
        let (done, is_done) = tokio::sync::oneshot::channel();
        let (runs, mut done) = (Arc::new(AtomicU32::new(0)), Some(done));
        supervisor.supervise("fragile", move |_| {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            let done = (run == 3).then(|| done.take()).flatten();
            async move {
                done.unwrap_or_else(|| panic!("run {run}")).send(run).unwrap();
            }
        });
        assert_eq!(is_done.await.unwrap(), 3);
        assert!(supervisor.shut_down(Duration::from_secs(1)).await);
        let counted = counters.snapshot();
        assert_eq!((counted.value(Counter::Panics), counted.value(Counter::TasksRestarted)), (3, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn shutting_down_ends_tasks_and_tells_when_one_did_not() {
        let supervisor = supervisor(&Arc::new(Counters::new()));
        supervisor.supervise("obedient", |stop| async move { stop.cancelled().await });
        supervisor.supervise("panics for ever", |_| async { panic!("again") });
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(supervisor.shut_down(Duration::from_secs(1)).await);
        supervisor.supervise("stubborn", |_| std::future::pending());
        assert!(!supervisor.shut_down(Duration::from_secs(1)).await);
    }
}
