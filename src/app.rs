//! The composition root: the only place where parts are wired, and the order of start and stop.

mod access_log;
mod addresses;
mod admin_listener;
mod ambient;
mod certificate_files;
mod certificates;
mod claims_hook;
mod data_plane;
#[cfg(test)]
mod doors;
mod file_faults;
mod file_work;
mod issuers;
mod keys;
mod legacy;
mod listeners;
mod logging;
mod online;
mod passed_sockets;
mod permissions;
mod process;
mod service_manager;
mod snapshot;
mod stores;
mod tasks;
mod upkeep;
mod upstream_files;
mod watched_certificates;
mod watched_files;
mod watched_keys;
mod watched_settings;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use admin_listener::{AdminListener, Plan};
pub use ambient::Ambient;
pub use file_faults::faults as file_faults;
use file_work::{FileWork, FileWorkError};
pub use keys::KeysError;
pub use online::Finding as OnlineFinding;
pub use passed_sockets::PassedSockets;
pub use permissions::warnings as permission_warnings;
pub use process::{Companion, Surroundings, probe_online, run, run_beside, with_store};
pub use service_manager::ServiceManager;
use snapshot::{Live, Snapshot};
pub use stores::StoreStartError;
use upkeep::Upkeep;
use watched_certificates::WatchedCertificates;
pub use watched_keys::key_set;

use crate::admin;
use crate::admin::reload::{ReloadReply, reload_channel};
use crate::config::{ListenAddress, Reload, Settings};
use crate::crypto::entropy::draw;
use crate::crypto::provider;
use crate::domain::meters::Meters;
use crate::domain::node::NodeId;
use crate::domain::replica::Replica;
use crate::domain::routing::LeadsNowhere;
use crate::domain::stats::{self, Counters, Gauge, Tally};
use crate::domain::time::Timestamp;
use crate::outbound::{prober, resolver};
use crate::proxy::client::arrival::Protocol;
use crate::proxy::listener::{Shutdown, Workers};
use crate::proxy::open_streams::OpenStreams;
use crate::proxy::request::gateway::Shared;
use crate::proxy::request::observation::Observations;
use crate::sessions::health::{Alarms, Readiness as _};
use crate::sessions::nodes::{NodeParts, Nodes};
use crate::store::Store;
use crate::store::measured::MeasuredStore;
use crate::tasks::supervisor::Supervisor;

/// A warning for each certificate that clients or upstreams will not take, or not for long.
pub fn certificate_warnings(settings: &Settings, now: Timestamp) -> Vec<String> {
    certificates::warnings(settings, now).into_iter().chain(upstream_files::warnings(settings, now)).collect()
}

/// How long background tasks may take to end once requests are done.
const TASKS_DEADLINE: Duration = Duration::from_secs(5);

