//! Connections of the Redis store: found, refused, hung, dead, and found again.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use tokengate::domain::ids::{Generation, Partition, Partitions, SessionId};
use tokengate::domain::lag::LagFigures;
use tokengate::domain::node::{Asks, Canary, Node, NodeId};
use tokengate::domain::revocation::{Cutoff, Target};
use tokengate::domain::secret::Secret;
use tokengate::domain::session::Session;
use tokengate::domain::stats::{Day, Snapshot};
use tokengate::domain::time::Timestamp;
use tokengate::store::redis::{RedisOptions, RedisStore};
use tokengate::store::{
    Acknowledgement, DayTotals, NodeRegistry as _, RevocationLog as _, SessionLimit, SessionStore as _, Severity, Swap,
    Upkeep as _, Version,
};
use tokio::time::Instant;

use super::{
    DAY, DEADLINE, NOW, RECOVERY, RIGHTS, SLACK, SystemClock, connect, connect_with_default_deadline, end_of, is_unavailable,
    recovers, revocation, session,
};
use crate::store::rig::sweep;
use crate::support::redis::RedisServer;

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
    let all = Target::Subject { subject: c.subject.clone(), issued_before: Cutoff::named(Timestamp::MAX) };
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
async fn a_password_that_is_replaced_in_its_file_is_used_by_the_next_connection() {
    let server = RedisServer::start_with(&["--requirepass", "first"]);
    let file = server.file("password");
    std::fs::write(&file, "first\n").unwrap();
    let url = format!("redis://127.0.0.1:{}", server.port());
    let mut options = RedisOptions::from_url(&url, Partitions::new(NonZeroU16::MIN)).unwrap();
    options.password = Some(Secret::new("first".to_owned()));
    options.password_file = Some(file.clone());
    let store = RedisStore::connect(&options).await.unwrap();
    recovers(&store, RECOVERY).await;
    let ask = |password, command: &[&str]| server.cli(&[&["-a", password, "--no-auth-warning"], command].concat());

    ask("first", &["CONFIG", "SET", "requirepass", "second"]);
    std::fs::write(&file, "second\r\n").unwrap();
    ask("second", &["CLIENT", "KILL", "TYPE", "normal"]);
    recovers(&store, RECOVERY).await;

    // A file that is away for a while takes nothing from what is connected, nor from what it said last.
    std::fs::remove_file(&file).unwrap();
    ask("second", &["CLIENT", "KILL", "TYPE", "normal"]);
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

/// Several callers at a time, until one of them has a response.
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
