//! Disks that fail in ways of their own.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::super::disk::Disk;
use super::super::file::{self, EmbeddedError, StoreFile};
use super::super::state::State;

/// What is wrong with the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Fault {
    None,
    Writes,
    /// What was written may be there or not.
    Syncs,
    /// No room, but for the reserve.
    Full,
}

/// Breaks a disk, and counts the waits for it.
#[derive(Debug, Default)]
pub(super) struct Switch {
    fault: AtomicU8,
    syncs: AtomicU64,
    reserve_is_free: AtomicBool,
}

impl Switch {
    pub(super) fn set(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
    }

    pub(super) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault.load(Ordering::SeqCst) == fault as u8
    }

    fn check_write(&self) -> io::Result<()> {
        if self.is(Fault::Writes) {
            return Err(io::Error::other("the disk is gone"));
        }
        if self.is(Fault::Full) && !self.reserve_is_free.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

pub(super) struct FaultyDisk {
    path: PathBuf,
    switch: Arc<Switch>,
}

impl FaultyDisk {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), switch: Arc::default() }
    }

    pub(super) fn fault(&self) -> Arc<Switch> {
        Arc::clone(&self.switch)
    }
}

impl Disk for FaultyDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self) -> Result<(StoreFile, State), EmbeddedError> {
        let switch = Arc::clone(&self.switch);
        file::open_with(&self.path, |file| Ok(FaultyBackend { file: FileBackend::new(file)?, switch }))
    }

    fn fill_reserve(&self) -> io::Result<()> {
        if self.switch.is(Fault::Full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.switch.reserve_is_free.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn free_reserve(&self) -> io::Result<()> {
        self.switch.reserve_is_free.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[derive(Debug)]
struct FaultyBackend {
    file: FileBackend,
    switch: Arc<Switch>,
}

impl StorageBackend for FaultyBackend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.switch.check_write()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.switch.syncs.fetch_add(1, Ordering::SeqCst);
        if self.switch.is(Fault::Syncs) {
            return Err(io::Error::other("the disk did not answer"));
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.switch.check_write()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

/// Keeps what is written in memory until it is told to sync; after a cut, nothing reaches the file any more.
pub(super) struct VolatileDisk {
    path: PathBuf,
    power: Arc<Power>,
}

#[derive(Debug, Default)]
pub(super) struct Power(AtomicBool);

impl Power {
    pub(super) fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl VolatileDisk {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), power: Arc::default() }
    }

    pub(super) fn power(&self) -> Arc<Power> {
        Arc::clone(&self.power)
    }
}

impl Disk for VolatileDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self) -> Result<(StoreFile, State), EmbeddedError> {
        let power = Arc::clone(&self.power);
        file::open_with(&self.path, |file| Ok(VolatileBackend { file, written: Mutex::default(), power }))
    }

    fn fill_reserve(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_reserve(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Must be given a new file.
#[derive(Debug)]
struct VolatileBackend {
    file: File,
    written: Mutex<Vec<u8>>,
    power: Arc<Power>,
}

impl StorageBackend for VolatileBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.written.lock().unwrap()[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.written.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        if self.power.0.load(Ordering::SeqCst) {
            return Err(io::Error::other("no power"));
        }
        self.file.write_all_at(&self.written.lock().unwrap(), 0)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.written.lock().unwrap()[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}
