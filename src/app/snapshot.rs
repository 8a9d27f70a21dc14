//! All that the settings say, as one value: built whole, validated whole, swapped once.
//!
//! Each part of the process sees its part of the value, which goes by the same settings as all others: a request that begins by one
//! snapshot ends by it on both planes, whatever is reloaded meanwhile. What is not settings (the store, the revocations, counts, keys that
//! were fetched, connections to upstreams) is shared by one snapshot with the next.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use arc_swap::access::{DynAccess, Map};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::access_log::{self, Outlet};
use super::certificates::{self, Prepared, TlsListener};
use super::issuers::{Issuers, Own};
use super::listeners::{Former, FormerAdmin, Listeners};
use super::watched_certificates::SECOND_LOOK;
use super::{Parts, StartError, ambient, claims_hook, data_plane, keys, legacy};
use crate::admin::reload::ReloadSender;
use crate::admin::{Admin, AdminParts, AdminRules};
use crate::config::{self, Settings};
use crate::domain::secret::Secret;
use crate::domain::upstream_report::UpstreamStates;
use crate::endpoints::{EndpointOptions, EndpointParts, EndpointRules, Endpoints};
use crate::openapi;
use crate::proxy::policy::Policy;
use crate::proxy::snapshot::DataPlaneView;
use crate::proxy::upstream::backends::Board;
use crate::sessions::health::{Health, Needs};
use crate::sessions::nodes::NodeRules;
use crate::sessions::{SessionParts, SessionRules, Sessions};
use crate::tasks::rules::{LiveRules, TaskRules};

/// What the process goes by.
pub(super) struct Snapshot {
    pub(super) listeners: Listeners,
    pub(super) tls: Arc<Vec<TlsListener>>,
    pub(super) data_plane: Arc<DataPlaneView>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) health: Arc<Health>,
    pub(super) admin: Arc<Admin>,
    pub(super) issuers: Arc<Issuers>,
    pub(super) tasks: Arc<TaskRules>,
    pub(super) drain: Drain,
    /// Where the access log goes, if it is on.
    pub(super) access_log: Option<Arc<Outlet>>,
}

/// How much time the end of the process takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    /// During which it takes new connections and says that it is not ready.
    pub(super) delay: Duration,
    /// For what is under way then.
    pub(super) deadline: Duration,
}

/// What the settings say to each part: everything of it that can be refused has been made.
struct Rules {
    /// What each listener is to speak.
    prepared: Vec<Prepared>,
    control_plane: ControlPlaneRules,
    rest: OtherRules,
}

/// What the settings say to the parts of the control plane, which outlive them.
struct ControlPlaneRules {
    sessions: SessionRules,
    needs: Needs,
    upstreams: Arc<dyn UpstreamStates>,
    endpoints: EndpointOptions,
    admin_token: Option<Secret<String>>,
    /// JSON.
    own_endpoints: Bytes,
}

struct OtherRules {
    policy: Policy,
    issuers: Arc<Issuers>,
    tasks: TaskRules,
    drain: Drain,
    access_log: Option<Arc<Outlet>>,
}

/// The parts of the control plane, by the rules of one snapshot.
struct ControlPlaneParts {
    sessions: Arc<Sessions>,
    health: Arc<Health>,
    endpoints: Endpoints,
    admin: Admin,
}

impl Rules {
    /// Reads the files that the settings name: see [`super::file_work::FileWork`].
    async fn read(settings: &Settings, parts: &Arc<Parts>, former: Option<&Arc<Snapshot>>) -> Result<Self, StartError> {
        let (settings, of_parts, former) = (settings.clone(), Arc::clone(parts), former.cloned());
        let read = move || match Self::of(&settings, &of_parts, former.as_deref()) {
            // The second file of a pair may be on its way.
            Err(fault) if fault.is_of_certificates() && former.is_some() => {
                thread::sleep(SECOND_LOOK);
                Self::of(&settings, &of_parts, former.as_deref())
            }
            read => read,
        };
        parts.reading.run(read).await?
    }

