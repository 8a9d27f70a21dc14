//! What sessions cost in Redis: bytes of its memory, how long a sweep holds it, and refreshes per second with the processor time that
//! they take.
//!
//! `cargo bench --bench store`; it starts a redis-server of its own and, for the refreshes, the gateway. Where there are two cores
//! or more, the gateway has one for itself; Redis and those who ask share another.

#![expect(clippy::print_stdout, reason = "a benchmark reports what it measured")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, thread};

use serde_json::Value;
use tokengate::domain::ids::{Generation, Partitions, SessionId, Subject};
use tokengate::domain::node::NodeId;
use tokengate::domain::revocation::{Revocation, Target};
use tokengate::domain::rotation::Rotation;
use tokengate::domain::session::{Client, Grant, Lifetime, Session};
use tokengate::domain::time::Timestamp;
use tokengate::store::redis::{RedisOptions, RedisStore};
use tokengate::store::{Duty, Fenced, Lease, RevocationLog as _, SessionStore as _, Swap, Swept, Upkeep as _, Version};
use tokio::task::JoinSet;
use tokio::time::Instant;

const ENTRIES: u64 = 100_000;
const REFRESHES_OF_ONE: u32 = 1_000;
const WRITERS: u64 = 64;
const CONNECTIONS: usize = 32;
const MEASURED: Duration = Duration::from_secs(10);
const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);
const DAY: Duration = Duration::from_secs(86_400);
/// Of the times in `/proc/<pid>/stat`.
const TICK_MICROS: u64 = 10_000;

fn main() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = connect(&server).await;
        memory(&server, &store).await;
        sweeps(&server, &store).await;
    });
    server.cli(&["FLUSHALL"]);
    refreshes(&server);
}

async fn connect(server: &Server) -> Arc<RedisStore> {
    let partitions = Partitions::new(NonZeroU16::new(16).unwrap());
    let mut options = RedisOptions::from_url(&server.url(), partitions).unwrap();
    options.call_timeout = Duration::from_secs(60);
    let store = Arc::new(RedisStore::connect(&options).await.unwrap());
    store.probe().await.unwrap();
    store
}

// Memory.

async fn memory(server: &Server, store: &Arc<RedisStore>) {
    let before = server.used_memory();
    write_all(store, |store, n| async move { store.create(&session(n), None, NOW).await.map(drop).unwrap() }).await;
    let with_sessions = server.used_memory();
    println!("{ENTRIES} sessions: {} bytes of Redis' memory each", (with_sessions - before) / ENTRIES);

    // Of sessions that have no record: what the log takes, and nothing that is given back.
    write_all(store, |store, n| async move {
        let target = Target::Session { session: session(ENTRIES + n).id };
        let revocation = Revocation { target, revoked_at: NOW, forget_at: NOW.saturating_add(DAY) };
        drop(store.revoke(&revocation).await.unwrap());
    })
    .await;
    println!("{ENTRIES} revocations: {} bytes each", (server.used_memory() - with_sessions) / ENTRIES);

    let mut one = session(0);
    let key = format!("tg:{{{}}}:session:{}", one.id.partition().0, one.id);
    let bytes = || server.cli(&["MEMORY", "USAGE", &key]);
    refresh(store, &mut one, 1).await;
    let (first, keys) = (bytes(), server.cli(&["DBSIZE"]));
    for n in 2..=REFRESHES_OF_ONE {
        refresh(store, &mut one, n).await;
    }
    let (last, keys_then) = (bytes(), server.cli(&["DBSIZE"]));
    println!(
        "one session: {first} bytes after its first refresh, {last} after {REFRESHES_OF_ONE}; {keys} keys, then {keys_then}"
    );
}

async fn write_all<F>(store: &Arc<RedisStore>, write: impl Fn(Arc<RedisStore>, u64) -> F + Clone + Send + Sync + 'static)
where
    F: Future<Output = ()> + Send,
{
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, write) = (Arc::clone(store), write.clone());
        writers.spawn(async move {
            for n in (writer..ENTRIES).step_by(usize::try_from(WRITERS).unwrap()) {
                write(Arc::clone(&store), n).await;
            }
        });
    }
    drop(writers.join_all().await);
}

