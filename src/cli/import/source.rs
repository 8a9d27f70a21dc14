//! A file of rows, whatever its format: read one after the other, gathered into batches.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::columns::Columns;
use super::csv::CsvRecords;
use super::ndjson::NdjsonRecords;
use crate::domain::time::Clock;
use crate::sessions::import::ForeignToken;

/// The longest row, in bytes.
pub(super) const RECORD_BYTES_MAX: usize = 64 << 10;
/// The most columns of a row.
pub(super) const FIELDS_MAX: usize = 256;
/// Rows that go to the store together.
const BATCH_ROWS_MAX: usize = 1024;
const BUFFER_BYTES: usize = 256 << 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Format {
    Csv,
    Ndjson,
}

impl Format {
    /// By the file's name; CSV where that says nothing.
    pub(super) fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("ndjson" | "jsonl" | "json") => Self::Ndjson,
            Some(_) | None => Self::Csv,
        }
    }
}

/// What is to be read, and how.
#[derive(Debug)]
pub(super) struct Plan {
    /// `None`: standard input.
    pub(super) path: Option<PathBuf>,
    pub(super) format: Format,
    /// The columns of a CSV file that does not begin with their names.
    pub(super) header: Option<Vec<String>>,
    /// Rows that begin before this line are passed over.
    pub(super) from_line: u64,
    pub(super) columns: Columns,
}

/// A row that cannot be taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bad {
    pub(super) line: u64,
    pub(super) id: Option<String>,
    pub(super) cause: String,
    /// As it stands in the file: it may hold a token.
    pub(super) raw: Vec<u8>,
}

/// Rows that go to the store together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) tokens: Vec<ForeignToken>,
    pub(super) bad: Vec<Bad>,
    pub(super) first_line: u64,
}

/// Rows of one file.
pub(super) struct Rows {
    records: Records,
    columns: Columns,
    from_line: u64,
    clock: Arc<dyn Clock>,
    /// As the file begins, for the file of rows that were set aside.
    header_raw: Vec<u8>,
    ended: bool,
}

enum Records {
    Csv { header: Vec<String>, records: Box<CsvRecords<Box<dyn BufRead + Send>>> },
    Ndjson(NdjsonRecords<Box<dyn BufRead + Send>>),
}

/// How far the reading is.
#[derive(Clone, Debug, Default)]
pub(super) struct Position {
    pub(super) bytes: Arc<AtomicU64>,
    /// Of the whole file, where that is known.
    pub(super) length: Option<u64>,
}

impl Rows {
    /// Opens the file and reads its header.
    pub(super) fn open(plan: Plan, clock: Arc<dyn Clock>) -> Result<(Self, Position), String> {
        let mut position = Position::default();
        let input: Box<dyn Read + Send> = match &plan.path {
            None => Box::new(io::stdin()),
            Some(path) => {
                let name = path.display();
                let file = File::open(path).map_err(|error| format!("{name} cannot be opened: {error}"))?;
                let metadata = file.metadata().map_err(|error| format!("{name} cannot be read: {error}"))?;
                position.length = Some(metadata.len()).filter(|_| metadata.is_file());
                Box::new(file)
            }
        };
        let counted = Counted { input, bytes: Arc::clone(&position.bytes) };
        let input: Box<dyn BufRead + Send> = Box::new(BufReader::with_capacity(BUFFER_BYTES, counted));
        let mut header_raw = Vec::new();
        let records = match plan.format {
            Format::Ndjson => Records::Ndjson(NdjsonRecords::new(input)),
            Format::Csv => {
                let mut records = Box::new(CsvRecords::new(input));
                let header = if let Some(header) = plan.header {
                    header
                } else {
                    let first = records.next().map_err(|error| format!("cannot be read: {error}"))?;
                    let first = first.ok_or("the file is empty; a CSV file begins with the names of its columns")?;
                    header_raw = first.raw;
                    without_mark(first.fields.map_err(|cause| format!("the first line {cause}"))?)
                };
                plan.columns.check(&header)?;
                Records::Csv { header, records }
            }
        };
        let (columns, from_line) = (plan.columns, plan.from_line);
        Ok((Self { records, columns, from_line, clock, header_raw, ended: false }, position))
    }

    pub(super) fn header(&self) -> &[u8] {
        &self.header_raw
    }

    /// The next rows; `None` after the last.
    pub(super) fn next_batch(&mut self) -> io::Result<Option<Batch>> {
        let mut batch = Batch::default();
        while !self.ended && batch.tokens.len() + batch.bad.len() < BATCH_ROWS_MAX {
            let Some((line, raw, row)) = self.next_row()? else {
                self.ended = true;
                break;
            };
            if line < self.from_line {
                continue;
            }
            if batch.first_line == 0 {
                batch.first_line = line;
            }
            let id = row.as_ref().ok().and_then(|row| self.columns.id(row));
            match row.and_then(|row| self.columns.read(&row, self.clock.now())) {
                Ok(token) => batch.tokens.push(token),
                Err(cause) => batch.bad.push(Bad { line, id, cause, raw }),
            }
        }
        Ok(Some(batch).filter(|batch| batch.first_line > 0))
    }

    #[expect(clippy::type_complexity, reason = "line, bytes, columns: taken apart at once by the only caller")]
    fn next_row(&mut self) -> io::Result<Option<(u64, Vec<u8>, Result<Vec<(String, Value)>, String>)>> {
        match &mut self.records {
            Records::Ndjson(records) => {
                let Some(record) = records.next()? else { return Ok(None) };
                Ok(Some((record.line, record.raw, record.members.map(|members| members.into_iter().collect()))))
            }
            Records::Csv { header, records } => {
                let Some(record) = records.next()? else { return Ok(None) };
                let row = record.fields.and_then(|fields| {
                    if fields.len() != header.len() {
                        return Err(format!("has {} columns where the header has {}", fields.len(), header.len()));
                    }
                    Ok(header.iter().cloned().zip(fields.into_iter().map(Value::String)).collect())
                });
                Ok(Some((record.line, record.raw, row)))
            }
        }
    }
}

/// Without the byte order mark that spreadsheets put first.
fn without_mark(mut header: Vec<String>) -> Vec<String> {
    if let Some(first) = header.first_mut()
        && let Some(rest) = first.strip_prefix('\u{feff}')
    {
        *first = rest.to_owned();
    }
    header
}

/// Counts what is read.
struct Counted<R> {
    input: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
