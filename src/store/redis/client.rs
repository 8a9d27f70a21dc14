//! One guarded connection to Redis through fred.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, EventInterface};
use fred::types::config::{
    Blocking, Config, ConnectionConfig, Options, PerformanceConfig, ReconnectPolicy, Server, ServerConfig, TcpConfig,
    UnresponsiveConfig,
};
use fred::types::{CustomCommand, RespVersion, Value};
use fred::util::redis_keyslot;
use futures_util::future::join_all;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, broadcast};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guard::{Breaker, Verdict, server_code, store_error};
use super::options::{Deployment, RedisOptions, RedisOptionsError};
use super::scripts::Script;
use super::tls;
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

/// fred's own watch over a connection that is written to and silent. Second line: steady writes reset it.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(2);
const UNRESPONSIVE_INTERVAL: Duration = Duration::from_millis(500);

/// A forced reconnect that has not begun after this means that fred's task is stuck in a write: it is replaced.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// A server that is up but not to be written to is asked again no sooner than this.
const DEMOTED_INTERVAL: Duration = Duration::from_secs(2);

/// A connection that recovers by itself, and calls on it that end within their deadline.
pub(super) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    call_timeout: Duration,
    breaker: Mutex<Breaker>,
    calls: Semaphore,
    /// What fred said when it could not connect: `Connection closed` tells an operator nothing.
    last_failure: Mutex<Option<String>>,
    reconnecting: AtomicBool,
    restart: Notify,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Link {
    /// Starts to connect; does not wait for it.
    pub(super) fn open(options: &RedisOptions) -> Result<Self, RedisOptionsError> {
        options.check()?;
        let shared = Arc::new(Shared {
            client: client(options)?,
            call_timeout: options.call_timeout,
            breaker: Mutex::default(),
            calls: Semaphore::new(CALLS_MAX),
            last_failure: Mutex::default(),
            reconnecting: AtomicBool::new(false),
            restart: Notify::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let (errors, connections) = (shared.client.error_rx(), shared.client.reconnect_rx());
        shared.tasks.spawn(watch(shared.clone(), errors, connections));
        shared.tasks.spawn(keep_connected(shared.clone()));
        Ok(Self { shared })
    }

    /// Waits until connected, or for `patience`.
    pub(super) async fn connected_within(&self, patience: Duration) -> bool {
        const POLL: Duration = Duration::from_millis(2);
        let deadline = Instant::now() + patience;
        while !self.shared.client.is_connected() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        self.shared.client.is_connected()
    }

    /// Closes the connection and waits for its tasks.
    pub(super) async fn close(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Tells when the connection was replaced by another.
    pub(super) fn replacements(&self) -> Replacements {
        Replacements { events: self.shared.client.reconnect_rx() }
    }

    /// Begins a call of the usual deadline: refused at once while the server is silent.
    pub(super) async fn begin(&self) -> Result<Call<'_>, StoreError> {
        self.begin_within(Duration::ZERO).await
    }

    /// Begins a call that may take `longer` than others.
    pub(super) async fn begin_within(&self, longer: Duration) -> Result<Call<'_>, StoreError> {
        let shared = &*self.shared;
        let now = Instant::now();
        if !shared.breaker.lock().unwrap_or_else(PoisonError::into_inner).admit(now) {
            return Err(StoreError::Unavailable(shared.explain("no answer lately")));
        }
        let deadline = now + shared.call_timeout + longer;
        match tokio::time::timeout_at(deadline, shared.calls.acquire()).await {
            Ok(Ok(permit)) => Ok(Call { shared: &self.shared, deadline, _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(StoreError::Unavailable("too many calls under way".into())),
        }
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

/// Whether the connection is still the one that it was. Asked, not awaited.
#[derive(Debug)]
pub(super) struct Replacements {
    events: broadcast::Receiver<Server>,
}

impl Replacements {
    /// Whether there was one since the last time.
    pub(super) fn any(&mut self) -> bool {
        let mut any = false;
        loop {
            match self.events.try_recv() {
                Ok(_) | Err(TryRecvError::Lagged(_)) => any = true,
                Err(TryRecvError::Empty) => return any,
                Err(TryRecvError::Closed) => return true,
            }
        }
    }
}

/// One call of the store: all its commands share one deadline.
#[derive(Debug)]
pub(super) struct Call<'a> {
    shared: &'a Arc<Shared>,
    deadline: Instant,
    _permit: SemaphorePermit<'a>,
}

impl Call<'_> {
    /// Sends one command. `key` decides the slot, and with it the server.
    pub(super) async fn command(&self, name: &'static str, key: &str, args: Vec<Value>) -> Result<Value, StoreError> {
        self.send(name, key, args, false).await.map_err(|error| self.shared.store_error(&error))
    }

    /// Sends one command that the server answers when it has something to say.
    pub(super) async fn blocking(&self, name: &'static str, key: &str, args: Vec<Value>) -> Result<Value, StoreError> {
        self.send(name, key, args, true).await.map_err(|error| self.shared.store_error(&error))
    }

    /// Sends several commands together, at most [`COMMANDS_AT_ONCE_MAX`]; the first failure is the result.
    pub(super) async fn together(&self, commands: Vec<(&'static str, String, Vec<Value>)>) -> Result<Vec<Value>, StoreError> {
        let sent = commands.into_iter().map(|(name, key, args)| async move { self.command(name, &key, args).await });
        join_all(sent).await.into_iter().collect()
    }

    /// Runs a script. The server is asked for it by digest, and told its text when it has forgotten it.
    ///
    /// `keys` is not empty, and all of them are of one slot.
    pub(super) async fn script(&self, script: &Script, keys: &[String], args: &[Value]) -> Result<Value, StoreError> {
        let slot_key = keys.first().map(String::as_str).unwrap_or_default();
        let with = |head: &str| {
            let mut all = Vec::with_capacity(2 + keys.len() + args.len());
            all.push(Value::from(head));
            all.push(Value::from(i64::try_from(keys.len()).unwrap_or(i64::MAX)));
            all.extend(keys.iter().map(|key| Value::from(key.as_str())));
            all.extend_from_slice(args);
            all
        };
        match self.send("EVALSHA", slot_key, with(&script.digest), false).await {
            Err(error) if server_code(error.details()) == Some("NOSCRIPT") => {
                self.command("EVAL", slot_key, with(script.text)).await
            }
            result => result.map_err(|error| self.shared.store_error(&error)),
        }
    }

    async fn send(&self, name: &'static str, key: &str, args: Vec<Value>, blocking: bool) -> Result<Value, Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // Zero would mean no timeout to fred.
        let options = Options {
            timeout: Some(left.max(Duration::from_millis(1))),
            max_attempts: Some(1),
            fail_fast: true,
            ..Options::default()
        };
        let command = CustomCommand::new_static(name, redis_keyslot(key.as_bytes()), blocking);
        let result = self.shared.client.with_options(&options).custom(command, args).await;
        self.shared.record(result.as_ref().map_or_else(Verdict::of, |_: &Value| Verdict::Answered));
        result
    }
}

impl Shared {
    fn record(self: &Arc<Self>, verdict: Verdict) {
        let replace = self.breaker.lock().unwrap_or_else(PoisonError::into_inner).record(verdict, Instant::now());
        if replace && !self.reconnecting.swap(true, Ordering::AcqRel) {
            self.tasks.spawn(replace_connection(self.clone(), verdict));
        }
    }

    fn store_error(&self, error: &Error) -> StoreError {
        match Verdict::of(error) {
            Verdict::Answered | Verdict::Demoted => store_error(error),
            Verdict::Silent => StoreError::Unavailable("no answer within the deadline".into()),
            Verdict::Broken => StoreError::Unavailable(self.explain("not connected")),
        }
    }

    fn explain(&self, what: &str) -> String {
        match &*self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(failure) => format!("{what}: {failure}"),
            None => what.to_owned(),
        }
    }

    fn note_failure(&self, failure: Option<String>) {
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Drives fred's connection task, and starts another whenever it ends: fred gives up on some errors.
async fn keep_connected(shared: Arc<Shared>) {
    let mut pauses = reconnect_policy();
    loop {
        let mut driver = shared.client.connect();
        tokio::select! {
            () = shared.stop.cancelled() => return driver.abort(),
            () = shared.restart.notified() => driver.abort(),
            ended = &mut driver => {
                if let Ok(Err(error)) = ended {
                    shared.note_failure(Some(error.to_string()));
                }
            }
        }
        let pause = Duration::from_millis(pauses.next_delay().unwrap_or(u64::from(RECONNECT_JITTER_MILLIS)));
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Remembers why there is no connection, and lets calls through as soon as there is one.
async fn watch(
    shared: Arc<Shared>,
    mut errors: broadcast::Receiver<(Error, Option<Server>)>,
    mut connections: broadcast::Receiver<Server>,
) {
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            error = errors.recv() => match error {
                Ok((error, _)) => {
                    tracing::warn!(%error, "redis connection");
                    shared.note_failure(Some(error.to_string()));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => errors = shared.client.error_rx(),
            },
            connection = connections.recv() => match connection {
                Ok(_) | Err(RecvError::Lagged(_)) => {
                    tracing::info!("redis connected");
                    shared.note_failure(None);
                    shared.breaker.lock().unwrap_or_else(PoisonError::into_inner).close();
                }
                Err(RecvError::Closed) => connections = shared.client.reconnect_rx(),
            },
        }
    }
}

/// Has the connection replaced by a new one. One at a time: overlapping requests would tear down what the first has built.
async fn replace_connection(shared: Arc<Shared>, verdict: Verdict) {
    // While not connected, fred is at it already.
    if shared.client.is_connected() {
        tracing::warn!(?verdict, "redis connection is being replaced");
        tokio::select! {
            () = shared.stop.cancelled() => return,
            result = shared.client.force_reconnection() => {
                if let Err(error) = result {
                    shared.note_failure(Some(error.to_string()));
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
    shared.reconnecting.store(false, Ordering::Release);
}

fn client(options: &RedisOptions) -> Result<Client, RedisOptionsError> {
    let config = Config {
        // The first attempt without delay; `keep_connected` makes the further ones.
        fail_fast: true,
        blocking: Blocking::Block,
        username: options.username.clone(),
        password: options.password.as_ref().map(|password| password.expose().clone()),
        server: match &options.deployment {
            Deployment::Standalone { host, port } => ServerConfig::new_centralized(host, *port),
        },
        version: RespVersion::RESP2,
        database: (options.database != 0).then_some(options.database),
        tls: options
            .tls
            .as_ref()
            .map(tls::client_config)
            .transpose()?
            .map(|config| fred::types::config::TlsConfig::from(fred::types::config::TlsConnector::from(config))),
    };
    let connection = ConnectionConfig {
        connection_timeout: options.connect_timeout,
        internal_command_timeout: options.connect_timeout,
        // A command is never sent twice behind our back: the caller knows what a repetition means.
        max_command_attempts: 1,
        max_redirections: 5,
        unresponsive: UnresponsiveConfig {
            max_timeout: Some(UNRESPONSIVE_AFTER.max(2 * options.call_timeout)),
            interval: UNRESPONSIVE_INTERVAL,
        },
        reconnect_on_auth_error: true,
        max_command_buffer_len: COMMAND_BUFFER_MAX,
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        ..ConnectionConfig::default()
    };
    let performance = PerformanceConfig { default_command_timeout: options.call_timeout, ..PerformanceConfig::default() };
    Ok(Client::new(config, Some(performance), Some(connection), Some(reconnect_policy())))
}

fn reconnect_policy() -> ReconnectPolicy {
    const UNLIMITED: u32 = 0;
    let mut policy = ReconnectPolicy::new_constant(UNLIMITED, RECONNECT_DELAY_MILLIS);
    policy.set_jitter(RECONNECT_JITTER_MILLIS);
    policy
}
