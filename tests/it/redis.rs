//! What the Redis store promises beyond every store: faults of the server, the layout of the keys, their size.

pub(crate) mod deployments;
mod durability;
mod failover;
mod migration;
mod node;
mod topologies;
mod traffic;
mod users;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use tokengate::domain::ids::{Generation, Partition, Partitions, SessionId, Subject};
use tokengate::domain::lag::LagFigures;
use tokengate::domain::node::{Asks, Canary, Node, NodeId};
use tokengate::domain::revocation::{Revocation, Target};
use tokengate::domain::rotation::Rotation;
use tokengate::domain::secret::Secret;
use tokengate::domain::session::{Client, Grant, Lifetime, Session};
use tokengate::domain::stats::{Day, Snapshot};
use tokengate::domain::time::{Clock, Timestamp};
use tokengate::store::redis::{RedisOptions, RedisOptionsError, RedisStore, TlsOptions};
use tokengate::store::{
    Acknowledgement, DayTotals, LogCursor, SessionLimit, Severity, Store, StoreError, Swap, Upkeep as _, Version,
};

use crate::store::rig::{Rig, sweep};
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
        grant: Grant { scopes: vec!["read".into()], claims: serde_json::Map::new() },
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
    matches!(result, Err(StoreError::Unavailable(_)))
}

#[tokio::test]
async fn a_forgotten_script_is_invisible() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let flush = || assert_eq!(server.cli(&["SCRIPT", "FLUSH"]), "OK");
    let (a, b, c) = (session("alice", 1), session("alice", 2), session("alice", 3));
    let limit = SessionLimit { sessions_max: 2, forget_at: NOW.saturating_add(DAY) };
    for (one, ended) in [(&a, vec![]), (&b, vec![]), (&c, vec![a.id])] {
        flush();
        assert_eq!(store.create(one, Some(limit), NOW).await.unwrap(), ended);
    }
    flush();
    assert_eq!(store.swap(Version(1), &b).await.unwrap(), Swap::Done(Version(2)));
    flush();
    store.acknowledge(&[Acknowledgement { session: b.id, generation: Generation(1) }]).await.unwrap();
    assert!(store.load(b.id).await.unwrap().unwrap().session.rotation.acknowledged);
    flush();
    assert_eq!(store.revoke(&end_of(b.id)).await.unwrap(), [b.id]);
    flush();
    let all = Target::Subject { subject: c.subject.clone(), issued_before: Timestamp::MAX };
    assert_eq!(store.revoke(&revocation(all)).await.unwrap(), [c.id]);
    flush();
    sweep(&store, NOW).await;
    assert_eq!(store.follow(None, Duration::ZERO).await.unwrap().revocations.len(), 3);
}

#[tokio::test]
async fn a_wrong_password_is_named_as_such() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    for (url, said) in [(server.url(), "NOAUTH"), (format!("redis://:wrong@127.0.0.1:{}", server.port()), "WRONGPASS")] {
        let options = RedisOptions::from_url(&url, Partitions::new(NonZeroU16::MIN)).unwrap();
        let store = RedisStore::connect(&options).await.unwrap();
        let error = store.probe().await.unwrap_err().to_string();
        assert!(error.contains(said) && !error.contains("wrong@"), "{error}");
        let findings = store.verify(&SystemClock).await;
        assert!(
            findings.iter().any(|finding| finding.severity == Severity::Error && finding.text.contains(said)),
            "{findings:?}"
        );
    }
    let url = format!("redis://:right@127.0.0.1:{}/3", server.port());
    let options = RedisOptions::from_url(&url, Partitions::new(NonZeroU16::MIN)).unwrap();
    let store = RedisStore::connect(&options).await.unwrap();
    store.create(&session_in_one_partition(), None, NOW).await.unwrap();
    assert_eq!(server.cli(&["-a", "right", "--no-auth-warning", "-n", "3", "DBSIZE"]), "3");
}

