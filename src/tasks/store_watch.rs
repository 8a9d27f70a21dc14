//! Looks after the store while it is in use: settings that were changed on it, data that it threw away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::domain::time::Clock;
use crate::sessions::health::Alarms;
use crate::store::{Finding, Severity, Upkeep};

/// From the end of one look to the start of the next.
const INTERVAL: Duration = Duration::from_secs(2);
/// A look that takes longer is given up, and what was known stays.
const LOOK_MAX: Duration = Duration::from_secs(30);

/// Logs what is found when it is found, and when it is found no more; keeps what is wrong as alarms.
pub struct StoreWatch {
    pub store: Arc<dyn Upkeep>,
    pub clock: Arc<dyn Clock>,
    pub alarms: Arc<Alarms>,
}

/// What was found at the last look, the worst of each subject.
type Known = BTreeMap<&'static str, Severity>;

impl StoreWatch {
    /// Returns when `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        let mut known = Known::new();
        loop {
            let look = tokio::time::timeout(LOOK_MAX, self.store.inspect(&*self.clock));
            let Some(looked) = stop.run_until_cancelled(look).await else { return };
            if let Ok(findings) = looked {
                known = self.take_note(&known, &findings);
            }
            if stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
                return;
            }
        }
    }

    fn take_note(&self, known: &Known, findings: &[Finding]) -> Known {
        let mut present = Known::new();
        for finding in findings {
            let worst = present.entry(finding.subject).or_insert(finding.severity);
            *worst = finding.severity.max(*worst);
            if known.get(finding.subject).is_some_and(|severity| *severity >= finding.severity) {
                continue;
            }
            match finding.severity {
                Severity::Warning => warn!(subject = finding.subject, finding = finding.text, "the store needs attention"),
                Severity::Error => {
                    error!(subject = finding.subject, finding = finding.text, "the store cannot keep its promises");
                }
            }
        }
        for subject in known.keys().filter(|subject| !present.contains_key(*subject)) {
            info!(subject, "the store is as it should be again");
        }
        let errors = present.iter().filter(|(_, severity)| **severity == Severity::Error);
        self.alarms.set(errors.map(|(subject, _)| *subject).collect());
        present
    }
}

impl std::fmt::Debug for StoreWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreWatch").field("store", &self.store).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake_log::TestClock;
    use super::*;
    use crate::domain::ids::Partitions;
    use crate::sessions::tests::{Fault, TestStore};

    #[tokio::test(start_paused = true)]
    async fn errors_are_alarms_for_as_long_as_they_are_found() {
        let (store, alarms) = (Arc::new(TestStore::new(Partitions::ONE)), Arc::new(Alarms::default()));
        let stop = CancellationToken::new();
        let clock = Arc::new(TestClock::default());
        let watch = StoreWatch { store: Arc::<TestStore>::clone(&store), clock, alarms: Arc::clone(&alarms) };
        let stopped = stop.clone();
        let running = tokio::runtime::Handle::current().spawn(async move { watch.run(stopped).await });
        let pass = || tokio::time::sleep(2 * INTERVAL);
        store.find(&[(Severity::Warning, "persistence"), (Severity::Error, "eviction"), (Severity::Warning, "eviction")]);
        pass().await;
        assert_eq!(alarms.present(), ["eviction"]);
        store.fail(Fault::Hangs);
        tokio::time::sleep(2 * LOOK_MAX).await;
        assert_eq!(alarms.present(), ["eviction"], "nothing else is known");
        store.fail(None);
        store.find(&[(Severity::Warning, "eviction")]);
        tokio::time::sleep(2 * LOOK_MAX).await;
        assert_eq!(alarms.present(), Vec::<&str>::new());
        stop.cancel();
        running.await.unwrap();
    }
}
