//! `tokengate import refresh-tokens`: the table of another service becomes sessions, and nobody has to log in again.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;

use super::columns::{Columns, Mapping};
use super::progress::Progress;
use super::rejects::Rejects;
use super::source::{Batch, Delimiter, Format, Plan, REJECTS_ENDING, Rows};
use super::token_form::TokenForm;
use crate::app::{self, Ambient};
use crate::cli::output::{Failure, complain, say};
use crate::cli::settings::{SettingsArgs, assignment};
use crate::config::{Settings, Store as StoreSettings};
use crate::sessions::import::{Fate, Importer, Tally};
use crate::store::{Store, StoreError};

/// Batches that the store is busy with at once.
const BATCHES_AT_ONCE: usize = 4;
/// Batches that are read ahead.
const BATCHES_AHEAD: usize = 4;
/// How long a store that is away is waited for, and how often it is asked again meanwhile.
const STORE_PATIENCE: Duration = Duration::from_secs(60);
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// An import is in no hurry: a call may take as long as this at least.
const CALL_TIMEOUT_MIN: Duration = Duration::from_secs(10);

/// Take over a table of refresh tokens, so that nobody has to log in again.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  psql app -c \"COPY refresh_tokens TO STDOUT WITH (FORMAT csv, HEADER)\" > tokens.csv
  tokengate import refresh-tokens tokens.csv --dry-run
  tokengate import refresh-tokens tokens.csv --config tokengate.toml

  tokengate import refresh-tokens tokens.ndjson --tokens sha256 --column token=token_hash --claim role=user_role

The columns are id, user_id, token, expires_at, revoked, revoked_at, created_at, last_used_at, or the same in camel case; \
user_id, token, expires_at and created_at are needed. Moments are ISO 8601 (UTC where they name no zone) or Unix times in seconds \
to nanoseconds; MongoDB's Extended JSON is read. What exports write for nothing (NULL, \\N, None, nil, -) is nothing. A token that \
rows of different users hold is taken for none of them. The store is that of the settings; the \
embedded one while no gateway runs. The gateway then takes the tokens as long as refresh.imported_until says.

Of a token the store keeps its SHA-256. Expired and revoked tokens are not stored, and a token that is revoked now ends the \
session that an earlier import opened for it. Rows that cannot be taken go to a file beside, each behind its cause, which can be \
mended and imported. The same file may be imported any number of times: what is there stays as it is.

Exit code 0: all rows were taken. 1: some were set aside, or the store failed. 2: the call, the settings or the header are wrong.")]
pub(super) struct RefreshTokensArgs {
    /// The file to read; `-` for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file's format; left out: by its name. JSON may be one object a line, or a list of objects.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// What stands between the columns of a CSV file, as ';' or tab; left out: a tab in .tsv, else a comma.
    #[arg(long, value_name = "CHARACTER", value_parser = Delimiter::parse)]
    delimiter: Option<Delimiter>,
    /// Whether the table holds the tokens themselves or their SHA-256, in hex or base64.
    #[arg(long, value_enum, default_value = "clear", value_name = "FORM")]
    tokens: TokenForm,
    /// The fewest bytes of a token in clear. Shorter ones can be guessed, or are none.
    #[arg(long, default_value_t = 20, value_name = "N")]
    token_bytes_min: usize,
    /// The name that a column has in the file, as in token=hash; may be repeated.
    #[arg(long, value_name = "COLUMN=NAME", value_parser = assignment)]
    column: Vec<(String, String)>,
    /// The columns of a CSV file that does not begin with their names.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    header: Option<Vec<String>>,
    /// A claim of the sessions' access tokens, and the column that holds it; may be repeated.
    #[arg(long, value_name = "CLAIM=NAME", value_parser = assignment)]
    claim: Vec<(String, String)>,
    /// The column that holds the sessions' scopes: a text with spaces.
    #[arg(long, value_name = "NAME")]
    scopes: Option<String>,
    /// Read and judge the rows, and leave the store alone.
    #[arg(long)]
    dry_run: bool,
    /// Pass over the rows before this line, as an import that broke off says.
    #[arg(long, value_name = "LINE", default_value_t = 0)]
    from_line: u64,
    /// Where rows that cannot be taken are put; left out: FILE.rejects.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) fn run(args: &RefreshTokensArgs) -> Result<(), Failure> {
    let mut settings = args.settings.load_upstream_or_none()?.settings;
    match &mut settings.store {
        StoreSettings::Memory if !args.dry_run => {
            return Err(Failure::Refused("store.kind = \"memory\": what is imported would end with this call".to_owned()));
        }
        StoreSettings::Redis(redis) => redis.deadline = redis.deadline.max(CALL_TIMEOUT_MIN),
        StoreSettings::Embedded(_) | StoreSettings::Memory => {}
    }
    let ambient = Ambient::of_system();
    let plan = plan(args, &settings).map_err(Failure::Refused)?;
    let (rows, position) = Rows::open(plan, Arc::clone(&ambient.clock)).map_err(Failure::Refused)?;
    let rejects = rejects_of(args, plan_format(args), rows.header());
    let progress = Progress::new(position, Arc::clone(&ambient.clock));
    let mut import = Import { tally: Tally::default(), rows: 0, rejects, progress, remarks: Vec::new() };
    let done = if args.dry_run { import.judge(rows, &ambient) } else { import.carry_out(rows, &settings, &ambient) };
    import.progress.clear();
    let written = import.rejects.finish().map_err(|error| Failure::Failed(format!("the rejects cannot be written: {error}")));
    say(&import.summary(args, &settings))?;
    done.and(written)?;
    match import.rejects.count() {
        0 => Ok(()),
        count => Err(Failure::Failed(format!("{count} rows were not taken"))),
    }
}

