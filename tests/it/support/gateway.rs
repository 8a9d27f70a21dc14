//! Real gateway processes on free ports, and what their users hold.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fs, thread};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::described::Described;
use super::http::{Client, Message};
use super::leash::Leashed;
use super::redis::{PORT_ATTEMPTS_MAX, RedisServer, next_port};
use super::servers::Server;
use super::upstream::{PASSWORD, Upstream};

const BINARY: &str = env!("CARGO_BIN_EXE_tokengate");
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// From SIGTERM to SIGKILL when a test is over.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
const POLL_PAUSE: Duration = Duration::from_millis(5);
/// Of a failed test's gateway, how much of its log is shown.
const LOG_LINES_SHOWN: usize = 20;

/// The settings of every gateway here, before a test's own `--set`: nothing is limited by rate, everything is on free ports.
const SETTINGS: &str = r#"
[listen]
address = "127.0.0.1:0"
workers = 2

[limits.login]
per_address = ""
per_account = ""

[limits.refresh]
per_address = ""
per_account = ""
imported_per_address = ""

[store]
kind = "memory"

[admin]
address = "127.0.0.1:0"

[log]
format = "json"
"#;

/// Of those that have no other.
const ROUTES: &str = r#"
[[routes]]
name = "public"
prefix = "/public"
access = "public"

[[routes]]
name = "api"
prefix = "/"
"#;

/// One `tokengate run`.
pub(crate) struct Gateway {
    leashed: Leashed,
    address: SocketAddr,
    admin: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    /// Once it was ready.
    described: OnceLock<Option<Described>>,
    file: PathBuf,
    /// Goes with it, if it is its own.
    folder: Option<TempDir>,
}

impl Gateway {
    /// With a memory store, unless `set` says otherwise: keys and values as for `--set`. Returns once it is ready.
    pub(crate) fn start(upstream: &impl Server, set: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut gateway = Self::start_in(folder.path(), upstream, set);
        gateway.folder = Some(folder);
        gateway
    }

    /// The same in a folder that outlives it.
    pub(crate) fn start_in(folder: &Path, upstream: &impl Server, set: &[(&str, &str)]) -> Self {
        let gateway = Self::launch(folder, upstream, set);
        gateway.await_ready();
        gateway
    }

    /// Returns once it listens, ready or not.
    pub(crate) fn launch(folder: &Path, upstream: &impl Server, set: &[(&str, &str)]) -> Self {
        let file = folder.join("tokengate.toml");
        fs::write(&file, settings(upstream, ROUTES)).unwrap();
        Self::launch_file(folder, &file, set)
    }

    /// By tables of the test's own beside the usual ones, routes among them; the upstream is called `api`. Returns once it is ready.
    pub(crate) fn of(upstream: &impl Server, tables: &str, set: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokengate.toml");
        fs::write(&file, settings(upstream, tables)).unwrap();
        let mut gateway = Self::launch_file(folder.path(), &file, set);
        gateway.folder = Some(folder);
        gateway.await_ready();
        gateway
    }

    /// By a settings file of the test's own, which has to say where to listen and to log in JSON. Returns once it listens.
    pub(crate) fn launch_file(folder: &Path, file: &Path, set: &[(&str, &str)]) -> Self {
        Self::try_launch_file(folder, file, set).unwrap_or_else(|log| panic!("the gateway does not start: {log}"))
    }

