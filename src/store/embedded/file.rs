//! The file behind the embedded store: opened once, read whole, then written batch by batch.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    StorageBackend, TableDefinition, WriteTransaction,
};
use serde::de::DeserializeOwned;

use super::books::{BookChanges, Books};
use super::codec;
use super::state::{Changes, Sequence, State};
use crate::domain::ids::SessionId;
use crate::domain::imported::ImportedDigest;
use crate::domain::node::NodeId;
use crate::domain::stats::Day;

/// Raised when an older version could no longer read what is written.
const FORMAT: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
const NEXT_SEQUENCE_KEY: &str = "next_sequence";

const SESSIONS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("sessions");
const LOG: TableDefinition<'_, Sequence, &[u8]> = TableDefinition::new("revocations");
/// Not in files of before it was known: it is made when it is first written to.
const IMPORTED: TableDefinition<'_, &[u8; 32], &[u8; 24]> = TableDefinition::new("imported");
/// By day.
const ROWS: TableDefinition<'_, i32, &[u8]> = TableDefinition::new("statistics");
/// By day and node.
const TOTALS: TableDefinition<'_, (i32, &str), &[u8]> = TableDefinition::new("totals");
const UPKEEP: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("upkeep");
const LAST_SWEEP_KEY: &str = "last_sweep";
const LAST_MEASUREMENT_KEY: &str = "last_measurement";

/// Everything is in memory already: pages are cached for the sake of writes alone.
const CACHE_BYTES: usize = 32 << 20;

/// The first page, with the header, is written before a new file is marked as a database.
const HEADER_PAGE_BYTES: usize = 4096;
const MAGIC_BYTES: usize = 9;

/// Why the embedded store does not start. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error(
        "{} is in use by another process: the embedded store serves one gateway; stop the other one, or use the redis store for \
         several gateways side by side", path.display()
    )]
    InUse { path: PathBuf },
    #[error("{} was written by a newer version (file format {found}, this version reads {FORMAT}): upgrade, or restore a copy \
             that this version wrote", path.display())]
    NewerFormat { path: PathBuf, found: u64 },
    #[error("{} cannot be read ({cause}): restore a copy, or move the file away to start without sessions", path.display())]
    Damaged { path: PathBuf, cause: String },
    #[error("cannot {action} {}: {cause}", path.display())]
    Io { action: &'static str, path: PathBuf, cause: io::Error },
}

/// An open file. Nobody else can open it.
#[derive(Debug)]
pub(super) struct StoreFile(Database);

/// Opens the file, made when it is not there, and reads all that is in it. Takes long when there is much.
pub(super) fn open(path: &Path) -> Result<(StoreFile, State), EmbeddedError> {
    open_with(path, FileBackend::new)
}

/// The same with a backend of the caller's over the open file.
pub(super) fn open_with<B: StorageBackend>(
    path: &Path,
    backend: impl FnOnce(File) -> Result<B, DatabaseError>,
) -> Result<(StoreFile, State), EmbeddedError> {
    let file = open_file(path)?;
    let damaged = |cause: String| EmbeddedError::Damaged { path: path.to_owned(), cause };
    // The database checks what it reads, but a file of hostile or broken bytes is no reason to crash.
    catch_unwind(AssertUnwindSafe(|| {
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create_with_backend(backend(file).map_err(|error| database_error(path, error))?)
            .map_err(|error| database_error(path, error))?;
        prepare(path, &database)?;
        let state = read(&database).map_err(|error| damaged(error.to_string()))?;
        Ok((StoreFile(database), state))
    }))
    .unwrap_or_else(|_panic| Err(damaged("the database is inconsistent".to_owned())))
}

