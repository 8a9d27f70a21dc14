//! How records are written into the file, and read back without trust.
//!
//! A session is its version (8 bytes, big-endian) and its JSON; an imported token is its session (16 bytes) and the moment to forget
//! it (8 bytes, big-endian milliseconds); everything else is its JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::state::ImportedToken;
use crate::domain::ids::SessionId;
use crate::domain::session::Session;
use crate::domain::stats::{Day, Snapshot};
use crate::domain::time::Timestamp;
use crate::store::{DayRow, Measurement, Stored, Version};

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

pub(super) fn encode_imported(token: &ImportedToken) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(token.session.as_bytes());
    bytes[16..].copy_from_slice(&token.forget_at.millis().to_be_bytes());
    bytes
}

pub(super) fn decode_imported(bytes: &[u8; 24]) -> ImportedToken {
    let (mut session, mut millis) = ([0; 16], [0; 8]);
    session.copy_from_slice(&bytes[..16]);
    millis.copy_from_slice(&bytes[16..]);
    let forget_at = Timestamp::from_millis(i64::from_be_bytes(millis));
    ImportedToken { session: SessionId::from_bytes(session), forget_at }
}

pub(super) fn encode(record: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    Ok(serde_json::to_vec(record)?)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    Ok(serde_json::from_slice(bytes)?)
}

#[derive(Serialize, Deserialize)]
struct Row {
    counts: Snapshot,
    expired: u64,
    measured: Option<Measurement>,
}

pub(super) fn encode_row(row: &DayRow) -> Result<Vec<u8>, CodecError> {
    encode(&Row { counts: row.counts, expired: row.expired, measured: row.measured })
}

pub(super) fn decode_row(day: Day, bytes: &[u8]) -> Result<DayRow, CodecError> {
    let Row { counts, expired, measured } = decode(bytes)?;
    Ok(DayRow { day, counts, expired, measured })
}
