//! Certificates in use, read again whenever their files change.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::file_work::FileWork;
use super::watched_files::WatchedFiles;
use crate::crypto::certificates::CertificatePair;
use crate::domain::stats::{Gauge, Gauges};
use crate::domain::time::{Clock, Timestamp};
use crate::sessions::health::Alarms;
use crate::tasks::supervisor::Supervisor;

/// A pair that does not fit is looked at again after this, before anybody is told: the second file may be on its way.
pub(super) const SECOND_LOOK: Duration = Duration::from_secs(1);

/// What has certificates of files in use.
pub(super) trait Holder: Send + Sync + 'static {
    fn files(&self) -> Vec<PathBuf>;

    /// Takes over what the files hold where that is something else. What cannot be used leaves in use what was. Returns what is wrong
    /// with it.
    fn renew(&self, now: Timestamp) -> Vec<String>;

    fn shown(&self) -> Vec<Shown>;
}

/// A certificate that others are shown.
pub(super) struct Shown {
    /// Where the settings name it.
    pub(super) place: String,
    pub(super) pair: CertificatePair,
}

impl Shown {
    /// The alarm of one that others will not take, or not for long, and how it is told to people.
    pub(super) fn told(&self, now: Timestamp) -> Option<(&'static str, String)> {
        let (alarm, text) = self.pair.standing(now).told()?;
        Some((alarm, format!("{} {text}", self.place)))
    }
}

/// All certificates of one kind that this node has in use.
pub(super) struct WatchedCertificates<H> {
    /// Whose they are.
    pub(super) name: &'static str,
    /// By the settings in force.
    pub(super) present: Box<dyn Fn() -> Arc<H> + Send + Sync>,
    /// Told when the settings are others.
    pub(super) changed: watch::Receiver<()>,
    pub(super) alarms: Arc<Alarms>,
    pub(super) gauges: Arc<Gauges>,
    /// When the first of them expires.
    pub(super) expiry: Gauge,
    pub(super) clock: Arc<dyn Clock>,
}

/// What was told of them already.
#[derive(Default)]
struct Told {
    faults: Vec<String>,
    standings: Vec<String>,
}

impl<H: Holder> WatchedCertificates<H> {
    pub(super) fn spawn(self, supervisor: &Supervisor) {
        supervisor.supervise_kept(self.name, self, |watched, stop| async move {
            let _ = stop.run_until_cancelled(Box::pin(watched.follow())).await;
        });
    }

    /// Follows the files for as long as settings are in force. While they cannot be used, what they held last goes on.
    async fn follow(&self) {
        let (mut told, work, mut changed) = (Told::default(), FileWork::default(), self.changed.clone());
        loop {
            changed.mark_unchanged();
            let holder = (self.present)();
            let mut files = WatchedFiles::watch(holder.files(), work.clone()).await;
            loop {
                told = self.look(&holder, told, &work).await;
                tokio::select! {
                    outcome = changed.changed() => match outcome {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    () = files.next() => {}
                }
            }
        }
    }

    async fn look(&self, holder: &Arc<H>, told: Told, work: &FileWork) -> Told {
        let mut faults = self.renew(holder, work).await;
        if !faults.is_empty() && faults != told.faults {
            tokio::time::sleep(SECOND_LOOK).await;
            faults = self.renew(holder, work).await;
        }
        for fault in faults.iter().filter(|fault| !told.faults.contains(fault)) {
            tracing::error!(fault, "a certificate cannot be used: the last one goes on");
        }
        let standings = self.judge(&holder.shown(), !faults.is_empty());
        for standing in standings.iter().filter(|standing| !told.standings.contains(standing)) {
            tracing::warn!(certificate = standing, "a certificate needs attention");
        }
        Told { faults, standings }
    }

    async fn renew(&self, holder: &Arc<H>, work: &FileWork) -> Vec<String> {
        let (holder, now) = (Arc::clone(holder), self.clock.now());
        let faults = work.run(move || holder.renew(now)).await;
        faults.unwrap_or_else(|error| vec![format!("{}: {error}", self.name)])
    }

    /// Measures and raises alarms. Returns what is to be told.
    fn judge(&self, shown: &[Shown], is_stuck: bool) -> Vec<String> {
        let now = self.clock.now();
        let (mut alarms, standings): (BTreeSet<_>, Vec<_>) = shown.iter().filter_map(|shown| shown.told(now)).unzip();
        if is_stuck {
            alarms.insert("unusable");
        }
        self.alarms.set(alarms.into_iter().collect());
        let first = shown.iter().map(|shown| shown.pair.not_after).min();
        self.gauges.put(self.expiry, first.map(|first| u64::try_from(first.secs()).unwrap_or_default()));
        standings
    }
}
