//! Holds a history against what was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use tokengate::domain::stats::{Counter, Snapshot};
use tokio::time::Instant;

use super::browser::{ask_with, refresh_with};
use super::trouble::Trouble;
use super::{ACKNOWLEDGED_AFTER, Event, Given, History, LEEWAY, MAX_STALENESS, NODES, What};
use crate::support::http::Client;
use crate::support::random::Random;

/// Sessions that nobody logged out whose lines are tried at the end.
const LINES_TRIED_MAX: usize = 200;
/// Where nothing was wrong for a while, a logout is known everywhere within this. Generous: what it takes is measured elsewhere.
const BOUND_IN_CALM: Duration = Duration::from_secs(2);
/// How long trouble lasts on after it is over.
const CALM_AFTER: Duration = Duration::from_secs(3);

/// Of each line of refresh tokens exactly one lives: the newest. Tried once the faults are over; calls are noted like any other, but
/// for those with spent tokens: returns how many these were.
pub(super) fn audit_lines(history: &History, mut random: Random) -> u64 {
    let mut lines = lines_of(&history.events.lock().unwrap());
    lines.truncate(LINES_TRIED_MAX);
    thread::sleep(LEEWAY);
    let newest: Vec<(Line, Given)> = lines
        .into_iter()
        .map(|line| {
            let last = line.given.values().next_back().unwrap();
            let (status, next) = refresh_with(history, line.session, random.index(NODES), last);
            let next = next.unwrap_or_else(|| panic!("the newest token of session {} is {status}", line.session));
            assert!(next.generation > last.generation, "session {}", line.session);
            // Seen by a node, so the client has it: what was before is spent for good once the leeway is over.
            assert_eq!(ask_with(history, line.session, random.index(NODES), &next.tokens), 200);
            (line, next)
        })
        .collect();
    thread::sleep(LEEWAY + ACKNOWLEDGED_AFTER);
    let mut tried = 0;
    for (line, next) in newest {
        for spent in line.given.values() {
            let status = Client::new(history.nodes[random.index(NODES)]).refresh(&spent.tokens.refresh).status();
            assert_eq!(status, 401, "session {} has a live token beside its newest: {spent:?}", line.session);
            tried += 1;
        }
        let (status, _) = refresh_with(history, line.session, random.index(NODES), &next);
        assert_eq!(status, 200, "session {}", line.session);
    }
    tried
}

/// What was given out for a session that nobody tried to end, by generation.
struct Line {
    session: usize,
    given: BTreeMap<u64, Given>,
}

fn lines_of(events: &[Event]) -> Vec<Line> {
    let mut lines: BTreeMap<usize, BTreeMap<u64, Given>> = BTreeMap::new();
    for event in events {
        if let (Some(session), Some(given)) = (event.session, &event.given) {
            lines.entry(session).or_default().insert(given.generation, given.clone());
        }
    }
    for event in events.iter().filter(|event| event.what == What::Logout) {
        lines.remove(&event.session.unwrap());
    }
    lines.into_iter().map(|(session, given)| Line { session, given }).collect()
}

/// Fails if the history breaks a promise; else describes it.
pub(super) fn verdict(events: &[Event], troubles: &[Trouble]) -> String {
    let mut sessions: BTreeMap<usize, Vec<&Event>> = BTreeMap::new();
    for event in events {
        assert!(matches!(event.status, 200 | 401 | 503), "{}: {event:?}", event.text);
        assert!(event.status != 401 || event.what != What::Login, "{}: {event:?}", event.text);
        sessions.entry(event.session.unwrap()).or_default().push(event);
    }
    let mut latest = Duration::ZERO;
    for events in sessions.values() {
        assert_one_line(events);
        assert_no_false_logout(events);
        latest = latest.max(assert_logout_holds(events, troubles));
    }
    let is_refresh = |event: &Event| matches!(event.what, What::Refresh(_));
    let rotations: u64 = sessions.values().map(|events| generations(events)).sum();
    format!(
        "{} calls, {} of them 503; {} faults; {} logins, {} refreshes of {} asked for, {rotations} generations, {} logouts; \
         the latest call that another node let through came {latest:?} after the logout's answer",
        events.len(),
        count(events, |event| event.status == 503),
        troubles.len(),
        count(events, |event| event.what == What::Login && event.status == 200),
        count(events, |event| is_refresh(event) && event.status == 200),
        count(events, is_refresh),
        count(events, |event| event.what == What::Logout && event.status == 200),
    )
}

