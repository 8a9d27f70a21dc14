//! The composition root: the only place where parts are wired, and the order of start and stop.

mod ambient;
mod claims_hook;
mod data_plane;
mod issuers;
mod keys;
mod legacy;
mod logging;
mod stores;
mod upkeep;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use ambient::Ambient;
use issuers::{Issuers, Own};
pub use keys::KeysError;
pub use legacy::key as legacy_key;
pub use stores::StoreStartError;
use upkeep::Upkeep;

use crate::admin::reload::{ReloadReply, ReloadSender, reload_channel};
use crate::admin::{Admin, AdminParts};
use crate::cli::demo::{Demo, Stage};
use crate::config::Settings;
use crate::crypto::entropy::draw;
use crate::crypto::provider;
use crate::crypto::verifier::Verifier;
use crate::domain::ids::{Generation, Partitions, SessionId};
use crate::domain::node::NodeId;
use crate::domain::replica::Replica;
use crate::domain::route::RouteError;
use crate::domain::stats::{Counters, Snapshot, Tally};
use crate::endpoints::{EndpointOptions, EndpointParts, Endpoints, session_policy};
use crate::proxy::gateway::Shared;
use crate::proxy::listener::{Shutdown, Workers};
use crate::proxy::observation::Observations;
use crate::sessions::health::{Alarms, Health, Readiness as _};
use crate::sessions::nodes::{NodeParts, Nodes};
use crate::sessions::{Minting, SessionParts, Sessions};
use crate::store::Store;
use crate::tasks::acknowledgements::{self, Acknowledgements};
use crate::tasks::presence::Presence;
use crate::tasks::revocation_feed::RevocationFeed;
use crate::tasks::store_watch::StoreWatch;
use crate::tasks::supervisor::Supervisor;
use crate::tasks::withdrawals::Withdrawals;

/// How long background tasks may take to end once requests are done.
const TASKS_DEADLINE: Duration = Duration::from_secs(5);

