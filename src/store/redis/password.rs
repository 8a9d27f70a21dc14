//! A password that is kept in a file: whoever replaces it there need restart nobody.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use fred::error::Error;
use fred::types::config::{CredentialProvider, Server};
use zeroize::Zeroizing;

use crate::domain::secret::Secret;

/// No password is longer, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

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
    let mut text = Zeroizing::new(String::new());
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(io::Error::other("the file is empty")),
        password => Ok(Secret::new(password.to_owned())),
    }
}
