//! Certificates of the listeners, read again whenever their files change.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arc_swap::access::DynAccess;
use tokio::sync::Notify;

use super::certificates::{SECOND_LOOK, TlsListener, renewed};
use super::file_work::FileWork;
use super::watched_files::WatchedFiles;
use crate::crypto::certificates::names_of;
use crate::domain::stats::{Gauge, Gauges};
use crate::domain::time::{Clock, Timestamp};
use crate::sessions::health::Alarms;
use crate::tasks::supervisor::Supervisor;

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
            let _ = stop.run_until_cancelled(Box::pin(watched.follow())).await;
        });
    }

    /// Follows the files for ever. While a pair cannot be used, the last one goes on.
    async fn follow(&self) {
        let (mut told, work) = (Told::default(), FileWork::default());
        loop {
            let listeners = self.present();
            let paths = listeners.iter().flat_map(|listener| listener.tls.files()).map(Path::to_owned).collect();
            let mut files = WatchedFiles::watch(paths).await;
            while Arc::ptr_eq(&listeners, &self.present()) {
                told = self.look(&listeners, told, &work).await;
                tokio::select! {
                    () = self.touched.notified() => {}
                    _ = files.next() => {}
                }
            }
        }
    }

    fn present(&self) -> Arc<Vec<TlsListener>> {
        Arc::clone(&self.listeners.load())
    }

    async fn look(&self, listeners: &Arc<Vec<TlsListener>>, told: Told, work: &FileWork) -> Told {
        let mut faults = self.read(listeners, work).await;
        if !faults.is_empty() && faults != told.faults {
            tokio::time::sleep(SECOND_LOOK).await;
            faults = self.read(listeners, work).await;
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
    async fn read(&self, listeners: &Arc<Vec<TlsListener>>, work: &FileWork) -> Vec<String> {
        let (listeners, now) = (Arc::clone(listeners), self.clock.now());
        let faults = work.run(move || show(&listeners, now)).await;
        faults.unwrap_or_else(|error| vec![format!("listeners: the files of certificates: {error}")])
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
}

fn show(listeners: &[TlsListener], now: Timestamp) -> Vec<String> {
    let mut faults = Vec::new();
    for TlsListener { position, tls, server } in listeners {
        let former = server.material();
        let (read, unusable) = renewed(*position, tls, &former, now);
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