    /// Returns once it listens, or what it said when it ended instead.
    pub(crate) fn try_launch(upstream: &impl Server, set: &[(&str, &str)]) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokengate.toml");
        fs::write(&file, settings(upstream, ROUTES)).unwrap();
        let mut gateway = Self::try_launch_file(folder.path(), &file, set)?;
        gateway.folder = Some(folder);
        Ok(gateway)
    }

    fn try_launch_file(folder: &Path, file: &Path, set: &[(&str, &str)]) -> Result<Self, String> {
        let mut command = Command::new(BINARY);
        command
            .arg("run")
            .arg("--config")
            .arg(file)
            .args(set.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]))
            .env_clear();
        Self::try_launch_command(folder, file, command)
    }

    /// Through a program that becomes the gateway: its arguments end with the gateway's command line. Returns once the gateway listens, or
    /// what it said when it ended instead.
    pub(crate) fn try_launch_through(mut program: Command, folder: &Path, upstream: &impl Server) -> Result<Self, String> {
        let file = folder.join("tokengate.toml");
        if !file.exists() {
            fs::write(&file, settings(upstream, ROUTES)).unwrap();
        }
        program.args([BINARY, "run", "--config"]).arg(&file);
        Self::try_launch_command(folder, &file, program)
    }

    fn try_launch_command(folder: &Path, file: &Path, mut command: Command) -> Result<Self, String> {
        command
            .current_dir(folder)
            // What it takes of memory is then told by the page.
            .env("MIMALLOC_ALLOW_THP", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut leashed = Leashed::spawn(&mut command);
        let (log, gathering) = gather(leashed.process.stderr.take().unwrap());
        let Some((address, admin)) = await_addresses(&mut leashed.process, &log) else {
            gathering.join().unwrap();
            return Err(log.lock().unwrap().join("\n"));
        };
        Ok(Self { leashed, address, admin, log, described: OnceLock::new(), file: file.to_owned(), folder: None })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) const fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Where other proxies ask.
    pub(crate) fn decision_address(&self) -> SocketAddr {
        let log = self.log();
        let mut told = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let line =
            told.find(|line| line["listener"].as_str().is_some_and(|listener| listener.contains("decides for other proxies")));
        line.expect("decision.address is set")["address"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address).described_by(self.described.get().cloned().flatten())
    }

    pub(crate) fn admin(&self) -> Client {
        Client::new(self.admin).described_by(Some(Described::admin()))
    }

    pub(crate) fn await_ready(&self) {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let ready = self.client().get("/readyz", None);
            if ready.status() == 200 {
                self.described.get_or_init(|| Described::own(self.admin));
                return;
            }
            assert!(Instant::now() < deadline, "not ready: {}\n{}", ready.text(), self.log());
            thread::sleep(POLL_PAUSE);
        }
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Ends it without any farewell, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.leashed.process.kill().unwrap();
        self.leashed.process.wait().unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.leashed.process.id())]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end; `None` if it goes on.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.leashed.process.try_wait().unwrap() {
                return Some(status);
            }
            thread::sleep(POLL_PAUSE);
        }
        None
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.leashed.process.try_wait().unwrap().is_none()
    }

    /// Rewrites its settings file, and has it read again. Returns once the new settings are taken; workers follow with their next tick.
    pub(crate) fn reload(&self, change: impl FnOnce(String) -> String) {
        let reloads = || self.log().matches("settings reloaded").count();
        let before = reloads();
        self.rewrite(change);
        self.signal("HUP");
        let deadline = Instant::now() + START_TIMEOUT;
        while reloads() == before {
            assert!(Instant::now() < deadline && !self.log().contains("settings not reloaded"), "{}", self.log());
            thread::sleep(POLL_PAUSE);
        }
    }

    /// Rewrites its settings file, and tells it nothing.
    pub(crate) fn rewrite(&self, change: impl FnOnce(String) -> String) {
        fs::write(&self.file, change(fs::read_to_string(&self.file).unwrap())).unwrap();
    }

    /// Of memory, what the kernel counts as its own.
    pub(crate) fn resident_bytes(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.leashed.process.id())).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")).unwrap();
        kib.parse::<usize>().unwrap() * 1024
    }

    /// Waits for what `holds` of the log, which comes by a pipe.
    #[track_caller]
    pub(crate) fn await_log(&self, what: &str, mut holds: impl FnMut(&str) -> bool) {
        let deadline = Instant::now() + START_TIMEOUT;
        while !holds(&self.log()) {
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it logged so far, one JSON object a line.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.is_running() {
            self.terminate();
            // Whatever does not end by itself is killed with its leash.
            self.wait(FAREWELL_MAX);
        }
        if thread::panicking() {
            let log = self.log.lock().unwrap();
            let shown = log.len().saturating_sub(LOG_LINES_SHOWN);
            #[expect(clippy::print_stderr, reason = "shown with a failed test alone")]
            {
                eprintln!("log of the gateway at {}:\n{}", self.address, log[shown..].join("\n"));
            }
        }
    }
}

