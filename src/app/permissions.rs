//! Keys and secrets that others on the machine can read.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::keys::REFRESH_SECRET_FILE;
use crate::config::Loaded;
use crate::crypto::key_files::KEY_FILE_BYTES_MAX;
use crate::files;

/// A folder of keys has so many files at most that are looked at.
const FILES_MAX: usize = 1024;

/// Group and others, to read or to replace.
const OTHERS: u32 = 0o066;

/// A warning for each file with a key or a secret that others than its owner can read or change. It never keeps anything from
/// running: some platforms mount secrets with such modes.
pub fn warnings(loaded: &Loaded) -> Vec<String> {
    let mut files: Vec<(String, PathBuf)> = loaded.secret_files().to_vec();
    if let Some(directory) = &loaded.settings.keys.directory {
        files.extend(keys_in(directory).into_iter().map(|path| ("keys.directory".to_owned(), path)));
    }
    let mut seen = BTreeSet::new();
    files.iter().filter(|(_, path)| seen.insert(path.clone())).filter_map(|(key, path)| warning(key, path)).collect()
}

fn warning(key: &str, path: &Path) -> Option<String> {
    // Through links: platforms that mount secrets link to them.
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let mode = metadata.permissions().mode() & 0o7777;
    (mode & OTHERS != 0).then(|| {
        let file = path.display();
        format!("{key}: {file} has mode {mode:04o}: others than its owner can read or change it; chmod 600 {file}")
    })
}

/// The files of a folder that hold private keys or secrets; public keys are everybody's.
fn keys_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        entries.flatten().take(FILES_MAX).map(|entry| entry.path()).filter(|path| is_private(path)).collect();
    paths.sort();
    paths
}

fn is_private(path: &Path) -> bool {
    let is_secret = path.extension().is_some_and(|ending| ending == "secret");
    is_secret || path.file_name().is_some_and(|name| name == REFRESH_SECRET_FILE) || holds_private_key(path)
}

fn holds_private_key(path: &Path) -> bool {
    let is_pem = path.extension().is_some_and(|ending| ending == "pem");
    let holds = |text: zeroize::Zeroizing<Vec<u8>>| memchr::memmem::find(&text, b"PRIVATE KEY").is_some();
    is_pem && files::read(path, KEY_FILE_BYTES_MAX).is_ok_and(holds)
}
