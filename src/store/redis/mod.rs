//! Sessions and the revocation log in Redis, shared by any number of nodes.
//!
//! Every change is one Lua script over the keys of one partition: atomic, and within one slot. What a script may delete has to
//! be named to it beforehand, so a change that depends on an index is made in two steps: the script responds with what it found
//! instead, and is run again with that. fred is known in this folder alone.
//!
//! Layout, with the default prefix, `p` being the partition: `tg:{p}:session:<id>` (hash, see `codec`), `tg:{p}:subject:<sub>`
//! (sorted set of session ids by creation), `tg:{p}:expiry` (sorted set of id + subject by end), `tg:{p}:revocations` (stream),
//! `tg:{p}:epoch` (string, see `watch`); for imported tokens `tg:{p}:imported:<digest>` in the partition of the digest, and
//! `tg:{p}:import:<id>` beside the session; what nodes tell each other lies beside it, see `nodes`.
//!
//! From above: a `call` asks the `fleet` which server has a partition, and sends its commands over the `link` to it. The fleet
//! finds the primaries by `discovery`; a link is one connection through fred, with a `guard`.

mod call;
mod codec;
mod discovery;
mod ending;
mod error;
mod feed;
mod fleet;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod guard;
mod imports;
mod keys;
mod link;
mod nodes;
mod options;
mod pages;
mod password;
mod scripts;
mod supervise;
mod tickets;
mod tls;
mod unserved;
mod upkeep;
mod verify;
mod waker;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fred::types::Value;
use futures_util::future::{join_all, try_join_all};

pub use self::options::{
    ADDRESSES_MAX, Address, CALL_TIMEOUT_DEFAULT, CONNECT_TIMEOUT_DEFAULT, Deployment, KEY_PREFIX_BYTES_MAX, KEY_PREFIX_DEFAULT,
    RedisOptions, RedisOptionsError, Replication, SentinelOptions, TlsOptions,
};

use self::call::Call;
use self::feed::Feed;
use self::fleet::Fleet;
use self::keys::Keys;
use self::link::COMMANDS_AT_ONCE_MAX;
use self::nodes::Canaries;
use self::watch::Watch;
use super::{
    Acknowledgement, Finding, LogBatch, LogCursor, NodeRegistry, RevocationLog, SessionLimit, SessionPage, SessionStore,
    StoreError, Stored, Swap, Version,
};
use crate::domain::ids::{Partition, Partitions, SessionId, Subject};
use crate::domain::imported::{Import, ImportedDigest};
use crate::domain::node::{Canary, Node, NodeId};
use crate::domain::page::Page;
use crate::domain::revocation::{Revocation, Target};
use crate::domain::session::Session;
use crate::domain::time::{Clock, Timestamp};

/// How often a change is tried whose index changes under it.
const NAMING_ATTEMPTS_MAX: u32 = 64;
/// Sessions ended in one atomic step; a subject that has more loses the oldest first, after the revocation was logged.
const ENDED_PER_STEP_MAX: usize = 1_000;
/// Steps of one revocation: beyond a million sessions of one subject the sweep has to do it.
const ENDING_STEPS_MAX: u32 = 1_000;
/// Partitions in which sessions are ended by their age at the same time.
const ENDED_TOGETHER: usize = 16;
/// Sessions looked at in one step of a walk over an index: Redis is held for well under a millisecond.
const SWEPT_PER_STEP: usize = 64;
/// Steps of one walk in one partition.
const SWEEP_STEPS_MAX: u32 = 100_000;

/// Sessions in Redis. Connects and recovers by itself; while Redis is away every call fails with
/// [`StoreError::Unavailable`] or [`StoreError::Unconfirmed`] within the deadline, or at once.
#[derive(Debug)]
pub struct RedisStore {
    keys: Keys,
    fleet: Arc<Fleet>,
    feed: Feed,
    watch: Watch,
    canaries: Canaries,
}

impl RedisStore {
    /// Whether such a store could be made. Asks nobody.
    ///
    /// # Errors
    /// Options that can never work, certificates that are none included.
    pub fn check(options: &RedisOptions) -> Result<(), RedisOptionsError> {
        options.check()?;
        options.tls.as_ref().map_or(Ok(()), |options| tls::client_config(options).map(drop))
    }

    /// Begins to connect. Waits for the connection no longer than the connect timeout: a Redis that is away, or refuses
    /// the password, is no error here but one of every call until that changes.
    ///
    /// # Errors
    /// Options that can never work.
    pub async fn connect(options: &RedisOptions) -> Result<Self, RedisOptionsError> {
        let keys = Keys::new(&options.key_prefix, options.partitions);
        let fleet = Arc::new(Fleet::open(options, &keys)?);
        let feed = Feed::new(Arc::clone(&fleet), keys.clone());
        fleet.connected_within(options.connect_timeout).await;
        let watch = Watch::new(&keys);
        Ok(Self { keys, fleet, feed, watch, canaries: Canaries::default() })
    }

    /// Looks for what would make this Redis lose sessions or revocations. Empty: nothing was found.
    pub async fn verify(&self, clock: &dyn Clock) -> Vec<Finding> {
        verify::verify(&self.fleet, &self.keys, clock).await
    }

