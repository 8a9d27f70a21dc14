//! What the process does with a gateway: runs it until a signal ends it, or opens its store for one piece of work.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::online::{self, Finding as OnlineFinding};
use super::{Ambient, App, StartError, logging, permissions, stores};
use crate::admin::reload::Reloaded;
use crate::cli::demo::{Demo, Stage};
use crate::config::{InForce, Loaded, Settings};
use crate::proxy::watch::TICK;
use crate::store::Store;

/// Serves until a signal ends the process. SIGHUP reads the settings again through `load`.
pub fn run(loaded: Loaded, load: impl Fn() -> Result<Loaded, String>) -> Result<(), StartError> {
    logging::init(&loaded.settings.log);
    warn_of(&loaded);
    let mut in_force = InForce::new(loaded);
    control_runtime()?.block_on(async {
        let mut stops = StopSignals::new().map_err(StartError::Runtime)?;
        let mut reloads = signal(SignalKind::hangup()).map_err(StartError::Runtime)?;
        let mut app = App::start(in_force.settings(), Ambient::of_system()).await?;
        let mut failed = pin!(app.failed());
        let failure = loop {
            tokio::select! {
                () = stops.next() => break None,
                failure = &mut failed => break Some(failure),
                _ = reloads.recv() => {
                    // What came of it is in the log.
                    let _ = reload(&mut app, &mut in_force, &load).await;
                }
                reply = app.reload_asked_for() => {
                    // Whoever asked may have gone.
                    let _ = reply.send(reload(&mut app, &mut in_force, &load).await.map_err(|error| error.to_string()));
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

/// Tells what is valid and still not as it should be.
fn warn_of(loaded: &Loaded) {
    for warning in loaded.warnings().iter().cloned().chain(permissions::warnings(loaded)) {
        tracing::warn!(warning, "the settings need attention");
    }
}

/// How long every worker needs to take over what was reloaded: it does so at its next tick.
const TAKEN_OVER_IN: Duration = TICK.saturating_mul(2);

/// Takes over what can be, as a whole or not at all, and waits until it is in force. Returns what cannot be.
async fn reload(
    app: &mut App,
    in_force: &mut InForce,
    load: impl Fn() -> Result<Loaded, String>,
) -> Result<Reloaded, StartError> {
    let outcome = load().map_err(StartError::Settings).and_then(|new| {
        warn_of(&new);
        let reload = in_force.reload(&new).map_err(|invalid| StartError::Settings(invalid.to_string()))?;
        app.reload(&reload)?;
        logging::set_level(&reload.settings().log);
        Ok(reload.done())
    });
    match outcome {
        Ok((now_in_force, needs_restart)) => {
            *in_force = now_in_force;
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

/// The gateway with the demo's API behind it, until a signal ends both. `say` shows the banner.
pub fn run_demo(demo: &Demo, say: impl FnOnce(&str)) -> Result<(), StartError> {
    let (runtime, ambient) = (control_runtime()?, Ambient::of_system());
    let stage = runtime.block_on(Stage::set(demo, Arc::clone(&ambient.clock), Arc::clone(&ambient.entropy)));
    let stage = stage.map_err(StartError::Demo)?;
    let outcome = runtime.block_on(async {
        let mut stops = StopSignals::new().map_err(StartError::Runtime)?;
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
    });
    // With it ends what may still write, also where the gateway did not start.
    drop(runtime);
    drop(stage);
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
