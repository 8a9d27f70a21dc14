//! The settings file, read again when it says something else (`reload.watch`).

use std::path::PathBuf;

use super::file_work::FileWork;
use super::watched_files::WatchedFiles;
use crate::config::FileDigest;
use crate::files;

/// The settings file of this process.
pub(super) struct WatchedSettings {
    file: PathBuf,
    work: FileWork,
    /// Of what was read last, whether it was valid or not: nothing is tried twice. `None`: it could not be read.
    seen: Option<FileDigest>,
    /// While the file is watched.
    watched: Option<WatchedFiles>,
}

impl WatchedSettings {
    /// The settings that are in force were made of what has the digest `seen`.
    pub(super) fn new(file: PathBuf, seen: Option<FileDigest>) -> Self {
        Self { file, work: FileWork::default(), seen, watched: None }
    }

    /// Notes what the file says now, right before it is read.
    pub(super) async fn note(&mut self) {
        self.seen = self.read().await;
    }

    /// Waits until the file says something else than was noted. For ever, if it is not to be watched. Can be given up at any time.
    pub(super) async fn changed(&mut self, is_watched: bool) {
        if !is_watched {
            self.watched = None;
            return std::future::pending().await;
        }
        loop {
            if let Some(watched) = &mut self.watched {
                watched.next().await;
            } else {
                let mut watched = WatchedFiles::watch(vec![self.file.clone()], self.work.clone()).await;
                if self.read().await != self.seen {
                    // What was missed may be half written.
                    watched.rest().await;
                }
                self.watched = Some(watched);
            }
            let now = self.read().await;
            if now == self.seen {
                continue;
            }
            self.seen = now;
            if now.is_some() {
                return;
            }
            tracing::warn!(file = %self.file.display(), "the settings file cannot be read; the settings stay in force");
        }
    }

    async fn read(&self) -> Option<FileDigest> {
        let file = self.file.clone();
        let of_content = move || Some(FileDigest::of(&files::read_text(&file, files::SETTINGS_BYTES_MAX).ok()?));
        self.work.run(of_content).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::time::Duration;

    use super::super::watched_files::SETTLING;
    use super::*;

    /// Within this it is told, events or not.
    const SOON: Duration = Duration::from_secs(10);
    /// What is told wrongly is so after one or two of these.
    const QUIET: Duration = SETTLING.saturating_mul(2).saturating_add(Duration::from_millis(500));

    /// The settings in force were made of this text.
    fn watched_from(file: &Path, text: &str) -> WatchedSettings {
        WatchedSettings::new(file.to_owned(), Some(FileDigest::of(text)))
    }

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
        let mut watched = watched_from(&file, "one");
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
        watched.note().await;
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
        let mut watched = watched_from(&at("settings.toml"), "one");
        assert!(is_quiet(&mut watched).await);
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(is_told(&mut watched).await && is_quiet(&mut watched).await);
    }

    #[tokio::test]
    async fn what_changed_between_loading_and_watching_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        fs::write(&file, "two").unwrap();
        let mut watched = watched_from(&file, "one");
        assert!(is_told(&mut watched).await && is_quiet(&mut watched).await);
    }

    #[tokio::test]
    async fn a_file_that_is_gone_changes_nothing_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        fs::write(&file, "one").unwrap();
        let mut watched = watched_from(&file, "one");
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
        let mut watched = watched_from(&file, "one");
        fs::write(&file, "two").unwrap();
        assert!(tokio::time::timeout(QUIET, watched.changed(false)).await.is_err());
        assert!(is_told(&mut watched).await, "once it is, what was missed is told");
    }
}
