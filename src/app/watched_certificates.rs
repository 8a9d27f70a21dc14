//! Certificates of the listeners, read again whenever their files change.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::access::DynAccess;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::certificates::{SECOND_LOOK, TlsListener, renewed};
use crate::crypto::certificates::names_of;
use crate::domain::stats::{Gauge, Gauges};
use crate::domain::time::Clock;
use crate::sessions::health::Alarms;
use crate::tasks::supervisor::Supervisor;

/// Whoever renews a certificate writes several files, and seldom each in one step.
const SETTLING: Duration = Duration::from_millis(100);

/// The files are read so often in any case: they may be links to a place that is not watched, or lie on a disk that tells nothing.
const READ_INTERVAL: Duration = Duration::from_secs(30);

/// All certificates of this node.
pub(super) struct WatchedCertificates {
    /// The listeners that speak TLS, by the settings in force.
    pub(super) listeners: Box<dyn DynAccess<Arc<Vec<TlsListener>>> + Send + Sync>,
    pub(super) alarms: Arc<Alarms>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) clock: Arc<dyn Clock>,
    /// Told when the files are to be read again.
    pub(super) touched: Arc<Notify>,
}

/// What was told of them already.
#[derive(Default, PartialEq, Eq)]
struct Told {
    faults: Vec<String>,
    standings: Vec<String>,
}

impl WatchedCertificates {
    pub(super) fn spawn(self, supervisor: &Supervisor) {
        supervisor.supervise_kept("certificates", self, |watched, stop| async move {
            let _ = stop.run_until_cancelled(watched.follow()).await;
        });
    }

    /// Follows the files for ever. While a pair cannot be used, the last one goes on.
    async fn follow(&self) {
        let mut told = Told::default();
        loop {
            let listeners = self.present();
            let _watcher = self.watch(&listeners).inspect_err(|error| {
                tracing::warn!(%error, "the files of certificates cannot be watched, and are read from time to time instead");
            });
            while Arc::ptr_eq(&listeners, &self.present()) {
                told = self.look(&listeners, told).await;
                tokio::select! {
                    () = self.touched.notified() => tokio::time::sleep(SETTLING).await,
                    () = tokio::time::sleep(READ_INTERVAL) => {}
                }
            }
        }
    }

    fn present(&self) -> Arc<Vec<TlsListener>> {
        Arc::clone(&self.listeners.load())
    }

    async fn look(&self, listeners: &[TlsListener], told: Told) -> Told {
        let mut faults = Self::read(listeners);
        if !faults.is_empty() && faults != told.faults {
            tokio::time::sleep(SECOND_LOOK).await;
            faults = Self::read(listeners);
        }
        for fault in faults.iter().filter(|fault| !told.faults.contains(fault)) {
            tracing::error!(fault, "a certificate cannot be used: the last one goes on");
        }
        let standings = self.judge(listeners, !faults.is_empty());
        for standing in standings.iter().filter(|standing| !told.standings.contains(standing)) {
            tracing::warn!(certificate = standing, "a certificate needs attention");
        }
        Told { faults, standings }
    }

    /// Shows what the files hold where that is something else. Returns what is wrong with those that cannot be used.
    fn read(listeners: &[TlsListener]) -> Vec<String> {
        let mut faults = Vec::new();
        for TlsListener { position, tls, server } in listeners {
            let former = server.material();
            let (read, unusable) = renewed(*position, tls, &former);
            faults.extend(unusable);
            if read.is_same(&former) {
                continue;
            }
            let names = names_of(read.certificates.pairs());
            match server.show(read) {
                Ok(()) => tracing::info!(listener = position, names, "certificates changed"),
                Err(error) => faults.push(format!("listeners[{position}].tls: {error}")),
            }
        }
        faults
    }

    /// Measures and raises alarms. Returns what is to be told of certificates that are shown.
    fn judge(&self, listeners: &[TlsListener], is_stuck: bool) -> Vec<String> {
        let now = self.clock.now();
        let (mut standings, mut worst) = (Vec::new(), BTreeSet::new());
        let mut first = None;
        for TlsListener { position, server, .. } in listeners {
            for (index, pair) in server.material().certificates.pairs().iter().enumerate() {
                first = first.into_iter().chain([pair.not_after]).min();
                if let Some((alarm, text)) = pair.standing(now).told() {
                    worst.insert(alarm);
                    let names = names_of(std::slice::from_ref(pair));
                    standings.push(format!("listeners[{position}].tls.certificates[{index}] ({names}) {text}"));
                }
            }
        }
        if is_stuck {
            worst.insert("unusable");
        }
        if let Some(first) = first {
            self.gauges.set(Gauge::CertificateExpiry, u64::try_from(first.secs()).unwrap_or_default());
        }
        self.alarms.set(worst.into_iter().collect());
        standings
    }

    /// Folders are watched and not files: those are replaced, be it by a rename, or by a link on the way to them that is set anew.
    fn watch(&self, listeners: &[TlsListener]) -> notify::Result<RecommendedWatcher> {
        let touched = Arc::clone(&self.touched);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event too, which must not lead to the next reading.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                touched.notify_one();
            }
        })?;
        let files = listeners.iter().flat_map(|listener| listener.tls.files());
        let folders: BTreeSet<PathBuf> = files.map(folder).collect();
        for folder in folders {
            watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    }
}

fn folder(file: &Path) -> PathBuf {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}