    /// Closes the connections. A store that is dropped does so too, without waiting.
    pub async fn close(&self) {
        self.feed.close().await;
        self.fleet.close().await;
    }

    async fn revoke_session(&self, id: SessionId, revocation: &Revocation) -> Result<Vec<SessionId>, StoreError> {
        let (home, session) = (self.keys.home(id), self.keys.session(id));
        let entry = codec::log_entry(revocation)?;
        let call = self.fleet.begin(home).await?;
        for _ in 0..NAMING_ATTEMPTS_MAX {
            let found = call.command("HGET", vec![session.as_str().into(), "s".into()]).await?;
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
            let (reply, lasts) = call.script_waiting(&scripts::REVOKE_SESSION, &keys, &args).await?;
            match codec::integer(&reply)? {
                -1 => {}
                deleted => return lasts.map(|()| if deleted == 1 { vec![id] } else { Vec::new() }),
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
            let call = self.fleet.begin(home).await?;
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
            // Asked beforehand, for each run of the script waits for replicas, also one that finds that it has to be told more.
            let index = self.keys.subject(home, subject);
            let before = format!("({}", issued_before.millis());
            let range = vec![index.into(), "-inf".into(), before.into(), "LIMIT".into(), 0.into(), count(ENDED_PER_STEP_MAX)];
            let found = call.command("ZRANGEBYSCORE", range).await?;
            let ending = codec::array(&found)?.iter().map(codec::session_id).collect::<Result<Vec<_>, _>>()?;
            let (outcome, deleted) = named(&call, &scripts::REVOKE_SUBJECT, true, ending, step).await?;
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
        let keys = [self.keys.revocations(partition)];
        self.fleet.begin(partition).await?.script_confirmed(&scripts::REVOKE_TOKEN, &keys, &args).await?;
        Ok(Vec::new())
    }

    async fn acknowledge_in(&self, home: Partition, seen: &[&Acknowledgement]) -> Result<(), StoreError> {
        let keys: Vec<String> = seen.iter().map(|one| self.keys.session(one.session)).collect();
        let args: Vec<Value> = seen.iter().map(|one| i64::from(one.generation.0).into()).collect();
        self.fleet.begin(home).await?.script(&scripts::ACKNOWLEDGE, &keys, &args).await.map(|_| ())
    }

    /// Records of one partition.
    async fn load_all(&self, home: Partition, ids: &[SessionId]) -> Result<Vec<Stored>, StoreError> {
        let mut all = Vec::with_capacity(ids.len());
        for ids in ids.chunks(COMMANDS_AT_ONCE_MAX) {
            let commands = ids.iter().map(|&id| ("HMGET", self.fields_of(id))).collect();
            let records = self.fleet.begin(home).await?.together(commands).await?;
            for (&id, fields) in ids.iter().zip(&records) {
                all.extend(codec::stored(id, fields)?);
            }
        }
        Ok(all)
    }

    /// What reads a record by HMGET.
    fn fields_of(&self, id: SessionId) -> Vec<Value> {
        let key = self.keys.session(id);
        std::iter::once(key.as_str()).chain(codec::FIELDS).map(Value::from).collect()
    }
}

#[async_trait]
impl SessionStore for RedisStore {
    fn partitions(&self) -> Partitions {
        self.keys.partitions()
    }

    async fn create(&self, session: &Session, limit: Option<SessionLimit>, now: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        let home = self.keys.home(session.id);
        if home != self.keys.partitions().of(&session.subject) {
            return Err(StoreError::Unreadable(format!("session {} and its subject lie in different partitions", session.id)));
        }
        let record = codec::record(session)?;
        let call = self.fleet.begin(home).await?;
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
        named(&call, &scripts::CREATE, false, Vec::new(), step).await.map(|(_, ended)| ended)
    }

    async fn load(&self, id: SessionId) -> Result<Option<Stored>, StoreError> {
        let call = self.fleet.begin(self.keys.home(id)).await?;
        codec::stored(id, &call.command("HMGET", self.fields_of(id)).await?)
    }

    async fn swap(&self, expected: Version, next: &Session) -> Result<Swap, StoreError> {
        let home = self.keys.home(next.id);
        let keys = [self.keys.session(next.id), self.keys.expiry(home)];
        let args = [
            expected.0.to_string().into(),
            i64::from(next.rotation.current.0).into(),
            i64::from(next.rotation.acknowledged).into(),
            codec::record(next)?.into(),
            codec::ttl_millis(next, next.last_used_at).into(),
            next.lifetime.ends_at().millis().into(),
            bytes(&codec::expiry_member(next.id, &next.subject)),
        ];
        let version = codec::integer(&self.fleet.begin(home).await?.script(&scripts::SWAP, &keys, &args).await?)?;
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
        let mut outcome = Ok(());
        for (&home, seen) in &homes {
            for seen in seen.chunks(COMMANDS_AT_ONCE_MAX) {
                // One primary that is away does not keep the others from hearing of theirs.
                if let Err(error) = self.acknowledge_in(Partition(home), seen).await {
                    outcome = Err(error);
                }
            }
        }
        outcome
    }

    async fn page_of(&self, subject: &Subject, page: Page, now: Timestamp) -> Result<SessionPage, StoreError> {
        self.newest_of(subject, page, now).await
    }

    async fn end_created_before(&self, moment: Timestamp) -> Result<u64, StoreError> {
        let mut ended = 0;
        let partitions: Vec<Partition> = self.keys.partitions().iter().collect();
        for some in partitions.chunks(ENDED_TOGETHER) {
            let steps = some.iter().map(|&partition| self.end_in_partition(partition, moment));
            ended += try_join_all(steps).await?.iter().sum::<u64>();
        }
        Ok(ended)
    }

    async fn import(&self, batch: &[Import], now: Timestamp) -> Result<u64, StoreError> {
        self.import_all(batch, now).await
    }

    async fn imported(&self, digests: &[ImportedDigest]) -> Result<Vec<Option<SessionId>>, StoreError> {
        self.sessions_imported(digests).await
    }

    /// Writes something of no meaning behind what was written before, and waits until replicas have that.
    async fn settle(&self, session: SessionId) -> Result<(), StoreError> {
        if self.fleet.replication().is_none() {
            return Ok(());
        }
        let home = self.keys.home(session);
        self.fleet.begin(home).await?.script_confirmed(&scripts::CHECK, &[self.keys.check(home)], &[]).await.map(|_| ())
    }

    /// One primary that responds is enough: what the others have is refused call by call.
    async fn probe(&self) -> Result<(), StoreError> {
        let ping = async |partition| self.fleet.begin(partition).await?.command("PING", Vec::new()).await;
        let primaries = self.fleet.primaries();
        if primaries.is_empty() {
            return ping(Partition(0)).await.map(|_| ());
        }
        let mut outcome = Ok(());
        for response in join_all(primaries.iter().map(|&(_, partition)| ping(partition))).await {
            match response {
                Ok(_) => return Ok(()),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }
}

#[async_trait]
impl RevocationLog for RedisStore {
    async fn revoke(&self, revocation: &Revocation) -> Result<Vec<SessionId>, StoreError> {
        match &revocation.target {
            Target::Session { session } => self.revoke_session(*session, revocation).await,
            Target::Subject { subject, issued_before } => {
                self.revoke_subject(subject, issued_before.sessions(), revocation).await
            }
            Target::Token { .. } | Target::Everyone { .. } => {
                let partition = revocation.target.partition(self.keys.partitions());
                self.revoke_token(partition, revocation).await
            }
        }
    }

    async fn follow(&self, cursor: Option<&LogCursor>, wait: Duration) -> Result<LogBatch, StoreError> {
        self.feed.follow(cursor, wait).await
    }
}

#[async_trait]
impl NodeRegistry for RedisStore {
    async fn register(&self, node: &Node, silence_max: Duration) -> Result<u64, StoreError> {
        nodes::register(&self.fleet, &self.keys, node, silence_max).await
    }

    async fn unregister(&self, node: NodeId) -> Result<(), StoreError> {
        nodes::unregister(&self.fleet, &self.keys, node).await
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        nodes::nodes(&self.fleet, &self.keys).await
    }

    async fn mark(&self, partition: Partition, canary: Canary) -> Result<(), StoreError> {
        nodes::mark(&self.fleet, &self.keys, &self.canaries, self.keys.fold(partition), canary).await
    }

    async fn give_receipt(&self, canary: Canary, node: NodeId) -> Result<(), StoreError> {
        nodes::give_receipt(&self.fleet, &self.keys, canary, node).await
    }

    async fn receipts(&self, canary: Canary) -> Result<Vec<NodeId>, StoreError> {
        nodes::receipts(&self.fleet, &self.keys, canary).await
    }
}

/// Runs a script that has to be told which sessions it ends: first with `ids`, then with those that it asked for, until
/// they are the ones that it finds. Returns its outcome and the sessions beside it.
async fn named<F>(
    call: &Call<'_>,
    script: &scripts::Script,
    confirmed: bool,
    mut ids: Vec<SessionId>,
    step: F,
) -> Result<(i64, Vec<SessionId>), StoreError>
where
    F: Fn(&[SessionId]) -> Result<(Vec<String>, Vec<Value>), StoreError>,
{
    const ASKS_FOR_NAMES: i64 = 0;
    for _ in 0..NAMING_ATTEMPTS_MAX {
        let (keys, args) = step(&ids)?;
        let (reply, lasts) = if confirmed {
            call.script_waiting(script, &keys, &args).await?
        } else {
            (call.script(script, &keys, &args).await?, Ok(()))
        };
        let Some((outcome, rest)) = codec::array(&reply)?.split_first() else {
            return Err(StoreError::Unreadable("empty reply of a script".into()));
        };
        let outcome = codec::integer(outcome)?;
        let found = rest.iter().map(codec::session_id).collect::<Result<Vec<_>, _>>()?;
        if outcome != ASKS_FOR_NAMES {
            return lasts.map(|()| (outcome, found));
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
