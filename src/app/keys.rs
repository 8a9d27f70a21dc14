//! Keys and secrets as the settings name them; made on first start where no other node must have the same.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Ambient;
use crate::config::Settings;
use crate::crypto::deployment_secret::{self, DeploymentSecret, SecretError};
use crate::crypto::entropy::Entropy;
use crate::crypto::key_files::{self, KeyError};
use crate::crypto::keyring::KeyRing;
use crate::crypto::refresh_token::RefreshTokens;
use crate::domain::secret::Secret;
use crate::files;
use crate::sessions::Minting;

/// The refresh secret's file beside the keys, where none is configured.
pub(super) const REFRESH_SECRET_FILE: &str = "refresh-secret";

/// Why tokens cannot be minted.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("keys.directory: {0}")]
    Keys(#[from] KeyError),
    #[error("refresh.secret: {0}")]
    Secret(#[from] SecretError),
    #[error("{path}: {error}", path = .path.display())]
    File { path: PathBuf, error: io::Error },
}

/// What tokens are made of. Reads the folder anew on each call. With `before`, which is what a reload replaces, nothing is made in the
/// place of what is there: what is in memory alone is taken over, and what is missing in the folder is an error. Else a reload would log
/// everybody out.
pub(super) fn minting(settings: &Settings, ambient: &Ambient, before: Option<&Minting>) -> Result<Minting, KeysError> {
    let entropy = ambient.entropy.as_ref();
    let makes = Makes { missing: before.is_none(), entropy };
    Ok(Minting {
        keys: match (before, &settings.keys.directory) {
            (Some(before), None) if before.keys.signs_by() == Some(settings.tokens.algorithm) => Arc::clone(&before.keys),
            (Some(before), None) => Arc::new(before.keys.followed_by_ephemeral(settings.tokens.algorithm, entropy)?),
            (None, None) => Arc::new(KeyRing::ephemeral(settings.tokens.algorithm, entropy)?),
            (_, Some(directory)) => Arc::new(ring(settings, directory, &makes)?),
        },
        refresh_tokens: match (before, settings.refresh.secrets.as_slice(), &settings.keys.directory) {
            (Some(before), [], None) => before.refresh_tokens.clone(),
            (None, [], None) => refresh_tokens(&deployment_secret::generate_secret(entropy))?,
            (_, [], Some(directory)) => refresh_tokens(&kept_secret(directory, &makes)?)?,
            (_, secrets, _) => RefreshTokens::new(secrets)?,
        },
        issuer: settings.tokens.issuer.clone(),
        audiences: settings.tokens.audience.clone(),
    })
}

/// Why tokens could not be minted with what is there. Nothing is made; what a start would make is no fault.
pub(super) fn faults(settings: &Settings) -> Vec<String> {
    let keys = &settings.keys;
    let ring = keys
        .directory
        .as_ref()
        // A key that is made is never the one that is named.
        .filter(|directory| !keys.generate || keys.signing.is_some() || has_keys(directory) || directory.is_file())
        .and_then(|directory| KeyRing::load(directory, keys.signing.as_deref()).err());
    let kept = keys.directory.as_ref().map(|directory| directory.join(REFRESH_SECRET_FILE));
    let secrets = match (settings.refresh.secrets.as_slice(), kept.filter(|path| path.exists())) {
        ([], None) => Ok(()),
        ([], Some(path)) => read_secret(&path).and_then(|secret| refresh_tokens(&secret)).map(drop),
        (secrets, _) => RefreshTokens::new(secrets).map(drop).map_err(KeysError::from),
    };
    let problems = ring.iter().flat_map(|error| &error.0).map(|problem| format!("keys.directory: {problem}"));
    problems.chain(secrets.err().map(|error| error.to_string())).collect()
}

/// Whether what is missing in the folder is made.
struct Makes<'a> {
    missing: bool,
    entropy: &'a dyn Entropy,
}

fn ring(settings: &Settings, directory: &Path, makes: &Makes<'_>) -> Result<KeyRing, KeysError> {
    let keys = &settings.keys;
    if makes.missing && keys.generate && !has_keys(directory) {
        let made = key_files::generate(directory, settings.tokens.algorithm, makes.entropy)?;
        tracing::info!(kid = made.kid, path = %made.path.display(), "no signing key was there: made one");
    }
    Ok(KeyRing::load(directory, keys.signing.as_deref())?)
}

fn has_keys(directory: &Path) -> bool {
    let is_key = |path: PathBuf| path.extension().is_some_and(|ending| ending == "pem" || ending == "secret");
    fs::read_dir(directory).is_ok_and(|entries| entries.flatten().any(|entry| is_key(entry.path())))
}

fn refresh_tokens(secret: &Secret<String>) -> Result<RefreshTokens, KeysError> {
    Ok(RefreshTokens::new(&[DeploymentSecret::parse(secret.expose())?])?)
}

/// The secret beside the keys.
fn kept_secret(directory: &Path, makes: &Makes<'_>) -> Result<Secret<String>, KeysError> {
    let path = directory.join(REFRESH_SECRET_FILE);
    match read_secret(&path) {
        Err(KeysError::File { error, .. }) if makes.missing && error.kind() == io::ErrorKind::NotFound => {
            let secret = deployment_secret::generate_secret(makes.entropy);
            write_new(directory, &path, secret.expose()).map_err(|error| KeysError::File { path, error })?;
            Ok(secret)
        }
        read => read,
    }
}

fn read_secret(path: &Path) -> Result<Secret<String>, KeysError> {
    let text =
        files::read_text(path, files::SECRET_BYTES_MAX).map_err(|error| KeysError::File { path: path.to_owned(), error })?;
    Ok(Secret::new(text.trim().to_owned()))
}

/// Whole or not at all, and known to be on disk before the first token is made with it.
fn write_new(directory: &Path, path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, SettingsFile, load};

    #[test]
    fn a_reload_makes_no_keys_in_the_place_of_those_that_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let text =
            format!("upstreams.api.url = 'http://127.0.0.1:1'\nstore.kind = 'memory'\nkeys.directory = '{}'\n", keys.display());
        let file = SettingsFile { name: "settings".to_owned(), text };
        let settings = load(&Inputs { file: Some(file), ..Inputs::default() }).unwrap().settings;
        let ambient = Ambient::of_system();
        let at_start = minting(&settings, &ambient, None).unwrap();
        assert!(minting(&settings, &ambient, Some(&at_start)).is_ok());

        let (secret, aside) = (keys.join(REFRESH_SECRET_FILE), folder.path().join("aside"));
        fs::rename(&secret, &aside).unwrap();
        let refused = minting(&settings, &ambient, Some(&at_start)).err().unwrap().to_string();
        assert!(refused.contains(REFRESH_SECRET_FILE) && !secret.exists(), "{refused}");
        fs::rename(&aside, &secret).unwrap();
        fs::rename(&keys, &aside).unwrap();
        let refused = minting(&settings, &ambient, Some(&at_start)).err().unwrap().to_string();
        assert!(refused.contains("keys.directory") && !keys.exists(), "{refused}");
        fs::rename(&aside, &keys).unwrap();
        assert!(minting(&settings, &ambient, Some(&at_start)).is_ok());
    }
}
