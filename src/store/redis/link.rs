//! One guarded connection to one server through fred.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, EventInterface};
use fred::socket2::TcpKeepalive;
use fred::types::config::{
    Blocking, Config, ConnectionConfig, CredentialProvider, Options, PerformanceConfig, ReconnectPolicy, Server, ServerConfig,
    TcpConfig, TlsConfig, TlsConnector, UnresponsiveConfig,
};
use fred::types::{ClusterHash, CustomCommand, RespVersion, Value};
use futures_util::FutureExt as _;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::{Failure, in_words};
use super::guard::{Breaker, Verdict};
use super::options::Address;
use super::password::PasswordFile;
use super::supervise::supervise;
use crate::domain::network::{KEEPALIVE_INTERVAL, KEEPALIVE_TIME};
use crate::domain::secret::Secret;
use crate::store::StoreError;

/// Calls at one time; more wait, within their deadline. Together with [`COMMANDS_AT_ONCE_MAX`] it keeps fred's queue from ever
/// being full, which would lose fred's own requests to reconnect.
const CALLS_MAX: usize = 2_048;
/// Commands that one call may have under way.
pub(super) const COMMANDS_AT_ONCE_MAX: usize = 64;
const COMMAND_BUFFER_MAX: usize = CALLS_MAX * COMMANDS_AT_ONCE_MAX + 1_024;

/// Reconnects wait this long, and up to the jitter longer. Constant, because fred's growing policies lose their jitter at the cap.
const RECONNECT_DELAY_MILLIS: u32 = 50;
const RECONNECT_JITTER_MILLIS: u32 = 500;

/// A server that took the connection and does not respond to its first commands is given up after this: one that comes back just
/// then is found by the next attempt.
const GREETING_MAX: Duration = Duration::from_secs(1);

/// fred's own watch over a connection that is written to and silent. Second line: steady writes reset it.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(2);
const UNRESPONSIVE_INTERVAL: Duration = Duration::from_millis(500);

/// A forced reconnect that has not begun after this means that fred's task is stuck in a write: it is replaced.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// A server that is up but not to be written to is asked again no sooner than this.
const DEMOTED_INTERVAL: Duration = Duration::from_secs(2);

/// A connection that was just begun is waited for so long before a call on it fails.
const FRESH_FOR: Duration = Duration::from_millis(250);
const POLL: Duration = Duration::from_millis(2);

/// How to talk to servers of one kind.
pub(super) struct Access {
    pub(super) tls: Option<TlsConnector>,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret<String>>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) database: u8,
    pub(super) call_timeout: Duration,
    pub(super) connect_timeout: Duration,
    /// Rung when a server of them does not respond as it should.
    pub(super) trouble: Arc<Notify>,
}

/// A connection that recovers by itself, and calls on it that end within their deadline.
pub(super) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    address: Address,
    client: Client,
    trouble: Arc<Notify>,
    opened_at: Instant,
    breaker: Mutex<Breaker>,
    connections: Mutex<Connections>,
    calls: Arc<Semaphore>,
    /// What fred said when it could not connect: `Connection closed` tells an operator nothing.
    last_failure: Mutex<Option<String>>,
    reconnecting: AtomicBool,
    restart: Notify,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What fred tells of failures, and of connections that were made.
type Events = (broadcast::Receiver<(Error, Option<Server>)>, broadcast::Receiver<Server>);

/// Counts the connections that were made, one after the other.
struct Connections {
    events: broadcast::Receiver<Server>,
    count: u64,
}

/// A command as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) name: &'static str,
    pub(super) args: Vec<Value>,
    /// Whether the server responds only when it has something to say.
    pub(super) blocking: bool,
}

impl Command {
    pub(super) fn new(name: &'static str, args: Vec<Value>) -> Self {
        Self { name, args, blocking: false }
    }

    fn to_fred(&self) -> CustomCommand {
        // The slot matters to fred's own routing alone.
        CustomCommand::new_static(self.name, ClusterHash::Custom(0), self.blocking)
    }
}

