//! A file of rows, whatever its format: read one after the other, gathered into batches.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};

use super::columns::Columns;
use super::csv::CsvRecords;
use super::json::JsonRecords;
use super::record::Record;
use super::shared::SharedTokens;
use crate::domain::session::Grant;
use crate::domain::time::Clock;
use crate::sessions::import::ForeignToken;

/// Rows that go to the store together.
const BATCH_ROWS_MAX: usize = 1024;
const BUFFER_BYTES: usize = 256 << 10;
/// Of a stream, so many tokens are ended once more after its last row.
const REGRETTED_MAX: usize = 1_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Format {
    Csv,
    // Objects, one a line, or a list of them.
    #[value(alias = "json")]
    Ndjson,
}

/// What stands between the columns of a CSV file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Delimiter(u8);

impl Delimiter {
    const COMMA: Self = Self(b',');
    const TAB: Self = Self(b'\t');

    /// # Errors
    /// No character, several, or one that means something else.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.as_bytes() {
            b"tab" | b"\\t" => Ok(Self::TAB),
            [byte] if byte.is_ascii_punctuation() && *byte != b'"' || matches!(byte, b'\t' | b' ') => Ok(Self(*byte)),
            _ => Err("allowed is one character, such as ';' or '|', or \"tab\"".to_owned()),
        }
    }
}

impl Format {
    /// By the file's name; CSV where that says nothing.
    pub(super) fn of(path: &Path) -> Self {
        match ending(path) {
            Some("ndjson" | "jsonl" | "json") => Self::Ndjson,
            Some(_) | None => Self::Csv,
        }
    }

    /// A line that says something of the row behind it, in the format itself, and is passed over when it is read.
    pub(super) fn remark(self, text: &str) -> Vec<u8> {
        match self {
            Self::Csv => format!("\"{REMARK}{}\"", text.replace('"', "\"\"")).into_bytes(),
            Self::Ndjson => serde_json::json!({ REMARK_MEMBER: text }).to_string().into_bytes(),
        }
    }
}

impl Delimiter {
    /// By the file's name; a comma where that says nothing.
    pub(super) fn of(path: &Path) -> Self {
        match ending(path) {
            Some("tsv" | "tab") => Self::TAB,
            Some(_) | None => Self::COMMA,
        }
    }
}

/// How the file's name ends; of a file of rows that were set aside, that of the file where they stood.
fn ending(path: &Path) -> Option<&str> {
    let aside = path.file_stem().filter(|_| path.extension().is_some_and(|ending| ending == REJECTS_ENDING));
    aside.map_or(path, Path::new).extension()?.to_str()
}

/// How the file of rows that were set aside is called behind the name of the file where they stood.
pub(super) const REJECTS_ENDING: &str = "rejects";

/// How the only column of a line begins that is no row.
const REMARK: &str = "# tokengate import: ";
/// The only member of an object that is no row.
const REMARK_MEMBER: &str = "tokengate_import";

fn is_remark_of_csv(record: &Record<Vec<String>>) -> bool {
    matches!(record.content.as_deref(), Ok([only]) if only.starts_with(REMARK))
}

fn is_remark_of_json(record: &Record<Map<String, Value>>) -> bool {
    record.content.as_ref().is_ok_and(|members| members.len() == 1 && members.contains_key(REMARK_MEMBER))
}

/// What is to be read, and how.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// `None`: standard input.
    pub(super) path: Option<PathBuf>,
    pub(super) format: Format,
    pub(super) delimiter: Delimiter,
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

/// The columns of a row by name.
type Row = Vec<(String, Value)>;

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
    names: Names,
    shared: SharedTokens,
    /// Whether `shared` knows all rows; otherwise it learns of each as it comes.
    knows_all: bool,
    /// Tokens that were taken before a later row spoke against them.
    regretted: Vec<ForeignToken>,
    ended: bool,
}

/// The names of columns that the rows so far have.
#[derive(Default)]
struct Names {
    met: HashSet<String>,
    /// Those that are not read, and may say that a token is dead.
    overlooked: Vec<String>,
}

/// So many names are looked at.
const NAMES_MAX: usize = 1024;

impl Names {
    fn meet<'a>(&mut self, names: impl Iterator<Item = &'a str>, columns: &Columns) {
        for name in names {
            if self.met.len() < NAMES_MAX && !self.met.contains(name) {
                self.met.insert(name.to_owned());
                if columns.overlooks(name) {
                    self.overlooked.push(name.to_owned());
                }
            }
        }
    }
}

enum Records {
    Csv { header: Vec<String>, records: Box<CsvRecords<Box<dyn BufRead + Send>>> },
    Json(JsonRecords<Box<dyn BufRead + Send>>),
}

/// How far the reading is.
#[derive(Clone, Debug, Default)]
pub(super) struct Position {
    pub(super) bytes: Arc<AtomicU64>,
    /// Of the whole file, where that is known.
    pub(super) length: Option<u64>,
}

impl Rows {
    /// Opens the file and reads its header. A regular file is read through once, to learn which tokens several rows hold.
    pub(super) fn open(plan: Plan, clock: Arc<dyn Clock>) -> Result<(Self, Position), String> {
        let is_file = plan.path.as_ref().is_some_and(|path| path.metadata().is_ok_and(|metadata| metadata.is_file()));
        let shared = if is_file {
            let (mut rows, _) = Self::begin(Plan { from_line: 0, ..plan.clone() }, Arc::clone(&clock))?;
            let read = rows.read_through();
            read.map_err(|error| format!("cannot be read: {error}"))?;
            rows.shared
        } else {
            SharedTokens::default()
        };
        let (rows, position) = Self::begin(plan, clock)?;
        Ok((Self { shared, knows_all: is_file, ..rows }, position))
    }

