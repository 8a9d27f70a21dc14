//! The one writer: takes what is queued, commits it in one transaction, then lets readers see it and answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::draft::Draft;
use super::file::{EmbeddedError, FileError, StoreFile};
use super::shared::Shared;
use super::state::State;
use crate::store::StoreError;

/// How many changes may wait to be taken. More of them wait at the door, in order.
pub(super) const QUEUE_MAX: usize = 1024;

/// How many changes one transaction carries.
const BATCH_MAX: usize = 512;

/// The wait before a file that failed is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(250);

/// Decides a change and keeps the answer until it is known whether the change is durable.
pub(super) type Job = Box<dyn FnOnce(&mut Draft<'_>) -> Answer + Send>;
pub(super) type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Opens the file again and reads it.
pub(super) type Reopen = Box<dyn FnMut() -> Result<(StoreFile, State), EmbeddedError> + Send>;

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: mpsc::Receiver<Job>,
    pub(super) reopen: Reopen,
}

impl Writer {
    /// Serves until the queue is closed and empty.
    pub(super) fn run(mut self, mut file: StoreFile) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while self.queue.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
            let jobs = std::mem::take(&mut batch);
            let failure = match catch_unwind(AssertUnwindSafe(|| write(&self.shared, &file, jobs))) {
                Ok(Ok(())) => continue,
                Ok(Err(failure)) => failure,
                Err(_panic) => Failure::Unavailable("the writer panicked".to_owned()),
            };
            tracing::error!(cause = %failure, "the embedded store failed to write");
            drop(file);
            match self.recover(failure) {
                Some(recovered) => file = recovered,
                None => return,
            }
        }
    }

    /// Refuses every change until the file is open again. Whether the batch that failed is in it is known only then, so memory
    /// is read from it anew. `None` when the store was closed meanwhile.
    fn recover(&mut self, mut failure: Failure) -> Option<StoreFile> {
        loop {
            std::thread::sleep(REOPEN_PAUSE);
            while let Ok(job) = self.queue.try_recv() {
                refuse(&self.shared, job, &failure);
            }
            if self.queue.is_closed() {
                return None;
            }
            match (self.reopen)() {
                Ok((file, state)) => {
                    self.shared.replace(state);
                    tracing::info!("the embedded store is open again");
                    return Some(file);
                }
                Err(error) => failure = Failure::Unavailable(error.to_string()),
            }
        }
    }
}

fn write(shared: &Shared, file: &StoreFile, jobs: Vec<Job>) -> Result<(), Failure> {
    let (answers, changes, next_sequence) = shared.read(|state| {
        let mut draft = Draft::new(state);
        let answers: Vec<Answer> = jobs.into_iter().map(|job| job(&mut draft)).collect();
        let next_sequence = draft.next_sequence();
        (answers, draft.into_changes(), next_sequence)
    });
    let committed = if changes.is_empty() { Ok(()) } else { file.commit(&changes, next_sequence).map_err(Failure::from) };
    if committed.is_ok() {
        shared.apply(changes);
    }
    for answer in answers {
        answer(committed.as_ref().copied().map_err(Failure::to_error));
    }
    committed
}

/// Answers a change that is not even tried.
fn refuse(shared: &Shared, job: Job, failure: &Failure) {
    let answer = shared.read(|state| job(&mut Draft::new(state)));
    answer(Err(failure.to_error()));
}

/// Why nothing can be written. Told to everyone who waits.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("full: {0}")]
    Full(String),
    #[error("{0}")]
    Unavailable(String),
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        if error.is_full() { Self::Full(error.to_string()) } else { Self::Unavailable(error.to_string()) }
    }
}

impl Failure {
    fn to_error(&self) -> StoreError {
        match self {
            Self::Full(cause) => StoreError::Full(cause.clone()),
            Self::Unavailable(cause) => StoreError::Unavailable(cause.clone()),
        }
    }
}
