//! A history checker: clients do at random what honest clients do, over two nodes, while faults come and go; afterwards everything
//! that was answered is held against what was promised. Once for each deployment of the store, with the faults that it knows.
//!
//! `TOKENGATE_HISTORY_SECONDS` makes it longer, `TOKENGATE_HISTORY_SEED` repeats the choices of an earlier run: whatever clients
//! and faults do at random is drawn from it. The threads' own order is not.

mod audit;
mod browser;
mod counts;
mod judge;
mod stage;
mod trouble;

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokengate::crypto::entropy::{Entropy as _, SystemEntropy};
use tokio::time::Instant;

use self::browser::{Browser, Ghost};
use self::judge::Judge;
use self::stage::Stage;
use self::stage::cluster::OnCluster;
use self::stage::sentinel::OnSentinels;
use self::stage::standalone::Standalone;
use super::report;
use super::rig::Rig;
use crate::support::gateway::{Gateway, Tokens};
use crate::support::http::{Client, Message};
use crate::support::random::Random;

const USERS: usize = 12;
const GHOSTS: usize = 2;
const NODES: usize = 2;

/// Short, so that sessions see many rotations; a third of it is how long a client waits for the reply to a refresh.
const LEEWAY: Duration = Duration::from_secs(6);
const GIVEN_UP_AFTER: Duration = Duration::from_secs(2);
/// How long a node may go on without the store, and so the longest that a logout may take to be known to it.
const MAX_STALENESS: Duration = Duration::from_secs(5);
/// With the acknowledgement's own interval, until a node that saw a token has told the store.
const ACKNOWLEDGED_AFTER: Duration = Duration::from_secs(2);
/// How long trouble lasts on after it is over.
const CALM_AFTER: Duration = Duration::from_secs(3);

/// Until a node that is asked to stop has told what it counted and is gone.
const FAREWELL_MAX: Duration = Duration::from_secs(15);

/// One call, and what came of it.
#[derive(Debug)]
struct Event {
    session: Session,
    node: usize,
    what: What,
    began: Instant,
    ended: Instant,
    /// None when the connection broke before a response.
    status: Option<u16>,
    given: Option<Given>,
    text: String,
}

/// The number of a login, whether or not anything came of it, and who made it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Session {
    number: usize,
    user: usize,
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
    fn of(what: What, response: &Message) -> Option<Self> {
        match what {
            What::Login | What::Refresh(_) => {
                Some(Self { generation: response.json()["generation"].as_u64().unwrap(), tokens: Tokens::of(response) })
            }
            What::Use | What::Logout => None,
        }
    }
}

/// Everything that was asked, and by whom it may be asked again.
struct History {
    nodes: Vec<SocketAddr>,
    events: Mutex<Vec<Event>>,
    sessions: AtomicUsize,
    over: AtomicBool,
    ghosts: Mutex<Vec<Ghost>>,
}

impl History {
    fn over(rig: &Rig) -> Self {
        Self {
            nodes: rig.nodes.iter().map(Gateway::address).collect(),
            events: Mutex::default(),
            sessions: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            ghosts: Mutex::default(),
        }
    }

    /// Makes a call on a connection of its own, notes it, and returns what was given with it.
    fn ask(
        &self,
        session: Session,
        node: usize,
        what: What,
        ask: impl FnOnce(&mut Client) -> io::Result<Message>,
    ) -> (Option<u16>, Option<Given>) {
        let began = Instant::now();
        let response = ask(&mut Client::new(self.nodes[node]));
        let ended = Instant::now();
        let (status, given, text) = match response {
            Ok(response) if response.status() != 200 => (Some(response.status()), None, response.text()),
            Ok(response) => {
                (Some(200), Given::of(what, &response), if what == What::Logout { response.text() } else { String::new() })
            }
            Err(error) if is_broken(&error) => (None, None, error.to_string()),
            Err(error) => panic!("{what:?}: {error}"),
        };
        let event = Event { session, node, what, began, ended, status, given: given.clone(), text };
        self.events.lock().unwrap().push(event);
        (status, given)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// A session that is about to begin.
    fn session_of(&self, user: usize) -> Session {
        Session { number: self.sessions.fetch_add(1, Ordering::SeqCst), user }
    }
}

/// Sends everyone home, also when something fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Not silence: that would be a node that hangs.
fn is_broken(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionRefused | ConnectionReset | UnexpectedEof)
}

/// How the upstream and the store know a user.
fn name_of(user: usize) -> String {
    format!("user-{user}")
}

#[test]
fn whatever_the_store_suffers_the_history_is_one_that_was_promised() {
    check(Standalone::start(), 60);
}

#[test]
fn whichever_primary_the_sentinels_promote_the_history_is_one_that_was_promised() {
    check(OnSentinels::start(), 40);
}

#[test]
fn whatever_a_cluster_goes_through_the_history_is_one_that_was_promised() {
    check(OnCluster::start(), 40);
}

fn check(mut stage: impl Stage, seconds_default: u64) {
    let seconds = variable("TOKENGATE_HISTORY_SECONDS").unwrap_or(seconds_default);
    let seed = variable("TOKENGATE_HISTORY_SEED").unwrap_or_else(drawn_seed);
    report(&format!("{}: TOKENGATE_HISTORY_SEED={seed} TOKENGATE_HISTORY_SECONDS={seconds}", stage.name()));
    let mut random = Random::seeded(seed);

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
    let urls = stage.urls();
    let mut rig = Rig::start(&urls.each_ref().map(String::as_str), &settings);
    let history = History::over(&rig);
    let troubles = thread::scope(|scope| {
        let _end = End(&history.over);
        for user in 0..USERS {
            let browser = Browser::new(&history, user, random.fork());
            scope.spawn(move || browser.work());
        }
        for _ in 0..GHOSTS {
            let (history, random) = (&history, random.fork());
            scope.spawn(move || browser::haunt(history, random));
        }
        trouble::come_and_go(&mut stage, &mut rig, random.fork(), Duration::from_secs(seconds))
    });
    rig.nodes.iter().for_each(Gateway::await_ready);
    let spent = audit::try_lines(&history, &troubles, random.fork());
    for node in &mut rig.nodes {
        node.terminate();
        assert!(node.wait(FAREWELL_MAX).is_some(), "{}", node.log());
    }
    let events = history.events.into_inner().unwrap();
    let judge = Judge { events: &events, troubles: &troubles };
    report(&format!("{}: {}", stage.name(), judge.verdict()));
    let counts = counts::stored(&stage.own_url());
    report(&format!("{}: {}", stage.name(), counts::describe(&counts)));
    judge.assert_counted(spent, &counts);
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
