//! Two nodes whose clocks differ: gateways in this process, on real sockets, one of them with a clock that the test sets.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokengate::app::{Ambient, App};
use tokengate::config::Settings;
use tokengate::domain::time::{Clock, Timestamp};
use tokio::runtime::Runtime;

use super::{eventually, has_alarm, is_ended};
use crate::support::gateway::{Tokens, generate_keys};
use crate::support::http::Client;
use crate::support::redis::RedisServer;
use crate::support::upstream::Upstream;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// More than the feed lets pass between two looks at what may be forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(6);

/// The system's time, and what it is off by. Spans are measured rightly all the same, as on a machine whose clock is set.
struct Clocks {
    system: Arc<dyn Clock>,
    ahead_millis: AtomicI64,
    /// Time that passes for spans as well.
    passed_millis: AtomicU64,
}

impl Clock for Clocks {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.system.now().millis() + self.ahead_millis.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic() + Duration::from_millis(self.passed_millis.load(Ordering::SeqCst))
    }
}

struct Node {
    clocks: Arc<Clocks>,
    app: App,
    _runtime: Runtime,
}

impl Node {
    fn client(&self) -> Client {
        Client::new(self.app.gateway_address())
    }

    fn set_clock(&self, ahead_millis: i64) {
        self.clocks.ahead_millis.store(ahead_millis, Ordering::SeqCst);
    }

