//! A password that is kept in a file: whoever replaces it there need restart nobody.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use fred::error::Error;
use fred::types::config::{CredentialProvider, Server};

use crate::domain::secret::Secret;
use crate::files;

/// The user's name, and the file that is read for each connection. While it cannot be read, what it held before goes on.
#[derive(Clone, Debug)]
pub(super) struct PasswordFile {
    username: Option<String>,
    path: PathBuf,
    last: Arc<Mutex<Option<Secret<String>>>>,
}

impl PasswordFile {
    /// `password` is what the file held when the settings were read.
    pub(super) fn new(username: Option<String>, path: PathBuf, password: Option<Secret<String>>) -> Self {
        Self { username, path, last: Arc::new(Mutex::new(password)) }
    }

    fn current(&self) -> Option<Secret<String>> {
        let read = read(&self.path);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(password) => *last = Some(password),
            Err(error) => {
                let file = self.path.display();
                tracing::warn!(%file, %error, "the password of Redis cannot be read again; the one that was read before goes on");
            }
        }
        last.clone()
    }
}

#[async_trait]
impl CredentialProvider for PasswordFile {
    async fn fetch(&self, _server: Option<&Server>) -> Result<(Option<String>, Option<String>), Error> {
        let file = self.clone();
        // A disk may take its time.
        let read = tokio::task::spawn_blocking(move || file.current()).await;
        let password = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        Ok((self.username.clone(), password.map(|password| password.expose().clone())))
    }
}

fn read(path: &Path) -> io::Result<Secret<String>> {
    let text = files::read_text(path, files::SECRET_BYTES_MAX)?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(io::Error::other("the file is empty")),
        password => Ok(Secret::new(password.to_owned())),
    }
}
