//! Tries every token once the faults are over.

use std::collections::BTreeMap;
use std::thread;

use super::browser::{ask_with, log_in_at, refresh_with};
use super::judge::losses;
use super::trouble::Trouble;
use super::{ACKNOWLEDGED_AFTER, Event, Given, History, LEEWAY, NODES, Session, What};
use crate::support::http::Client;
use crate::support::random::Random;

/// Sessions that nobody logged out whose lines are tried at the end.
const LINES_TRIED_MAX: usize = 200;

/// Of each line of refresh tokens exactly one lives: the newest. Calls are noted like any other, but for those with spent tokens:
/// returns how many these were.
pub(super) fn try_lines(history: &History, troubles: &[Trouble], mut random: Random) -> u64 {
    // Whatever a failover took of a node's counts, it tells again with the next that it has to tell.
    for node in 0..NODES {
        assert!(log_in_at(history, history.session_of(0), node).is_some());
    }
    let mut lines = lines_of(&history.events.lock().unwrap(), troubles);
    lines.truncate(LINES_TRIED_MAX);
    thread::sleep(LEEWAY);
    let newest: Vec<(Line, Option<Given>)> = lines
        .into_iter()
        .map(|line| {
            let last = line.given.values().next_back().unwrap();
            let (status, next) = refresh_with(history, line.session, random.index(NODES), last);
            let Some(next) = next else {
                assert!(line.may_be_lost && status == Some(401), "the newest token of {:?} is {status:?}", line.session);
                return (line, None);
            };
            // The store may have lost the last rotations: then this one is adopted, and the same again.
            assert!(next.generation >= last.generation, "{:?}", line.session);
            // Seen by a node, so the client has it: what was before is spent for good once the leeway is over.
            assert_eq!(ask_with(history, line.session, random.index(NODES), &next.tokens), Some(200));
            (line, Some(next))
        })
        .collect();
    thread::sleep(LEEWAY + ACKNOWLEDGED_AFTER);
    let mut tried = 0;
    for (line, next) in newest {
        let is_newest = |given: &Given| next.as_ref().is_some_and(|next| next.tokens.refresh == given.tokens.refresh);
        for spent in line.given.values().filter(|given| !is_newest(given)) {
            let status = Client::new(history.nodes[random.index(NODES)]).refresh(&spent.tokens.refresh).status();
            assert_eq!(status, 401, "{:?} has a live token beside its newest: {spent:?}", line.session);
            tried += 1;
        }
        if let Some(next) = next {
            let (status, _) = refresh_with(history, line.session, random.index(NODES), &next);
            assert_eq!(status, Some(200), "{:?}", line.session);
        }
    }
    tried
}

/// What was given out for a session that nobody tried to end, by generation.
struct Line {
    session: Session,
    given: BTreeMap<u64, Given>,
    /// Whether a failover may have taken the login.
    may_be_lost: bool,
}

fn lines_of(events: &[Event], troubles: &[Trouble]) -> Vec<Line> {
    let mut lines: BTreeMap<Session, Line> = BTreeMap::new();
    for event in events {
        let Some(given) = &event.given else { continue };
        let line = Line { session: event.session, given: BTreeMap::new(), may_be_lost: false };
        let line = lines.entry(event.session).or_insert(line);
        line.given.insert(given.generation, given.clone());
        line.may_be_lost |= event.what == What::Login && losses(troubles).any(|loss| loss.may_have_taken(event));
    }
    for event in events.iter().filter(|event| event.what == What::Logout) {
        lines.remove(&event.session);
    }
    lines.into_values().collect()
}
