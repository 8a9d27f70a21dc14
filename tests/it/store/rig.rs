//! Stores under test, and the sessions and revocations that are put into them.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use tokengate::domain::ids::{Partitions, SessionId, Subject, TokenId};
use tokengate::domain::imported::{Import, ImportedDigest};
use tokengate::domain::node::NodeId;
use tokengate::domain::revocation::{Cutoff, Revocation, Target};
use tokengate::domain::rotation::Rotation;
use tokengate::domain::session::{Client, Grant, Lifetime, Session};
use tokengate::domain::time::Timestamp;
use tokengate::store::embedded::Embedded;
use tokengate::store::memory::Memory;
use tokengate::store::{Duty, Fenced, Lease, LogBatch, LogCursor, RevocationLog, Store, Swept, Upkeep};
use tokio::task::JoinHandle;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// How long a test waits for what must come before it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A store under test and what keeps it alive: a folder, a server process. Empty at the start.
pub(crate) trait Rig: Sized {
    async fn start() -> Self;

    fn store(&self) -> Arc<dyn Store>;

    /// Ends and starts again whatever would lose its state if it were not durable. Nobody else holds the store meanwhile.
    async fn restart(&mut self) {}
}

/// Forgets everything on a restart, so it has none.
pub(crate) struct MemoryRig(Arc<Memory>);

impl Rig for MemoryRig {
    async fn start() -> Self {
        Self(Arc::new(Memory::new(partitions(4))))
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.clone()
    }
}

/// A file in a folder of its own.
pub(crate) struct EmbeddedRig {
    folder: TempDir,
    store: Option<Arc<Embedded>>,
}

impl Rig for EmbeddedRig {
    async fn start() -> Self {
        let mut rig = Self { folder: tempfile::tempdir().unwrap(), store: None };
        rig.restart().await;
        rig
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().unwrap()
    }

    async fn restart(&mut self) {
        if let Some(store) = self.store.take() {
            drop(Arc::into_inner(store).expect("nobody else holds the store"));
        }
        self.store = Some(Arc::new(Embedded::open(self.folder.path().join("data/tokengate.redb")).unwrap()));
    }
}

pub(crate) fn partitions(count: u16) -> Partitions {
    Partitions::new(NonZeroU16::new(count).unwrap())
}

/// The wall clock, from which each test counts by itself. Stores that have their servers remove expired records go by it too.
#[expect(clippy::disallowed_methods, reason = "a server under test has the wall clock and no other")]
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap())
}

pub(crate) fn subject(text: &str) -> Subject {
    Subject::new(text).unwrap()
}

/// A session id in the partition of the subject. The same number makes the same id.
pub(crate) fn id_of(partitions: Partitions, owner: &Subject, created_at: Timestamp, number: u64) -> SessionId {
    SessionId::new(partitions.of(owner), created_at, number.to_be_bytes())
}

/// A session that lives an hour from its creation.
pub(crate) fn session(partitions: Partitions, owner: &str, created_at: Timestamp, number: u64) -> Session {
    let owner = subject(owner);
    Session {
        id: id_of(partitions, &owner, created_at, number),
        subject: owner,
        grant: Grant { scopes: vec!["read".to_owned()], ..Grant::default() },
        rotation: Rotation::first(),
        lifetime: Lifetime::starting(created_at, HOUR, HOUR),
        client: Client::new(None, Some("a browser")),
        last_used_at: created_at,
    }
}

/// An imported token and its session. The same number makes the same token.
pub(crate) fn import(partitions: Partitions, owner: &str, created_at: Timestamp, number: u64) -> Import {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    let digest = ImportedDigest::from_bytes(bytes);
    let session = session(partitions, owner, created_at, 0);
    let session = Session { id: digest.session_id(partitions.of(&session.subject), created_at), ..session };
    Import { digest, forget_at: session.lifetime.ends_at().saturating_add(HOUR), session }
}

/// The record after its next rotation.
pub(crate) fn rotated(session: &Session, now: Timestamp) -> Session {
    let rotation = Rotation {
        current: session.rotation.current.next().unwrap(),
        parent: session.rotation.current,
        acknowledged: false,
        rotated_at: Some(now),
    };
    Session { rotation, last_used_at: now, ..session.clone() }
}

pub(crate) fn by_session(session: SessionId, now: Timestamp) -> Revocation {
    Revocation { target: Target::Session { session }, revoked_at: now, forget_at: now.saturating_add(HOUR) }
}

pub(crate) fn by_subject(subject: Subject, issued_before: Timestamp, now: Timestamp) -> Revocation {
    // Of tokens it speaks up to another moment, which a store has to keep and tell again as it keeps the rest.
    let issued_before = Cutoff::new(issued_before, issued_before.saturating_add(Duration::from_secs(60)));
    Revocation { target: Target::Subject { subject, issued_before }, revoked_at: now, forget_at: now.saturating_add(HOUR) }
}

pub(crate) fn by_token(issuer: &str, token: &str, now: Timestamp) -> Revocation {
    let target = Target::Token { issuer: issuer.into(), token: TokenId::new(token).unwrap() };
    Revocation { target, revoked_at: now, forget_at: now.saturating_add(HOUR) }
}

pub(crate) fn of_everyone(issued_before: Timestamp, now: Timestamp) -> Revocation {
    Revocation { target: Target::Everyone { issued_before }, revoked_at: now, forget_at: now.saturating_add(HOUR) }
}

/// What is in the log now, without waiting.
pub(crate) async fn read_log(log: &dyn RevocationLog, cursor: Option<&LogCursor>) -> LogBatch {
    tokio::time::timeout(PATIENCE, log.follow(cursor, Duration::ZERO)).await.unwrap().unwrap()
}

/// A whole sweep, as a node that has the lease makes it.
pub(crate) async fn sweep(store: &dyn Upkeep, now: Timestamp) -> Swept {
    let node = NodeId::new([0xee; 8]);
    let Lease::Ours(fence) = store.lease(Duty::Sweep, node, HOUR, now).await.unwrap() else { panic!("another sweeps") };
    let (mut swept, mut place) = (Swept::default(), None);
    loop {
        let Fenced::Done(step) = store.sweep(place, fence, now).await.unwrap() else { panic!("another took over") };
        swept.add(step.swept);
        place = step.next;
        if place.is_none() {
            return swept;
        }
    }
}

/// Follows until `count` revocations have come.
pub(crate) async fn follow_for(log: &dyn RevocationLog, mut cursor: Option<LogCursor>, count: usize) -> Vec<Revocation> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let batch = log.follow(cursor.as_ref(), PATIENCE).await.unwrap();
        assert!(!batch.revocations.is_empty(), "only {} of {count} revocations came", seen.len());
        seen.extend(batch.revocations);
        cursor = Some(batch.cursor);
    }
    seen
}

/// A task beside the test, which waits for it.
#[expect(clippy::disallowed_methods, reason = "a test waits for what it spawns")]
pub(crate) fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(task)
}