/// Why the gateway did not start, or ended on its own.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen at {address} ({key}): {error}")]
    Listen { key: &'static str, address: SocketAddr, error: io::Error },
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Store(#[from] StoreStartError),
    #[error("upstreams.{name}.url: {error}")]
    Upstream { name: Arc<str>, error: String },
    #[error("routes: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Routes(Vec<RouteError>),
    #[error("issuer {issuer}: {error}")]
    Issuer { issuer: String, error: String },
    #[error("legacy {name}: {error}")]
    Legacy { name: String, error: String },
    #[error("cannot set the demo up: {0}")]
    Demo(io::Error),
    #[error("cannot start a runtime: {0}")]
    Runtime(io::Error),
    #[error("settings on reload: {0}")]
    Settings(String),
    #[error("a worker failed time and again, for the causes in the log: what is left of the gateway is ended")]
    Worker,
}

/// A running gateway.
pub struct App {
    parts: Parts,
    shared: Arc<Shared>,
    endpoints: Arc<Endpoints>,
    workers: Workers,
    shutdown: Shutdown,
    supervisor: Supervisor,
    /// Apart, because the admin listener outlives the other tasks.
    admin: Supervisor,
    admin_address: Option<SocketAddr>,
    /// Reloads that the admin listener was asked for.
    reloads: mpsc::Receiver<ReloadReply>,
    drain_delay: Duration,
    drain_deadline: Duration,
}

/// What outlives a reload.
struct Parts {
    ambient: Ambient,
    store: Arc<dyn Store>,
    replica: Arc<Replica>,
    /// The control plane's set.
    counters: Arc<Counters>,
    sessions: Arc<Sessions>,
    health: Arc<Health>,
    alarms: Arc<Alarms>,
    nodes: Arc<Nodes>,
    verifier: Arc<ArcSwap<Verifier>>,
    issuers: Arc<Issuers>,
    upkeep: Upkeep,
}

impl App {
    /// Starts everything on the present runtime, which becomes the control plane; the data plane has threads of its own.
    pub async fn start(settings: &Settings, ambient: Ambient) -> Result<Self, StartError> {
        provider::install();
        let runtime = Handle::current();
        let tally = Arc::new(Tally::new());
        let counters = tally.new_set();
        let replica = Arc::new(Replica::new());
        let minting = keys::minting(settings, &ambient, None)?;
        let options = data_plane::options(settings)?;
        let store = stores::open(settings, &ambient).await?;
        let own = own_keys(settings, &minting, store.partitions())?;
        let issuers = Arc::new(Issuers::new(settings, own, &ambient)?);
        let verifier = Arc::new(ArcSwap::from_pointee(issuers.verifier()));
        let sessions = Arc::new(Sessions::new(SessionParts {
            store: Arc::clone(&store),
            replica: Arc::clone(&replica),
            minting,
            verifier: Arc::clone(&verifier),
            policy: session_policy(settings),
            claims_hook: claims_hook::hook(settings, &options.upstreams),
            clock: Arc::clone(&ambient.clock),
            entropy: Arc::clone(&ambient.entropy),
            counters: Arc::clone(&counters),
        }));
        let alarms = Arc::new(Alarms::default());
        let health = Arc::new(Health::new(
            Arc::clone(&sessions),
            Arc::clone(&replica),
            Arc::clone(&alarms),
            Arc::clone(&ambient.clock),
            settings.revocation.max_staleness,
        ));
        let endpoints = Arc::new(Endpoints::new(EndpointParts {
            sessions: Arc::clone(&sessions),
            health: Arc::clone(&health) as _,
            options: EndpointOptions::from(settings),
            clock: Arc::clone(&ambient.clock),
            counters: Arc::clone(&counters),
            runtime: runtime.clone(),
        }));
        let nodes = Arc::new(Nodes::new(NodeParts {
            store: Arc::clone(&store),
            clock: Arc::clone(&ambient.clock),
            id: NodeId::new(draw(&*ambient.entropy)),
            name: settings.node.name.clone().unwrap_or_else(|| ambient::node_name(settings.listen.address.port())),
            silence_max: settings.revocation.max_staleness + 3 * node_heartbeat(settings),
        }));
        let upkeep = Upkeep::new(tally, &counters, &store, &replica, &nodes, &ambient);
        let parts = Parts { ambient, store, replica, counters, sessions, health, alarms, nodes, verifier, issuers, upkeep };
        let supervisor = parts.supervisor(runtime);
        let token_seen = parts.spawn_tasks(&supervisor, settings);
        let shared = Arc::new(Shared {
            options,
            policy: ArcSwap::from_pointee(data_plane::policy(settings)?),
            verifier: Arc::clone(&parts.verifier),
            replica: Arc::clone(&parts.replica),
            control: Arc::clone(&endpoints) as _,
            token_seen,
            clock: Arc::clone(&parts.ambient.clock),
            entropy: Arc::clone(&parts.ambient.entropy),
            tally: Arc::clone(&parts.upkeep.tally),
            observations: Observations::default(),
        });
        legacy::warn(settings, parts.ambient.clock.now());
        let admin = parts.supervisor(Handle::current());
        let (reload, reloads) = reload_channel();
        let admin_address = parts.serve_admin(settings, reload, &admin).await?;
        let shutdown = Shutdown::default();
        let workers = Workers::start(&data_plane::listener(settings), &shared, &shutdown)
            .map_err(|error| StartError::Listen { key: "listen.address", address: settings.listen.address, error })?;
        tracing::info!(gateway = %workers.address(), admin = ?admin_address, "listening");
        Ok(Self {
            parts,
            shared,
            endpoints,
            workers,
            shutdown,
            supervisor,
            admin,
            admin_address,
            reloads,
            drain_delay: settings.shutdown.drain_delay,
            drain_deadline: settings.shutdown.drain_deadline,
        })
    }

    pub const fn gateway_address(&self) -> SocketAddr {
        self.workers.address()
    }

    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Waits until the gateway can no longer do its work, and says why. Whoever runs it should stop it then.
    pub fn failed(&self) -> impl Future<Output = StartError> + use<> {
        let given_up = self.workers.given_up().clone();
        async move {
            given_up.cancelled().await;
            StartError::Worker
        }
    }

    /// Everything that was counted since the start.
    pub fn counted(&self) -> Snapshot {
        self.parts.upkeep.tally.total()
    }

    /// Whether the gateway vouches for tokens already.
    pub async fn is_ready(&self) -> bool {
        self.parts.health.dependencies().await.iter().all(|dependency| dependency.ready)
    }

    /// Takes keys, routes, limits and rules from new settings; what is bound or opened once stays as it is. Refused whole when any of
    /// it cannot be used.
    pub fn reload(&self, settings: &Settings) -> Result<(), StartError> {
        let known = self.shared.options.upstreams.iter().map(|upstream| &upstream.name);
        if !known.eq(settings.upstreams.iter().map(|upstream| &upstream.name)) {
            // Routes name upstreams by position.
            return Err(StartError::Settings("adding, removing or renaming upstreams needs a restart".to_owned()));
        }
        let minting = keys::minting(settings, &self.parts.ambient, Some(&self.parts.sessions.minting()))?;
        let policy = data_plane::policy(settings)?;
        let own = own_keys(settings, &minting, self.parts.store.partitions())?;
        legacy::warn(settings, self.parts.ambient.clock.now());
        self.parts.issuers.set_own(own);
        self.parts.verifier.store(Arc::new(self.parts.issuers.verifier()));
        self.parts.sessions.reload(minting, session_policy(settings));
        self.endpoints.reload(EndpointOptions::from(settings));
        self.shared.policy.store(Arc::new(policy));
        Ok(())
    }

    /// The next call of the admin listener to read the settings again; waits for one.
    async fn reload_asked_for(&mut self) -> ReloadReply {
        match self.reloads.recv().await {
            Some(reply) => reply,
            // The listener is off.
            None => std::future::pending().await,
        }
    }

    /// Stops in order: readiness off, no new connections, requests in flight finish, then what serves them ends. `hurry` cuts the
    /// waiting short.
    pub async fn stop(self, hurry: CancellationToken) {
        self.parts.health.drain();
        tracing::info!(delay = ?self.drain_delay, deadline = ?self.drain_deadline, "draining");
        let _ = hurry.run_until_cancelled(tokio::time::sleep(self.drain_delay)).await;
        self.shutdown.drain.cancel();
        let workers = self.workers;
        let mut joined = tokio::task::spawn_blocking(move || workers.join());
        let in_time = hurry.run_until_cancelled(tokio::time::timeout(self.drain_deadline, &mut joined)).await;
        if !matches!(in_time, Some(Ok(_))) {
            tracing::warn!("requests still in flight are dropped");
            self.shutdown.abort.cancel();
            let _ = joined.await;
        }
        self.supervisor.shut_down(TASKS_DEADLINE).await;
        self.admin.shut_down(2 * TASKS_DEADLINE).await;
        tracing::info!("stopped");
    }
}

/// How often a node makes itself known: several times before it is taken to be gone.
fn node_heartbeat(settings: &Settings) -> Duration {
    const HEARTBEAT_MAX: Duration = Duration::from_secs(5);
    (settings.revocation.max_staleness / 3).min(HEARTBEAT_MAX)
}

fn own_keys(settings: &Settings, minting: &Minting, partitions: Partitions) -> Result<Own, StartError> {
    let legacy = legacy::verifiers(settings, partitions)?;
    Ok(Own { keys: Arc::clone(&minting.keys), policy: keys::own_policy(settings), legacy })
}

/// Told of tokens that a worker sees for the first time.
type TokenSeen = Box<dyn Fn(SessionId, Generation) + Send + Sync>;

impl Parts {
    fn supervisor(&self, runtime: Handle) -> Supervisor {
        Supervisor::new(runtime, Arc::clone(&self.ambient.clock), Arc::clone(&self.ambient.entropy), Arc::clone(&self.counters))
    }

    /// Starts what runs beside requests. Returns what workers tell of tokens that they see for the first time.
    fn spawn_tasks(&self, supervisor: &Supervisor, settings: &Settings) -> TokenSeen {
        let feed = Arc::new(RevocationFeed {
            store: Arc::clone(&self.store),
            replica: Arc::clone(&self.replica),
            nodes: Arc::clone(&self.nodes),
            clock: Arc::clone(&self.ambient.clock),
            entropy: Arc::clone(&self.ambient.entropy),
            counters: Arc::clone(&self.counters),
            heartbeat: settings.revocation.heartbeat,
        });
        supervisor.spawn("revocation feed", move |stop| {
            let feed = Arc::clone(&feed);
            async move { feed.run(stop).await }
        });
        let presence = Arc::new(Presence {
            nodes: Arc::clone(&self.nodes),
            entropy: Arc::clone(&self.ambient.entropy),
            counters: Arc::clone(&self.counters),
            heartbeat: node_heartbeat(settings),
            canary_interval: settings.revocation.canary_interval,
        });
        supervisor.spawn("presence", move |stop| {
            let presence = Arc::clone(&presence);
            async move { presence.run(stop).await }
        });
        let (sender, queue) = acknowledgements::queue(Arc::clone(&self.counters));
        let acknowledgements = Arc::new(Acknowledgements {
            queue,
            store: Arc::clone(&self.store),
            entropy: Arc::clone(&self.ambient.entropy),
            counters: Arc::clone(&self.counters),
            interval: settings.refresh.acknowledge_interval,
        });
        supervisor.spawn("acknowledgements", move |stop| {
            let acknowledgements = Arc::clone(&acknowledgements);
            async move { acknowledgements.run(stop).await }
        });
        self.upkeep.spawn(supervisor, settings, &self.counters, &self.ambient);
        let watch = Arc::new(StoreWatch {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.ambient.clock),
            alarms: Arc::clone(&self.alarms),
        });
        supervisor.spawn("store watch", move |stop| {
            let watch = Arc::clone(&watch);
            async move { watch.run(stop).await }
        });
        let withdrawals = Arc::new(Withdrawals {
            sessions: Arc::clone(&self.sessions),
            entropy: Arc::clone(&self.ambient.entropy),
            counters: Arc::clone(&self.counters),
        });
        supervisor.spawn("withdrawals", move |stop| {
            let withdrawals = Arc::clone(&withdrawals);
            async move { withdrawals.run(stop).await }
        });
        issuers::spawn(supervisor, &self.issuers, &self.verifier);
        Box::new(move |session, generation| sender.note(session, generation))
    }

    async fn serve_admin(
        &self,
        settings: &Settings,
        reload: ReloadSender,
        supervisor: &Supervisor,
    ) -> Result<Option<SocketAddr>, StartError> {
        let Some(address) = settings.admin.address else { return Ok(None) };
        let refused = |error| StartError::Listen { key: "admin.address", address, error };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        let admin = Admin::new(AdminParts {
            readiness: Arc::clone(&self.health) as _,
            token: settings.admin.token.clone(),
            sessions: Arc::clone(&self.sessions),
            nodes: Arc::clone(&self.nodes),
            replica: Arc::clone(&self.replica),
            clock: Arc::clone(&self.ambient.clock),
            figures: Arc::clone(&self.upkeep.statistics) as _,
            sweeps: Arc::clone(&self.upkeep.caretaker) as _,
            reload,
        });
        let (admin, listener) = (Arc::new(admin), Arc::new(listener));
        supervisor.spawn("admin listener", move |stop| {
            let (admin, listener) = (Arc::clone(&admin), Arc::clone(&listener));
            async move { admin.serve(&listener, stop).await }
        });
        Ok(Some(bound))
    }
}