    fn of(settings: &Settings, parts: &Parts, former: Option<&Snapshot>) -> Result<Self, StartError> {
        let former_minting = former.map(|former| &*former.sessions.rules().minting);
        let minting = Arc::new(keys::minting(settings, &parts.ambient, former_minting)?);
        let access_log = outlet(settings, parts, former)?;
        let former_policy = former.map(|former| &former.data_plane.policy);
        let log = access_log::rules(settings.log.access.as_ref(), access_log.as_ref(), node_name(settings));
        let policy = data_plane::policy(settings, minting.refresh_tokens.tickets(), log, &parts.ambient.clock, former_policy)?;
        let own = Own {
            keys: Arc::clone(&minting.keys),
            policy: settings.own_policy(),
            token_bytes_max: settings.tokens.bytes_max,
            legacy: legacy::verifiers(settings, parts.store.partitions())?,
        };
        let issuers = Issuers::new(settings, own, &parts.ambient, former.map(|former| &*former.issuers))?;
        let sessions = SessionRules {
            minting,
            verifier: Arc::clone(issuers.verifier()),
            policy: settings.session_policy(),
            claims_hook: claims_hook::hook(settings, policy.routing.upstreams()),
        };
        let upstreams: Arc<dyn UpstreamStates> = Arc::new(Board::new(data_plane::backends(&policy)));
        let control_plane = ControlPlaneRules {
            sessions,
            needs: Needs {
                max_staleness: settings.revocation.max_staleness,
                issuers: issuers.fetched(),
                certificates: settings.listeners.speak_tls().then(|| Arc::clone(&parts.certificate_alarms)),
                upstream_certificates: settings.upstreams.iter().any(has_tls_files).then(|| Arc::clone(&parts.upstream_alarms)),
                upstreams: Arc::clone(&upstreams),
            },
            upstreams,
            endpoints: EndpointOptions::from(settings),
            admin_token: settings.admin.token.clone(),
            own_endpoints: openapi::own_endpoints(settings).to_string().into(),
        };
        let drain = Drain { delay: settings.shutdown.drain_delay, deadline: settings.shutdown.drain_deadline };
        let tls = former.map(|former| former.tls.as_slice()).unwrap_or_default();
        let prepared = certificates::prepared(settings, tls, parts.ambient.clock.now())?;
        Ok(Self { prepared, control_plane, rest: OtherRules { policy, issuers, tasks: task_rules(settings), drain, access_log } })
    }
}

impl Snapshot {
    /// The first of the process. `runtime` is where the work of the endpoints is done.
    pub(super) async fn first(
        settings: &Settings,
        parts: &Arc<Parts>,
        reload: ReloadSender,
        runtime: Handle,
    ) -> Result<Self, StartError> {
        let Rules { prepared, control_plane: rules, rest } = Rules::read(settings, parts, None).await?;
        let listeners = Listeners::of(settings, prepared, parts.workers, &parts.passed, None).await?;
        let shared = SessionParts {
            store: Arc::clone(&parts.store) as _,
            log: Arc::clone(&parts.store) as _,
            tickets: Arc::clone(&parts.store) as _,
            replica: Arc::clone(&parts.replica),
            clock: Arc::clone(&parts.ambient.clock),
            entropy: Arc::clone(&parts.ambient.entropy),
            counters: Arc::clone(&parts.counters),
        };
        let sessions = Arc::new(Sessions::new(shared, rules.sessions));
        let (replica, alarms, clock) = (Arc::clone(&parts.replica), Arc::clone(&parts.alarms), Arc::clone(&parts.ambient.clock));
        let health = Arc::new(Health::new(Arc::clone(&sessions), replica, alarms, clock, rules.needs));
        let (clock, counters) = (Arc::clone(&parts.ambient.clock), Arc::clone(&parts.counters));
        let endpoints = Endpoints::new(
            EndpointParts { clock, counters, meters: Arc::clone(parts.meters.control()), runtime },
            EndpointRules { sessions: Arc::clone(&sessions), health: Arc::clone(&health) as _, options: rules.endpoints },
        );
        let admin = Admin::new(
            AdminParts {
                nodes: Arc::clone(&parts.nodes),
                replica: Arc::clone(&parts.replica),
                clock: Arc::clone(&parts.ambient.clock),
                figures: Arc::clone(&parts.upkeep.statistics) as _,
                meters: Arc::clone(&parts.meters),
                sweeps: Arc::clone(&parts.upkeep.caretaker) as _,
                reload,
            },
            AdminRules {
                readiness: Arc::clone(&health) as _,
                token: rules.admin_token,
                sessions: Arc::clone(&sessions),
                upstreams: rules.upstreams,
                own_endpoints: rules.own_endpoints,
            },
        );
        Ok(Self::of(settings, listeners, rest, ControlPlaneParts { sessions, health, endpoints, admin }))
    }

    /// By other settings, with everything that is not settings. Nothing of it is in force yet.
    ///
    /// # Errors
    /// Something that the settings name cannot be used.
    pub(super) async fn followed_by(
        self: &Arc<Self>,
        settings: &Settings,
        parts: &Arc<Parts>,
        admin: Option<FormerAdmin<'_>>,
    ) -> Result<Self, StartError> {
        let Rules { prepared, control_plane: rules, rest } = Rules::read(settings, parts, Some(self)).await?;
        // Last of what can fail: nobody connects to what is given up again.
        let former = Former { listeners: &self.listeners, admin };
        let listeners = Listeners::of(settings, prepared, parts.workers, &parts.passed, Some(former)).await?;
        let sessions = Arc::new(self.sessions.ruled_by(rules.sessions));
        let health = Arc::new(self.health.ruled_by(Arc::clone(&sessions), rules.needs));
        let endpoints = self.endpoints.ruled_by(EndpointRules {
            sessions: Arc::clone(&sessions),
            health: Arc::clone(&health) as _,
            options: rules.endpoints,
        });
        let admin = self.admin.ruled_by(AdminRules {
            readiness: Arc::clone(&health) as _,
            token: rules.admin_token,
            sessions: Arc::clone(&sessions),
            upstreams: rules.upstreams,
            own_endpoints: rules.own_endpoints,
        });
        Ok(Self::of(settings, listeners, rest, ControlPlaneParts { sessions, health, endpoints, admin }))
    }

