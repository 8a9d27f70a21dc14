//! How records and log entries are written, and read back without trust.
//!
//! A session is a hash: `v` version, `s` subject, `g` current generation, `a` acknowledged, `d` everything else. The first four
//! are what scripts read; `d` is a format number followed by JSON and is opaque to them. The fields of `d` have a fixed count,
//! so a record does not grow as it is refreshed.

use std::net::IpAddr;
use std::time::Duration;

use fred::types::Value;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::StoreError;
use crate::domain::ids::{Generation, SessionId, Subject};
use crate::domain::node::Canary;
use crate::domain::revocation::Revocation;
use crate::domain::rotation::Rotation;
use crate::domain::session::{Client, Grant, Lifetime, Session};
use crate::domain::time::Timestamp;
use crate::store::{LogBatch, LogPosition, Stored, Version};

/// Stands before the JSON of a record.
const FORMAT: char = '1';

/// How long the store keeps a record after its session has ended. Expiry is decided from the record; this only says when
/// Redis may collect what no sweep has removed, and outlasts any difference between clocks.
const COLLECT_AFTER: Duration = Duration::from_secs(86_400);

/// Lifetimes beyond this are written as this: Redis refuses what overflows.
const TTL_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The fields of a session in the order of [`stored`].
pub(super) const FIELDS: [&str; 5] = ["v", "s", "g", "a", "d"];

#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(rename = "p")]
    parent: Generation,
    #[serde(rename = "r")]
    rotated_at: Option<Timestamp>,
    #[serde(rename = "i")]
    idle_ends_at: Timestamp,
    #[serde(rename = "e")]
    absolute_ends_at: Timestamp,
    #[serde(rename = "u")]
    last_used_at: Timestamp,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(rename = "s", default, skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<String>,
    #[serde(rename = "k", default, skip_serializing_if = "Map::is_empty")]
    claims: Map<String, serde_json::Value>,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    logged_in_at: Option<Timestamp>,
}

/// Writes the `d` field.
pub(super) fn record(session: &Session) -> Result<String, StoreError> {
    let record = Record {
        parent: session.rotation.parent,
        rotated_at: session.rotation.rotated_at,
        idle_ends_at: session.lifetime.idle_ends_at,
        absolute_ends_at: session.lifetime.absolute_ends_at,
        last_used_at: session.last_used_at,
        address: session.client.address,
        user_agent: session.client.user_agent.clone(),
        scopes: session.grant.scopes.clone(),
        claims: session.grant.claims.clone(),
        logged_in_at: session.grant.logged_in_at,
    };
    let json = serde_json::to_string(&record).map_err(|error| StoreError::Unreadable(error.to_string()))?;
    Ok(format!("{FORMAT}{json}"))
}

/// Reads the values of [`FIELDS`]; `None` when there is no record.
pub(super) fn stored(id: SessionId, fields: &Value) -> Result<Option<Stored>, StoreError> {
    let unreadable = |what: &str| StoreError::Unreadable(format!("session {id}: {what}"));
    let [version, subject, generation, acknowledged, record] = array(fields)? else {
        return Err(unreadable("wrong number of fields"));
    };
    if matches!(version, Value::Null) {
        return Ok(None);
    }
    let version = number(version).ok_or_else(|| unreadable("version"))?;
    let subject = text(subject).and_then(|text| Subject::new(text).ok()).ok_or_else(|| unreadable("subject"))?;
    let generation = number(generation).and_then(|n| u32::try_from(n).ok()).ok_or_else(|| unreadable("generation"))?;
    let acknowledged = match text(acknowledged) {
        Some("0") => false,
        Some("1") => true,
        Some(_) | None => return Err(unreadable("acknowledged")),
    };
    let record = text(record).ok_or_else(|| unreadable("no record"))?;
    let json = record.strip_prefix(FORMAT).ok_or_else(|| unreadable("unknown format"))?;
    let record: Record = serde_json::from_str(json).map_err(|error| unreadable(&error.to_string()))?;
    let session = Session {
        id,
        subject,
        grant: Grant { scopes: record.scopes, claims: record.claims, logged_in_at: record.logged_in_at },
        rotation: Rotation {
            current: Generation(generation),
            parent: record.parent,
            acknowledged,
            rotated_at: record.rotated_at,
        },
        lifetime: Lifetime { idle_ends_at: record.idle_ends_at, absolute_ends_at: record.absolute_ends_at },
        client: Client { address: record.address, user_agent: record.user_agent },
        last_used_at: record.last_used_at,
    };
    Ok(Some(Stored { session, version: Version(version) }))
}

