//! What the Redis store promises beyond every store: faults of the server, the layout of the keys, their size.

mod connections;
pub(crate) mod deployments;
mod durability;
mod failover;
mod logs;
mod migration;
mod node;
mod records;
mod tls;
mod topologies;
mod traffic;
mod users;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use tokengate::domain::ids::{Partitions, SessionId, Subject};
use tokengate::domain::revocation::{Revocation, Target};
use tokengate::domain::rotation::Rotation;
use tokengate::domain::session::{Client, Grant, Lifetime, Session};
use tokengate::domain::time::{Clock, Timestamp};
use tokengate::store::redis::{RedisOptions, RedisStore};
use tokengate::store::{RevocationLog as _, SessionStore as _, Severity, Store, StoreError};

use crate::store::rig::Rig;
use crate::support::redis::RedisServer;

/// A store on a server of its own, for the suites that hold for every store.
pub(crate) struct RedisRig {
    store: Arc<RedisStore>,
    server: RedisServer,
}

impl Rig for RedisRig {
    async fn start() -> Self {
        let server = RedisServer::start();
        Self { store: Arc::new(connect(&server).await), server }
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Another node takes over.
    async fn restart(&mut self) {
        self.store = Arc::new(connect(&self.server).await);
    }
}

/// What a user must be allowed; as docs/operations.md has it.
const RIGHTS: &str = "+evalsha +eval +ping +get +set +mget +hget +hmget +hgetall +hset +hincrby +hkeys +hvals +hlen +hdel +exists +del +pexpire +pttl +sadd +smembers \
    +zadd +zrem +zrange +zrangebyscore +zscore +zscan +zcount +xlen +xadd +xrange +xread +xdel +xtrim +xinfo +time +info +client|id +select";

const DAY: Duration = Duration::from_secs(86_400);
const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

/// The deadline of a call where it matters, and what a busy test machine may add to it.
const DEADLINE: Duration = Duration::from_millis(500);
const SLACK: Duration = Duration::from_millis(400);
/// How soon after the server everything is to work again.
const RECOVERY: Duration = Duration::from_secs(2);

fn options(server: &RedisServer) -> RedisOptions {
    RedisOptions::from_url(&server.url(), Partitions::new(NonZeroU16::new(4).unwrap())).unwrap()
}

/// With a deadline that a busy test machine does not run into.
async fn connect(server: &RedisServer) -> RedisStore {
    let options = RedisOptions { call_timeout: 20 * DEADLINE, connect_timeout: 20 * DEADLINE, ..options(server) };
    RedisStore::connect(&options).await.unwrap()
}

async fn connect_with_default_deadline(server: &RedisServer) -> RedisStore {
    assert_eq!(options(server).call_timeout, DEADLINE);
    RedisStore::connect(&options(server)).await.unwrap()
}

fn session(subject: &str, number: u8) -> Session {
    let subject = Subject::new(subject).unwrap();
    let partitions = Partitions::new(NonZeroU16::new(4).unwrap());
    let created_at = NOW.saturating_add(Duration::from_secs(u64::from(number)));
    Session {
        id: SessionId::new(partitions.of(&subject), created_at, [number; 8]),
        subject,
        grant: Grant { scopes: vec!["read".into()], logged_in_at: Some(NOW), ..Grant::default() },
        rotation: Rotation::first(),
        lifetime: Lifetime::starting(created_at, 7 * DAY, 30 * DAY),
        client: Client::new(Some([127, 0, 0, 1].into()), Some("test")),
        last_used_at: created_at,
    }
}

fn end_of(session: SessionId) -> Revocation {
    revocation(Target::Session { session })
}

fn revocation(target: Target) -> Revocation {
    Revocation { target, revoked_at: NOW, forget_at: NOW.saturating_add(DAY) }
}

async fn recovers(store: &RedisStore, within: Duration) {
    let deadline = Instant::now() + within;
    while let Err(error) = store.probe().await {
        assert!(Instant::now() < deadline, "still {error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn is_unavailable<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_) | StoreError::Unconfirmed(_)))
}

#[tokio::test]
async fn what_endangers_the_data_is_found() {
    let server = RedisServer::start_with(&["--appendonly", "yes", "--maxmemory-policy", "noeviction"]);
    let store = connect(&server).await;
    assert_eq!(store.verify(&SystemClock).await, []);
    server.cli(&["CONFIG", "SET", "appendonly", "no"]);
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    let clock = Ahead(Duration::from_secs(40));
    let findings = store.verify(&clock).await;
    let found: Vec<_> = findings.iter().map(|finding| (finding.subject, finding.severity)).collect();
    assert_eq!(
        found,
        [("eviction", Severity::Error), ("persistence", Severity::Warning), ("clock", Severity::Error)],
        "{findings:?}"
    );
}

#[tokio::test]
async fn closing_ends_the_connections() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let clients = || server.cli(&["CLIENT", "LIST"]).lines().count();
    assert_eq!(clients(), 2, "ours, and redis-cli");
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    store.follow(Some(&cursor), Duration::from_millis(50)).await.unwrap();
    assert_eq!(clients(), 3, "and one that is told of news");
    store.close().await;
    assert!(is_unavailable(&store.probe().await));
    let deadline = Instant::now() + RECOVERY;
    while clients() > 1 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "compared with the clock of a real server")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().saturating_add(self.0)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}
