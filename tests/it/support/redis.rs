//! Redis servers of the test's own: free ports, temporary folders, ended with the test.

pub(crate) mod cluster;
pub(crate) mod sentinel;
pub(crate) mod tls;

use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;
use std::{fs, io, thread};

use tokio::time::Instant;

use self::tls::Tls;

const LOOPBACK: &str = "127.0.0.1";

/// Ports below the range from which the kernel takes those of outgoing connections: a server that is started again finds its
/// port free.
const PORT_FIRST: u16 = 20_000;
const PORTS: u16 = 12_000;
pub(super) const PORT_ATTEMPTS_MAX: u32 = 50;
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs the server until its own standard input ends, which it does when the test process is gone, however it went.
const WATCHED: &str = r#"redis-server "$@" </dev/null & echo $!; cat >/dev/null; kill -KILL $! 2>/dev/null; wait"#;

pub(crate) struct RedisServer {
    port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    kind: Kind,
    /// `None`: plain TCP.
    tls: Option<Arc<Tls>>,
    process: Option<Process>,
}

enum Kind {
    Server,
    /// With the file that it keeps its state in.
    Sentinel(PathBuf),
}

struct Process {
    watcher: Child,
    /// Held open for as long as the server is to live.
    leash: Option<ChildStdin>,
    server: u32,
    frozen: AtomicBool,
}

