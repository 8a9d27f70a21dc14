//! Sessions and the revocation log in Redis, shared by any number of nodes.
//!
//! Every change is one Lua script over the keys of one partition: atomic, and within one slot. What a script may delete has to
//! be named to it beforehand, so a change that depends on an index is made in two steps: the script answers with what it found
//! instead, and is run again with that. fred is known in this folder alone.
//!
//! Layout, with the default prefix, `p` being the partition: `tg:{p}:session:<id>` (hash, see `codec`), `tg:{p}:subject:<sub>`
//! (sorted set of session ids by creation), `tg:{p}:expiry` (sorted set of id + subject by end), `tg:{p}:revocations` (stream);
//! for imported tokens `tg:{p}:imported:<digest>` in the partition of the digest, and `tg:{p}:import:<id>` beside the session;
//! what nodes tell each other lies beside it, see `nodes`.

mod client;
mod codec;
mod ending;
mod feed;
mod guard;
mod imports;
mod keys;
mod nodes;
mod options;
mod scripts;
mod tls;
mod upkeep;
mod verify;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use fred::types::Value;

pub use self::options::{
    CALL_TIMEOUT_DEFAULT, CONNECT_TIMEOUT_DEFAULT, Deployment, KEY_PREFIX_BYTES_MAX, KEY_PREFIX_DEFAULT, RedisOptions,
    RedisOptionsError, TlsOptions,
};
pub use self::verify::{Finding, Severity};

use self::client::{COMMANDS_AT_ONCE_MAX, Call, Link};
use self::feed::Feed;
use self::keys::Keys;
use self::nodes::Canaries;
use super::{Acknowledgement, LogBatch, LogCursor, SessionLimit, Store, StoreError, Stored, Swap, Version};
use crate::domain::ids::{Partition, Partitions, SessionId, Subject};
use crate::domain::imported::{Import, ImportedDigest};
use crate::domain::node::{Canary, Node, NodeId};
use crate::domain::revocation::{Revocation, Target};
use crate::domain::session::Session;
use crate::domain::time::{Clock, Timestamp};

/// How often a change is tried whose index changes under it.
const NAMING_ATTEMPTS_MAX: u32 = 64;
/// Sessions ended in one atomic step; a subject that has more loses the oldest first, after the revocation was logged.
const ENDED_PER_STEP_MAX: usize = 1_000;
/// Steps of one revocation: beyond a million sessions of one subject the sweep has to do it.
const ENDING_STEPS_MAX: u32 = 1_000;
/// Sessions looked at in one step of a walk over an index: Redis is held for well under a millisecond.
const SWEPT_PER_STEP: usize = 64;
/// Steps of one walk in one partition.
const SWEEP_STEPS_MAX: u32 = 100_000;

/// Sessions in Redis. Connects and recovers by itself; while Redis is away every call fails with
/// [`StoreError::Unavailable`] within the deadline, or at once.
#[derive(Debug)]
pub struct RedisStore {
    keys: Keys,
    link: Link,
    feed: Feed,
    canaries: Canaries,
}

impl RedisStore {
    /// Begins to connect. Waits for the connection no longer than the connect timeout: a Redis that is away, or refuses
    /// the password, is no error here but one of every call until that changes.
    ///
    /// # Errors
    /// Options that can never work.
    pub async fn connect(options: &RedisOptions) -> Result<Self, RedisOptionsError> {
        let keys = Keys::new(&options.key_prefix, options.partitions);
        let link = Link::open(options)?;
        let feed = Feed::open(options, keys.clone())?;
        link.connected_within(options.connect_timeout).await;
        if link.connected_within(Duration::ZERO).await {
            feed.connected_within(options.connect_timeout).await;
        }
        Ok(Self { keys, link, feed, canaries: Canaries::default() })
    }

    /// Looks for what would make this Redis lose sessions or revocations. Empty: nothing was found.
    pub async fn verify(&self, clock: &dyn Clock) -> Vec<Finding> {
        verify::verify(&self.link, &self.keys, clock).await
    }

