//! How records are written into the file, and read back without trust.
//!
//! A session is its version (8 bytes, big-endian) and its JSON; a revocation is its JSON.

use crate::domain::revocation::Revocation;
use crate::domain::session::Session;
use crate::store::{Stored, Version};

/// Why bytes from the file are not a record.
#[derive(Debug, thiserror::Error)]
pub(super) enum CodecError {
    #[error("too short")]
    TooShort,
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

pub(super) fn encode_session(stored: &Stored) -> Result<Vec<u8>, CodecError> {
    let mut bytes = stored.version.0.to_be_bytes().to_vec();
    serde_json::to_writer(&mut bytes, &stored.session)?;
    Ok(bytes)
}

pub(super) fn decode_session(bytes: &[u8]) -> Result<Stored, CodecError> {
    let (version, json) = bytes.split_first_chunk().ok_or(CodecError::TooShort)?;
    let session: Session = serde_json::from_slice(json)?;
    Ok(Stored { session, version: Version(u64::from_be_bytes(*version)) })
}

pub(super) fn encode_revocation(revocation: &Revocation) -> Result<Vec<u8>, CodecError> {
    Ok(serde_json::to_vec(revocation)?)
}

pub(super) fn decode_revocation(bytes: &[u8]) -> Result<Revocation, CodecError> {
    Ok(serde_json::from_slice(bytes)?)
}