/// A generation is one token, whoever asks and however often; and no answer goes back.
fn assert_one_line(events: &[&Event]) {
    let mut line: BTreeMap<u64, &str> = BTreeMap::new();
    for event in events {
        let Some(given) = &event.given else { continue };
        let token = line.entry(given.generation).or_insert(&given.tokens.refresh);
        assert_eq!(*token, given.tokens.refresh, "two tokens of one generation: {event:?}");
        if let What::Refresh(presented) = event.what {
            assert!(given.generation >= presented, "{event:?}");
        }
    }
}

fn generations(events: &[&Event]) -> u64 {
    events.iter().filter_map(|event| Some(event.given.as_ref()?.generation)).max().unwrap_or_default()
}

/// Nobody is told that a session is over before someone has begun to end it.
fn assert_no_false_logout(events: &[&Event]) {
    let ends = events.iter().filter(|event| event.what == What::Logout).map(|event| event.began).min();
    for event in events.iter().filter(|event| event.status == 401) {
        assert!(ends.is_some_and(|ends| ends < event.ended), "logged out without a logout: {event:?}");
    }
}

/// After the answer to a logout nothing is refreshed anywhere, and nothing let through: at once by the node that answered, within
/// the bound by the others. Returns how late the last call was that came before its node knew.
fn assert_logout_holds(events: &[&Event], troubles: &[Trouble]) -> Duration {
    let answers = events.iter().filter(|event| event.what == What::Logout && event.status == 200);
    let Some(logout) = answers.min_by_key(|event| event.ended) else { return Duration::ZERO };
    let bound = if is_calm(logout.ended, troubles) { BOUND_IN_CALM } else { MAX_STALENESS };
    let mut latest = Duration::ZERO;
    for event in events.iter().filter(|event| event.status == 200 && event.began > logout.ended) {
        let late = event.began - logout.ended;
        match event.what {
            What::Logout => {}
            What::Login | What::Refresh(_) => panic!("revived {late:?} after its logout: {event:?}"),
            What::Use => {
                assert!(event.node != logout.node, "let through by the node that answered {late:?} before: {event:?}");
                assert!(late <= bound, "let through {late:?} after its logout, which is more than {bound:?}: {event:?}");
                latest = latest.max(late);
            }
        }
    }
    latest
}

/// The statistics are those of the history: each answer counted once, whatever replies the store lost and however often a node told
/// what it had counted.
pub(super) fn assert_counted(events: &[Event], spent: u64, counts: &Snapshot) {
    use Counter::{
        RefreshesAdopted, RefreshesExhausted, RefreshesExpired, RefreshesMalformed, RefreshesReissued, RefreshesReused,
        RefreshesRevoked, RefreshesRotated, RefreshesSuperseded, RefreshesUnknown,
    };
    let sum = |counters: &[Counter]| counters.iter().map(|&counter| counts.value(counter)).sum::<u64>();
    let is_refresh = |event: &Event| matches!(event.what, What::Refresh(_));
    assert_eq!(counts.value(Counter::Logins), count(events, |event| event.what == What::Login && event.status == 200), "logins");
    let answered = sum(&[RefreshesRotated, RefreshesReissued, RefreshesSuperseded, RefreshesAdopted]);
    assert_eq!(answered, count(events, |event| is_refresh(event) && event.status == 200), "refreshes");
    let refused = [RefreshesReused, RefreshesUnknown, RefreshesRevoked, RefreshesExpired, RefreshesExhausted, RefreshesMalformed];
    assert_eq!(sum(&refused), count(events, |event| is_refresh(event) && event.status == 401) + spent, "refused refreshes");

    // Of each rotation, whoever made it has given out the new generation.
    let given = events.iter().filter_map(|event| Some((event.session?, event.given.as_ref()?.generation)));
    let rotated = given.filter(|(_, generation)| *generation > 1).collect::<BTreeSet<_>>().len();
    assert!(sum(&[RefreshesRotated, RefreshesSuperseded]) <= u64::try_from(rotated).unwrap(), "a rotation was counted twice");
    // One that ended nothing is counted where its node did not know better.
    let is_logout = |event: &Event| event.what == What::Logout && event.status == 200;
    let ended = count(events, |event| is_logout(event) && !event.text.contains(r#""ended":0"#));
    assert!((ended..=count(events, is_logout)).contains(&counts.value(Counter::Logouts)), "logouts");
}

fn count(events: &[Event], holds: impl Fn(&Event) -> bool) -> u64 {
    u64::try_from(events.iter().filter(|event| holds(event)).count()).unwrap()
}

fn is_calm(at: Instant, troubles: &[Trouble]) -> bool {
    troubles.iter().all(|trouble| trouble.ended + CALM_AFTER < at || trouble.began > at + BOUND_IN_CALM)
}