    /// Closes the connections. A store that is dropped does so too, without waiting.
    pub async fn close(&self) {
        self.link.close().await;
        self.feed.close().await;
    }

    async fn revoke_session(&self, id: SessionId, revocation: &Revocation) -> Result<Vec<SessionId>, StoreError> {
        let (home, session) = (self.keys.home(id), self.keys.session(id));
        let entry = codec::log_entry(revocation)?;
        let call = self.link.begin().await?;
        for _ in 0..NAMING_ATTEMPTS_MAX {
            let found = call.command("HGET", &session, vec![session.as_str().into(), "s".into()]).await?;
            let subject = codec::text(&found).and_then(|text| Subject::new(text).ok());
            let mut keys = vec![session.clone(), self.keys.expiry(home), self.keys.revocations(home)];
            keys.extend(subject.as_ref().map(|subject| self.keys.subject(home, subject)));
            let args = [
                bytes(id.as_bytes()),
                subject.as_ref().map_or("", Subject::as_str).into(),
                revocation.revoked_at.millis().into(),
                revocation.forget_at.millis().into(),
                entry.as_str().into(),
            ];
            match codec::integer(&call.script(&scripts::REVOKE_SESSION, &keys, &args).await?)? {
                -1 => {}
                deleted => return Ok(if deleted == 1 { vec![id] } else { Vec::new() }),
            }
        }
        Err(contended())
    }

    async fn revoke_subject(
        &self,
        subject: &Subject,
        issued_before: Timestamp,
        revocation: &Revocation,
    ) -> Result<Vec<SessionId>, StoreError> {
        let home = self.keys.partitions().of(subject);
        let mut entry = codec::log_entry(revocation)?;
        let mut ended = Vec::new();
        for _ in 0..ENDING_STEPS_MAX {
            let call = self.link.begin().await?;
            let step = |ids: &[SessionId]| {
                let mut keys = vec![self.keys.subject(home, subject), self.keys.expiry(home), self.keys.revocations(home)];
                keys.extend(ids.iter().map(|&id| self.keys.session(id)));
                let mut args = vec![
                    subject.as_str().into(),
                    issued_before.millis().into(),
                    revocation.revoked_at.millis().into(),
                    revocation.forget_at.millis().into(),
                    entry.as_str().into(),
                    count(ENDED_PER_STEP_MAX),
                ];
                args.extend(ids.iter().map(|id| bytes(id.as_bytes())));
                Ok((keys, args))
            };
            let (outcome, deleted) = named(&call, &scripts::REVOKE_SUBJECT, step).await?;
            ended.extend(deleted);
            if outcome == 1 {
                return Ok(ended);
            }
            entry.clear();
        }
        Err(contended())
    }

    async fn revoke_token(&self, partition: Partition, revocation: &Revocation) -> Result<Vec<SessionId>, StoreError> {
        let args =
            [revocation.revoked_at.millis().into(), revocation.forget_at.millis().into(), codec::log_entry(revocation)?.into()];
        self.link.begin().await?.script(&scripts::REVOKE_TOKEN, &[self.keys.revocations(partition)], &args).await?;
        Ok(Vec::new())
    }

    async fn load_all(&self, ids: &[SessionId]) -> Result<Vec<Stored>, StoreError> {
        let mut all = Vec::with_capacity(ids.len());
        for ids in ids.chunks(COMMANDS_AT_ONCE_MAX) {
            let commands = ids.iter().map(|&id| self.read_command(id)).collect();
            let records = self.link.begin().await?.together(commands).await?;
            for (&id, fields) in ids.iter().zip(&records) {
                all.extend(codec::stored(id, fields)?);
            }
        }
        Ok(all)
    }

    fn read_command(&self, id: SessionId) -> (&'static str, String, Vec<Value>) {
        let key = self.keys.session(id);
        let args = std::iter::once(key.as_str()).chain(codec::FIELDS).map(Value::from).collect();
        ("HMGET", key, args)
    }
}

