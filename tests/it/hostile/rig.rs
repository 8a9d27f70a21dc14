//! A gateway in this process, with a clock that tests can move.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokengate::app::{Ambient, App, StartError};
use tokengate::config::{InForce, Inputs, Settings, SettingsFile, load};
use tokengate::crypto::entropy::Entropy;
use tokengate::domain::route::{Action, Forward, Route};
use tokengate::domain::stats::Counter;
use tokengate::domain::time::{Clock, Timestamp};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Response};

/// The longest that anything may take which is expected to happen by itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The largest body that [`Rig`]'s routes take.
pub(super) const BODY_BYTES_MAX: usize = 10_000;

/// The system's time, and what the test adds.
pub(super) struct MovedClock {
    system: Arc<dyn Clock>,
    ahead_millis: AtomicU64,
    panics_next: AtomicBool,
    tick_panics_left: AtomicU32,
}

impl MovedClock {
    pub(super) fn advance(&self, span: Duration) {
        self.ahead_millis.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// The next worker that asks for the age of the revocations panics, which each does once per protected request.
    pub(super) fn panic_once_in_a_worker(&self) {
        self.panics_next.store(true, Ordering::SeqCst);
    }

    /// So often the next worker that asks for the time panics, which each does in every tick.
    pub(super) fn panic_in_ticks(&self, times: u32) {
        self.tick_panics_left.store(times, Ordering::SeqCst);
    }

    fn ahead(&self) -> Duration {
        Duration::from_millis(self.ahead_millis.load(Ordering::SeqCst))
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        let take = |left: u32| left.checked_sub(1);
        let panics = in_a_worker() && self.tick_panics_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
        assert!(!panics, "the hands fell off the clock");
        self.system.now().saturating_add(self.ahead())
    }

    fn monotonic(&self) -> Duration {
        assert!(!(in_a_worker() && self.panics_next.swap(false, Ordering::SeqCst)), "the clock fell off the wall");
        self.system.monotonic() + self.ahead()
    }

    /// Of the system alone: nothing takes longer because the test moves the time.
    fn nanos(&self) -> u64 {
        self.system.nanos()
    }
}

fn in_a_worker() -> bool {
    thread::current().name().is_some_and(|name| name.starts_with("worker-"))
}

/// The system's randomness, which a test may take away.
pub(super) struct FragileEntropy {
    system: Arc<dyn Entropy>,
    panics_next: AtomicBool,
}

impl FragileEntropy {
    /// The next worker that draws panics, which each does once for some hundred requests, before anybody looks at the request.
    pub(super) fn panic_once_in_a_worker(&self) {
        self.panics_next.store(true, Ordering::SeqCst);
    }
}

impl Entropy for FragileEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        assert!(!(in_a_worker() && self.panics_next.swap(false, Ordering::SeqCst)), "the dice are gone");
        self.system.fill(bytes);
    }
}

pub(super) struct Rig {
    pub(super) clock: Arc<MovedClock>,
    pub(super) entropy: Arc<FragileEntropy>,
    upstream: SocketAddr,
    /// What the settings say beside what they say for every rig.
    further: String,
    app: App,
    runtime: Runtime,
}