fn settings(upstream: &impl Server, tables: &str) -> String {
    format!("{SETTINGS}\n[upstreams.api]\nurl = \"{}\"\n{tables}", upstream.url())
}

/// The log as it comes, and who brings it until its end.
fn gather(stderr: ChildStderr) -> (Arc<Mutex<Vec<String>>>, JoinHandle<()>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let writing = Arc::clone(&log);
    let gathering = thread::Builder::new()
        .spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                writing.lock().unwrap().push(line);
            }
        })
        .unwrap();
    (log, gathering)
}

/// From the line of the log that tells what is bound. `None`: it has ended instead.
fn await_addresses(process: &mut Child, log: &Mutex<Vec<String>>) -> Option<(SocketAddr, SocketAddr)> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let exited = process.try_wait().unwrap();
        let lines = log.lock().unwrap().clone();
        for line in lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if line["message"] == "listening" {
                let admin = line["admin"].as_str().unwrap().trim_start_matches("Some(").trim_end_matches(')');
                return Some((line["gateway"].as_str().unwrap().parse().unwrap(), admin.parse().unwrap()));
            }
        }
        if exited.is_some() {
            return None;
        }
        assert!(Instant::now() < deadline, "neither listens nor ends: {}", lines.join("\n"));
        thread::sleep(POLL_PAUSE);
    }
}

/// Two gateways, one redis-server, one upstream.
pub(crate) struct Pair {
    pub(crate) a: Gateway,
    pub(crate) b: Gateway,
    pub(crate) redis: RedisServer,
    pub(crate) upstream: Upstream,
    pub(crate) folder: TempDir,
}

impl Pair {
    /// `set` holds for both.
    pub(crate) fn start(set: &[(&str, &str)]) -> Self {
        Self::before(Upstream::start(), set)
    }

    /// The same before an upstream of the test's own.
    pub(crate) fn before(upstream: Upstream, set: &[(&str, &str)]) -> Self {
        let (redis, folder) = (RedisServer::start(), tempfile::tempdir().unwrap());
        let keys = generate_keys(folder.path());
        let (keys, url) = (keys.display().to_string(), redis.url());
        let mut all = vec![
            ("store.kind", "redis"),
            ("store.redis.url", url.as_str()),
            ("keys.directory", keys.as_str()),
            ("refresh.secret", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        ];
        all.extend_from_slice(set);
        let node = |name: &str| {
            let home = folder.path().join(name);
            fs::create_dir(&home).unwrap();
            Gateway::launch(&home, &upstream, &all)
        };
        let (a, b) = (node("a"), node("b"));
        a.await_ready();
        b.await_ready();
        Self { a, b, redis, upstream, folder }
    }

    pub(crate) fn nodes(&self) -> [&Gateway; 2] {
        [&self.a, &self.b]
    }

    /// Where both find their keys.
    pub(crate) fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }
}

/// For a gateway that is to be started again where it was: the kernel gives the port to no outgoing connection meanwhile.
pub(crate) fn lasting_address() -> SocketAddr {
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?.local_addr().ok();
    (0..PORT_ATTEMPTS_MAX).find_map(|_| free(next_port())).expect("a free port")
}

pub(crate) fn generate_keys(folder: &Path) -> PathBuf {
    let directory = folder.join("keys");
    let made = Command::new(BINARY).args(["keys", "generate", "--directory"]).arg(&directory).env_clear().output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    directory
}

/// What a client keeps after a login or refresh.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Tokens {
    pub(crate) fn of(response: &Message) -> Self {
        Self { access: response.member("accessToken"), refresh: response.member("refreshToken") }
    }
}

impl Client {
    /// Logs in; whoever is named is known to the upstream.
    pub(crate) fn log_in(&mut self, email: &str) -> Tokens {
        Tokens::of(&self.post("/login", &json!({"email": email, "password": PASSWORD})).expect(200))
    }

    pub(crate) fn refresh(&mut self, refresh_token: &str) -> Message {
        self.post("/refresh", &json!({"refreshToken": refresh_token}))
    }

    /// `scope` is `session`, `others` or `all`.
    pub(crate) fn log_out(&mut self, access_token: &str, scope: &str) -> Message {
        self.call("POST", "/logout", Some(access_token), Some(&json!({"scope": scope})))
    }
}