    fn begin(plan: Plan, clock: Arc<dyn Clock>) -> Result<(Self, Position), String> {
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
            Format::Ndjson => {
                let records = JsonRecords::open(input);
                Records::Json(records.map_err(|error| format!("cannot be read: {error}"))?)
            }
            Format::Csv => {
                let mut records = Box::new(CsvRecords::new(input, plan.delimiter.0));
                let header = if let Some(header) = plan.header {
                    header
                } else {
                    let first = records.next().map_err(|error| format!("cannot be read: {error}"))?;
                    let first = first.ok_or("the file is empty; a CSV file begins with the names of its columns")?;
                    header_raw = first.raw;
                    without_mark(first.content.map_err(|cause| format!("the first line {cause}"))?)
                };
                plan.columns.check(&header).map_err(|fault| format!("{fault}{}", hint(&header)))?;
                Records::Csv { header, records }
            }
        };
        let (columns, from_line) = (plan.columns, plan.from_line);
        let mut names = Names::default();
        if let Records::Csv { header, .. } = &records {
            names.meet(header.iter().map(String::as_str), &columns);
        }
        let (shared, regretted) = (SharedTokens::default(), Vec::new());
        let rows =
            Self { records, columns, from_line, clock, header_raw, names, shared, knows_all: false, regretted, ended: false };
        Ok((rows, position))
    }

    fn read_through(&mut self) -> io::Result<()> {
        while let Some(row) = self.next_row()? {
            if let Ok(token) = row.content.and_then(|row| self.columns.read(&row, self.clock.now())) {
                self.shared.note(&token);
            }
        }
        Ok(())
    }

    /// Columns that are not read, and may say that a token is dead.
    pub(super) fn overlooked(&self) -> &[String] {
        &self.names.overlooked
    }

    /// Whether there were more tokens than are compared with each other.
    pub(super) const fn has_overflowed(&self) -> bool {
        self.shared.has_overflowed()
    }

    /// What has to end after the last row: of a stream, rows were taken that later ones spoke against.
    pub(super) fn regretted(&mut self) -> Vec<ForeignToken> {
        std::mem::take(&mut self.regretted)
    }

    /// A row that no other speaks against.
    fn undisputed(&mut self, token: ForeignToken) -> Result<ForeignToken, String> {
        if !self.knows_all {
            self.shared.note(&token);
        }
        let objection = self.shared.objection(&token);
        if !self.knows_all && self.regretted.len() < REGRETTED_MAX && (objection.is_some() || token.revoked) {
            self.regretted.push(ForeignToken { revoked: true, grant: Grant::default(), ..token.clone() });
        }
        objection.map_or(Ok(token), |objection| Err(objection.cause().to_owned()))
    }

    pub(super) fn header(&self) -> &[u8] {
        &self.header_raw
    }

    /// The next rows; `None` after the last.
    pub(super) fn next_batch(&mut self) -> io::Result<Option<Batch>> {
        let mut batch = Batch::default();
        while !self.ended && batch.tokens.len() + batch.bad.len() < BATCH_ROWS_MAX {
            let Some(Record { line, raw, content: row }) = self.next_row()? else {
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
            // In JSON each row has names of its own, and those that tell of an end often come with it.
            if let (Ok(row), Records::Json(_)) = (&row, &self.records) {
                self.names.meet(row.iter().map(|(name, _)| name.as_str()), &self.columns);
            }
            let token = row.and_then(|row| self.columns.read(&row, self.clock.now()));
            match token.and_then(|token| self.undisputed(token)) {
                Ok(token) => batch.tokens.push(token),
                Err(cause) => batch.bad.push(Bad { line, id, cause, raw }),
            }
        }
        Ok(Some(batch).filter(|batch| batch.first_line > 0))
    }

    /// The next row, remarks passed over.
    fn next_row(&mut self) -> io::Result<Option<Record<Row>>> {
        match &mut self.records {
            Records::Json(records) => {
                let mut record = records.next()?;
                while record.as_ref().is_some_and(is_remark_of_json) {
                    record = records.next()?;
                }
                Ok(record.map(|record| record.and_then(|members| Ok(members.into_iter().collect()))))
            }
            Records::Csv { header, records } => {
                let mut record = records.next()?;
                while record.as_ref().is_some_and(is_remark_of_csv) {
                    record = records.next()?;
                }
                let named = |fields: Vec<String>| {
                    if fields.len() != header.len() {
                        return Err(format!("has {} columns where the header has {}", fields.len(), header.len()));
                    }
                    Ok(header.iter().cloned().zip(fields.into_iter().map(Value::String)).collect())
                };
                Ok(record.map(|record| record.and_then(named)))
            }
        }
    }
}

/// What to try where the only column of a header holds what may stand between several.
fn hint(header: &[String]) -> String {
    let [only] = header else { return String::new() };
    let named = [(';', "';'"), ('\t', "tab"), ('|', "'|'")].into_iter().find(|(between, _)| only.contains(*between));
    named.map_or_else(String::new, |(_, name)| format!("; if that is several, say what stands between them: --delimiter {name}"))
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