/// Serves until a signal ends the process. SIGHUP reads the settings again through `load`.
pub fn run(settings: &Settings, load: impl Fn() -> Result<Settings, String>) -> Result<(), StartError> {
    logging::init(&settings.log);
    control_runtime()?.block_on(async {
        let mut stops = StopSignals::new().map_err(StartError::Runtime)?;
        let mut reloads = signal(SignalKind::hangup()).map_err(StartError::Runtime)?;
        let mut app = App::start(settings, Ambient::of_system()).await?;
        let mut failed = pin!(app.failed());
        let failure = loop {
            tokio::select! {
                () = stops.next() => break None,
                failure = &mut failed => break Some(failure),
                _ = reloads.recv() => {
                    // What came of it is in the log.
                    let _ = reload(&app, &load);
                }
                reply = app.reload_asked_for() => {
                    // Whoever asked may have gone.
                    let _ = reply.send(reload(&app, &load).map_err(|error| error.to_string()));
                }
            }
        };
        let hurry = CancellationToken::new();
        tokio::select! {
            () = app.stop(hurry.clone()) => {}
            () = async { stops.next().await; hurry.cancel(); std::future::pending().await } => {}
        }
        failure.map_or(Ok(()), Err)
    })
}

fn reload(app: &App, load: impl Fn() -> Result<Settings, String>) -> Result<(), StartError> {
    let outcome = load().map_err(StartError::Settings).and_then(|settings| app.reload(&settings));
    match &outcome {
        Ok(()) => tracing::info!("settings reloaded"),
        Err(error) => tracing::error!(%error, "settings not reloaded; the old ones stay in force"),
    }
    outcome
}

