//! What the process does with a gateway: runs it until a signal ends it, or opens its store for one piece of work.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::file_work::FileWork;
use super::online::{self, Finding as OnlineFinding};
use super::watched_settings::WatchedSettings;
use super::{Ambient, App, PassedSockets, ServiceManager, StartError, logging, permissions, stores};
use crate::admin::reload::Reloaded;
use crate::config::{InForce, Loaded, Settings};
use crate::crypto::entropy::Entropy;
use crate::domain::time::Clock;
use crate::proxy::watch::TICK;
use crate::store::Store;

/// What a process is started with beside its settings.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// The settings file, if there is one.
    pub file: Option<PathBuf>,
    pub manager: ServiceManager,
    pub passed: PassedSockets,
}

/// Serves until a signal ends the process. SIGHUP reads the settings again through `load`, and so does a change of the settings
/// file, where `reload.watch` says so.
pub fn run(
    loaded: Loaded,
    Surroundings { file, manager, passed }: Surroundings,
    load: impl Fn() -> Result<Loaded, String> + Send + Sync + 'static,
) -> Result<(), StartError> {
    logging::init(&loaded.settings.log);
    warn_of(&loaded);
    passed.warn();
    if loaded.settings.reload.watch && file.is_none() {
        tracing::warn!("reload.watch = true: the settings come from no file, so nothing is watched");
    }
    let watched = file.map(|file| WatchedSettings::new(file, loaded.file_digest));
    let mut reloads = Reloads { watched, ..Reloads::of(loaded, load) };
    let runtime = control_runtime()?;
    let outcome = runtime.block_on(async {
        let mut stops = StopSignals::new().map_err(StartError::Runtime)?;
        let mut hangups = signal(SignalKind::hangup()).map_err(StartError::Runtime)?;
        let mut app = tokio::select! {
            app = App::start_at(reloads.in_force.settings(), Ambient::of_system(), passed) => app?,
            () = stops.next() => return Ok(()),
        };
        app.keep_watchdog_quiet(&manager);
        manager.ready(&format!("serving at {}", app.gateway_address()));
        let mut failed = pin!(app.failed());
        let failure = loop {
            let asked_by = tokio::select! {
                () = stops.next() => break None,
                failure = &mut failed => break Some(failure),
                _ = hangups.recv() => {
                    // Whatever becomes of the settings.
                    app.reopen_access_log();
                    None
                }
                () = reloads.settings_changed() => None,
                reply = app.reload_asked_for() => Some(reply),
            };
            manager.reloading();
            // What came of it is in the log too. What is half done when the end comes is of no use any more.
            let outcome = tokio::select! {
                () = stops.next() => break None,
                outcome = reloads.reload(&mut app) => outcome.map_err(|error| error.to_string()),
            };
            let came_of_it = if outcome.is_ok() { "settings reloaded" } else { "settings not reloaded, see the log" };
            manager.ready(&format!("serving at {}; {came_of_it}", app.gateway_address()));
            if let Some(reply) = asked_by {
                // Whoever asked may have gone.
                let _ = reply.send(outcome);
            }
        };
        manager.stopping();
        let hurry = CancellationToken::new();
        tokio::select! {
            () = app.stop(hurry.clone()) => {}
            () = async { stops.next().await; hurry.cancel(); std::future::pending().await } => {}
        }
        failure.map_or(Ok(()), Err)
    });
    // A disk that does not respond may hold up what reads there, for ever.
    runtime.shutdown_timeout(LEFT_WITHIN);
    outcome
}

/// How long the process waits at its end for what its runtime still does.
const LEFT_WITHIN: Duration = Duration::from_secs(1);

/// Tells what is valid and still not as it should be.
fn warn_of(loaded: &Loaded) {
    for warning in loaded.warnings().iter().cloned().chain(permissions::warnings(loaded)) {
        tracing::warn!(warning, "the settings need attention");
    }
}

/// How long every worker needs to take over what was reloaded: it does so at its next tick.
const TAKEN_OVER_IN: Duration = TICK.saturating_mul(2);

/// The settings that are in force, and how they are read again.
struct Reloads {
    in_force: Arc<InForce>,
    load: Arc<dyn Fn() -> Result<Loaded, String> + Send + Sync>,
    work: FileWork,
    /// The settings file, if there is one.
    watched: Option<WatchedSettings>,
}

impl Reloads {
    fn of(loaded: Loaded, load: impl Fn() -> Result<Loaded, String> + Send + Sync + 'static) -> Self {
        Self { in_force: Arc::new(InForce::new(loaded)), load: Arc::new(load), work: FileWork::default(), watched: None }
    }

    /// Waits until the settings file says something else, if it is to be watched.
    async fn settings_changed(&mut self) {
        match &mut self.watched {
            Some(watched) => watched.changed(self.in_force.settings().reload.watch).await,
            None => std::future::pending().await,
        }
    }

