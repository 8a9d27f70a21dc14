//! Legacy tokens as the settings describe them: their keys and rules.

use super::StartError;
use crate::config::{self, LegacySource, Settings};
use crate::crypto::legacy_key::LegacyKey;
use crate::domain::deployment_secret::SECRET_BYTES_MIN;
use crate::domain::ids::Partitions;
use crate::domain::legacy::LegacyPolicy;
use crate::domain::time::Timestamp;
use crate::files;

/// Fewer bytes of an HMAC secret are worth a warning.
const SECRET_BYTES_SOUND: usize = SECRET_BYTES_MIN;

/// Every verifier of legacy tokens. Reads the key files anew on each call.
pub(super) fn verifiers(settings: &Settings, partitions: Partitions) -> Result<Vec<(LegacyKey, LegacyPolicy)>, StartError> {
    let reserved = settings.reserved_prefixes();
    settings.legacy.iter().map(|legacy| Ok((key(legacy)?, legacy.policy(partitions, reserved.clone())))).collect()
}

/// Whether the key can be used: what `tokengate check` asks.
pub(super) fn key(legacy: &config::Legacy) -> Result<LegacyKey, StartError> {
    let fault = |error: String| StartError::Legacy { name: legacy.name.clone(), error };
    let kid = legacy.kid.as_deref();
    match &legacy.key {
        LegacySource::Secret { bytes, allow_short } => LegacyKey::shared(kid, legacy.algorithm, bytes.expose(), *allow_short)
            .map_err(|error| fault(format!("the secret {error}"))),
        LegacySource::PublicKey(path) => {
            let place = |error: String| fault(format!("public_key_file {}: {error}", path.display()));
            let pem = files::read(path, files::PEM_BYTES_MAX).map_err(|error| place(format!("cannot be read: {error}")))?;
            LegacyKey::public(kid, legacy.algorithm, &pem).map_err(|error| place(error.to_string()))
        }
    }
}

/// Tells what an operator should not forget about legacy tokens.
pub(super) fn warn(settings: &Settings, now: Timestamp) {
    for legacy in &settings.legacy {
        if legacy.accepted_until <= now {
            tracing::warn!(legacy = legacy.name, "accepted_until has passed: these legacy tokens are refused; the entry can go");
        }
        if let LegacySource::Secret { bytes, .. } = &legacy.key
            && bytes.expose().len() < SECRET_BYTES_SOUND
        {
            tracing::warn!(
                legacy = legacy.name,
                bytes = bytes.expose().len(),
                "the secret of legacy tokens is short: who has a token can search for it"
            );
        }
    }
}
