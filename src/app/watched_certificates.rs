//! Certificates of the listeners, read again whenever their files change.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::certificates::renewed;
use crate::config::{ListenerProtocol, ListenerTls, Settings};
use crate::crypto::certificates::names_of;
use crate::crypto::tls_server::TlsServer;
use crate::domain::stats::{Gauge, Gauges};
use crate::domain::time::Clock;
use crate::proxy::client::arrival;
use crate::sessions::health::Alarms;
use crate::tasks::supervisor::Supervisor;

/// Whoever renews a certificate writes several files, and seldom each in one step.
const SETTLING: Duration = Duration::from_millis(100);

/// A pair that does not fit is looked at again after this, before anybody is told: the second file may be on its way.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// The files are read so often in any case: they may be links to a place that is not watched, or lie on a disk that tells nothing.
const READ_INTERVAL: Duration = Duration::from_secs(30);

/// A listener that speaks TLS.
pub(super) struct TlsListener {
    /// Its position among the listeners.
    pub(super) position: usize,
    pub(super) tls: ListenerTls,
    pub(super) server: Arc<TlsServer>,
}

/// The listeners that speak TLS, each with what it speaks.
pub(super) fn tls_listeners(settings: &Settings, spoken: &[arrival::Spoken]) -> Vec<TlsListener> {
    let pairs = settings.listeners.iter().zip(spoken).enumerate();
    let tls = pairs.filter_map(|(position, (listener, spoken))| match (&listener.protocol, &spoken.protocol) {
        (ListenerProtocol::Tls(tls), arrival::Protocol::Https(server)) => {
            Some(TlsListener { position, tls: tls.clone(), server: Arc::clone(server) })
        }
        (ListenerProtocol::Plain | ListenerProtocol::Tls(_) | ListenerProtocol::Redirect { .. }, _) => None,
    });
    tls.collect()
}

/// All certificates of this node.
pub(super) struct WatchedCertificates {
    pub(super) listeners: Vec<TlsListener>,
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
    /// Starts following, where there is a listener with certificates.
    pub(super) fn spawn(self, supervisor: &Supervisor) {
        if !self.listeners.is_empty() {
            supervisor.supervise_kept("certificates", self, |watched, stop| async move {
                let _ = stop.run_until_cancelled(watched.follow()).await;
            });
        }
    }

    /// Follows the files for ever. While a pair cannot be used, the last one goes on.
    pub(super) async fn follow(&self) {
        let _watcher = self.watch().inspect_err(|error| {
            tracing::warn!(%error, "the files of certificates cannot be watched, and are read from time to time instead");
        });
        let mut told = Told::default();
        loop {
            told = self.look(told).await;
            tokio::select! {
                () = self.touched.notified() => tokio::time::sleep(SETTLING).await,
                () = tokio::time::sleep(READ_INTERVAL) => {}
            }
        }
    }

    async fn look(&self, told: Told) -> Told {
        let mut faults = self.read();
        if !faults.is_empty() && faults != told.faults {
            tokio::time::sleep(SECOND_LOOK).await;
            faults = self.read();
        }
        for fault in faults.iter().filter(|fault| !told.faults.contains(fault)) {
            tracing::error!(fault, "a certificate cannot be used: the last one goes on");
        }
        let standings = self.judge(!faults.is_empty());
        for standing in standings.iter().filter(|standing| !told.standings.contains(standing)) {
            tracing::warn!(certificate = standing, "a certificate needs attention");
        }
        Told { faults, standings }
    }

    /// Shows what the files hold where that is something else. Returns what is wrong with those that cannot be used.
    fn read(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for TlsListener { position, tls, server } in &self.listeners {
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
    fn judge(&self, is_stuck: bool) -> Vec<String> {
        let now = self.clock.now();
        let (mut standings, mut worst) = (Vec::new(), BTreeSet::new());
        let mut first = None;
        for TlsListener { position, server, .. } in &self.listeners {
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
    fn watch(&self) -> notify::Result<RecommendedWatcher> {
        let touched = Arc::clone(&self.touched);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event too, which must not lead to the next reading.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                touched.notify_one();
            }
        })?;
        let files = self.listeners.iter().flat_map(|listener| listener.tls.files());
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