fn session_in_one_partition() -> Session {
    let mut session = session("alice", 1);
    session.id = SessionId::new(Partitions::new(NonZeroU16::MIN).of(&session.subject), NOW, [1; 8]);
    session
}

/// An authority, and the server and the client that it vouches for.
struct Certificates {
    authority: rcgen::Certificate,
    server: (rcgen::Certificate, rcgen::KeyPair),
    client: (rcgen::Certificate, rcgen::KeyPair),
}

impl Certificates {
    fn make() -> Self {
        let named = |name: &str, hosts: Vec<String>| {
            let mut params = rcgen::CertificateParams::new(hosts).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = named("authority", Vec::new());
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let signed = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = named(name, vec![name.to_owned()]);
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        Self { authority, server: signed("localhost"), client: signed("gateway") }
    }
}

#[tokio::test]
async fn tls_holds_both_sides_to_their_authority() {
    let certificates = Certificates::make();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let authority = file("authority.pem", certificates.authority.pem());
    let certificate = file("server.pem", certificates.server.0.pem());
    let key = file("server.key", certificates.server.1.serialize_pem());
    let mut server = RedisServer::prepare(&[]);
    let port = server.port();
    server.add_arguments(&["--port", "0", "--tls-port", &port.to_string(), "--tls-ca-cert-file", &authority]);
    server.add_arguments(&["--tls-cert-file", &certificate, "--tls-key-file", &key]);
    server.run();

    let trusting = |authorities_pem: Option<String>, identity_pem| {
        let url = format!("rediss://localhost:{port}");
        let mut options = RedisOptions::from_url(&url, Partitions::new(NonZeroU16::MIN)).unwrap();
        options.tls = Some(TlsOptions { authorities_pem, identity_pem });
        options
    };
    let authority = Some(certificates.authority.pem());
    let identity = Some((certificates.client.0.pem(), Secret::new(certificates.client.1.serialize_pem())));
    let store = RedisStore::connect(&trusting(authority.clone(), identity.clone())).await.unwrap();
    store.probe().await.unwrap();
    for (options, why) in [
        (trusting(None, identity), "an authority that is not trusted"),
        (trusting(authority, None), "a client without a certificate"),
    ] {
        let store = RedisStore::connect(&options).await.unwrap();
        assert!(is_unavailable(&store.probe().await), "{why}");
    }
    let broken = trusting(Some("no PEM".to_owned()), None);
    assert!(matches!(RedisStore::connect(&broken).await, Err(RedisOptionsError::Tls(_))));
}

#[tokio::test]
async fn a_password_that_is_put_right_on_the_server_is_enough() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let url = format!("redis://:other@127.0.0.1:{}", server.port());
    let options = RedisOptions::from_url(&url, Partitions::new(NonZeroU16::MIN)).unwrap();
    let store = RedisStore::connect(&options).await.unwrap();
    assert!(is_unavailable(&store.probe().await));
    server.cli(&["-a", "right", "--no-auth-warning", "CONFIG", "SET", "requirepass", "other"]);
    recovers(&store, RECOVERY).await;
}

