//! Many streams, of which half end because their sessions were ended on another node.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::BOUND;
use crate::support::gateway::{Gateway, Pair, Tokens};
use crate::support::open_streams::{End, Kind, OpenStreams, streaming_upstream, streams_of_each_kind};

/// How many log out at once.
const CLIENTS: usize = 8;

/// Prints the distribution: run it with `--no-capture`.
#[test]
fn streams_of_sessions_that_another_node_ended_end_at_once_and_the_others_notice_nothing() {
    let count = streams_of_each_kind();
    let upstream = streaming_upstream();
    let pair = Pair::before(upstream, &[]);
    let sessions: Vec<Tokens> = {
        let mut client = pair.a.client();
        (0..count).map(|session| client.log_in(&format!("user-{session}"))).collect()
    };
    let tokens: Vec<String> = sessions.iter().map(|tokens| tokens.access.clone()).collect();
    let streams = OpenStreams::open(pair.b.address(), &tokens);
    streams.assert_others_noticed_nothing(Duration::from_millis(300));

    let revoked: Vec<usize> = (0..count).step_by(2).collect();
    let ended_at = log_out(&pair.a, &revoked, &sessions);
    let ends = streams.ended(Kind::ALL.len() * revoked.len());
    streams.assert_others_noticed_nothing(BOUND);
    let of_sessions: HashSet<usize> = ends.iter().map(|end| end.session).collect();
    assert_eq!(of_sessions, revoked.iter().copied().collect());
    for kind in Kind::ALL {
        report(kind, &ends, &ended_at);
    }
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

/// From the response of the logout on the one node to the end of the stream on the other.
fn report(kind: Kind, ends: &[End], ended_at: &[Option<Instant>]) {
    let of_kind = ends.iter().filter(|end| end.kind == kind);
    let delay = |end: &End| end.at.saturating_duration_since(ended_at[end.session].expect("it was logged out"));
    let mut delays: Vec<Duration> = of_kind.map(delay).collect();
    delays.sort_unstable();
    let at = |share: usize| delays[(delays.len() * share / 100).min(delays.len() - 1)];
    #[expect(clippy::print_stdout, reason = "the figures are what the test is for")]
    {
        println!("{} of {kind:?}: ended after p50 {:?}, p99 {:?}, max {:?}", delays.len(), at(50), at(99), at(100));
    }
    assert!(at(100) < BOUND, "{kind:?}: {:?}", at(100));
}