impl RedisServer {
    /// Without persistence; with persistence or a password by [`RedisServer::start_with`].
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With arguments as on the command line of redis-server, such as `["--requirepass", "x"]`.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        Self::prepare(arguments).run_somewhere()
    }

    /// Has a port, and nothing listening there until [`RedisServer::run`].
    pub(crate) fn prepare(arguments: &[&str]) -> Self {
        let port = next_port();
        let folder = std::env::temp_dir().join(format!("tokengate-redis-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { port, folder, arguments, kind: Kind::Server, tls: None, process: None }
    }

    /// From its next start on it speaks TLS, or nothing but plain TCP.
    pub(crate) fn over(mut self, tls: Option<&Arc<Tls>>) -> Self {
        self.tls = tls.cloned();
        self
    }

    /// A sentinel with these lines in its file, not running yet.
    fn prepare_sentinel(lines: &str, arguments: &[&str]) -> Self {
        let mut server = Self::prepare(&[&["--sentinel"], arguments].concat());
        let file = server.file("sentinel.conf");
        fs::write(&file, lines).unwrap();
        server.kind = Kind::Sentinel(file);
        server
    }

    /// Starts it on another port if its own is taken.
    fn run_somewhere(mut self) -> Self {
        for _ in 0..PORT_ATTEMPTS_MAX {
            if self.try_run() {
                return self;
            }
            self.port = next_port();
        }
        panic!("no free port for redis-server");
    }

    /// Starts it, or starts it again, on its port.
    pub(crate) fn run(&mut self) {
        assert!(self.try_run(), "redis-server on port {}: {}", self.port, self.log());
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        let secure = if self.tls.is_some() { "s" } else { "" };
        format!("redis{secure}://{}", self.address())
    }

    /// By the name or address that it goes by.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", host(self.tls.as_ref()), self.port)
    }

    /// A file in the server's folder, which goes with it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The server hangs: the kernel still takes connections and bytes for it.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
        self.process.as_ref().unwrap().frozen.store(true, Ordering::Relaxed);
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
        self.process.as_ref().unwrap().frozen.store(false, Ordering::Relaxed);
    }

    /// Drops its replica, which hangs from now on: what is written is written here alone. [`RedisServer::thaw`] the replica to
    /// mend it.
    pub(crate) fn cut_off(&self, replica: &Self) {
        replica.freeze();
        self.cli(&["CLIENT", "KILL", "TYPE", "replica"]);
    }

    /// A moment up to which the replica has everything that was answered.
    pub(crate) fn replicated_until(&self, replica: &Self) -> Instant {
        let offset = |server: &Self, field: &str| server.info(field).parse::<u64>().unwrap_or_default();
        let at = Instant::now();
        let written = offset(self, "master_repl_offset");
        wait_until("the replica has what was written", || offset(replica, "slave_repl_offset") >= written);
        at
    }

    /// Makes it the replica of another: a server that hung, or one that is started again.
    pub(crate) fn follow(&mut self, primary: &Self) {
        let (host, port) = (host(primary.tls.as_ref()), primary.port().to_string());
        if self.process.is_some() {
            self.thaw();
            assert_eq!(self.cli(&["REPLICAOF", host, &port]), "OK");
        } else {
            // The last of several counts.
            self.arguments.extend(["--replicaof".to_owned(), format!("{host} {port}")]);
            self.run();
        }
    }

    /// Ends it without any farewell, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.leash.take());
            process.watcher.wait().unwrap();
        }
    }

    /// What redis-cli answers to a command, with the password that the server was started with.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let password = self.arguments.windows(2).find(|pair| pair[0] == "--requirepass").map(|pair| pair[1].as_str());
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]);
        command.args(self.tls.iter().flat_map(|tls| tls.of_client())).args(arguments);
        if let Some(password) = password {
            command.env("REDISCLI_AUTH", password);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "redis-cli {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The value of a field of `INFO`.
    pub(crate) fn info(&self, field: &str) -> String {
        let info = self.cli(&["INFO"]);
        let value = info.lines().find_map(|line| line.trim_end().strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_default().to_owned()
    }

    /// Whether it is a replica that has all that its primary had when it was asked.
    pub(crate) fn is_synced_replica(&self) -> bool {
        self.info("role") == "slave" && self.info("master_link_status") == "up"
    }

    /// Whether it runs and is not frozen.
    fn answers(&self) -> bool {
        self.process.as_ref().is_some_and(|process| !process.frozen.load(Ordering::Relaxed))
    }

    fn signal(&self, name: &str) {
        let server = self.process.as_ref().unwrap().server;
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {server}")]).status().unwrap();
        assert!(status.success());
    }

    fn try_run(&mut self) -> bool {
        self.kill();
        let log = self.file("log");
        let _ = fs::remove_file(&log);
        let mut watcher = Command::new("sh")
            .args(["-c", WATCHED, "sh"])
            .args(match &self.kind {
                Kind::Server => None,
                Kind::Sentinel(file) => Some(file),
            })
            .args(match &self.tls {
                None => ["--port", &self.port.to_string(), "--bind", LOOPBACK].map(str::to_owned).into(),
                Some(tls) => tls.of_server(self.port),
            })
            .args(["--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(&self.folder)
            .arg("--logfile")
            .arg(&log)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let leash = watcher.stdin.take();
        let server = io::BufRead::lines(io::BufReader::new(watcher.stdout.take().unwrap())).next().unwrap().unwrap();
        self.process = Some(Process { watcher, leash, server: server.trim().parse().unwrap(), frozen: AtomicBool::new(false) });

        let ready = match self.kind {
            Kind::Server => "Ready to accept connections",
            Kind::Sentinel(_) => "Sentinel ID is",
        };
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let said = self.log();
            if said.contains(ready) {
                return true;
            }
            if said.contains("Address already in use") {
                return false;
            }
            assert!(Instant::now() < deadline, "redis-server does not start: {said}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The name or address that servers go by.
fn host(tls: Option<&Arc<Tls>>) -> &str {
    tls.map_or(LOOPBACK, |tls| tls.host())
}

/// Each test process begins at a place of its own; what is taken nevertheless is passed over.
pub(super) fn next_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
    let start = u16::try_from(std::process::id() % u32::from(PORTS) * 37 % u32::from(PORTS)).unwrap();
    PORT_FIRST + (start + taken) % PORTS
}

/// Waits until a condition holds that servers bring about among themselves.
fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    wait_until_or_tell(holds, || what.to_owned());
}

/// The same; what it still waits for is told as it is in the end.
fn wait_until_or_tell(mut holds: impl FnMut() -> bool, what: impl Fn() -> String) {
    const PATIENCE: Duration = Duration::from_secs(60);
    const PAUSE: Duration = Duration::from_millis(25);
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "still waiting: {}", what());
        thread::sleep(PAUSE);
    }
}
