//! What the store asks of the file system: its file, and a reserve of room for the time when the disk is full.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::file::{self, EmbeddedError, StoreFile};
use super::state::State;

/// Room for the pages that some thousand revocations need, whatever else fills the disk.
const RESERVE_BYTES: u64 = 4 << 20;

/// The file and its reserve; tests bring one that fails.
pub(super) trait Disk: Send + 'static {
    fn path(&self) -> &Path;

    /// Opens the file and reads all of it.
    fn open(&self) -> Result<(StoreFile, State), EmbeddedError>;

    /// Sets the reserve aside, if it is not. Fails when there is no room for it.
    fn fill_reserve(&self) -> io::Result<()>;

    /// Gives the reserve to whoever writes next: the store's file, one hopes.
    fn free_reserve(&self) -> io::Result<()>;
}

/// A file at a path, and the reserve beside it.
#[derive(Debug)]
pub(super) struct DiskFile {
    path: PathBuf,
    reserve: PathBuf,
}

impl DiskFile {
    pub(super) fn new(path: &Path) -> Self {
        let mut reserve = path.as_os_str().to_owned();
        reserve.push(".reserve");
        Self { path: path.to_owned(), reserve: reserve.into() }
    }
}

impl Disk for DiskFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self) -> Result<(StoreFile, State), EmbeddedError> {
        file::open(&self.path)
    }

    fn fill_reserve(&self) -> io::Result<()> {
        if fs::metadata(&self.reserve).is_ok_and(|reserve| reserve.len() == RESERVE_BYTES) {
            return Ok(());
        }
        let filled = write_zeros(&self.reserve);
        if filled.is_err() {
            // A part of a reserve is only in the way.
            drop(fs::remove_file(&self.reserve));
        }
        filled
    }

    fn free_reserve(&self) -> io::Result<()> {
        fs::remove_file(&self.reserve)
    }
}

/// Written out, because a file that is only made long has no room of its own. Twice as much must fit, or a reserve that was just
/// freed would be set aside again before a revocation has had any of it.
fn write_zeros(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::copy(&mut io::Read::take(io::repeat(0), 2 * RESERVE_BYTES), &mut file)?;
    file.sync_all()?;
    file.set_len(RESERVE_BYTES)?;
    file.sync_all()
}