/// Why the gateway did not start, or ended on its own.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen at {address} ({key}): {error}{}", hint(key, error))]
    Listen { key: String, address: ListenAddress, error: io::Error },
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Store(#[from] StoreStartError),
    #[error("{0}")]
    Certificates(String),
    #[error("{0}")]
    Sockets(String),
    #[error("upstreams.{name}.{key}: {error}")]
    Upstream { name: Arc<str>, key: String, error: String },
    #[error(transparent)]
    Routing(#[from] LeadsNowhere),
    #[error("issuer {issuer}: {error}")]
    Issuer { issuer: String, error: String },
    #[error("legacy {name}: {error}")]
    Legacy { name: String, error: String },
    #[error("log.access.to: cannot open {path}: {error}")]
    AccessLog { path: String, error: io::Error },
    #[error("reading the files that the settings name: {0}")]
    Files(#[from] FileWorkError),
    #[error("{0}")]
    Companion(io::Error),
    #[error("cannot start a runtime: {0}")]
    Runtime(io::Error),
    #[error("settings on reload: {0}")]
    Settings(String),
    #[error("a worker failed time and again, for the causes in the log: what is left of the gateway is ended")]
    Worker,
}

impl StartError {
    /// Whether files do not fit together, which others may be about to write.
    const fn is_of_certificates(&self) -> bool {
        matches!(self, Self::Certificates(_) | Self::Upstream { .. })
    }
}

/// What to do about an address that somebody else has.
fn hint(key: &str, error: &io::Error) -> &'static str {
    match (error.kind(), key.starts_with("listen")) {
        (io::ErrorKind::AddrInUse, true) => {
            ". Another process listens there, perhaps another gateway: choose another address, or end the process, or set listen.share_port = true in each of them to divide the connections \
             among them"
        }
        (io::ErrorKind::AddrInUse, false) => {
            ". Another process listens there, perhaps another gateway: end it, or choose another address"
        }
        (_, _) => "",
    }
}

/// A running gateway.
pub struct App {
    parts: Arc<Parts>,
    live: Live,
    workers: Workers,
    shutdown: Shutdown,
    supervisor: Supervisor,
    /// Apart, because the admin listener outlives the other tasks.
    admin: Supervisor,
    admin_latest: Arc<admin::Latest>,
    /// `None`: off.
    admin_listener: Option<AdminListener>,
    /// Reloads that the admin listener was asked for.
    reloads: mpsc::Receiver<ReloadReply>,
}

/// What is not settings: it goes on whatever is reloaded.
struct Parts {
    ambient: Ambient,
    store: Arc<dyn Store>,
    replica: Arc<Replica>,
    /// The control plane's set.
    counters: Arc<Counters>,
    alarms: Arc<Alarms>,
    /// Of the certificates that clients are shown.
    certificate_alarms: Arc<Alarms>,
    /// Of the certificates of TLS towards upstreams.
    upstream_alarms: Arc<Alarms>,
    nodes: Arc<Nodes>,
    upkeep: Upkeep,
    /// How many threads carry requests.
    workers: usize,
    meters: Arc<Meters>,
    passed: PassedSockets,
    /// Of the files that the settings name.
    reading: FileWork,
}

impl App {
    /// Starts everything on the present runtime, which becomes the control plane; the data plane has threads of its own.
    pub async fn start(settings: &Settings, ambient: Ambient) -> Result<Self, StartError> {
        Self::start_at(settings, ambient, PassedSockets::default()).await
    }

    /// The same, with sockets that listen already.
    pub async fn start_at(settings: &Settings, ambient: Ambient, passed: PassedSockets) -> Result<Self, StartError> {
        provider::install();
        let runtime = Handle::current();
        let parts = Arc::new(Parts::open(settings, ambient, passed).await?);
        let (reload, reloads) = reload_channel();
        let live = Live::new(Snapshot::first(settings, &parts, reload, runtime.clone()).await?);
        let (supervisor, admin) = (parts.supervisor(runtime.clone()), parts.supervisor(runtime));
        let tls = live.part(|snapshot| &snapshot.tls);
        let certificates = WatchedCertificates {
            name: "certificates of listeners",
            present: Box::new(move || Arc::clone(&tls.load())),
            changed: live.changes(),
            alarms: Arc::clone(&parts.certificate_alarms),
            gauges: Arc::clone(&parts.upkeep.gauges),
            expiry: Gauge::CertificateExpiry,
            clock: Arc::clone(&parts.ambient.clock),
        };
        certificates.spawn(&supervisor);
        let token_seen = parts.spawn_tasks(&supervisor, &live);
        let shared = Arc::new(Shared {
            latest: live.part(|snapshot| &snapshot.data_plane),
            replica: Arc::clone(&parts.replica),
            token_seen,
            clock: Arc::clone(&parts.ambient.clock),
            entropy: Arc::clone(&parts.ambient.entropy),
            tally: Arc::clone(&parts.upkeep.tally),
            meters: Arc::clone(&parts.meters),
            observations: Observations::default(),
            open_streams: OpenStreams::new(),
        });
        let latest = Arc::new(live.part(|snapshot| &snapshot.data_plane));
        supervisor.supervise("upstream names", move |stop| {
            let latest = Arc::clone(&latest);
            let backends =
                move || latest.load().policy.routing.upstreams().iter().map(|upstream| Arc::clone(&upstream.backends)).collect();
            resolver::run(backends, stop)
        });
        let (latest, counters) = (Arc::new(live.part(|snapshot| &snapshot.data_plane)), Arc::clone(&parts.counters));
        supervisor.supervise("upstream probes", move |stop| {
            let latest = Arc::clone(&latest);
            let upstreams = move || data_plane::backends(&latest.load().policy);
            prober::run(upstreams, Arc::clone(&counters), stop)
        });
        let latest = live.part(|snapshot| &snapshot.data_plane);
        let certificates = WatchedCertificates {
            name: "certificates of upstreams",
            present: Box::new(move || Arc::new(data_plane::in_use(&latest.load().policy))),
            changed: live.changes(),
            alarms: Arc::clone(&parts.upstream_alarms),
            gauges: Arc::clone(&parts.upkeep.gauges),
            expiry: Gauge::UpstreamCertificateExpiry,
            clock: Arc::clone(&parts.ambient.clock),
        };
        certificates.spawn(&supervisor);
        legacy::warn(settings, parts.ambient.clock.now());
        let admin_latest = Arc::new(live.part(|snapshot| &snapshot.admin));
        let mut admin_listener = None;
        let plan = Plan::of(&settings.admin, None).await?;
        plan.bind(&live.now().listeners, None)?.take(&mut admin_listener, &admin_latest, &admin);
        let shutdown = Shutdown::default();
        let workers = Workers::start(parts.workers, &shared, &shutdown).map_err(StartError::Runtime)?;
        let app = Self { parts, live, workers, shutdown, supervisor, admin, admin_latest, admin_listener, reloads };
        for (address, listener) in app.live.now().listeners.addresses().zip(&settings.listeners).skip(1) {
            tracing::info!(%address, %listener, "listening too");
        }
        tracing::info!(gateway = %app.gateway_address(), admin = app.admin_address().map(tracing::field::display), "listening");
        Ok(app)
    }

    /// Where the first listener is.
    pub fn gateway_address(&self) -> SocketAddr {
        self.live.now().data_plane.listeners[0].port.address()
    }

    /// Where other proxies ask.
    pub fn decision_address(&self) -> Option<SocketAddr> {
        let listeners = Arc::clone(&self.live.now().data_plane.listeners);
        let mut asked = listeners.iter().filter(|listener| matches!(listener.spoken.protocol, Protocol::Decisions(_)));
        asked.next().map(|listener| listener.port.address())
    }

    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_listener.as_ref().map(AdminListener::address)
    }

    /// Tells the service manager for as long as the process lives that it does.
    fn keep_watchdog_quiet(&self, manager: &ServiceManager) {
        manager.keep_watchdog_quiet(&self.admin, self.workers.pulses());
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
    pub fn counted(&self) -> stats::Snapshot {
        self.parts.upkeep.tally.total()
    }

    /// Whether the gateway vouches for tokens already.
    pub async fn is_ready(&self) -> bool {
        self.live.now().health.dependencies().await.iter().all(|dependency| dependency.ready)
    }

    /// Applies every key that `config::InForce` does not keep back, at one moment; refused whole when any of it cannot be used. Returns
    /// the keys among them that the system does not let take effect before a restart.
    pub async fn reload(&mut self, reload: &Reload) -> Result<Vec<String>, StartError> {
        let settings = reload.settings();
        let former = self.live.now();
        let admin = Plan::of(&settings.admin, self.admin_listener.as_ref()).await?;
        // Boxed: else whoever reloads would have to carry room for all that the settings say.
        let next = Box::pin(former.followed_by(settings, &self.parts, admin.former())).await?;
        let admin = admin.bind(&next.listeners, Some(&former.listeners))?;
        legacy::warn(settings, self.parts.ambient.clock.now());
        next.issuers.keep_fresh(&self.supervisor);
        next.listeners.before_taking_over(&former.listeners).await;
        self.live.replace(next);
        self.live.now().succeeds(&former, settings);
        let is_still_shared = self.live.now().listeners.take_over(&former.listeners);
        admin.take(&mut self.admin_listener, &self.admin_latest, &self.admin);
        Ok(is_still_shared.then(|| "listen.share_port".to_owned()).into_iter().collect())
    }

    /// Opens the file of the access log anew.
    fn reopen_access_log(&self) {
        if let Some(outlet) = &self.live.now().access_log {
            outlet.reopen();
        }
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
        let (health, drain) = {
            let now = self.live.now();
            (Arc::clone(&now.health), now.drain)
        };
        health.drain();
        tracing::info!(delay = ?drain.delay, deadline = ?drain.deadline, "draining");
        let _ = hurry.run_until_cancelled(tokio::time::sleep(drain.delay)).await;
        let _ = hurry.run_until_cancelled(self.live.now().listeners.let_none_begin()).await;
        self.shutdown.drain.cancel();
        self.live.now().listeners.give_up();
        let workers = self.workers;
        let mut joined = tokio::task::spawn_blocking(move || workers.join());
        let in_time = hurry.run_until_cancelled(tokio::time::timeout(drain.deadline, &mut joined)).await;
        if !matches!(in_time, Some(Ok(_))) {
            tracing::warn!("requests still in flight are dropped");
            self.shutdown.abort.cancel();
            let _ = joined.await;
        }
        if let Some(outlet) = self.live.now().access_log.clone() {
            let _ = tokio::task::spawn_blocking(move || outlet.finish()).await;
        }
        self.supervisor.shut_down(TASKS_DEADLINE).await;
        self.admin.shut_down(2 * TASKS_DEADLINE).await;
        tracing::info!("stopped");
    }
}

impl Parts {
    async fn open(settings: &Settings, ambient: Ambient, passed: PassedSockets) -> Result<Self, StartError> {
        let tally = Arc::new(Tally::new());
        let counters = tally.new_set();
        let replica = Arc::new(Replica::new());
        let workers = data_plane::workers(settings);
        let meters = Meters::of_workers(workers);
        let store = stores::open(settings, &ambient).await?;
        let store: Arc<dyn Store> = Arc::new(MeasuredStore::new(store, Arc::clone(&ambient.clock), Arc::clone(meters.control())));
        let nodes = Arc::new(Nodes::new(NodeParts {
            registry: Arc::clone(&store) as _,
            partitions: store.partitions(),
            clock: Arc::clone(&ambient.clock),
            id: NodeId::new(draw(&*ambient.entropy)),
        }));
        let upkeep = Upkeep::new(tally, &counters, &(Arc::clone(&store) as _), &replica, &nodes, &ambient);
        Ok(Self {
            ambient,
            store,
            replica,
            counters,
            alarms: Arc::default(),
            certificate_alarms: Arc::default(),
            upstream_alarms: Arc::default(),
            nodes,
            upkeep,
            workers,
            meters,
            passed,
            reading: FileWork::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{InForce, Inputs, Loaded, SettingsFile, load};

    fn settings(text: &str) -> Loaded {
        let base = "listen.address = '127.0.0.1:0'\nstore.kind = 'memory'\nadmin.address = ''\n";
        let text = format!("{base}upstreams.default.url = 'http://127.0.0.1:1'\n{text}");
        load(&Inputs { file: Some(SettingsFile { name: "settings".to_owned(), text }), ..Inputs::default() }).unwrap()
    }

    #[tokio::test]
    async fn a_reload_takes_routes_and_upstreams_and_names_what_it_does_not_take() {
        let in_force = InForce::new(settings("listen.workers = 1\n"));
        let mut app = App::start(in_force.settings(), Ambient::of_system()).await.unwrap();
        let open = "listen.workers = 1\n[[routes]]\nname = 'open'\nprefix = '/open'\naccess = 'public'\n";
        let reload = in_force.reload(&settings(open)).unwrap();
        app.reload(&reload).await.unwrap();
        let another =
            "listen.workers = 2\nupstreams.another.url = 'http://127.0.0.1:2'\n[[routes]]\nname = 'a'\nupstream = 'another'\n";
        let reload = in_force.reload(&settings(another)).unwrap();
        app.reload(&reload).await.unwrap();
        let (_, needs_restart) = reload.done();
        assert_eq!(needs_restart, ["listen.workers"]);
        let now = app.live.now();
        assert_eq!(
            now.data_plane.policy.routing.upstreams().iter().map(|upstream| &*upstream.name).collect::<Vec<_>>(),
            ["another", "default"]
        );
        let hurry = CancellationToken::new();
        hurry.cancel();
        app.stop(hurry).await;
    }
}