#[async_trait]
impl Store for RedisStore {
    fn partitions(&self) -> Partitions {
        self.keys.partitions()
    }

    async fn create(&self, session: &Session, limit: Option<SessionLimit>, now: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        let home = self.keys.home(session.id);
        if home != self.keys.partitions().of(&session.subject) {
            return Err(StoreError::Unreadable(format!("session {} and its subject lie in different partitions", session.id)));
        }
        let record = codec::record(session)?;
        let call = self.link.begin().await?;
        let step = |ids: &[SessionId]| {
            let mut keys = vec![
                self.keys.session(session.id),
                self.keys.subject(home, &session.subject),
                self.keys.expiry(home),
                self.keys.revocations(home),
            ];
            keys.extend(ids.iter().map(|&id| self.keys.session(id)));
            let mut args = vec![
                bytes(session.id.as_bytes()),
                session.id.created_at().millis().into(),
                session.subject.as_str().into(),
                session.lifetime.ends_at().millis().into(),
                codec::ttl_millis(session, now).into(),
                i64::from(session.rotation.current.0).into(),
                i64::from(session.rotation.acknowledged).into(),
                record.as_str().into(),
                limit.map_or_else(|| "".into(), |limit| i64::from(limit.sessions_max).into()),
                now.millis().into(),
                limit.map_or(now, |limit| limit.forget_at).millis().into(),
            ];
            for &id in ids {
                let target = Target::Session { session: id };
                let forget_at = limit.map_or(now, |limit| limit.forget_at);
                let entry = codec::log_entry(&Revocation { target, revoked_at: now, forget_at })?;
                args.extend([bytes(id.as_bytes()), entry.into()]);
            }
            Ok((keys, args))
        };
        named(&call, &scripts::CREATE, step).await.map(|(_, ended)| ended)
    }

    async fn load(&self, id: SessionId) -> Result<Option<Stored>, StoreError> {
        let (name, key, args) = self.read_command(id);
        codec::stored(id, &self.link.begin().await?.command(name, &key, args).await?)
    }

    async fn swap(&self, expected: Version, next: &Session) -> Result<Swap, StoreError> {
        let keys = [self.keys.session(next.id), self.keys.expiry(self.keys.home(next.id))];
        let args = [
            expected.0.to_string().into(),
            i64::from(next.rotation.current.0).into(),
            i64::from(next.rotation.acknowledged).into(),
            codec::record(next)?.into(),
            codec::ttl_millis(next, next.last_used_at).into(),
            next.lifetime.ends_at().millis().into(),
            bytes(&codec::expiry_member(next.id, &next.subject)),
        ];
        let version = codec::integer(&self.link.begin().await?.script(&scripts::SWAP, &keys, &args).await?)?;
        match version {
            -1 => Ok(Swap::Missing),
            0 => Ok(Swap::Lost),
            version => u64::try_from(version)
                .map(|version| Swap::Done(Version(version)))
                .map_err(|_| StoreError::Unreadable(format!("session {}: version", next.id))),
        }
    }

    async fn acknowledge(&self, seen: &[Acknowledgement]) -> Result<(), StoreError> {
        let mut homes: BTreeMap<u16, Vec<&Acknowledgement>> = BTreeMap::new();
        for one in seen {
            homes.entry(self.keys.home(one.session).0).or_default().push(one);
        }
        for seen in homes.values().flat_map(|seen| seen.chunks(COMMANDS_AT_ONCE_MAX)) {
            let keys: Vec<String> = seen.iter().map(|one| self.keys.session(one.session)).collect();
            let args: Vec<Value> = seen.iter().map(|one| i64::from(one.generation.0).into()).collect();
            self.link.begin().await?.script(&scripts::ACKNOWLEDGE, &keys, &args).await?;
        }
        Ok(())
    }