impl Link {
    /// Starts to connect; does not wait for it.
    pub(super) fn open(access: &Access, address: &Address) -> Self {
        let client = client(access, address);
        let connections = Connections { events: client.reconnect_rx(), count: 0 };
        let shared = Arc::new(Shared {
            address: address.clone(),
            client,
            trouble: Arc::clone(&access.trouble),
            opened_at: Instant::now(),
            breaker: Mutex::default(),
            connections: Mutex::new(connections),
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            last_failure: Mutex::new(None),
            reconnecting: AtomicBool::new(false),
            restart: Notify::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        // Listens before anything happens.
        let mut first_events = Some(shared.events());
        let (watched, kept) = (shared.clone(), shared.clone());
        shared.tasks.spawn(async move {
            let mut events = || first_events.take().unwrap_or_else(|| watched.events());
            supervise("redis connection watch", || watch(&watched, events())).await;
        });
        shared.tasks.spawn(async move { supervise("redis connection", || keep_connected(&kept)).await });
        Self { shared }
    }

    /// Waits until connected, or until `deadline`.
    pub(super) async fn connected_by(&self, deadline: Instant) -> bool {
        while !self.shared.client.is_connected() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        self.shared.client.is_connected()
    }

    /// Waits for the first connection of a link that was opened just now.
    pub(super) async fn settled(&self) {
        let fresh_until = self.shared.opened_at + FRESH_FOR;
        while !self.shared.client.is_connected() && !self.has_failed() && Instant::now() < fresh_until {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Closes the connection and waits for its tasks.
    pub(super) async fn close(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// How many connections there were up to now: whether this one is still the one that it was.
    pub(super) fn connections(&self) -> u64 {
        self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner).counted()
    }

    /// Whether it is connected and the last command got a response.
    pub(super) fn is_well(&self) -> bool {
        self.shared.client.is_connected() && self.shared.breaker().is_calm()
    }

    /// Whether a call may be made: refused at once while the server is silent.
    pub(super) fn admit(&self) -> Result<(), StoreError> {
        if self.shared.breaker().admit(Instant::now()) {
            return Ok(());
        }
        Err(StoreError::Unavailable(self.explain("no response lately from")))
    }

    /// The right to make a call, one of [`CALLS_MAX`].
    pub(super) async fn permit(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, StoreError> {
        let crowded = || StoreError::Unavailable("too many calls under way".into());
        let permit = tokio::time::timeout_at(deadline, Arc::clone(&self.shared.calls).acquire_owned()).await;
        permit.map_err(|_| crowded())?.map_err(|_| crowded())
    }

    pub(super) async fn send(&self, command: Command, deadline: Instant) -> Result<Value, Failure> {
        let fred = command.to_fred();
        let result = self.shared.client.with_options(&options(deadline)).custom(fred, command.args).await.map_err(Failure::from);
        self.shared.record(result.as_ref().map_or_else(Verdict::of, |_: &Value| Verdict::Answered));
        result
    }

    /// Sends commands one behind the other over the same connection, nothing between them: the result of each, or of all.
    pub(super) async fn send_in_a_row(
        &self,
        commands: Vec<Command>,
        deadline: Instant,
    ) -> Result<Vec<Result<Value, Failure>>, Failure> {
        if !self.shared.client.is_connected() {
            self.shared.record(Verdict::Broken);
            return Err(Failure::Disconnected);
        }
        let count = commands.len();
        let pipeline = self.shared.client.pipeline().with_options(&options(deadline));
        for command in commands {
            let fred = command.to_fred();
            let _queued: Value = pipeline.custom(fred, command.args).await?;
        }
        let sent = tokio::time::timeout_at(deadline, pipeline.try_all::<Value>()).await;
        let mut results: Vec<Result<Value, Failure>> = match sent {
            Ok(results) => results.into_iter().map(|result| result.map_err(Failure::from)).collect(),
            Err(_elapsed) => vec![Err(Failure::TimedOut)],
        };
        let verdicts = results.iter().filter_map(|result| result.as_ref().err()).map(Verdict::of);
        self.shared.record(verdicts.filter(|verdict| *verdict != Verdict::Answered).last().unwrap_or(Verdict::Answered));
        match (results.len() == count, results.pop()) {
            (true, Some(last)) => {
                results.push(last);
                Ok(results)
            }
            (false, Some(Err(error))) => Err(error),
            // Some of the replies are missing.
            (false, Some(Ok(_))) | (_, None) => Err(Failure::Disconnected),
        }
    }

    /// What the caller of the store is told of a failure.
    pub(super) fn store_error(&self, failure: &Failure) -> StoreError {
        match failure {
            Failure::Refused(error) => error.to_store_error(),
            Failure::TimedOut => StoreError::Unconfirmed("no response within the deadline".into()),
            Failure::Disconnected => StoreError::Unconfirmed(self.explain("not connected to")),
        }
    }

    fn explain(&self, what: &str) -> String {
        let address = &self.shared.address;
        match &*self.shared.last_failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(failure) => format!("{what} {address}: {failure}"),
            None => format!("{what} {address}"),
        }
    }

    fn has_failed(&self) -> bool {
        self.shared.last_failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The tasks hold clones of `shared`, never of the link.
        self.shared.stop.cancel();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("state", &self.shared.client.state()).finish_non_exhaustive()
    }
}

impl Connections {
    fn counted(&mut self) -> u64 {
        loop {
            match self.events.try_recv() {
                Ok(_) | Err(TryRecvError::Lagged(_)) => self.count += 1,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return self.count,
            }
        }
    }
}

impl Shared {
    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(self: &Arc<Self>, verdict: Verdict) {
        let replace = self.breaker().record(verdict, Instant::now());
        if verdict != Verdict::Answered {
            self.trouble.notify_one();
        }
        if replace && !self.reconnecting.swap(true, Ordering::AcqRel) {
            let shared = self.clone();
            self.tasks.spawn(async move {
                // However it ends, the next may follow.
                let _ = AssertUnwindSafe(replace_connection(&shared, verdict)).catch_unwind().await;
                shared.reconnecting.store(false, Ordering::Release);
            });
        }
    }

    fn events(&self) -> Events {
        (self.client.error_rx(), self.client.reconnect_rx())
    }

    fn note_failure(&self, failure: Option<String>) {
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// Drives fred's connection task, and starts another whenever it ends: fred gives up on some errors.
async fn keep_connected(shared: &Shared) {
    let mut pauses = reconnect_policy();
    loop {
        let mut driver = shared.client.connect();
        tokio::select! {
            () = shared.stop.cancelled() => return driver.abort(),
            () = shared.restart.notified() => driver.abort(),
            ended = &mut driver => {
                if let Ok(Err(error)) = ended {
                    shared.note_failure(Some(in_words(&error)));
                }
            }
        }
        shared.trouble.notify_one();
        let pause = Duration::from_millis(pauses.next_delay().unwrap_or(u64::from(RECONNECT_JITTER_MILLIS)));
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Remembers why there is no connection, and lets calls through as soon as there is one.
async fn watch(shared: &Shared, (mut errors, mut connections): Events) {
    let address = &shared.address;
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            error = errors.recv() => match error {
                Ok((error, _)) => {
                    let error = in_words(&error);
                    tracing::warn!(%address, error, "redis connection");
                    shared.note_failure(Some(error));
                    shared.trouble.notify_one();
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => errors = shared.client.error_rx(),
            },
            connection = connections.recv() => match connection {
                Ok(_) | Err(RecvError::Lagged(_)) => {
                    tracing::info!(%address, "redis connected");
                    shared.note_failure(None);
                    shared.breaker().close();
                }
                Err(RecvError::Closed) => connections = shared.client.reconnect_rx(),
            },
        }
    }
}

/// Has the connection replaced by a new one. One at a time: overlapping requests would tear down what the first has built.
async fn replace_connection(shared: &Shared, verdict: Verdict) {
    // While not connected, fred is at it already.
    if shared.client.is_connected() {
        tracing::warn!(?verdict, "redis connection is being replaced");
        tokio::select! {
            () = shared.stop.cancelled() => return,
            result = shared.client.force_reconnection() => {
                if let Err(error) = result {
                    shared.note_failure(Some(in_words(&error)));
                }
            }
            () = tokio::time::sleep(STUCK_AFTER) => {
                if shared.client.is_connected() {
                    shared.restart.notify_one();
                }
            }
        }
    }
    if verdict == Verdict::Demoted {
        tokio::select! {
            () = shared.stop.cancelled() => {}
            () = tokio::time::sleep(DEMOTED_INTERVAL) => {}
        }
    }
}

fn options(deadline: Instant) -> Options {
    let left = deadline.saturating_duration_since(Instant::now());
    Options {
        // Zero would mean no timeout to fred.
        timeout: Some(left.max(Duration::from_millis(1))),
        max_attempts: Some(1),
        fail_fast: true,
        ..Options::default()
    }
}

fn client(access: &Access, address: &Address) -> Client {
    let config = Config {
        // The first attempt without delay; `keep_connected` makes the further ones.
        fail_fast: true,
        blocking: Blocking::Block,
        username: access.username.clone(),
        password: access.password.as_ref().map(|password| password.expose().clone()),
        // Which servers there are is found out in `fleet`.
        server: ServerConfig::new_centralized(address.host.clone(), address.port),
        version: RespVersion::RESP2,
        database: (access.database != 0).then_some(access.database),
        tls: access.tls.clone().map(TlsConfig::from),
        credential_provider: access.password_file.clone().map(|path| {
            let file = PasswordFile::new(access.username.clone(), path, access.password.clone());
            Arc::new(file) as Arc<dyn CredentialProvider>
        }),
    };
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
    let connection = ConnectionConfig {
        connection_timeout: access.connect_timeout,
        internal_command_timeout: access.connect_timeout.min(GREETING_MAX),
        // A command is never sent twice behind our back: the caller knows what a repetition means.
        max_command_attempts: 1,
        unresponsive: UnresponsiveConfig {
            max_timeout: Some(UNRESPONSIVE_AFTER.max(2 * access.call_timeout)),
            interval: UNRESPONSIVE_INTERVAL,
        },
        reconnect_on_auth_error: true,
        max_command_buffer_len: COMMAND_BUFFER_MAX,
        tcp: TcpConfig { nodelay: Some(true), keepalive: Some(keepalive), ..TcpConfig::default() },
        ..ConnectionConfig::default()
    };
    let performance = PerformanceConfig { default_command_timeout: access.call_timeout, ..PerformanceConfig::default() };
    Client::new(config, Some(performance), Some(connection), Some(reconnect_policy()))
}

fn reconnect_policy() -> ReconnectPolicy {
    const UNLIMITED: u32 = 0;
    let mut policy = ReconnectPolicy::new_constant(UNLIMITED, RECONNECT_DELAY_MILLIS);
    policy.set_jitter(RECONNECT_JITTER_MILLIS);
    policy
}