/// The gateway with the demo's API behind it, until a signal ends both. `say` shows the banner.
pub fn run_demo(demo: &Demo, say: impl FnOnce(&str)) -> Result<(), StartError> {
    control_runtime()?.block_on(async {
        let mut stops = StopSignals::new().map_err(StartError::Runtime)?;
        let ambient = Ambient::of_system();
        let stage = Stage::set(demo, Arc::clone(&ambient.clock), Arc::clone(&ambient.entropy)).await.map_err(StartError::Demo)?;
        logging::init(&stage.settings().log);
        let mut app = App::start(stage.settings(), ambient).await?;
        // The demo has no settings to read again.
        app.reloads.close();
        let banner = stage.banner(app.gateway_address(), app.admin_address());
        say(&banner);
        let stop = CancellationToken::new();
        let serving = stage.serve_api(stop.clone());
        let ending = async {
            let outcome = tokio::select! {
                () = stops.next() => Ok(()),
                failure = app.failed() => Err(failure),
            };
            let hurry = CancellationToken::new();
            hurry.cancel();
            app.stop(hurry).await;
            stop.cancel();
            outcome
        };
        tokio::join!(serving, ending).1
    })
}

/// Asks the store once, as these settings would reach it, whether it is there and fit for its work. Changes nothing in it.
/// Returns what an operator should know all the same.
pub fn probe_store(settings: &Settings) -> Result<Vec<String>, StartError> {
    control_runtime()?.block_on(stores::probe(settings, &Ambient::of_system())).map_err(StartError::Store)
}

