//! Tasks that the store cannot do without.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;

/// The pause before a task that panicked runs again.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// Runs a task until it returns. One that panics is run again: what it looks after must not be left alone for good.
pub(super) async fn supervise<F: Future<Output = ()>>(name: &'static str, mut task: impl FnMut() -> F) {
    while AssertUnwindSafe(task()).catch_unwind().await.is_err() {
        tracing::error!(task = name, "task panicked");
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_runs_again_until_it_returns() {
        let mut runs = 0;
        supervise("fragile", || {
            runs += 1;
            let run = runs;
            async move { assert!(run > 3, "run {run}") }
        })
        .await;
        assert_eq!(runs, 4);
    }
}
