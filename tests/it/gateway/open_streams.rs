//! Many streams, of which half end because their sessions were ended on another node.

use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::time::Instant;

use super::BOUND;
use crate::support::gateway::{Gateway, Pair, Tokens};
use crate::support::open_streams::{End, Kind, OpenStreams, streaming_upstream, streams_of_each_kind};

/// How many log out at once.
const CLIENTS: usize = 8;

/// The streams of a session that another node ended are over so long after the revocation has arrived at their own. Promised of a gateway
/// that is built for use; here, all of it shares a machine with its clients, and is not.
const PROMISED: Duration = Duration::from_millis(100);

/// Prints the distribution: run it with `--no-capture`.
#[test]
fn streams_of_sessions_that_another_node_ended_end_at_once_and_the_others_notice_nothing() {
    let count = streams_of_each_kind();
    let upstream = streaming_upstream();
    let pair = Pair::before(upstream, &[("log.level", "info,tokengate::tasks::revocation_feed=debug")]);
    let sessions: Vec<Tokens> = {
        let mut client = pair.a.client();
        (0..count).map(|session| client.log_in(&format!("user-{session}"))).collect()
    };
    let tokens: Vec<String> = sessions.iter().map(|tokens| tokens.access.clone()).collect();
    let streams = OpenStreams::open(pair.b.address(), &tokens);
    streams.assert_others_noticed_nothing(Duration::from_millis(300));

    let revoked: Vec<usize> = (0..count).step_by(2).collect();
    let clocks = Clocks::now();
    let ended_at = log_out(&pair.a, &revoked, &sessions);
    let ends = streams.ended(Kind::ALL.len() * revoked.len());
    streams.assert_others_noticed_nothing(BOUND);
    let of_sessions: HashSet<usize> = ends.iter().map(|end| end.session).collect();
    assert_eq!(of_sessions, revoked.iter().copied().collect());
    let arrived_at = arrivals(&pair.b, &sessions, revoked.len(), clocks);
    for kind in Kind::ALL {
        let since = |what: &str, began_at: &[Option<Instant>]| delays(what, kind, &ends, began_at);
        assert!(since("the logout's response", &ended_at) < BOUND, "{kind:?}");
        let longest = since("the arrival at the node", &arrived_at);
        assert!(cfg!(debug_assertions) || longest < PROMISED, "{kind:?}: {longest:?}");
    }
}

/// One moment on two clocks.
#[derive(Clone, Copy)]
struct Clocks {
    monotonic: Instant,
    /// Since midnight of UTC.
    of_day: Duration,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Clocks {
    #[expect(clippy::disallowed_methods, reason = "it is compared with what another process logged")]
    fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let of_day = Duration::from_micros(u64::try_from(since_epoch.as_micros() % DAY.as_micros()).unwrap());
        Self { monotonic: Instant::now(), of_day }
    }

    /// When it was, by a later line of the log: `2026-11-28T22:07:21.123456Z`.
    fn moment(self, timestamp: &str) -> Instant {
        let time = timestamp.split_once('T').unwrap().1.trim_end_matches('Z');
        let seconds = time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap());
        let of_day = Duration::from_secs_f64(seconds);
        let since = of_day.checked_sub(self.of_day).unwrap_or_else(|| of_day + DAY.saturating_sub(self.of_day));
        self.monotonic + since
    }
}

/// When the node took each revocation over, by session.
fn arrivals(node: &Gateway, sessions: &[Tokens], count: usize, clocks: Clocks) -> Vec<Option<Instant>> {
    let taken_over =
        |log: &str| log.lines().filter(|line| line.contains("revocation taken over")).map(str::to_owned).collect::<Vec<_>>();
    node.await_log("all were taken over", |log| taken_over(log).len() >= count);
    let mut by_session = HashMap::new();
    for line in taken_over(&node.log()) {
        let line: Value = serde_json::from_str(&line).unwrap();
        by_session.insert(line["session"].as_str().unwrap().to_owned(), clocks.moment(line["timestamp"].as_str().unwrap()));
    }
    sessions.iter().map(|tokens| by_session.get(&session_of(&tokens.access)).copied()).collect()
}

fn session_of(token: &str) -> String {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&payload).unwrap()["sid"].as_str().unwrap().to_owned()
}

/// When each logout had its response, by session.
fn log_out(node: &Gateway, revoked: &[usize], sessions: &[Tokens]) -> Vec<Option<Instant>> {
    let mut ended_at = vec![None; sessions.len()];
    let log_out_some = |some: &[usize]| {
        let mut client = node.client();
        let out = |&session: &usize| {
            client.log_out(&sessions[session].access, "session").expect(200);
            (session, Instant::now())
        };
        some.iter().map(out).collect::<Vec<_>>()
    };
    let shares = revoked.chunks(revoked.len().div_ceil(CLIENTS));
    let done: Vec<(usize, Instant)> = thread::scope(|scope| {
        let clients: Vec<_> = shares.map(|share| scope.spawn(move || log_out_some(share))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    for (session, at) in done {
        ended_at[session] = Some(at);
    }
    ended_at
}

/// Prints how long after the moment of their session the streams of a kind ended, and returns the longest.
fn delays(what: &str, kind: Kind, ends: &[End], began_at: &[Option<Instant>]) -> Duration {
    let of_kind = ends.iter().filter(|end| end.kind == kind);
    let delay = |end: &End| end.at.saturating_duration_since(began_at[end.session].expect("it was ended"));
    let mut delays: Vec<Duration> = of_kind.map(delay).collect();
    delays.sort_unstable();
    let at = |share: usize| delays[(delays.len() * share / 100).min(delays.len() - 1)];
    #[expect(clippy::print_stdout, reason = "the figures are what the test is for")]
    {
        println!("{} of {kind:?}: ended after {what} p50 {:?}, p99 {:?}, max {:?}", delays.len(), at(50), at(99), at(100));
    }
    at(100)
}