#[tokio::test]
async fn a_user_with_the_rights_that_are_needed_and_no_more_suffices() {
    let server = RedisServer::start();
    let mut command = vec!["ACL", "SETUSER", "gate", "on", ">p w", "~tg:*"];
    command.extend(RIGHTS.split_whitespace());
    assert_eq!(server.cli(&command), "OK");
    let url = format!("redis://gate:p%20w@127.0.0.1:{}", server.port());
    let options = RedisOptions::from_url(&url, Partitions::new(NonZeroU16::new(4).unwrap())).unwrap();
    let store = RedisStore::connect(&options).await.unwrap();
    let session = session("alice", 1);
    store.create(&session, None, NOW).await.unwrap();
    assert_eq!(store.swap(Version(1), &session).await.unwrap(), Swap::Done(Version(2)));
    store.acknowledge(&[Acknowledgement { session: session.id, generation: Generation(1) }]).await.unwrap();
    assert_eq!(store.sessions_of(&session.subject, NOW).await.unwrap().len(), 1);
    assert_eq!(store.revoke(&end_of(session.id)).await.unwrap(), [session.id]);
    let whole = store.follow(None, Duration::ZERO).await.unwrap();
    store.follow(Some(&whole.cursor), Duration::ZERO).await.unwrap();
    let node = Node { id: NodeId::new([1; 8]), name: "a".to_owned(), started_at: NOW, lag: LagFigures::default() };
    assert_eq!(store.register(&node, DAY).await.unwrap(), 1);
    for asks in [Asks::Writer, Asks::Writer, Asks::Everyone] {
        let canary = Canary { node: node.id, number: 1, asks };
        store.mark(Partition(1), canary).await.unwrap();
        store.give_receipt(canary, node.id).await.unwrap();
        assert_eq!(store.receipts(canary).await.unwrap(), [node.id]);
    }
    assert_eq!(store.nodes().await.unwrap().len(), 1);
    store.unregister(node.id).await.unwrap();
    store.create(&session, None, NOW).await.unwrap();
    assert_eq!(store.end_created_before(NOW.saturating_add(DAY)).await.unwrap(), 1);
    sweep(&store, NOW.saturating_add(2 * DAY)).await;
    store.count(&DayTotals { node: NodeId::new([1; 8]), day: Day::of(NOW), counts: Snapshot::ZERO }).await.unwrap();
    store.statistics(Day::of(NOW).last(400)).await.unwrap();
    store.measure(NOW).await.unwrap();
    let findings = store.verify(&SystemClock).await;
    assert_eq!(findings.iter().map(|finding| finding.subject).collect::<Vec<_>>(), ["persistence"], "{findings:?}");
    assert_eq!(store.inspect(&SystemClock).await, findings);
}