fn plan(args: &RefreshTokensArgs, settings: &Settings) -> Result<Plan, String> {
    let columns = Columns::new(&Mapping {
        columns: &args.column,
        claims: &args.claim,
        scopes: args.scopes.as_deref(),
        form: args.tokens,
        token_bytes_min: args.token_bytes_min,
    })?;
    let columns = columns.reserving(settings.reserved_prefixes());
    let path = Some(args.file.clone()).filter(|path| path.as_os_str() != "-");
    let format = plan_format(args);
    let delimiter = args.delimiter.unwrap_or_else(|| Delimiter::of(&args.file));
    Ok(Plan { path, format, delimiter, header: args.header.clone(), from_line: args.from_line, columns })
}

fn plan_format(args: &RefreshTokensArgs) -> Format {
    args.format.unwrap_or_else(|| Format::of(&args.file))
}

/// Beside the file, unless told otherwise; of what is only judged, or comes from a pipe, nothing is set aside by itself.
fn rejects_of(args: &RefreshTokensArgs, format: Format, header: &[u8]) -> Rejects {
    let is_piped = args.file.as_os_str() == "-";
    let beside = || {
        let mut name = args.file.clone().into_os_string();
        name.push(format!(".{REJECTS_ENDING}"));
        Some(PathBuf::from(name)).filter(|_| !is_piped && !args.dry_run)
    };
    Rejects::new(args.rejects.clone().or_else(beside), format, header)
}

struct Import {
    tally: Tally,
    rows: u64,
    rejects: Rejects,
    progress: Progress,
    /// For the end of the summary.
    remarks: Vec<String>,
}

/// A batch that the store has taken, or not.
struct Taken {
    first_line: u64,
    tokens: u64,
    result: Result<Tally, StoreError>,
}

impl Import {
    fn judge(&mut self, mut rows: Rows, ambient: &Ambient) -> Result<(), Failure> {
        while let Some(batch) = rows.next_batch().map_err(unread)? {
            self.set_aside(&batch)?;
            for token in &batch.tokens {
                match token.fate(ambient.clock.now()) {
                    Fate::Lives => self.tally.imported += 1,
                    Fate::Expired => self.tally.expired += 1,
                    Fate::Revoked => self.tally.revoked += 1,
                }
            }
            self.count(batch.tokens.len() as u64);
        }
        self.remark_on(&rows);
        Ok(())
    }

    /// What an operator should know of the file.
    fn remark_on(&mut self, rows: &Rows) {
        let overlooked = rows.overlooked();
        if !overlooked.is_empty() {
            let columns = overlooked.join(", ");
            self.remarks.push(format!(
                "not read: {columns}. Where such a column says that a token is dead, name it, as in --column revoked_at={}, or leave \
                 those rows out of the export",
                overlooked[0]
            ));
        }
        if rows.has_overflowed() {
            let remark = "there are too many tokens to compare them all: some rows may hold the token of another user's";
            self.remarks.push(remark.to_owned());
        }
    }

    fn carry_out(&mut self, rows: Rows, settings: &Settings, ambient: &Ambient) -> Result<(), Failure> {
        let policy = settings.session_policy();
        let clock = Arc::clone(&ambient.clock);
        let work = |store: Arc<dyn Store>| self.feed(rows, Importer::new(Arc::clone(&store) as _, store, policy, clock));
        app::with_store(settings, work).map_err(|error| Failure::failed(&error))?
    }

