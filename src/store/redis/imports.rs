//! Imported tokens: in batches, each partition's share of them in one script.
//!
//! A token's digest decides where its session is looked up, the subject where the session lies: two slots, and so two steps. The
//! session comes first, together with a mark beside it; the mark alone says that the token was imported. Whatever breaks off in
//! between, a repetition finds the mark, adds no second session, and makes up for the missing pointer.

use std::collections::{BTreeMap, HashSet};

use fred::types::Value;
use futures_util::future::try_join_all;

use super::{RedisStore, StoreError, bytes, codec, scripts};
use crate::domain::ids::SessionId;
use crate::domain::imported::{Import, ImportedDigest};
use crate::domain::time::Timestamp;

/// Tokens of one partition that one script takes: Redis is held for about a millisecond.
const TOKENS_PER_STEP: usize = 64;
/// Scripts under way at once, however many partitions there are.
const STEPS_AT_ONCE: usize = 32;

impl RedisStore {
    pub(super) async fn import_all(&self, batch: &[Import], now: Timestamp) -> Result<u64, StoreError> {
        let digests: Vec<ImportedDigest> = batch.iter().map(|import| import.digest).collect();
        let known = self.sessions_imported(&digests).await?;
        let mut seen = HashSet::new();
        let unknown: Vec<&Import> = batch
            .iter()
            .zip(known)
            .filter(|(import, known)| known.is_none() && seen.insert(import.digest))
            .map(|(import, _)| import)
            .collect();
        let by_home = shares(&unknown, |import| self.keys.home(import.session.id).0);
        let mut new = 0;
        for steps in by_home.chunks(STEPS_AT_ONCE) {
            let added = try_join_all(steps.iter().map(|step| self.add_sessions(step, now))).await?;
            new += added.into_iter().sum::<u64>();
        }
        let by_digest = shares(&unknown, |import| import.digest.partition(self.keys.partitions()).0);
        for steps in by_digest.chunks(STEPS_AT_ONCE) {
            try_join_all(steps.iter().map(|step| self.point_to_sessions(step, now))).await?;
        }
        Ok(new)
    }

    pub(super) async fn sessions_imported(&self, digests: &[ImportedDigest]) -> Result<Vec<Option<SessionId>>, StoreError> {
        let mut found = vec![None; digests.len()];
        let places: Vec<usize> = (0..digests.len()).collect();
        let by_digest = shares(&places, |&at| digests[at].partition(self.keys.partitions()).0);
        for steps in by_digest.chunks(STEPS_AT_ONCE) {
            let values = try_join_all(steps.iter().map(|step| self.pointers(step, digests))).await?;
            for (&at, value) in steps.iter().flatten().zip(values.iter().flatten()) {
                found[at] = match value {
                    Value::Null => None,
                    id => Some(codec::session_id(id)?),
                };
            }
        }
        Ok(found)
    }

    /// All of one partition.
    async fn add_sessions(&self, step: &[&Import], now: Timestamp) -> Result<u64, StoreError> {
        let Some(first) = step.first() else { return Ok(0) };
        let home = self.keys.home(first.session.id);
        let mut keys = vec![self.keys.expiry(home)];
        let mut args: Vec<Value> = Vec::with_capacity(9 * step.len());
        for Import { session, forget_at, .. } in step.iter().copied() {
            if home != self.keys.partitions().of(&session.subject) {
                return Err(StoreError::Unreadable(format!(
                    "session {} and its subject lie in different partitions",
                    session.id
                )));
            }
            keys.extend([
                self.keys.session(session.id),
                self.keys.import_mark(session.id),
                self.keys.subject(home, &session.subject),
            ]);
            args.extend([
                bytes(session.id.as_bytes()),
                session.id.created_at().millis().into(),
                session.subject.as_str().into(),
                session.lifetime.ends_at().millis().into(),
                codec::ttl_millis(session, now).into(),
                i64::from(session.rotation.current.0).into(),
                i64::from(session.rotation.acknowledged).into(),
                codec::record(session)?.into(),
                codec::span_millis(*forget_at, now).into(),
            ]);
        }
        let new = codec::integer(&self.fleet.begin(home).await?.script(&scripts::IMPORT, &keys, &args).await?)?;
        Ok(u64::try_from(new).unwrap_or_default())
    }

    /// All of one partition.
    async fn point_to_sessions(&self, step: &[&Import], now: Timestamp) -> Result<(), StoreError> {
        let Some(first) = step.first() else { return Ok(()) };
        let home = first.digest.partition(self.keys.partitions());
        let keys: Vec<String> = step.iter().map(|import| self.keys.imported(&import.digest)).collect();
        let pointer = |import: &&Import| [bytes(import.session.id.as_bytes()), codec::span_millis(import.forget_at, now).into()];
        let args: Vec<Value> = step.iter().flat_map(pointer).collect();
        self.fleet.begin(home).await?.script(&scripts::POINT, &keys, &args).await.map(|_| ())
    }

    /// All of one partition.
    async fn pointers(&self, step: &[usize], digests: &[ImportedDigest]) -> Result<Vec<Value>, StoreError> {
        let keys: Vec<String> = step.iter().map(|&at| self.keys.imported(&digests[at])).collect();
        let Some(&first) = step.first() else { return Ok(Vec::new()) };
        let home = digests[first].partition(self.keys.partitions());
        let args = keys.into_iter().map(Value::from).collect();
        let found = self.fleet.begin(home).await?.command("MGET", args).await?;
        match codec::array(&found)? {
            values if values.len() == step.len() => Ok(values.to_vec()),
            _ => Err(StoreError::Unreadable("the pointers of imported tokens".into())),
        }
    }
}

/// Items of one partition together, in steps of bounded size.
fn shares<T: Copy>(items: &[T], partition: impl Fn(&T) -> u16) -> Vec<Vec<T>> {
    let mut by_partition: BTreeMap<u16, Vec<T>> = BTreeMap::new();
    for item in items {
        by_partition.entry(partition(item)).or_default().push(*item);
    }
    by_partition.values().flat_map(|share| share.chunks(TOKENS_PER_STEP)).map(<[T]>::to_vec).collect()
}
