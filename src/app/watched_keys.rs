//! An issuer's keys in a file of the operator's, read again whenever it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::file_work::FileWork;
use super::watched_files::WatchedFiles;
use crate::crypto::jwks::{ForeignKeys, JWKS_BYTES_MAX, JwksOrigin};
use crate::domain::algorithm::Algorithm;
use crate::files;

/// The keys that the file held when it was last good.
pub(super) struct WatchedKeys {
    path: PathBuf,
    algorithms: Vec<Algorithm>,
    keys: ArcSwap<ForeignKeys>,
}

impl WatchedKeys {
    pub(super) fn read(path: &Path, algorithms: &[Algorithm]) -> Result<Self, String> {
        let keys = key_set(path, algorithms)?;
        Ok(Self { path: path.to_owned(), algorithms: algorithms.to_vec(), keys: ArcSwap::from_pointee(keys) })
    }

    pub(super) fn keys(&self) -> Arc<ForeignKeys> {
        self.keys.load_full()
    }

    /// Follows the file for ever. `changed` is called when there are other keys than before; while the file cannot be used, the last ones
    /// go on.
    pub(super) async fn follow(&self, issuer: &str, changed: impl Fn()) {
        let work = FileWork::default();
        let mut files = WatchedFiles::watch(vec![self.path.clone()], work.clone()).await;
        let mut told = None;
        loop {
            let (path, algorithms) = (self.path.clone(), self.algorithms.clone());
            let read = work.run(move || key_set(&path, &algorithms)).await;
            match read.map_err(|error| error.to_string()).and_then(|read| read) {
                Ok(keys) => {
                    told = None;
                    if !self.keys.load().is_same(&keys) {
                        self.keys.store(Arc::new(keys));
                        tracing::info!(issuer, "issuer's keys changed");
                        changed();
                    }
                }
                Err(error) if told.as_ref() == Some(&error) => {}
                Err(error) => {
                    let path = self.path.display();
                    tracing::warn!(issuer, %path, error, "an issuer's key file cannot be used: its last keys go on");
                    told = Some(error);
                }
            }
            files.next().await;
        }
    }
}

/// The keys that a file of an issuer's holds.
///
/// # Errors
/// It cannot be read, or holds no key that can be used.
pub fn key_set(path: &Path, algorithms: &[Algorithm]) -> Result<ForeignKeys, String> {
    let document = files::read(path, JWKS_BYTES_MAX).map_err(|error| format!("cannot be read: {error}"))?;
    ForeignKeys::parse(&document, algorithms, JwksOrigin::File).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio::task::JoinSet;

    use super::super::watched_files::SETTLING;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn set(kid: &str) -> String {
        format!(r#"{{"keys":[{{"kty":"oct","kid":"{kid}","alg":"HS256","k":"{}"}}]}}"#, "QUFB".repeat(16))
    }

    struct Stage {
        folder: tempfile::TempDir,
        watched: Arc<WatchedKeys>,
        changes: mpsc::UnboundedReceiver<()>,
        _following: JoinSet<()>,
    }

    impl Stage {
        async fn start(prepare: impl FnOnce(&Path)) -> Self {
            let folder = tempfile::tempdir().unwrap();
            prepare(folder.path());
            let watched = Arc::new(WatchedKeys::read(&folder.path().join("jwks.json"), &[Algorithm::Hs256]).unwrap());
            // Missed, and read when it is followed: whoever is told of that knows that the file is watched.
            fs::write(folder.path().join("jwks.json"), set("missed")).unwrap();
            let (sender, changes) = mpsc::unbounded_channel();
            let followed = Arc::clone(&watched);
            let mut following = JoinSet::new();
            following.spawn(async move { followed.follow("i", || sender.send(()).unwrap()).await });
            let mut stage = Self { folder, watched, changes, _following: following };
            stage.comes_to("missed").await;
            stage
        }

        async fn comes_to(&mut self, kid: &str) {
            tokio::time::timeout(PATIENCE, self.changes.recv()).await.expect("a change is noticed").unwrap();
            assert_eq!(self.watched.keys().keys()[0].kid.as_deref(), Some(kid));
        }
    }

    #[tokio::test]
    async fn a_file_that_is_written_or_replaced_is_read_again() {
        let mut stage = Stage::start(|folder| fs::write(folder.join("jwks.json"), set("a")).unwrap()).await;
        let path = stage.folder.path().join("jwks.json");
        fs::write(&path, set("b")).unwrap();
        stage.comes_to("b").await;
        fs::write(path.with_extension("new"), set("c")).unwrap();
        fs::rename(path.with_extension("new"), &path).unwrap();
        stage.comes_to("c").await;
    }

    #[tokio::test]
    async fn a_link_that_is_set_anew_beside_the_file_is_followed() {
        let mut stage = Stage::start(|folder| {
            for name in ["1", "2"] {
                fs::create_dir(folder.join(name)).unwrap();
                fs::write(folder.join(name).join("jwks.json"), set(name)).unwrap();
            }
            symlink("1", folder.join("..data")).unwrap();
            symlink("..data/jwks.json", folder.join("jwks.json")).unwrap();
        })
        .await;
        let folder = stage.folder.path().to_owned();
        symlink("2", folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        stage.comes_to("2").await;
    }

    #[tokio::test]
    async fn a_file_that_is_broken_or_gone_leaves_the_keys_as_they_are() {
        let mut stage = Stage::start(|folder| fs::write(folder.join("jwks.json"), set("a")).unwrap()).await;
        let path = stage.folder.path().join("jwks.json");
        fs::write(&path, "{\"keys\":[").unwrap();
        tokio::time::sleep(2 * SETTLING).await;
        fs::remove_file(&path).unwrap();
        tokio::time::sleep(2 * SETTLING).await;
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        tokio::time::sleep(2 * SETTLING).await;
        fs::remove_file(&path).unwrap();
        assert_eq!(stage.watched.keys().keys()[0].kid.as_deref(), Some("missed"));
        fs::write(&path, set("b")).unwrap();
        stage.comes_to("b").await;
    }
}
