//! The store of a single node: everything in memory, made durable in one file.
//!
//! Reads are served from memory. Changes queue for one writer thread, which decides each against memory and the changes before
//! it in the batch, commits the batch in one transaction, and only then makes it visible and responds: nothing is ever seen that
//! a crash could take back, and many writers share one wait for the disk. When a commit fails, nobody knows whether it is in the
//! file: all who wait get an error, the file is opened again and memory is read from it. Meanwhile reads go on, with what was
//! durable before, and changes are refused.
//!
//! When the disk is full, room that was set aside for it is given up, and revocations go on while everything else is refused.

mod board;
mod books;
mod codec;
mod disk;
mod draft;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod nodes;
mod shared;
mod state;
#[cfg(test)]
mod tests;
mod tickets;
mod upkeep;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::{
    Acknowledgement, LogBatch, LogCursor, RevocationLog, SessionLimit, SessionPage, SessionStore, StoreError, Stored, Swap,
    Version,
};
use crate::domain::ids::{Partitions, SessionId, Subject};
use crate::domain::imported::{Import, ImportedDigest};
use crate::domain::page::Page;
use crate::domain::revocation::Revocation;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use disk::{Disk, DiskFile};
use draft::Draft;
pub(super) use draft::SWEEP_STEP_MAX;
pub use file::EmbeddedError;
pub(super) use nodes::OneProcess;
pub(super) use shared::Shared;
pub(super) use state::State;
use writer::{Job, Reply, Room, Writer};

/// The longest wait for the disk. The change may still be made after it.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// One file has no use for more.
const PARTITIONS: Partitions = Partitions::ONE;

/// Sessions and revocations of one gateway process, kept in one file.
///
/// Dropping it waits until everything queued is durable and the file is closed.
#[derive(Debug)]
pub struct Embedded {
    path: PathBuf,
    shared: Arc<Shared>,
    /// `None` only while it is dropped.
    queue: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Opens the file, made when it is not there (readable by its owner alone, in a folder that is made likewise), reads all of
    /// it and starts the writer. Blocks: call it before a runtime is started, or where blocking is allowed.
    ///
    /// # Errors
    /// In use by another process, written by a newer version, damaged, or not accessible.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, EmbeddedError> {
        Self::start(DiskFile::new(path.as_ref()))
    }

    fn start(disk: impl Disk) -> Result<Self, EmbeddedError> {
        let (file, state) = disk.open()?;
        let path = disk.path().to_owned();
        let shared = Arc::new(Shared::new(PARTITIONS, state));
        let (queue, jobs) = mpsc::channel(writer::QUEUE_MAX);
        let writer = Writer::new(Arc::clone(&shared), jobs, disk);
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(file))
            .map_err(|cause| EmbeddedError::Io { action: "start the writer of", path: path.clone(), cause })?;
        Ok(Self { path, shared, queue: Some(queue), writer: Some(writer) })
    }

    /// Queues a change and waits until it is durable.
    async fn change<R: Send + 'static>(
        &self,
        room: Room,
        plan: impl FnOnce(&mut Draft<'_>) -> R + Send + 'static,
    ) -> Result<R, StoreError> {
        let (reply, response) = oneshot::channel();
        let plan = Box::new(move |draft: &mut Draft<'_>| {
            let result = plan(draft);
            let respond: Reply = Box::new(move |outcome| {
                // Whoever asked may have given up.
                drop(reply.send(outcome.map(|()| result)));
            });
            respond
        });
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        let done = async {
            queue.send(Job { plan, room }).await.map_err(|_| closed())?;
            response.await.map_err(|_| closed())?
        };
        let timed_out = |_elapsed| StoreError::Unconfirmed(format!("the disk did not confirm within {COMMIT_TIMEOUT:?}"));
        tokio::time::timeout(COMMIT_TIMEOUT, done).await.map_err(timed_out)?
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the writer has ended".to_owned())
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the embedded store's writer ended by a panic");
        }
    }
}

#[async_trait]
impl SessionStore for Embedded {
    fn partitions(&self) -> Partitions {
        self.shared.partitions()
    }

    async fn create(&self, session: &Session, limit: Option<SessionLimit>, now: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        let session = session.clone();
        self.change(Room::Grows, move |draft| draft.create(&session, limit, now)).await
    }

    async fn load(&self, id: SessionId) -> Result<Option<Stored>, StoreError> {
        Ok(self.shared.load(id))
    }

    async fn swap(&self, expected: Version, next: &Session) -> Result<Swap, StoreError> {
        let next = next.clone();
        self.change(Room::Grows, move |draft| draft.swap(expected, &next)).await
    }

    async fn acknowledge(&self, seen: &[Acknowledgement]) -> Result<(), StoreError> {
        let seen = seen.to_vec();
        self.change(Room::Grows, move |draft| draft.acknowledge(&seen)).await
    }

    async fn page_of(&self, subject: &Subject, page: Page, now: Timestamp) -> Result<SessionPage, StoreError> {
        Ok(self.shared.page_of(subject, page, now))
    }

    async fn end_created_before(&self, moment: Timestamp) -> Result<u64, StoreError> {
        let mut ended = 0;
        for ids in self.shared.created_before(moment).chunks(SWEEP_STEP_MAX) {
            let ids = ids.to_vec();
            ended += self.change(Room::Shrinks, move |draft| draft.end(&ids)).await?;
        }
        Ok(ended)
    }

    async fn import(&self, batch: &[Import], now: Timestamp) -> Result<u64, StoreError> {
        let batch = batch.to_vec();
        self.change(Room::Grows, move |draft| draft.import(&batch, now)).await
    }

    async fn imported(&self, digests: &[ImportedDigest]) -> Result<Vec<Option<SessionId>>, StoreError> {
        Ok(self.shared.imported(digests))
    }

    /// Asks the writer, which refuses while the file cannot be written.
    async fn probe(&self) -> Result<(), StoreError> {
        self.change(Room::Shrinks, |_draft| ()).await
    }
}

#[async_trait]
impl RevocationLog for Embedded {
    async fn revoke(&self, revocation: &Revocation) -> Result<Vec<SessionId>, StoreError> {
        let revocation = revocation.clone();
        self.change(Room::Shrinks, move |draft| draft.revoke(&revocation)).await
    }

    async fn follow(&self, cursor: Option<&LogCursor>, wait: Duration) -> Result<LogBatch, StoreError> {
        self.shared.follow(cursor, wait).await
    }
}

impl OneProcess for Embedded {
    fn shared(&self) -> &Shared {
        &self.shared
    }
}