    fn let_pass(&self, span: Duration) {
        self.clocks.passed_millis.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

struct Stage {
    redis: RedisServer,
    upstream: Upstream,
    folder: TempDir,
}

impl Stage {
    fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        generate_keys(folder.path());
        Self { redis: RedisServer::start(), upstream: Upstream::start(), folder }
    }

    fn node(&self, ahead_millis: i64) -> Node {
        let settings = Settings::from_toml(&settings(&self.redis.url(), &self.upstream.url(), self.folder.path())).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let system = Ambient::of_system();
        let (ahead_millis, passed_millis) = (ahead_millis.into(), 0.into());
        let clocks = Arc::new(Clocks { system: Arc::clone(&system.clock), ahead_millis, passed_millis });
        let ambient = Ambient { clock: Arc::clone(&clocks) as _, ..system };
        let app = runtime.block_on(App::start(&settings, ambient)).unwrap();
        let node = Node { clocks, app, _runtime: runtime };
        let first = node.client().log_in("first");
        // What is no token is refused before that too.
        eventually("the revocations are read", || node.client().get("/api/me", Some(&first.access)).status() == 200);
        node
    }
}

fn settings(store: &str, upstream: &str, folder: &Path) -> String {
    format!(
        r#"
        listen = {{ address = "127.0.0.1:0", workers = 1 }}
        admin.address = ""
        upstreams.api.url = "{upstream}"
        keys.directory = "{}/keys"
        refresh.secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
        revocation.heartbeat = "200ms"
        [store]
        kind = "redis"
        redis.url = "{store}"
        redis.deadline = "10s"
        [[routes]]
        name = "api"
        prefix = "/"
        [limits.login]
        per_address = ""
        per_account = ""
        [limits.refresh]
        per_address = ""
        per_account = ""
        "#,
        folder.display()
    )
}

fn assert_ended(node: &mut Client, tokens: &Tokens) {
    eventually("it hears of the end", || is_ended(node, tokens));
    node.get("/api/me", Some(&tokens.access)).expect(401);
    node.refresh(&tokens.refresh).expect(401);
}

#[test]
fn a_clock_that_is_set_an_hour_ahead_revives_nothing() {
    assert_set_clock_revives_nothing(HOUR);
}

#[test]
fn a_clock_that_is_set_an_hour_back_revives_nothing() {
    assert_set_clock_revives_nothing(-HOUR);
}

fn assert_set_clock_revives_nothing(ahead_millis: i64) {
    let stage = Stage::set();
    let (right, wrong) = (stage.node(0), stage.node(0));
    let (mut a, mut b) = (right.client(), wrong.client());
    let [here, there] = [a.log_in("ann"), b.log_in("bob")];
    let everywhere = [a.log_in("eve"), b.log_in("eve")];
    let held = a.log_in("joe");
    a.log_out(&here.access, "session").expect(200);
    b.log_out(&there.access, "session").expect(200);
    a.log_out(&everywhere[0].access, "all").expect(200);
    let ended = [&here, &there, &everywhere[0], &everywhere[1]];
    for tokens in ended {
        assert_ended(&mut a, tokens);
        assert_ended(&mut b, tokens);
    }

    wrong.set_clock(ahead_millis);
    for _ in 0..2 {
        for tokens in ended {
            assert_ended(&mut a, tokens);
            assert_ended(&mut b, tokens);
        }
        // Once more after it has dropped what by its clock may be forgotten.
        wrong.let_pass(FORGET_INTERVAL);
        let news = b.log_in("news");
        b.log_out(&news.access, "session").expect(200);
        assert_ended(&mut a, &news);
    }
    // What ends while the clocks differ.
    a.log_out(&held.access, "session").expect(200);
    assert_ended(&mut b, &held);

    // Whoever comes later learns it all, whichever node has written to the log since.
    let newcomer = stage.node(0);
    let mut c = newcomer.client();
    for tokens in ended.into_iter().chain([&held]) {
        assert_ended(&mut c, tokens);
    }
    wrong.set_clock(0);
    for tokens in ended.into_iter().chain([&held]) {
        b.get("/api/me", Some(&tokens.access)).expect(401);
        b.refresh(&tokens.refresh).expect(401);
    }
}

#[test]
fn a_node_that_started_an_hour_ahead_knows_every_logout_once_its_clock_is_put_right() {
    let stage = Stage::set();
    let (right, wrong) = (stage.node(0), stage.node(HOUR));
    let (mut a, mut b) = (right.client(), wrong.client());
    let tokens = a.log_in("ann");
    a.log_out(&tokens.access, "session").expect(200);
    wrong.let_pass(FORGET_INTERVAL);
    // It has forgotten by the time that it has heard of something later.
    let news = a.log_in("news");
    a.log_out(&news.access, "session").expect(200);
    for _ in 0..2 {
        wrong.let_pass(FORGET_INTERVAL);
        b.refresh(&news.refresh).expect(401);
    }
    wrong.set_clock(0);
    assert_ended(&mut b, &tokens);
}

#[test]
fn a_token_that_has_expired_stays_so_when_a_clock_is_set_back_an_hour() {
    let stage = Stage::set();
    let (right, wrong) = (stage.node(0), stage.node(0));
    let (mut a, mut b) = (right.client(), wrong.client());
    let tokens = a.log_in("ann");
    for node in [&mut a, &mut b] {
        node.get("/api/me", Some(&tokens.access)).expect(200);
    }
    right.set_clock(20 * MINUTE);
    wrong.set_clock(20 * MINUTE);
    for node in [&mut a, &mut b] {
        assert_eq!(node.get("/api/me", Some(&tokens.access)).expect(401).json()["code"], "token_expired");
    }
    wrong.set_clock(20 * MINUTE - HOUR);
    b.get("/api/me", Some(&tokens.access)).expect(401);
    a.get("/api/me", Some(&tokens.access)).expect(401);
    let anew = Tokens::of(&b.refresh(&tokens.refresh).expect(200));
    b.get("/api/me", Some(&anew.access)).expect(200);
}

#[test]
fn with_a_clock_that_is_an_hour_off_a_client_refreshes_more_often_and_keeps_its_session() {
    for ahead_millis in [HOUR, -HOUR] {
        let stage = Stage::set();
        let nodes = [stage.node(0), stage.node(ahead_millis)];
        eventually("the alarm", || has_alarm(&mut nodes[1].client(), "clock"));
        assert!(!has_alarm(&mut nodes[0].client(), "clock"));
        for home in 0..2 {
            let mut clients = [nodes[0].client(), nodes[1].client()];
            let mut held = clients[home].log_in("ann");
            let mut refused = 0;
            for round in 0..8 {
                let node = &mut clients[(home + round / 2) % 2];
                let response = node.get("/api/me", Some(&held.access));
                if response.status() == 401 {
                    // The time in the token lies beyond the leeway for this node. It says so, and takes the refresh token.
                    let code = response.json()["code"].clone();
                    assert!(code == "token_expired" || code == "token_invalid", "{code}");
                    held = Tokens::of(&node.refresh(&held.refresh).expect(200));
                    refused += 1;
                }
                node.get("/api/me", Some(&held.access)).expect(200);
            }
            assert!(refused > 0, "the clocks do not differ");
        }
    }
}

#[test]
fn clocks_within_the_leeway_refuse_nothing_of_each_other() {
    // What a token may say of the future; its end is exact, and a minute early on a node a minute ahead.
    for ahead_millis in [MINUTE - 10_000, 10_000 - MINUTE] {
        let stage = Stage::set();
        let (right, wrong) = (stage.node(0), stage.node(ahead_millis));
        let mut nodes = [right.client(), wrong.client()];
        for home in 0..2 {
            let held = nodes[home].log_in("ann");
            let next = Tokens::of(&nodes[1 - home].refresh(&held.refresh).expect(200));
            for node in &mut nodes {
                node.get("/api/me", Some(&held.access)).expect(200);
                node.get("/api/me", Some(&next.access)).expect(200);
            }
            // A logout everywhere at a node ahead of the others bars nobody from coming back at once.
            nodes[home].log_out(&next.access, "all").expect(200);
            for node in &mut nodes {
                assert_ended(node, &next);
                let anew = node.log_in("ann");
                node.get("/api/me", Some(&anew.access)).expect(200);
            }
        }
    }
}