/// As a login makes it: a name like an address, a browser, one scope.
fn session(n: u64) -> Session {
    let subject = Subject::new(&format!("user-{n:07}@example.com")).unwrap();
    let partitions = Partitions::new(NonZeroU16::new(16).unwrap());
    let browser = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    Session {
        id: SessionId::new(partitions.of(&subject), NOW, n.to_be_bytes()),
        subject,
        grant: Grant { scopes: vec!["read".to_owned()], ..Grant::default() },
        rotation: Rotation::first(),
        lifetime: Lifetime::starting(NOW, 7 * DAY, 90 * DAY),
        client: Client::new(Some([192, 0, 2, 1].into()), Some(browser)),
        last_used_at: NOW,
    }
}

async fn refresh(store: &RedisStore, session: &mut Session, n: u32) {
    let at = NOW.saturating_add(Duration::from_secs(u64::from(n) * 600));
    session.rotation = Rotation { current: Generation(n + 1), parent: Generation(n), acknowledged: false, rotated_at: Some(at) };
    session.lifetime = session.lifetime.extended(at, 7 * DAY);
    session.last_used_at = at;
    let swapped = store.swap(Version(u64::from(n)), session).await.unwrap();
    assert_eq!(swapped, Swap::Done(Version(u64::from(n) + 1)));
}

// Sweeps.

/// Over what [`memory`] has left.
async fn sweeps(server: &Server, store: &RedisStore) {
    let holder = NodeId::new([1; 8]);
    let Lease::Ours(fence) = store.lease(Duty::Sweep, holder, DAY, NOW).await.unwrap() else { panic!("the lease is taken") };
    for (now, what) in [(NOW, "that live"), (NOW.saturating_add(30 * DAY), "that have ended")] {
        server.cli(&["CONFIG", "SET", "latency-tracking-info-percentiles", "50 99 100"]);
        server.cli(&["CONFIG", "RESETSTAT"]);
        let (began, mut steps, mut place, mut swept) = (Instant::now(), 0_u32, None, Swept::default());
        loop {
            let Fenced::Done(step) = store.sweep(place, fence, now).await.unwrap() else { panic!("nobody else sweeps") };
            swept.add(step.swept);
            (steps, place) = (steps + 1, step.next);
            if place.is_none() {
                break;
            }
        }
        println!("sweep over sessions and revocations {what}: {swept:?} in {steps} steps, {:?}", began.elapsed());
        let stats = server.cli(&["INFO", "latencystats"]);
        for command in ["evalsha", "zrangebyscore", "zscan"] {
            let micros =
                stats.lines().find_map(|line| line.trim().strip_prefix("latency_percentiles_usec_")?.strip_prefix(command));
            println!("  {command} holds Redis for so many µs{}", micros.unwrap());
        }
    }
}

// Refreshes.

fn refreshes(server: &Server) {
    for (leeway, what) in [("0s", "rotated"), ("10m", "reissued")] {
        let gateway = Gateway::start(server, leeway);
        let (over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let (address, over, count) = (gateway.address, Arc::clone(&over), Arc::clone(&count));
                thread::Builder::new().spawn(move || keep_refreshing(address, number, &over, &count)).unwrap()
            })
            .collect();
        thread::sleep(Duration::from_secs(1));
        let (began, first) = (Instant::now(), count.load(Ordering::SeqCst));
        let [cpu, redis_cpu] = [&gateway.process, &server.process].map(cpu_micros);
        thread::sleep(MEASURED);
        let (elapsed, done) = (began.elapsed(), count.load(Ordering::SeqCst) - first);
        let [cpu_then, redis_cpu_then] = [&gateway.process, &server.process].map(cpu_micros);
        over.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().unwrap();
        }
        println!(
            "{what}: {:.0} refreshes per second over {CONNECTIONS} connections; {} CPU-µs each in the gateway, {} in Redis",
            f64::from(u32::try_from(done).unwrap()) / elapsed.as_secs_f64(),
            (cpu_then - cpu) / done,
            (redis_cpu_then - redis_cpu) / done
        );
    }
}

