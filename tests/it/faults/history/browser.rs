//! What one user does with one browser: several tabs, replies that get lost, logouts; and what others do later with old tokens.

use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::stage::pause;
use super::{GIVEN_UP_AFTER, Given, History, LEEWAY, NODES, Session, What, name_of};
use crate::support::gateway::Tokens;
use crate::support::http::Client;
use crate::support::random::Random;
use crate::support::upstream::PASSWORD;

const TABS_MAX: u64 = 3;
/// Of a hundred replies, how many the client never sees.
const REPLIES_LOST: u64 = 20;
const LOGOUT_ATTEMPTS_MAX: usize = 20;
/// Old tokens that are tried again: of so many sessions that ended last.
const GHOSTS_MAX: usize = 60;

pub(super) struct Browser<'a> {
    history: &'a History,
    user: usize,
    random: Random,
    held: Option<Held>,
}

/// The newest pair of a session, as a client keeps it.
#[derive(Clone)]
struct Held {
    session: Session,
    given: Given,
}

/// Tokens of a session that its user has left.
#[derive(Clone)]
pub(super) struct Ghost {
    session: Session,
    given: Given,
    /// Whether the logout was confirmed; if not, the session may live, and its tokens are not to be spent.
    confirmed: bool,
}

impl<'a> Browser<'a> {
    pub(super) fn new(history: &'a History, user: usize, random: Random) -> Self {
        Self { history, user, random, held: None }
    }

    pub(super) fn work(mut self) {
        while !self.history.is_over() {
            match self.held.clone() {
                None => self.log_in(),
                Some(held) => match self.random.within(0..=99) {
                    0..=54 => self.call(&held),
                    55..=86 => self.refresh(&held),
                    87..=93 => self.log_out(&held),
                    // Long enough that a leeway passes at times.
                    _ => self.idle(500..=8_000),
                },
            }
            pause(&mut self.random, 10..=100);
        }
    }

    fn log_in(&mut self) {
        let node = self.random.index(NODES);
        let session = self.history.session_of(self.user);
        let given = log_in_at(self.history, session, node);
        let is_lost = self.random.percent(REPLIES_LOST);
        self.held = given.filter(|_| !is_lost).map(|given| Held { session, given });
    }

    fn call(&mut self, held: &Held) {
        let node = self.random.index(NODES);
        ask_with(self.history, held.session, node, &held.given.tokens);
    }

    /// Tabs that all hold the same token, at the same moment or nearly, at whatever node. Of the replies that it sees, the client
    /// keeps the newest.
    fn refresh(&mut self, held: &Held) {
        let tabs: Vec<_> = (0..self.random.within(1..=TABS_MAX))
            .map(|_| (self.random.index(NODES), self.random.within(0..=20), self.random.percent(REPLIES_LOST)))
            .collect();
        let history = self.history;
        let answers: Vec<_> = thread::scope(|scope| {
            let tab = |(node, delay, is_lost): (usize, u64, bool)| {
                scope.spawn(move || {
                    thread::sleep(Duration::from_millis(delay));
                    let began = Instant::now();
                    let (status, given) = refresh_with(history, held.session, node, &held.given);
                    let is_seen = !is_lost && began.elapsed() < GIVEN_UP_AFTER;
                    status.filter(|_| is_seen).map(|status| (status, given))
                })
            };
            let tabs: Vec<_> = tabs.into_iter().map(tab).collect();
            tabs.into_iter().filter_map(|tab| tab.join().unwrap()).collect()
        });
        if answers.is_empty() && self.random.percent(60) {
            // The lid is closed on a refresh, and opened when the leeway is long over.
            let leeway = u64::try_from(LEEWAY.as_millis()).unwrap();
            return self.idle(leeway + 100..=leeway + 2_000);
        }
        // A client that is told so is logged out, rightly or not.
        if answers.iter().any(|(status, _)| *status == 401) {
            self.held = None;
            return;
        }
        let newest = answers.into_iter().filter_map(|(_, given)| given).max_by_key(|given| given.generation);
        if let Some(given) = newest.filter(|given| given.generation >= held.given.generation) {
            self.held = Some(Held { session: held.session, given });
        }
    }

    fn idle(&mut self, millis: RangeInclusive<u64>) {
        let until = Instant::now() + Duration::from_millis(self.random.within(millis));
        while Instant::now() < until && !self.history.is_over() {
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Until it is confirmed, or the user has lost patience.
    fn log_out(&mut self, held: &Held) {
        let attempts = if self.random.percent(60) { LOGOUT_ATTEMPTS_MAX } else { 1 };
        let mut confirmed = false;
        for _ in 0..attempts {
            let node = self.random.index(NODES);
            let (token, body) = (&held.given.tokens.access, json!({"scope": "session"}));
            let ask = |client: &mut Client| client.try_call("POST", "/logout", Some(token), Some(&body));
            let (status, _) = self.history.ask(held.session, node, What::Logout, ask);
            confirmed |= status == Some(200);
            if confirmed && !self.random.percent(REPLIES_LOST) {
                break;
            }
            pause(&mut self.random, 100..=300);
        }
        self.held = None;
        let ghost = Ghost { session: held.session, given: held.given.clone(), confirmed };
        self.history.ghosts.lock().unwrap().push(ghost);
    }
}

/// Someone has kept the tokens of sessions that ended, and tries them.
pub(super) fn haunt(history: &History, mut random: Random) {
    while !history.is_over() {
        pause(&mut random, 5..=50);
        let ghosts = history.ghosts.lock().unwrap();
        let recent = &ghosts[ghosts.len().saturating_sub(GHOSTS_MAX)..];
        if recent.is_empty() {
            continue;
        }
        // Mostly those that ended just now.
        let back = random.index(recent.len()).min(random.index(recent.len()));
        let ghost = recent[recent.len() - 1 - back].clone();
        drop(ghosts);
        let node = random.index(NODES);
        if ghost.confirmed && random.percent(25) {
            refresh_with(history, ghost.session, node, &ghost.given);
        } else {
            ask_with(history, ghost.session, node, &ghost.given.tokens);
        }
    }
}

pub(super) fn log_in_at(history: &History, session: Session, node: usize) -> Option<Given> {
    let body = json!({"email": name_of(session.user), "password": PASSWORD});
    history.ask(session, node, What::Login, |client| client.try_call("POST", "/login", None, Some(&body))).1
}

pub(super) fn refresh_with(history: &History, session: Session, node: usize, held: &Given) -> (Option<u16>, Option<Given>) {
    let body = json!({"refreshToken": held.tokens.refresh});
    let ask = |client: &mut Client| client.try_call("POST", "/refresh", None, Some(&body));
    history.ask(session, node, What::Refresh(held.generation), ask)
}

pub(super) fn ask_with(history: &History, session: Session, node: usize, held: &Tokens) -> Option<u16> {
    let ask = |client: &mut Client| client.try_call("GET", "/api/me", Some(&held.access), None);
    history.ask(session, node, What::Use, ask).0
}