impl StoreFile {
    /// Makes the changes durable, all or none. After an error nobody knows which, and the file must be opened again.
    pub(super) fn commit(&self, changes: &Changes, next_sequence: Sequence) -> Result<(), FileError> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut sessions = transaction.open_table(SESSIONS)?;
            for (id, record) in &changes.sessions {
                match record {
                    Some(record) => sessions.insert(id.as_bytes(), codec::encode_session(record)?.as_slice())?,
                    None => sessions.remove(id.as_bytes())?,
                };
            }
            let mut log = transaction.open_table(LOG)?;
            for (sequence, revocation) in &changes.logged {
                log.insert(sequence, codec::encode(revocation)?.as_slice())?;
            }
            for sequence in &changes.forgotten {
                log.remove(sequence)?;
            }
            if !changes.imported.is_empty() {
                let mut imported = transaction.open_table(IMPORTED)?;
                for (digest, token) in &changes.imported {
                    match token {
                        Some(token) => imported.insert(digest.as_bytes(), &codec::encode_imported(token))?,
                        None => imported.remove(digest.as_bytes())?,
                    };
                }
            }
            transaction.open_table(META)?.insert(NEXT_SEQUENCE_KEY, next_sequence)?;
            if !changes.books.is_empty() {
                write_books(&transaction, &changes.books)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn write_books(transaction: &WriteTransaction, changes: &BookChanges) -> Result<(), FileError> {
    let mut rows = transaction.open_table(ROWS)?;
    for (day, row) in &changes.rows {
        match row {
            Some(row) => rows.insert(day.0, codec::encode_row(row)?.as_slice())?,
            None => rows.remove(day.0)?,
        };
    }
    let mut totals = transaction.open_table(TOTALS)?;
    for ((day, node), counts) in &changes.totals {
        match counts {
            Some(counts) => totals.insert((day.0, node.to_string().as_str()), codec::encode(counts)?.as_slice())?,
            None => totals.remove((day.0, node.to_string().as_str()))?,
        };
    }
    let mut upkeep = transaction.open_table(UPKEEP)?;
    if let Some(sweep) = &changes.last_sweep {
        upkeep.insert(LAST_SWEEP_KEY, codec::encode(sweep)?.as_slice())?;
    }
    if let Some(measurement) = &changes.last_measurement {
        upkeep.insert(LAST_MEASUREMENT_KEY, codec::encode(measurement)?.as_slice())?;
    }
    Ok(())
}

/// What went wrong with an open file.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error(transparent)]
    Database(Box<redb::Error>),
    #[error("record {0} cannot be read: {1}")]
    Record(String, codec::CodecError),
    #[error(transparent)]
    Codec(#[from] codec::CodecError),
}

impl<E: Into<redb::Error>> From<E> for FileError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

impl FileError {
    /// Whether there is no room for what was to be written.
    pub(super) fn is_full(&self) -> bool {
        let Self::Database(error) = self else { return false };
        let redb::Error::Io(error) = &**error else { return false };
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
    }
}

/// Opens or makes the file, for its owner alone, and makes sure that nobody else has it.
fn open_file(path: &Path) -> Result<File, EmbeddedError> {
    let failed = |action| move |cause| EmbeddedError::Io { action, path: path.to_owned(), cause };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make the folder of"))?;
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Err(EmbeddedError::InUse { path: path.to_owned() }),
        Err(std::fs::TryLockError::Error(cause)) => return Err(failed("lock")(cause)),
    }
    if is_unfinished(&mut file).map_err(failed("read"))? {
        file.set_len(0).map_err(failed("begin"))?;
    }
    // The name of a new file must be as durable as what will be in it.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("make durable the name of"))?;
    Ok(file)
}

/// Whether the process died while it made this file: not yet marked as a database, and nothing after the first page.
fn is_unfinished(file: &mut File) -> io::Result<bool> {
    let mut page = vec![0; HEADER_PAGE_BYTES];
    file.seek(SeekFrom::Start(0))?;
    let mut header = file.by_ref().take(HEADER_PAGE_BYTES as u64);
    let mut length = 0;
    loop {
        match header.read(&mut page[length..])? {
            0 => break,
            read => length += read,
        }
    }
    let is_marked = page[..length.min(MAGIC_BYTES)].iter().any(|&byte| byte != 0);
    if length == 0 || is_marked {
        return Ok(false);
    }
    loop {
        match file.read(&mut page)? {
            0 => return Ok(true),
            read if page[..read].iter().any(|&byte| byte != 0) => return Ok(false),
            _zeros => {}
        }
    }
}

/// Makes the tables of a new file; checks the format of an old one before anything is written to it.
fn prepare(path: &Path, database: &Database) -> Result<(), EmbeddedError> {
    let damaged = |error: FileError| EmbeddedError::Damaged { path: path.to_owned(), cause: error.to_string() };
    match format(database).map_err(damaged)? {
        Some(FORMAT) => Ok(()),
        Some(found) => Err(EmbeddedError::NewerFormat { path: path.to_owned(), found }),
        None => make_tables(database).map_err(damaged),
    }
}

/// `None` in a file without tables. A file with tables of someone else's is an error.
fn format(database: &Database) -> Result<Option<u64>, FileError> {
    let transaction = database.begin_read()?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) if transaction.list_tables()?.next().is_none() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(meta.get(FORMAT_KEY)?.map_or(0, |format| format.value())))
}

