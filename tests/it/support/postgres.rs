//! A `PostgreSQL` of the test's own: a temporary cluster that only a Unix socket reaches, ended with the test.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the server until its own standard input ends, which it does when the test process is gone, however it went.
const WATCHED: &str = r#""$@" </dev/null >/dev/null 2>&1 & cat >/dev/null; kill -INT $! 2>/dev/null; wait"#;

pub(crate) struct Postgres {
    watcher: Child,
    leash: Option<ChildStdin>,
    folder: TempDir,
}

impl Postgres {
    /// With one empty database, `app`.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        give_to_postgres(folder.path());
        give_to_postgres(&data);
        let made = as_postgres(&program("initdb"))
            .args(["--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let server = as_postgres(&program("postgres"));
        let mut watcher = Command::new("sh");
        watcher.args(["-c", WATCHED, "sh"]).arg(server.get_program()).args(server.get_args()).arg("-D").arg(&data);
        watcher.arg("-k").arg(folder.path()).args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=40"]);
        let mut watcher = watcher.stdin(Stdio::piped()).spawn().unwrap();
        let leash = watcher.stdin.take();
        let postgres = Self { watcher, leash, folder };
        postgres.await_ready();
        postgres.sql_in("postgres", "CREATE DATABASE app");
        postgres
    }

    /// As clients of the database take it.
    pub(crate) fn url(&self) -> String {
        format!("postgres:///app?user=postgres&host={}", self.folder.path().display())
    }

    /// Runs statements and returns what they answer: a line for each row, `|` between columns.
    pub(crate) fn sql(&self, statements: &str) -> String {
        self.sql_in("app", statements)
    }

    /// Exports what a query gives, with a header, through COPY as an operator would.
    pub(crate) fn copy_csv(&self, query: &str, file: &Path) {
        let csv = self.sql(&format!("COPY ({query}) TO STDOUT WITH (FORMAT csv, HEADER)"));
        fs::write(file, csv).unwrap();
    }

    fn sql_in(&self, database: &str, statements: &str) -> String {
        self.try_sql(database, statements).unwrap_or_else(|error| panic!("psql: {error}"))
    }

    fn try_sql(&self, database: &str, statements: &str) -> Result<String, String> {
        let mut psql = Command::new("psql")
            .args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-h"])
            .arg(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        psql.stdin.take().unwrap().write_all(statements.as_bytes()).unwrap();
        let output = psql.wait_with_output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned() + "\n")
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn await_ready(&self) {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match self.try_sql("postgres", "SELECT 1") {
                Ok(_) => return,
                Err(error) => assert!(Instant::now() < deadline, "postgres does not start: {error}"),
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.leash.take());
        let _ = self.watcher.wait();
    }
}

/// Where Debian puts what only servers need; else wherever it is found.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| name.into())
}

/// The server refuses to run as root: as root, it runs as the user of that name, whom its package makes.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

fn give_to_postgres(folder: &Path) {
    if is_root() {
        let given = Command::new("chown").arg("postgres:postgres").arg(folder).status().unwrap();
        assert!(given.success(), "there is no user postgres: tests/run installs the package that makes it");
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
}

fn is_root() -> bool {
    let mut status = String::new();
    fs::File::open("/proc/self/status").unwrap().read_to_string(&mut status).unwrap();
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}