/// Opens the store that the settings name, for one piece of work beside a gateway or instead of one.
pub fn with_store<T, F>(settings: &Settings, work: impl FnOnce(Arc<dyn Store>) -> F) -> Result<T, StartError>
where
    F: Future<Output = T>,
{
    control_runtime()?.block_on(async {
        let store = stores::open(settings, &Ambient::of_system()).await?;
        Ok(work(store).await)
    })
}

/// Threads of the control plane: it waits far more than it works.
const CONTROL_THREADS: usize = 2;

fn control_runtime() -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(StartError::Runtime)
}

/// Signals that end the process.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        let base = "listen = { address = '127.0.0.1:0', workers = 1 }\nstore.kind = 'memory'\nadmin.address = ''\n";
        Settings::from_toml(&format!("{base}upstreams.default.url = 'http://127.0.0.1:1'\n{text}")).unwrap()
    }

    #[tokio::test]
    async fn a_reload_takes_new_routes_and_refuses_other_upstreams() {
        let app = App::start(&settings(""), Ambient::of_system()).await.unwrap();
        let open = "[[routes]]\nname = 'open'\nprefix = '/open'\naccess = 'public'\n";
        app.reload(&settings(open)).unwrap();
        let refused =
            app.reload(&settings("upstreams.another.url = 'http://127.0.0.1:2'\n[[routes]]\nname = 'a'\nprefix = '/'\n"));
        assert!(matches!(refused, Err(StartError::Settings(_))), "{refused:?}");
        let hurry = CancellationToken::new();
        hurry.cancel();
        app.stop(hurry).await;
    }
}
