//! The composition root: the only place where parts are wired, and the order of start and stop.

mod ambient;
mod certificates;
mod claims_hook;
mod data_plane;
#[cfg(test)]
mod doors;
mod file_faults;
mod files;
mod issuers;
mod keys;
mod legacy;
mod logging;
mod online;
mod permissions;
mod process;
mod stores;
mod tasks;
mod upkeep;
mod watched_certificates;
mod watched_keys;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

pub use ambient::Ambient;
pub use certificates::warnings as certificate_warnings;
pub use file_faults::faults as file_faults;
use issuers::{Issuers, Own};
pub use keys::KeysError;
pub use online::Finding as OnlineFinding;
pub use permissions::warnings as permission_warnings;
pub use process::{Companion, probe_online, run, run_beside, with_store};
pub use stores::StoreStartError;
use upkeep::Upkeep;
use watched_certificates::WatchedCertificates;
pub use watched_keys::key_set;

use crate::admin::reload::{ReloadReply, ReloadSender, reload_channel};
use crate::admin::{Admin, AdminParts};
use crate::config::{ListenAddress, Listeners, Reload, Settings};
use crate::crypto::entropy::draw;
use crate::crypto::provider;
use crate::crypto::verifier::Verifier;
use crate::domain::ids::Partitions;
use crate::domain::network::KEEPALIVE_TIMEOUT;
use crate::domain::node::NodeId;
use crate::domain::replica::Replica;
use crate::domain::stats::{Counters, Snapshot, Tally};
use crate::endpoints::{EndpointOptions, EndpointParts, Endpoints};
use crate::proxy::client::arrival::Spoken;
use crate::proxy::keepalive;
use crate::proxy::listener::{Listener, NotListening, Shutdown, Workers};
use crate::proxy::request::gateway::Shared;
use crate::proxy::request::observation::Observations;
use crate::proxy::route_limits::RouteLimits;
use crate::sessions::health::{Alarms, Health, Readiness as _};
use crate::sessions::nodes::{NodeParts, Nodes};
use crate::sessions::{Minting, SessionParts, Sessions};
use crate::store::Store;
use crate::tasks::supervisor::Supervisor;

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
    #[error("upstreams.{name}.{key}: {error}")]
    Upstream { name: Arc<str>, key: &'static str, error: String },
    #[error("issuer {issuer}: {error}")]
    Issuer { issuer: String, error: String },
    #[error("legacy {name}: {error}")]
    Legacy { name: String, error: String },
    #[error("{0}")]
    Companion(io::Error),
    #[error("cannot start a runtime: {0}")]
    Runtime(io::Error),
    #[error("settings on reload: {0}")]
    Settings(String),
    #[error("a worker failed time and again, for the causes in the log: what is left of the gateway is ended")]
    Worker,
}

/// What to do about an address that somebody else has.
fn hint(key: &str, error: &io::Error) -> &'static str {
    match (error.kind(), key.starts_with("listen")) {
        (io::ErrorKind::AddrInUse, true) => {
            ". Another process listens there, perhaps another gateway: end it, choose another address, or set listen.share_port = true \
             in each of them to divide the connections among them"
        }
        (io::ErrorKind::AddrInUse, false) => {
            ". Another process listens there, perhaps another gateway: end it, or choose another address"
        }
        (_, _) => "",
    }
}

