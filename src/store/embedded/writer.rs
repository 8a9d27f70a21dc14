//! The one writer: takes what is queued, commits it in one transaction, then lets readers see it and responds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::disk::Disk;
use super::draft::Draft;
use super::file::{FileError, StoreFile};
use super::shared::Shared;
use crate::store::StoreError;

/// How many changes may wait to be taken. More of them wait at the door, in order.
pub(super) const QUEUE_MAX: usize = 1024;

/// How many changes one transaction carries.
const BATCH_MAX: usize = 512;

/// The wait before a file that failed is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(250);

/// A change that waits for its batch.
pub(super) struct Job {
    pub(super) plan: Plan,
    pub(super) room: Room,
}

/// Decides a change and keeps the reply until it is known whether the change is durable.
pub(super) type Plan = Box<dyn FnOnce(&mut Draft<'_>) -> Reply + Send>;
pub(super) type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Whether a change is refused while the disk is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Room {
    /// It may need more room than there was.
    Grows,
    /// It deletes: worth the last of the room.
    Shrinks,
}

pub(super) struct Writer<D> {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Job>,
    disk: D,
    has_reserve: bool,
}

impl<D: Disk> Writer<D> {
    pub(super) fn new(shared: Arc<Shared>, queue: mpsc::Receiver<Job>, disk: D) -> Self {
        Self { shared, queue, disk, has_reserve: false }
    }

    /// Serves until the queue is closed and empty.
    pub(super) fn run(mut self, mut file: StoreFile) {
        if !self.fill_reserve() {
            tracing::warn!(path = %self.disk.path().display(), "the disk is full: the embedded store takes revocations alone");
        }
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while self.queue.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
            let jobs = self.admit(std::mem::take(&mut batch));
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

    /// While there is no reserve, only what shrinks the store is written.
    fn admit(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let grows = |job: &Job| job.room == Room::Grows;
        if self.has_reserve || !jobs.iter().any(grows) || self.fill_reserve() {
            return jobs;
        }
        let (refused, admitted): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(grows);
        for job in refused {
            refuse(&self.shared, job, &Failure::Full("the disk has no room for more sessions".to_owned()));
        }
        admitted
    }

    fn fill_reserve(&mut self) -> bool {
        let filled = self.disk.fill_reserve();
        if let Err(cause) = &filled {
            tracing::debug!(%cause, "no room to set aside for revocations");
        }
        self.has_reserve = filled.is_ok();
        self.has_reserve
    }

    /// Refuses every change until the file is open again. Whether the batch that failed is in it is known only then, so memory
    /// is read from it anew. `None` when the store was closed meanwhile.
    fn recover(&mut self, mut failure: Failure) -> Option<StoreFile> {
        if matches!(failure, Failure::Full(_)) && self.has_reserve {
            self.has_reserve = false;
            tracing::warn!(path = %self.disk.path().display(), "the disk is full: the embedded store takes revocations alone");
            if let Err(cause) = self.disk.free_reserve() {
                tracing::error!(%cause, "the reserve cannot be freed");
            }
        }
        loop {
            std::thread::sleep(REOPEN_PAUSE);
            while let Ok(job) = self.queue.try_recv() {
                refuse(&self.shared, job, &failure);
            }
            if self.queue.is_closed() {
                return None;
            }
            match self.disk.open() {
                Ok((file, state)) => {
                    self.shared.replace(state);
                    tracing::info!("the embedded store is open again");
                    return Some(file);
                }
                Err(error) => {
                    tracing::error!(cause = %error, "the embedded store cannot be opened again");
                    failure = Failure::Unavailable(error.to_string());
                }
            }
        }
    }
}

fn write(shared: &Shared, file: &StoreFile, jobs: Vec<Job>) -> Result<(), Failure> {
    let (replies, changes, next_sequence) = shared.read(|state| {
        let mut draft = Draft::new(state);
        let replies: Vec<Reply> = jobs.into_iter().map(|job| (job.plan)(&mut draft)).collect();
        let next_sequence = draft.next_sequence();
        (replies, draft.into_changes(), next_sequence)
    });
    let committed = if changes.is_empty() { Ok(()) } else { file.commit(&changes, next_sequence).map_err(Failure::from) };
    if committed.is_ok() {
        shared.apply(changes);
    }
    for reply in replies {
        reply(committed.as_ref().copied().map_err(Failure::to_error));
    }
    committed
}

/// Reports a change that is not even tried.
fn refuse(shared: &Shared, job: Job, failure: &Failure) {
    let reply = shared.read(|state| (job.plan)(&mut Draft::new(state)));
    reply(Err(failure.to_error()));
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
