//! A gateway in this process, with a clock that tests can move.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokengate::app::{Ambient, App};
use tokengate::config::Settings;
use tokengate::domain::stats::Counter;
use tokengate::domain::time::{Clock, Timestamp};
use tokio::runtime::Runtime;

use super::client::{Answer, Client};

/// The longest that anything may take which is expected to happen by itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The largest body that [`Rig`]'s routes take.
pub(super) const BODY_BYTES_MAX: usize = 10_000;

/// The system's time, and what the test adds.
pub(super) struct MovedClock {
    system: Arc<dyn Clock>,
    ahead_millis: AtomicU64,
    panics_next: AtomicBool,
}

impl MovedClock {
    pub(super) fn advance(&self, span: Duration) {
        self.ahead_millis.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// The next worker that asks for the age of the revocations panics, which each does once per protected request.
    pub(super) fn panic_once_in_a_worker(&self) {
        self.panics_next.store(true, Ordering::SeqCst);
    }

    fn ahead(&self) -> Duration {
        Duration::from_millis(self.ahead_millis.load(Ordering::SeqCst))
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        self.system.now().saturating_add(self.ahead())
    }

    fn monotonic(&self) -> Duration {
        let is_worker = thread::current().name().is_some_and(|name| name.starts_with("worker-"));
        assert!(!(is_worker && self.panics_next.swap(false, Ordering::SeqCst)), "the clock fell off the wall");
        self.system.monotonic() + self.ahead()
    }
}

pub(super) struct Rig {
    pub(super) clock: Arc<MovedClock>,
    app: App,
    runtime: Runtime,
}

/// What a login gave.
pub(super) struct Tokens {
    pub(super) access: String,
    pub(super) refresh: String,
}

impl Rig {
    pub(super) fn start(upstream: SocketAddr) -> Self {
        Self::start_with(upstream, |_| {})
    }

    /// One worker, so that kept-alive connections are found again. `/public` needs no token, `/lenient` takes stale revocations.
    pub(super) fn start_with(upstream: SocketAddr, change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_from(upstream, "[store]\nkind = \"memory\"\n", change)
    }

    pub(super) fn start_from(upstream: SocketAddr, further: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let text = format!(
            r#"
            [listen]
            address = "127.0.0.1:0"
            workers = 1
            [upstreams.api]
            url = "http://{upstream}"
            [[routes]]
            name = "public"
            prefix = "/public"
            access = "public"
            body_bytes_max = "{BODY_BYTES_MAX}B"
            [[routes]]
            name = "lenient"
            prefix = "/lenient"
            when_stale = "serve"
            [[routes]]
            name = "written"
            prefix = "/written"
            methods = ["POST"]
            [[routes]]
            name = "scoped"
            prefix = "/scoped"
            scopes = ["admin"]
            [[routes]]
            name = "api"
            prefix = "/api"
            body_bytes_max = "{BODY_BYTES_MAX}B"
            [admin]
            address = ""
            {further}"#
        );
        let mut settings = Settings::from_toml(&text).unwrap();
        change(&mut settings);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let system = Ambient::of_system();
        let clock = Arc::new(MovedClock {
            system: Arc::clone(&system.clock),
            ahead_millis: AtomicU64::new(0),
            panics_next: AtomicBool::new(false),
        });
        let ambient = Ambient { clock: Arc::clone(&clock) as _, ..system };
        let app = runtime.block_on(App::start(&settings, ambient)).unwrap();
        let rig = Self { clock, app, runtime };
        eventually("the gateway is ready", || rig.runtime.block_on(rig.app.is_ready()));
        rig
    }

    pub(super) fn client(&self) -> Client {
        Client::connect(self.app.gateway_address())
    }

    /// The answer to one request on a connection of its own.
    pub(super) fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut client = self.client();
        client.send(request);
        client.answer()
    }

    pub(super) fn get(&self, path: &str, token: &str) -> Answer {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"))
    }

    pub(super) fn post(&self, path: &str, body: &str) -> Answer {
        let length = body.len();
        self.ask(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// The upstream must be one that takes every login, as [`super::upstream::Upstream::echo`].
    pub(super) fn log_in(&self) -> Tokens {
        let answer = self.post("/login", r#"{"email":"a@example.com","password":"correct horse battery"}"#);
        assert_eq!(answer.status, 200, "{answer:?}");
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let text = |member: &str| body[member].as_str().unwrap().to_owned();
        Tokens { access: text("accessToken"), refresh: text("refreshToken") }
    }

    pub(super) fn counted(&self, counter: Counter) -> u64 {
        self.app.counted().value(counter)
    }
}

/// Waits until something holds that comes about by itself.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began_at = tokio::time::Instant::now();
    while !holds() {
        assert!(began_at.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