    /// Takes over what can be, as a whole or not at all, and waits until it is in force. Returns what cannot be.
    async fn reload(&mut self, app: &mut App) -> Result<Reloaded, StartError> {
        match self.take_over(app).await {
            Ok(needs_restart) => {
                tokio::time::sleep(TAKEN_OVER_IN).await;
                if !needs_restart.is_empty() {
                    let keys = needs_restart.join(", ");
                    tracing::warn!(keys, "these settings need a restart; until then their old values stay in force");
                }
                tracing::info!("settings reloaded");
                Ok(Reloaded { needs_restart })
            }
            Err(error) => {
                tracing::error!(%error, "settings not reloaded; the old ones stay in force");
                Err(error)
            }
        }
    }

    /// The keys that are not in force then.
    async fn take_over(&mut self, app: &mut App) -> Result<Vec<String>, StartError> {
        if let Some(watched) = &mut self.watched {
            watched.note().await;
        }
        let (load, in_force) = (Arc::clone(&self.load), Arc::clone(&self.in_force));
        let reload = self.work.run(move || {
            let new = load()?;
            warn_of(&new);
            in_force.reload(&new).map_err(|invalid| invalid.to_string())
        });
        let reload = reload.await?.map_err(StartError::Settings)?;
        let without_effect = app.reload(&reload).await?;
        logging::set(&reload.settings().log);
        let (now_in_force, mut needs_restart) = reload.done();
        self.in_force = Arc::new(now_in_force);
        needs_restart.extend(without_effect);
        needs_restart.sort();
        Ok(needs_restart)
    }
}

/// What runs on the control plane beside a gateway that it has the settings for, as an API for it to stand in front of.
pub trait Companion {
    fn settings(&self) -> &Settings;

    /// The gateway listens at `gateway`, and its operators' listener at `admin`; `None`: there is none.
    fn gateway_started(&self, gateway: SocketAddr, admin: Option<SocketAddr>);

    /// Runs until `stop`, which comes once the gateway has stopped.
    fn run(&self, stop: CancellationToken) -> impl Future<Output = ()>;
}

/// Serves beside what `set_up` returns, until a signal ends both. The settings are not read again. The companion is dropped once nothing
/// of the gateway runs any more, also where it did not start.
pub fn run_beside<C: Companion>(
    set_up: impl AsyncFnOnce(Arc<dyn Clock>, Arc<dyn Entropy>) -> io::Result<C>,
) -> Result<(), StartError> {
    let (runtime, ambient) = (control_runtime()?, Ambient::of_system());
    let companion = runtime.block_on(set_up(Arc::clone(&ambient.clock), Arc::clone(&ambient.entropy)));
    let companion = companion.map_err(StartError::Companion)?;
    let outcome = runtime.block_on(async {
        let mut stops = StopSignals::new().map_err(StartError::Runtime)?;
        logging::init(&companion.settings().log);
        let mut app = App::start(companion.settings(), ambient).await?;
        app.reloads.close();
        companion.gateway_started(app.gateway_address(), app.admin_address());
        let stop = CancellationToken::new();
        let running = companion.run(stop.clone());
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
        tokio::join!(running, ending).1
    });
    // With it ends what may still write, also where the gateway did not start.
    drop(runtime);
    drop(companion);
    outcome
}

/// Asks store, upstreams and key sets once, as these settings would reach them, whether they are there and fit for their work. Changes
/// nothing in them.
pub fn probe_online(settings: &Settings) -> Result<Vec<OnlineFinding>, StartError> {
    control_runtime()?.block_on(online::probe(settings, &Ambient::of_system()))
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
    use std::sync::mpsc::channel;
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::config::{Inputs, SettingsFile, load};

    fn settings() -> Loaded {
        let text = "listen.address = '127.0.0.1:0'\nlisten.workers = 1\nstore.kind = 'memory'\nadmin.address = ''\n\
                    upstreams.default.url = 'http://127.0.0.1:1'\n";
        load(&Inputs { file: Some(SettingsFile { name: "settings".to_owned(), text: text.to_owned() }), ..Inputs::default() })
            .unwrap()
    }

    #[tokio::test]
    async fn settings_that_cannot_be_read_hold_up_nothing_else() {
        let (release, released) = channel::<()>();
        let released = Mutex::new(released);
        let hanging = move || {
            let _ = released.lock().unwrap_or_else(PoisonError::into_inner).recv();
            Ok(settings())
        };
        let mut reloads = Reloads::of(settings(), hanging);
        let mut app = App::start(reloads.in_force.settings(), Ambient::of_system()).await.unwrap();
        // On this one thread: it would never come back if it waited itself.
        let cut_short = tokio::time::timeout(Duration::from_millis(200), reloads.reload(&mut app)).await;
        assert!(cut_short.is_err(), "it goes on without whoever asked");
        release.send(()).unwrap();
        release.send(()).unwrap();
        assert_eq!(reloads.reload(&mut app).await.unwrap().needs_restart, [""; 0]);
        let hurry = CancellationToken::new();
        hurry.cancel();
        app.stop(hurry).await;
    }
}
