//! A history checker: clients do at random what honest clients do, over two nodes, while faults come and go; afterwards everything
//! that was answered is held against what was promised.
//!
//! `TOKENGATE_HISTORY_SECONDS` makes it longer, `TOKENGATE_HISTORY_SEED` repeats the choices of an earlier run: whatever clients
//! and faults do at random is drawn from it. The threads' own order is not.

mod browser;
mod judge;
mod trouble;

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokengate::app::Ambient;
use tokengate::crypto::entropy::{Entropy as _, SystemEntropy};
use tokengate::domain::ids::Partitions;
use tokengate::domain::stats::{Day, Snapshot};
use tokengate::store::Upkeep as _;
use tokengate::store::redis::{RedisOptions, RedisStore};
use tokio::time::Instant;

use self::browser::{Browser, Ghost};
use self::trouble::{Stage, Trouble};
use super::report;
use super::rig::Rig;
use crate::support::fault_proxy::FaultProxy;
use crate::support::gateway::{Gateway, Tokens};
use crate::support::http::{Client, Message};
use crate::support::random::Random;
use crate::support::redis::RedisServer;

const SECONDS_DEFAULT: u64 = 60;
const BROWSERS: usize = 12;
const GHOSTS: usize = 2;
const NODES: usize = 2;

/// Short, so that sessions see many rotations; a third of it is how long a client waits for the reply to a refresh.
const LEEWAY: Duration = Duration::from_secs(6);
const GIVEN_UP_AFTER: Duration = Duration::from_secs(2);
/// How long a node may go on without the store, and so the longest that a logout may take to be known to it.
const MAX_STALENESS: Duration = Duration::from_secs(5);
/// With the acknowledgement's own interval, until a node that saw a token has told the store.
const ACKNOWLEDGED_AFTER: Duration = Duration::from_secs(2);

/// Until a node that is asked to stop has told what it counted and is gone.
const FAREWELL_MAX: Duration = Duration::from_secs(15);

/// One call, and what came of it.
#[derive(Debug)]
struct Event {
    /// The number of the login that it belongs to; none of a login that failed.
    session: Option<usize>,
    node: usize,
    what: What,
    began: Instant,
    ended: Instant,
    status: u16,
    given: Option<Given>,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Login,
    Use,
    /// With the refresh token of this generation.
    Refresh(u64),
    Logout,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Given {
    generation: u64,
    tokens: Tokens,
}

impl Given {
    fn of(what: What, answer: &Message) -> Option<Self> {
        match what {
            What::Login | What::Refresh(_) => {
                Some(Self { generation: answer.json()["generation"].as_u64().unwrap(), tokens: Tokens::of(answer) })
            }
            What::Use | What::Logout => None,
        }
    }
}

/// Everything that was asked, and by whom it may be asked again.
struct History {
    nodes: Vec<std::net::SocketAddr>,
    events: Mutex<Vec<Event>>,
    sessions: AtomicUsize,
    over: AtomicBool,
    ghosts: Mutex<Vec<Ghost>>,
}

impl History {
    /// Makes a call on a connection of its own, notes it, and returns what was given with it.
    fn ask(
        &self,
        session: Option<usize>,
        node: usize,
        what: What,
        ask: impl FnOnce(&mut Client) -> io::Result<Message>,
    ) -> (u16, Option<Given>) {
        let began = Instant::now();
        let answer = ask(&mut Client::new(self.nodes[node]));
        let ended = Instant::now();
        let (status, given, text) = match answer {
            Ok(answer) if answer.status() != 200 => (answer.status(), None, answer.text()),
            Ok(answer) => (200, Given::of(what, &answer), if what == What::Logout { answer.text() } else { String::new() }),
            // The session ended while the request was under way: that it did not come back is a refusal.
            Err(error) if what == What::Use && error.kind() == io::ErrorKind::UnexpectedEof => (401, None, "cut off".to_owned()),
            Err(error) => panic!("{what:?}: {error}"),
        };
        let event = Event { session, node, what, began, ended, status, given: given.clone(), text };
        self.events.lock().unwrap().push(event);
        (status, given)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// The number of a session that has just begun.
    fn number(&self) -> usize {
        self.sessions.fetch_add(1, Ordering::SeqCst)
    }
}

#[test]
fn whatever_the_store_suffers_the_history_is_one_that_was_promised() {
    let seconds = variable("TOKENGATE_HISTORY_SECONDS").unwrap_or(SECONDS_DEFAULT);
    let seed = variable("TOKENGATE_HISTORY_SEED").unwrap_or_else(drawn_seed);
    report(&format!("TOKENGATE_HISTORY_SEED={seed} TOKENGATE_HISTORY_SECONDS={seconds}"));
    let mut random = Random::seeded(seed);

    let redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let proxies = [(); NODES].map(|()| FaultProxy::to(redis.port()));
    let settings = [
        ("store.redis.deadline", "500ms"),
        ("refresh.leeway", "6s"),
        ("refresh.acknowledge_interval", "200ms"),
        // A spent token is told from a live one without ending the session: so each can be tried in the end.
        ("refresh.reuse", "refuse"),
        ("statistics.flush_interval", "1s"),
        ("revocation.max_staleness", "5s"),
        ("revocation.heartbeat", "500ms"),
    ];
    let urls = proxies.each_ref().map(FaultProxy::url);
    let mut rig = Rig::start(&urls.each_ref().map(String::as_str), &settings);
    let history = History {
        nodes: rig.nodes.iter().map(Gateway::address).collect(),
        events: Mutex::default(),
        sessions: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        ghosts: Mutex::default(),
    };
    let mut stage = Stage { redis, proxies };
    let troubles = thread::scope(|scope| {
        for number in 0..BROWSERS {
            let browser = Browser::new(&history, format!("user-{number}"), random.fork());
            scope.spawn(move || browser.work());
        }
        for _ in 0..GHOSTS {
            let (history, random) = (&history, random.fork());
            scope.spawn(move || browser::haunt(history, random));
        }
        let troubles = Trouble::come_and_go(&mut stage, random.fork(), Duration::from_secs(seconds));
        history.over.store(true, Ordering::SeqCst);
        troubles
    });
    rig.nodes.iter().for_each(Gateway::await_ready);
    let spent = judge::audit_lines(&history, random.fork());
    for node in &mut rig.nodes {
        node.terminate();
        assert!(node.wait(FAREWELL_MAX).is_some(), "{}", node.log());
    }
    let events = history.events.into_inner().unwrap();
    report(&judge::verdict(&events, &troubles));
    judge::assert_counted(&events, spent, &counted(&stage.redis));
}

/// What the nodes have told the store of what they counted, the last of it when they stopped.
fn counted(redis: &RedisServer) -> Snapshot {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = RedisOptions::from_url(&redis.url(), Partitions::ONE).unwrap();
        let store = RedisStore::connect(&options).await.unwrap();
        let today = Day::of(Ambient::of_system().clock.now());
        let mut sum = Snapshot::ZERO;
        // The run may have begun on the day before.
        for row in store.statistics(today.last(2)).await.unwrap().rows {
            sum += row.counts;
        }
        sum
    })
}

#[expect(clippy::disallowed_methods, reason = "arguments for one test: the runner has no other way to pass them")]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn drawn_seed() -> u64 {
    let mut bytes = [0; 4];
    SystemEntropy::new().fill(&mut bytes);
    u32::from_le_bytes(bytes).into()
}