fn make_tables(database: &Database) -> Result<(), FileError> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
    transaction.open_table(SESSIONS)?;
    transaction.open_table(LOG)?;
    transaction.commit()?;
    Ok(())
}

fn read(database: &Database) -> Result<State, FileError> {
    let transaction = database.begin_read()?;
    let mut state = State::new();
    for entry in transaction.open_table(SESSIONS)?.iter()? {
        let (id, bytes) = entry?;
        let id = SessionId::from_bytes(*id.value());
        let record = codec::decode_session(bytes.value()).map_err(|error| FileError::Record(id.to_string(), error))?;
        state.restore_session(record);
    }
    for entry in transaction.open_table(LOG)?.iter()? {
        let (sequence, bytes) = entry?;
        let sequence = sequence.value();
        let revocation = codec::decode(bytes.value()).map_err(|error| FileError::Record(sequence.to_string(), error))?;
        state.restore_revocation(sequence, revocation);
    }
    match transaction.open_table(IMPORTED) {
        Ok(imported) => {
            for entry in imported.iter()? {
                let (digest, token) = entry?;
                state.restore_imported(ImportedDigest::from_bytes(*digest.value()), codec::decode_imported(token.value()));
            }
        }
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    if let Some(next) = transaction.open_table(META)?.get(NEXT_SEQUENCE_KEY)? {
        state.skip_to(next.value());
    }
    read_books(&transaction, &mut state.books)?;
    Ok(state)
}

/// A file that was never counted in has none of these tables.
fn read_books(transaction: &ReadTransaction, books: &mut Books) -> Result<(), FileError> {
    if let Some(rows) = if_there(transaction.open_table(ROWS))? {
        for entry in rows.iter()? {
            let (day, bytes) = entry?;
            let day = Day(day.value());
            let row = codec::decode_row(day, bytes.value()).map_err(|error| FileError::Record(format!("{day:?}"), error))?;
            books.rows.insert(day, row);
        }
    }
    if let Some(totals) = if_there(transaction.open_table(TOTALS))? {
        for entry in totals.iter()? {
            let (key, bytes) = entry?;
            let (day, node) = key.value();
            let counts = codec::decode(bytes.value()).map_err(|error| FileError::Record(format!("{day} {node}"), error))?;
            // Written by nobody else: one that is none of ours counts for nobody.
            books.totals.extend(NodeId::parse(node).map(|node| ((Day(day), node), counts)));
        }
    }
    if let Some(upkeep) = if_there(transaction.open_table(UPKEEP))? {
        books.last_sweep = recalled(&upkeep, LAST_SWEEP_KEY)?;
        books.last_measurement = recalled(&upkeep, LAST_MEASUREMENT_KEY)?;
    }
    Ok(())
}

fn recalled<T: DeserializeOwned>(upkeep: &ReadOnlyTable<&str, &[u8]>, key: &str) -> Result<Option<T>, FileError> {
    let Some(bytes) = upkeep.get(key)? else { return Ok(None) };
    codec::decode(bytes.value()).map(Some).map_err(|error| FileError::Record(key.to_owned(), error))
}

fn if_there<T>(opened: Result<T, redb::TableError>) -> Result<Option<T>, FileError> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn database_error(path: &Path, error: DatabaseError) -> EmbeddedError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => EmbeddedError::InUse { path },
        DatabaseError::Storage(redb::StorageError::Io(cause)) if cause.kind() != io::ErrorKind::InvalidData => {
            EmbeddedError::Io { action: "open", path, cause }
        }
        // The enum is not ours and not exhaustive.
        other => EmbeddedError::Damaged { path, cause: other.to_string() },
    }
}

/// Makes the file look as if another version had written it.
#[cfg(test)]
pub(super) fn set_format(path: &Path, format: u64) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert(FORMAT_KEY, format).unwrap();
    transaction.commit().unwrap();
}