/// The key that says where a listener is.
fn address_key(settings: &Settings, listener: usize) -> String {
    let is_short = settings.listeners == Listeners::plain(settings.listeners.first().address.clone());
    if is_short { "listen.address".to_owned() } else { format!("listeners[{listener}].address") }
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
    /// What it answers from, and where; `None`: off.
    admin_listener: Option<(Arc<Admin>, SocketAddr)>,
    /// Reloads that the admin listener was asked for.
    reloads: mpsc::Receiver<ReloadReply>,
    /// To have the files of certificates read again.
    certificates_touched: Arc<Notify>,
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
        let policy = data_plane::policy(settings, &ambient.clock, &RouteLimits::default())?;
        let spoken = certificates::spoken(settings)?;
        let store = stores::open(settings, &ambient).await?;
        let own = own_keys(settings, &minting, store.partitions())?;
        let issuers = Arc::new(Issuers::new(settings, own, &ambient)?);
        let verifier = Arc::new(ArcSwap::from_pointee(issuers.verifier()));
        let sessions = Arc::new(Sessions::new(SessionParts {
            store: Arc::clone(&store) as _,
            log: Arc::clone(&store) as _,
            replica: Arc::clone(&replica),
            minting,
            verifier: Arc::clone(&verifier),
            policy: settings.session_policy(),
            claims_hook: claims_hook::hook(settings, &policy.upstreams),
            clock: Arc::clone(&ambient.clock),
            entropy: Arc::clone(&ambient.entropy),
            counters: Arc::clone(&counters),
        }));
        let alarms = Arc::new(Alarms::default());
        let health = Health::new(
            Arc::clone(&sessions),
            Arc::clone(&replica),
            Arc::clone(&alarms),
            Arc::clone(&ambient.clock),
            settings.revocation.max_staleness,
        );
        let tls = watched_certificates::tls_listeners(settings, &spoken);
        let certificate_alarms = Arc::new(Alarms::default());
        let shows_certificates = (!tls.is_empty()).then(|| Arc::clone(&certificate_alarms));
        let health = Arc::new(health.with_issuers(issuers.fetched()).with_certificates(shows_certificates));
        let endpoints = Arc::new(Endpoints::new(EndpointParts {
            sessions: Arc::clone(&sessions),
            health: Arc::clone(&health) as _,
            options: EndpointOptions::from(settings),
            clock: Arc::clone(&ambient.clock),
            counters: Arc::clone(&counters),
            runtime: runtime.clone(),
        }));
        let nodes = Arc::new(Nodes::new(NodeParts {
            registry: Arc::clone(&store) as _,
            partitions: store.partitions(),
            clock: Arc::clone(&ambient.clock),
            id: NodeId::new(draw(&*ambient.entropy)),
            name: settings.node.name.clone().unwrap_or_else(|| ambient::node_name(settings.listeners.first().address.port())),
            silence_max: settings.revocation.max_staleness + 3 * node_heartbeat(settings),
        }));
        let upkeep = Upkeep::new(tally, &counters, &(Arc::clone(&store) as _), &replica, &nodes, &ambient);
        let parts = Parts { ambient, store, replica, counters, sessions, health, alarms, nodes, verifier, issuers, upkeep };
        let supervisor = parts.supervisor(runtime);
        let certificates_touched = Arc::new(Notify::new());
        let certificates = WatchedCertificates {
            listeners: tls,
            alarms: certificate_alarms,
            gauges: Arc::clone(&parts.upkeep.gauges),
            clock: Arc::clone(&parts.ambient.clock),
            touched: Arc::clone(&certificates_touched),
        };
        certificates.spawn(&supervisor);
        let token_seen = parts.spawn_tasks(&supervisor, settings);
        let shared = Arc::new(Shared {
            policy: ArcSwap::from_pointee(policy),
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
        let admin_listener = parts.serve_admin(settings, reload, &admin).await?;
        let shutdown = Shutdown::default();
        let workers = start_workers(settings, spoken, &shared, &shutdown).await?;
        tracing::info!(gateway = %workers.addresses()[0], admin = admin_listener.as_ref().map(|(_, address)| tracing::field::display(address)), "listening");
        Ok(Self {
            parts,
            shared,
            endpoints,
            workers,
            shutdown,
            supervisor,
            admin,
            admin_listener,
            reloads,
            certificates_touched,
            drain_delay: settings.shutdown.drain_delay,
            drain_deadline: settings.shutdown.drain_deadline,
        })
    }

    /// Where the first listener is.
    pub fn gateway_address(&self) -> SocketAddr {
        self.workers.addresses()[0]
    }

    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_listener.as_ref().map(|(_, address)| *address)
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

    /// Applies every key that `config::InForce` does not keep back; refused whole when any of it cannot be used.
    pub fn reload(&mut self, reload: &Reload) -> Result<(), StartError> {
        let settings = reload.settings();
        let minting = keys::minting(settings, &self.parts.ambient, Some(&self.parts.sessions.minting()))?;
        let policy = data_plane::policy(settings, &self.parts.ambient.clock, &self.shared.policy.load().limits)?;
        let own = own_keys(settings, &minting, self.parts.store.partitions())?;
        legacy::warn(settings, self.parts.ambient.clock.now());
        self.parts.issuers.set_own(own);
        self.parts.issuers.put_in_place(&self.parts.verifier);
        self.parts.sessions.reload(minting, settings.session_policy());
        self.parts.sessions.set_claims_hook(claims_hook::hook(settings, &policy.upstreams));
        self.endpoints.reload(EndpointOptions::from(settings));
        self.shared.policy.store(Arc::new(policy));
        self.certificates_touched.notify_one();
        if let Some((admin, _)) = &self.admin_listener {
            admin.set_token(settings.admin.token.clone());
        }
        (self.drain_delay, self.drain_deadline) = (settings.shutdown.drain_delay, settings.shutdown.drain_deadline);
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

async fn start_workers(
    settings: &Settings,
    spoken: Vec<Spoken>,
    shared: &Arc<Shared>,
    shutdown: &Shutdown,
) -> Result<Workers, StartError> {
    let refused = |index: usize, error| {
        let address = settings.listeners.iter().nth(index).unwrap_or(settings.listeners.first()).address.clone();
        StartError::Listen { key: address_key(settings, index), address, error }
    };
    let mut listeners = Vec::new();
    for (index, (listener, spoken)) in settings.listeners.iter().zip(spoken).enumerate() {
        let address = resolve(&listener.address).await.map_err(|error| refused(index, error))?;
        listeners.push(Listener { address, spoken });
    }
    let workers = Workers::start(&data_plane::listeners(settings, listeners), shared, shutdown)
        .map_err(|NotListening { listener, error }| refused(listener.unwrap_or_default(), error))?;
    for (listener, address) in settings.listeners.iter().zip(workers.addresses()).skip(1) {
        tracing::info!(%address, %listener, "listening too");
    }
    Ok(workers)
}

/// How often a node makes itself known: several times before it is taken to be gone.
fn node_heartbeat(settings: &Settings) -> Duration {
    const HEARTBEAT_MAX: Duration = Duration::from_secs(5);
    (settings.revocation.max_staleness / 3).min(HEARTBEAT_MAX)
}

fn own_keys(settings: &Settings, minting: &Minting, partitions: Partitions) -> Result<Own, StartError> {
    let legacy = legacy::verifiers(settings, partitions)?;
    Ok(Own { keys: Arc::clone(&minting.keys), policy: settings.own_policy(), token_bytes_max: settings.tokens.bytes_max, legacy })
}

/// The address that a listener is bound to. Of several that a name has, the first of IPv4, as clients that are told an address expect;
/// else the first.
async fn resolve(address: &ListenAddress) -> io::Result<SocketAddr> {
    let (host, port) = match address {
        ListenAddress::Ip(address) => return Ok(*address),
        ListenAddress::Name { host, port } => (host.as_str(), *port),
    };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("the name does not resolve: {error}")))?
        .collect();
    let resolved = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied();
    let resolved = resolved.ok_or_else(|| io::Error::other("the name has no address"))?;
    tracing::info!(%address, %resolved, "the name of a listener is resolved");
    Ok(resolved)
}

impl Parts {
    async fn serve_admin(
        &self,
        settings: &Settings,
        reload: ReloadSender,
        supervisor: &Supervisor,
    ) -> Result<Option<(Arc<Admin>, SocketAddr)>, StartError> {
        let Some(address) = &settings.admin.address else { return Ok(None) };
        let refused = |error| StartError::Listen { key: "admin.address".to_owned(), address: address.clone(), error };
        let resolved = resolve(address).await.map_err(refused)?;
        if address.is_loopback() && !resolved.ip().is_loopback() && settings.admin.token.is_none() {
            return Err(refused(io::Error::other(format!("{resolved} is not of this machine alone: that needs admin.token"))));
        }
        let listener = TcpListener::bind(resolved).await.map_err(refused)?;
        keepalive::watch_for_death(&SockRef::from(&listener), KEEPALIVE_TIMEOUT).map_err(refused)?;
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
        let serving = Arc::clone(&admin);
        supervisor.supervise("admin listener", move |stop| {
            let (admin, listener) = (Arc::clone(&serving), Arc::clone(&listener));
            async move { admin.serve(&listener, stop).await }
        });
        Ok(Some((admin, bound)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{InForce, Inputs, Loaded, SettingsFile, load};

    fn settings(text: &str) -> Loaded {
        let base = "listen = { address = '127.0.0.1:0', workers = 1 }\nstore.kind = 'memory'\nadmin.address = ''\n";
        let text = format!("{base}upstreams.default.url = 'http://127.0.0.1:1'\n{text}");
        load(&Inputs { file: Some(SettingsFile { name: "settings".to_owned(), text }), ..Inputs::default() }).unwrap()
    }

    #[tokio::test]
    async fn a_reload_takes_routes_and_upstreams_and_names_what_it_does_not_take() {
        let in_force = InForce::new(settings(""));
        let mut app = App::start(in_force.settings(), Ambient::of_system()).await.unwrap();
        let open = "[[routes]]\nname = 'open'\nprefix = '/open'\naccess = 'public'\n";
        let reload = in_force.reload(&settings(open)).unwrap();
        app.reload(&reload).unwrap();
        let another =
            "node.name = 'other'\nupstreams.another.url = 'http://127.0.0.1:2'\n[[routes]]\nname = 'a'\nupstream = 'another'\n";
        let reload = in_force.reload(&settings(another)).unwrap();
        app.reload(&reload).unwrap();
        let (_, needs_restart) = reload.done();
        assert_eq!(needs_restart, ["node.name"]);
        let policy = app.shared.policy.load();
        assert_eq!(policy.upstreams.iter().map(|upstream| &*upstream.name).collect::<Vec<_>>(), ["another", "default"]);
        let hurry = CancellationToken::new();
        hurry.cancel();
        app.stop(hurry).await;
    }

    #[tokio::test]
    async fn a_listeners_name_is_resolved_or_named_in_the_fault() {
        let localhost = resolve(&"localhost:7".parse().unwrap()).await.unwrap();
        assert!(localhost.ip().is_loopback() && localhost.port() == 7);
        assert_eq!(resolve(&"192.0.2.7:7".parse().unwrap()).await.unwrap(), "192.0.2.7:7".parse().unwrap());
        let address: ListenAddress = "nowhere.invalid:7".parse().unwrap();
        let error = resolve(&address).await.unwrap_err();
        let fault = StartError::Listen { key: "listen.address".to_owned(), address, error }.to_string();
        assert!(fault.starts_with("cannot listen at nowhere.invalid:7 (listen.address): the name does not resolve"), "{fault}");
    }
}