/// How long Redis is to keep the record, counted from the write. Relative, and measured by the writer's clock alone, so that
/// no difference between its clock and the server's can take a live session away.
pub(super) fn ttl_millis(session: &Session, now: Timestamp) -> i64 {
    let left = session.lifetime.ends_at().since(now).min(TTL_MAX) + COLLECT_AFTER;
    i64::try_from(left.as_millis()).unwrap_or(i64::MAX)
}

/// How long Redis is to keep what may be forgotten at a moment; at least a little.
pub(super) fn span_millis(until: Timestamp, now: Timestamp) -> i64 {
    i64::try_from(until.since(now).min(TTL_MAX).as_millis()).unwrap_or(i64::MAX).max(1)
}

/// A member of the expiry index: the id, then the subject, whose index entry the sweep has to remove too.
pub(super) fn expiry_member(id: SessionId, subject: &Subject) -> Vec<u8> {
    [id.as_bytes().as_slice(), subject.as_str().as_bytes()].concat()
}

/// Reads what [`expiry_member`] wrote.
pub(super) fn expiring(member: &Value) -> Result<(SessionId, Subject), StoreError> {
    let read = || {
        let (id, subject) = bytes(member)?.split_first_chunk::<16>()?;
        let subject = Subject::new(std::str::from_utf8(subject).ok()?).ok()?;
        Some((SessionId::from_bytes(*id), subject))
    };
    read().ok_or_else(|| StoreError::Unreadable("expiry index entry".into()))
}

/// Reads a session id of an index: its 16 bytes.
pub(super) fn session_id(member: &Value) -> Result<SessionId, StoreError> {
    bytes(member)
        .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
        .map(SessionId::from_bytes)
        .ok_or_else(|| StoreError::Unreadable("session index entry".into()))
}

/// Writes the `r` field of a log entry.
pub(super) fn log_entry(revocation: &Revocation) -> Result<String, StoreError> {
    let json = serde_json::to_string(revocation).map_err(|error| StoreError::Unreadable(error.to_string()))?;
    Ok(format!("{FORMAT}{json}"))
}

/// An entry of the revocation log.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) position: LogPosition,
    pub(super) entry: Entry,
}

/// As it was written.
#[derive(Debug)]
pub(super) enum Entry {
    Revocation(String),
    Canary(String),
}

impl Logged {
    /// Reads the entry into the batch.
    pub(super) fn read_into(&self, batch: &mut LogBatch) -> Result<(), StoreError> {
        let unreadable = |what: &str| StoreError::Unreadable(format!("log entry {}: {what}", stream_id(self.position)));
        match &self.entry {
            Entry::Revocation(text) => {
                let json = text.strip_prefix(FORMAT).ok_or_else(|| unreadable("unknown format"))?;
                let revocation: Revocation = serde_json::from_str(json).map_err(|error| unreadable(&error.to_string()))?;
                batch.revocations.push(revocation);
            }
            Entry::Canary(text) => batch.canaries.push(Canary::parse(text).ok_or_else(|| unreadable("not a canary"))?),
        }
        Ok(())
    }
}

/// Reads the entries of one stream: `[[id, [f, …, r, …]], …]`, with `c` for `r` in canaries.
pub(super) fn logged(entries: &Value) -> Result<Vec<Logged>, StoreError> {
    array(entries)?.iter().map(|entry| logged_one(entry).ok_or_else(|| StoreError::Unreadable("log entry".into()))).collect()
}

fn logged_one(entry: &Value) -> Option<Logged> {
    let Value::Array(entry) = entry else { return None };
    let [id, Value::Array(fields)] = entry.as_slice() else { return None };
    let [_, _, kind, value] = fields.as_slice() else { return None };
    let value = text(value)?.to_owned();
    Some(Logged {
        position: position(id)?,
        entry: match text(kind)? {
            "r" => Entry::Revocation(value),
            "c" => Entry::Canary(value),
            _ => return None,
        },
    })
}

/// A position as Redis writes it.
pub(super) fn stream_id(position: LogPosition) -> String {
    format!("{}-{}", position.millis, position.sequence)
}

