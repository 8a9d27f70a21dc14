//! The settings file, read again when it says something else (`reload.watch`).

use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::files;

/// Whoever writes a file seldom does so in one step: what it says has to stay for so long.
const SETTLING: Duration = Duration::from_millis(200);

/// The file is read so often in any case: it may be a link to a place that is not watched, or lie on a disk that tells nothing.
const READ_INTERVAL: Duration = Duration::from_secs(30);

/// No settings file is larger.
const FILE_BYTES_MAX: usize = 4 << 20;

/// What the file says, as far as it has to be told from what it said before; `None` while it cannot be read.
type Digest = Option<u64>;

/// The settings file of this process.
pub(super) struct WatchedSettings {
    file: PathBuf,
    digest: RandomState,
    /// Of what was read last, whether it was valid or not: nothing is tried twice.
    seen: Digest,
    touched: Arc<Notify>,
    /// While the file is watched.
    watcher: Option<RecommendedWatcher>,
}

impl WatchedSettings {
    pub(super) fn new(file: PathBuf) -> Self {
        let mut watched = Self { file, digest: RandomState::new(), seen: None, touched: Arc::default(), watcher: None };
        watched.note();
        watched
    }

    /// Notes what the file says now, right before it is read.
    pub(super) fn note(&mut self) {
        self.seen = self.read();
    }

    /// Waits until the file says something else than was noted, and has said so for a moment. For ever, if it is not to be watched. Can be
    /// given up at any time.
    pub(super) async fn changed(&mut self, is_watched: bool) {
        if !is_watched {
            self.watcher = None;
            return std::future::pending().await;
        }
        if self.watcher.is_none() {
            self.watcher = self.watch().map_err(|error| self.warn(&error)).ok();
        }
        loop {
            let now = self.read();
            if now == self.seen {
                tokio::select! {
                    () = self.touched.notified() => {}
                    () = tokio::time::sleep(READ_INTERVAL) => {}
                }
                continue;
            }
            tokio::time::sleep(SETTLING).await;
            if self.read() != now {
                continue;
            }
            self.seen = now;
            if now.is_some() {
                return;
            }
            tracing::warn!(file = %self.file.display(), "the settings file cannot be read; the settings stay in force");
        }
    }

    fn warn(&self, error: &notify::Error) {
        let file = self.file.display();
        tracing::warn!(%file, %error, "the settings file cannot be watched, and is read from time to time instead");
    }

    fn read(&self) -> Digest {
        let content = files::read(&self.file, FILE_BYTES_MAX).map(zeroize::Zeroizing::new);
        content.ok().map(|content| self.digest.hash_one(content.as_slice()))
    }

    /// The folder is watched and not the file: that is replaced, be it by a rename, or by a link on the way to it that is set anew.
    fn watch(&self) -> notify::Result<RecommendedWatcher> {
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let touched = Arc::clone(&self.touched);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the file is an event too, which must not lead to the next reading.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                touched.notify_one();
            }
        })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Within this it is told, events or not.
    const SOON: Duration = Duration::from_secs(10);
    /// Longer than anything takes to settle.
    const QUIET: Duration = Duration::from_secs(1);

    async fn is_told(watched: &mut WatchedSettings) -> bool {
        tokio::time::timeout(SOON, watched.changed(true)).await.is_ok()
    }

    async fn is_quiet(watched: &mut WatchedSettings) -> bool {
        tokio::time::timeout(QUIET, watched.changed(true)).await.is_err()
    }

    #[tokio::test]
    async fn another_content_is_told_once_however_it_came() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        fs::write(&file, "one").unwrap();
        let mut watched = WatchedSettings::new(file.clone());
        assert!(is_quiet(&mut watched).await, "it is what was read");

        fs::write(&file, "two").unwrap();
        assert!(is_told(&mut watched).await && is_quiet(&mut watched).await);

        let draft = folder.path().join("draft");
        fs::write(&draft, "three").unwrap();
        assert!(is_quiet(&mut watched).await, "another file");
        fs::rename(&draft, &file).unwrap();
        assert!(is_told(&mut watched).await && is_quiet(&mut watched).await);

        fs::write(&file, "three").unwrap();
        assert!(is_quiet(&mut watched).await, "it says the same");

        fs::write(&file, "four").unwrap();
        watched.note();
        assert!(is_quiet(&mut watched).await, "it was read for another reason");
    }

    #[tokio::test]
    async fn a_folder_whose_link_is_set_anew_is_another_content() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("settings.toml"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/settings.toml", at("settings.toml")).unwrap();
        let mut watched = WatchedSettings::new(at("settings.toml"));
        assert!(is_quiet(&mut watched).await);
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(is_told(&mut watched).await && is_quiet(&mut watched).await);
    }

    #[tokio::test]
    async fn a_file_that_is_gone_changes_nothing_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        fs::write(&file, "one").unwrap();
        let mut watched = WatchedSettings::new(file.clone());
        fs::remove_file(&file).unwrap();
        assert!(is_quiet(&mut watched).await);
        fs::write(&file, "two").unwrap();
        assert!(is_told(&mut watched).await);
    }

    #[tokio::test]
    async fn what_is_not_to_be_watched_is_never_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        fs::write(&file, "one").unwrap();
        let mut watched = WatchedSettings::new(file.clone());
        fs::write(&file, "two").unwrap();
        assert!(tokio::time::timeout(QUIET, watched.changed(false)).await.is_err());
        assert!(is_told(&mut watched).await, "once it is, what was missed is told");
    }
}