    fn of(settings: &Settings, listeners: Listeners, rules: OtherRules, control_plane: ControlPlaneParts) -> Self {
        let ControlPlaneParts { sessions, health, endpoints, admin } = control_plane;
        let endpoints = Arc::new(endpoints);
        Self {
            data_plane: view(rules.policy, &listeners, &rules.issuers, &endpoints),
            tls: Arc::new(listeners.tls(settings)),
            listeners,
            sessions,
            endpoints,
            health,
            admin: Arc::new(admin),
            issuers: rules.issuers,
            tasks: Arc::new(rules.tasks),
            drain: rules.drain,
            access_log: rules.access_log,
        }
    }

    /// It is in force, and the former one is not any more.
    pub(super) fn succeeds(&self, former: &Self, settings: &Settings) {
        if let (Some(outlet), Some(log)) = (&self.access_log, &settings.log.access) {
            outlet.limit(log.queue_bytes_max);
        }
        let stays = |outlet: &Arc<Outlet>| self.access_log.as_ref().is_some_and(|present| Arc::ptr_eq(present, outlet));
        if let Some(outlet) = former.access_log.as_ref().filter(|outlet| !stays(outlet)) {
            outlet.close();
        }
    }
}

/// The way to where the access log goes: the former one, where it leads there.
fn outlet(settings: &Settings, parts: &Parts, former: Option<&Snapshot>) -> Result<Option<Arc<Outlet>>, StartError> {
    let Some(log) = &settings.log.access else { return Ok(None) };
    let former = former.and_then(|former| former.access_log.as_ref()).filter(|outlet| outlet.leads_to(&log.to));
    if let Some(same) = former {
        return Ok(Some(Arc::clone(same)));
    }
    let opened = Outlet::open(log, Arc::clone(parts.meters.control()));
    opened.map(Some).map_err(|error| StartError::AccessLog { path: log.to.to_string(), error })
}

fn view(policy: Policy, listeners: &Listeners, issuers: &Issuers, endpoints: &Arc<Endpoints>) -> Arc<DataPlaneView> {
    let (verifier, control) = (Arc::clone(issuers.verifier()), Arc::clone(endpoints) as _);
    Arc::new(DataPlaneView { policy, listeners: listeners.bound(), verifier, control })
}

fn has_tls_files(upstream: &config::Upstream) -> bool {
    upstream.client_certificate.is_some() || upstream.ca_file.is_some()
}

fn task_rules(settings: &Settings) -> TaskRules {
    let node_heartbeat = node_heartbeat(settings);
    TaskRules {
        node: NodeRules { name: node_name(settings), silence_max: settings.revocation.max_staleness + 3 * node_heartbeat },
        log_heartbeat: settings.revocation.heartbeat,
        node_heartbeat,
        canary_interval: settings.revocation.canary_interval,
        acknowledge_interval: settings.refresh.acknowledge_interval,
        flush_interval: settings.statistics.flush_interval,
        measure_interval: settings.statistics.measure_interval,
        sweeps: settings.sweeper.schedule.clone(),
    }
}

fn node_name(settings: &Settings) -> String {
    settings.node.name.clone().unwrap_or_else(|| ambient::node_name(settings.listeners.first().address.port()))
}

/// How often a node makes itself known: several times before it is taken to be gone.
fn node_heartbeat(settings: &Settings) -> Duration {
    const HEARTBEAT_MAX: Duration = Duration::from_secs(5);
    (settings.revocation.max_staleness / 3).min(HEARTBEAT_MAX)
}

/// The snapshot that is in force: the one place where there is a new one after a reload.
pub(super) struct Live {
    latest: Arc<ArcSwap<Snapshot>>,
    /// Wakes who waits for as long as the settings say.
    changed: watch::Sender<()>,
}

impl Live {
    pub(super) fn new(first: Snapshot) -> Self {
        Self { latest: Arc::new(ArcSwap::from_pointee(first)), changed: watch::Sender::new(()) }
    }

    pub(super) fn now(&self) -> Arc<Snapshot> {
        self.latest.load_full()
    }

    pub(super) fn replace(&self, next: Snapshot) {
        self.latest.store(Arc::new(next));
        self.changed.send_replace(());
    }

    /// Leads to one part of whatever is in force.
    pub(super) fn part<R>(&self, part: fn(&Snapshot) -> &Arc<R>) -> Box<dyn DynAccess<Arc<R>> + Send + Sync>
    where
        R: Send + Sync + 'static,
    {
        Box::new(Map::new(Arc::clone(&self.latest), part))
    }

    pub(super) fn task_rules(&self) -> LiveRules {
        LiveRules::new(self.part(|snapshot| &snapshot.tasks).into(), self.changes())
    }

    /// Told whenever another one is in force.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