/// Reads what [`stream_id`] wrote.
pub(super) fn position(id: &Value) -> Option<LogPosition> {
    let (millis, sequence) = text(id)?.split_once('-')?;
    Some(LogPosition { millis: millis.parse().ok()?, sequence: sequence.parse().ok()? })
}

pub(super) fn array(value: &Value) -> Result<&[Value], StoreError> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Null => Ok(&[]),
        other => Err(unexpected(other)),
    }
}

pub(super) fn integer(value: &Value) -> Result<i64, StoreError> {
    value.as_i64().ok_or_else(|| unexpected(value))
}

pub(super) fn text(value: &Value) -> Option<&str> {
    bytes(value).and_then(|bytes| std::str::from_utf8(bytes).ok())
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::String(text) => Some(text.as_bytes()),
        Value::Bytes(bytes) => Some(bytes),
        Value::Boolean(_)
        | Value::Integer(_)
        | Value::Double(_)
        | Value::Null
        | Value::Queued
        | Value::Map(_)
        | Value::Array(_) => None,
    }
}

/// Writes what scripts never look into.
pub(super) fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Unreadable(error.to_string()))
}

/// Reads what [`json`] wrote; `None` when there is nothing.
pub(super) fn from_json<T: DeserializeOwned>(value: &Value) -> Result<Option<T>, StoreError> {
    let read = |text| serde_json::from_str(text).map_err(|error| StoreError::Unreadable(error.to_string()));
    text(value).map(read).transpose()
}

pub(super) fn number(value: &Value) -> Option<u64> {
    text(value)?.parse().ok()
}

fn unexpected(value: &Value) -> StoreError {
    StoreError::Unreadable(format!("unexpected {} in a reply", value.kind()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::Partition;

    fn read_back(session: &Session, version: u64) -> Stored {
        let fields = [
            version.to_string(),
            session.subject.to_string(),
            session.rotation.current.0.to_string(),
            u8::from(session.rotation.acknowledged).to_string(),
            record(session).unwrap(),
        ];
        stored(session.id, &Value::Array(fields.map(Value::from).into())).unwrap().unwrap()
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(
            claim in any::<f64>().prop_filter("JSON has no other numbers", |number| number.is_finite()),
            (current, parent, acknowledged) in any::<(u32, u32, bool)>(),
            (rotated_at, idle, absolute, last_used_at) in any::<(Option<i64>, i64, i64, i64)>(),
            (address, user_agent) in any::<(Option<IpAddr>, Option<String>)>(),
            version in any::<u64>(),
        ) {
            let moment = Timestamp::from_millis;
            let session = Session {
                id: SessionId::new(Partition(3), moment(1), [9; 8]),
                subject: Subject::new("zoë \u{10ffff}").unwrap(),
                grant: Grant { scopes: vec!["a b".into()], claims: Map::from_iter([("n".to_owned(), claim.into())]), logged_in_at: Some(Timestamp::from_millis(1)) },
                rotation: Rotation {
                    current: Generation(current),
                    parent: Generation(parent),
                    acknowledged,
                    rotated_at: rotated_at.map(moment),
                },
                lifetime: Lifetime { idle_ends_at: moment(idle), absolute_ends_at: moment(absolute) },
                client: Client { address, user_agent },
                last_used_at: moment(last_used_at),
            };
            prop_assert_eq!(read_back(&session, version), Stored { session, version: Version(version) });
        }

        #[test]
        fn no_bytes_of_a_damaged_store_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let value = Value::Bytes(bytes.into());
            let id = SessionId::from_bytes([0; 16]);
            let _ = stored(id, &Value::Array(vec![value.clone(); 5]));
            let _ = (expiring(&value), session_id(&value), position(&value), integer(&value).is_err());
            let _ = logged(&Value::Array(vec![Value::Array(vec![value.clone(), Value::Array(vec![value.clone(); 4])]), value]));
        }
    }

    #[test]
    fn a_lifetime_without_end_is_one_that_redis_accepts() {
        let id = SessionId::from_bytes([0; 16]);
        let forever = Lifetime { idle_ends_at: Timestamp::MAX, absolute_ends_at: Timestamp::MAX };
        let session = Session {
            id,
            subject: Subject::new("a").unwrap(),
            grant: Grant::default(),
            rotation: Rotation::first(),
            lifetime: forever,
            client: Client::default(),
            last_used_at: Timestamp::MIN,
        };
        assert!(ttl_millis(&session, Timestamp::MIN) < 1 << 43);
    }
}