    async fn sessions_of(&self, subject: &Subject, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        let index = self.keys.subject(self.keys.partitions().of(subject), subject);
        let args = vec![index.as_str().into(), 0.into(), Value::from(-1)];
        let found = self.link.begin().await?.command("ZRANGE", &index, args).await?;
        let ids = codec::array(&found)?.iter().map(codec::session_id).collect::<Result<Vec<_>, _>>()?;
        let sessions = self.load_all(&ids).await?.into_iter().map(|stored| stored.session);
        Ok(sessions.filter(|session| session.is_live(now)).collect())
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<Vec<SessionId>, StoreError> {
        match &revocation.target {
            Target::Session { session } => self.revoke_session(*session, revocation).await,
            Target::Subject { subject, issued_before } => self.revoke_subject(subject, *issued_before, revocation).await,
            Target::Token { .. } | Target::Everyone { .. } => {
                let partition = revocation.target.partition(self.keys.partitions());
                self.revoke_token(partition, revocation).await
            }
        }
    }

    async fn end_created_before(&self, moment: Timestamp) -> Result<u64, StoreError> {
        let mut ended = 0;
        for partition in self.keys.partitions().iter() {
            ended += self.end_in_partition(partition, moment).await?;
        }
        Ok(ended)
    }

    async fn follow(&self, cursor: Option<&LogCursor>, wait: Duration) -> Result<LogBatch, StoreError> {
        self.feed.follow(cursor, wait).await
    }

    async fn import(&self, batch: &[Import], now: Timestamp) -> Result<u64, StoreError> {
        self.import_all(batch, now).await
    }

    async fn imported(&self, digests: &[ImportedDigest]) -> Result<Vec<Option<SessionId>>, StoreError> {
        self.sessions_imported(digests).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.link.begin().await?.command("PING", &self.keys.check(), Vec::new()).await.map(|_| ())
    }

    async fn register(&self, node: &Node, silence_max: Duration) -> Result<u64, StoreError> {
        nodes::register(&self.link, &self.keys, node, silence_max).await
    }

    async fn unregister(&self, node: NodeId) -> Result<(), StoreError> {
        nodes::unregister(&self.link, &self.keys, node).await
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        nodes::nodes(&self.link, &self.keys).await
    }

    async fn mark(&self, partition: Partition, canary: Canary) -> Result<(), StoreError> {
        nodes::mark(&self.link, &self.keys, &self.canaries, self.keys.fold(partition), canary).await
    }

    async fn give_receipt(&self, canary: Canary, node: NodeId) -> Result<(), StoreError> {
        nodes::give_receipt(&self.link, &self.keys, canary, node).await
    }

    async fn receipts(&self, canary: Canary) -> Result<Vec<NodeId>, StoreError> {
        nodes::receipts(&self.link, &self.keys, canary).await
    }
}

/// Runs a script that has to be told which sessions it ends: first without any, then with those that it asked for, until
/// they are the ones that it finds. Returns its outcome and the sessions beside it.
async fn named<F>(call: &Call<'_>, script: &scripts::Script, step: F) -> Result<(i64, Vec<SessionId>), StoreError>
where
    F: Fn(&[SessionId]) -> Result<(Vec<String>, Vec<Value>), StoreError>,
{
    const ASKS_FOR_NAMES: i64 = 0;
    let mut ids = Vec::new();
    for _ in 0..NAMING_ATTEMPTS_MAX {
        let (keys, args) = step(&ids)?;
        let reply = call.script(script, &keys, &args).await?;
        let Some((outcome, rest)) = codec::array(&reply)?.split_first() else {
            return Err(StoreError::Unreadable("empty reply of a script".into()));
        };
        let outcome = codec::integer(outcome)?;
        let found = rest.iter().map(codec::session_id).collect::<Result<Vec<_>, _>>()?;
        if outcome != ASKS_FOR_NAMES {
            return Ok((outcome, found));
        }
        ids = found;
    }
    Err(contended())
}

fn contended() -> StoreError {
    StoreError::Unavailable("the subject's sessions keep changing".into())
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec().into())
}

fn count(count: usize) -> Value {
    i64::try_from(count).unwrap_or(i64::MAX).into()
}