    /// Reads ahead on a thread of its own, and keeps the store busy with some batches at once.
    async fn feed(&mut self, mut rows: Rows, importer: Importer) -> Result<(), Failure> {
        let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
        let reader = tokio::task::spawn_blocking(move || {
            while let Some(batch) = rows.next_batch()? {
                // Nobody wants more once the store has failed.
                if sender.blocking_send(batch).is_err() {
                    break;
                }
            }
            Ok(rows)
        });
        let importer = &importer;
        let mut under_way = FuturesUnordered::new();
        let mut failed: Option<(u64, StoreError)> = None;
        loop {
            tokio::select! {
                batch = batches.recv(), if failed.is_none() && under_way.len() < BATCHES_AT_ONCE => match batch {
                    Some(batch) => {
                        self.set_aside(&batch)?;
                        under_way.push(take(importer, batch));
                    }
                    None if under_way.is_empty() => break,
                    None => self.note(under_way.next().await, &mut failed),
                },
                taken = under_way.next(), if !under_way.is_empty() => self.note(taken, &mut failed),
                else => break,
            }
        }
        drop(batches);
        let read = reader.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        if let Some((line, error)) = failed {
            return Err(Failure::Failed(format!(
                "{error}; go on with --from-line {line}, or from the start: nothing is done twice"
            )));
        }
        let mut rows = read.map_err(unread)?;
        self.remark_on(&rows);
        // A stream's rows were taken before those that speak against them came.
        let regretted = rows.regretted();
        if !regretted.is_empty() {
            let batch = Batch { tokens: regretted, ..Batch::default() };
            let Taken { result, .. } = take(importer, batch).await;
            self.tally.ended += result.map_err(|error| Failure::Failed(format!("{error}; import it again")))?.ended;
        }
        Ok(())
    }

    /// Of several batches that failed, the first in the file is where to go on.
    fn note(&mut self, taken: Option<Taken>, failed: &mut Option<(u64, StoreError)>) {
        let Some(Taken { first_line, tokens, result }) = taken else { return };
        match result {
            Ok(tally) => {
                self.tally.add(tally);
                self.count(tokens);
            }
            Err(error) if failed.as_ref().is_none_or(|(line, _)| first_line < *line) => *failed = Some((first_line, error)),
            Err(_) => {}
        }
    }

    fn set_aside(&mut self, batch: &Batch) -> Result<(), Failure> {
        if batch.bad.is_empty() {
            return Ok(());
        }
        self.progress.clear();
        self.rows += batch.bad.len() as u64;
        self.rejects.take(&batch.bad).map_err(|error| Failure::Failed(format!("the rejects cannot be written: {error}")))
    }

    fn count(&mut self, tokens: u64) {
        self.rows += tokens;
        self.progress.tell(self.rows);
    }

    fn summary(&self, args: &RefreshTokensArgs, settings: &Settings) -> String {
        let Tally { imported, present, expired, revoked, ended } = self.tally;
        let elapsed = self.progress.elapsed();
        let mut text = if args.dry_run { "dry run: the store was left alone\n".to_owned() } else { String::new() };
        let mut line = |name: &str, count: u64, note: &str| {
            let _ = writeln!(text, "{name:13} {count:>10}{note}");
        };
        line("rows", self.rows, &format!("  in {:.1} s", elapsed.as_secs_f64()));
        line(if args.dry_run { "to import" } else { "imported" }, imported, "");
        if !args.dry_run {
            line("already there", present, "");
        }
        line("expired", expired, "  not stored");
        let ended = if ended == 0 { String::new() } else { format!("; {ended} sessions of an earlier import ended") };
        line("revoked", revoked, &format!("  not stored{ended}"));
        let place = self.rejects.path().map_or_else(String::new, |path| format!("  in {}", path.display()));
        line("set aside", self.rejects.count(), &place);
        for remark in &self.remarks {
            let _ = writeln!(text, "{remark}");
        }
        if settings.refresh.imported_until.is_none() && imported + present > 0 {
            text.push_str("refresh.imported_until is not set: until it is, the gateway does not look these tokens up\n");
        }
        text
    }
}

/// A store that is away is waited for: rows that were taken are taken once, however often they are given.
async fn take(importer: &Importer, batch: Batch) -> Taken {
    let (first_line, tokens) = (batch.first_line, batch.tokens.len() as u64);
    let attempts = STORE_PATIENCE.as_secs() / STORE_PAUSE.as_secs();
    let mut result = importer.import(&batch.tokens).await;
    for attempt in 0..attempts {
        match &result {
            Err(error @ (StoreError::Unavailable(_) | StoreError::Unconfirmed(_))) => {
                if attempt == 0 {
                    complain(&format!("{error}; trying again"));
                }
                tokio::time::sleep(STORE_PAUSE).await;
                result = importer.import(&batch.tokens).await;
            }
            Ok(_) | Err(StoreError::Full(_) | StoreError::Unreadable(_)) => break,
        }
    }
    Taken { first_line, tokens, result }
}

#[expect(clippy::needless_pass_by_value, reason = "taken by map_err")]
fn unread(error: std::io::Error) -> Failure {
    Failure::Failed(format!("the file cannot be read: {error}"))
}
