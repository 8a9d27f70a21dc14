//! Work on files, on a thread apart: a disk that does not respond, as one of the network may, holds up nobody else.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};

/// How long files may take. Disks that respond at all do so within this.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why nothing came of the work.
#[derive(Debug, thiserror::Error)]
pub enum FileWorkError {
    #[error("the disk does not respond within {limit:?}; what was begun goes on, and nothing is begun beside it", limit = DEADLINE)]
    TimedOut,
    #[error("the work panicked: the log says why")]
    Panicked,
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// Does one piece of work at a time. Whoever comes while the last one hangs waits for it, so that there is never more than one thread.
#[derive(Clone, Debug, Default)]
pub(super) struct FileWork(Arc<Mutex<()>>);

impl FileWork {
    /// Does the work as a part of this runtime. It may be given up at any time; what was begun goes on until it is done or the process
    /// ends.
    ///
    /// # Errors
    /// It is not done in time, or cannot be.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, FileWorkError> {
        let done = async {
            let alone = Arc::clone(&self.0).lock_owned().await;
            let (sender, result) = oneshot::channel();
            let runtime = Handle::current();
            thread::Builder::new().name("files".to_owned()).spawn(move || {
                let _entered = runtime.enter();
                let outcome = work();
                drop(alone);
                // Whoever asked may have gone.
                let _ = sender.send(outcome);
            })?;
            result.await.map_err(|_| FileWorkError::Panicked)
        };
        tokio::time::timeout(DEADLINE, done).await.unwrap_or(Err(FileWorkError::TimedOut))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_hangs_holds_up_its_own_kind_alone_and_no_second_thread_is_begun() {
        let (work, other) = (FileWork::default(), FileWork::default());
        let (release, released) = mpsc::channel::<()>();
        let hanging = work.run(move || released.recv().is_ok());
        // Time passes by itself while nothing else is to be done.
        assert!(matches!(hanging.await, Err(FileWorkError::TimedOut)));
        assert!(matches!(work.run(|| ()).await, Err(FileWorkError::TimedOut)), "one hangs already");
        tokio::time::resume();
        assert_eq!(other.run(|| 7).await.unwrap(), 7);
        release.send(()).unwrap();
        assert_eq!(work.run(|| 8).await.unwrap(), 8, "the one before it is done");
        assert!(matches!(work.run(|| panic!("as it is meant")).await, Err::<(), _>(FileWorkError::Panicked)));
        assert_eq!(work.run(|| 9).await.unwrap(), 9);
    }
}