fn keep_refreshing(address: SocketAddr, number: usize, over: &AtomicBool, count: &AtomicU64) {
    let mut connection = BufReader::new(TcpStream::connect(address).unwrap());
    let login = format!(r#"{{"email":"user-{number}@example.com","password":"x"}}"#);
    let mut token = post(&mut connection, "/login", &login);
    while !over.load(Ordering::Relaxed) {
        token = post(&mut connection, "/refresh", &format!(r#"{{"refreshToken":"{token}"}}"#));
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The refresh token of the response.
fn post(connection: &mut BufReader<TcpStream>, path: &str, body: &str) -> String {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    connection.get_mut().write_all((head + body).as_bytes()).unwrap();
    let (status, body) = read_message(connection);
    assert!(status.contains(" 200 "), "{path}: {status} {}", String::from_utf8_lossy(&body));
    serde_json::from_slice::<Value>(&body).unwrap()["refreshToken"].as_str().unwrap().to_owned()
}

fn read_message(connection: &mut BufReader<TcpStream>) -> (String, Vec<u8>) {
    let (mut first, mut length, mut line) = (String::new(), 0, String::new());
    loop {
        line.clear();
        if connection.read_line(&mut line).unwrap() == 0 {
            return (first, Vec::new());
        }
        let text = line.trim_end();
        if first.is_empty() {
            text.clone_into(&mut first);
        } else if let Some((_, value)) = text.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            length = value.parse().unwrap();
        } else if text.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).unwrap();
    (first, body)
}

/// What it has used so far, as exact as the kernel's ticks.
fn cpu_micros(process: &Child) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>() * TICK_MICROS
}

// Processes.

/// Pinned to a core where there are several; the last one is Redis' and that of those who ask.
fn pinned(core: usize, program: &str) -> Command {
    let cores = thread::available_parallelism().unwrap().get();
    let mut command = Command::new("taskset");
    command.args(["-c", &(core % cores).to_string(), program]);
    command
}

struct Server {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let process = pinned(1, "redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        Self { process, port, _folder: folder }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn used_memory(&self) -> u64 {
        let info = self.cli(&["INFO", "memory"]);
        info.lines().find_map(|line| line.trim().strip_prefix("used_memory:")).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Gateway {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Gateway {
    /// In front of an API that lets everyone in.
    fn start(server: &Server, leeway: &str) -> Self {
        let api = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = format!("http://{}", api.local_addr().unwrap());
        thread::Builder::new().spawn(move || serve_logins(&api)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys").display().to_string();
        let binary = env!("CARGO_BIN_EXE_tokengate");
        assert!(Command::new(binary).args(["keys", "generate", "--directory", &keys]).output().unwrap().status.success());
        let set = [
            ("listen.address", "127.0.0.1:0"),
            ("listen.workers", "1"),
            ("admin.address", ""),
            ("store.kind", "redis"),
            ("store.redis.url", &server.url()),
            ("store.redis.deadline", "10s"),
            ("keys.directory", &keys),
            ("refresh.secret", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
            ("refresh.leeway", leeway),
            ("limits.login.per_address", ""),
            ("limits.login.per_account", ""),
            ("limits.refresh.per_address", ""),
            ("limits.refresh.per_account", ""),
            ("upstreams.api.url", &upstream),
            ("log.format", "json"),
        ];
        let mut process = pinned(0, binary)
            .arg("run")
            .args(set.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]))
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| {
                let line: Value = serde_json::from_str(&line).ok()?;
                (line["message"] == "listening").then(|| line["gateway"].as_str().unwrap().parse().unwrap())
            })
            .unwrap();
        thread::Builder::new().spawn(move || lines.for_each(drop)).unwrap();
        Self { process, address, _folder: folder }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn serve_logins(listener: &TcpListener) {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
    for stream in listener.incoming().map_while(Result::ok) {
        let serve = move || {
            let mut connection = BufReader::new(stream);
            loop {
                let (_, body) = read_message(&mut connection);
                let Ok(call) = serde_json::from_slice::<Value>(&body) else { break };
                let body = format!(r#"{{"id":{}}}"#, call["email"]);
                let response = format!("{ANSWER}{}\r\n\r\n{body}", body.len());
                if connection.get_mut().write_all(response.as_bytes()).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new().spawn(serve).unwrap();
    }
}
