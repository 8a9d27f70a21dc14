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
use crate::domain::claim_policy::ClaimPolicy;
use crate::domain::secret::Secret;
use crate::domain::subjects::SubjectRule;
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

/// What tokens are made of. Reads the folder anew on each call; what is in memory alone is taken from `before`, or else a reload would
/// log everybody out.
pub(super) fn minting(settings: &Settings, ambient: &Ambient, before: Option<&Minting>) -> Result<Minting, KeysError> {
    let entropy = ambient.entropy.as_ref();
    let in_memory = before.filter(|_| settings.keys.directory.is_none());
    Ok(Minting {
        keys: match in_memory {
            Some(before) => Arc::clone(&before.keys),
            None => Arc::new(ring(settings, entropy)?),
        },
        refresh_tokens: match in_memory.filter(|_| settings.refresh.secrets.is_empty()) {
            Some(before) => before.refresh_tokens.clone(),
            None => refresh_tokens(settings, entropy)?,
        },
        issuer: settings.tokens.issuer.clone(),
        audiences: settings.tokens.audience.clone(),
    })
}

/// What our own tokens must say.
pub(super) fn own_policy(settings: &Settings) -> ClaimPolicy {
    let tokens = &settings.tokens;
    let subjects = SubjectRule::Ours(settings.reserved_prefixes());
    ClaimPolicy { leeway: tokens.leeway, subjects, ..ClaimPolicy::own(&tokens.issuer, &tokens.audience, tokens.lifetime) }
}

fn ring(settings: &Settings, entropy: &dyn Entropy) -> Result<KeyRing, KeysError> {
    let keys = &settings.keys;
    let Some(directory) = &keys.directory else { return Ok(KeyRing::ephemeral(settings.tokens.algorithm, entropy)?) };
    if keys.generate && !has_keys(directory) {
        let made = key_files::generate(directory, settings.tokens.algorithm, entropy)?;
        tracing::info!(kid = made.kid, path = %made.path.display(), "no signing key was there: made one");
    }
    Ok(KeyRing::load(directory, keys.signing.as_deref())?)
}

fn has_keys(directory: &Path) -> bool {
    let is_key = |path: PathBuf| path.extension().is_some_and(|ending| ending == "pem" || ending == "secret");
    fs::read_dir(directory).is_ok_and(|entries| entries.flatten().any(|entry| is_key(entry.path())))
}

fn refresh_tokens(settings: &Settings, entropy: &dyn Entropy) -> Result<RefreshTokens, KeysError> {
    let configured = &settings.refresh.secrets;
    let kept;
    let texts = if configured.is_empty() {
        kept = [kept_secret(settings.keys.directory.as_deref(), entropy)?];
        &kept[..]
    } else {
        configured
    };
    let secrets = texts.iter().map(|text| DeploymentSecret::parse(text.expose())).collect::<Result<Vec<_>, _>>()?;
    Ok(RefreshTokens::new(&secrets)?)
}

/// The secret beside the keys; made when it is missing.
fn kept_secret(directory: Option<&Path>, entropy: &dyn Entropy) -> Result<Secret<String>, KeysError> {
    let Some(directory) = directory else { return Ok(deployment_secret::generate_secret(entropy)) };
    let path = directory.join(REFRESH_SECRET_FILE);
    let fault = |error| KeysError::File { path: path.clone(), error };
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Secret::new(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = deployment_secret::generate_secret(entropy);
            write_new(directory, &path, secret.expose()).map_err(fault)?;
            Ok(secret)
        }
        Err(error) => Err(fault(error)),
    }
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