/// How a route of the rig forwards: all of them do.
pub(super) fn forward(route: &mut Route) -> &mut Forward {
    match &mut route.action {
        Action::Forward(forward) => forward,
        Action::Redirect(_) | Action::Respond(_) => panic!("{} does not forward", route.name),
    }
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
        Self::try_start_from(upstream, further, change).unwrap()
    }

    /// `Err`: it does not start, for that reason.
    pub(super) fn try_start_from(
        upstream: SocketAddr,
        further: &str,
        change: impl FnOnce(&mut Settings),
    ) -> Result<Self, StartError> {
        let text = settings_text(upstream, further);
        let mut settings = Settings::from_toml(&text).unwrap();
        change(&mut settings);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let system = Ambient::of_system();
        let clock = Arc::new(MovedClock {
            system: Arc::clone(&system.clock),
            ahead_millis: AtomicU64::new(0),
            panics_next: AtomicBool::new(false),
            tick_panics_left: AtomicU32::new(0),
        });
        let entropy = Arc::new(FragileEntropy { system: system.entropy, panics_next: AtomicBool::new(false) });
        let ambient = Ambient { clock: Arc::clone(&clock) as _, entropy: Arc::clone(&entropy) as _ };
        let app = runtime.block_on(App::start(&settings, ambient))?;
        let rig = Self { clock, entropy, upstream, further: further.to_owned(), app, runtime };
        eventually("the gateway is ready", || rig.runtime.block_on(rig.app.is_ready()));
        Ok(rig)
    }

    /// Takes other settings over. What the test changed in them beside the text is left out.
    pub(super) fn reload(&mut self, further: &str) {
        self.reload_before(self.upstream, further);
    }

    /// The same, with the upstream elsewhere.
    pub(super) fn reload_before(&mut self, upstream: SocketAddr, further: &str) {
        let loaded = |upstream: SocketAddr, further: &str| {
            let file = SettingsFile { name: "settings".to_owned(), text: settings_text(upstream, further) };
            load(&Inputs { file: Some(file), ..Inputs::default() }).unwrap()
        };
        let reload = InForce::new(loaded(self.upstream, &self.further)).reload(&loaded(upstream, further)).unwrap();
        self.runtime.block_on(self.app.reload(&reload)).unwrap();
        assert_eq!(reload.done().1, [""; 0], "it needs a restart");
        (self.upstream, self.further) = (upstream, further.to_owned());
    }

    pub(super) fn client(&self) -> Client {
        Client::connect(self.app.gateway_address())
    }

    /// Where other proxies ask.
    pub(super) fn decision_address(&self) -> SocketAddr {
        self.app.decision_address().expect("decision.address is set")
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.app.gateway_address()
    }

    /// Of the loopback addresses, all of which are this machine's, the one that ends so.
    pub(super) fn client_from(&self, last: u8) -> Client {
        Client::connect_from(Ipv4Addr::new(127, 0, 0, last), self.address())
    }

    /// Asks it to end; returns once it has.
    pub(super) fn stop(self) {
        self.runtime.block_on(self.app.stop(CancellationToken::new()));
    }

    /// The response to one request on a connection of its own.
    pub(super) fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        let mut client = self.client();
        client.send(request);
        client.response()
    }

    pub(super) fn get(&self, path: &str, token: &str) -> Response {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"))
    }

    pub(super) fn post(&self, path: &str, body: &str) -> Response {
        let length = body.len();
        self.ask(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// The upstream must be one that takes every login, as [`super::upstream::Upstream::echo`].
    pub(super) fn log_in(&self) -> Tokens {
        let response = self.post("/login", r#"{"email":"a@example.com","password":"correct horse battery"}"#);
        assert_eq!(response.status, 200, "{response:?}");
        let body: serde_json::Value = serde_json::from_str(&response.body).unwrap();
        let text = |member: &str| body[member].as_str().unwrap().to_owned();
        Tokens { access: text("accessToken"), refresh: text("refreshToken") }
    }

    /// Whether this request, on a connection of its own, is answered with 200; whoever takes no connections does not answer it.
    pub(super) fn takes(&self, request: &str) -> bool {
        let Some(mut client) = Client::try_connect(self.app.gateway_address()) else { return false };
        client.try_send(request);
        client.response_if_any().is_some_and(|response| response.status == 200)
    }

    /// Why the gateway would end without having been asked to; waits for it.
    pub(super) fn awaits_its_end(&self) -> String {
        let failed = async { tokio::time::timeout(PATIENCE, self.app.failed()).await };
        self.runtime.block_on(failed).expect("it gives up").to_string()
    }

    pub(super) fn counted(&self, counter: Counter) -> u64 {
        self.app.counted().value(counter)
    }
}

fn settings_text(upstream: SocketAddr, further: &str) -> String {
    format!(
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
    )
}

/// Waits until something holds that comes about by itself.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began_at = tokio::time::Instant::now();
    while !holds() {
        assert!(began_at.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
