//! What the control plane measures.

use super::cells::Counts;
use super::histogram::Histogram;
use super::labels::{AccessLogLine, Label as _, Limit, StoreCommand};

/// The control plane's set, in which any of its threads may count.
#[derive(Debug)]
pub struct ControlSet {
    pub limited: Counts<Limit>,
    store: Vec<Histogram>,
    /// Calls of the store that failed.
    pub store_failures: Counts<StoreCommand>,
    pub access_log: Counts<AccessLogLine>,
}

impl Default for ControlSet {
    fn default() -> Self {
        Self {
            limited: Counts::default(),
            store: StoreCommand::ALL.into_iter().map(|_| Histogram::default()).collect(),
            store_failures: Counts::default(),
            access_log: Counts::default(),
        }
    }
}

impl ControlSet {
    /// The store has answered, or failed, after so many nanoseconds.
    pub fn store_answered(&self, command: StoreCommand, nanos: u64, failed: bool) {
        self.store(command).note_shared(nanos);
        if failed {
            self.store_failures.of(command).add_shared(1);
        }
    }

    /// How long calls of this command took.
    #[must_use]
    pub fn store(&self, command: StoreCommand) -> &Histogram {
        &self.store[command.index()]
    }
}