#[tokio::test]
async fn a_redis_that_appears_later_is_found() {
    let mut server = RedisServer::prepare(&[]);
    let began = Instant::now();
    let store = connect_with_default_deadline(&server).await;
    assert!(began.elapsed() < Duration::from_secs(3), "connect() does not wait for Redis");
    let began = Instant::now();
    assert!(is_unavailable(&store.probe().await));
    assert!(is_unavailable(&store.follow(None, Duration::from_secs(5)).await));
    assert!(began.elapsed() < SLACK, "nothing to wait for");
    server.run();
    recovers(&store, RECOVERY).await;
    let session = session("alice", 1);
    store.create(&session, None, NOW).await.unwrap();
    assert_eq!(store.load(session.id).await.unwrap().unwrap().session, session);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_server_costs_a_deadline_then_nothing_and_is_found_again() {
    let server = RedisServer::start();
    let store = Arc::new(connect_with_default_deadline(&server).await);
    let session = session("alice", 1);
    store.create(&session, None, NOW).await.unwrap();
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    server.freeze();

    // Steady traffic of several callers: the kernel takes every write, so fred's own timer never fires.
    let frozen_at = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, id) = (store.clone(), session.id);
        callers.spawn(async move {
            let mut slowest = (Duration::ZERO, Duration::ZERO);
            while frozen_at.elapsed() < Duration::from_secs(4) {
                let began = Instant::now();
                assert!(is_unavailable(&store.load(id).await));
                if frozen_at.elapsed() < Duration::from_secs(2) {
                    slowest.0 = slowest.0.max(began.elapsed());
                } else {
                    slowest.1 = slowest.1.max(began.elapsed());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            slowest
        });
    }
    let began = Instant::now();
    assert!(is_unavailable(&store.follow(Some(&cursor), Duration::from_millis(200)).await));
    assert!(began.elapsed() < DEADLINE + Duration::from_millis(200) + SLACK);
    while let Some(slowest) = callers.join_next().await {
        let (first, later) = slowest.unwrap();
        assert!(first < DEADLINE + SLACK, "{first:?}");
        assert!(later < SLACK, "fails fast: {later:?}");
    }

    server.thaw();
    recovers(&store, RECOVERY).await;
    assert_eq!(store.load(session.id).await.unwrap().unwrap().session, session);
    store.follow(None, Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_for_a_moment_only_is_not_given_up() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    for _ in 0..3 {
        server.freeze();
        let frozen = store.probe();
        let thaw = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            server.thaw();
        };
        let (frozen, ()) = tokio::join!(frozen, thaw);
        frozen.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_was_killed_and_started_again_is_found_again() {
    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = connect_with_default_deadline(&server).await;
    let session = session("alice", 1);
    store.create(&session, None, NOW).await.unwrap();
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    server.kill();
    for _ in 0..20 {
        let began = Instant::now();
        assert!(is_unavailable(&store.load(session.id).await));
        assert!(began.elapsed() < DEADLINE + SLACK);
    }
    server.run();
    recovers(&store, RECOVERY).await;
    assert_eq!(store.load(session.id).await.unwrap().unwrap().session, session);

    let deadline = Instant::now() + RECOVERY;
    loop {
        let tail = store.follow(Some(&cursor), Duration::ZERO).await;
        assert!(is_unavailable(&tail), "after a new connection only a whole read shows what there is: {tail:?}");
        if let Ok(whole) = store.follow(None, Duration::ZERO).await {
            store.follow(Some(&whole.cursor), Duration::ZERO).await.unwrap();
            break;
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Passes bytes between a client and the server; connections made so far can be made to swallow everything.
struct Tunnel {
    port: u16,
    swallow: tokio::sync::watch::Sender<usize>,
    _accepting: tokio::task::JoinSet<()>,
}

impl Tunnel {
    async fn to(server: &RedisServer) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = server.port();
        let (swallow, swallowed) = tokio::sync::watch::channel(0);
        let mut accepting = tokio::task::JoinSet::new();
        accepting.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for number in 1.. {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut swallowed = swallowed.clone();
                connections.spawn(async move {
                    let mut server = tokio::net::TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                    let swallowed = async { drop(swallowed.wait_for(|&last| number <= last).await) };
                    let passing = tokio::io::copy_bidirectional(&mut client, &mut server);
                    tokio::select! {
                        _ = passing => return,
                        () = swallowed => {}
                    }
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { port, swallow, _accepting: accepting }
    }

    fn swallow_present_connections(&self) {
        self.swallow.send_replace(2);
    }

    async fn connect(&self) -> Arc<RedisStore> {
        let url = format!("redis://127.0.0.1:{}", self.port);
        let options = RedisOptions::from_url(&url, Partitions::new(NonZeroU16::new(4).unwrap())).unwrap();
        Arc::new(RedisStore::connect(&options).await.unwrap())
    }
}

/// Several callers at a time, until one of them has an answer.
async fn recovers_under_traffic(store: &Arc<RedisStore>, within: Duration) {
    let deadline = Instant::now() + within;
    loop {
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let store = store.clone();
            callers.spawn(async move { store.probe().await.is_ok() });
        }
        if callers.join_all().await.contains(&true) {
            return;
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_connection_that_went_dead_is_replaced_under_traffic() {
    let server = RedisServer::start();
    let tunnel = Tunnel::to(&server).await;
    let store = tunnel.connect().await;
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    tunnel.swallow_present_connections();
    recovers_under_traffic(&store, DEADLINE + RECOVERY).await;

    let deadline = Instant::now() + 4 * DEADLINE + RECOVERY;
    assert!(is_unavailable(&store.follow(Some(&cursor), Duration::ZERO).await));
    while let Err(error) = store.follow(None, Duration::ZERO).await {
        assert!(Instant::now() < deadline, "still {error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_stuck_in_a_write_is_replaced() {
    const MORE_THAN_THE_KERNEL_BUFFERS: usize = 32 << 20;
    let server = RedisServer::start();
    let tunnel = Tunnel::to(&server).await;
    let store = tunnel.connect().await;
    let mut session = session("alice", 1);
    session.grant.scopes = vec!["x".repeat(MORE_THAN_THE_KERNEL_BUFFERS)];
    tunnel.swallow_present_connections();
    assert!(is_unavailable(&store.create(&session, None, NOW).await));
    recovers_under_traffic(&store, 4 * RECOVERY).await;
}

#[tokio::test]
async fn connections_are_tried_again_at_a_bounded_rate() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let options = RedisOptions::from_url(&url, Partitions::new(NonZeroU16::MIN)).unwrap();
    let store = RedisStore::connect(&options);
    let count = async {
        let (mut accepted, until) = (0, Instant::now() + Duration::from_secs(3));
        while let Ok(connection) = tokio::time::timeout_at(until, listener.accept()).await {
            drop(connection);
            accepted += 1;
        }
        accepted
    };
    let (_store, accepted) = tokio::join!(store, count);
    // Two connections, each after 300 ms on average and at least 50.
    assert!((4..=40).contains(&accepted), "{accepted} in 3 s");
}

#[tokio::test]
async fn a_full_server_takes_no_login_and_every_logout() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let (a, b) = (session("alice", 1), session("alice", 2));
    store.create(&a, None, NOW).await.unwrap();
    store.create(&b, None, NOW).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(matches!(store.create(&session("bob", 3), None, NOW).await, Err(StoreError::Full(_))));
    assert!(matches!(store.swap(Version(1), &a).await, Err(StoreError::Full(_))));
    assert_eq!(store.load(a.id).await.unwrap().unwrap().session, a);
    assert_eq!(store.revoke(&end_of(a.id)).await.unwrap(), [a.id]);
    let all = Target::Subject { subject: b.subject.clone(), issued_before: Timestamp::MAX };
    assert_eq!(store.revoke(&revocation(all)).await.unwrap(), [b.id]);
    let issuer: Arc<str> = "https://issuer".into();
    let token = tokengate::domain::ids::TokenId::new("jti").unwrap();
    store.revoke(&revocation(Target::Token { issuer, token })).await.unwrap();
    assert_eq!(store.follow(None, Duration::ZERO).await.unwrap().revocations.len(), 3);
}

#[tokio::test]
async fn a_server_that_lost_the_log_is_noticed() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    store.revoke(&end_of(session("alice", 1).id)).await.unwrap();
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    let heartbeat = store.follow(Some(&cursor), Duration::from_millis(20)).await.unwrap();
    assert!(heartbeat.revocations.is_empty() && heartbeat.cursor == cursor);

    server.cli(&["FLUSHALL"]);
    assert!(is_unavailable(&store.follow(Some(&cursor), Duration::from_millis(20)).await));
    let whole = store.follow(None, Duration::ZERO).await.unwrap();
    let tail = store.follow(Some(&cursor), Duration::from_millis(20)).await;
    assert!(is_unavailable(&tail), "another reader, which has not read it whole since");
    assert!(whole.revocations.is_empty());
    store.follow(Some(&whole.cursor), Duration::from_millis(20)).await.unwrap();
}

#[tokio::test]
async fn a_log_that_went_back_is_noticed() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let one = session("alice", 1);
    store.revoke(&end_of(one.id)).await.unwrap();
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    let log = format!("tg:{{{}}}:revocations", one.id.partition().0);
    server.cli(&["DEL", &log]);
    server.cli(&["XADD", &log, "1-1", "f", "1", "r", "1{}"]);
    let tail = store.follow(Some(&cursor), Duration::from_millis(20)).await;
    assert!(is_unavailable(&tail), "{tail:?}");
}

#[tokio::test]
async fn a_reader_that_was_dropped_while_waiting_does_not_disturb_the_next() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    let waiting = store.follow(Some(&cursor), Duration::from_secs(1));
    assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
    let one = session("alice", 1);
    let (tail, ended) = tokio::join!(store.follow(Some(&cursor), Duration::from_secs(1)), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.revoke(&end_of(one.id)).await
    });
    ended.unwrap();
    assert_eq!(tail.unwrap().revocations, [end_of(one.id)]);
}

#[tokio::test]
async fn a_waiting_reader_holds_up_no_one() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    let began = Instant::now();
    let calls = async {
        for _ in 0..50 {
            store.probe().await.unwrap();
        }
        began.elapsed()
    };
    let (tail, calls) = tokio::join!(store.follow(Some(&cursor), Duration::from_secs(2)), calls);
    assert!(tail.unwrap().revocations.is_empty());
    assert!(calls < Duration::from_secs(1), "{calls:?}");
}

#[tokio::test]
async fn a_long_log_is_read_whole_and_in_order() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let subject = session("alice", 1).subject;
    let mut expected = Vec::new();
    for n in 0..1_201_i64 {
        let target = Target::Subject { subject: subject.clone(), issued_before: Timestamp::from_millis(n) };
        expected.push(revocation(target));
        store.revoke(expected.last().unwrap()).await.unwrap();
    }
    assert_eq!(store.follow(None, Duration::ZERO).await.unwrap().revocations, expected);

    let (mut cursor, mut seen) = (LogCursor::default(), Vec::new());
    while seen.len() < expected.len() {
        let batch = store.follow(Some(&cursor), Duration::ZERO).await.unwrap();
        assert!(!batch.revocations.is_empty());
        seen.extend(batch.revocations);
        cursor = batch.cursor;
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn forgotten_revocations_leave_the_log_without_a_sweep() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let one = session("alice", 1);
    let minute = Duration::from_secs(60);
    for n in 0..1_000 {
        let revoked_at = Timestamp::from_secs(1_700_000_000).saturating_add(Duration::from_secs(n));
        let forget_at = revoked_at.saturating_add(minute);
        let target = Target::Session { session: one.id };
        store.revoke(&Revocation { target, revoked_at, forget_at }).await.unwrap();
    }
    let length: u64 = server.cli(&["XLEN", &format!("tg:{{{}}}:revocations", one.id.partition().0)]).parse().unwrap();
    assert!((60..100).contains(&length), "{length}");
}

#[tokio::test]
async fn a_clock_ahead_of_the_servers_forgets_nothing_when_it_revokes() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let now = SystemClock.now();
    let (a, b) = (session("alice", 1), session("alice", 2));
    let forget_at = now.saturating_add(Duration::from_secs(1_800));
    store.revoke(&Revocation { forget_at, revoked_at: now, ..end_of(a.id) }).await.unwrap();
    let revoked_at = now.saturating_add(Duration::from_secs(3_600));
    store.revoke(&Revocation { forget_at: revoked_at.saturating_add(DAY), revoked_at, ..end_of(b.id) }).await.unwrap();
    assert_eq!(store.follow(None, Duration::ZERO).await.unwrap().revocations.len(), 2);
}

#[tokio::test]
async fn every_key_carries_the_hash_tag_of_its_partition_and_nothing_is_left_over() {
    let server = RedisServer::start();
    let mut options = options(&server);
    options.key_prefix = "acme:".into();
    let store = RedisStore::connect(&options).await.unwrap();
    let sessions = [session("alice", 1), session("alice", 2), session("bob", 3)];
    for session in &sessions {
        store.create(session, None, NOW).await.unwrap();
    }
    store.revoke(&end_of(sessions[0].id)).await.unwrap();
    let mut expected = Vec::new();
    for session in &sessions[1..] {
        let p = session.id.partition().0;
        expected.push(format!("acme:{{{p}}}:session:{}", session.id));
        expected.push(format!("acme:{{{p}}}:subject:{}", session.subject));
        expected.push(format!("acme:{{{p}}}:expiry"));
    }
    expected.push(format!("acme:{{{}}}:revocations", sessions[0].id.partition().0));
    expected.sort();
    expected.dedup();
    let keys = |server: &RedisServer| {
        let mut keys: Vec<String> = server.cli(&["KEYS", "*"]).lines().map(str::to_owned).collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&server), expected);

    assert_eq!(sweep(&store, NOW.saturating_add(60 * DAY)).await.sessions, 2);
    let log = format!("acme:{{{}}}:revocations", sessions[0].id.partition().0);
    // An empty log, and what the sweep knows of itself.
    let mut expected = vec![log.clone(), "acme:{0}:fences".to_owned(), "acme:{0}:lease:sweep".to_owned()];
    for p in 0..4 {
        expected.push(format!("acme:{{{p}}}:fence"));
        if sessions[1..].iter().any(|session| session.id.partition().0 == p) {
            expected.push(format!("acme:{{{p}}}:expired"));
        }
    }
    expected.sort();
    assert_eq!(keys(&server), expected);
    assert_eq!(server.cli(&["XLEN", &log]), "0");
}

#[tokio::test]
async fn a_record_outlives_its_session_in_redis_whatever_the_clocks_say() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let mut session = session("alice", 1);
    // A node whose clock is years behind the server's.
    let now = Timestamp::from_secs(1_000_000_000);
    session.lifetime = Lifetime::starting(now, DAY, 30 * DAY);
    session.last_used_at = now;
    store.create(&session, None, now).await.unwrap();
    let key = format!("tg:{{{}}}:session:{}", session.id.partition().0, session.id);
    let left = || Duration::from_millis(server.cli(&["PTTL", &key]).parse().unwrap());
    assert!((DAY + DAY / 2..=2 * DAY).contains(&left()), "{:?}", left());
    session.lifetime = session.lifetime.extended(now.saturating_add(DAY / 2), DAY);
    session.last_used_at = now.saturating_add(DAY / 2);
    assert_eq!(store.swap(Version(1), &session).await.unwrap(), Swap::Done(Version(2)));
    assert!((DAY + DAY / 2..=2 * DAY).contains(&left()), "{:?}", left());
}

#[tokio::test]
async fn a_session_takes_no_more_memory_however_often_it_is_refreshed() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let mut session = session("alice", 1);
    store.create(&session, None, NOW).await.unwrap();
    let refresh = async |session: &mut Session, n: u32| {
        let at = NOW.saturating_add(Duration::from_secs(u64::from(n) * 600));
        session.rotation =
            Rotation { current: Generation(n + 1), parent: Generation(n), acknowledged: false, rotated_at: Some(at) };
        session.lifetime = session.lifetime.extended(at, 7 * DAY);
        session.last_used_at = at;
        assert_eq!(store.swap(Version(u64::from(n)), session).await.unwrap(), Swap::Done(Version(u64::from(n) + 1)));
    };
    let bytes = || -> u64 {
        server.cli(&["KEYS", "*"]).lines().map(|key| server.cli(&["MEMORY", "USAGE", key]).parse::<u64>().unwrap()).sum()
    };
    refresh(&mut session, 1).await;
    let (first, keys) = (bytes(), server.cli(&["DBSIZE"]));
    for n in 2..=1_000 {
        refresh(&mut session, n).await;
    }
    assert_eq!(server.cli(&["DBSIZE"]), keys);
    // Three counters have three digits more each; an allocation may round up to the next step.
    assert!(bytes() <= first + 64, "{first} bytes became {}", bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logging_out_everywhere_while_logins_arrive_leaves_no_session_behind() {
    let server = RedisServer::start();
    let store = Arc::new(connect(&server).await);
    for round in 0..10_u8 {
        let mut logins = tokio::task::JoinSet::new();
        for n in 0..16 {
            let (store, session) = (store.clone(), session("alice", round * 16 + n));
            logins.spawn(async move { store.create(&session, None, NOW).await });
        }
        let all = Target::Subject { subject: session("alice", 0).subject, issued_before: Timestamp::MAX };
        store.revoke(&revocation(all.clone())).await.unwrap();
        while let Some(login) = logins.join_next().await {
            login.unwrap().unwrap();
        }
        store.revoke(&revocation(all)).await.unwrap();
        assert_eq!(server.cli(&["--scan", "--pattern", "*session*"]), "");
        assert_eq!(server.cli(&["--scan", "--pattern", "*subject*"]), "");
        assert_eq!(server.cli(&["--scan", "--pattern", "*expiry*"]), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_when_logins_arrive_together() {
    let server = RedisServer::start();
    let store = Arc::new(connect(&server).await);
    let limit = SessionLimit { sessions_max: 3, forget_at: NOW.saturating_add(DAY) };
    let mut logins = tokio::task::JoinSet::new();
    for n in 0..16 {
        let (store, session) = (store.clone(), session("alice", n));
        logins.spawn(async move { store.create(&session, Some(limit), NOW).await });
    }
    let mut ended = 0;
    while let Some(login) = logins.join_next().await {
        ended += login.unwrap().unwrap().len();
    }
    assert_eq!(ended, 13);
    assert_eq!(store.sessions_of(&session("alice", 0).subject, NOW).await.unwrap().len(), 3);
    assert_eq!(store.follow(None, Duration::ZERO).await.unwrap().revocations.len(), 13);
}

#[tokio::test]
async fn a_subject_with_more_sessions_than_fit_into_a_step_loses_them_all() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let template = session("alice", 1);
    for n in 0..2_100_u64 {
        let id = SessionId::new(template.id.partition(), NOW, n.to_be_bytes());
        store.create(&Session { id, ..template.clone() }, None, NOW).await.unwrap();
    }
    let all = revocation(Target::Subject { subject: template.subject.clone(), issued_before: Timestamp::MAX });
    assert_eq!(store.revoke(&all).await.unwrap().len(), 2_100);
    assert_eq!(store.follow(None, Duration::ZERO).await.unwrap().revocations, [all], "logged once");
    assert_eq!(server.cli(&["DBSIZE"]), "1");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_an_error_and_no_absence() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let session = session("alice", 1);
    let key = format!("tg:{{{}}}:session:{}", session.id.partition().0, session.id);
    for (field, value) in [("d", "2{}"), ("d", "1{"), ("d", ""), ("v", "x"), ("s", ""), ("g", "-1"), ("a", "2")] {
        store.create(&session, None, NOW).await.unwrap();
        server.cli(&["HSET", &key, field, value]);
        let loaded = store.load(session.id).await;
        assert!(matches!(loaded, Err(StoreError::Unreadable(_))), "{field} = {value}: {loaded:?}");
        server.cli(&["DEL", &key]);
    }
    server.cli(&["SET", &key, "x"]);
    assert!(matches!(store.load(session.id).await, Err(StoreError::Unreadable(_))));
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

/// Between the session and the pointer to it lie two slots: an import may break off there.
#[tokio::test]
async fn an_import_that_broke_off_between_its_steps_is_completed_and_revives_nothing() {
    let server = RedisServer::start();
    let store = connect(&server).await;
    let now = crate::store::rig::now();
    let one = crate::store::rig::import(store.partitions(), "ann", now, 1);
    let lose_pointer = || {
        let pointer = server.cli(&["--scan", "--pattern", "tg:*:imported:*"]);
        assert_eq!(server.cli(&["DEL", &pointer]), "1");
    };
    store.import(std::slice::from_ref(&one), now).await.unwrap();
    lose_pointer();
    assert_eq!(store.imported(&[one.digest]).await.unwrap(), [None]);
    assert_eq!(store.import(std::slice::from_ref(&one), now).await.unwrap(), 0, "the session is there");
    assert_eq!(store.imported(&[one.digest]).await.unwrap(), [Some(one.session.id)]);
    assert_eq!(store.sessions_of(&one.session.subject, now).await.unwrap(), std::slice::from_ref(&one.session));

    store.revoke(&crate::store::rig::by_session(one.session.id, now)).await.unwrap();
    lose_pointer();
    assert_eq!(store.import(std::slice::from_ref(&one), now).await.unwrap(), 0);
    assert_eq!(store.load(one.session.id).await.unwrap(), None, "a logout outlives whatever broke off");
    // Both records go by themselves.
    let keys = server.cli(&["--scan", "--pattern", "tg:*:import*"]);
    assert_eq!(keys.lines().count(), 2);
    assert!(keys.lines().all(|key| server.cli(&["PTTL", key]).parse::<i64>().unwrap() > 0), "{keys}");
}
